//! Where the two may differ, and why. `docs/protocol/dlmfs.md` has the same table.

/// A line of the kernel's that is another one on ours.
pub(crate) struct Difference {
    pub(crate) kernel: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) why: &'static str,
    /// Whether it is there with every kernel that FUSE may run on.
    pub(crate) always: bool,
}

const fn differ(kernel: &'static str, ours: &'static str, why: &'static str) -> Difference {
    Difference { kernel, ours, why, always: true }
}

const APPEND: &str = "FUSE leaves O_APPEND with the descriptor, which dlmfs takes away: the bytes go to \
    the start of the value all the same, the position moves on from the size";
const EMPTY: &str = "FUSE does not ask for a write of no bytes: it changes nothing either way";

const BUFFERLESS: &str = "the kernel's file system has only calls with a buffer; FUSE has these for every file, \
    and they do what read and write do";
const GROUP: &str = "a group has a name of text in our glue";

pub(crate) const DIFFERENCES: [Difference; 33] = [
    differ("    flags 0x8000", "    flags 0x8400", APPEND),
    differ("    flags 0x8800", "    flags 0x8c00", APPEND),
    differ("    flags 0x8001", "    flags 0x8401", APPEND),
    differ("    flags 0x8801", "    flags 0x8c01", APPEND),
    differ("    flags 0x8002", "    flags 0x8402", APPEND),
    differ("    flags 0x8802", "    flags 0x8c02", APPEND),
    differ("    flags 0x8003", "    flags 0x8403", APPEND),
    differ("    flags 0x8803", "    flags 0x8c03", APPEND),
    differ("lseek(fd, 0, SEEK_CUR) = 6", "lseek(fd, 0, SEEK_CUR) = 70", APPEND),
    differ("lseek(fd, 0, SEEK_CUR) = 11", "lseek(fd, 0, SEEK_CUR) = 75", APPEND),
    differ(
        "0 bytes at 64: pwrite(fd, text, places[i].length, places[i].at) = ENOSPC",
        "0 bytes at 64: pwrite(fd, text, places[i].length, places[i].at) = 0",
        EMPTY,
    ),
    differ(
        "0 bytes at 65: pwrite(fd, text, places[i].length, places[i].at) = ENOSPC",
        "0 bytes at 65: pwrite(fd, text, places[i].length, places[i].at) = 0",
        EMPTY,
    ),
    differ("write(fd, \"\", 0) = ENOSPC", "write(fd, \"\", 0) = 0", EMPTY),
    differ(
        "    tors\\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxffe",
        "    vectors\\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "the kernel makes a write of each part of a writev, and all go to the start of the value; FUSE \
         makes one of them all, as the program meant it",
    ),
    differ(
        "pwrite(fd, nowhere, 1, 0) = 0",
        "pwrite(fd, nowhere, 1, 0) = EFAULT",
        "FUSE fetches the bytes before it asks; dlmfs counts those that it could fetch",
    ),
    Difference {
        kernel: "getxattr(path, \"system.posix_acl_access\", bytes, 10) = EOPNOTSUPP",
        ours: "getxattr(path, \"system.posix_acl_access\", bytes, 10) = ENODATA",
        why: "the VFS and FUSE answer this, not each kernel alike; all mean that there is no such list",
        always: false,
    },
    differ(
        "mmap(private) = ENODEV",
        "mmap(private) = 0",
        "FUSE allows a private mapping of every file: a copy of the value",
    ),
    differ(
        "    againdonlyvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
        "    \\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\
         \\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0",
        "the stack's: o2dlm keeps the value of a resource that nobody uses for some seconds, fs/dlm \
         forgets it at once",
    ),
    differ(
        "    d/f after O_TRUNC: accessed then, modified now, changed now",
        "    d/f after O_TRUNC: accessed then, modified then, changed now",
        "FUSE asks for the size alone, as it does for truncate, which leaves the time as it is",
    ),
    differ(
        "    d after readdir: accessed now, modified then, changed now",
        "    d after readdir: accessed then, modified then, changed now",
        "FUSE keeps no time of access, and asks for the rows only",
    ),
    differ("mkdir(\"\\xff\\xfe\", 0755) = 0", "mkdir(\"\\xff\\xfe\", 0755) = EINVAL", GROUP),
    differ("rmdir(\"\\xff\\xfe\") = 0", "rmdir(\"\\xff\\xfe\") = ENOENT", GROUP),
    differ("sendfile(other, fd, 0, 6) = EINVAL", "sendfile(other, fd, 0, 6) = 6", BUFFERLESS),
    differ("sendfile(fd, other, 0, 6) = EINVAL", "sendfile(fd, other, 0, 6) = 6", BUFFERLESS),
    differ(
        "splice(fd, 0, ends[1], 0, 6, SPLICE_F_NONBLOCK) = EINVAL",
        "splice(fd, 0, ends[1], 0, 6, SPLICE_F_NONBLOCK) = 6",
        BUFFERLESS,
    ),
    differ(
        "splice(ends[0], 0, fd, 0, 4, SPLICE_F_NONBLOCK) = EINVAL",
        "splice(ends[0], 0, fd, 0, 4, SPLICE_F_NONBLOCK) = 4",
        BUFFERLESS,
    ),
    differ(
        "pwritev2(fd, &part, 1, 0, RWF_APPEND) = EOPNOTSUPP",
        "pwritev2(fd, &part, 1, 0, RWF_APPEND) = ENOSPC",
        "FUSE asks for a write at the end, where there is no room; nothing is written either way",
    ),
    differ(
        "pwritev2(fd, &part, 1, 0, RWF_DSYNC) = EOPNOTSUPP",
        "pwritev2(fd, &part, 1, 0, RWF_DSYNC) = 5",
        "FUSE has the flag for every file, and a value has nothing that it could wait for",
    ),
    differ(
        "fcntl(fd, F_SETFL, O_DIRECT) = EINVAL",
        "fcntl(fd, F_SETFL, O_DIRECT) = 0",
        "FUSE does not ask; nothing is cached with the flag or without",
    ),
    differ(
        "ioctl(fd, _IO(0, 1), &number) = EINVAL",
        "ioctl(fd, _IO(0, 1), &number) = 0",
        "FUSE answers FIBMAP itself: block 0, there is no device",
    ),
    differ(
        "execve(path) = EINVAL",
        "execve(path) = ENOEXEC",
        "the kernel can read a program through FUSE, and a value is none",
    ),
    differ(
        "name_to_handle_at(AT_FDCWD, \"d/f\", &h.handle, &number, 0) = EOPNOTSUPP",
        "name_to_handle_at(AT_FDCWD, \"d/f\", &h.handle, &number, 0) = 0",
        "FUSE makes handles for every file",
    ),
    differ(
        "lseek(fd, 0, SEEK_END) = EINVAL",
        "lseek(fd, 0, SEEK_END) = 0",
        "of a directory: FUSE seeks to its size, which is 0",
    ),
];

/// The last line of the list, of which the type alone differs.
pub(crate) const KERNEL_TYPE: &str = "    type 0x76a9f425 ";
/// FUSE has a type of its own (`fs/fuse/inode.c`), whoever serves it.
pub(crate) const OUR_TYPE: &str = "    type 0x65735546 ";
