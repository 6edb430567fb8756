/* SPDX-License-Identifier: MIT */
/* The session itself: its probes, reading. Their table is table.c's. Attaching is attach.c's, taking out detach.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

int session_create(const struct session_options *options, struct session **ret, struct utap_error *err)
{
	struct session *session;

	if (options->ring_size > SESSION_RING_MAX)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "a ring of %llu MiB a CPU is too large: at most %llu MiB",
				  (unsigned long long)options->ring_size >> 20, SESSION_RING_MAX >> 20);
	if (options->allow_trap && options->follow)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "--allow-trap and -f do not go together: a process has one tracer, and each of them needs to be it");
	session = calloc(1, sizeof(*session));
	if (!session || trace_reader_create(NULL, 0, &session->reader)) {
		free(session);
		return base_error_system(err, -ENOMEM, "cannot make a session");
	}
	session->options = *options;
	if (options->rate)
		trace_clock_init(&session->clock);
	if (options->overwrite)
		trace_reader_overwrite(session->reader);
	*ret = session;
	return 0;
}

static void free_tables(struct session *session)
{
	struct session_place *place, *next_place;
	struct session_name *name, *next_name;

	HASH_ITER (hh, session->places, place, next_place) {
		HASH_DEL(session->places, place);
		free(place);
	}
	HASH_ITER (hh, session->names, name, next_name) {
		HASH_DEL(session->names, name);
		free(name);
	}
	for (uint32_t i = 0; i < session->nprobes; i++) {
		free((char *)(uintptr_t)session->probes[i].symbol);
		free((char *)(uintptr_t)session->probes[i].path);
	}
	for (size_t i = 0; i < session->nspecs; i++) {
		free(session->programs[i].args);
		free(session->programs[i].offsets);
	}
	for (size_t i = 0; i < session->nbodies; i++)
		free(session->bodies[i].insns);
	session_placed_free(session);
}

void session_destroy(struct session *session)
{
	if (!session)
		return;
	session_follow_end(session);
	trace_reader_destroy(session->reader);
	for (size_t i = 0; i < session->nprocesses; i++)
		session_process_free(session->processes[i]);
	free_tables(session);
	session_wheres_free(session);
	session_files_free(session);
	free(session->specs);
	free(session->programs);
	free(session->bodies);
	free(session->probes);
	trace_frames_destroy(session->calls);
	free(session->delivered);
	free(session->specs_of);
	free(session->past);
	free(session->triggers);
	free(session->processes);
	free(session->targets);
	free(session->sites);
	free(session);
}

void session_progress(const struct session *session, const char *what, size_t done, size_t total)
{
	if (session->options.progress)
		session->options.progress(session->options.progress_arg, what, done, total);
}

static void report_refusal(const struct session *session, const char *place, const char *why)
{
	if (session->options.refused)
		session->options.refused(session->options.refused_arg, place, why);
}

/* The first waits: should it stay the only one and nothing be probed, it is told once, as the error. */
void session_refuse(struct session *session, const char *place, const char *why)
{
	if (!session->refused++) {
		snprintf(session->first_place, sizeof(session->first_place), "%s", place);
		snprintf(session->first_refusal, sizeof(session->first_refusal), "%s", why);
		session->first_waits = true;
		return;
	}
	session_flush_refusal(session);
	report_refusal(session, place, why);
}

void session_flush_refusal(struct session *session)
{
	if (session->first_waits)
		report_refusal(session, session->first_place, session->first_refusal);
	session->first_waits = false;
}

/* ---- probes ---- */

static enum trace_arg_format trace_format(enum probe_arg_format format)
{
	switch (format) {
	case PROBE_FORMAT_UNSIGNED:
		return TRACE_UNSIGNED;
	case PROBE_FORMAT_SIGNED:
		return TRACE_SIGNED;
	case PROBE_FORMAT_HEX:
		break;
	case PROBE_FORMAT_CHAR:
		return TRACE_CHAR;
	case PROBE_FORMAT_SYMBOL:
		return TRACE_SYMBOL;
	case PROBE_FORMAT_FLOAT:
		return TRACE_FLOAT;
	}
	return TRACE_HEX;
}

static struct trace_arg *trace_args(const struct probe_spec *spec)
{
	struct trace_arg *args = calloc(spec->nargs + 1, sizeof(*args));

	for (size_t i = 0; args && i < spec->nargs; i++) {
		const struct probe_arg *from = &spec->args[i];

		snprintf(args[i].name, sizeof(args[i].name), "%s", from->name);
		args[i].bits = from->field_bits && !from->count ? from->field_bits : from->bits;
		args[i].is_result = from->source == PROBE_ARG_RETVAL;
		args[i].format = from->is_string ? TRACE_TEXT : trace_format(from->format);
		args[i].kind = from->count ? TRACE_ARRAY : from->is_string ? TRACE_STRING : TRACE_WORD;
		args[i].count = from->count;
		if (from->source == PROBE_ARG_CALLERS) {
			args[i].kind = TRACE_BYTES;
			args[i].format = from->word == WIRE_STACK_RAW ? TRACE_RAW_STACK : TRACE_CALLERS;
		}
	}
	return args;
}

/* Takes @insns over, also on failure. */
static int add_body(struct session *session, struct bpf_insn *insns, size_t count, uint32_t *ret)
{
	int stack;

	for (uint32_t i = 0; i < session->nbodies; i++)
		if (session->bodies[i].count == count && !memcmp(session->bodies[i].insns, insns, count * sizeof(*insns))) {
			free(insns);
			*ret = i;
			return 0;
		}
	stack = bpf_stack_most(insns, count);
	if (stack < 0 || base_grow(&session->bodies, &session->bodies_cap, session->nbodies + 1, sizeof(*session->bodies))) {
		free(insns);
		return stack < 0 ? stack : -ENOMEM;
	}
	session->stack = (unsigned)stack > session->stack ? (unsigned)stack : session->stack;
	*ret = (uint32_t)session->nbodies;
	session->bodies[session->nbodies++] = (struct session_body){ .insns = insns, .count = count };
	session_log_program(session, *ret);
	return 0;
}

/* Which parts a spec's places can have. */
static bool has_part(const struct session *session, const struct probe_spec *spec, enum probe_part part)
{
	switch (part) {
	case PROBE_PART_PLACE:
		return spec->kind != PROBE_RETURN;
	case PROBE_PART_RETURN:
	case PROBE_PART_TAIL:
		return spec->kind == PROBE_RETURN || session->options.pairs;
	case PROBE_PART_ENTRY:
	case PROBE_PART_ENTRY_RETURN:
	case PROBE_PART_ENTRY_TAIL:
	case PROBE_PART_GO_ENTRY:
	case PROBE_PART_GO_RETURN:
	case PROBE_PART_GO_TAIL:
	case PROBE_PART_GO_ENTRY_RETURN:
	case PROBE_PART_GO_ENTRY_TAIL:
		return session->options.pairs;
	}
	return false;
}

enum probe_action session_action(const struct session *session, bool is_trigger)
{
	if (is_trigger)
		return PROBE_TRIGGER;
	return session->options.action == PROBE_RECORD && session->options.pairs ? PROBE_RECORD_CALLS : session->options.action;
}

static int add_part(struct session *session, const struct probe_spec *spec, enum probe_part part, uint32_t *ret,
		    struct utap_error *err)
{
	struct bpf_insn *insns;
	size_t count;
	int error = probe_program(spec, session_action(session, session->adding_trigger), part, NULL, &insns, &count);

	if (error)
		return base_error_system(err, error, "cannot add probe %s", spec->symbol);
	error = bpf_check(insns, count, BPF_PROBE, err);
	if (error) {
		free(insns);
		return error;
	}
	error = add_body(session, insns, count, ret);
	return error ? base_error_system(err, error, "cannot add probe %s", spec->symbol) : 0;
}

static bool is_bare(const struct probe_spec *spec)
{
	return !spec->nargs || (spec->nargs == 1 && spec->args[0].source == PROBE_ARG_CALLERS);
}

/* Without arguments and a name of its own: of two such probes at a place one is enough, as where globs overlap. */
static uint32_t first_alike(const struct session *session, const struct probe_spec *spec, const struct session_program *program)
{
	uint32_t n = (uint32_t)session->nspecs;

	for (uint32_t i = 0; i < n && is_bare(spec) && !*spec->event; i++)
		if (is_bare(&session->specs[i]) && session->programs[i].triggers == program->triggers &&
		    !memcmp(session->programs[i].body, program->body, sizeof(program->body)))
			return i;
	return n;
}

static int add(struct session *session, const struct probe_spec *spec, struct utap_error *err)
{
	size_t n = session->nspecs;
	struct session_program program = { 0 };
	int error;

	error = session_check_gate(session, spec, err);
	if (error)
		return error;
	if (session->options.pairs && session_has_gate(spec) && session_calls_begin(session))
		return base_error_system(err, -ENOMEM, "cannot add probe %s", spec->symbol);
	error = base_grow(&session->specs, &session->specs_cap, n + 1, sizeof(*session->specs));

	if (!error)
		error = base_grow(&session->programs, &session->programs_cap, n + 1, sizeof(*session->programs));
	program.args = error ? NULL : trace_args(spec);
	if (!program.args)
		return base_error_system(err, -ENOMEM, "cannot add probe %s", spec->symbol);
	for (enum probe_part part = 0; part < PROBE_PARTS && !error; part++) {
		program.body[part] = SESSION_NO_BODY;
		if (has_part(session, spec, part))
			error = add_part(session, spec, part, &program.body[part], err);
	}
	if (error) {
		free(program.args);
		return error;
	}
	program.triggers = session->adding_trigger;
	program.stands_for = first_alike(session, spec, &program);
	session->specs[n] = *spec;
	session->programs[n] = program;
	session->nspecs++;
	return 0;
}

int session_add(struct session *session, const struct probe_spec *spec, struct utap_error *err)
{
	_cleanup_free_ struct probe_spec *more = NULL;
	int error;

	if (session->options.action != PROBE_RECORD)
		return add(session, spec, err);
	if (session->options.stack && session->options.pairs)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "calls that are recorded at both ends have no stacks");
	more = malloc(sizeof(*more));
	if (!more)
		return base_error_system(err, -ENOMEM, "cannot add probe %s", spec->symbol);
	*more = *spec;
	if (!session->adding_trigger)
		session_set_limits(session, more);
	error = session->options.stack ? probe_add_stack(more, session->options.stack, session->options.stack_most, err) : 0;
	return error ? error : add(session, more, err);
}

int session_add_places(struct session *session, const struct probe_spec *spec, const uint64_t *offsets, size_t count,
		       struct utap_error *err)
{
	uint64_t *copy = count && spec->by_offset ? calloc(count, sizeof(*copy)) : NULL;
	int error;

	if (!count || !spec->by_offset)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "no places are given for the probe in %s", spec->path);
	if (!copy)
		return base_error_system(err, -ENOMEM, "cannot add %zu places", count);
	error = session_add(session, spec, err);
	if (error) {
		free(copy);
		return error;
	}
	memcpy(copy, offsets, count * sizeof(*copy));
	session->programs[session->nspecs - 1].offsets = copy;
	session->programs[session->nspecs - 1].noffsets = count;
	return 0;
}

/* ---- what there is ---- */

uint32_t session_probes(const struct session *session, const struct trace_probe **ret)
{
	*ret = session->probes;
	return session->nprobes;
}

size_t session_sites(const struct session *session, const struct session_site **ret)
{
	*ret = session->sites;
	return session->nsites;
}

size_t session_targets(const struct session *session, const struct session_target **ret)
{
	*ret = session->targets;
	return session->nprocesses;
}

int session_read_code(struct session *session, pid_t pid, utap_addr addr, void *to, size_t size)
{
	for (size_t i = 0; i < session->nprocesses; i++)
		if (session->processes[i]->pid == pid && session->processes[i]->target)
			return process_read(patch_target_mem(session->processes[i]->target), addr, to, size);
	return -ESRCH;
}

/* ---- reading ---- */

struct delivery {
	struct session *session;
	trace_record_fn *fn;
	void *arg;
};

static int deliver(void *arg, const struct trace_record *record)
{
	struct delivery *delivery = arg;
	const struct session_process *process = delivery->session->processes[record->source];
	struct trace_record outer = *record;

	if (session_drops(delivery->session, record))
		return 0;
	delivery->session->delivered[record->id]++;
	if (process->inner_pid != process->pid && (pid_t)record->pid == process->inner_pid) {
		outer.pid = (uint32_t)process->pid;
		if (record->tid == record->pid) /* other threads keep the number they have inside */
			outer.tid = outer.pid;
	}
	return delivery->fn ? delivery->fn(delivery->arg, &outer) : 0;
}

long session_drain(struct session *session, bool all, trace_record_fn *fn, void *arg)
{
	struct delivery delivery = { .session = session, .fn = fn, .arg = arg };
	long result;

	result = trace_reader_drain(session->reader, all, deliver, &delivery);
	session->drains += result >= 0;
	return result;
}

int session_snapshot(struct session *session, trace_record_fn *fn, void *arg, struct trace_snapshot *ret)
{
	struct delivery delivery = { .session = session, .fn = fn, .arg = arg };

	return trace_reader_snapshot(session->reader, session_poll(session) > 0, deliver, &delivery, ret);
}

void session_wait(struct session *session, int timeout_ms)
{
	if (session_follow_events(session)) /* there may be more to read */
		return;
	if (timeout_ms > SESSION_WATCH_MS)
		timeout_ms = SESSION_WATCH_MS;
	trace_reader_wait(session->reader, timeout_ms);
	session_watch(session);
	session_follow_events(session);
	session_look(session, false);
}

void session_count(const struct session *session, uint32_t id, struct session_counts *ret)
{
	*ret = (struct session_counts){ 0 };
	if (id >= session->nprobes)
		return;
	for (size_t i = 0; i < session->nprocesses; i++) {
		const struct session_process *process = session->processes[i];

		if (!process->has_memory || id >= process->memory.geometry.max_probes)
			continue;
		ret->hits += trace_memory_hits(&process->memory, id);
		ret->lost += trace_memory_lost(&process->memory, id);
		ret->held += session_held(session, &process->memory, id);
	}
	if (id < session->npast) {
		ret->hits += session->past[id].hits;
		ret->lost += session->past[id].lost;
		ret->held += session->past[id].held;
	}
	if (session->options.action == PROBE_RECORD)
		ret->hits = session->delivered[id] + ret->lost + ret->held;
}

void session_stats(const struct session *session, struct trace_stats *ret) { trace_reader_stats(session->reader, ret); }
