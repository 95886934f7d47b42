//! The daemon's attributes, for the file system that shows them: `stackglue mount control`.

use daemon::control::{AttributeItem, AttributeKind, Bytes, ControlRequest, TextItem};
use daemon::{Client, ClientError, location};
use dlm::Errno;
use dlmfs::control::{Kind, Source};

/// The daemon that runs when it is asked: each question is a connection of its own, so that a mount
/// outlives it.
pub(crate) struct DaemonSource;

impl DaemonSource {
    fn ask<T: serde::de::DeserializeOwned>(request: &ControlRequest) -> Result<Vec<T>, Errno> {
        let socket = location::default_socket();
        location::check_before_connecting(&socket).map_err(|_| Errno::EACCES)?;
        let answer = Client::connect(&socket, COMMAND)
            .and_then(|mut client| client.control(request)?.read_all());
        answer.map_err(|error| match error {
            ClientError::Refused { errno, .. } => Errno::from_number(errno).unwrap_or(Errno::EIO),
            ClientError::PermissionDenied { .. } => Errno::EACCES,
            // What fs/dlm says where its control daemon does not run.
            _ => Errno::ESRCH,
        })
    }
}

impl Source for DaemonSource {
    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Errno> {
        let request = ControlRequest::Attributes { path: path.to_owned() };
        let items: Vec<AttributeItem> = Self::ask(&request)?;
        let kind = |kind| match kind {
            AttributeKind::Directory => Kind::Directory,
            AttributeKind::Writable => Kind::Writable,
            _ => Kind::ReadOnly,
        };
        Ok(items.into_iter().map(|item| (item.name, kind(item.kind))).collect())
    }

    fn read(&self, path: &str) -> Result<String, Errno> {
        let request = ControlRequest::ReadAttribute { path: path.to_owned() };
        let parts: Vec<TextItem> = Self::ask(&request)?;
        Ok(parts.into_iter().map(|part| part.text).collect())
    }

    fn write(&self, path: &str, text: &[u8]) -> Result<(), Errno> {
        let (path, text) = (path.to_owned(), Bytes(text.to_vec()));
        let request = ControlRequest::WriteAttribute { path, text };
        Self::ask::<serde_json::Value>(&request).map(drop)
    }
}

const COMMAND: &str = "stackglue mount control";
