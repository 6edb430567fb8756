/* SPDX-License-Identifier: MIT */
/*
 * The only writer of text. Nothing is written in place: pages are changed beside and switched by one mremap, which other threads
 * see as all or nothing.
 *
 *   stage:   mremap(text, MREMAP_DONTUNMAP) moves the pages of a stretch somewhere free; the text stays mapped and is read from the
 *            page cache again by whoever runs it. The staged mapping is of the very same open file, so that after the switch the
 *            kernel can merge it with its neighbours: the process ends up with the mappings it had.
 *   fill:    through /proc/PID/mem; pages that nothing changes stay file pages
 *   switch:  mremap(stage -> text, MREMAP_FIXED)
 *   undo:    the same move, without a way back: what is left at the text's place are the file's pages
 *   mend:    a segment that equals its file again, but is in pieces, is mapped anew as a whole
 *
 * A stretch with private pages (somebody else's changes would vanish while it is moved), a locked one, and kernels that cannot move
 * file mappings (before 5.13) are staged by mapping the file anew: mmap(PROT_READ | PROT_EXEC, MAP_PRIVATE, file, offset).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "patch/inside.h"

#define RUN_GAP_PAGES 8   /* pages between two changed ones that are switched along with them */
#define RUNS_A_MAPPING 64 /* more stretches than this in one mapping become one: each costs two mappings */
#define MEND_CHUNK (64U << 10)
#define RX (PROT_READ | PROT_EXEC)
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7; 5.13 for file mappings */
#endif

/* ---- stretches ---- */

static int compare_addr(const void *a, const void *b)
{
	const utap_addr *x = a;
	const utap_addr *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Both pages of a change that straddles two. */
static size_t list_pages(const struct patch_change *changes, size_t count, utap_addr *pages)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		utap_addr first = base_align_down(changes[i].addr, BASE_PAGE);
		utap_addr last = base_align_down(changes[i].addr + changes[i].length - 1, BASE_PAGE);

		pages[n++] = first;
		if (last != first)
			pages[n++] = last;
	}
	qsort(pages, n, sizeof(*pages), compare_addr);
	return n;
}

static void merge_runs_of_mapping(struct patch_run *runs, size_t *count)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count;) {
		size_t j = i;

		while (j < *count && runs[j].map == runs[i].map)
			j++;
		if (j - i > RUNS_A_MAPPING) {
			runs[kept] = runs[i];
			runs[kept++].size = runs[j - 1].start + runs[j - 1].size - runs[i].start;
		} else {
			memmove(&runs[kept], &runs[i], (j - i) * sizeof(*runs));
			kept += j - i;
		}
		i = j;
	}
	*count = kept;
}

long patch_runs(struct patch_target *target, const struct patch_change *changes, size_t count, struct patch_run **ret)
{
	_cleanup_free_ utap_addr *pages = malloc((2 * count + 1) * sizeof(*pages));
	struct patch_run *runs = calloc(2 * count + 1, sizeof(*runs));
	size_t n = 0;
	size_t npages;

	if (!pages || !runs) {
		free(runs);
		return -ENOMEM;
	}
	npages = list_pages(changes, count, pages);
	for (size_t i = 0; i < npages; i++) {
		struct patch_run *last = n ? &runs[n - 1] : NULL;
		const struct process_map *map = last && pages[i] < last->map->end ? last->map :
										     process_maps_at(&target->maps, pages[i]);

		if (!map)
			continue; /* unloaded meanwhile */
		if (last && last->map == map && pages[i] <= last->start + last->size + RUN_GAP_PAGES * BASE_PAGE) {
			if (pages[i] + BASE_PAGE > last->start + last->size)
				last->size = pages[i] + BASE_PAGE - last->start;
			continue;
		}
		runs[n++] = (struct patch_run){
			.start = pages[i], .size = BASE_PAGE, .map = map, .module = patch_module_at(target, pages[i])
		};
	}
	merge_runs_of_mapping(runs, &n);
	*ret = runs;
	return (long)n;
}

/* ---- the file, opened by the target ---- */

static bool is_same_file(pid_t pid, pid_t tid, int64_t fd, const struct patch_module *module)
{
	struct stat status;
	char path[80];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd/%d", pid, tid, (int)fd);
	return !stat(path, &status) && status.st_ino == module->inode;
}

static int try_open(struct patch_target *target, struct engine_loan *loan, const char *path, int64_t *fd)
{
	utap_addr name = engine_loan_scratch(loan);
	uint64_t args[6] = { (uint64_t)AT_FDCWD, name, PATCH_OPEN_FLAGS, 0, 0, 0 };
	int error = strlen(path) + 1 > BASE_PAGE ? -ENAMETOOLONG :
						   process_write(target->mem, name, path, strlen(path) + 1);

	if (!error)
		error = engine_call(loan, SYS_openat, args, fd);
	return error ? error : *fd < 0 ? (int)*fd : 0;
}

void patch_close_file(struct engine_loan *loan, int64_t fd)
{
	uint64_t args[6] = { (uint64_t)fd };
	int64_t result;

	if (fd >= 0 && engine_call(loan, SYS_close, args, &result))
		base_log(BASE_LOG_DEBUG, "the lent thread is gone");
}

/* What its root directory, which may not be ours, makes of @path; NULL: the same. */
static const char *path_inside(pid_t pid, const char *path)
{
	char link[64], root[4096];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/root", pid);
	length = readlink(link, root, sizeof(root) - 1);
	if (length <= 1 || strncmp(path, root, (size_t)length) || path[length] != '/')
		return NULL;
	return path + length;
}

/* Those who may open it find the very file there, even when its name is gone. */
static void mapped_path(const struct patch_target *target, const struct patch_module *module, char *path, size_t size)
{
	*path = '\0';
	for (size_t i = 0; i < target->maps.count; i++) {
		const struct process_map *map = &target->maps.map[i];

		if (map->inode == module->inode && map->major == module->major && map->minor == module->minor && !map->execute)
			snprintf(path, size, "/proc/self/map_files/%lx-%lx", (unsigned long)map->start, (unsigned long)map->end);
	}
}

/* 0; -EAGAIN it is not the file, or there is none */
static int try_path(struct patch_target *target, struct engine_loan *loan, const struct patch_module *module, const char *path,
		    int64_t *fd)
{
	int error = path && *path ? try_open(target, loan, path, fd) : -EAGAIN;

	if (!error && is_same_file(target->pid, engine_loan_tid(loan), *fd, module))
		return 0;
	if (!error)
		patch_close_file(loan, *fd);
	return error == -ESRCH || error == -EMFILE || error == -ENFILE ? error : -EAGAIN;
}

/* The main program is reachable even when its path is not. */
int patch_open_file(struct patch_target *target, struct engine_loan *loan, const struct patch_module *module, int64_t *fd,
		    struct utap_error *err)
{
	char mapped[80];
	const char *paths[] = { module->path, path_inside(target->pid, module->path), "/proc/self/exe", mapped };
	int error = -EAGAIN;

	mapped_path(target, module, mapped, sizeof(mapped));
	for (size_t i = 0; error == -EAGAIN && i < sizeof(paths) / sizeof(paths[0]); i++)
		error = try_path(target, loan, module, paths[i], fd);
	if (error == -EMFILE || error == -ENFILE)
		return base_error(err, error, UTAP_ERROR_SYSTEM,
				  "process %d has no free file descriptor, and one is needed for a moment; raise its limit "
				  "(prlimit --nofile)",
				  target->pid);
	if (!error || error == -ESRCH)
		return error;
	return base_error(err, -ESTALE, UTAP_ERROR_REFUSED,
			  "%s was replaced, removed or is out of reach since process %d mapped it, so its text could not be "
			  "restored later; restart the process",
			  module->path, target->pid);
}

/* ---- staging ---- */

static int place_stages(struct patch_target *target, struct patch_run *runs, size_t nruns)
{
	utap_addr near = target->geometry.self;
	uint64_t size = 0;
	utap_addr at;
	int error;

	for (size_t i = 0; i < nruns; i++)
		size += runs[i].size + BASE_PAGE; /* a hole between keeps them separate mappings */
	error = process_maps_hole(&target->maps, size, near > size ? near - size - (1 << 24) : near, 0, UINT64_MAX, 1 << 20,
				  &at);
	if (error)
		return error;
	patch_note_stages(target, at, size);
	for (size_t i = 0; i < nruns; i++) {
		runs[i].stage = at;
		at += runs[i].size + BASE_PAGE;
	}
	return 0;
}

static uint64_t file_offset(const struct patch_run *run) { return run->start - run->map->start + run->map->offset; }

/* The address is a hint: mremap does not replace what may have come there meanwhile. */
static struct wire_call move_call(const struct patch_run *run)
{
	return (struct wire_call){ .number = SYS_mremap,
				   .args = { run->start, run->size, run->size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, run->stage } };
}

static struct wire_call file_call(const struct patch_run *run, int64_t fd)
{
	int flags = MAP_PRIVATE | (run->pristine ? MAP_FIXED : MAP_FIXED_NOREPLACE);

	return (struct wire_call){ .number = SYS_mmap,
				   .args = { run->pristine ? run->start : run->stage, run->size, RX, (uint64_t)flags,
					     (uint64_t)fd, file_offset(run) } };
}

static struct wire_call switch_call(const struct patch_run *run)
{
	return (struct wire_call){ .number = SYS_mremap,
				   .args = { run->stage, run->size, run->size, MREMAP_MAYMOVE | MREMAP_FIXED, run->start } };
}

/* Put the changes that touch [page, page + BASE_PAGE) into its copy. @first: index of the first that may. */
static void overlay(uint8_t *copy, utap_addr page, const struct patch_change *changes, size_t nchanges, size_t *first)
{
	while (*first < nchanges && changes[*first].addr + changes[*first].length <= page)
		(*first)++;
	for (size_t i = *first; i < nchanges && changes[i].addr < page + BASE_PAGE; i++)
		for (unsigned j = 0; j < changes[i].length; j++) {
			utap_addr at = changes[i].addr + j;

			if (at >= page && at < page + BASE_PAGE)
				copy[at - page] = changes[i].bytes[j];
		}
}

static bool equals_file(const struct patch_run *run, utap_addr page, const uint8_t *bytes)
{
	size_t available;
	const uint8_t *file;

	if (!run->module)
		return false;
	file = object_page(run->module->object, page - run->module->bias, &available);
	return file && !memcmp(file, bytes, available < BASE_PAGE ? available : BASE_PAGE);
}

static bool is_touched(utap_addr page, const struct patch_change *changes, size_t nchanges, size_t first)
{
	while (first < nchanges && changes[first].addr + changes[first].length <= page)
		first++;
	return first < nchanges && changes[first].addr < page + BASE_PAGE;
}

/* Pages that nothing changes are the file's, unless the run could not be moved: then it may hold private copies. */
static int fill_run(struct patch_target *target, const struct patch_run *run, const struct patch_change *changes,
		    size_t nchanges, size_t *first)
{
	uint8_t page[BASE_PAGE];

	for (utap_addr at = run->start; at < run->start + run->size; at += BASE_PAGE) {
		int error;

		if (!run->by_file && !is_touched(at, changes, nchanges, *first))
			continue;
		error = process_read(target->mem, at, page, sizeof(page));
		if (error)
			return error;
		overlay(page, at, changes, nchanges, first);
		if (equals_file(run, at, page)) /* the staged page is the file's already: no private copy of it */
			continue;
		error = process_write(target->mem, run->stage + (at - run->start), page, sizeof(page));
		if (error)
			return error;
	}
	return 0;
}

static int check_old(struct patch_target *target, const struct patch_change *changes, size_t nchanges, utap_addr *where)
{
	uint8_t live[WIRE_SITE_BYTES];

	for (size_t i = 0; i < nchanges; i++) {
		int error = process_read(target->mem, changes[i].addr, live, changes[i].length);

		if (!error && memcmp(live, changes[i].old, changes[i].length))
			error = -EBUSY;
		if (error) {
			*where = changes[i].addr;
			return error;
		}
	}
	return 0;
}

/*
 * May the run be moved aside? Each of its pages must be the file's (or absent): a private copy would be missing while it is away.
 * Undoing, the private copies are our own, and what else is in them is known to be nothing (pristine).
 * Source: Documentation/admin-guide/mm/pagemap.rst (bit 61: file page, 63: present, 62: swapped).
 */
static bool has_private_pages(int pagemap, utap_addr start, uint64_t size)
{
	uint64_t entries[512];

	for (uint64_t done = 0; done < size / BASE_PAGE;) {
		size_t part = size / BASE_PAGE - done < 512 ? size / BASE_PAGE - done : 512;

		if (pread(pagemap, entries, part * 8, (off_t)((start / BASE_PAGE + done) * 8)) != (ssize_t)(part * 8))
			return true;
		for (size_t i = 0; i < part; i++)
			if (entries[i] >> 62 & 1 || (entries[i] >> 63 & 1 && !(entries[i] >> 61 & 1)))
				return true;
		done += part;
	}
	return false;
}

bool patch_has_private_pages(const struct patch_target *target, utap_addr start, uint64_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", target->pid);
	_cleanup_close_ int pagemap = open(path, O_RDONLY | O_CLOEXEC);

	return pagemap < 0 || has_private_pages(pagemap, start, size);
}

static void judge_ways(struct patch_target *target, struct patch_run *runs, size_t nruns)
{
	struct process_status status = { 0 };
	bool locked = !process_status_read(target->pid, &status) && status.locked_kib;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", target->pid);
	_cleanup_close_ int pagemap = open(path, O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; i < nruns; i++) {
		runs[i].locked = locked && process_is_locked(target->pid, runs[i].start);
		runs[i].by_file = runs[i].locked || (!runs[i].pristine && (pagemap < 0 || has_private_pages(pagemap, runs[i].start, runs[i].size)));
	}
}

/* ---- the switch ---- */

struct switching {
	struct patch_target *target;
	struct engine_loan *loan;
	struct patch_run *runs;
	size_t nruns;
	const struct patch_change *changes;
	size_t nchanges;
};

static int move_stages(struct switching *s)
{
	_cleanup_free_ struct wire_call *calls = calloc(s->nruns + 1, sizeof(*calls));
	_cleanup_free_ struct patch_run **moved = calloc(s->nruns + 1, sizeof(*moved));
	size_t n = 0;
	size_t made = 0;
	int error;

	if (!calls || !moved)
		return -ENOMEM;
	for (size_t i = 0; i < s->nruns; i++)
		if (!s->runs[i].by_file) {
			moved[n] = &s->runs[i];
			calls[n++] = move_call(&s->runs[i]);
		}
	error = patch_calls(s->target, s->loan, calls, n, &made);
	for (size_t i = 0; i < made; i++) {
		moved[i]->stage = (utap_addr)calls[i].result;
		moved[i]->staged = true;
	}
	if (!error && made < n)
		error = (int)calls[made].result;
	if (error == -EINVAL) { /* an old kernel: the rest goes the other way */
		for (size_t i = made; i < n; i++)
			moved[i]->by_file = true;
		error = 0;
	}
	return error;
}

/* Map the file anew (for pristine runs: over the text): one open file a module at a time. */
static int map_module(struct switching *s, struct patch_module *module, struct utap_error *err)
{
	_cleanup_free_ struct wire_call *calls = calloc(s->nruns + 1, sizeof(*calls));
	_cleanup_free_ struct patch_run **mapped = calloc(s->nruns + 1, sizeof(*mapped));
	size_t n = 0;
	size_t made = 0;
	int64_t fd;
	int error;

	if (!calls || !mapped)
		return -ENOMEM;
	error = patch_open_file(s->target, s->loan, module, &fd, err);
	if (error)
		return error;
	for (size_t i = 0; i < s->nruns; i++)
		if (s->runs[i].by_file && s->runs[i].module == module) {
			mapped[n] = &s->runs[i];
			calls[n++] = file_call(&s->runs[i], fd);
		}
	error = patch_calls(s->target, s->loan, calls, n, &made);
	patch_close_file(s->loan, fd);
	for (size_t i = 0; i < made; i++)
		mapped[i]->staged = !mapped[i]->pristine;
	return error || made == n ? error : (int)calls[made].result;
}

static int map_stages(struct switching *s, struct utap_error *err)
{
	int error = move_stages(s);

	for (size_t i = 0; !error && i < s->nruns; i++) {
		struct patch_run *run = &s->runs[i];
		bool done = run->staged || !run->by_file;

		for (size_t j = 0; j < i && !done; j++)
			done = s->runs[j].by_file && s->runs[j].module == run->module;
		if (!done)
			error = run->module ? map_module(s, run->module, err) : -ENOENT;
	}
	return error;
}

static int fill_stages(struct switching *s)
{
	size_t first = 0;

	for (size_t i = 0; i < s->nruns; i++) {
		int error = s->runs[i].pristine ? 0 :
						  fill_run(s->target, &s->runs[i], s->changes, s->nchanges, &first);

		if (error)
			return error;
	}
	return 0;
}

/* Just before the switch: is each run still the text it was, or did the program unload it meanwhile? */
static int check_runs(const struct switching *s)
{
	struct process_maps maps = { 0 };
	int error = process_maps_read(s->target->pid, &maps);

	for (size_t i = 0; !error && i < s->nruns; i++) {
		const struct patch_run *run = &s->runs[i];

		for (utap_addr at = run->start; !error && at < run->start + run->size;) {
			const struct process_map *map = process_maps_at(&maps, at);

			if (!map || !run->module || map->inode != run->module->inode || !map->execute ||
			    map->offset + (at - map->start) != file_offset(run) + (at - run->start))
				error = -EBUSY;
			else
				at = map->end;
		}
	}
	process_maps_free(&maps);
	return error;
}

static int switch_stages(struct switching *s)
{
	_cleanup_free_ struct wire_call *calls = calloc(2 * s->nruns + 1, sizeof(*calls));
	size_t n = 0;
	size_t made;
	int error;

	if (!calls)
		return -ENOMEM;
	for (size_t i = 0; i < s->nruns; i++)
		if (!s->runs[i].pristine)
			calls[n++] = switch_call(&s->runs[i]);
	error = patch_calls(s->target, s->loan, calls, n, &made);
	for (size_t i = 0, switched = 0; i < s->nruns && switched < made; i++)
		if (!s->runs[i].pristine) {
			s->runs[i].staged = false; /* mremap took the pages away from there */
			switched++;
		}
	if (!error && made < n)
		error = (int)calls[made].result;
	return error;
}

/* New pages do not inherit mlock(). Not being able to lock them again is no reason to fail: the limit may be lower now. */
static void lock_again(struct switching *s)
{
	for (size_t i = 0; i < s->nruns; i++) {
		uint64_t args[6] = { s->runs[i].start, s->runs[i].size };
		int64_t result;

		if (s->runs[i].locked && (engine_call(s->loan, SYS_mlock, args, &result) || result))
			base_log(BASE_LOG_WARN, "text at 0x%lx of process %d is no longer locked in memory",
				 (unsigned long)s->runs[i].start, s->target->pid);
	}
}

/* Only what is still staged: the rest of the range is not ours. */
static void drop_stages(struct switching *s)
{
	for (size_t i = 0; i < s->nruns; i++) {
		uint64_t args[6] = { s->runs[i].stage, s->runs[i].size };
		int64_t result;

		if (s->runs[i].staged && engine_call(s->loan, SYS_munmap, args, &result))
			return;
	}
	patch_note_stages(s->target, 0, 0);
}

static int switch_error(const struct patch_target *target, int code, utap_addr where, struct utap_error *err)
{
	switch (code) {
	case -EPERM:
		return base_error(err, code, UTAP_ERROR_REFUSED,
				  "the text of process %d is sealed (mseal), so its pages cannot be switched", target->pid);
	case -EIO: /* what was to be read or written is mapped no more */
	case -EFAULT:
	case -EBUSY:
		return base_error(err, -EBUSY, UTAP_ERROR_REFUSED,
				  "the text of process %d at 0x%lx was changed by somebody else during the attach; try again",
				  target->pid, (unsigned long)where);
	case -ENOMEM:
		return base_error(err, code, UTAP_ERROR_SYSTEM,
				  "process %d has no room for more mappings (vm.max_map_count); probe fewer places", target->pid);
	case -ESRCH:
		return base_error(err, code, UTAP_ERROR_GONE, "process %d exited while its text was being changed",
				  target->pid);
	default:
		return base_error_system(err, code, "cannot change the text of process %d", target->pid);
	}
}

int patch_text_switch(struct patch_target *target, struct patch_run *runs, size_t nruns,
		      const struct patch_change *changes, size_t nchanges, struct utap_error *err)
{
	struct utap_error reason = { 0 };
	struct switching s = { .target = target, .runs = runs, .nruns = nruns, .changes = changes, .nchanges = nchanges };
	utap_addr where = 0;
	int error = place_stages(target, runs, nruns);

	if (error)
		return switch_error(target, error, 0, err);
	error = patch_lend(target, &s.loan, err);
	if (error)
		return error;
	error = check_old(target, changes, nchanges, &where);
	if (!error)
		judge_ways(target, runs, nruns);
	if (!error)
		error = map_stages(&s, &reason);
	if (!error)
		error = fill_stages(&s);
	if (!error)
		error = check_runs(&s);
	if (!error)
		error = switch_stages(&s);
	lock_again(&s);
	drop_stages(&s);
	patch_give_back(target, s.loan);
	if (error && reason.code) {
		if (err)
			*err = reason;
		return error;
	}
	return error ? switch_error(target, error, where, err) : 0;
}

/* ---- mending ---- */

/* Private copies of pages may be left where a page was written in place, and is again what it was. */
static bool shows_file(const struct patch_target *target, const struct patch_module *module, utap_addr start, utap_addr end)
{
	_cleanup_free_ uint8_t *live = malloc(MEND_CHUNK);

	for (utap_addr at = start; live && at < end; at += MEND_CHUNK) {
		size_t size = end - at < MEND_CHUNK ? end - at : MEND_CHUNK;
		size_t available = 0;
		const uint8_t *file;

		if (!patch_has_private_pages(target, at, size))
			continue;
		file = object_page(module->object, at - module->bias, &available);
		if (!file || available < size || process_read(target->mem, at, live, size) || memcmp(live, file, size))
			return false;
	}
	return live != NULL;
}

/*
 * The mappings that show a segment must be nothing but pieces of it, their pages those of the file or equal to them: then mapping it anew
 * loses nothing.
 */
static bool is_mendable(struct patch_target *target, const struct patch_module *module, utap_addr start, utap_addr end,
			uint64_t offset)
{
	struct process_maps maps = { 0 };
	size_t pieces = 0;
	bool linear = !process_maps_read(target->pid, &maps);

	for (utap_addr at = start; linear && at < end; pieces++) {
		const struct process_map *map = process_maps_at(&maps, at);

		linear = map && map->inode == module->inode && map->execute && !map->write && !map->shared &&
			 map->offset + (at - map->start) == offset + (at - start);
		at = linear ? map->end : end;
	}
	process_maps_free(&maps);
	return linear && pieces > 1 && shows_file(target, module, start, end);
}

static void mend_segment(struct patch_target *target, struct patch_module *module, utap_addr start, utap_addr end,
			 uint64_t offset)
{
	uint64_t args[6] = { start, end - start, RX, MAP_PRIVATE | MAP_FIXED, 0, offset };
	struct engine_loan *loan;
	int64_t result;
	int64_t fd;

	if (process_is_locked(target->pid, start) || patch_lend(target, &loan, NULL))
		return;
	if (!patch_open_file(target, loan, module, &fd, NULL)) {
		args[4] = (uint64_t)fd;
		/* Looked at again at the last moment: a debugger or another thread may have been there. */
		if (is_mendable(target, module, start, end, offset) &&
		    (engine_call(loan, SYS_mmap, args, &result) || result < 0))
			base_log(BASE_LOG_DEBUG, "the text of %s stays in several mappings", module->path);
		patch_close_file(loan, fd);
	}
	patch_give_back(target, loan);
}

void patch_text_mend(struct patch_target *target)
{
	if (patch_target_refresh(target, NULL))
		return;
	for (size_t i = 0; i < target->nmodules; i++) {
		const struct object_segment *segments;
		struct patch_module *module = target->modules[i];
		size_t count = object_segments(module->object, &segments);

		for (size_t j = 0; j < count; j++) {
			utap_addr start = base_align_down(segments[j].vaddr, BASE_PAGE) + module->bias;
			utap_addr end = base_align_up(segments[j].vaddr + segments[j].file_size, BASE_PAGE) + module->bias;
			uint64_t offset = base_align_down(segments[j].offset, BASE_PAGE);

			if (segments[j].execute && !segments[j].write && is_mendable(target, module, start, end, offset))
				mend_segment(target, module, start, end, offset);
		}
	}
}
