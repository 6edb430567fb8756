/* SPDX-License-Identifier: MIT */
/*
 * How much of a file could be probed, and how: each place is judged as if it were the only one. Places are the instructions of code with
 * frame entries; entries are those at which such code begins and that are called or pointed to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/inside.h"

#define REASONS 64

struct covering {
	struct session_coverage coverage;
	struct session_coverage_reason reasons[REASONS];
	struct patch_target *target;
	struct patch_module *module;
	uint64_t seen; /* instructions, of which each sample-th is judged */
};

static struct session_coverage_reason *reason_of(struct covering *c, const char *why)
{
	for (size_t i = 0; i < c->coverage.nreasons; i++)
		if (c->reasons[i].why == why || !strcmp(c->reasons[i].why, why))
			return &c->reasons[i];
	if (c->coverage.nreasons == REASONS)
		return &c->reasons[REASONS - 1];
	c->reasons[c->coverage.nreasons] = (struct session_coverage_reason){ .why = why };
	return &c->reasons[c->coverage.nreasons++];
}

static enum patch_layer judge(struct covering *c, uint64_t vaddr, const char **why)
{
	struct patch_site site = { .module = c->module, .vaddr = vaddr };

	patch_target_judge(c->target, &site);
	*why = site.why;
	return site.layer;
}

static void count_entry(struct covering *c, uint64_t vaddr)
{
	const char *why;
	enum patch_layer layer = judge(c, vaddr, &why);

	c->coverage.entries.total++;
	c->coverage.entries.layers[layer]++;
	if (layer == PATCH_REFUSED)
		reason_of(c, why)->entries++;
}

static void count_instruction(struct covering *c, uint64_t vaddr)
{
	const char *why;
	enum patch_layer layer = judge(c, vaddr, &why);

	c->coverage.instructions.total++;
	c->coverage.instructions.layers[layer]++;
	if (layer == PATCH_REFUSED)
		reason_of(c, why)->instructions++;
}

static void count_range(struct covering *c, const struct object_range *range)
{
	const struct patch_code *code = c->module->code;
	const struct object_symbol *symbol = object_symbol_at(c->module->object, range->start);
	bool is_fragment = symbol && symbol->vaddr == range->start && session_is_fragment(symbol);

	if (!is_fragment && patch_code_is_start(code, range->start) && patch_code_is_entry(code, range->start))
		count_entry(c, range->start);
	for (uint64_t at = range->start; at && at < range->end; at = patch_code_start_after(code, at))
		if (patch_code_is_start(code, at) && c->seen++ % c->coverage.sample == 0)
			count_instruction(c, at);
}

static int compare_reasons(const void *a, const void *b)
{
	const struct session_coverage_reason *x = a;
	const struct session_coverage_reason *y = b;

	return x->instructions > y->instructions ? -1 : x->instructions < y->instructions;
}

int session_cover(struct patch_target *target, struct patch_module *module, unsigned sample, session_coverage_fn *fn, void *arg,
		  struct utap_error *err)
{
	struct covering c = { .target = target, .module = module, .coverage = { .path = module->path, .sample = sample ? sample : 1 } };
	const struct object_range *ranges;
	size_t count;
	uint64_t end = 0;
	int error = object_ranges(module->object, &ranges, &count, err);

	for (size_t i = 0; !error && i < count; i++) {
		if (ranges[i].start < end) /* an entry within another one */
			continue;
		end = ranges[i].end;
		count_range(&c, &ranges[i]);
	}
	if (error)
		return error;
	c.coverage.reasons = c.reasons;
	qsort(c.reasons, c.coverage.nreasons, sizeof(c.reasons[0]), compare_reasons);
	return fn(arg, &c.coverage);
}
