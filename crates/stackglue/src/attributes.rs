//! The control attributes as text: what the files below `/sys/fs/ocfs2`, and the one sysctl beside
//! them, read and accept (`fs/ocfs2/stackglue.c`).

use std::str;

use crate::{AttributeError, Glue};

/// The longest path of the heartbeat control program, in bytes.
pub const HB_CTL_PATH_LEN_MAX: usize = 255;

/// A control attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Attribute {
    /// Highest locking protocol, as `1.0`; empty while none was announced.
    MaxLockingProtocol,
    /// Names of the registered plugins, one a line, newest first.
    ///
    /// This is the text that Linux means to print. Linux 6.1 writes each name over the one before
    /// and pads with NUL bytes (`fs/ocfs2/stackglue.c: ocfs2_loaded_cluster_plugins_show`); with one
    /// plugin both are the same.
    LoadedClusterPlugins,
    /// Name of the plugin in use; empty when there is none.
    ActiveClusterPlugin,
    /// The selected stack label. Can be written.
    ClusterStack,
    /// `1`: the user stack needs no daemon to learn of dead nodes.
    DlmRecoverCallbackSupport,
    /// The program that [`Glue::hangup`] runs. Can be written. A sysctl in the kernel.
    HbCtlPath,
}

impl Attribute {
    /// Every attribute, in the order of the kernel's folder.
    pub const ALL: [Attribute; 6] = [
        Attribute::MaxLockingProtocol,
        Attribute::LoadedClusterPlugins,
        Attribute::ActiveClusterPlugin,
        Attribute::ClusterStack,
        Attribute::DlmRecoverCallbackSupport,
        Attribute::HbCtlPath,
    ];

    /// Its file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxLockingProtocol => "max_locking_protocol",
            Self::LoadedClusterPlugins => "loaded_cluster_plugins",
            Self::ActiveClusterPlugin => "active_cluster_plugin",
            Self::ClusterStack => "cluster_stack",
            Self::DlmRecoverCallbackSupport => "dlm_recover_callback_support",
            Self::HbCtlPath => "hb_ctl_path",
        }
    }

    /// Whether it can be written: its file has mode 0644, else 0444.
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::ClusterStack | Self::HbCtlPath)
    }
}

impl Glue {
    /// The text of an attribute, byte for byte what its file reads.
    ///
    /// # Errors
    ///
    /// `E2BIG` when a list of plugins does not fit into one page.
    pub fn read_attribute(&self, attribute: Attribute) -> Result<String, AttributeError> {
        let lines: Vec<String> = match attribute {
            Attribute::MaxLockingProtocol => {
                self.max_protocol().iter().map(ToString::to_string).collect()
            }
            Attribute::LoadedClusterPlugins => {
                self.plugins().into_iter().map(str::to_owned).collect()
            }
            Attribute::ActiveClusterPlugin => {
                self.active_plugin().into_iter().map(str::to_owned).collect()
            }
            Attribute::ClusterStack => vec![self.cluster_stack()],
            Attribute::DlmRecoverCallbackSupport => vec!["1".to_owned()],
            Attribute::HbCtlPath => vec![self.hb_ctl_path()],
        };
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        if text.len() > PAGE_SIZE {
            return Err(AttributeError::TooLong { attribute: attribute.name(), len: text.len() });
        }
        Ok(text)
    }

    /// Does what a write of `text` to the attribute's file does, and returns the number of bytes
    /// written. One newline at the end is left out; writing nothing does nothing.
    ///
    /// # Errors
    ///
    /// `EACCES` when it is read-only; else those of [`Glue::set_cluster_stack`] and
    /// [`Glue::set_hb_ctl_path`]. Text that is not UTF-8 is `EINVAL`, which a label of arbitrary
    /// bytes is not in the kernel.
    pub fn write_attribute(
        &self,
        attribute: Attribute,
        text: &[u8],
    ) -> Result<usize, AttributeError> {
        if !attribute.is_writable() {
            return Err(AttributeError::ReadOnly { attribute: attribute.name() });
        }
        if text.is_empty() {
            return Ok(0);
        }
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let refuse = |_| {
            let text = String::from_utf8_lossy(line).into_owned();
            match attribute {
                Attribute::HbCtlPath => AttributeError::HbCtlPath { text },
                _ => AttributeError::Label { text },
            }
        };
        let line = str::from_utf8(line).map_err(refuse)?;
        match attribute {
            Attribute::HbCtlPath => self.set_hb_ctl_path(line)?,
            _ => self.set_cluster_stack(line)?,
        }
        Ok(text.len())
    }

    /// The heartbeat control program, by default `/sbin/ocfs2_hb_ctl`.
    pub fn hb_ctl_path(&self) -> String {
        self.state().hb_ctl_path.clone()
    }

    /// Sets the heartbeat control program. `/bin/true` or an empty path turns the call off.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is longer than [`HB_CTL_PATH_LEN_MAX`] or has a NUL. The kernel cuts such a
    /// path short and later runs something else.
    pub fn set_hb_ctl_path(&self, path: &str) -> Result<(), AttributeError> {
        if path.len() > HB_CTL_PATH_LEN_MAX || path.contains('\0') {
            return Err(AttributeError::HbCtlPath { text: path.to_owned() });
        }
        path.clone_into(&mut self.state().hb_ctl_path);
        Ok(())
    }
}

/// What a file of sysfs can read, in bytes.
const PAGE_SIZE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dlm::Errno;

    use super::*;
    use crate::ProtocolVersion;
    use crate::glue::tests::{RecordingPlugin, connect, prepared};

    fn read(glue: &Glue, attribute: Attribute) -> String {
        glue.read_attribute(attribute).expect("short")
    }

    fn write_label(glue: &Glue, text: &[u8]) -> Result<usize, Errno> {
        glue.write_attribute(Attribute::ClusterStack, text).map_err(|error| error.errno())
    }

    #[test]
    fn a_fresh_glue_reads_as_a_freshly_loaded_kernel_module() {
        let glue = Glue::new();
        let texts = Attribute::ALL.map(|attribute| (attribute.name(), read(&glue, attribute)));
        assert_eq!(
            texts.each_ref().map(|(name, text)| (*name, text.as_str())),
            [
                ("max_locking_protocol", ""),
                ("loaded_cluster_plugins", ""),
                ("active_cluster_plugin", ""),
                ("cluster_stack", "o2cb\n"),
                ("dlm_recover_callback_support", "1\n"),
                ("hb_ctl_path", "/sbin/ocfs2_hb_ctl\n"),
            ]
        );
    }

    #[test]
    fn the_maximum_protocol_reads_as_major_dot_minor() {
        let glue = Glue::new();
        glue.set_max_protocol(ProtocolVersion { major: 1, minor: 0 }).expect("first");
        assert_eq!(read(&glue, Attribute::MaxLockingProtocol), "1.0\n");
    }

    #[test]
    fn loaded_plugins_read_one_a_line_newest_first() {
        let glue = prepared();
        for name in ["o2cb", "user"] {
            glue.register(Arc::new(RecordingPlugin::named(name))).expect("new");
        }
        assert_eq!(read(&glue, Attribute::LoadedClusterPlugins), "user\no2cb\n");
    }

    #[test]
    fn a_list_of_plugins_longer_than_a_page_is_e2big() {
        let glue = prepared();
        for length in 1..=100 {
            let name: &'static str = "p".repeat(length).leak();
            glue.register(Arc::new(RecordingPlugin::named(name))).expect("new");
        }
        let error = glue.read_attribute(Attribute::LoadedClusterPlugins).expect_err("5150 bytes");
        assert_eq!(error.errno(), Errno::E2BIG);
    }

    #[test]
    fn the_active_plugin_reads_by_name_while_a_connection_is_open() {
        let glue = prepared();
        glue.register(Arc::new(RecordingPlugin::named("o2cb"))).expect("new");
        let connection = connect(&glue, None, "G").expect("connected");
        assert_eq!(read(&glue, Attribute::ActiveClusterPlugin), "o2cb\n");
        drop(connection);
        assert_eq!(read(&glue, Attribute::ActiveClusterPlugin), "");
    }

    #[test]
    fn a_label_is_four_bytes_after_one_newline_is_taken_off() {
        let glue = Glue::new();
        let accepted: [(&[u8], usize); 4] =
            [(b"", 0), (b"pcmk", 4), (b"o2cb\n", 5), (b"a b\n\n", 5)];
        for (text, count) in accepted {
            assert_eq!(write_label(&glue, text), Ok(count), "{text:?}");
        }
        assert_eq!(glue.cluster_stack(), "a b\n");
        let refused: [&[u8]; 7] =
            [b"\n", b"o2c", b"o2c\n", b"o2cbx", b"o2cb\n\n", b"o2\0b", b"\xff\xff\xff\xff"];
        for text in refused {
            assert_eq!(write_label(&glue, text), Err(Errno::EINVAL), "{text:?}");
            assert_eq!(glue.cluster_stack(), "a b\n");
        }
    }

    #[test]
    fn writing_nothing_keeps_the_label() {
        let glue = Glue::new();
        assert_eq!(write_label(&glue, b""), Ok(0));
        assert_eq!(glue.cluster_stack(), "o2cb");
    }

    #[test]
    fn while_a_stack_is_in_use_only_its_own_label_is_accepted() {
        let glue = prepared();
        glue.register(Arc::new(RecordingPlugin::named("o2cb"))).expect("new");
        let connection = connect(&glue, Some(""), "G").expect("connected");
        assert_eq!(write_label(&glue, b"pcmk\n"), Err(Errno::EBUSY));
        assert_eq!(write_label(&glue, b"o2cb\n"), Ok(5));
        drop(connection);
        assert_eq!(write_label(&glue, b"pcmk\n"), Ok(5));
    }

    #[test]
    fn only_two_attributes_can_be_written() {
        let glue = Glue::new();
        for attribute in Attribute::ALL {
            let written = glue.write_attribute(attribute, b"abcd\n").map_err(|e| e.errno());
            let writable = matches!(attribute, Attribute::ClusterStack | Attribute::HbCtlPath);
            assert_eq!(written, if writable { Ok(5) } else { Err(Errno::EACCES) });
        }
    }

    #[test]
    fn the_control_programs_path_has_at_most_255_bytes() {
        let glue = Glue::new();
        let write = |text: &str| {
            glue.write_attribute(Attribute::HbCtlPath, text.as_bytes()).map_err(|e| e.errno())
        };
        assert_eq!(write("/bin/true\n"), Ok(10));
        assert_eq!(read(&glue, Attribute::HbCtlPath), "/bin/true\n");
        assert_eq!(write(&"x".repeat(256)), Err(Errno::EINVAL));
        assert_eq!(write("/bin/\0true"), Err(Errno::EINVAL));
        assert_eq!(glue.hb_ctl_path(), "/bin/true");
        assert_eq!(write(&("x".repeat(255) + "\n")), Ok(256));
        assert_eq!(write("\n"), Ok(1));
        assert_eq!(read(&glue, Attribute::HbCtlPath), "\n");
    }
}
