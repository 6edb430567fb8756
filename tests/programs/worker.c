/* SPDX-License-Identifier: MIT */
/*
 * A busy multi-threaded program for the demo and the tests: a few threads serve "requests" for ever (or for SECONDS), checking their own
 * results all the time; a wrong result aborts.
 *
 * Usage: worker [SECONDS [THREADS]]; prints its pid, and at the end EXIT-SUCCESS and how often each function was called.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 64

struct worker {
	pthread_t thread;
	unsigned long requests, lookups, hashes;
	char pad[96];
};

static struct worker workers[MAX_THREADS];
static volatile sig_atomic_t stopping;

unsigned worker_hash(const char *text, unsigned long size);
int worker_lookup(unsigned hash, long key);
long handle_request(struct worker *worker, long number, const char *name);

__attribute__((noinline)) unsigned worker_hash(const char *text, unsigned long size)
{
	unsigned hash = 2166136261U;

	for (unsigned long i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619U;
	return hash;
}

__attribute__((noinline)) int worker_lookup(unsigned hash, long key)
{
	__asm__ volatile("" ::: "memory");
	return (int)(hash % 1009U + (unsigned)(key % 7));
}

__attribute__((noinline)) long handle_request(struct worker *worker, long number, const char *name)
{
	char *copy = strdup(name);
	size_t size = strlen(copy);
	unsigned hash = worker_hash(copy, size);
	int bucket = worker_lookup(hash, number);

	worker->requests++;
	worker->hashes++;
	worker->lookups++;
	free(copy);
	if (bucket != (int)(hash % 1009U + (unsigned)(number % 7)) || hash != worker_hash(name, size)) {
		fprintf(stderr, "worker: wrong result\n");
		abort();
	}
	worker->hashes++;
	return bucket;
}

static void *serve(void *arg)
{
	static const char *const names[] = { "alice", "bob", "carol", "a much longer name than the others" };
	struct worker *worker = arg;
	long sum = 0;

	for (long i = 0; !stopping; i++) {
		sum += handle_request(worker, i, names[i & 3]);
		if (i % 64 == 0)
			usleep(200);
	}
	return (void *)sum;
}

static void on_term(int signal)
{
	(void)signal;
	stopping = 1;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 0;
	int threads = argc > 2 ? atoi(argv[2]) : 4;
	struct worker sum = { 0 };

	signal(SIGTERM, on_term);
	printf("%d\n", getpid());
	fflush(stdout);
	if (threads > MAX_THREADS)
		threads = MAX_THREADS;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&workers[i].thread, NULL, serve, &workers[i]))
			return 1;
	for (int i = 0; !stopping && (!seconds || i < seconds * 100); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	stopping = 1;
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		sum.requests += workers[i].requests;
		sum.hashes += workers[i].hashes;
		sum.lookups += workers[i].lookups;
	}
	printf("handle_request %lu\nworker_hash %lu\nworker_lookup %lu\nEXIT-SUCCESS\n", sum.requests, sum.hashes, sum.lookups);
	return 0;
}
