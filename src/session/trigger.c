/* SPDX-License-Identifier: MIT */
/*
 * Probes whose hits somebody waits for where nobody reads records: their programs count, too, and counters can be
 * looked at while the target runs. The record is written first: whoever sees the count finds it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

#define LAST_INSNS 2 /* r0 = 0, exit: every way through a program of ours leads there */
#define OP_CALL 0x85

int session_count_too(struct bpf_insn **insns, size_t *count)
{
	size_t at = *count - LAST_INSNS;
	struct bpf_insn *longer = calloc(*count + 1, sizeof(*longer));

	if (!longer)
		return -ENOMEM;
	memcpy(longer, *insns, at * sizeof(*longer));
	longer[at] = (struct bpf_insn){ .opcode = OP_CALL, .imm = BPF_HELPER_COUNT };
	memcpy(&longer[at + 1], *insns + at, LAST_INSNS * sizeof(*longer));
	free(*insns);
	*insns = longer;
	++*count;
	return 0;
}

int session_add_trigger(struct session *session, const struct probe_spec *spec, struct utap_error *err)
{
	int error;

	session->adding_trigger = true;
	error = session_add(session, spec, err);
	session->adding_trigger = false;
	return error;
}

/* An attach adds to the table. */
static void find_triggers(struct session *session)
{
	struct session_place *place, *next;

	HASH_ITER (hh, session->places, place, next) {
		if (place->id < session->triggers_known || !session->programs[place->spec].triggers)
			continue;
		if (base_grow(&session->triggers, &session->triggers_cap, session->ntriggers + 1,
			      sizeof(*session->triggers)))
			return;
		session->triggers[session->ntriggers++] = place->id;
	}
	session->triggers_known = session->nprobes;
}

uint64_t session_triggered(struct session *session)
{
	uint64_t hits = 0;

	if (session->triggers_known < session->nprobes)
		find_triggers(session);
	for (size_t i = 0; i < session->nprocesses; i++) {
		const struct session_process *process = session->processes[i];

		for (size_t n = 0; process->has_memory && n < session->ntriggers; n++)
			hits += trace_memory_hits(&process->memory, session->triggers[n]);
	}
	return hits;
}
