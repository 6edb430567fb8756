/* SPDX-License-Identifier: MIT */
/* A target: opening, its modules, its journal, and making system calls in it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "patch/inside.h"

#define IMAGINED_BIAS 0x555555554000ULL /* where Linux puts the main program without randomisation */
#define MAP_RESERVE 1024 /* mappings left to the program itself */

const struct process_map *patch_find_memory(const struct process_maps *maps)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct process_map *map = &maps->map[i];

		if (!strcmp(map->path, "/memfd:" WIRE_NAME) && map->shared && map->write && map->offset == 0)
			return map;
	}
	return NULL;
}

static size_t map_limit(void)
{
	_cleanup_free_ char *text = NULL;

	return base_file_read("/proc/sys/vm/max_map_count", &text, NULL) ? 65530 : strtoul(text, NULL, 10);
}

static struct patch_target *target_create(pid_t pid)
{
	struct patch_target *target = calloc(1, sizeof(*target));

	if (target) {
		target->pid = pid;
		target->mem = -1;
		target->fd = -1;
	}
	return target;
}

bool patch_is_controlled(const struct wire_control *control)
{
	struct process_status status;

	return (pid_t)control->controller > 0 && !process_status_read((pid_t)control->controller, &status) && status.state != 'Z' &&
	       status.start_time == control->controller_start;
}

static int present_error(struct patch_target *target, const struct process_map *memory, struct utap_error *err)
{
	struct wire_control control;
	int error = process_read(target->mem, memory->start, &control, sizeof(control));

	if (!error && control.magic == WIRE_MAGIC && patch_is_controlled(&control))
		return base_error(err, -EBUSY, UTAP_ERROR_REFUSED,
				  "process %d is already probed by utap pid %u; stop that one first", target->pid,
				  control.controller);
	return base_error(err, -EBUSY, UTAP_ERROR_REFUSED,
			  "process %d still holds probes of a utap that is gone; run `utap detach -p %d` first", target->pid,
			  target->pid);
}

/* A file that was renamed is reached by its new name. */
static void rename_module(struct patch_module *module, const struct process_maps *maps)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct process_map *map = &maps->map[i];
		char *path;

		if (map->inode != module->inode || map->major != module->major || map->minor != module->minor)
			continue;
		path = strcmp(map->path, module->path) ? strdup(map->path) : NULL;
		if (path) {
			free((char *)(uintptr_t)module->path);
			module->path = path;
		}
		return;
	}
}

int patch_target_refresh(struct patch_target *target, struct utap_error *err)
{
	struct process_maps maps;
	size_t limit = map_limit();
	int error = process_maps_read(target->pid, &maps);

	if (error)
		return process_explain(target->pid, error, err);
	for (size_t i = 0; i < target->nmodules; i++)
		rename_module(target->modules[i], &maps);
	process_maps_free(&target->maps);
	target->maps = maps;
	target->space.limit = limit > maps.count + MAP_RESERVE ? limit - maps.count - MAP_RESERVE : 0;
	if (target->space.limit > PATCH_MAX_ISLANDS)
		target->space.limit = PATCH_MAX_ISLANDS;
	return 0;
}

int patch_target_open(pid_t pid, struct patch_target **ret, struct utap_error *err)
{
	struct patch_target *target = target_create(pid);
	const struct process_map *memory;
	int error;

	if (!target)
		return base_error_system(err, -ENOMEM, "cannot open process %d", pid);
	target->mem = process_mem_open(pid);
	error = target->mem < 0 ? process_explain(pid, target->mem, err) : patch_target_refresh(target, err);
	if (!error) {
		memory = patch_find_memory(&target->maps);
		if (memory)
			error = present_error(target, memory, err);
	}
	if (error) {
		patch_target_close(target);
		return error;
	}
	*ret = target;
	return 0;
}

void patch_forget_jumps(struct patch_target *target, utap_addr low, utap_addr high)
{
	struct patch_jump *jump, *next;

	HASH_ITER(hh, target->jumps, jump, next)
		if (jump->start >= low && jump->start < high) {
			HASH_DEL(target->jumps, jump);
			free(jump);
		}
}

static void unmap_ours(struct patch_target *target)
{
	if (target->data)
		munmap(target->data, target->geometry.blocks_at);
	if (target->code)
		munmap(target->code, target->geometry.code_size);
	if (target->unwind)
		munmap(target->unwind, target->geometry.unwind_size);
}

int patch_target_imagine(const struct object *object, struct patch_target **ret, struct process_map *map)
{
	struct patch_target *target = target_create(0);
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);
	size_t i = 0;

	while (i < count && !segments[i].execute)
		i++;
	if (!target || i == count) {
		patch_target_close(target);
		return target ? -ENOENT : -ENOMEM;
	}
	*map = (struct process_map){
		.start = base_align_down(segments[i].vaddr, BASE_PAGE) + (object_is_pie(object) ? IMAGINED_BIAS : 0),
		.offset = base_align_down(segments[i].offset, BASE_PAGE),
		.inode = 1,
		.read = true,
		.execute = true,
		.path = object_path(object),
	};
	map->end = base_align_up(map->start + segments[i].file_size, BASE_PAGE);
	target->space.limit = 65530;
	*ret = target;
	return 0;
}

void patch_target_close(struct patch_target *target)
{
	if (!target)
		return;
	unmap_ours(target);
	patch_forget_jumps(target, 0, UINT64_MAX);
	free(target->traps);
	for (size_t i = 0; i < target->nmodules; i++) {
		if (target->adopted)
			object_close(target->modules[i]->object);
		patch_module_free(target->modules[i]);
	}
	for (size_t i = 0; i < target->npools; i++)
		free(target->pools[i].bodies);
	free(target->modules);
	free(target->journal);
	free(target->batches);
	free(target->free_sites);
	free(target->page_offset);
	space_deinit(&target->space);
	process_maps_free(&target->maps);
	if (target->mem >= 0)
		close(target->mem);
	if (target->fd >= 0)
		close(target->fd);
	free(target);
}

const struct process_maps *patch_target_maps(const struct patch_target *target) { return &target->maps; }
int patch_target_mem(const struct patch_target *target) { return target->mem; }
int patch_target_memory_fd(const struct patch_target *target) { return target->fd; }
const struct wire_control *patch_target_geometry(const struct patch_target *target) { return &target->geometry; }
size_t patch_target_modules(const struct patch_target *target, struct patch_module *const **ret)
{
	*ret = target->modules;
	return target->nmodules;
}

void patch_target_facts(const struct patch_target *target, struct patch_facts *ret) { *ret = target->facts; }

/* ---- modules ---- */

/* Where vaddr 0 of the file would be: from the segment that the mapping shows (its first page may start before the segment). */
static int find_bias(const struct process_map *map, const struct object *object, uint64_t *bias)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);

	for (size_t i = 0; i < count; i++) {
		uint64_t first = base_align_down(segments[i].offset, BASE_PAGE);

		if (segments[i].execute == map->execute && map->offset >= first &&
		    map->offset < segments[i].offset + segments[i].file_size) {
			*bias = map->start - (map->offset - segments[i].offset + segments[i].vaddr);
			return 0;
		}
	}
	return -EINVAL;
}

/* The range of vaddrs that hold code. */
static void code_bounds(struct patch_module *module)
{
	const struct object_segment *segments;
	size_t count = object_segments(module->object, &segments);

	for (size_t i = 0; i < count; i++) {
		uint64_t end = segments[i].vaddr + segments[i].file_size;

		if (!segments[i].execute)
			continue;
		if (!module->high || segments[i].vaddr < module->low)
			module->low = segments[i].vaddr;
		if (end > module->high)
			module->high = end;
	}
}

static struct patch_module *find_module(const struct patch_target *target, const struct process_map *map, uint64_t bias)
{
	for (size_t i = 0; i < target->nmodules; i++) {
		struct patch_module *module = target->modules[i];

		if (module->bias == bias && module->inode == map->inode && module->major == map->major &&
		    module->minor == map->minor)
			return module;
	}
	return NULL;
}

void patch_module_free(struct patch_module *module)
{
	free((char *)(uintptr_t)module->path);
	free(module->patched);
	free(module->depended);
	free(module->carried);
	free(module->sited);
	free(module);
}

int patch_add_module(struct patch_target *target, const struct process_map *map, struct object *object,
		     struct patch_module **ret)
{
	struct patch_module *module;
	uint64_t bias;
	int error = find_bias(map, object, &bias);

	if (error)
		return error;
	module = find_module(target, map, bias);
	if (module) {
		*ret = module;
		return 0;
	}
	error = base_grow(&target->modules, &target->modules_cap, target->nmodules + 1, sizeof(struct patch_module *));
	module = error ? NULL : calloc(1, sizeof(*module));
	if (!module)
		return -ENOMEM;
	*module = (struct patch_module){
		.object = object,
		.bias = bias,
		.path = strdup(map->path),
		.major = map->major,
		.minor = map->minor,
		.inode = map->inode,
		.deleted = map->deleted,
	};
	if (!module->path) {
		free(module);
		return -ENOMEM;
	}
	code_bounds(module);
	target->modules[target->nmodules++] = module;
	*ret = module;
	return 0;
}

int patch_target_module(struct patch_target *target, const struct process_map *map, struct patch_code *code,
			struct patch_module **ret)
{
	struct patch_module *module;
	size_t words;
	int error = patch_add_module(target, map, patch_code_object(code), &module);

	if (error)
		return error;
	if (!module->code) {
		words = (module->high - module->low) / 64 + 2;
		module->patched = calloc(words, 8);
		module->depended = calloc(words, 8);
		module->carried = calloc(words, 8);
		module->sited = calloc(words, 8);
		if (!module->patched || !module->depended || !module->carried || !module->sited)
			return -ENOMEM;
		module->code = code;
	}
	*ret = module;
	return 0;
}

struct patch_module *patch_module_at(const struct patch_target *target, utap_addr addr)
{
	const struct process_map *map = process_maps_at(&target->maps, addr);

	for (size_t i = 0; map && i < target->nmodules; i++) {
		struct patch_module *module = target->modules[i];
		utap_addr low = base_align_down(module->low + module->bias, BASE_PAGE);

		if (module->inode == map->inode && module->major == map->major && module->minor == map->minor && addr >= low &&
		    addr < base_align_up(module->high + module->bias, BASE_PAGE))
			return module;
	}
	return NULL;
}

int patch_original(const struct patch_target *target, utap_addr addr, void *to, size_t size)
{
	struct patch_module *module = patch_module_at(target, addr);
	const uint8_t *bytes;
	size_t available;

	if (!module)
		return -ENOENT;
	bytes = object_code(module->object, addr - module->bias, &available);
	if (!bytes || available < size)
		return -EIO;
	memcpy(to, bytes, size);
	return 0;
}

/* ---- the journal ---- */

static int entry_for(struct patch_target *target, size_t *ret)
{
	if (target->nfree) {
		*ret = target->free_sites[--target->nfree];
		return 0;
	}
	if (target->sites >= target->geometry.max_sites)
		return -ENOSPC;
	if (base_grow(&target->journal, &target->sites_cap, target->sites + 1, sizeof(*target->journal)) ||
	    base_grow(&target->batches, &target->batches_cap, target->sites + 1, sizeof(*target->batches)))
		return -ENOMEM;
	*ret = target->sites++;
	return 0;
}

int patch_journal_add(struct patch_target *target, const struct wire_site *site)
{
	struct wire_site *shared = (struct wire_site *)(target->data + target->geometry.journal_at);
	struct wire_control *control = (struct wire_control *)target->data;
	size_t i;
	int error = entry_for(target, &i);

	if (error)
		return error;
	target->journal[i] = *site;
	target->batches[i] = target->batch;
	shared[i] = *site;
	control->sites = (uint32_t)target->sites;
	return 0;
}

/* ---- system calls in the target ---- */

static int calls_one_by_one(struct engine_loan *loan, struct wire_call *calls, size_t count, size_t *completed)
{
	for (size_t i = 0; i < count; i++) {
		int error = engine_call(loan, (long)calls[i].number, calls[i].args, &calls[i].result);

		if (error)
			return error;
		if (calls[i].result < 0 && calls[i].result > -4096)
			return 0;
		(*completed)++;
	}
	return 0;
}

int patch_calls(struct patch_target *target, struct engine_loan *loan, struct wire_call *calls, size_t count,
		size_t *completed)
{
	struct wire_lend *lend = target->data ? (struct wire_lend *)(target->data + target->geometry.lend_at) : NULL;
	utap_addr addr = target->geometry.self + target->geometry.lend_at;

	*completed = 0;
	if (!lend || count < 4 || !target->facts.runtime[RT_BATCH] ||
	    target->geometry.quiet) /* should we die, the rest of a batch would run under the filter again */
		return calls_one_by_one(loan, calls, count, completed);
	while (*completed < count) {
		size_t part = count - *completed < WIRE_BATCH ? count - *completed : WIRE_BATCH;
		size_t made;
		int error;

		memcpy(lend->calls, calls + *completed, part * sizeof(*calls));
		lend->count = (uint32_t)part;
		error = engine_batch(loan, lend, addr, target->facts.runtime[RT_BATCH]);
		if (error)
			return error;
		made = lend->completed <= part ? lend->completed : 0; /* the target may scribble */
		for (size_t i = 0; i < made; i++) {
			int64_t result = lend->calls[i].result;

			calls[*completed].result = result;
			if (result < 0 && result > -4096)
				return 0;
			(*completed)++;
		}
		if (made < part)
			return -EIO;
	}
	return 0;
}

/* ---- what it costs, whether it is there ---- */

void patch_target_cost(const struct patch_target *target, uint64_t *memory, uint64_t *ring, uint64_t *stopped_ns)
{
	const struct wire_control *geometry = &target->geometry;
	uint64_t pools = 0;

	for (size_t i = 0; i < target->npools; i++)
		pools += base_align_up(target->pools[i].used, BASE_PAGE);
	*memory = pools + base_align_up(target->unwind_used, BASE_PAGE) + target->page_offsets * BASE_PAGE + base_align_up(target->sites * sizeof(struct wire_site), BASE_PAGE) +
		  3 * BASE_PAGE;
	*ring = geometry->cpus * geometry->ring_size;
	*stopped_ns = target->stopped_ns;
}

void patch_target_quiet(struct patch_target *target)
{
	if (target->data)
		((struct wire_control *)target->data)->quiet = 1;
}

bool patch_target_is_present(const struct patch_target *target) { return patch_target_is_present_in(target, target->pid); }

bool patch_target_is_present_in(const struct patch_target *target, pid_t pid)
{
	struct process_maps maps;
	const struct process_map *memory;
	bool present;

	if (process_maps_read(pid, &maps))
		return false;
	memory = patch_find_memory(&maps);
	present = memory && memory->inode == target->memory_inode;
	process_maps_free(&maps);
	return present;
}
