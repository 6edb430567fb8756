/* SPDX-License-Identifier: MIT */
/*
 * Rows are sorted by start, and where starts are equal by the order of lines. Each row knows how far the furthest of the rows up to it
 * reaches: so the search for all rows that hold an address ends early.
 */
#include "object/jit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (512UL << 20)
#define AGAIN_NS 500000000ULL

struct jit_row {
	uint64_t start, end;
	uint64_t reach;   /* the largest end of the rows up to this one */
	const char *name; /* in text */
	size_t line;
};

struct object_jit {
	char path[4096];
	uid_t owner; /* of the process, when it was there */
	off_t size;  /* of the file, as it was read */
	uint64_t looked_ns;
	char *text;
	struct jit_row *rows;
	size_t count, cap;
};

int object_jit_open(const char *directory, uint32_t pid, struct object_jit **ret)
{
	struct object_jit *jit = calloc(1, sizeof(*jit));
	struct stat st;
	char process[40];

	if (!jit)
		return -ENOMEM;
	snprintf(jit->path, sizeof(jit->path), "%s/perf-%" PRIu32 ".map", directory ? directory : "/tmp", pid);
	snprintf(process, sizeof(process), "/proc/%" PRIu32, pid);
	jit->owner = stat(process, &st) ? geteuid() : st.st_uid;
	*ret = jit;
	return 0;
}

static void forget(struct object_jit *jit)
{
	free(jit->rows);
	free(jit->text);
	jit->rows = NULL;
	jit->text = NULL;
	jit->count = jit->cap = 0;
}

void object_jit_close(struct object_jit *jit)
{
	if (jit)
		forget(jit);
	free(jit);
}

/* ---- reading ---- */

/* A hexadecimal number and the blanks behind it. */
static bool take_number(char **at, uint64_t *ret)
{
	char *end;

	if (!((**at >= '0' && **at <= '9') || (**at >= 'a' && **at <= 'f') || (**at >= 'A' && **at <= 'F')))
		return false;
	errno = 0;
	*ret = strtoull(*at, &end, 16);
	if (errno || *end != ' ')
		return false;
	*at = end + strspn(end, " ");
	return true;
}

static int take_line(struct object_jit *jit, char *line, size_t number)
{
	uint64_t start, size;

	if (!take_number(&line, &start) || !take_number(&line, &size) || !size || size > UINT64_MAX - start || !*line)
		return 0;
	if (base_grow(&jit->rows, &jit->cap, jit->count + 1, sizeof(*jit->rows)))
		return -ENOMEM;
	jit->rows[jit->count++] = (struct jit_row) { .start = start, .end = start + size, .name = line, .line = number };
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct jit_row *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->line < b->line ? -1 : a->line > b->line;
}

static int parse(struct object_jit *jit)
{
	uint64_t reach = 0;
	size_t number = 0;
	int error = 0;

	for (char *line = jit->text, *next; line && !error; line = next) {
		next = strchr(line, '\n');
		if (!next)
			break; /* it is being written */
		*next++ = '\0';
		error = take_line(jit, line, number++);
	}
	if (jit->count)
		qsort(jit->rows, jit->count, sizeof(*jit->rows), compare);
	for (size_t i = 0; i < jit->count; i++) {
		reach = jit->rows[i].end > reach ? jit->rows[i].end : reach;
		jit->rows[i].reach = reach;
	}
	return error;
}

static bool read_all(int fd, char *text, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = read(fd, text + done, size - done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* All or nothing: what cannot be read has no names. */
static void look(struct object_jit *jit)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	uint64_t now = base_now_ns();

	if (jit->looked_ns && now - jit->looked_ns < AGAIN_NS)
		return;
	jit->looked_ns = now;
	fd = open(jit->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || (size_t)st.st_size > FILE_MAX || st.st_size == jit->size)
		return;
	if (st.st_uid && st.st_uid != geteuid() && st.st_uid != jit->owner) {
		base_log(BASE_LOG_WARN, "%s is not used: it belongs neither to you nor to root", jit->path);
		jit->size = st.st_size;
		return;
	}
	forget(jit);
	jit->size = st.st_size;
	jit->text = calloc(1, (size_t)st.st_size + 1);
	if (!jit->text || !read_all(fd, jit->text, (size_t)st.st_size) || parse(jit))
		forget(jit);
}

/* ---- looking up ---- */

static const struct jit_row *find(const struct object_jit *jit, uint64_t addr)
{
	const struct jit_row *best = NULL;
	size_t low = 0;

	/* Invariant: rows below low start at or before addr, those from high on after it. */
	for (size_t high = jit->count; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (jit->rows[middle].start <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low-- > 0 && jit->rows[low].reach > addr;)
		if (jit->rows[low].end > addr && (!best || jit->rows[low].line > best->line))
			best = &jit->rows[low];
	return best;
}

const char *object_jit_at(struct object_jit *jit, uint64_t addr, uint64_t *offset)
{
	const struct jit_row *row = find(jit, addr);

	if (!row) {
		look(jit);
		row = find(jit, addr);
	}
	if (!row)
		return NULL;
	*offset = addr - row->start;
	return row->name;
}
