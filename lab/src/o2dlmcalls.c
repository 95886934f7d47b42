/* What programs do with libo2dlm; usage: o2dlmcalls MOUNT-POINT. Prints a line for each call, and ends with
 * 1 at the first that came out otherwise than expected, with 3 if the library does not take the file system
 * for dlmfs. Once it says "waits", another node has to want the lock d/y. Each context opens files of its
 * own. */
#include <o2dlm/o2dlm.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Milliseconds until another node has wanted the lock. */
#define PATIENCE 20000

static int expect(const char *what, long got, long wanted)
{
	printf("%s: %ld\n", what, got);
	fflush(stdout);
	if (got == wanted)
		return 0;
	printf("%s: expected %ld\n", what, wanted);
	return 1;
}

#define MUST(call, wanted) if (expect(#call, (call), (wanted))) return 1

static void blocked(void *count)
{
	++*(int *)count;
}

int main(int c, char **v)
{
	struct o2dlm_ctxt *a = 0, *b = 0;
	char value[64], same[64] = "first words", path[4200];
	unsigned int done = 0;
	int supported = 0, basts = 0;
	struct pollfd wanted = { .fd = -1, .events = POLLIN };

	if (c != 2)
		return 2;
	if (o2dlm_initialize(v[1], "d", &a) == O2DLM_ET_NO_FS)
		return 3;
	MUST(o2dlm_initialize(v[1], "d", &b), 0);

	/* Levels, and what is refused. */
	MUST(o2dlm_lock(a, "x", 0, O2DLM_LEVEL_PRMODE), 0);
	MUST(o2dlm_lock(b, "x", O2DLM_TRYLOCK, O2DLM_LEVEL_PRMODE), 0);
	MUST(o2dlm_lock(a, "x", 0, O2DLM_LEVEL_PRMODE), O2DLM_ET_RECURSIVE_LOCK);
	MUST(o2dlm_drop_lock(b, "x"), O2DLM_ET_BUSY_LOCK);
	MUST(o2dlm_unlock(b, "x"), 0);
	MUST(o2dlm_unlock(a, "x"), 0);
	MUST(o2dlm_lock(a, "x", O2DLM_TRYLOCK, O2DLM_LEVEL_EXMODE), 0);

	/* What the holder writes is what the next one reads. */
	MUST(o2dlm_write_lvb(a, "x", same, sizeof same, &done), 0);
	MUST(done, sizeof same);
	MUST(o2dlm_unlock(a, "x"), 0);
	MUST(o2dlm_lock(b, "x", 0, O2DLM_LEVEL_PRMODE), 0);
	MUST(o2dlm_read_lvb(b, "x", value, sizeof value, &done), 0);
	MUST(done, sizeof value);
	MUST(memcmp(value, same, sizeof value), 0);
	MUST(o2dlm_unlock(b, "x"), 0);
	MUST(o2dlm_drop_lock(b, "x"), 0);
	snprintf(path, sizeof path, "%s/d/x", v[1]);
	MUST(access(path, F_OK), -1);

	/* What another node wants is told. */
	MUST(o2dlm_supports_bast(&supported), 0);
	MUST(supported, 1);
	MUST(o2dlm_supports_stackglue(&supported), 0);
	MUST(supported, 1);
	MUST(o2dlm_lock_with_bast(a, "y", 0, O2DLM_LEVEL_EXMODE, blocked, &basts, &wanted.fd), 0);
	MUST(poll(&wanted, 1, 0), 0);
	puts("waits");
	fflush(stdout);
	MUST(poll(&wanted, 1, PATIENCE), 1);
	MUST(wanted.revents, POLLIN);
	o2dlm_process_bast(a, wanted.fd);
	MUST(basts, 1);
	MUST(o2dlm_unlock(a, "y"), 0);

	/* The last one to leave takes the domain away. */
	MUST(o2dlm_lock(a, "y", 0, O2DLM_LEVEL_PRMODE), 0);
	MUST(o2dlm_destroy(b), 0);
	MUST(o2dlm_destroy(a), 0);
	snprintf(path, sizeof path, "%s/d", v[1]);
	MUST(access(path, F_OK), -1);
	return 0;
}
