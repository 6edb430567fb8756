/* SPDX-License-Identifier: MIT */
#include "probing.h"

#include <string.h>

static void on_refused(void *arg, const char *place, const char *why)
{
	struct probing *probing = arg;

	if (!probing->refused++)
		snprintf(probing->why, sizeof(probing->why), "%s", why);
}

static int add_probe(struct session *session, const char *path, const char *symbol, const char *args,
		     struct utap_error *err)
{
	struct probe_spec spec;
	char text[5000];
	int error;

	snprintf(text, sizeof(text), "%s:%s%s", path, symbol, args);
	error = probe_parse(text, &spec, NULL, err);
	return error ? error : session_add(session, &spec, err);
}

void probing_begin_options(struct probing *probing, struct remote *remote, const struct session_options *options,
			   const char *const *symbols, size_t count, const char *args)
{
	const struct session_target *targets;
	struct utap_error err = { 0 };
	int error;

	*probing = (struct probing){ 0 };
	if (remote->error[0])
		return;
	error = session_create(options, &probing->session, &err);
	for (size_t i = 0; i < count && !error; i++)
		error = add_probe(probing->session, remote->path, symbols[i], args, &err);
	if (!error)
		probing->places = session_attach(probing->session, remote->pid, &err);
	if (error || probing->places < 0) {
		remote_fail(remote, "utap cannot attach: %.300s", err.text);
		session_destroy(probing->session);
		probing->session = NULL;
		return;
	}
	session_targets(probing->session, &targets);
	probing->target = targets[0];
}

void probing_begin(struct probing *probing, struct remote *remote, enum probe_action action,
		   const char *const *symbols, size_t count, const char *args, uint64_t ring)
{
	const struct session_options options = {
		.action = action, .ring_size = ring, .refused = on_refused, .refused_arg = probing
	};

	probing_begin_options(probing, remote, &options, symbols, count, args);
}

void probing_begin_pairs(struct probing *probing, struct remote *remote, const char *const *symbols, size_t count,
			 const char *args)
{
	const struct session_options options = {
		.action = PROBE_RECORD, .pairs = true, .refused = on_refused, .refused_arg = probing
	};

	probing_begin_options(probing, remote, &options, symbols, count, args);
}

static int ignore(void *arg, const struct trace_record *record) { return 0; }

uint64_t probing_drain(struct probing *probing, struct remote *remote)
{
	long n = probing->session ? session_drain(probing->session, true, ignore, NULL) : 0;

	if (n < 0)
		remote_fail(remote, "reading the rings failed: %s", strerror((int)-n));
	return n < 0 ? 0 : (uint64_t)n;
}

uint64_t probing_hits(const struct probing *probing, uint64_t *lost)
{
	const struct trace_probe *probes;
	uint32_t count = probing->session ? session_probes(probing->session, &probes) : 0;
	uint64_t hits = 0, lost_sum = 0;

	for (uint32_t id = 0; id < count; id++) {
		struct session_counts counts = { 0 };

		session_count(probing->session, id, &counts);
		hits += counts.hits;
		lost_sum += counts.lost;
	}
	if (lost)
		*lost = lost_sum;
	return hits;
}

void probing_end(struct probing *probing, struct remote *remote)
{
	struct utap_error err = { 0 };

	if (!probing->session)
		return;
	if (session_detach(probing->session, &probing->report, &err))
		remote_fail(remote, "utap cannot detach: %.300s", err.text);
	session_destroy(probing->session);
	probing->session = NULL;
}
