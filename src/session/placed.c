/* SPDX-License-Identifier: MIT */
/*
 * Programs that depend on the place they serve: an argument is counted from where the file is mapped (@+OFFSET), or is the place's address.
 * They are made when the place is planned, and those that are the same shared. Processes know programs by numbers that stay, so there is
 * room for so many of them from the start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

#define PLACED_MAX 2048

static bool has_placed(const struct session *session)
{
	for (size_t i = 0; i < session->nspecs; i++)
		for (enum probe_part part = 0; part < PROBE_PARTS; part++)
			if (session->programs[i].body[part] != SESSION_NO_BODY && probe_needs(&session->specs[i], part))
				return true;
	return false;
}

uint32_t session_placed_max(const struct session *session)
{
	return session->options.action == PROBE_RECORD && has_placed(session) ? PLACED_MAX : 0;
}

/* Takes @insns over, also on failure. */
static int add_placed(struct session *session, struct bpf_insn *insns, size_t count, uint32_t *ret)
{
	for (uint32_t i = 0; i < session->nplaced; i++)
		if (session->placed[i].count == count && !memcmp(session->placed[i].insns, insns, count * sizeof(*insns))) {
			free(insns);
			*ret = i;
			return 0;
		}
	if (session->nplaced == PLACED_MAX) {
		free(insns);
		return -E2BIG;
	}
	if (base_grow(&session->placed, &session->placed_cap, session->nplaced + 1, sizeof(*session->placed))) {
		free(insns);
		return -ENOMEM;
	}
	*ret = (uint32_t)session->nplaced;
	session->placed[session->nplaced++] = (struct session_body){ .insns = insns, .count = count };
	return 0;
}

int session_program_of(struct session *session, const struct session_match *match, enum probe_part part,
		       const struct probe_place *place, uint32_t *ret)
{
	const struct session_program *program = &session->programs[match->spec];
	bool early = session_runs_early(match);
	struct bpf_insn *insns;
	size_t count;
	int error;

	if (session->options.action != PROBE_RECORD || !probe_needs(&session->specs[match->spec], part)) {
		*ret = program->body[part] + (early ? (uint32_t)session->nbodies : 0);
		return 0;
	}
	error = probe_program(&session->specs[match->spec], session_action(session, program->triggers), part, place, &insns, &count);
	if (error)
		return error;
	error = add_placed(session, insns, count, ret);
	if (!error)
		*ret = 2 * (uint32_t)session->nbodies + 2 * *ret + early;
	return error;
}

const struct session_body *session_body_of(const struct session *session, uint32_t program, bool *early)
{
	uint32_t bodies = (uint32_t)session->nbodies;

	*early = program < 2 * bodies ? program >= bodies : (program - 2 * bodies) % 2;
	return program < 2 * bodies ? &session->bodies[program % bodies] : &session->placed[(program - 2 * bodies) / 2];
}

void session_placed_free(struct session *session)
{
	for (size_t i = 0; i < session->nplaced; i++)
		free(session->placed[i].insns);
	free(session->placed);
}
