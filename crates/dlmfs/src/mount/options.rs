//! Mount options, as `mount -o` has them.

use fuse3::MountOptions;
use rustix::mount::MountFlags;
use rustix::process::geteuid;

use super::MountError;

/// How a file system is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether others than who mounts it may use it. Root's default; for others `/etc/fuse.conf` has to
    /// allow it.
    pub allow_other: bool,
    /// `nosuid`, `nodev`, `noexec`: what the kernel keeps from programs there.
    pub flags: MountFlags,
}

impl Options {
    /// Reads options, separated by commas, on top of the defaults; of two that contradict each other the
    /// later counts. Those that are the business of `mount` and `fstab`, and those that change nothing
    /// here, are passed over.
    ///
    /// # Errors
    ///
    /// [`MountError::Option`] for one that is not known.
    pub fn parse(text: &str) -> Result<Options, MountError> {
        let mut options = Options::default();
        for option in text.split(',') {
            match option {
                "allow_other" => options.allow_other = true,
                "nosuid" => options.flags |= MountFlags::NOSUID,
                "suid" => options.flags -= MountFlags::NOSUID,
                "nodev" => options.flags |= MountFlags::NODEV,
                "dev" => options.flags -= MountFlags::NODEV,
                "noexec" => options.flags |= MountFlags::NOEXEC,
                "exec" => options.flags -= MountFlags::NOEXEC,
                // As mount(8) has it.
                "user" | "users" => {
                    options.flags |= MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                }
                "owner" | "group" => options.flags |= MountFlags::NOSUID | MountFlags::NODEV,
                _ if PASSED_OVER.contains(&option) || option.starts_with("x-") => {}
                _ => return Err(MountError::Option { option: option.to_owned() }),
            }
        }
        Ok(options)
    }

    pub(super) fn for_fuse(&self, kind: &str) -> MountOptions {
        let mut fuse = MountOptions::default();
        fuse.fs_name(kind)
            .custom_options(format!("subtype={kind}"))
            // As mount(8) does it: what the directory had in it is covered.
            .nonempty(true)
            // The kernel checks modes and owners, as for any file system of its own.
            .default_permissions(true)
            .allow_other(self.allow_other);
        fuse
    }
}

impl Default for Options {
    fn default() -> Options {
        Options { allow_other: geteuid().is_root(), flags: MountFlags::empty() }
    }
}

const PASSED_OVER: [&str; 17] = [
    "",
    "defaults",
    "rw",
    "default_permissions",
    "auto",
    "noauto",
    "nouser",
    "nofail",
    "_netdev",
    "async",
    "silent",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_mount_and_fstab_are_passed_over() {
        let plain = Options::default();
        assert_eq!(Options::parse("").ok(), Some(plain.clone()));
        assert_eq!(Options::parse("defaults,rw,_netdev,x-systemd.automount").ok(), Some(plain));
    }

    #[test]
    fn what_the_kernel_is_to_keep_from_programs_is_not_passed_over() {
        let (no_suid, no_dev, no_exec) =
            (MountFlags::NOSUID, MountFlags::NODEV, MountFlags::NOEXEC);
        for (text, flags) in [
            ("", MountFlags::empty()),
            ("noexec,nodev", no_exec | no_dev),
            ("users", no_suid | no_dev | no_exec),
            ("user,exec", no_suid | no_dev),
            ("owner,suid", no_dev),
            ("nosuid,suid", MountFlags::empty()),
        ] {
            let options = Options::parse(text).expect("known");
            assert_eq!(options.flags, flags, "{text}");
        }
        assert!(Options::parse("nodev,allow_other").expect("known").allow_other);
    }

    #[test]
    fn an_unknown_option_is_named() {
        let refused = Options::parse("rw,size=3").expect_err("unknown").to_string();
        assert!(refused.contains("\"size=3\""), "{refused}");
    }
}
