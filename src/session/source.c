/* SPDX-License-Identifier: MIT */
/*
 * Probes that are named by source or are static ones (sdt): looked up in the files of those who will be probed, each place that is found becomes a probe of a file offset
 * with fetch arguments. It is done before anybody is attached: a library that is loaded later has to be named by its path.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "object/dwarf.h"
#include "object/usdt.h"
#include "session/inside.h"

struct candidate {
	struct object *object;
	char *path;
	uint64_t inode;
};

struct lookup {
	struct session *session;
	const struct probe_source *source;
	struct candidate *files;
	size_t nfiles, cap;
	bool is_trigger;        /* they are */
	size_t places;          /* probes made of it */
	struct utap_error why;  /* of the last file that has no such place */
};

/* ---- the files to look in ---- */

static void free_files(struct lookup *lookup)
{
	for (size_t i = 0; i < lookup->nfiles; i++) {
		object_close(lookup->files[i].object);
		free(lookup->files[i].path);
	}
	free(lookup->files);
}

/* Takes @object over, also on failure. */
static int add_file(struct lookup *lookup, struct object *object, const char *path, uint64_t inode)
{
	char *copy = strdup(path);

	if (!copy || base_grow(&lookup->files, &lookup->cap, lookup->nfiles + 1, sizeof(*lookup->files))) {
		free(copy);
		object_close(object);
		return -ENOMEM;
	}
	lookup->files[lookup->nfiles++] = (struct candidate){ .object = object, .path = copy, .inode = inode };
	return 0;
}

static bool has_file(const struct lookup *lookup, const char *path, uint64_t inode)
{
	for (size_t i = 0; i < lookup->nfiles; i++)
		if (inode ? lookup->files[i].inode == inode : !strcmp(lookup->files[i].path, path))
			return true;
	return false;
}

static int add_path(struct lookup *lookup, const char *path, struct utap_error *err)
{
	char real[PATH_MAX];
	struct object *object;
	int error = 0;

	if (realpath(path, real))
		path = real;
	if (!has_file(lookup, path, 0))
		error = object_open(path, &object, err);
	else
		return 0;
	if (!error && add_file(lookup, object, path, 0))
		error = base_error_system(err, -ENOMEM, "cannot look into %s", path);
	return error;
}

static int add_mapped(struct lookup *lookup, pid_t pid, struct utap_error *err)
{
	struct process_maps maps;
	int error = process_maps_read(pid, &maps);

	if (error)
		return process_explain(pid, error, err);
	for (size_t i = 0; !error && i < maps.count; i++) {
		const struct process_map *map = &maps.map[i];
		struct object *object;

		if (!session_is_candidate(map) || !session_map_is_named(map, lookup->source->file) || has_file(lookup, map->path, map->inode) ||
		    patch_mapped_file(pid, map, &object, NULL))
			continue;
		error = add_file(lookup, object, map->path, map->inode);
	}
	process_maps_free(&maps);
	return error ? base_error_system(err, error, "cannot look into the files of process %d", pid) : 0;
}

/* As the shell finds it. */
static bool find_program(const char *name, char path[static PATH_MAX])
{
	const char *path_variable = getenv("PATH");
	_cleanup_free_ char *dirs = strdup(path_variable ? path_variable : "/usr/bin:/bin");
	char *rest;

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	for (char *dir = dirs ? strtok_r(dirs, ":", &rest) : NULL; dir; dir = strtok_r(NULL, ":", &rest))
		if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX && access(path, X_OK) == 0)
			return true;
	return false;
}

/* The dynamic linker says what it would load: "name => /path (0x..)". */
static FILE *list_libraries(const char *interpreter, const char *program, pid_t *pid)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return NULL;
	*pid = fork();
	if (!*pid) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
		execl(interpreter, interpreter, "--list", program, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	if (*pid < 0) {
		close(ends[0]);
		return NULL;
	}
	return fdopen(ends[0], "r");
}

static int add_libraries(struct lookup *lookup, const char *interpreter, const char *program, struct utap_error *err)
{
	pid_t pid = -1;
	FILE *list = list_libraries(interpreter, program, &pid);
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	int error = 0;

	while (list && !error && getline(&line, &cap, list) > 0) {
		char *path = strchr(line, '/');
		char *end = path ? strstr(path, " (0x") : NULL;
		struct process_map named = { .path = path };

		if (!end)
			continue;
		*end = '\0';
		if (session_map_is_named(&named, lookup->source->file))
			error = add_path(lookup, path, err);
	}
	if (list)
		fclose(list);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return error;
}

static int add_program(struct lookup *lookup, const char *program, struct utap_error *err)
{
	char path[PATH_MAX], real[PATH_MAX];
	struct process_map named = { .path = real };
	struct object *object;
	const char *interpreter;
	int error;

	if (!find_program(program, path) || !realpath(path, real))
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "there is no program %s", program);
	error = object_open(real, &object, err);
	if (error)
		return error;
	interpreter = object_interpreter(object);
	if (session_map_is_named(&named, lookup->source->file))
		error = add_path(lookup, real, err);
	if (!error && interpreter)
		error = add_libraries(lookup, interpreter, real, err);
	object_close(object);
	return error;
}

static int list_files(struct lookup *lookup, const struct session_search *search, struct utap_error *err)
{
	int error = 0;

	if (strchr(lookup->source->file, '/'))
		return add_path(lookup, lookup->source->file, err);
	for (size_t i = 0; !error && i < search->npids; i++)
		error = add_mapped(lookup, search->pids[i], err);
	if (!error && search->program)
		error = add_program(lookup, search->program, err);
	if (!error && !lookup->nfiles)
		error = base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND,
				   "no file %s is loaded; name it by its path if it is to be loaded later", lookup->source->file);
	return error;
}

/* ---- one place ---- */

/* @args: fetch arguments, as text */
static int add_place(struct lookup *lookup, const struct candidate *file, uint64_t offset, uint64_t reference, const char *event,
		     const char *args, struct utap_error *err)
{
	const struct probe_source *source = lookup->source;
	_cleanup_free_ struct probe_spec *spec = calloc(1, sizeof(*spec));
	_cleanup_free_ char *text = NULL;
	struct utap_error why = { 0 };
	int error;

	if (!spec || asprintf(&text, "/file:0x%llx%s %s %s", (unsigned long long)offset, source->is_return ? "%return" : "", args,
			      source->filter) < 0)
		return base_error_system(err, -ENOMEM, "cannot add probe %s", source->text);
	error = probe_parse(text, spec, NULL, &why);
	if (error) { /* columns are of our text, not of the user's */
		const char *colon = !strncmp(why.text, "column ", 7) ? strstr(why.text, ": ") : NULL;

		return base_error(err, error, why.kind, "%s", colon ? colon + 2 : why.text);
	}
	snprintf(spec->path, sizeof(spec->path), "%s", file->path);
	if (*source->group)
		snprintf(spec->group, sizeof(spec->group), "%s", source->group);
	snprintf(spec->event, sizeof(spec->event), "%s", *source->event ? source->event : event);
	spec->reference = reference;
	error = lookup->is_trigger ? session_add_trigger(lookup->session, spec, err) : session_add(lookup->session, spec, err);
	if (!error)
		lookup->places++;
	return error;
}

/* ---- static probes ---- */

/* The fetch argument of argN in "arg1=.. arg2=..", without its name; its length in *size, 0: there is none. */
static const char *static_arg(const char *all, const char *name, size_t *size)
{
	size_t length = strlen(name);

	for (const char *at = all; *at; at += strcspn(at, " "), at += strspn(at, " "))
		if (!strncmp(at, name, length) && at[length] == '=') {
			*size = strcspn(at, " ") - length - 1;
			return at + length + 1;
		}
	*size = 0;
	return NULL;
}

/* [NAME=]argN[:TYPE] is the N-th argument; what else there is stays as it is written. */
static int put_static_arg(const char *arg, const char *all, FILE *out, struct utap_error *err)
{
	const char *equals = strchr(arg, '=');
	const char *what = equals ? equals + 1 : arg;
	const char *type = strchr(what, ':');
	_cleanup_free_ char *name = strndup(what, type ? (size_t)(type - what) : strlen(what));
	bool is_string = type && (!strcmp(type, ":string") || !strcmp(type, ":ustring"));
	const char *fetch;
	size_t size;

	if (!name)
		return -ENOMEM;
	if (strncmp(name, "arg", 3)) {
		fprintf(out, "%s ", arg);
		return 0;
	}
	fetch = static_arg(all, name, &size);
	if (!fetch)
		return base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "it has no argument %s; it has %s", name, *all ? all : "none");
	if (type) /* instead of the one it was described with */
		while (size && fetch[size - 1] != ':')
			size--;
	fprintf(out, "%.*s=", equals ? (int)(equals - arg) : (int)strlen(name), equals ? arg : name);
	if (is_string) /* it is what the argument points to */
		fprintf(out, "+0(%.*s)%s ", (int)size - 1, fetch, type);
	else
		fprintf(out, "%.*s%s ", (int)size, fetch, type ? type + 1 : "");
	return 0;
}

/* The arguments that were asked for, or @all; heap. */
static int choose_static_args(const struct probe_source *source, const char *all, char **ret, struct utap_error *err)
{
	size_t size;
	FILE *out = open_memstream(ret, &size);
	int error = out ? 0 : -ENOMEM;

	if (!error && !source->nargs)
		fputs(all, out);
	for (size_t i = 0; !error && i < source->nargs; i++)
		error = put_static_arg(source->args[i], all, out, err);
	if (out && fclose(out) && !error)
		error = -ENOMEM;
	return error;
}

static int add_static(struct lookup *lookup, const struct candidate *file, const struct object_usdt *probe, struct utap_error *err)
{
	_cleanup_free_ char *all = NULL;
	_cleanup_free_ char *args = NULL;
	char event[PROBE_NAME];
	int error = object_usdt_args(file->object, probe, &all, err);

	if (error == -ENOTSUP && !lookup->source->nargs) { /* hits are worth something without them */
		session_note(lookup->session, "%s:%s at 0x%llx of %s is recorded without its arguments: %s", probe->provider, probe->name,
			     (unsigned long long)probe->offset, file->path, err->text);
		error = 0;
	}
	if (!error)
		error = choose_static_args(lookup->source, all ? all : "", &args, err);
	if (error == -ENOMEM)
		return base_error_system(err, error, "cannot add probe %s", lookup->source->text);
	probe_event_name(probe->name, 0, event, sizeof(event));
	return error ? error : add_place(lookup, file, probe->offset, probe->semaphore, event, args, err);
}

static int expand_static(struct lookup *lookup, const struct candidate *file, struct utap_error *err)
{
	_cleanup_free_ struct object_usdt *probes = NULL;
	_cleanup_free_ char *provider = strdup(lookup->source->place);
	char *name = provider ? strchr(provider, ':') : NULL;
	size_t count, before = lookup->places;
	int error = provider ? object_usdt(file->object, &probes, &count, err) : -ENOMEM;

	if (!error && !name)
		error = base_error(err, -EINVAL, UTAP_ERROR_USAGE, "'%s' names no static probe: it is sdt:PROVIDER:NAME", lookup->source->text);
	if (error)
		return error;
	*name++ = '\0';
	for (size_t i = 0; !error && i < count; i++)
		if (!fnmatch(provider, probes[i].provider, 0) && !fnmatch(name, probes[i].name, 0))
			error = add_static(lookup, file, &probes[i], err);
	if (!error && lookup->places == before)
		error = base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "%s has no static probe %s", file->path, lookup->source->place);
	return error;
}

/* ---- debug information ---- */

/* Floating point has types of its own in our language: x64 becomes f64, x32[4] f32[4], the field b32@32/64 f32@32/64. */
static void put_arg(const struct object_dwarf_arg *arg, FILE *out)
{
	const char *colon = strrchr(arg->fetch, ':');
	bool is_float = colon && arg->show == OBJECT_DWARF_FLOAT;
	char name[PROBE_NAME];

	probe_event_name(arg->name, 0, name, sizeof(name));
	if (is_float)
		fprintf(out, "%s=%.*s:f%s ", name, (int)(colon - arg->fetch), arg->fetch, colon + 2);
	else
		fprintf(out, "%s=%s ", name, arg->fetch);
}

static void note_refused(const struct lookup *lookup, const struct object_dwarf_place *place, const struct object_dwarf_arg *arg)
{
	session_note(lookup->session, "%s at %s:%u is recorded without %s: %s", *place->function ? place->function : lookup->source->place,
		     place->source, place->line, arg->name, arg->why);
}

/* Those that are there; heap. */
static int put_args(const struct lookup *lookup, const struct object_dwarf_place *place, char **ret)
{
	size_t size;
	FILE *out = open_memstream(ret, &size);

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < place->nargs; i++)
		if (place->args[i].fetch)
			put_arg(&place->args[i], out);
		else
			note_refused(lookup, place, &place->args[i]);
	return fclose(out) ? -ENOMEM : 0;
}

static int add_dwarf_place(struct lookup *lookup, const struct candidate *file, const struct object_dwarf_place *place, struct utap_error *err)
{
	bool is_line = strpbrk(lookup->source->place, ";") || strrchr(lookup->source->place, ':');
	_cleanup_free_ char *args = NULL;
	char full[2 * PROBE_NAME], event[PROBE_NAME] = "";

	if (put_args(lookup, place, &args))
		return base_error_system(err, -ENOMEM, "cannot add probe %s", lookup->source->text);
	snprintf(full, sizeof(full), *place->function && is_line && place->line ? "%.50s_L%u" : "%.60s", place->function, place->line);
	if (*place->function)
		probe_event_name(full, 0, event, sizeof(event));
	return add_place(lookup, file, place->offset, 0, event, args, err);
}

/* An argument that is nowhere there is a mistake, not something to go on without. */
static int check_args(const struct lookup *lookup, const struct object_dwarf_places *found, struct utap_error *err)
{
	for (size_t i = 0; i < lookup->source->nargs; i++) {
		const struct object_dwarf_arg *refused = NULL;
		bool is_there = *lookup->source->args[i] == '$';

		for (size_t j = 0; j < found->count && !is_there; j++)
			for (size_t k = 0; k < found->places[j].nargs; k++) {
				const struct object_dwarf_arg *arg = &found->places[j].args[k];

				is_there |= arg->from == i && arg->fetch;
				if (arg->from == i && !arg->fetch)
					refused = arg;
			}
		if (!is_there && refused)
			return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED, "'%s': %s", refused->name, refused->why);
	}
	return 0;
}

static int expand_dwarf(struct lookup *lookup, const struct candidate *file, struct utap_error *err)
{
	const struct probe_source *source = lookup->source;
	_cleanup_free_ char *text = NULL;
	struct object_dwarf_places *found = NULL;
	struct object_dwarf *dwarf;
	int error = object_dwarf_open(file->object, &dwarf, err);

	if (error)
		return error;
	if (asprintf(&text, "%s%s", source->place, source->is_return ? "%return" : "") < 0)
		error = -ENOMEM;
	if (!error)
		error = object_dwarf_find(dwarf, text, (const char *const *)source->args, source->nargs, &found, err);
	if (!error)
		error = check_args(lookup, found, err);
	for (size_t i = 0; !error && i < found->count; i++)
		error = add_dwarf_place(lookup, file, &found->places[i], err);
	object_dwarf_places_free(found);
	object_dwarf_close(dwarf);
	return error;
}

/* ---- the whole ---- */

int session_add_source(struct session *session, const struct probe_source *source, const struct session_search *search,
		       bool is_trigger, struct utap_error *err)
{
	struct lookup lookup = { .session = session, .source = source, .is_trigger = is_trigger };
	int error = list_files(&lookup, search, err);

	for (size_t i = 0; !error && i < lookup.nfiles; i++) {
		struct utap_error why = { 0 };
		int result = source->is_static ? expand_static(&lookup, &lookup.files[i], &why) : expand_dwarf(&lookup, &lookup.files[i], &why);

		if (result == -ENOENT) { /* then another file, perhaps */
			if (!lookup.why.code || !i)
				lookup.why = why;
		} else if (result) {
			error = result;
			if (err)
				*err = why;
		} else if (!source->is_static) {
			break; /* the first, as the dynamic linker would look */
		}
	}
	if (!error && !lookup.places && lookup.nfiles == 1) {
		error = -ENOENT;
		if (err)
			*err = lookup.why;
	} else if (!error && !lookup.places) {
		error = base_error(err, -ENOENT, UTAP_ERROR_NOT_FOUND, "no %s %s in %zu files that were looked in; in the first: %s",
				   source->is_static ? "static probe" : "place", source->place, lookup.nfiles, lookup.why.text);
	}
	free_files(&lookup);
	return error;
}
