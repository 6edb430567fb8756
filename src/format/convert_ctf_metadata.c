/* SPDX-License-Identifier: MIT */
/*
 * The description of our CTF traces in TSDL. Names of arguments are identifiers with an underscore in front, which
 * readers take away: so none is a keyword. What is no identifier is made one, and made different from the others of its
 * event.
 *
 * Source: the Common Trace Format's specification, version 1.8.2, chapters 4 and 7 and appendix C.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert_ctf.h"

#define NAME_SIZE 96

static void add(struct format_buffer *out, const char *text)
{
	format_buffer_add(out, text, strlen(text));
}

void ctf_metadata_head(struct format_buffer *out, const uint8_t uuid[16], uint64_t realtime_ns)
{
	char text[40];

	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", uuid[0],
		 uuid[1], uuid[2], uuid[3], uuid[4], uuid[5], uuid[6], uuid[7], uuid[8], uuid[9], uuid[10], uuid[11],
		 uuid[12], uuid[13], uuid[14], uuid[15]);
	add(out, "/* CTF 1.8 */\n\n"
		 "typealias integer { size = 8; align = 8; signed = false; } := uint8_t;\n"
		 "typealias integer { size = 32; align = 8; signed = false; } := uint32_t;\n"
		 "typealias integer { size = 64; align = 8; signed = false; } := uint64_t;\n"
		 "typealias integer { size = 64; align = 8; signed = false; base = 16; } := address_t;\n\n");
	format_buffer_print(out, "trace {\n\tmajor = 1;\n\tminor = 8;\n\tuuid = \"%s\";\n\tbyte_order = le;\n", text);
	add(out, "\tpacket.header := struct {\n\t\tuint32_t magic;\n\t\tuint8_t uuid[16];\n\t\tuint32_t "
		 "stream_id;\n\t};\n};\n\n");
	add(out, "env {\n\ttracer_name = \"utap\";\n\ttracer_major = 0;\n\ttracer_minor = 1;\n};\n\n");
	format_buffer_print(out,
			    "clock {\n\tname = \"monotonic\";\n\tfreq = 1000000000;\n\toffset = %" PRIu64
			    ";\n\tabsolute = false;\n};\n\n",
			    realtime_ns);
	add(out,
	    "typealias integer { size = 64; align = 8; signed = false; map = clock.monotonic.value; } := time_t;\n\n");
	static const char *const last[] = { "cpu_id", "events_discarded" };

	for (unsigned stream = 0; stream < 2; stream++) {
		format_buffer_print(out, "stream {\n\tid = %u;\n", stream);
		add(out, "\tpacket.context := struct {\n\t\ttime_t timestamp_begin;\n\t\ttime_t timestamp_end;\n"
			 "\t\tuint64_t content_size;\n\t\tuint64_t packet_size;\n\t\tuint64_t packet_seq_num;\n");
		format_buffer_print(out, "\t\tuint64_t %s;\n\t};\n", last[stream]);
		add(out, "\tevent.header := struct {\n\t\tuint32_t id;\n\t\ttime_t timestamp;\n\t};\n");
		if (stream == CTF_STREAM_CPU)
			add(out, "\tevent.context := struct {\n\t\tuint32_t _vpid;\n\t\tuint32_t _vtid;\n\t\tstring "
				 "_procname;\n\t};\n");
		add(out, "};\n\n");
	}
	add(out, "event {\n\tname = \"utap:lost\";\n\tid = 0;\n\tstream_id = 1;\n\tfields := struct {\n"
		 "\t\tstring _event;\n\t\tuint64_t _count;\n\t};\n};\n\n");
}

/* ---- events ---- */

/* Names used in one event so far. */
struct names {
	char (*name)[NAME_SIZE];
	size_t count;
};

static bool is_used(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->name[i], name) == 0)
			return true;
	return false;
}

static void use(struct names *names, const char *name)
{
	snprintf(names->name[names->count++], NAME_SIZE, "%s", name);
}

/* An identifier that is not used, nor with "_length" behind it. */
static const char *make_name(struct names *names, const char *text, uint32_t number)
{
	char base[72], name[NAME_SIZE - 8], length[NAME_SIZE];
	size_t size = 0;

	base[size++] = '_';
	for (; *text && size < sizeof(base) - 1; text++) {
		char c = *text;

		base[size++] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
	}
	base[size] = '\0';
	snprintf(name, sizeof(name), "%s", base);
	for (;; number++) {
		snprintf(length, sizeof(length), "%s_length", name);
		if (!is_used(names, name) && !is_used(names, length))
			break;
		snprintf(name, sizeof(name), "%s_%u", base, number);
	}
	use(names, length);
	use(names, name);
	return names->name[names->count - 1];
}

static void add_type(struct format_buffer *out, const struct trace_arg *arg)
{
	unsigned bits = 8 * ctf_width(arg);

	if (arg->format == TRACE_TEXT) {
		add(out, "string");
		return;
	}
	if (arg->format == TRACE_FLOAT) {
		format_buffer_print(out, "floating_point { exp_dig = %u; mant_dig = %u; align = 8; }",
				    bits == 32 ? 8U : 11U, bits == 32 ? 24U : 53U);
		return;
	}
	format_buffer_print(out, "integer { size = %u; align = 8; signed = %s; base = %u; }", bits,
			    arg->format == TRACE_SIGNED ? "true" : "false",
			    arg->format == TRACE_HEX || arg->format == TRACE_SYMBOL ? 16U : 10U);
}

static void add_arg(struct format_buffer *out, const struct trace_arg *arg, const char *name)
{
	add(out, "\t\t");
	switch (arg->kind) {
	case TRACE_STRING:
		add(out, "string");
		break;
	case TRACE_WORD:
		add_type(out, arg);
		break;
	case TRACE_ARRAY:
		format_buffer_print(out, "uint32_t %s_length;\n\t\t", name);
		add_type(out, arg);
		break;
	case TRACE_BYTES:
		if (trace_is_stack(arg)) {
			format_buffer_print(out, "uint32_t %s_length;\n\t\taddress_t", name);
			break;
		}
		format_buffer_print(
		    out, "uint32_t %s_length;\n\t\tinteger { size = 8; align = 8; signed = false; base = 16; }", name);
		break;
	}
	format_buffer_print(out, " %s", name);
	if (arg->kind == TRACE_ARRAY || arg->kind == TRACE_BYTES)
		format_buffer_print(out, "[%s_length]", name);
	add(out, ";\n");
}

void ctf_metadata_event(struct format_buffer *out, const struct trace_probe *probe, uint32_t id)
{
	_cleanup_buffer_ struct format_buffer group = { 0 };
	_cleanup_buffer_ struct format_buffer event = { 0 };
	_cleanup_free_ char(*space)[NAME_SIZE] = calloc(2ULL * probe->nargs + 3, NAME_SIZE);
	struct names names = { .name = space };

	if (!space) {
		out->error = -ENOMEM;
		return;
	}
	format_buffer_print(out, "event {\n\tname = \"%s:%s\";\n", format_clean(&group, probe->group, "", "\"\\"),
			    format_clean(&event, probe->event, "", "\"\\"));
	format_buffer_print(out, "\tid = %" PRIu32 ";\n\tstream_id = 0;\n\tfields := struct {\n\t\taddress_t _ip;\n",
			    id);
	use(&names, "_ip");
	use(&names, "_caller");
	use(&names, "_tail");
	if (probe->kind == TRACE_RETURN)
		add(out, "\t\taddress_t _caller;\n\t\tuint8_t _tail;\n");
	for (uint32_t i = 0; i < probe->nargs; i++)
		add_arg(out, &probe->args[i], make_name(&names, probe->args[i].name, i));
	add(out, "\t};\n};\n\n");
	if (group.error || event.error)
		out->error = group.error ? group.error : event.error;
}
