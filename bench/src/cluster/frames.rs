//! How long the frames of an operation are.

use o2cb::NodeId;
use o2cb::o2dlm::message::{
    AstKind, ConvertLock, Cookie, CreateLock, LkmFlags, LockMode, LockName, ProxyAst, UnlockLock,
};
use o2cb::o2net::HEADER_LEN;

use crate::names::names;

/// Bytes of frames, headers included, as the messages of a 32-byte name are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) create: usize,
    pub(crate) convert: usize,
    pub(crate) unlock: usize,
    /// A grant, or the notice that a lock is in the way.
    pub(crate) ast: usize,
    /// The answer to any of them.
    pub(crate) status: usize,
}

impl Frames {
    pub(crate) fn new() -> Frames {
        let name = LockName::new(&names(1)[0]).expect("every name has 32 bytes");
        let node = NodeId::new(1).expect("a node number");
        let (cookie, flags, mode) = (Cookie::new(node, 1), LkmFlags::empty(), LockMode::EX);
        let len = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            encode(&mut out);
            HEADER_LEN + out.len()
        };
        let create = CreateLock { cookie, flags, node, mode, name };
        let convert = ConvertLock { cookie, flags, node, mode, name, lvb: None };
        let unlock = UnlockLock { cookie, flags, node, name, lvb: None };
        let kind = AstKind::Ast;
        let ast = ProxyAst { cookie, flags, node, kind, blocked: None, name, lvb: None };
        Frames {
            create: len(&|out| create.encode(out)),
            convert: len(&|out| convert.encode(out)),
            unlock: len(&|out| unlock.encode(out)),
            ast: len(&|out| ast.encode(out)),
            status: HEADER_LEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_long_as_the_kernels() {
        let all = Frames { create: 104, convert: 104, unlock: 104, ast: 104, status: 24 };
        assert_eq!(Frames::new(), all);
    }
}
