/* SPDX-License-Identifier: MIT */
/*
 * The flight recorder's reader: rings in which the newest records replace the oldest, and which nobody drains. A
 * snapshot copies all of them first (quickly: their writers go on), then makes one stream of the copies.
 *
 * Of a running target it is a snapshot of one moment, the horizon: copying begins when every record from before it has
 * been committed. A thread's records up to there are there without a gap, on whatever CPUs it ran: had one not been
 * committed yet when its ring was copied, the thread would still be inside it, and its next ones are younger.
 */
#include "trace/reader.h"

#define SNAPSHOT_TRIES 10

void trace_reader_overwrite(struct trace_reader *reader)
{
	reader->overwrites = true;
}

/* The most that a record of any probe occupies in a ring. */
static uint64_t largest_record(const struct trace_reader *reader)
{
	return reader->largest + WIRE_TRAILER_SIZE;
}

static int prepare(const struct trace_reader *reader)
{
	int r = 0;

	for (size_t i = 0; i < reader->nsources; i++)
		for (uint32_t n = 0; n < reader->sources[i]->nlanes && !r; n++)
			r = lane_kept_prepare(&reader->sources[i]->lanes[n].kept);
	return r;
}

/* Piece by piece in turns, the newest of all lanes first: their writers come from behind. */
static void copy_all(const struct trace_reader *reader)
{
	uint64_t largest = largest_record(reader);
	bool more = true;

	for (size_t i = 0; i < reader->nsources; i++)
		for (uint32_t n = 0; n < reader->sources[i]->nlanes; n++)
			lane_kept_begin(&reader->sources[i]->lanes[n].kept);
	while (more) {
		more = false;
		for (size_t i = 0; i < reader->nsources; i++)
			for (uint32_t n = 0; n < reader->sources[i]->nlanes; n++)
				more |= lane_kept_copy(&reader->sources[i]->lanes[n].kept, largest);
	}
}

/* Until everything that was begun before the horizon has been committed. Some microseconds: sleeping would cost more. */
static void wait_past(uint64_t horizon, uint64_t ticks)
{
	while (trace_clock_now() - horizon < ticks)
		__builtin_ia32_pause();
}

/* What was overwritten, and since when nothing was. */
struct losses {
	uint64_t ring_bytes;
	uint64_t cells;
	uint64_t kept_bytes, kept_records; /* of rings */
	uint64_t since;                    /* TSC */
};

static void add_losses(struct losses *sum, const struct lane_kept *kept, struct trace_stats *stats, bool live)
{
	sum->since = kept->since > sum->since ? kept->since : sum->since;
	if (kept->is_cells) {
		sum->cells += kept->gone;
		stats->abandoned += live ? 0 : kept->unfinished;
		return;
	}
	sum->ring_bytes += kept->gone;
	sum->kept_bytes += kept->size;
	sum->kept_records += kept->records;
}

/* Bytes a record where all are of one size, else 0. */
static uint64_t only_size(const struct trace_reader *reader)
{
	uint64_t size = 0;

	for (uint32_t id = 0; id < reader->nprobes; id++) {
		if (lane_largest(&reader->probes[id]) != reader->probes[id].record_size)
			return 0;
		if (size && reader->probes[id].record_size != size)
			return 0;
		size = reader->probes[id].record_size;
	}
	return size ? size + WIRE_TRAILER_SIZE : 0;
}

static void sum_up(const struct trace_reader *reader, const struct losses *losses, struct trace_snapshot *ret)
{
	uint64_t size = only_size(reader);

	ret->gone_is_exact = !losses->ring_bytes || (size && losses->ring_bytes % size == 0);
	if (!size && losses->kept_records)
		size = losses->kept_bytes / losses->kept_records;
	ret->gone_bytes = losses->ring_bytes;
	ret->gone_records = losses->cells + (size ? losses->ring_bytes / size : 0);
	ret->gone_is_exact &= !losses->cells && !reader->stats.damaged;
	ret->since_ns = losses->since ? trace_scale_ns(&reader->scale, losses->since) : 0;
}

struct delivery {
	struct trace_snapshot *summary;
	trace_record_fn *fn;
	void *arg;
};

static int deliver(void *arg, const struct trace_record *record)
{
	struct delivery *delivery = arg;
	struct trace_snapshot *summary = delivery->summary;

	summary->first_ns = summary->records ? summary->first_ns : record->time_ns;
	summary->last_ns = record->time_ns;
	summary->records++;
	return delivery->fn(delivery->arg, record);
}

/*
 * One stream of all copies; their lanes into the heap. Return: false when all that was copied of some lane is younger
 * than the horizon: we did not get to run for so long that the rest was overwritten.
 */
static bool link_all(struct trace_reader *reader, const struct lane_rules *rules, uint64_t horizon,
		     struct losses *losses)
{
	bool is_in_time = true;

	*losses = (struct losses) { 0 };
	reader->stats = (struct trace_stats) { 0 };
	reader->nheap = 0;
	reader->last_tsc = reader->last_ns = 0; /* time starts again, the line does not fall */
	for (size_t i = 0; i < reader->nsources; i++) {
		struct reader_source *source = reader->sources[i];

		for (uint32_t n = 0; n < source->nlanes; n++) {
			struct lane_kept *kept = &source->lanes[n].kept;
			size_t before = reader->nheap;

			lane_kept_link(kept, rules);
			add_losses(losses, kept, &reader->stats, horizon != UINT64_MAX);
			reader_show(reader, &source->lanes[n], rules, horizon);
			is_in_time &= !kept->wrapped || reader->nheap > before;
		}
	}
	return is_in_time;
}

/* Copy what is there at one moment, the horizon. */
static int copy_moment(struct trace_reader *reader, bool live, struct lane_rules *rules, uint64_t *horizon)
{
	int r = reader_rules(reader, rules);

	if (r)
		return r;
	*horizon = live ? rules->now : UINT64_MAX;
	if (live)
		wait_past(rules->now, rules->jitter);
	r = prepare(reader); /* now: a ring that was never used before may have its first records */
	if (!r)
		copy_all(reader);
	return r;
}

int trace_reader_snapshot(struct trace_reader *reader, bool live, trace_record_fn *fn, void *arg,
			  struct trace_snapshot *ret)
{
	struct trace_snapshot summary = { 0 };
	struct delivery delivery = { .summary = &summary, .fn = fn, .arg = arg };
	struct losses losses;
	struct lane_rules rules;
	uint64_t horizon;
	int tries = SNAPSHOT_TRIES;
	int r;

	do
		r = copy_moment(reader, live, &rules, &horizon);
	while (!r && !link_all(reader, &rules, horizon, &losses) && --tries);
	if (r)
		return r;
	sum_up(reader, &losses, &summary);
	r = reader_merge(reader, &rules, horizon, deliver, &delivery);
	reader->nheap = 0;
	if (!r)
		*ret = summary;
	return r;
}
