/* SPDX-License-Identifier: MIT */
/*
 * The shared memory: its layout, and mapping it into a target in one loan.
 *
 * The target makes the memory file (so nothing depends on what it may open of ours), we open it through its descriptor, size
 * it, seal its size, and map it on our side; the target's descriptor is closed before the thread is given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "patch/image.h"
#include "patch/inside.h"

#define MORE_SITES 65536             /* room left for what is loaded later; only what is used takes memory */
#define FAR_FROM_LIBRARIES (16ULL << 30) /* where new mappings of the program will not come soon */
#define MFD_EXEC_FLAG 0x10U          /* Linux 6.3 */
#define MADV_WIPEONFORK_VALUE 18
#define FIXED_NEW (MAP_FIXED_NOREPLACE)

/* LONG records. What is not used takes no memory, but where all that is mapped is locked. */
#define SLOTS 256
#define SLOTS_LOCKED 16
#define LONG_CELLS_RINGS 16 /* all of them together are as large as so many rings: a short record fills one, too, but not with memory */
#define LONG_CELLS_LEAST 16
#define LONG_CELLS_MOST 4096

/* ---- layout ---- */

static uint64_t place(uint64_t *at, uint64_t size)
{
	uint64_t here = *at;

	*at += base_align_up(size, BASE_PAGE);
	return here;
}

static uint64_t own_start_time(void)
{
	struct process_status status;

	return process_status_read(getpid(), &status) ? 0 : status.start_time;
}

static uint64_t power_of_two(uint64_t at_least, uint64_t value)
{
	while (value < at_least)
		value *= 2;
	return value;
}

/* Slots for as many threads as may be in the middle of a record at once. */
static void size_long(struct wire_control *control, const struct patch_options *options, bool locks)
{
	uint64_t most = options->long_most;
	uint64_t budget = locks ? control->ring_size : LONG_CELLS_RINGS * control->ring_size;
	uint64_t cells = LONG_CELLS_LEAST;

	if (!most)
		return;
	control->long_cell_size = power_of_two(most + sizeof(struct wire_cell), 64);
	while (cells < LONG_CELLS_MOST && cells * control->long_cell_size < budget)
		cells *= 2;
	control->long_cells = cells;
	control->slots = locks ? SLOTS_LOCKED : SLOTS;
	control->slot_size = base_align_up(most + sizeof(struct wire_slot), BASE_PAGE) + (options->stacks ? WIRE_STACK_WINDOW + WIRE_STACK_STATE : 0);
}

/* What lies before the data part: slots, and the local page. */
static uint64_t private_size(const struct wire_control *control)
{
	return control->slots * control->slot_size + BASE_PAGE;
}

static utap_addr private_start(const struct wire_control *control)
{
	return control->self - private_size(control);
}

static void lay_out(struct wire_control *control, const struct patch_options *options, size_t sites, bool more, bool locks)
{
	uint64_t at = 0;
	uint64_t block = 0;
	uint32_t later = more ? MORE_SITES : 0;
	uint64_t counters = ((uint64_t)options->max_probes + later) * 8;

	*control = (struct wire_control){
		.magic = WIRE_MAGIC,
		.version = WIRE_VERSION,
		.cpus = options->cpus,
		.max_probes = options->max_probes + later,
		.max_sites = (uint32_t)(2 * (sites + later) + 64),
		.ring_size = options->ring_size,
		.cells = options->cells,
		.cell_size = options->cell_size,
		.code_size = PATCH_CODE_SIZE,
		.controller = (uint32_t)getpid(),
		.controller_start = own_start_time(),
	};
	size_long(control, options, locks);
	place(&at, sizeof(*control));
	control->table_at = place(&at, (2 + WIRE_CPUS_MAX) * 8ULL); /* entries beyond our CPUs are 0: "no CPU" */
	control->lost_at = place(&at, counters);
	control->places_at = options->stacks ? place(&at, counters) : 0;
	control->limits_at = options->has_limits ? place(&at, counters) : 0;
	control->journal_at = place(&at, control->max_sites * sizeof(struct wire_site));
	control->lend_at = place(&at, sizeof(struct wire_lend));
	control->blocks_at = at;
	place(&block, sizeof(struct wire_ring));
	place(&block, 2 * options->ring_size);
	control->counters_at = place(&block, counters);
	control->shared_at = place(&block, counters);
	control->cells_at = place(&block, sizeof(struct wire_cells));
	place(&block, options->cells * options->cell_size);
	if (control->long_cells) {
		control->long_cells_at = place(&block, sizeof(struct wire_cells));
		place(&block, control->long_cells * control->long_cell_size);
	}
	control->block_span = block;
	control->block_file_size = block - options->ring_size;
	control->code_at = at + control->block_file_size * options->cpus;
	control->unwind_size = base_align_up(options->unwind_size, BASE_PAGE);
	control->file_size = control->code_at + PATCH_CODE_SIZE + control->unwind_size;
	control->span = control->blocks_at + control->block_span * options->cpus;
}

static utap_addr first_library(const struct process_maps *maps)
{
	for (size_t i = maps->count; i-- > 0;)
		if (maps->map[i].inode && maps->map[i].execute)
			return maps->map[i].start;
	return maps->count ? maps->map[0].start : 0;
}

static int choose_data(struct patch_target *target)
{
	utap_addr library = first_library(&target->maps);
	utap_addr near = library > 2 * FAR_FROM_LIBRARIES ? library - FAR_FROM_LIBRARIES : FAR_FROM_LIBRARIES;
	uint64_t first = private_size(&target->geometry);
	uint64_t span = first + target->geometry.span + target->geometry.unwind_size + target->door_size;
	utap_addr addr;
	int error = process_maps_hole(&target->maps, span, near, 0, UINT64_MAX, BASE_PAGE, &addr);

	target->geometry.self = addr + first;
	target->geometry.local = target->geometry.self - BASE_PAGE;
	target->geometry.slots_at = target->geometry.slots ? addr : 0;
	target->geometry.unwind_at = target->geometry.unwind_size ? target->geometry.self + target->geometry.span : 0;
	return error;
}

/* ---- our side of the memory file ---- */

static int map_ours(struct patch_target *target)
{
	const struct wire_control *geometry = &target->geometry;
	void *data = mmap(NULL, geometry->blocks_at, PROT_READ | PROT_WRITE, MAP_SHARED, target->fd, 0);
	void *code = data == MAP_FAILED ? MAP_FAILED :
					  mmap(NULL, geometry->code_size, PROT_READ | PROT_WRITE,
					       MAP_SHARED | MAP_NORESERVE, target->fd, (off_t)geometry->code_at);

	if (data != MAP_FAILED)
		target->data = data;
	if (code == MAP_FAILED)
		return -errno;
	target->code = code;
	return patch_unwind_map(target);
}

static void fill_ours(struct patch_target *target)
{
	struct wire_control *control = (struct wire_control *)target->data;
	uint64_t *table = (uint64_t *)(target->data + target->geometry.table_at);
	struct patch_pool *first = &target->pools[0];
	struct wire_runtime runtime;

	memcpy(&runtime, patch_runtime_image, sizeof(runtime));
	memcpy(target->code + first->offset, patch_runtime_image, patch_runtime_image_size);
	memcpy(target->code + first->offset + runtime.data_slot, &target->geometry.self, 8);
	first->used = base_align_up(patch_runtime_image_size, 64);
	for (int i = 0; i < RT_ENTRIES; i++)
		target->facts.runtime[i] = first->addr + runtime.entry[i];
	*control = target->geometry;
	for (uint32_t i = 0; i < target->geometry.cpus; i++)
		table[2 + i] = target->geometry.self + target->geometry.blocks_at + i * target->geometry.block_span;
}

/* Rings start empty, with all their room. */
static int fill_rings(struct patch_target *target)
{
	const struct wire_control *geometry = &target->geometry;

	for (uint32_t i = 0; i < geometry->cpus; i++) {
		uint64_t at = geometry->blocks_at + i * geometry->block_file_size;
		struct wire_ring ring = { .limit = geometry->ring_size };
		struct wire_cells cells = { .limit = geometry->cells };
		struct wire_cells long_cells = { .limit = geometry->long_cells };

		if (pwrite(target->fd, &ring, sizeof(ring), (off_t)at) != sizeof(ring) ||
		    pwrite(target->fd, &cells, sizeof(cells), (off_t)(at + geometry->cells_at - geometry->ring_size)) !=
			    sizeof(cells))
			return errno ? -errno : -EIO;
		if (geometry->long_cells &&
		    pwrite(target->fd, &long_cells, sizeof(long_cells),
			   (off_t)(at + geometry->long_cells_at - geometry->ring_size)) != sizeof(long_cells))
			return errno ? -errno : -EIO;
	}
	return 0;
}

static int open_ours(struct patch_target *target, pid_t tid, int64_t remote)
{
	struct stat status;
	char path[64];
	int error;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd/%d", target->pid, tid, (int)remote);
	target->fd = open(path, O_RDWR | O_CLOEXEC);
	if (target->fd < 0 || fstat(target->fd, &status) < 0)
		return -errno;
	target->memory_major = major(status.st_dev);
	target->memory_minor = minor(status.st_dev);
	target->memory_inode = status.st_ino;
	if (ftruncate(target->fd, (off_t)target->geometry.file_size) < 0 ||
	    fcntl(target->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	error = map_ours(target);
	if (!error)
		fill_ours(target);
	return error ? error : fill_rings(target);
}

/* ---- the target's side ---- */

static int call(struct engine_loan *loan, long number, int64_t *result, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
		uint64_t e, uint64_t f)
{
	uint64_t args[6] = { a, b, c, d, e, f };
	int error = engine_call(loan, number, args, result);

	if (error)
		return error;
	return *result < 0 && *result > -4096 ? (int)*result : 0;
}

static int make_file(struct patch_target *target, struct engine_loan *loan, int64_t *fd)
{
	utap_addr name = engine_loan_scratch(loan);
	int error = process_write(target->mem, name, WIRE_NAME, sizeof(WIRE_NAME));
	uint64_t flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (!error)
		error = call(loan, SYS_memfd_create, fd, name, flags | MFD_EXEC_FLAG, 0, 0, 0, 0);
	if (error == -EINVAL) /* before Linux 6.3 every memory file was executable */
		error = call(loan, SYS_memfd_create, fd, name, flags, 0, 0, 0, 0);
	return error;
}

static struct wire_call map_call(utap_addr addr, uint64_t size, int prot, int flags, int64_t fd, uint64_t offset)
{
	return (struct wire_call){ .number = SYS_mmap,
				   .args = { addr, size, (uint64_t)prot, (uint64_t)flags, (uint64_t)fd, offset } };
}

#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)

/* Inside the range that reserve() took, so MAP_FIXED replaces only what is ours. */
static size_t block_calls(const struct patch_target *target, int64_t fd, struct wire_call *calls)
{
	const struct wire_control *geometry = &target->geometry;
	uint64_t head = BASE_PAGE + geometry->ring_size;
	size_t n = 0;

	for (uint32_t i = 0; i < geometry->cpus; i++) {
		utap_addr block = geometry->self + geometry->blocks_at + i * geometry->block_span;
		uint64_t file = geometry->blocks_at + i * geometry->block_file_size;

		calls[n++] = map_call(block, head, RW, MAP_SHARED | MAP_FIXED, fd, file);
		calls[n++] = map_call(block + head, geometry->ring_size, RW, MAP_SHARED | MAP_FIXED, fd, file + BASE_PAGE);
		calls[n++] = map_call(block + head + geometry->ring_size, geometry->block_file_size - head, RW,
				      MAP_SHARED | MAP_FIXED, fd, file + head);
	}
	return n;
}

/* Island pages come last: one whose address was taken since the plan costs its sites, not the setup. */
static size_t island_calls(const struct patch_target *target, int64_t fd, struct wire_call *calls)
{
	size_t n = 0;

	for (size_t i = 0; i < target->space.count; i++) {
		const struct space_view *view = &target->space.views[i];
		uint64_t offset = target->page_offset[view->page];

		if (view->mapped)
			continue;
		calls[n++] = map_call(view->addr, BASE_PAGE, RX, MAP_PRIVATE | FIXED_NEW, fd,
				      target->geometry.code_at + offset);
	}
	return n;
}

void patch_refuse_view(utap_addr page, struct patch_site *sites, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((sites[i].layer == PATCH_L4 || sites[i].layer == PATCH_L2) && base_align_down(sites[i].island, BASE_PAGE) == page) {
			sites[i].layer = PATCH_REFUSED;
			sites[i].why = "the page its jump would land on was taken meanwhile; try again";
		}
}

static int map_islands(struct patch_target *target, struct engine_loan *loan, int64_t fd, struct patch_site *sites,
		       size_t count)
{
	_cleanup_free_ struct wire_call *calls = calloc(target->space.count + 1, sizeof(*calls));
	size_t total;
	size_t at = 0;

	if (!calls)
		return -ENOMEM;
	total = island_calls(target, fd, calls);
	while (at < total) {
		size_t made;
		int error = patch_calls(target, loan, calls + at, total - at, &made);

		for (size_t i = at; i < at + made; i++)
			space_find(&target->space, calls[i].args[0])->mapped = true;
		if (error)
			return error;
		at += made;
		if (at < total) { /* that one failed */
			if (calls[at].result == -ENOMEM)
				return -ENOMEM;
			patch_refuse_view(calls[at].args[0], sites, count);
			at++;
		}
	}
	return 0;
}

/*
 * Take the whole range of the data part and what lies before it at once: from then on its pieces can be mapped over it. With the file,
 * though nothing of it can be read there: so that it can be told whose it is should we die now.
 */
static int reserve(struct patch_target *target, struct engine_loan *loan, int64_t fd)
{
	const struct wire_control *geometry = &target->geometry;
	int64_t result;
	utap_addr start = private_start(geometry);
	uint64_t size = private_size(geometry) + geometry->span + geometry->unwind_size;
	int flags = MAP_PRIVATE | MAP_NORESERVE | FIXED_NEW;
	int error = call(loan, SYS_mmap, &result, start, size + target->door_size, PROT_NONE, flags, (uint64_t)fd, 0);

	if (error == -ENOMEM && target->door_size) { /* its address space is limited: nothing can be added later */
		target->door_size = 0;
		error = call(loan, SYS_mmap, &result, start, size, PROT_NONE, flags, (uint64_t)fd, 0);
	}
	target->reserved = !error;
	return error;
}

/* As in struct process_status.start_time; a tick early: that is cut off, too. */
static uint64_t ticks_now(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_BOOTTIME, &now))
		return 0;
	return (uint64_t)now.tv_sec * (uint64_t)sysconf(_SC_CLK_TCK) +
	       (uint64_t)now.tv_nsec * (uint64_t)sysconf(_SC_CLK_TCK) / 1000000000 - 1;
}

/* Where what is mapped becomes locked, room that is not used takes memory all the same. */
static bool locks_memory(pid_t pid)
{
	struct process_status status = { 0 };

	return !process_status_read(pid, &status) && status.locked_kib;
}

/*
 * Much of the file, of which little is used. Where everything that is mapped becomes locked in memory all of it would be filled: there it is
 * mapped without access first and unlocked. A dump of the process would hold all of it, too.
 */
static int map_large(struct patch_target *target, struct engine_loan *loan, const struct wire_call *map)
{
	bool locks = locks_memory(target->pid);
	utap_addr addr = map->args[0];
	uint64_t size = map->args[1];
	int64_t result;
	int error = call(loan, SYS_mmap, &result, addr, size, locks ? PROT_NONE : map->args[2], map->args[3] | MAP_NORESERVE,
			 map->args[4], map->args[5]);

	if (!error && locks)
		error = call(loan, SYS_munlock, &result, addr, size, 0, 0, 0, 0);
	if (!error && locks)
		error = call(loan, SYS_mprotect, &result, addr, size, map->args[2], 0, 0, 0);
	if (!error)
		error = call(loan, SYS_madvise, &result, addr, size, MADV_DONTDUMP, 0, 0, 0);
	return error;
}

/* The tables for stacks, right behind the data part. */
static int map_unwind(struct patch_target *target, struct engine_loan *loan, int64_t fd)
{
	const struct wire_control *geometry = &target->geometry;
	struct wire_call map = map_call(geometry->unwind_at, geometry->unwind_size, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
					geometry->code_at + geometry->code_size);

	return geometry->unwind_size ? map_large(target, loan, &map) : 0;
}

/* The whole code part, behind the data part: later pieces of it are mapped from here. */
static int map_door(struct patch_target *target, struct engine_loan *loan, int64_t fd)
{
	utap_addr door = target->geometry.self + target->geometry.span + target->geometry.unwind_size;
	struct wire_call map =
	    map_call(door, target->door_size, RX, MAP_SHARED | MAP_FIXED, fd, target->geometry.code_at);
	int error;

	if (!target->door_size)
		return 0;
	error = map_large(target, loan, &map);
	if (error == -ESRCH)
		return error;
	if (!error)
		((struct wire_control *)target->data)->door = target->geometry.door = door;
	else
		base_log(BASE_LOG_DEBUG, "no room for later trampolines in process %d: %s", target->pid, strerror(-error));
	return 0;
}

static int map_pools(struct patch_target *target, struct engine_loan *loan, int64_t fd)
{
	for (size_t i = 0; i < target->npools; i++) {
		struct patch_pool *pool = &target->pools[i];
		int64_t result;
		int error = call(loan, SYS_mmap, &result, pool->addr, pool->size, RX, MAP_PRIVATE | FIXED_NEW,
				 (uint64_t)fd, target->geometry.code_at + pool->offset);

		if (error)
			return error;
		pool->mapped = true;
	}
	return 0;
}

static int map_theirs(struct patch_target *target, struct engine_loan *loan, int64_t fd)
{
	const struct wire_control *geometry = &target->geometry;
	_cleanup_free_ struct wire_call *calls = calloc(3 * geometry->cpus + 4, sizeof(*calls));
	int64_t result;
	size_t made;
	size_t n;
	int error = calls ? reserve(target, loan, fd) : -ENOMEM;

	if (!error)
		error = map_pools(target, loan, fd);
	if (!error)
		error = call(loan, SYS_mmap, &result, geometry->self, geometry->blocks_at, RW, MAP_SHARED | MAP_FIXED,
			     (uint64_t)fd, 0);
	if (error)
		return error;
	n = block_calls(target, fd, calls);
	calls[n++] = map_call(private_start(geometry), private_size(geometry), RW,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	calls[n++] = (struct wire_call){ .number = SYS_madvise,
					 .args = { private_start(geometry), private_size(geometry), MADV_WIPEONFORK_VALUE } };
	error = patch_calls(target, loan, calls, n, &made);
	if (!error && made < n)
		error = (int)calls[made].result;
	if (!error)
		error = map_unwind(target, loan, fd);
	return error ? error : map_door(target, loan, fd);
}

/* What an unfinished setup left; never more than it mapped. */
static void unmap_theirs(struct patch_target *target, struct engine_loan *loan)
{
	const struct wire_control *geometry = &target->geometry;
	int64_t result;

	for (size_t i = 0; i < target->space.count; i++)
		if (target->space.views[i].mapped)
			call(loan, SYS_munmap, &result, target->space.views[i].addr, BASE_PAGE, 0, 0, 0, 0);
	for (size_t i = 0; i < target->npools; i++)
		if (target->pools[i].mapped)
			call(loan, SYS_munmap, &result, target->pools[i].addr, target->pools[i].size, 0, 0, 0, 0);
	if (target->reserved)
		call(loan, SYS_munmap, &result, private_start(geometry),
		     private_size(geometry) + geometry->span + geometry->unwind_size + target->door_size, 0, 0, 0, 0);
}

/* ---- facts about its threads ---- */

void patch_find_facts(struct patch_target *target, const struct engine_loan *loan)
{
	static const int32_t tid_offsets[] = { WIRE_TID_GLIBC, WIRE_TID_MUSL };
	utap_addr base = engine_loan_fs_base(loan);
	uint32_t signature = 0;
	struct process_status status = { 0 };
	uint32_t wanted = process_status_read(engine_loan_tid(loan), &status) || !status.inner_pid ?
				  (uint32_t)engine_loan_tid(loan) :
				  (uint32_t)status.inner_pid;
	utap_addr rseq = engine_loan_rseq(loan, &signature);
	int64_t offset = (int64_t)(rseq - base);

	target->facts.data = target->geometry.self;
	target->facts.local = target->geometry.local;
	if (!base)
		return;
	if (rseq && signature == WIRE_RSEQ_SIGNATURE && offset == (int32_t)offset)
		target->facts.rseq_offset = (int32_t)offset;
	for (size_t i = 0; i < sizeof(tid_offsets) / sizeof(tid_offsets[0]); i++) {
		uint32_t tid = 0;

		if (!process_read(target->mem, base + (utap_addr)tid_offsets[i], &tid, sizeof(tid)) &&
		    tid == wanted) {
			target->facts.tid_offset = tid_offsets[i];
			if (target->data)
				((struct wire_control *)target->data)->tid_offset = tid_offsets[i];
			return;
		}
	}
}

/* Programs read the time with rdtsc: where that is forbidden (PR_SET_TSC, strict seccomp) it would end the target. */
static int check_clock(struct patch_target *target, struct engine_loan *loan)
{
	utap_addr at = engine_loan_scratch(loan);
	int64_t result;
	int mode = 0;
	int error = call(loan, SYS_prctl, &result, PR_GET_TSC, at, 0, 0, 0, 0);

	if (!error)
		error = process_read(target->mem, at, &mode, sizeof(mode));
	return error ? error : mode == PR_TSC_SIGSEGV ? -ENOTSUP : 0;
}

static int set_up(struct patch_target *target, struct engine_loan *loan, struct patch_site *sites, size_t count)
{
	struct process_status status = { 0 };
	uint32_t pid; /* as the target sees itself: it reads its own memory by that number */
	int64_t fd = -1;
	int64_t result;
	int error = check_clock(target, loan);

	if (!error)
		error = make_file(target, loan, &fd);
	if (!error)
		error = open_ours(target, engine_loan_tid(loan), fd);
	patch_note_lent(target, engine_loan_tid(loan));
	if (!error && process_is_confined(target->pid))
		((struct wire_control *)target->data)->quiet = target->geometry.quiet = 1;
	if (!error)
		error = process_status_read(target->pid, &status);
	pid = (uint32_t)(status.inner_pid ? status.inner_pid : target->pid);
	if (!error)
		error = map_theirs(target, loan, fd);
	if (!error)
		error = map_islands(target, loan, fd, sites, count);
	if (!error)
		error = process_write(target->mem, target->geometry.local, &pid, sizeof(pid));
	patch_find_facts(target, loan);
	if (error && error != -ESRCH)
		unmap_theirs(target, loan);
	if (fd >= 0)
		call(loan, SYS_close, &result, (uint64_t)fd, 0, 0, 0, 0, 0);
	return error;
}

int patch_setup_error(const struct patch_target *target, int code, struct utap_error *err)
{
	if (code == -ESRCH)
		return base_error(err, -ESRCH, UTAP_ERROR_GONE, "process %d exited during the attach", target->pid);
	if (code == -ENOTSUP)
		return base_error(err, code, UTAP_ERROR_REFUSED,
				  "process %d may not read the processor's clock (strict seccomp, or PR_SET_TSC), which probes need",
				  target->pid);
	if (code == -EMFILE || code == -ENFILE)
		return base_error(err, code, UTAP_ERROR_SYSTEM,
				  "process %d has no free file descriptor, and one is needed for a moment; raise its limit "
				  "(prlimit --nofile) and try again",
				  target->pid);
	if (code == -ENOMEM)
		return base_error(err, code, UTAP_ERROR_SYSTEM,
				  "process %d has no room for more mappings (vm.max_map_count) or memory; probe fewer places",
				  target->pid);
	if (code == -EFBIG)
		return base_error(err, code, UTAP_ERROR_SYSTEM,
				  "the memory shared with process %d has %llu KiB, more than a file may have here; raise the limit (ulimit -f) "
				  "and try again",
				  target->pid, (unsigned long long)target->geometry.file_size / 1024);
	return base_error_system(err, code, "cannot map trampolines and rings into process %d", target->pid);
}

int patch_target_setup(struct patch_target *target, const struct patch_options *options, struct patch_site *sites,
		       size_t count, struct utap_error *err)
{
	struct engine_loan *loan;
	bool more;
	int error;

	target->site_room = options->site_room;
	if (target->fd >= 0)
		return patch_extend(target, options, sites, count, err);
	target->since = ticks_now();
	more = options->more && !locks_memory(target->pid);
	target->door_size = options->more ? PATCH_CODE_SIZE : 0;
	lay_out(&target->geometry, options, count, more, locks_memory(target->pid));
	error = choose_data(target);
	if (!error)
		error = patch_pools_choose(target, sites, count, options);
	if (!error)
		error = patch_pages_choose(target);
	if (error)
		return patch_setup_error(target, error, err);
	error = engine_lend(target->pid, target->mem, &loan, err);
	if (error)
		return error;
	error = set_up(target, loan, sites, count);
	patch_give_back(target, loan);
	return error ? patch_setup_error(target, error, err) : 0;
}
