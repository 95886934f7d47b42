/* dlmfscalls - system calls on a dlmfs, one line each: the call, and what came of it.
 * usage: dlmfscalls DIR    where DIR is an empty dlmfs that nobody else uses
 *
 * Two file systems that behave alike print the same. So there are no addresses, times, numbers of
 * inodes or descriptors in what is printed. A call that waits for ever ends the program (SIGALRM).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void tell(const char *call, long result)
{
	if (result < 0)
		printf("%s = %s\n", call, strerrorname_np(errno));
	else
		printf("%s = %ld\n", call, result);
}

/* A call, as it is written here. */
#define DO(call) tell(#call, call)
/* One with names of each of these lengths, of which the call uses `lengths[i]`. */
#define EACH(call) \
	for (int i = 0; i < (int)(sizeof lengths / sizeof *lengths); i++) { \
		printf("%d bytes: ", lengths[i]); \
		tell(#call, call); \
	}
/* One that returns a descriptor. */
#define OPEN(fd, call) (fd = (call), tell(#call, fd < 0 ? fd : 0))

static void section(const char *name)
{
	printf("# %s\n", name);
}

/* A name of that length. */
static const char *name(int length)
{
	static char text[300];
	memset(text, 'n', length);
	text[length] = 0;
	return text;
}

static const char *in(const char *directory, const char *file)
{
	static char path[600];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	return path;
}

static void show(const char *call, const char *bytes, long length)
{
	long i;
	tell(call, length);
	if (length <= 0)
		return;
	printf("    ");
	for (i = 0; i < length; i++) {
		char byte = bytes[i];
		if (byte >= ' ' && byte <= '~' && byte != '\\')
			putchar(byte);
		else
			printf("\\%d", (unsigned char)byte);
	}
	printf("\n");
}

static char bytes[300];
#define READ(call) (memset(bytes, 'x', sizeof bytes), show(#call, bytes, call))

static void show_stat(const char *call, int result, const struct stat *s)
{
	tell(call, result);
	if (result < 0)
		return;
	printf("    %s mode %o size %ld nlink %ld uid %d gid %d blocks %ld blksize %ld rdev %ld\n",
	       S_ISDIR(s->st_mode) ? "directory" : S_ISREG(s->st_mode) ? "file" : "other",
	       s->st_mode & 07777, (long)s->st_size, (long)s->st_nlink, s->st_uid, s->st_gid,
	       (long)s->st_blocks, (long)s->st_blksize, (long)s->st_rdev);
}

static struct stat buffer;
#define STAT(call) show_stat(#call, call, &buffer)

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Rows in alphabetical order: a directory has none of its own. */
static void list(const char *path)
{
	char *rows[100];
	int n = 0, i;
	DIR *directory = opendir(path);
	struct dirent *row;
	printf("readdir(%s) = %s\n", path, directory ? "rows" : strerrorname_np(errno));
	if (!directory)
		return;
	while (n < 100 && (row = readdir(directory)) != 0)
		if (asprintf(&rows[n], "%s %s", row->d_name, row->d_type == DT_DIR ? "directory" :
			     row->d_type == DT_REG ? "file" : "other") > 0)
			n++;
	closedir(directory);
	qsort(rows, n, sizeof *rows, compare);
	for (i = 0; i < n; i++) {
		printf("    %s\n", rows[i]);
		free(rows[i]);
	}
}

static void poll_file(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int result = poll(&p, 1, 0);
	tell("poll(fd, 0 ms)", result);
	printf("    of 0x%x: 0x%x\n", (unsigned)events, result > 0 ? (unsigned)p.revents : 0);
}

static void directories(void)
{
	int lengths[] = { 1, 31, 32, 62, 63, 64, 65, 255, 256 };
	section("domains");
	EACH(mkdir(name(lengths[i]), 0755))
	list(".");
	STAT(stat(".", &buffer));
	EACH(rmdir(name(lengths[i])))
	DO(mkdir("$", 0755));
	DO(rmdir("$"));
	DO(mkdir("d", 0700));
	STAT(stat("d", &buffer));
	DO(mkdir("d", 0755));
	DO(mkdir("d/e", 0755));
	DO(mkdir("d/e/f", 0755));
	DO(mkdir(in("d", name(64)), 0755));
	DO(mkdir("d/.", 0755));
	DO(mkdir(".", 0755));
	DO(mkdir("", 0755));
	DO(rmdir("none"));
	DO(rmdir("d/."));
	DO(rmdir("d/none"));
	DO(unlink("d"));
	DO(unlink("."));
	DO(mknod("d/f", S_IFREG | 0600, 0));
	DO(rmdir("d"));
	DO(rmdir("d/f"));
	DO(mkdir("d/f", 0755));
	DO(mkdir("d/f/g", 0755));
	DO(unlink("d/f"));
	DO(rmdir("d"));
	STAT(stat("d", &buffer));
	DO(mkdir("sticky", 01777));
	STAT(stat("sticky", &buffer));
	DO(rmdir("sticky"));
	STAT(stat(".", &buffer));
}

static void creation(void)
{
	int fd, i, lengths[] = { 1, 30, 31, 32, 33, 64, 255, 256 };
	section("creation");
	OPEN(fd, open("f", O_RDWR | O_CREAT, 0644));
	OPEN(fd, open("f", O_RDONLY));
	OPEN(fd, open(name(64), O_RDWR | O_CREAT, 0644));
	OPEN(fd, open("$f", O_RDWR | O_CREAT, 0644));
	DO(mknod("f", S_IFREG | 0600, 0));
	DO(mknod("f", S_IFIFO | 0600, 0));
	DO(mkdir("d", 0755));
	for (i = 0; i < (int)(sizeof lengths / sizeof *lengths); i++) {
		printf("%d bytes: ", lengths[i]);
		OPEN(fd, open(in("d", name(lengths[i])), O_RDWR | O_CREAT, 0644));
		if (fd >= 0)
			close(fd);
	}
	list("d");
	EACH(unlink(in("d", name(lengths[i]))))
	OPEN(fd, open("d/$f", O_RDWR | O_CREAT, 0644));
	OPEN(fd, open("d/$f", O_RDONLY));
	OPEN(fd, open("d/f$", O_RDWR | O_CREAT, 0644));
	close(fd);
	DO(unlink("d/f$"));
	OPEN(fd, open("d/.f", O_RDONLY | O_CREAT, 0644));
	close(fd);
	DO(unlink("d/.f"));
	OPEN(fd, open("d/\xff\n", O_RDONLY | O_CREAT, 0644));
	close(fd);
	DO(unlink("d/\xff\n"));
	OPEN(fd, open("d/f", O_RDONLY));
	OPEN(fd, open("d/f", O_RDONLY | O_CREAT | O_EXCL, 0640));
	STAT(fstat(fd, &buffer));
	close(fd);
	STAT(stat("d/f", &buffer));
	OPEN(fd, open("d/f", O_RDONLY | O_CREAT | O_EXCL, 0640));
	OPEN(fd, open("d/s", O_RDONLY | O_CREAT, 06755));
	close(fd);
	STAT(stat("d/s", &buffer));
	OPEN(fd, open("d/z", O_RDWR | O_CREAT, 0));
	close(fd);
	STAT(stat("d/z", &buffer));
	DO(mknod("d/m", S_IFREG | 0600, 0));
	DO(mknod("d/m", S_IFREG | 0600, 0));
	DO(mknod("d/$m", S_IFREG | 0600, 0));
	DO(mknod("d/p", S_IFIFO | 0600, 0));
	DO(mknod("d/b", S_IFBLK | 0600, makedev(1, 1)));
	DO(mknod("d/c", S_IFCHR | 0600, makedev(1, 3)));
	DO(mknod("d/k", S_IFSOCK | 0600, 0));
	OPEN(fd, open("d", O_RDWR | O_TMPFILE, 0600));
	list("d");
	STAT(stat("d", &buffer));
	DO(unlink("d/f"));
	DO(unlink("d/s"));
	DO(unlink("d/z"));
	DO(unlink("d/m"));
	DO(unlink("d/m"));
	DO(rmdir("d"));
}

static void opening(void)
{
	/* Access modes (3 is a mode, too), and what may be added. */
	static const struct { int bits; const char *name; } modes[] = {
		{ O_RDONLY, "O_RDONLY" }, { O_WRONLY, "O_WRONLY" }, { O_RDWR, "O_RDWR" }, { 3, "3" },
	}, more[] = {
		{ 0, "0" }, { O_NONBLOCK, "O_NONBLOCK" }, { O_APPEND, "O_APPEND" },
		{ O_TRUNC, "O_TRUNC" }, { O_EXCL, "O_EXCL" }, { O_CREAT, "O_CREAT" },
		{ O_CREAT | O_EXCL, "O_CREAT|O_EXCL" }, { O_DIRECTORY, "O_DIRECTORY" },
		{ O_NOFOLLOW, "O_NOFOLLOW" }, { O_PATH, "O_PATH" }, { O_DIRECT, "O_DIRECT" },
		{ O_SYNC, "O_SYNC" }, { O_ASYNC, "O_ASYNC" }, { O_NOATIME, "O_NOATIME" },
		{ O_NONBLOCK | O_APPEND | O_TRUNC, "O_NONBLOCK|O_APPEND|O_TRUNC" },
	};
	int i, j, fd, other;
	section("opening");
	DO(mkdir("d", 0755));
	DO(mknod("d/f", S_IFREG | 0600, 0));
	for (i = 0; i < (int)(sizeof modes / sizeof *modes); i++)
		for (j = 0; j < (int)(sizeof more / sizeof *more); j++) {
			const char *paths[] = { "d/f", "d" };
			int k;
			for (k = 0; k < 2; k++) {
				char call[100];
				snprintf(call, sizeof call, "open(%s, %s|%s)", paths[k], modes[i].name,
					 more[j].name);
				fd = open(paths[k], modes[i].bits | more[j].bits, 0600);
				tell(call, fd < 0 ? fd : 0);
				if (fd < 0)
					continue;
				printf("    flags 0x%x\n", fcntl(fd, F_GETFL) & ~O_LARGEFILE);
				close(fd);
			}
		}
	section("twice in one process");
	OPEN(fd, open("d/f", O_RDONLY));
	OPEN(other, open("d/f", O_RDWR));
	close(other);
	OPEN(other, open("d/f", O_RDWR | O_NONBLOCK));
	DO(unlink("d/f"));
	DO(close(fd));
	DO(unlink("d/f"));
	OPEN(fd, open("d/f", O_RDONLY | O_NONBLOCK));
	DO(close(other));
	DO(close(fd));
	DO(unlink("d/f"));
	DO(rmdir("d"));
}

static void content(void)
{
	static const struct { long at, length; } places[] = {
		{ 0, 0 }, { 0, 1 }, { 0, 63 }, { 0, 64 }, { 0, 65 }, { 1, 64 }, { 32, 0 }, { 32, 16 },
		{ 32, 300 }, { 63, 1 }, { 63, 2 }, { 64, 0 }, { 64, 1 }, { 65, 0 }, { 65, 1 },
		{ 1L << 40, 1 }, { -1, 1 },
	};
	struct iovec parts[2] = { { bytes, 3 }, { bytes + 3, 70 } };
	char text[300];
	char *volatile nowhere = (char *)8;
	int fd, i;
	section("content");
	DO(mkdir("d", 0755));
	OPEN(fd, open("d/f", O_RDWR | O_CREAT, 0600));
	READ(read(fd, bytes, 300));
	for (i = 0; i < (int)(sizeof places / sizeof *places); i++) {
		memset(text, 'a' + i, sizeof text);
		printf("%ld bytes at %ld: ", places[i].length, places[i].at);
		DO(pwrite(fd, text, places[i].length, places[i].at));
		printf("%ld bytes at %ld: ", places[i].length, places[i].at);
		READ(pread(fd, bytes, places[i].length, places[i].at));
		READ(pread(fd, bytes, 64, 0));
	}
	DO(lseek(fd, 0, SEEK_SET));
	DO(write(fd, "first", 5));
	DO(lseek(fd, 0, SEEK_CUR));
	DO(write(fd, "second", 6));
	DO(lseek(fd, 0, SEEK_CUR));
	READ(read(fd, bytes, 10));
	READ(pread(fd, bytes, 64, 0));
	DO(lseek(fd, 0, SEEK_END));
	DO(write(fd, "x", 1));
	DO(write(fd, "", 0));
	READ(read(fd, bytes, 1));
	DO(lseek(fd, 60, SEEK_SET));
	DO(write(fd, "0123456789", 10));
	DO(lseek(fd, 0, SEEK_CUR));
	DO(lseek(fd, 1000, SEEK_SET));
	READ(read(fd, bytes, 1));
	DO(lseek(fd, -1, SEEK_SET));
	DO(lseek(fd, -1, SEEK_END));
	DO(lseek(fd, 0, SEEK_DATA));
	DO(lseek(fd, 0, SEEK_HOLE));
	DO(lseek(fd, 64, SEEK_DATA));
	DO(lseek(fd, 0, SEEK_SET));
	memcpy(bytes, "vectors", 8);
	DO(writev(fd, parts, 2));
	DO(lseek(fd, 0, SEEK_CUR));
	DO(lseek(fd, 0, SEEK_SET));
	READ(readv(fd, parts, 2));
	memset(text, 'v', sizeof text);
	DO(pwrite(fd, text, 64, 0));
	DO(pwrite(fd, nowhere, 1, 0));
	DO(pread(fd, nowhere, 1, 0));
	DO(close(fd));
	OPEN(fd, open("d/f", O_RDONLY));
	DO(write(fd, "x", 1));
	DO(pwrite(fd, "x", 1, 0));
	READ(read(fd, bytes, 16));
	DO(ftruncate(fd, 0));
	DO(close(fd));
	OPEN(fd, open("d/f", O_WRONLY));
	READ(read(fd, bytes, 16));
	DO(write(fd, "write only", 10));
	DO(close(fd));
	OPEN(fd, open("d/f", O_RDWR | O_APPEND));
	DO(write(fd, "append", 6));
	DO(lseek(fd, 0, SEEK_CUR));
	DO(write(fd, "again", 5));
	DO(lseek(fd, 0, SEEK_CUR));
	READ(pread(fd, bytes, 64, 0));
	DO(close(fd));
	OPEN(fd, open("d/f", O_RDWR | O_TRUNC));
	READ(read(fd, bytes, 64));
	section("size");
	DO(ftruncate(fd, 0));
	DO(ftruncate(fd, 64));
	DO(ftruncate(fd, 1000));
	DO(ftruncate(fd, -1));
	STAT(fstat(fd, &buffer));
	READ(pread(fd, bytes, 64, 0));
	DO(truncate("d/f", 0));
	DO(truncate("d/f", 1L << 40));
	DO(truncate("d/f", -1));
	DO(truncate("d", 0));
	DO(truncate("d/none", 0));
	STAT(stat("d/f", &buffer));
	DO(fallocate(fd, 0, 0, 64));
	DO(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	DO(copy_file_range(fd, 0, fd, 0, 1, 0));
	DO(readahead(fd, 0, 64));
	DO(close(fd));
	DO(unlink("d/f"));
	section("content of a new file");
	OPEN(fd, open("d/f", O_RDWR | O_CREAT, 0600));
	READ(read(fd, bytes, 64));
	DO(close(fd));
	DO(unlink("d/f"));
	DO(rmdir("d"));
}

static void attributes(void)
{
	static const char *const paths[] = { ".", "d", "d/f" };
	struct timespec times[2] = { { 1, 2 }, { 3, 4 } };
	int i;
	section("attributes");
	DO(mkdir("d", 0755));
	DO(mknod("d/f", S_IFREG | 0644, 0));
	for (i = 0; i < 3; i++) {
		const char *path = paths[i];
		printf("%s:\n", path);
		STAT(stat(path, &buffer));
		STAT(lstat(path, &buffer));
		DO(chmod(path, 0711));
		STAT(stat(path, &buffer));
		DO(chown(path, 12, 34));
		STAT(stat(path, &buffer));
		DO(chmod(path, 06711));
		STAT(stat(path, &buffer));
		DO(chown(path, 12, 35));
		STAT(stat(path, &buffer));
		DO(chown(path, 0, 0));
		DO(chmod(path, 0755));
		DO(utimensat(AT_FDCWD, path, times, 0));
		STAT(stat(path, &buffer));
		printf("times %ld.%ld %ld.%ld\n", (long)buffer.st_atim.tv_sec, buffer.st_atim.tv_nsec,
		       (long)buffer.st_mtim.tv_sec, buffer.st_mtim.tv_nsec);
		DO(utimensat(AT_FDCWD, path, 0, 0));
		DO(access(path, R_OK | W_OK));
		DO(access(path, X_OK));
		DO(setxattr(path, "user.a", "b", 1, 0));
		DO(getxattr(path, "user.a", bytes, 10));
		DO(setxattr(path, "trusted.a", "b", 1, 0));
		DO(getxattr(path, "trusted.a", bytes, 10));
		DO(getxattr(path, "security.selinux", bytes, 10));
		DO(getxattr(path, "system.posix_acl_access", bytes, 10));
		DO(removexattr(path, "user.a"));
		DO(listxattr(path, bytes, sizeof bytes));
	}
	DO(unlink("d/f"));
	section("a directory with set-group-id");
	DO(chown("d", 12, 34));
	DO(chmod("d", 02755));
	DO(mknod("d/f", S_IFREG | 0644, 0));
	STAT(stat("d/f", &buffer));
	DO(unlink("d/f"));
	DO(rmdir("d"));
}

static void names(void)
{
	int inside;
	section("names");
	DO(mkdir("d", 0755));
	DO(mkdir("e", 0755));
	DO(mknod("d/f", S_IFREG | 0644, 0));
	DO(mknod("d/g", S_IFREG | 0644, 0));
	DO(rename("d/f", "d/h"));
	DO(rename("d/f", "d/g"));
	DO(rename("d/f", "d/f"));
	DO(rename("d/f", "e/f"));
	DO(rename("d/f", "f"));
	DO(rename("d/none", "d/h"));
	DO(rename("d", "c"));
	DO(rename("d", "e"));
	DO(rename("d", "d/d"));
	DO(renameat2(AT_FDCWD, "d/f", AT_FDCWD, "d/g", RENAME_EXCHANGE));
	DO(renameat2(AT_FDCWD, "d/f", AT_FDCWD, "d/g", RENAME_NOREPLACE));
	DO(renameat2(AT_FDCWD, "d/f", AT_FDCWD, "d/h", RENAME_NOREPLACE));
	DO(link("d/f", "d/h"));
	DO(link("d/f", "d/g"));
	DO(link("d/f", "f"));
	DO(link("d", "c"));
	DO(symlink("f", "d/h"));
	DO(symlink("f", "d/g"));
	DO(symlink("d", "c"));
	DO(readlink("d/f", bytes, sizeof bytes));
	DO(readlink("d", bytes, sizeof bytes));
	DO(access("d/f/x", F_OK));
	DO(access("d/none", F_OK));
	DO(access("none", F_OK));
	DO(access("none/f", F_OK));
	DO(access(name(255), F_OK));
	DO(access(name(256), F_OK));
	DO(access(in("d", name(255)), F_OK));
	DO(access(in("d", name(256)), F_OK));
	inside = chdir("d");
	tell("chdir(\"d\")", inside);
	if (inside)	/* the rest would be done to what is above */
		exit(1);
	list("..");
	list(".");
	DO(chdir(".."));
	list("d/f");
	list("none");
	DO(unlink("d/f"));
	list("d");
	DO(unlink("d/g"));
	DO(rmdir("d"));
	DO(rmdir("e"));
	list(".");
}

static void tell_map(const char *call, void *map)
{
	tell(call, map == MAP_FAILED ? -1 : 0);
	if (map != MAP_FAILED)
		munmap(map, 64);
}

static void descriptors(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct statfs fs;
	int fd, other, number = 0, directory;
	void *map;
	section("descriptors");
	DO(mkdir("d", 0755));
	OPEN(fd, open("d/f", O_RDWR | O_CREAT, 0600));
	poll_file(fd, POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM);
	poll_file(fd, POLLOUT);
	DO(ioctl(fd, FIONREAD, &number));
	printf("    %d\n", number);
	DO(fsync(fd));
	DO(fdatasync(fd));
	DO(sync_file_range(fd, 0, 64, 0));
	DO(syncfs(fd));
	map = mmap(0, 64, PROT_READ, MAP_SHARED, fd, 0);
	tell_map("mmap(shared, read)", map);
	map = mmap(0, 64, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	tell_map("mmap(shared, write)", map);
	map = mmap(0, 64, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	tell_map("mmap(private)", map);
	DO(flock(fd, LOCK_EX | LOCK_NB));
	OPEN(other, open("d/f", O_RDWR));
	DO(flock(other, LOCK_SH | LOCK_NB));
	DO(flock(fd, LOCK_UN));
	DO(flock(other, LOCK_SH | LOCK_NB));
	DO(close(other));
	DO(fcntl(fd, F_SETLK, &lock));
	lock.l_type = F_WRLCK;
	DO(fcntl(fd, F_GETLK, &lock));
	printf("    type %d\n", lock.l_type);
	DO(fcntl(fd, F_SETLEASE, F_RDLCK));
	DO(fcntl(fd, F_SETFL, O_APPEND));
	printf("    flags 0x%x\n", fcntl(fd, F_GETFL) & ~O_LARGEFILE);
	DO(pwrite(fd, "appended", 8, 0));
	DO(write(fd, "x", 1));
	READ(pread(fd, bytes, 64, 0));
	DO(fcntl(fd, F_SETFL, O_NONBLOCK));
	DO(ioctl(fd, _IO('?', 99), 0));
	DO(ioctl(fd, _IO(0, 2), &number));	/* FIGETBSZ */
	DO(ioctl(fd, _IOR('f', 1, long), bytes));
	DO(isatty(fd));
	DO(lseek(fd, 0, SEEK_SET));
	DO(fchmod(fd, 0640));
	DO(fchown(fd, 1, 1));
	STAT(fstat(fd, &buffer));
	DO(unlink("d/f"));
	DO(close(fd));
	OPEN(directory, open("d", O_RDONLY | O_DIRECTORY));
	poll_file(directory, POLLIN | POLLOUT);
	READ(read(directory, bytes, 10));
	DO(write(directory, "x", 1));
	DO(fsync(directory));
	DO(flock(directory, LOCK_EX | LOCK_NB));
	DO(ioctl(directory, _IO('?', 99), 0));
	DO(ftruncate(directory, 0));
	DO(lseek(directory, 0, SEEK_SET));
	DO(unlink("d/f"));
	DO(rmdir("d"));
	STAT(fstat(directory, &buffer));
	OPEN(fd, openat(directory, "f", O_RDWR | O_CREAT, 0600));
	DO(mkdirat(directory, "f", 0700));
	DO(close(directory));
	section("the file system");
	DO(statfs(".", &fs));
	printf("    type 0x%lx bsize %ld blocks %ld bfree %ld bavail %ld files %ld ffree %ld "
	       "namelen %ld frsize %ld flags 0x%lx\n",
	       (long)fs.f_type, (long)fs.f_bsize, (long)fs.f_blocks, (long)fs.f_bfree,
	       (long)fs.f_bavail, (long)fs.f_files, (long)fs.f_ffree, (long)fs.f_namelen,
	       (long)fs.f_frsize, (long)fs.f_flags);
}

/* Whether a time is the one that was set, in 1970, or that of what was done since. */
static void show_times(const char *after, const char *path)
{
	struct stat s;
	DO(stat(path, &s));
	printf("    %s after %s: accessed %s, modified %s, changed %s\n", path, after,
	       s.st_atime < 100 ? "then" : "now", s.st_mtime < 100 ? "then" : "now",
	       s.st_ctime < 100 ? "then" : "now");
}

static void turn_back(const char *path)
{
	struct timespec then[2] = { { 1, 0 }, { 3, 0 } };
	utimensat(AT_FDCWD, path, then, 0);
}

/* What a call does to the times of `path`. */
#define AFTER(what, path, call) (turn_back(path), tell(#call, call), show_times(what, path))

static void times(void)
{
	int fd;
	section("times");
	DO(mkdir("d", 0755));
	DO(mknod("d/f", S_IFREG | 0644, 0));
	turn_back("d/f");
	OPEN(fd, open("d/f", O_RDWR));
	DO(write(fd, "x", 1));
	READ(pread(fd, bytes, 1, 0));
	show_times("write, pread", "d/f");
	DO(truncate("d/f", 64));
	show_times("truncate to the size", "d/f");
	AFTER("truncate", "d/f", truncate("d/f", 0));
	AFTER("ftruncate to the size", "d/f", ftruncate(fd, 64));
	AFTER("ftruncate", "d/f", ftruncate(fd, 1000));
	DO(close(fd));
	turn_back("d/f");
	OPEN(fd, open("d/f", O_RDWR | O_TRUNC));
	show_times("O_TRUNC", "d/f");
	DO(close(fd));
	AFTER("chmod", "d/f", chmod("d/f", 0600));
	AFTER("mknod", "d", mknod("d/g", S_IFREG | 0644, 0));
	list("d");
	show_times("readdir", "d");
	AFTER("unlink", "d", unlink("d/g"));
	AFTER("mkdir", ".", mkdir("e", 0755));
	DO(rmdir("e"));
	show_times("rmdir", ".");
	DO(unlink("d/f"));
	DO(rmdir("d"));
}

/* What there is after its name is gone, and a name that is made again. */
static void removed(void)
{
	static const int flags[] = { O_RDONLY, O_RDWR, O_RDONLY | O_NONBLOCK, O_RDWR | O_NONBLOCK };
	char self[50];
	int fd, other, i;
	section("removed");
	DO(mkdir("d", 0755));
	DO(mknod("d/f", S_IFREG | 0644, 0));
	OPEN(fd, open("d/f", O_PATH));
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	OPEN(other, open(self, O_RDWR));
	DO(unlink("d/f"));
	DO(close(other));
	DO(unlink("d/f"));
	READ(read(fd, bytes, 64));
	for (i = 0; i < 4; i++)
		OPEN(other, open(self, flags[i]));
	DO(chmod(self, 0600));
	STAT(fstat(fd, &buffer));
	OPEN(other, open("d/f", O_RDWR | O_CREAT, 0644));
	DO(close(other));
	OPEN(other, open(self, O_RDWR));
	DO(close(fd));
	DO(unlink("d/f"));
	OPEN(fd, open("d", O_RDONLY));
	DO(rmdir("d"));
	DO(mkdir("d", 0755));
	OPEN(other, openat(fd, "f", O_RDWR | O_CREAT, 0644));
	OPEN(other, open("d/f", O_RDWR | O_CREAT, 0644));
	DO(close(other));
	DO(close(fd));
	DO(unlink("d/f"));
	DO(rmdir("d"));
}

/* In between, for what another user is to find. */
#define AS_ROOT(call) (tell("seteuid(0)", seteuid(0)), tell(#call, call), tell("seteuid(1000)", seteuid(1000)))

static void users(void)
{
	int fd;
	section("another user");
	DO(mkdir("d", 0755));
	DO(mknod("d/f", S_IFREG | 0644, 0));
	DO(seteuid(1000));
	OPEN(fd, open("d/f", O_RDONLY));
	DO(close(fd));
	OPEN(fd, open("d/f", O_RDWR));
	OPEN(fd, open("d/f", O_RDONLY | O_NOATIME));
	OPEN(fd, open("d/g", O_RDWR | O_CREAT, 0644));
	DO(unlink("d/f"));
	DO(mkdir("e", 0755));
	DO(rmdir("d"));
	DO(chmod("d/f", 0666));
	DO(chown("d/f", 1000, 1000));
	DO(truncate("d/f", 0));
	DO(utimensat(AT_FDCWD, "d/f", 0, 0));
	AS_ROOT(chmod("d", 0777));
	OPEN(fd, open("d/g", O_RDWR | O_CREAT, 0600));
	STAT(fstat(fd, &buffer));
	DO(close(fd));
	DO(unlink("d/g"));
	AS_ROOT(chmod("d", 01777));
	DO(unlink("d/f"));
	AS_ROOT(chmod("d", 0700));
	STAT(stat("d/f", &buffer));
	list("d");
	DO(seteuid(0));
	DO(unlink("d/f"));
	DO(rmdir("d"));
}

static void execute(const char *path)
{
	char *none[] = { 0 };
	int status = 0;
	fflush(stdout);
	if (!fork()) {
		execve(path, none, none);
		_exit(errno);
	}
	wait(&status);
	errno = WEXITSTATUS(status);
	tell("execve(path)", errno ? -1 : 0);
}

/* From the file to another one and back, by the calls that need no buffer. */
static void copies(int fd)
{
	int other = memfd_create("x", 0), ends[2];
	DO(pwrite(fd, "copies", 6, 0));
	DO(write(other, "memory", 6));
	DO(pipe(ends));
	DO(lseek(fd, 0, SEEK_SET));
	DO(sendfile(other, fd, 0, 6));
	DO(lseek(fd, 0, SEEK_SET));
	DO(lseek(other, 0, SEEK_SET));
	DO(sendfile(fd, other, 0, 6));
	DO(lseek(fd, 0, SEEK_SET));
	DO(splice(fd, 0, ends[1], 0, 6, SPLICE_F_NONBLOCK));
	DO(write(ends[1], "pipe", 4));
	DO(lseek(fd, 0, SEEK_SET));
	DO(splice(ends[0], 0, fd, 0, 4, SPLICE_F_NONBLOCK));
	DO(lseek(fd, 0, SEEK_SET));
	DO(copy_file_range(fd, 0, other, 0, 6, 0));
	DO(lseek(other, 0, SEEK_SET));
	DO(copy_file_range(other, 0, fd, 0, 6, 0));
	close(other);
	close(ends[0]);
	close(ends[1]);
}

static void others(void)
{
	union { struct file_handle handle; char room[200]; } h = { .handle.handle_bytes = 128 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT };
	struct iovec part = { "flags", 5 };
	int fd, events, number = 0;
	section("other calls");
	DO(mkdir("\xff\xfe", 0755));
	DO(rmdir("\xff\xfe"));
	DO(mkdir("a\n", 0755));
	DO(rmdir("a\n"));
	DO(mkdir("a b", 0755));
	DO(rmdir("a b"));
	DO(mkdir("d", 0755));
	OPEN(fd, open("d/f", O_RDWR | O_CREAT, 0755));
	events = epoll_create1(0);
	DO(epoll_ctl(events, EPOLL_CTL_ADD, fd, &event));
	DO(epoll_wait(events, &event, 1, 0));
	close(events);
	copies(fd);
	DO(pwritev2(fd, &part, 1, 0, 0));
	DO(pwritev2(fd, &part, 1, 0, RWF_APPEND));
	DO(pwritev2(fd, &part, 1, 0, RWF_DSYNC));
	DO(pwritev2(fd, &part, 1, 0, RWF_NOWAIT));
	DO(preadv2(fd, &(struct iovec){ bytes, 5 }, 1, 0, RWF_NOWAIT));
	DO(fcntl(fd, F_SETFL, O_DIRECT));
	DO(ioctl(fd, _IO(0, 1), &number));	/* FIBMAP */
	DO(ioctl(fd, _IOW(0x94, 9, int), fd));	/* FICLONE */
	DO(lseek(fd, INT64_MAX, SEEK_SET));
	DO(write(fd, "x", 1));
	execute("d/f");
	DO(close(fd));
	execute("d/f");
	OPEN(fd, open("d/f", O_RDONLY));
	DO(fcntl(fd, F_SETLEASE, F_RDLCK));
	DO(fcntl(fd, F_GETLEASE));
	DO(close(fd));
	DO(name_to_handle_at(AT_FDCWD, "d/f", &h.handle, &number, 0));
	DO(unlink("d/f"));
	OPEN(fd, open("d", O_RDONLY));
	DO(lseek(fd, 0, SEEK_END));
	DO(close(fd));
	DO(rmdir("d"));
}

int main(int c, char **v)
{
	if (c != 2 || chdir(v[1])) {
		fprintf(stderr, "usage: dlmfscalls DIR, where DIR is an empty dlmfs\n");
		return 2;
	}
	setvbuf(stdout, 0, _IOLBF, 0);
	umask(0);
	alarm(50);
	directories();
	creation();
	opening();
	content();
	attributes();
	names();
	times();
	removed();
	users();
	others();
	descriptors();
	return 0;
}
