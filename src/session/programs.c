/* SPDX-License-Identifier: MIT */
/* The programs of a session's probes: how large what they write can be, and their machine code in a target. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "session/inside.h"

#define RING_DEFAULT (1ULL << 20)
#define CELLS 4096
#define LONG_IN_RING 4 /* of the largest records there is room for so many */
#define COUNT_ROOM 256 /* bytes of the code that counts, tables included */

/* ---- geometry ---- */

static uint32_t possible_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	return n < 1 ? 1 : (uint32_t)n;
}

static uint64_t power_of_two(uint64_t at_least, uint64_t value)
{
	while (value < at_least)
		value *= 2;
	return value;
}

static uint64_t largest_record(const struct session *session)
{
	uint64_t largest = sizeof(struct wire_record);

	for (size_t i = 0; i < session->nspecs; i++)
		for (enum probe_part part = 0; part < PROBE_PARTS; part++) {
			uint64_t size = probe_record_size(&session->specs[i], part);

			if (session->programs[i].body[part] != SESSION_NO_BODY && size > largest)
				largest = size;
		}
	return largest + (session->options.overwrite ? WIRE_TRAILER_SIZE : 0);
}

/* Bytes of the largest LONG record, 0: there are none. */
static uint64_t long_most(const struct session *session)
{
	int most = 0;

	for (size_t i = 0; i < session->nbodies; i++) {
		int r = bpf_long_most(session->bodies[i].insns, session->bodies[i].count); /* not negative: it was checked */

		most = r > most ? r : most;
	}
	return (uint64_t)most;
}

/*
 * Generously: the code of a program is emitted twice (rseq and cells), an instruction takes 20 bytes or so, and there may be
 * a version for session_runs_early().
 */
static uint64_t body_room(const struct session *session)
{
	uint64_t room = 0;

	for (size_t i = 0; i < session->nbodies; i++)
		room += 2048 + 96 * session->bodies[i].count;
	for (size_t i = 0; i < session->nplaced; i++)
		room += 2048 + 96 * session->placed[i].count;
	return room;
}

/* Instructions are reached far more often than functions; counting them takes a small body. */
static uint64_t site_room(const struct session *session)
{
	for (size_t i = 0; i < session->nspecs && session->options.action == PROBE_COUNT; i++)
		if (session->specs[i].kind == PROBE_EACH || session->programs[i].noffsets)
			return COUNT_ROOM;
	return 0;
}

/* Each twice (session_runs_early()), and behind them the one of session_plan_pause(). */
uint32_t session_programs(const struct session *session)
{
	return 2 * ((uint32_t)session->nbodies + session_placed_max(session)) + 1;
}

struct patch_options session_geometry(const struct session *session)
{
	bool record = session->options.action == PROBE_RECORD;
	uint64_t ring = session->options.ring_size ? session->options.ring_size : RING_DEFAULT;
	uint64_t most = long_most(session);

	if (ring < LONG_IN_RING * most)
		ring = LONG_IN_RING * most;

	return (struct patch_options){
		.cpus = possible_cpus(),
		.max_probes = session->nprobes ? session->nprobes : 1,
		.ring_size = record ? power_of_two(ring, 4096) : 4096,
		.cell_size = power_of_two(largest_record(session) + sizeof(struct wire_cell), 64),
		.cells = record ? power_of_two(ring / 64 < CELLS ? CELLS : ring / 64, CELLS) : 64,
		.long_most = most,
		.stacks = record && session->options.stack,
		.has_limits = session->options.rate,
		.body_room = body_room(session),
		.site_room = site_room(session),
	};
}

/* ---- code ---- */

void session_log_program(const struct session *session, uint32_t number)
{
	const struct session_body *body = &session->bodies[number];
	_cleanup_free_ char *text = NULL;
	char *rest = NULL;

	if (!base_log_is_on() || bpf_disassemble(body->insns, body->count, &text))
		return;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		base_log(BASE_LOG_DEBUG, "program %u: %s", number, line);
}

/* A process has one Go runtime. */
static uint32_t goid_offset(const struct session_attaching *a)
{
	struct patch_module *const *modules;
	size_t count = patch_target_modules(a->target, &modules);
	uint64_t offset;

	for (size_t i = 0; i < count; i++)
		if (object_is_go(modules[i]->object) && !object_go_goid_offset(modules[i]->object, &offset))
			return (uint32_t)offset;
	return 0;
}

int session_emit_body(void *arg, uint32_t program, const struct patch_tail *tail, struct isa_emitter *e,
		     struct utap_error *err)
{
	struct session_attaching *a = arg;
	const struct session_body *source;
	bool early;
	const struct wire_control *geometry = patch_target_geometry(a->target);
	struct patch_facts facts;
	struct bpf_target target;

	if (program == session_programs(a->session) - 1)
		return session_emit_pause(a, tail, e);
	source = session_body_of(a->session, program, &early);
	patch_target_facts(a->target, &facts);
	target = (struct bpf_target){
		.rseq_offset = early ? 0 : facts.rseq_offset,
		.tid_offset = facts.tid_offset,
		.has_rdpid = isa_has_rdpid(),
		.cpus = geometry->cpus,
		.table = facts.data + geometry->table_at + 2 * sizeof(uint64_t),
		.lost = facts.data + geometry->lost_at,
		.limits = facts.data + geometry->limits_at,
		.local = facts.local,
		.ring_size = geometry->ring_size,
		.counters_at = geometry->counters_at,
		.shared_at = geometry->shared_at,
		.cells_at = geometry->cells_at,
		.cells = geometry->cells,
		.cell_size = geometry->cell_size,
		.long_cells_at = geometry->long_cells_at,
		.long_cells = geometry->long_cells,
		.long_cell_size = geometry->long_cell_size,
		.goid_offset = goid_offset(a),
		.overwrite = a->session->options.overwrite,
		.id_known = tail != NULL,
		.id = tail ? tail->id : 0,
		.finish = tail ? tail->emit : NULL,
		.finish_arg = tail ? tail->arg : NULL,
	};
	for (int i = 0; i < RT_ENTRIES; i++)
		target.runtime[i] = facts.runtime[i];
	return bpf_compile_probe(source->insns, source->count, &target, e, err);
}
