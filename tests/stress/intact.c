/* SPDX-License-Identifier: MIT */
#include "intact.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (256 << 10)

struct line {
	uintptr_t start, end;
	uint64_t offset, inode;
	char perms[8], device[16], path[4096];
};

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return fopen(path, "re");
}

static bool parse(const char *text, struct line *line)
{
	size_t length;
	int at = 0;

	if (sscanf(text, "%" SCNxPTR "-%" SCNxPTR " %7s %" SCNx64 " %15s %" SCNu64 " %n", &line->start, &line->end,
		   line->perms, &line->offset, line->device, &line->inode, &at) < 6)
		return false;
	snprintf(line->path, sizeof(line->path), "%s", text + at);
	line->path[strcspn(line->path, "\n")] = '\0';
	length = strlen(line->path);
	if (length > 10 && strcmp(line->path, "/memfd:utap (deleted)") &&
	    !strcmp(line->path + length - 10, " (deleted)"))
		line->path[length - 10] = '\0'; /* a program that was replaced is no change of the process */
	return true;
}

static long status_field(pid_t pid, const char *name)
{
	FILE *file = open_proc(pid, "status");
	size_t length = strlen(name);
	char text[256];
	long value = 0;

	while (file && fgets(text, sizeof(text), file))
		if (!strncmp(text, name, length) && text[length] == ':')
			value = atol(text + length + 1);
	if (file)
		fclose(file);
	return value;
}

static long count_fds(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	long n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static void print_line(const struct line *line, FILE *all, FILE *files)
{
	bool stack = !strncmp(line->path, "[stack", 6);
	bool heap = !strcmp(line->path, "[heap]");

	fprintf(all, "%" PRIxPTR "-%" PRIxPTR " %s %" PRIx64 " %s %s\n", stack ? 0 : line->start, heap ? 0 : line->end,
		line->perms, line->offset, line->device, line->path);
	if (line->inode)
		fprintf(files, "%" PRIxPTR "-%" PRIxPTR " %s %" PRIx64 " %s %s\n", line->start, line->end, line->perms,
			line->offset, line->device, line->path);
}

bool intact_take(pid_t pid, struct intact *ret)
{
	struct intact state = { 0 };
	size_t size, size_files;
	FILE *maps = open_proc(pid, "maps");
	FILE *all = open_memstream(&state.maps, &size);
	FILE *files = open_memstream(&state.files, &size_files);
	char text[8192];
	struct line line;
	int lines = 0;

	while (maps && all && files && fgets(text, sizeof(text), maps) && parse(text, &line)) {
		print_line(&line, all, files);
		lines++;
	}
	if (maps)
		fclose(maps);
	if (all)
		fclose(all);
	if (files)
		fclose(files);
	state.fds = count_fds(pid);
	state.locked_kib = status_field(pid, "VmLck");
	state.size_kib = status_field(pid, "VmSize");
	state.resident_kib = status_field(pid, "VmRSS");
	if (!lines) {
		intact_free(&state);
		return false;
	}
	*ret = state;
	return true;
}

void intact_free(struct intact *state)
{
	free(state->maps);
	free(state->files);
	memset(state, 0, sizeof(*state));
}

/* ---- text ---- */

static int open_mapped(pid_t pid, const struct line *line)
{
	char path[4200];
	struct stat status;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIxPTR "-%" PRIxPTR, pid, line->start, line->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = open(line->path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && (fstat(fd, &status) || status.st_ino != line->inode)) {
		close(fd);
		return -1;
	}
	return fd;
}

static long compare(int mem, int fd, const struct line *line, FILE *why)
{
	static unsigned char live[CHUNK], file[CHUNK];
	uintptr_t at = line->start;
	long differ = 0;

	while (at < line->end) {
		size_t want = line->end - at < CHUNK ? line->end - at : CHUNK;
		ssize_t n = pread(fd, file, want, (off_t)(line->offset + (at - line->start)));

		if (n <= 0)
			break; /* behind the end of the file: zeroes */
		if (pread(mem, live, (size_t)n, (off_t)at) != n)
			return -1;
		for (ssize_t i = 0; memcmp(live, file, (size_t)n) && i < n; i++)
			if (live[i] != file[i] && !differ++)
				fprintf(why, "text differs at 0x%" PRIxPTR " of %s: %02x, not %02x\n",
					at + (uintptr_t)i, line->path, live[i], file[i]);
		at += (uintptr_t)n;
	}
	return differ;
}

long intact_text(pid_t pid, FILE *why)
{
	FILE *maps = open_proc(pid, "maps");
	char text[8192], path[64];
	struct line line;
	long differ = 0;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	while (maps && mem >= 0 && differ >= 0 && fgets(text, sizeof(text), maps) && parse(text, &line)) {
		int fd = line.perms[2] == 'x' && line.inode && line.path[0] == '/' ? open_mapped(pid, &line) : -1;
		long n = fd < 0 ? 0 : compare(mem, fd, &line, why);

		if (fd >= 0)
			close(fd);
		differ = n < 0 ? -1 : differ + n;
	}
	if (!maps || mem < 0)
		differ = -1;
	if (maps)
		fclose(maps);
	if (mem >= 0)
		close(mem);
	if (differ < 0)
		fprintf(why, "the text of process %d cannot be read\n", pid);
	return differ;
}

/* ---- comparison ---- */

static bool has_line(const char *text, const char *line, size_t length)
{
	for (const char *at = text; *at; at += strcspn(at, "\n") + 1)
		if (!strncmp(at, line, length) && at[length] == '\n')
			return true;
	return false;
}

static bool covers(const char *text, const char *other, const char *what, FILE *why)
{
	bool same = true;

	for (const char *at = other; *at; at += strcspn(at, "\n") + 1) {
		size_t length = strcspn(at, "\n");

		if (!has_line(text, at, length)) {
			fprintf(why, "%s %.*s\n", what, (int)length, at);
			same = false;
		}
	}
	return same;
}

static bool same_maps(const char *before, const char *now, FILE *why)
{
	bool same = covers(now, before, "gone:", why);

	return covers(before, now, "new: ", why) && same;
}

bool intact_check(pid_t pid, const struct intact *before, enum intact_how how, FILE *why)
{
	struct intact now;
	bool same;

	if (!intact_is_alive(pid) || !intact_take(pid, &now)) {
		fprintf(why, "process %d is gone\n", pid);
		return false;
	}
	same = how == INTACT_ALL ? same_maps(before->maps, now.maps, why) : same_maps(before->files, now.files, why);
	if (strstr(now.maps, "/memfd:utap")) {
		fprintf(why, "memory of utap is still mapped\n");
		same = false;
	}
	if (how == INTACT_ALL && before->fds != now.fds) {
		fprintf(why, "%ld descriptors are open, not %ld\n", now.fds, before->fds);
		same = false;
	}
	if (before->locked_kib != now.locked_kib) {
		fprintf(why, "%ld KiB are locked, not %ld\n", now.locked_kib, before->locked_kib);
		same = false;
	}
	if (status_field(pid, "TracerPid")) {
		fprintf(why, "pid %ld traces it\n", status_field(pid, "TracerPid"));
		same = false;
	}
	intact_free(&now);
	return intact_text(pid, why) == 0 && same;
}

bool intact_is_alive(pid_t pid)
{
	FILE *file = open_proc(pid, "stat");
	char text[512] = "";
	const char *end;
	bool alive;

	if (!file)
		return false;
	end = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
	alive = end && end[2] != 'Z' && end[2] != 'X';
	fclose(file);
	return alive;
}

/* ---- files ---- */

bool intact_save(const struct intact *state, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return false;
	fprintf(file, "%ld %ld %ld %ld\n%s--\n%s", state->fds, state->locked_kib, state->size_kib, state->resident_kib,
		state->maps, state->files);
	return fclose(file) == 0;
}

bool intact_load(const char *path, struct intact *ret)
{
	struct intact state = { 0 };
	FILE *file = fopen(path, "re");
	char *text = NULL, *maps, *files;
	size_t size = 0;

	if (!file)
		return false;
	if (getdelim(&text, &size, '\0', file) < 0 ||
	    sscanf(text, "%ld %ld %ld %ld", &state.fds, &state.locked_kib, &state.size_kib, &state.resident_kib) != 4) {
		free(text);
		fclose(file);
		return false;
	}
	fclose(file);
	maps = strchr(text, '\n') + 1;
	files = strstr(maps, "--\n");
	if (files) {
		state.files = strdup(files + 3);
		state.maps = strndup(maps, (size_t)(files - maps));
	}
	free(text);
	*ret = state;
	return files != NULL;
}
