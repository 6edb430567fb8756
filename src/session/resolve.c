/* SPDX-License-Identifier: MIT */
/* Specifications -> places in the files that a target maps. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "session/inside.h"

#define SUGGESTIONS 3

/* ---- which mappings ---- */

bool session_is_candidate(const struct process_map *map)
{
	return map->execute && map->inode && map->path[0] == '/' && strncmp(map->path, "/memfd:", 7) &&
	       strncmp(map->path, "/dev/", 5) && strncmp(map->path, "/SYSV", 5);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "libc" names libc.so.6 and libc-2.31.so, "python3.11" the program. */
static bool is_short_name_of(const char *name, const char *path)
{
	const char *base = base_name(path);
	size_t length = strlen(name);

	return !strncmp(base, name, length) && (!base[length] || base[length] == '.' || base[length] == '-');
}

bool session_map_is_named(const struct process_map *map, const char *wanted)
{
	struct stat status;
	char real[PATH_MAX];

	if (!*wanted)
		return true;
	if (!strchr(wanted, '/'))
		return is_short_name_of(wanted, map->path);
	if (!strcmp(wanted, map->path) || (realpath(wanted, real) && !strcmp(real, map->path)))
		return true;
	return !stat(wanted, &status) && status.st_ino == map->inode;
}

static bool is_loader(const struct process_map *map)
{
	return !strncmp(base_name(map->path), "ld-linux", 8) || !strncmp(base_name(map->path), "ld-2.", 5);
}

/* The first executable mapping of each copy of a file (dlmopen loads a second one). */
static bool is_first_of_copy(const struct process_maps *maps, size_t index)
{
	const struct process_map *map = &maps->map[index];

	for (size_t i = 0; i < index; i++)
		if (session_is_candidate(&maps->map[i]) && session_is_same_copy(&maps->map[i], map))
			return false;
	return true;
}

/*
 * The files a spec may mean, in the order of a symbol search: the main program, libraries, the dynamic linker last (it has
 * copies of some of libc's functions).
 */
static size_t list_maps(const struct session_process *process, const struct process_maps *maps, const char *wanted,
			const struct process_map **list, size_t max)
{
	size_t n = 0;

	for (int loader = 0; loader < 2; loader++)
		for (size_t i = 0; i < maps->count && n < max; i++) {
			const struct process_map *map = &maps->map[i];

			if (session_is_candidate(map) && is_loader(map) == (loader == 1) && session_map_is_named(map, wanted) &&
			    is_first_of_copy(maps, i) && !session_is_seen(process, map))
				list[n++] = map;
		}
	return n;
}

/* ---- places in one file ---- */

static int add_match(struct session_match **matches, size_t *count, size_t *cap, const struct session_match *match)
{
	int error = base_grow(matches, cap, *count + 1, sizeof(**matches));

	if (!error)
		(*matches)[(*count)++] = *match;
	return error;
}

/* The dynamic linker maps segments; a program that maps some code of its file once more (node does) made no copy of the file. */
static bool begins_segment(const struct process_map *map, const struct object *object)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);

	for (size_t i = 0; i < count; i++)
		if (segments[i].execute && base_align_down(segments[i].offset, BASE_PAGE) == map->offset)
			return true;
	return false;
}

/* Of the copy that @first is of. */
static const struct process_map *map_of_vaddr(const struct process_maps *maps, const struct process_map *first,
					      const struct object *object, uint64_t vaddr)
{
	const struct process_map *map;
	uint64_t bias;

	if (session_map_bias(first, object, &bias))
		return NULL;
	map = process_maps_at(maps, vaddr + bias);
	return map && map->execute && map->inode == first->inode && map->major == first->major && map->minor == first->minor ?
		       map :
		       NULL;
}

static int match_offset(struct session_match match, uint64_t offset, struct patch_target *target,
			struct session_match **matches, size_t *count, size_t *cap, struct utap_error *err)
{
	const char *path = match.map->path;

	match.map = object_offset_to_vaddr(match.file->object, offset, &match.vaddr) ?
			    NULL :
			    map_of_vaddr(patch_target_maps(target), match.map, match.file->object, match.vaddr);
	if (!match.map)
		return base_error(err, -EINVAL, UTAP_ERROR_NOT_FOUND, "offset 0x%lx of %s is not in its code",
				  (unsigned long)offset, path);
	match.symbol = object_symbol_at(match.file->object, match.vaddr);
	if (match.symbol)
		match.symbol_offset = match.vaddr - match.symbol->vaddr;
	return add_match(matches, count, cap, &match);
}

static int match_offsets(struct session *session, struct session_match match, struct patch_target *target,
			 struct session_match **matches, size_t *count, size_t *cap, struct utap_error *err)
{
	const struct session_program *program = &session->programs[match.spec];

	if (!program->noffsets)
		return match_offset(match, session->specs[match.spec].offset, target, matches, count, cap, err);
	for (size_t i = 0; i < program->noffsets; i++) {
		struct utap_error why = { 0 };
		int error = match_offset(match, program->offsets[i], target, matches, count, cap, &why);

		if (error == -EINVAL)
			session_refuse(session, match.map->path, why.text);
		else if (error)
			return base_error_system(err, error, "cannot keep the places of %s", match.map->path);
	}
	return 0;
}

/* Where the function that starts at @start ends; of an ifunc's implementation the symbol says nothing. */
static uint64_t function_end(const struct session_file *file, const struct object_symbol *symbol, uint64_t start)
{
	const struct object_range *range = object_range_at(file->object, start);

	if (symbol->size && start == symbol->vaddr)
		return start + symbol->size;
	return range ? range->end : start;
}

/* Is the instruction before @vaddr a landing instruction? */
static bool is_behind_landing(const struct session_file *file, uint64_t vaddr)
{
	uint64_t before = patch_code_start_before(file->code, vaddr - 1);
	size_t available;
	const uint8_t *bytes = before ? object_code(file->object, before, &available) : NULL;
	struct isa_insn insn;

	return bytes && !isa_decode(bytes, available, before, &insn) && insn.class == ISA_ENDBR &&
	       before + insn.length == vaddr;
}

/* SYMBOL:*. A landing instruction and the one behind it are one place: the probe stands behind. */
static int match_each(struct session *session, struct session_match match, struct session_match **matches, size_t *count,
		      size_t *cap, struct utap_error *err)
{
	uint64_t start = match.vaddr;
	uint64_t end = function_end(match.file, match.symbol, start);
	int error = session_code_of(session, match.file, err);

	if (!error && !patch_code_is_start(match.file->code, start)) {
		session_refuse(session, match.symbol->name, "its instructions are not known: no frame description entry covers it");
		return 0;
	}
	for (uint64_t at = start; !error && at && at < end; at = patch_code_start_after(match.file->code, at)) {
		if (at > start && is_behind_landing(match.file, at))
			continue;
		match.vaddr = at;
		match.symbol_offset = at - start;
		error = add_match(matches, count, cap, &match);
	}
	return error;
}

/* One function or place that the symbol names; fills what @match lacks. -ENOTSUP: refused, and said. */
static int match_symbol(struct session *session, struct session_match *match, const struct probe_spec *spec,
			struct patch_target *target, const struct process_map *first)
{
	const struct object_symbol *symbol = match->symbol;
	uint64_t offset;

	match->vaddr = symbol->vaddr;
	if (symbol->ifunc && session_resolve_ifunc(session, target, match->file, first, symbol, &match->vaddr)) {
		session_refuse(session, symbol->name,
			       "it is chosen at run time (ifunc) and nothing in the process uses it yet; probe one of its "
			       "implementations by name or offset");
		return -ENOTSUP;
	}
	match->vaddr += spec->offset;
	match->symbol_offset = spec->offset;
	match->map = object_vaddr_to_offset(match->file->object, match->vaddr, &offset) ?
			     NULL :
			     map_of_vaddr(patch_target_maps(target), first, match->file->object, match->vaddr);
	if (match->map)
		return 0;
	session_refuse(session, symbol->name, "the place is not in the file's code");
	return -ENOTSUP;
}

static int match_symbols(struct session *session, struct session_match match, const struct probe_spec *spec,
			 struct patch_target *target, struct session_match **matches, size_t *count, size_t *cap,
			 struct utap_error *err)
{
	_cleanup_free_ const struct object_symbol **found = NULL;
	long n = object_find(match.file->object, spec->symbol, true, &found, err);
	const struct process_map *first = match.map;
	long used = 0;

	if (n < 0)
		return (int)n;
	for (long i = 0; i < n; i++) {
		int error;

		match.symbol = found[i];
		error = match_symbol(session, &match, spec, target, first);
		if (error)
			continue;
		if (spec->kind == PROBE_EACH)
			error = match_each(session, match, matches, count, cap, err);
		else
			error = add_match(matches, count, cap, &match);
		if (error)
			return error;
		used++;
	}
	return used || n ? (used ? 0 : -ENOTSUP) : -ENOENT;
}

/* ---- a whole spec ---- */

static int no_symbol(const struct session *session, const struct probe_spec *spec, struct session_file **files,
		     size_t nfiles, struct utap_error *err)
{
	pid_t pid = session->current->pid;
	struct process_status status;

	char hint[256] = "";
	size_t used = 0;

	if (process_status_read(pid, &status) || process_has_ended(pid))
		return base_error(err, -ESRCH, UTAP_ERROR_GONE, "process %d exited during the attach", pid);
	for (size_t i = 0; i < nfiles && !spec->glob && used < sizeof(hint) / 2; i++) {
		const char *names[SUGGESTIONS];
		size_t n = object_suggest(files[i]->object, spec->symbol, names, SUGGESTIONS);

		for (size_t j = 0; j < n && used < sizeof(hint) - 80; j++)
			used += (size_t)snprintf(hint + used, sizeof(hint) - used, "%s%.60s", used ? ", " : "", names[j]);
	}
	if (*hint)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no function %s in %s; did you mean %s?", spec->symbol,
				  *spec->path ? spec->path : "any mapped file", hint);
	return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND,
			  "no function %s in %s; if the file is stripped, install its debug symbols or probe FILE:0xOFFSET (utap "
			  "list FILE shows what there is)",
			  spec->symbol, *spec->path ? spec->path : "any mapped file");
}

/* What is executed but is no file: the kernel's own, and code made at run time. */
static const char *why_no_file(const char *path)
{
	static const char vdso[] = "its code is the kernel's, shared by all processes; probe libc's functions that call it";
	static const char made[] = "only code of files can be probed, not what the program makes as it runs (JIT) or keeps in other memory";

	if (!strncmp(path, "[vdso", 5) || !strcmp(path, "vdso") || strstr(path, "linux-vdso") || !strncmp(path, "[vsyscall", 9))
		return vdso;
	return *path == '[' || strstr(path, "//anon") || !strncasecmp(path, "jit", 3) || !strncmp(path, "/memfd", 6) ? made : NULL;
}

static int no_file(const struct probe_spec *spec, pid_t pid, struct utap_error *err)
{
	const char *why = why_no_file(spec->path);

	if (why)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "cannot probe %s of process %d: %s", spec->path, pid, why);
	return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "process %d maps no file %s; utap list -p %d shows what it maps",
			  pid, *spec->path ? spec->path : "with code", pid);
}

/* NAME:* is all functions of a file, and where no file has that name each instruction of a function that has. */
static void reread_each(struct probe_spec *spec)
{
	if (spec->kind != PROBE_PLACE || strcmp(spec->symbol, "*") || !*spec->path || strchr(spec->path, '/') ||
	    strlen(spec->path) >= sizeof(spec->symbol))
		return;
	spec->kind = PROBE_EACH;
	spec->glob = strpbrk(spec->path, "*?[") != NULL;
	snprintf(spec->symbol, sizeof(spec->symbol), "%s", spec->path);
	*spec->path = '\0';
}

int session_resolve(struct session *session, struct patch_target *target, uint32_t number,
		    struct session_match **matches, size_t *count, size_t *cap, struct utap_error *err)
{
	struct probe_spec *spec = &session->specs[number];
	const struct process_maps *maps = patch_target_maps(target);
	_cleanup_free_ const struct process_map **list = calloc(maps->count + 1, sizeof(*list));
	_cleanup_free_ struct session_file **files = calloc(maps->count + 1, sizeof(*files));
	struct session_process *process = session->current;
	size_t nlist = list ? list_maps(process, maps, spec->path, list, maps->count) : 0;
	size_t nfiles = 0;
	int result = -ENOENT;

	if (!list || !files)
		return base_error_system(err, -ENOMEM, "cannot resolve %s", spec->symbol);
	if (process->later && (!nlist || session_is_found(process, spec, number)))
		return 0;
	if (!nlist && session_waits_for(session, process, spec))
		return 0;
	if (!nlist) {
		reread_each(spec);
		nlist = list_maps(process, maps, spec->path, list, maps->count);
	}
	if (!nlist)
		return no_file(spec, process->pid, err);
	for (size_t i = 0; i < nlist; i++) {
		struct session_match match = { .spec = number, .map = list[i] };
		int error = session_file_of(session, list[i], &match.file, err);

		if (error && *spec->path)
			return error;
		if (error)
			continue; /* a library that cannot be read matters only when it is asked for */
		if (!begins_segment(list[i], match.file->object))
			continue;
		files[nfiles++] = match.file;
		if (spec->by_offset && match.file != files[0])
			continue; /* only further copies of the first file */
		if (spec->by_offset)
			error = match_offsets(session, match, target, matches, count, cap, err);
		else
			error = match_symbols(session, match, spec, target, matches, count, cap, err);
		if (!error)
			process->found[number] = true;
		if (error == -ENOTSUP)
			result = result == -ENOENT ? error : result;
		else if (error && error != -ENOENT)
			return error;
		if (!error) {
			result = 0;
			if (!spec->glob && !*spec->path)
				break; /* the one the program would call */
		}
	}
	if (result && (process->later || (spec->glob && session->options.follow)))
		return 0;
	if (result == -ENOTSUP)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "%s: %s", spec->symbol, session->first_refusal);
	return result ? no_symbol(session, spec, files, nfiles, err) : 0;
}

/* ---- ifuncs ---- */

/* What a slot of a module holds right now, when it leads into @file's code. */
static bool slot_value(struct patch_target *target, utap_addr slot, const struct session_file *file,
		       const struct process_map *map, uint64_t bias, uint64_t *vaddr)
{
	const struct process_map *to;
	utap_addr value;

	if (process_read(patch_target_mem(target), slot, &value, sizeof(value)))
		return false;
	to = process_maps_at(patch_target_maps(target), value);
	if (!to || !to->execute || to->inode != map->inode || to->major != map->major || to->minor != map->minor)
		return false;
	*vaddr = value - bias;
	return object_range_at(file->object, *vaddr) && object_range_at(file->object, *vaddr)->start == *vaddr;
}

int session_map_bias(const struct process_map *map, const struct object *object, uint64_t *bias)
{
	const struct object_segment *segments;
	size_t count = object_segments(object, &segments);

	for (size_t i = 0; i < count; i++)
		if (segments[i].execute && base_align_down(segments[i].offset, BASE_PAGE) <= map->offset &&
		    map->offset < segments[i].offset + segments[i].file_size) {
			*bias = map->start - (map->offset - segments[i].offset + segments[i].vaddr);
			return 0;
		}
	return -ENOENT;
}

int session_resolve_ifunc(struct session *session, struct patch_target *target, struct session_file *file,
			  const struct process_map *map, const struct object_symbol *symbol, uint64_t *ret)
{
	const struct process_maps *maps = patch_target_maps(target);
	uint64_t bias;

	if (session_map_bias(map, file->object, &bias))
		return -ENOENT;
	for (size_t i = 0; i < maps->count; i++) {
		const struct object_slot *slots;
		struct session_file *user;
		uint64_t user_bias;
		size_t n;

		if (!session_is_candidate(&maps->map[i]) || !is_first_of_copy(maps, i) ||
		    session_file_of(session, &maps->map[i], &user, NULL) ||
		    object_slots(user->object, &slots, &n, NULL) || session_map_bias(&maps->map[i], user->object, &user_bias))
			continue;
		for (size_t j = 0; j < n; j++) {
			bool wanted = *slots[j].name ? !strcmp(slots[j].name, symbol->name) :
						       user == file && slots[j].resolver == symbol->vaddr;

			if (wanted && slot_value(target, slots[j].vaddr + user_bias, file, map, bias, ret) &&
			    *ret != symbol->vaddr)
				return 0;
		}
	}
	return -ENOENT;
}
