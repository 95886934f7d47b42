/* fpregs.so - preloaded into linux.uml: lets it set the floating-point registers of its processes.
 *
 * UML 6.1 has room for 2696 bytes of them (arch/x86/um/user-offsets.c, HOST_FP_SIZE), which is
 * everything up to AVX-512. A host with AMX has 11 KiB, reads a part of that into UML's room, and
 * refuses to write less than the whole (EFAULT), so that init dies before its first instruction.
 * Here the part is written with the rest, which UML's processes do not use, as zeros.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long ptrace_fn(enum __ptrace_request, pid_t, void *, void *);

static long set_xstate(ptrace_fn *libc, pid_t pid, struct iovec *part)
{
	static char whole[64 * 1024];
	static size_t len;
	void *type = (void *)NT_X86_XSTATE;
	struct iovec all = { whole, sizeof(whole) };

	if (!len && libc(PTRACE_GETREGSET, pid, type, &all) == 0) {
		len = all.iov_len;
		memset(whole, 0, sizeof(whole));
	}
	if (part->iov_len >= len)
		return libc(PTRACE_SETREGSET, pid, type, part);
	memcpy(whole, part->iov_base, part->iov_len);
	all.iov_len = len;
	return libc(PTRACE_SETREGSET, pid, type, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_fn *libc;
	va_list rest;
	pid_t pid;
	void *addr, *data;

	if (!libc)
		libc = (ptrace_fn *)dlsym(RTLD_NEXT, "ptrace");
	va_start(rest, request);
	pid = va_arg(rest, pid_t);
	addr = va_arg(rest, void *);
	data = va_arg(rest, void *);
	va_end(rest);
	if (request == PTRACE_SETREGSET && addr == (void *)NT_X86_XSTATE)
		return set_xstate(libc, pid, data);
	return libc(request, pid, addr, data);
}
