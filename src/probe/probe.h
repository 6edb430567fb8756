/* SPDX-License-Identifier: MIT */
/*
 * Probe text -> specification -> bpf program. Parsing never resolves: it opens no file and knows no process.
 */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include <assert.h>

#include "base/base.h"
#include "bpf/bpf.h"

#define PROBE_ARGS 128
#define PROBE_NAME 64

/** What of a place is probed. */
enum probe_kind {
	PROBE_PLACE,  /* one instruction; without an offset a function's first */
	PROBE_RETURN, /* every way out of a function */
	PROBE_EACH,   /* each instruction of a function */
};

enum probe_arg_source { PROBE_ARG_REGISTER, PROBE_ARG_STACK, PROBE_ARG_RETVAL, PROBE_ARG_GOID };
enum probe_arg_format { PROBE_FORMAT_UNSIGNED, PROBE_FORMAT_SIGNED, PROBE_FORMAT_HEX };

struct probe_arg {
	char name[PROBE_NAME];         /* given, or arg1.. as the kernel names them */
	char text[PROBE_NAME];         /* as written, e.g. "%di" */
	enum probe_arg_source source;
	enum isa_reg reg;              /* REGISTER; of RETVAL the one that holds it */
	uint32_t word;                 /* STACK: $stackN's N; $stack alone is register SP */
	enum probe_arg_format format;  /* default: hex 64, as the kernel's x64 */
	uint8_t bits;                  /* 8, 16, 32 or 64: the value is cut to the low bits, sign-extended for s */
};

/** One probe as written. Plain data, no pointers: copy it freely. */
struct probe_spec {
	char group[PROBE_NAME];  /* "utap" unless given */
	char event[PROBE_NAME];  /* "" when it is to be derived from the symbol */
	char path[4096];         /* "" (search all), a path with '/', or a short library name ("libc") */
	enum probe_kind kind;
	char symbol[1024];       /* name, demangled name or glob; "" when by offset */
	bool glob;               /* symbol has * ? or [ */
	bool by_offset;          /* file offset in .offset */
	uint64_t offset;         /* added to the symbol, or the file offset */
	size_t nargs;
	struct probe_arg args[PROBE_ARGS];
};

/**
 * probe_parse() - read one probe in the short form or in that of the kernel's uprobe_events
 *
 *   [FILE:]SYMBOL[+OFFSET] [ARG...]       malloc   libc:malloc   libc:mem*   ./prog:func+0x10   lib.so:'ns::f(int)'
 *   FILE:0xFILEOFFSET [ARG...]
 *   p:[[GROUP/]EVENT] FILE:SYMBOL[+OFFSET] [ARG...]   also "p FILE:.."; FILE:OFFSET in hex as the kernel takes it
 *   r[N]:[[GROUP/]EVENT] FILE:SYMBOL [ARG...]   the function's returns, as [FILE:]SYMBOL%return; N is read and means nothing
 *   FILE:SYMBOL:* [ARG...]                   each instruction of the function (SYMBOL:* too, where no file has that name)
 *   ARG = [NAME=]FETCH[:TYPE]   FETCH = %REG | $stack | $stackN | $retval | $goid   TYPE = u8..u64 s8..s64 x8..x64
 *
 * C++ names hold ':' and spaces: FILE ends at the first ':' that is not part of '::'; quotes protect a symbol.
 * Of a return probe %sp, $stack and $stackN are as after the return, as the kernel's are.
 *
 * Return: 0; -EINVAL with "column N: ..." in @err and the column (1-based) in *@column (may be NULL); what the language of later
 * versions has (@FILE, strings ..) is refused by its name, not as a syntax error.
 * Source: Documentation/trace/uprobetracer.rst.
 */
int probe_parse(const char *text, struct probe_spec *ret, size_t *column, struct utap_error *err) BASE_MUST_CHECK;

enum probe_action {
	PROBE_COUNT,  /* count hits only */
	PROBE_RECORD, /* write a struct wire_record and the arguments, one u64 each, in order */
};

/**
 * What a program stands for; struct wire_record says what each writes. Arguments of a return probe stand in the records of returns, those
 * of other probes in the records of entries.
 */
enum probe_part {
	PROBE_PART_PLACE,
	PROBE_PART_ENTRY,  /* of a pair: a function's entry */
	PROBE_PART_RETURN, /* before a return */
	PROBE_PART_TAIL,   /* before a jump to another function: what $retval will be is not known */
	PROBE_PART_ENTRY_RETURN, /* both at once: the function's first instruction leaves it; the record of the exit has the next id */
	PROBE_PART_ENTRY_TAIL,
	/*
	 * The same of Go's functions, whose stacks move while they run. In place of the address of the return slot they record a number made of
	 * the goroutine (%r14 points to its struct g) and the distance from the stack's high end, which starts with a one.
	 */
	PROBE_PART_GO_ENTRY,
	PROBE_PART_GO_RETURN,
	PROBE_PART_GO_TAIL,
	PROBE_PART_GO_ENTRY_RETURN,
	PROBE_PART_GO_ENTRY_TAIL,
};
#define PROBE_PARTS 11

/** probe_part_go() - the same part of one of Go's functions */
static inline enum probe_part probe_part_go(enum probe_part part)
{
	return part == PROBE_PART_PLACE ? part : (enum probe_part)(part - PROBE_PART_ENTRY + PROBE_PART_GO_ENTRY);
}

/** probe_part_args() - how many arguments a record of that part of @spec has */
size_t probe_part_args(const struct probe_spec *spec, enum probe_part part);

/** probe_record_size() - bytes of a record; where two are written, of the larger */
uint32_t probe_record_size(const struct probe_spec *spec, enum probe_part part);

/**
 * probe_program() - the bpf program of a part of a probe; it is the same for all places of a spec (the id is the cookie)
 * @ret: heap, *count instructions, the caller frees; passes bpf_check(BPF_PROBE)
 *
 * Arguments are cut and extended to 64 bits in the program. A program that counts is the same for all parts.
 *
 * Return: 0 or -ENOMEM.
 */
int probe_program(const struct probe_spec *spec, enum probe_action action, enum probe_part part, struct bpf_insn **ret,
		  size_t *count) BASE_MUST_CHECK;

/** probe_event_name() - a valid event name ([A-Za-z_][A-Za-z0-9_]*) derived from symbol (mangled or not) and offset, as perf probe does */
void probe_event_name(const char *symbol, uint64_t offset, char *name, size_t size);

#endif
