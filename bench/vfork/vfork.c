// The floor under every program that runs commands: vfork and execv of the shell, its output to
// /dev/null, and a wait for it. It is called `vfork COMMAND CLIENTS COMMANDS`, and prints how many
// nanoseconds all of it took, then how many each command took.
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *command;
static long commands, *took;
static atomic_long next;
static int devnull;

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void run_one(void)
{
	char *const argv[] = {"sh", "-c", (char *)command, NULL};
	int status;
	pid_t child = vfork();

	if (child == 0) {
		dup2(devnull, 0);
		dup2(devnull, 1);
		dup2(devnull, 2);
		execv("/bin/sh", argv);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		exit(1);
}

static void *run_client(void *unused)
{
	for (long i; (i = atomic_fetch_add(&next, 1)) < commands;) {
		long begin = now();

		run_one();
		took[i] = now() - begin;
	}
	return unused;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	command = argv[1];
	long clients = atol(argv[2]);
	commands = atol(argv[3]);
	took = calloc(commands, sizeof *took);
	pthread_t *threads = calloc(clients, sizeof *threads);
	devnull = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (took == NULL || threads == NULL || devnull < 0)
		return 1;
	long begin = now();
	for (long i = 0; i < clients; i++)
		if (pthread_create(&threads[i], NULL, run_client, NULL) != 0)
			return 1;
	for (long i = 0; i < clients; i++)
		pthread_join(threads[i], NULL);
	printf("%ld\n", now() - begin);
	for (long i = 0; i < commands; i++)
		printf("%ld\n", took[i]);
	return 0;
}
