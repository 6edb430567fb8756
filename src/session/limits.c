/* SPDX-License-Identifier: MIT */
/*
 * Limits of what is recorded, and calls that a condition or a limit leaves out: their entries say so (WIRE_RECORD_LEFT_OUT), their exits are
 * dropped here, so that whoever reads sees only calls that were meant. It takes knowing all open calls: another call in the same frame ends
 * one that was left out, too.
 */
#include <errno.h>

#include "session/inside.h"

#define CALLS_OPEN (1U << 20)
#define NS_PER_S 1000000000ULL
#define BURST_PART 10 /* of what the rate allows in a second */

bool session_has_gate(const struct probe_spec *spec)
{
	return spec->ntests || spec->every > 1 || spec->limit_ticks;
}

/* A burst of one takes no time, of two that of one .. */
void session_set_limits(const struct session *session, struct probe_spec *spec)
{
	uint64_t rate = session->options.rate;
	uint64_t burst = rate / BURST_PART ? rate / BURST_PART : 1;
	uint64_t second = rate ? trace_clock_ticks(&session->clock, NS_PER_S) : 0;

	spec->every = session->options.every;
	spec->limit_ticks = rate ? second / rate + !(second / rate) : 0;
	spec->burst_ticks = (burst - 1) * spec->limit_ticks;
}

static bool compares_args(const struct probe_spec *spec)
{
	for (uint32_t i = 0; i < spec->ntests; i++)
		if (spec->tests[i].value == PROBE_TEST_ARG)
			return true;
	return false;
}

int session_check_gate(const struct session *session, const struct probe_spec *spec, struct utap_error *err)
{
	if (!session->options.pairs || !session_has_gate(spec))
		return 0;
	if (session->options.overwrite)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "--overwrite with --duration takes no conditions and limits: which call a return belongs to may be overwritten");
	if (spec->kind == PROBE_RETURN && compares_args(spec))
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "what a function returns cannot decide whether its call is shown: that is decided at its entry");
	return 0;
}

static int on_end(void *arg, const struct trace_call *call)
{
	struct session *session = arg;

	session->drops |= call->exit && call->flags & WIRE_RECORD_LEFT_OUT;
	return 0;
}

int session_calls_begin(struct session *session)
{
	return session->calls ? 0 : trace_frames_create(CALLS_OPEN, on_end, session, &session->calls);
}

bool session_drops(struct session *session, const struct trace_record *record)
{
	struct trace_record bare = *record;

	if (!session->calls || session->probes[record->id].kind == TRACE_PLACE)
		return false;
	bare.nargs = 0;
	session->drops = record->flags & WIRE_RECORD_LEFT_OUT;
	if (trace_frames_add(session->calls, &session->probes[record->id], &bare))
		base_log(BASE_LOG_WARN, "no memory to tell which calls are left out");
	return session->drops;
}

uint64_t session_held(const struct session *session, const struct trace_memory *memory, uint32_t id)
{
	const struct probe_spec *spec = &session->specs[session->specs_of[id]];

	return spec->every > 1 || spec->limit_ticks ? trace_memory_held(memory, id, spec->every > 1 ? spec->every : 0) : 0;
}
