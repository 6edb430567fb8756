/* SPDX-License-Identifier: MIT */
/*
 * Probes whose hits somebody waits for where nobody reads records: their programs count, too (PROBE_TRIGGER), and counters can be
 * looked at while the target runs.
 */
#include "session/inside.h"

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
