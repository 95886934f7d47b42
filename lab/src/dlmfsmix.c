/* dlmfsmix - a random workload on a few dlmfs locks, which writes down what it does.
 * usage: dlmfsmix run DIR LOG STOP PREFIX SEED NAME...  until the file STOP exists
 *        dlmfsmix clock               the time stamp counter and CLOCK_MONOTONIC (ns), now
 *
 * The log has a line for each step; see lab/rig/src/history.rs for what they mean. Times are the
 * time stamp counter's: a guest's programs read the same one as the host's, so that all logs of a
 * machine have one clock. Each line is with the host (hostfs writes out what is closed) before
 * the next step is made: it survives the guest.
 *
 * Each name is used by one process of a node only, since dlmfs does not keep two of its own apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static const char *log_path;

static void say(const char *step, const char *op, const char *rest)
{
	char line[300];
	int fd, n = snprintf(line, sizeof line, "%llu %s %s%s%s\n",
			     (unsigned long long)__rdtsc(), step, op, *rest ? " " : "", rest);
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || write(fd, line, n) != n || close(fd)) {
		perror(log_path);
		exit(1);
	}
}

static uint64_t state;

static unsigned choose(unsigned below)	/* xorshift */
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 20) % below;
}

static void tell_clock(void)
{
	uint64_t best = UINT64_MAX, tsc = 0, ns = 0;
	int i;
	for (i = 0; i < 100; i++) {
		struct timespec t;
		uint64_t before = __rdtsc(), after;
		clock_gettime(CLOCK_MONOTONIC, &t);
		after = __rdtsc();
		if (after - before < best) {
			best = after - before;
			tsc = before + best / 2;
			ns = t.tv_sec * 1000000000ull + t.tv_nsec;
		}
	}
	printf("%llu %llu\n", (unsigned long long)tsc, (unsigned long long)ns);
}

int main(int c, char **v)
{
	unsigned long number = 0;
	if (c > 1 && !strcmp(v[1], "clock")) {
		tell_clock();
		return 0;
	}
	if (c < 8 || strcmp(v[1], "run")) {
		fprintf(stderr, "usage: see the head of dlmfsmix.c\n");
		return 2;
	}
	log_path = v[3];
	state = strtoull(v[6], 0, 0) | 1;
	while (access(v[4], F_OK)) {
		char path[200], op[60], value[65] = "", rest[100];
		unsigned which = choose(c - 7);
		int ex = choose(2), try = !choose(4), fd;
		const char *name = v[7 + which];
		snprintf(path, sizeof path, "%s/%s", v[2], name);
		snprintf(op, sizeof op, "%s.%lu", v[5], ++number);
		snprintf(rest, sizeof rest, "%s %s", name, ex ? "ex" : "pr");
		say("ask", op, rest);
		fd = open(path, O_CREAT | (ex ? O_RDWR : O_RDONLY) | (try ? O_NONBLOCK : 0), 0600);
		if (fd < 0 && errno == ETXTBSY) {
			say("refused", op, "");
			usleep(choose(5000));
			continue;
		}
		if (fd < 0 || pread(fd, value, 64, 0) < 0) {
			perror(path);
			return 1;
		}
		say("got", op, *value ? value : "-");
		usleep(choose(16) ? choose(5000) : 50000);
		say("put", op, "");
		if (ex) {
			memset(value, 0, sizeof value);
			strcpy(value, op);
			if (pwrite(fd, value, 64, 0) != 64) {
				perror("write");
				return 1;
			}
		}
		/* The lock is dropped, too. One that a kernel keeps and converts makes it cancel what it
		 * converts now and then, and fs/ocfs2/dlmfs/userdlm.c loses track of its cancels: it
		 * stops answering, or panics in user_ast. */
		if (close(fd) || unlink(path)) {
			perror(path);
			return 1;
		}
		say("let", op, "");
		usleep(choose(10000));
	}
	return 0;
}
