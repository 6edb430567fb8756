/* SPDX-License-Identifier: MIT */
#include "remote.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process.h"

/* A target that is gone is worse news than what we were doing: how did it end? */
static void explain_end(struct remote *remote)
{
	size_t used = strlen(remote->error);
	int status;

	if (remote->pid <= 0 || waitpid(remote->pid, &status, WNOHANG) != remote->pid)
		return;
	remote->pid = -1;
	if (WIFSIGNALED(status))
		snprintf(remote->error + used, sizeof(remote->error) - used, "; THE TARGET DIED of signal %d, %s",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(remote->error + used, sizeof(remote->error) - used, "; THE TARGET ENDED with %d%s",
			 WEXITSTATUS(status), WEXITSTATUS(status) == 1 ? ", as it does at wrong results" : "");
}

void remote_fail(struct remote *remote, const char *format, ...)
{
	va_list ap;

	if (remote->error[0])
		return;
	va_start(ap, format);
	vsnprintf(remote->error, sizeof(remote->error), format, ap);
	va_end(ap);
	explain_end(remote);
}

static void run_child(const char *path, const int to[2], const int from[2])
{
	dup2(to[0], STDIN_FILENO);
	dup2(from[1], STDOUT_FILENO);
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
	execl(path, path, (char *)NULL);
	_exit(127);
}

void remote_start(struct remote *remote, const char *path)
{
	int to[2], from[2];
	char ready[16];

	*remote = (struct remote){ .pid = -1 };
	snprintf(remote->path, sizeof(remote->path), "%s", path);
	if (pipe(to) || pipe(from)) {
		remote_fail(remote, "no pipes: %s", strerror(errno));
		return;
	}
	fflush(NULL);
	remote->pid = fork();
	if (remote->pid == 0)
		run_child(path, to, from);
	close(to[0]);
	close(from[1]);
	remote->to = fdopen(to[1], "w");
	remote->from = fdopen(from[0], "r");
	if (remote->pid < 0 || !remote->to || !remote->from)
		remote_fail(remote, "%s cannot be started: %s", path, strerror(errno));
	else if (!fgets(ready, sizeof(ready), remote->from))
		remote_fail(remote, "%s ended at once", path);
}

void remote_end(struct remote *remote)
{
	if (remote->to)
		fclose(remote->to);
	if (remote->from)
		fclose(remote->from);
	if (remote->pid > 0) {
		kill(remote->pid, SIGKILL);
		waitpid(remote->pid, NULL, 0);
	}
	remote->to = remote->from = NULL;
	remote->pid = -1;
}

/* One line there, one line back. */
static const char *ask(struct remote *remote, const char *command, char *line, size_t size)
{
	if (remote->error[0])
		return "";
	if (fprintf(remote->to, "%s\n", command) < 0 || fflush(remote->to) || !fgets(line, (int)size, remote->from)) {
		remote_fail(remote, "%s ended at '%s'", remote->path, command);
		return "";
	}
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "ok", 2) != 0) {
		remote_fail(remote, "%s: %s", command, line);
		return "";
	}
	return line + 2;
}

double remote_measure(struct remote *remote, const char *set, size_t calls, int threads, uint64_t *made)
{
	char command[128], line[256];
	double ns = 0;
	uint64_t n = 0;

	snprintf(command, sizeof(command), "measure %s %zu %d", set, calls, threads);
	if (sscanf(ask(remote, command, line, sizeof(line)), "%lf %" SCNu64, &ns, &n) == 2 && made)
		*made += n;
	return ns;
}

void remote_spin(struct remote *remote, const char *set, int threads, double rate)
{
	char command[128], line[256];

	snprintf(command, sizeof(command), "spin %s %d %.0f", set, threads, rate);
	ask(remote, command, line, sizeof(line));
}

static uint64_t ask_number(struct remote *remote, const char *command)
{
	char line[256];
	uint64_t n = 0;

	sscanf(ask(remote, command, line, sizeof(line)), "%" SCNu64, &n);
	return n;
}

uint64_t remote_stop(struct remote *remote) { return ask_number(remote, "stop"); }

uint64_t remote_floor(struct remote *remote, const char *mode)
{
	char command[64];

	snprintf(command, sizeof(command), "floor %s", mode);
	return ask_number(remote, command);
}

uint64_t remote_where(struct remote *remote, const char *set, uint64_t *offset)
{
	char command[64], line[256];
	struct process_maps maps;
	uint64_t addr = 0;

	snprintf(command, sizeof(command), "where %s", set);
	sscanf(ask(remote, command, line, sizeof(line)), "%" SCNx64, &addr);
	if (remote->error[0] || !offset)
		return addr;
	if (process_maps_read(remote->pid, &maps)) {
		remote_fail(remote, "the mappings of %s cannot be read", remote->path);
		return addr;
	}

	const struct process_map *map = process_maps_at(&maps, addr);

	if (map)
		*offset = addr - map->start + map->offset;
	else
		remote_fail(remote, "%s is not where it should be", set);
	process_maps_free(&maps);
	return addr;
}
