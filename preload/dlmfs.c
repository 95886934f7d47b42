/* A preloaded library for programs that look for the kernel's dlmfs before they use it, as libo2dlm does:
 *
 *     LD_PRELOAD=/usr/lib/stackglue/libstackglue-dlmfs.so PROGRAM
 *
 * They are shown two things of the kernel's that a file system over FUSE cannot show by itself. statfs and
 * fstatfs give its type for what is on a mount of the type fuse.stackglue-dlmfs, and a program that opens the
 * kernel's list of capabilities is given that of such a mount, unless the kernel has one. Nothing else changes.
 *
 * In C, where everything else is Rust: what is preloaded stands in for exported C functions, one of them
 * with a variable number of arguments, which safe Rust cannot write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Numbers that statfs gives: fs/ocfs2/dlmfs/dlmfs.c, fs/fuse/inode.c. */
#define DLMFS_TYPE 0x76a9f425
#define FUSE_TYPE 0x65735546

static const char MOUNT_TYPE[] = "fuse.stackglue-dlmfs";
static const char CAPABILITIES[] = "/sys/module/ocfs2_dlmfs/parameters/capabilities";

/* The function that this library stands in front of. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Undoes how the kernel writes blanks and the like in a path, \040, in place. */
static void unescape(char *path)
{
	char *to = path;

	for (; *path; path++, to++) {
		unsigned int byte;

		if (path[0] == '\\' && sscanf(path + 1, "%3o", &byte) == 1) {
			*to = (char)byte;
			path += 3;
		} else {
			*to = *path;
		}
	}
	*to = 0;
}

/* Looks for a mount of our type, on that device if one is given: whether there is one. Its path goes to
 * `point`, which has room for PATH_MAX bytes, unless that is NULL. */
static int find_mount(const dev_t *device, char *point)
{
	FILE *mounts = NEXT(fopen)("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	int found = 0;

	if (!mounts)
		return 0;
	while (!found && getline(&line, &room, mounts) > 0) {
		/* Number, parent, device, root, point, options, any number of fields, "-", type, and so on. */
		unsigned int major_number, minor_number;
		int from = 0, to = 0;
		char *type = strstr(line, " - ");

		if (!type || strncmp(type + 3, MOUNT_TYPE, sizeof MOUNT_TYPE - 1) || type[sizeof MOUNT_TYPE + 2] != ' ')
			continue;
		if (sscanf(line, "%*d %*d %u:%u %*s %n%*s%n", &major_number, &minor_number, &from, &to) != 2 ||
		    to <= from || to - from >= PATH_MAX)
			continue;
		if (device && *device != makedev(major_number, minor_number))
			continue;
		found = 1;
		if (point) {
			memcpy(point, line + from, to - from);
			point[to - from] = 0;
			unescape(point);
		}
	}
	free(line);
	fclose(mounts);
	return found;
}

/* The path to open: the mount's list of capabilities in place of the kernel's, if that is not there. */
static const char *path_of(const char *path, char *ours)
{
	static const char list[] = "/.capabilities";
	int before = errno;

	if (path && !strcmp(path, CAPABILITIES) && access(path, F_OK) && find_mount(NULL, ours) &&
	    strlen(ours) + sizeof list <= PATH_MAX)
		path = strcat(ours, list);
	errno = before;
	return path;
}

/* The argument of open behind its flags, where it has one. */
static mode_t mode_of(int flags, va_list rest)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

/* Each function is there twice: a program for large files calls the one with 64 in its name. */
#define STATFS(name, result) \
	int name(const char *path, struct result *found) \
	{ \
		struct stat file; \
		int failed = NEXT(name)(path, found); \
 \
		if (!failed && found->f_type == FUSE_TYPE && !stat(path, &file) && \
		    find_mount(&file.st_dev, NULL)) \
			found->f_type = DLMFS_TYPE; \
		return failed; \
	}

#define FSTATFS(name, result) \
	int name(int fd, struct result *found) \
	{ \
		struct stat file; \
		int failed = NEXT(name)(fd, found); \
 \
		if (!failed && found->f_type == FUSE_TYPE && !fstat(fd, &file) && \
		    find_mount(&file.st_dev, NULL)) \
			found->f_type = DLMFS_TYPE; \
		return failed; \
	}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		char ours[PATH_MAX]; \
		va_list rest; \
 \
		va_start(rest, flags); \
		mode_t mode = mode_of(flags, rest); \
		va_end(rest); \
		return NEXT(name)(path_of(path, ours), flags, mode); \
	}

#define OPENAT(name) \
	int name(int directory, const char *path, int flags, ...) \
	{ \
		char ours[PATH_MAX]; \
		va_list rest; \
 \
		va_start(rest, flags); \
		mode_t mode = mode_of(flags, rest); \
		va_end(rest); \
		return NEXT(name)(directory, path_of(path, ours), flags, mode); \
	}

#define FOPEN(name) \
	FILE *name(const char *path, const char *how) \
	{ \
		char ours[PATH_MAX]; \
 \
		return NEXT(name)(path_of(path, ours), how); \
	}

STATFS(statfs, statfs)
STATFS(statfs64, statfs64)
FSTATFS(fstatfs, statfs)
FSTATFS(fstatfs64, statfs64)
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)
