/* SPDX-License-Identifier: MIT */
/* utap probe --explain: puts a probe in, shows what that is made of, takes it out. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "object/object.h"

#define CODE_LIMIT 65536   /* bytes of one trampoline */
#define PROGRAM_LIMIT 4096 /* bytes of a program that are shown */

static void print_bytes(FILE *out, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		fprintf(out, "%s%02x", i ? " " : "", bytes[i]);
}

static void print_insn(FILE *out, const struct isa_insn *insn)
{
	char text[128];

	isa_format(insn, text, sizeof(text));
	fprintf(out, "  %12" PRIx64 ":  ", insn->addr);
	print_bytes(out, insn->bytes, insn->length);
	fprintf(out, "%*s  %s\n", 3 * (int)(insn->length < 10 ? 10 - insn->length : 0), "", text);
}

/* Data between the code, as descriptors of rseq sections, is shown as bytes. */
static void print_code(FILE *out, const uint8_t *code, size_t size, utap_addr addr)
{
	for (size_t at = 0; at < size;) {
		struct isa_insn insn;

		if (isa_decode(code + at, size - at, addr + at, &insn) == 0 && insn.length) {
			print_insn(out, &insn);
			at += insn.length;
		} else {
			fprintf(out, "  %12" PRIx64 ":  .byte 0x%02x\n", addr + at, code[at]);
			at++;
		}
	}
}

/* The instruction as the file has it. */
static int original(const struct trace_probe *probe, utap_addr addr, struct isa_insn *insn)
{
	struct object *object;
	const uint8_t *code;
	size_t available = 0;
	uint64_t vaddr;
	int error = object_open(probe->path, &object, NULL);

	if (error)
		return error;
	error = object_offset_to_vaddr(object, probe->offset, &vaddr);
	if (!error) {
		code = object_code(object, vaddr, &available);
		error = code ? isa_decode(code, available, addr, insn) : -ENOENT;
	}
	object_close(object);
	return error;
}

/* As many of @size bytes at @addr as can be read, the end of a mapping may be near; 0 when none. */
static size_t read_some(struct cli *cli, pid_t pid, utap_addr addr, uint8_t *to, size_t size)
{
	while (size && session_read_code(cli->session, pid, addr, to, size))
		size /= 2;
	return size;
}

/*
 * A punned jump reaches into the next instruction: it is decoded with the bytes behind it. A short jump goes to an
 * island, which jumps on to the trampoline. The jump may stand at an earlier instruction, that the trampoline then runs too.
 */
static void print_written(struct cli *cli, const struct session_site *site)
{
	uint8_t now[2 * ISA_INSN_MAX];
	size_t length = site->changed;
	struct isa_insn first;
	size_t size = read_some(cli, site->pid, site->start, now, sizeof(now));

	if (size < length)
		return;
	fputs(site->start == site->addr ? "  reads now:\n" : "  reads now, before it:\n", cli->out);
	if (isa_decode(now, size, site->start, &first)) {
		print_code(cli->out, now, length, site->start);
		return;
	}
	print_code(cli->out, now, first.length > length ? first.length : length, site->start);
	if (!first.has_target || first.target == site->stub)
		return;
	size = read_some(cli, site->pid, first.target, now, ISA_INSN_MAX);
	if (isa_decode(now, size, first.target, &first) == 0) {
		fputs("  by way of:\n", cli->out);
		print_insn(cli->out, &first);
	}
}

/*
 * Bytes of the routine that starts at @addr: up to a return or jump that no earlier branch passes over. The code of the
 * probe's program has no length that anybody remembers.
 */
static size_t routine_size(const uint8_t *code, size_t size, utap_addr addr)
{
	size_t reached = 0; /* furthest target of a branch so far */
	size_t at = 0;

	while (at < size) {
		struct isa_insn insn;

		if (isa_decode(code + at, size - at, addr + at, &insn))
			return at;
		at += insn.length;
		if ((insn.class == ISA_BRANCH || insn.class == ISA_LOOP || insn.class == ISA_JUMP) &&
		    insn.target > addr && insn.target - addr < size && insn.target - addr > reached)
			reached = insn.target - addr;
		if ((insn.class == ISA_RETURN || insn.class == ISA_JUMP) && at > reached)
			return at;
	}
	return size;
}

/* The program, which the trampoline calls. */
static void print_program(struct cli *cli, const struct session_site *site, const uint8_t *stub, size_t size)
{
	uint8_t code[PROGRAM_LIMIT];

	for (size_t at = 0; at < size;) {
		struct isa_insn insn;
		size_t got;

		if (isa_decode(stub + at, size - at, site->stub + at, &insn))
			return;
		at += insn.length;
		if (insn.class != ISA_CALL)
			continue;
		got = read_some(cli, site->pid, insn.target, code, sizeof(code));
		got = routine_size(code, got, insn.target);
		fprintf(cli->out, "  program, %zu bytes:\n", got);
		print_code(cli->out, code, got, insn.target);
		return;
	}
}

static void print_site(struct cli *cli, const struct session_site *site, const struct trace_probe *probe)
{
	struct isa_insn insn = { .length = 0 };

	fprintf(cli->out, "%s:%s in %s\n", probe->group, probe->event, probe->path);
	if (probe->symbol[0])
		fprintf(cli->out, "  symbol       %s+0x%" PRIx64 "\n", probe->symbol, probe->symbol_offset);
	fprintf(cli->out, "  file offset  0x%" PRIx64 "\n  address      0x%" PRIx64 " in pid %d\n  layer        %s\n",
		probe->offset, site->addr, (int)site->pid, cli_layer(site->layer));
	if (original(probe, site->addr, &insn))
		return;
	fputs("  instruction before:\n", cli->out);
	print_insn(cli->out, &insn);
	print_written(cli, site);
}

static int print_stub(struct cli *cli, const struct session_site *site)
{
	size_t size = site->stub_size < CODE_LIMIT ? site->stub_size : CODE_LIMIT;
	_cleanup_free_ uint8_t *code = malloc(size + 1);
	int error;

	if (!code)
		return -ENOMEM;
	error = session_read_code(cli->session, site->pid, site->stub, code, size);
	if (error)
		return error;
	fprintf(cli->out, "  trampoline, %zu bytes:\n", size);
	print_code(cli->out, code, size, site->stub);
	print_program(cli, site, code, size);
	fputc('\n', cli->out);
	return 0;
}

static int explain(struct cli *cli, struct utap_error *err)
{
	const struct session_site *sites;
	const struct trace_probe *probes;
	size_t count = session_sites(cli->session, &sites);

	session_probes(cli->session, &probes);
	for (size_t i = 0; i < count && !cli_signal(); i++) {
		int error;

		print_site(cli, &sites[i], &probes[sites[i].id]);
		error = print_stub(cli, &sites[i]);
		if (error)
			return base_error_system(err, error, "the trampoline at 0x%" PRIx64 " cannot be read",
						 sites[i].stub);
	}
	return 0;
}

static int check(const struct cli *cli, struct utap_error *err)
{
	const struct cli_options *options = &cli->options;

	if (options->nargs)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "'%s' is too much; see utap probe --help",
				  options->args[0]);
	if (!options->explain)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "--explain PROBE is missing; see utap probe --help");
	if (options->npids != 1)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE,
				  "one process is expected: -p PID; see utap probe --help");
	return 0;
}

int cli_explain(struct cli *cli)
{
	struct cli_text text = { .text = cli->options.explain };
	struct utap_error err = { 0 };
	int code = 0;
	int detached;

	if (check(cli, &err) || cli_session_open(cli, PROBE_COUNT, &err) || cli_session_add(cli, &text, &err))
		return cli_fail(cli, &err);
	cli_signals();
	if (cli_session_attach(cli, &err))
		return cli_fail(cli, &err);
	if (explain(cli, &err))
		code = cli_fail(cli, &err);
	detached = cli_session_detach(cli);
	if (!code)
		code = detached;
	return code ? code : cli_close_output(cli);
}
