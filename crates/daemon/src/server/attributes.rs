//! The control tree: attributes of the glue, of the node and of its lock domains, by path.
//!
//! | path | in a kernel |
//! |---|---|
//! | `cluster_stack` and the other files of the glue | `/sys/fs/ocfs2` |
//! | `hb_ctl_path` | `/proc/sys/fs/ocfs2/nm` |
//! | `o2cb/interface_revision` | `/sys/fs/o2cb` |
//! | `cluster` | `/sys/kernel/config/cluster` |
//! | `debug/o2hb`, `debug/o2dlm` | `/sys/kernel/debug` |

use std::sync::Arc;

use ::o2cb::attributes::{Change, Entry, FenceMethod};
use ::o2cb::o2dlm::DebugFile;
use stackglue::{Attribute, AttributeError, Errno};

use super::listing::Listing;
use super::node::{Node, Refusal};
use super::o2cb;
use super::process::Process;
use crate::config::OnFence;
use crate::control::{AttributeItem, AttributeKind};

impl Node {
    /// What is in a directory.
    pub(super) fn list_attributes(&self, path: &str) -> Result<Vec<AttributeItem>, Refusal> {
        let found = self.list(&split(path)).ok_or_else(|| no_attribute(path))?;
        let is_file_name = |name: &str| !matches!(name, "" | "." | "..") && !name.contains('/');
        let items = found.into_iter().filter(|(name, _)| is_file_name(name));
        Ok(items.map(|(name, entry)| AttributeItem { name, kind: kind_of(entry) }).collect())
    }

    /// Begins to send the text of a file: a large one as fast as it is read.
    pub(super) fn read_attribute(
        &mut self,
        process: &Arc<Process>,
        id: u32,
        path: &str,
    ) -> Result<(), Refusal> {
        let names = split(path);
        if matches!(names[..], ["debug", ..]) && !process.is_admin {
            let text =
                "only root and the daemon's own user may read what is below debug".to_owned();
            return Err((Errno::EACCES, text));
        }
        let text = self.read(&names).ok_or_else(|| no_attribute(path))??;
        self.listings.push(Listing::of_text(process, id, text));
        Ok(())
    }

    /// Writes a file: the change is in force when this returns.
    pub(super) fn write_attribute(
        &mut self,
        process: &Process,
        path: &str,
        text: &[u8],
    ) -> Result<(), Refusal> {
        if !process.is_admin {
            let text = "only root and the daemon's own user may write attributes".to_owned();
            return Err((Errno::EPERM, text));
        }
        let written = self.write(process, path, text).map_err(|(errno, text)| {
            (errno, text.chars().take(SENTENCE_LEN_MAX).collect::<String>())
        });
        match &written {
            Ok(()) => {
                self.shared.counters.attributes_written.count();
                tracing::info!(path, text = %text.escape_ascii(), "written");
            }
            Err((errno, text)) => {
                self.shared.counters.attributes_refused.count();
                tracing::warn!(path, %errno, "{text}");
            }
        }
        written
    }

    fn list(&self, path: &[&str]) -> Option<Vec<(String, Entry)>> {
        let directories = |names: &[&str]| -> Vec<(String, Entry)> {
            names.iter().map(|name| ((*name).to_owned(), Entry::Directory)).collect()
        };
        let node = self.o2cb.as_ref();
        Some(match path {
            [] => {
                let files = Attribute::ALL.iter().map(|attribute| {
                    let entry =
                        if attribute.is_writable() { Entry::Writable } else { Entry::ReadOnly };
                    (attribute.name().to_owned(), entry)
                });
                files.chain(directories(&["o2cb", "cluster", "debug"])).collect()
            }
            ["o2cb"] => vec![("interface_revision".to_owned(), Entry::ReadOnly)],
            ["debug"] => directories(&["o2dlm", "o2hb"]),
            ["debug", "o2dlm"] => {
                let domains = node.map(|node| node.domain_names()).unwrap_or_default();
                domains.into_iter().map(|domain| (domain, Entry::Directory)).collect()
            }
            ["debug", "o2dlm", domain] => {
                node?.domain_names().iter().find(|name| name == domain)?;
                let files = DebugFile::ALL.iter();
                files.map(|file| (file.name().to_owned(), Entry::ReadOnly)).collect()
            }
            ["cluster"] | ["debug", "o2hb"] if node.is_none() => Vec::new(),
            ["cluster", ..] => node?.attributes(self.fence_method()).list(path)?,
            ["debug", below @ ..] => node?.attributes(self.fence_method()).list(below)?,
            _ => return None,
        })
    }

    fn read(&self, path: &[&str]) -> Option<Result<String, Refusal>> {
        let node = self.o2cb.as_ref();
        let text = match path {
            [name] => {
                let read = self.glue.read_attribute(attribute_of(name)?);
                return Some(read.map_err(refused));
            }
            ["o2cb", "interface_revision"] => "5\n".to_owned(),
            ["debug", "o2dlm", domain, name] => {
                let file = DebugFile::ALL.into_iter().find(|file| file.name() == *name)?;
                node?.domain_text(domain, file)?
            }
            ["cluster", ..] => node?.attributes(self.fence_method()).read(path)?,
            ["debug", below @ ..] => node?.attributes(self.fence_method()).read(below)?,
            _ => return None,
        };
        Some(Ok(text))
    }

    fn write(&mut self, process: &Process, path: &str, text: &[u8]) -> Result<(), Refusal> {
        let names = split(path);
        match (&names[..], &self.o2cb) {
            ([name], _) => match attribute_of(name).ok_or_else(|| no_attribute(path))? {
                Attribute::ClusterStack => self.write_stack(process, text),
                attribute => self.glue.write_attribute(attribute, text).map(drop).map_err(refused),
            },
            (["cluster", ..], Some(node)) => {
                let change = node.write_attribute(self.fence_method(), &names, text);
                let change = change.map_err(|errno| {
                    let given = text.escape_ascii();
                    (errno, format!("{path} does not take \"{given}\" now: {errno}"))
                })?;
                if let Change::FenceMethod(word) = change {
                    let action = OnFence::of_word(word);
                    let unknown = || (Errno::EINVAL, format!("there is no fence method {word:?}"));
                    *self.shared.on_fence.lock() = action.ok_or_else(unknown)?;
                }
                Ok(())
            }
            _ if self.read(&names).is_some() => {
                Err((Errno::EACCES, format!("{path} is read-only")))
            }
            _ => Err(no_attribute(path)),
        }
    }

    /// Unlike a kernel's, this node knows which labels it can serve, and takes no other.
    fn write_stack(&mut self, process: &Process, text: &[u8]) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let label = str::from_utf8(line).ok().filter(|label| stackglue::is_label(label));
        let Some(label) = label else {
            let text = String::from_utf8_lossy(line).into_owned();
            return Err(refused(AttributeError::Label { text }));
        };
        if self.o2cb.is_some() && label != "o2cb" {
            return Err(o2cb::no_other_stack());
        }
        self.set_stack(process, label)
    }

    fn fence_method(&self) -> FenceMethod {
        FenceMethod { word: self.shared.on_fence.lock().word(), all: &OnFence::WORDS }
    }
}

fn split(path: &str) -> Vec<&str> {
    if path.is_empty() { Vec::new() } else { path.split('/').collect() }
}

fn attribute_of(name: &str) -> Option<Attribute> {
    Attribute::ALL.into_iter().find(|attribute| attribute.name() == name)
}

fn kind_of(entry: Entry) -> AttributeKind {
    match entry {
        Entry::Directory => AttributeKind::Directory,
        Entry::ReadOnly => AttributeKind::ReadOnly,
        Entry::Writable => AttributeKind::Writable,
    }
}

fn no_attribute(path: &str) -> Refusal {
    (Errno::ENOENT, format!("there is no attribute {path:?}"))
}

fn refused(error: AttributeError) -> Refusal {
    (error.errno(), error.to_string())
}

/// Characters of a sentence about a text, however long the text was.
const SENTENCE_LEN_MAX: usize = 400;
