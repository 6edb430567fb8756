/* SPDX-License-Identifier: MIT */
/*
 * Probe text from anybody. What parses must give programs that the checker accepts, events with valid names, and must
 * parse to the same specification again; sizes of records must be such as there can be. Lines that take events back, too.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "probe/probe.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name)
{
	if (!name[0] || (name[0] >= '0' && name[0] <= '9'))
		abort();
	if (name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")])
		abort();
}

static void check_removal(const char *text)
{
	char group[PROBE_NAME], event[PROBE_NAME];
	struct utap_error err;
	size_t column = 0;
	int result = probe_parse_removal(text, group, event, &column, &err);

	if (result < 0 && (column == 0 || column > strlen(text) + 1))
		abort();
	if (result <= 0)
		return;
	if (*group)
		check_name(group);
	if (*event)
		check_name(event);
}

static void check_program(const struct probe_spec *spec, enum probe_action action, enum probe_part part)
{
	struct bpf_insn *program;
	struct utap_error err;
	size_t count;

	const struct probe_place place = { .base = 0x7f0011223000, .ip = 0x7f0011224567 };
	uint32_t size = probe_record_size(spec, part);
	uint32_t most = probe_record_most(spec, part);

	if (size < sizeof(struct wire_record) || size > WIRE_RECORD_MAX || most > WIRE_LONG_MAX || (most && most < size) || (size | most) % 8)
		abort();
	int error = probe_program(spec, action, part, &place, &program, &count);

	if (error && error != -E2BIG) /* more instructions than a program may have are possible */
		abort();
	if (error)
		return;
	if (bpf_check(program, count, BPF_PROBE, &err))
		abort();
	free(program);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct probe_spec spec;
	static struct probe_spec again;
	struct utap_error err;
	size_t column = 0;
	char *text = malloc(size + 1);
	char name[PROBE_NAME];

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	check_removal(text);
	if (probe_parse(text, &spec, &column, &err)) {
		if (column == 0 || column > strlen(text) + 1 || strncmp(err.text, "column ", 7) != 0)
			abort();
		free(text);
		return 0;
	}
	if (probe_parse(text, &again, NULL, NULL) || memcmp(&spec, &again, sizeof(spec)) != 0)
		abort();
	check_program(&spec, PROBE_COUNT, PROBE_PART_PLACE);
	for (enum probe_part part = 0; part < PROBE_PARTS; part++)
		check_program(&spec, PROBE_RECORD, part);
	if (probe_add_stack(&spec, (enum wire_stack_kind)(size % 4), (uint32_t)size * 97 % 700, NULL) == 0) /* a kind and a number that may be wrong */
		for (enum probe_part part = 0; part < PROBE_PARTS; part++)
			check_program(&spec, PROBE_RECORD, part);
	spec.every = size % 5;
	spec.limit_ticks = size % 3;
	for (enum probe_part part = 0; part < PROBE_PARTS; part++)
		check_program(&spec, part % 2 ? PROBE_RECORD_CALLS : PROBE_TRIGGER, part);
	probe_event_name(spec.symbol, spec.offset, name, sizeof(name));
	check_name(name);
	if (spec.event[0])
		check_name(spec.event);
	for (size_t i = 0; i < spec.nargs; i++)
		check_name(spec.args[i].name);
	free(text);
	return 0;
}
