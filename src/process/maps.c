/* SPDX-License-Identifier: MIT */
/* /proc/PID/maps: parsing, and finding room that stays free. Entries are sorted by address, as the kernel prints them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process/process.h"

#define USER_LOW 0x10000ULL         /* the usual vm.mmap_min_addr */
#define USER_HIGH 0x7fffffff0000ULL /* the last page below 2^47 is not to be used */
#define STACK_GROWTH (72ULL << 20)  /* below [stack]: RLIMIT_STACK's usual 8 MiB and the guard gap, generously */
#define STACK_GROWTH_MAX (4ULL << 30) /* where it is unlimited */
#define HEAP_GROWTH (128ULL << 20)  /* above [heap], for brk */

static int parse_line(char *line, struct process_map *map)
{
	unsigned long start, end, offset, inode;
	unsigned major, minor;
	char prot[5];
	int path_at = 0;
	size_t length;

	if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, prot, &offset, &major, &minor, &inode, &path_at) < 7 ||
	    start >= end || strlen(prot) != 4)
		return -EINVAL;
	*map = (struct process_map){
		.start = start,
		.end = end,
		.offset = offset,
		.inode = inode,
		.major = major,
		.minor = minor,
		.read = prot[0] == 'r',
		.write = prot[1] == 'w',
		.execute = prot[2] == 'x',
		.shared = prot[3] == 's',
		.path = path_at ? line + path_at : "",
	};
	length = strlen(map->path);
	if (length > 10 && !strcmp(map->path + length - 10, " (deleted)")) {
		map->deleted = true;
		line[path_at + (int)length - 10] = '\0';
	}
	return 0;
}

/* The kernel prints newlines in paths as \012; other bytes come as they are. */
static void unescape(char *path)
{
	char *to = path;

	for (char *from = path; *from; from++) {
		if (!strncmp(from, "\\012", 4)) {
			*to++ = '\n';
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

#define STAT_START_BRK 47 /* of /proc/PID/stat */

/*
 * A program just started has no heap yet, but the kernel has chosen where it will be: an empty entry stands for it, so that
 * nothing is put in its way.
 */
static int add_empty_heap(pid_t pid, struct process_maps *maps, size_t *cap)
{
	utap_addr start;
	size_t i = 0;
	int error;

	for (size_t j = 0; j < maps->count; j++)
		if (!strcmp(maps->map[j].path, "[heap]"))
			return 0;
	start = base_align_up(process_stat_number(pid, STAT_START_BRK), BASE_PAGE);
	while (i < maps->count && maps->map[i].end <= start)
		i++;
	if (!start || (i < maps->count && maps->map[i].start < start))
		return 0;
	error = base_grow(&maps->map, cap, maps->count + 1, sizeof(*maps->map));
	if (error)
		return error;
	memmove(&maps->map[i + 1], &maps->map[i], (maps->count - i) * sizeof(*maps->map));
	maps->map[i] = (struct process_map){ .start = start, .end = start, .read = true, .write = true, .path = "[heap]" };
	maps->count++;
	return 0;
}

/* "Max stack size  8388608  unlimited  bytes": the soft limit, in force when the program was started or changed since. */
static uint64_t read_stack_room(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	const char *at;
	char path[64];
	uint64_t limit;

	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	if (base_file_read(path, &text, NULL))
		return 0;
	at = strstr(text, "Max stack size");
	if (!at)
		return 0;
	at += strlen("Max stack size");
	at += strspn(at, " ");
	if (!strncmp(at, "unlimited", 9))
		return STACK_GROWTH_MAX;
	limit = strtoull(at, NULL, 10);
	return limit > STACK_GROWTH_MAX ? STACK_GROWTH_MAX : limit + (2ULL << 20);
}

int process_maps_read(pid_t pid, struct process_maps *ret)
{
	struct process_maps maps = { 0 };
	size_t cap = 0;
	char path[64];
	char *next;
	int error;

	process_proc_path(pid, "maps", path, sizeof(path));
	error = base_file_read(path, &maps.text, NULL);
	if (error)
		return error == -ENOENT ? -ESRCH : error;
	for (char *line = maps.text; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		error = base_grow(&maps.map, &cap, maps.count + 1, sizeof(*maps.map));
		if (!error)
			error = parse_line(line, &maps.map[maps.count]);
		if (error) {
			process_maps_free(&maps);
			return error;
		}
		unescape((char *)(uintptr_t)maps.map[maps.count++].path);
	}
	maps.stack_room = read_stack_room(pid);
	error = maps.count ? add_empty_heap(pid, &maps, &cap) : -ESRCH;
	if (error) {
		process_maps_free(&maps);
		return error;
	}
	*ret = maps;
	return 0;
}

void process_maps_free(struct process_maps *maps)
{
	free(maps->map);
	free(maps->text);
	*maps = (struct process_maps){ 0 };
}

/* Index of the first mapping that ends above @addr; maps->count when there is none. */
static size_t first_above(const struct process_maps *maps, utap_addr addr)
{
	size_t low = 0;
	size_t high = maps->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (maps->map[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct process_map *process_maps_at(const struct process_maps *maps, utap_addr addr)
{
	size_t i = first_above(maps, addr);

	return i < maps->count && maps->map[i].start <= addr ? &maps->map[i] : NULL;
}

/* What a mapping occupies, with the room it may grow into. */
static utap_addr reserved_start(const struct process_maps *maps, const struct process_map *map)
{
	uint64_t room = maps->stack_room > STACK_GROWTH ? maps->stack_room : STACK_GROWTH;

	if (!strncmp(map->path, "[stack", 6))
		return map->start > room ? map->start - room : 0;
	return map->start;
}

static utap_addr reserved_end(const struct process_map *map)
{
	return !strcmp(map->path, "[heap]") ? map->end + HEAP_GROWTH : map->end;
}

bool process_maps_free_at(const struct process_maps *maps, utap_addr addr, uint64_t size)
{
	size_t i;

	if (addr < USER_LOW || addr > USER_HIGH || size > USER_HIGH - addr)
		return false;
	i = first_above(maps, addr);
	/* The heap below, and the one mapping above that may be a stack. */
	if (i > 0 && reserved_end(&maps->map[i - 1]) > addr)
		return false;
	return i >= maps->count || reserved_start(maps, &maps->map[i]) >= addr + size;
}

int process_maps_hole(const struct process_maps *maps, uint64_t size, utap_addr near, utap_addr low, utap_addr high,
		      uint64_t guard, utap_addr *ret)
{
	uint64_t best = UINT64_MAX;
	utap_addr found = 0;
	utap_addr from = USER_LOW;

	low = low < USER_LOW ? USER_LOW : low;
	high = high > USER_HIGH ? USER_HIGH : high;
	for (size_t i = 0; i <= maps->count; i++) {
		utap_addr end = i < maps->count ? reserved_start(maps, &maps->map[i]) : USER_HIGH;
		utap_addr first = base_align_up((from > low ? from : low) + guard, BASE_PAGE);
		utap_addr last = end < high ? end : high;

		if (last > guard + size && first <= last - guard - size) {
			utap_addr at = base_align_down(last - guard - size, BASE_PAGE);
			uint64_t distance;

			if (near <= first)
				at = first;
			else if (near < at)
				at = base_align_down(near, BASE_PAGE);
			distance = at > near ? at - near : near - at;
			if (distance < best) {
				best = distance;
				found = at;
			}
		}
		if (i < maps->count && reserved_end(&maps->map[i]) > from)
			from = reserved_end(&maps->map[i]);
	}
	if (best == UINT64_MAX)
		return -ENOMEM;
	*ret = found;
	return 0;
}
