//! The thread that waits for sockets and timers.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::atomic::Ordering;
use std::thread;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{O2cbNode, token_of};
use crate::NodeId;
use crate::o2net::{CloseReason, LinkId};

/// Node numbers end at 254.
pub(super) const LISTENER: Token = Token(1000);
pub(super) const WAKER: Token = Token(1001);

/// The kernel never gives up on unacknowledged data by itself (`fs/ocfs2/cluster/tcp.c:
/// o2net_set_usertimeout`).
const USER_TIMEOUT_MS: u32 = 0x7fff_ffff;

/// How much is read from a socket at once.
const READ_LEN: usize = 64 * 1024;

/// The connection to a peer.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) link: LinkId,
    pub(super) stream: TcpStream,
    /// A connect is under way; its outcome comes as writability.
    pub(super) connecting: bool,
    /// The socket took less than it was given.
    pub(super) full: bool,
}

/// Starts the thread.
pub(super) fn run(node: &O2cbNode, poll: Poll, listener: TcpListener) -> io::Result<()> {
    let mut listener = mio::net::TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let node = node.clone();
    thread::Builder::new().name(format!("o2net-{}", node.me())).spawn(move || {
        wait_for_events(&node, poll, &listener);
        drop(listener);
        node.shared().look_mut(|inner, _| inner.closed = true);
        node.shared().changed.notify_all();
    })?;
    Ok(())
}

fn wait_for_events(node: &O2cbNode, mut poll: Poll, listener: &mio::net::TcpListener) {
    let shared = node.shared();
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; READ_LEN];
    while !shared.stopping.load(Ordering::Acquire) {
        shared.begin_turn();
        let timeout = shared.look_mut(|inner, now| inner.go_to_sleep(now));
        if let Err(error) = poll.poll(&mut events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "sockets cannot be waited for");
        }
        shared.begin_turn();
        shared.look_mut(|inner, _| inner.wake_up());
        for event in &events {
            match event.token() {
                LISTENER => accept(node, listener),
                WAKER => {}
                Token(number) => {
                    let Some(peer) = u8::try_from(number).ok().and_then(NodeId::new) else {
                        continue;
                    };
                    if event.is_writable() {
                        shared.act(|inner, now| inner.writable(now, peer));
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        read(node, peer, &mut buffer);
                    }
                }
            }
        }
        shared.begin_turn();
        shared.act(|inner, now| inner.stack.handle_timeout(now));
        shared.flush_all();
    }
}

fn read(node: &O2cbNode, peer: NodeId, buffer: &mut [u8]) {
    loop {
        node.shared().begin_turn();
        let more = node.shared().act(|inner, now| {
            let Some(socket) = inner.sockets.get_mut(&peer).filter(|socket| !socket.connecting)
            else {
                return false;
            };
            let link = socket.link;
            match socket.stream.read(buffer) {
                Ok(0) => {
                    inner.sockets.remove(&peer);
                    inner.stack.closed(now, link, CloseReason::Ended);
                    false
                }
                Ok(len) => {
                    inner.stack.received(now, link, &buffer[..len]);
                    len == buffer.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(error) => {
                    inner.sockets.remove(&peer);
                    inner.stack.closed(now, link, failed(&error));
                    false
                }
            }
        });
        // What one read brings is answered before the next: so much is never unsent that it matters.
        node.shared().flush_all();
        if !more {
            return;
        }
    }
}

fn accept(node: &O2cbNode, listener: &mio::net::TcpListener) {
    loop {
        match listener.accept() {
            Ok((stream, SocketAddr::V4(source))) => {
                node.shared().act(|inner, now| {
                    match inner.stack.accepted(now, *source.ip()) {
                        Ok(link) => {
                            if let Err(error) = prepare(&stream) {
                                tracing::warn!(%error, "a socket is not as it should be");
                            }
                            inner.add_socket(now, link, stream, false);
                        }
                        // Nothing is said to whoever it is.
                        Err(refusal) => tracing::debug!(%refusal, "refused"),
                    }
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                return;
            }
        }
    }
}

/// A socket on its way to a peer, from this node's own address: the peer recognizes it by that.
pub(super) fn connect(to: SocketAddrV4, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket));
    prepare(&stream)?;
    Ok(stream)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS)?;
    Ok(())
}

pub(super) fn failed(error: &io::Error) -> CloseReason {
    CloseReason::Failed { errno: error.raw_os_error().unwrap_or(0) }
}

pub(super) fn register(registry: &mio::Registry, socket: &mut Socket) -> io::Result<()> {
    let token = token_of(socket.link.node());
    registry.register(&mut socket.stream, token, Interest::READABLE | Interest::WRITABLE)
}
