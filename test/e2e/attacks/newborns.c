/* Stops or kills the daemon's children between their creation and their execve, and no other process.

   newborns stop|kill EXECUTOR SECONDS

   Sends SIGSTOP to the next process ids. A stopped process is a newborn if it still has the command
   line of the executor: it stays stopped, or is killed. All others are continued. Prints the number of
   newborns. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ahead = 12 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static ssize_t slurp(int pid, const char *name, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, size - 1);
	close(fd);
	if (n >= 0)
		text[n] = 0;
	return n;
}

static int last_pid(int fd)
{
	char text[16];
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	if (n <= 0)
		return -1;
	text[n] = 0;
	return atoi(text);
}

/* A signal takes effect when the process leaves the kernel. */
static int has_stopped(int pid)
{
	char text[512];
	for (double until = now() + 0.5; now() < until;) {
		if (slurp(pid, "stat", text, sizeof text) < 0)
			return 0;
		char *end = strrchr(text, ')');
		if (end && end[1] && end[2] == 'T')
			return 1;
		if (end && end[1] && (end[2] == 'Z' || end[2] == 'X'))
			return 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char wanted[256], found[256];
	if (argc != 4)
		return 2;
	int die = !strcmp(argv[1], "kill"), executor = atoi(argv[2]), met = 0;
	ssize_t length = slurp(executor, "cmdline", wanted, sizeof wanted);
	int last = open("/proc/sys/kernel/ns_last_pid", O_RDONLY | O_CLOEXEC);
	if (length <= 0 || last < 0)
		return 1;
	for (double until = now() + atof(argv[3]); now() < until;) {
		int next = last_pid(last);
		for (int pid = next > 2 ? next - 1 : next; pid <= next + ahead; pid++) {
			if (pid == getpid() || syscall(SYS_tgkill, pid, pid, SIGSTOP) < 0) /* never a thread */
				continue;
			int newborn = has_stopped(pid) && pid != executor &&
				slurp(pid, "cmdline", found, sizeof found) == length && !memcmp(found, wanted, length);
			met += newborn;
			if (newborn && die)
				kill(pid, SIGKILL);
			else if (!newborn)
				kill(pid, SIGCONT);
		}
	}
	printf("met %d newborns\n", met);
	return 0;
}
