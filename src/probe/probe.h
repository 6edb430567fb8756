/* SPDX-License-Identifier: MIT */
/*
 * Probe text -> specification -> bpf program. Parsing never resolves: it opens no file and knows no process.
 */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include <assert.h>

#include "base/base.h"
#include "bpf/bpf.h"
#include "wire/wire.h"

#define PROBE_ARGS 128
#define PROBE_NAME 64
#define PROBE_READS 14    /* of memory, one after the other: as many as the kernel does */
#define PROBE_STRINGS 512 /* bytes of all strings in a probe's text */

/** What of a place is probed. */
enum probe_kind {
	PROBE_PLACE,  /* one instruction; without an offset a function's first */
	PROBE_RETURN, /* every way out of a function */
	PROBE_EACH,   /* each instruction of a function */
};

/** What an argument starts from. */
enum probe_arg_source {
	PROBE_ARG_REGISTER,
	PROBE_ARG_STACK,
	PROBE_ARG_RETVAL,
	PROBE_ARG_GOID,
	PROBE_ARG_IMMEDIATE, /* .value */
	PROBE_ARG_FILE,      /* .value, counted from where the mapping of the probed place has the file's first byte */
	PROBE_ARG_IP,        /* the probed place; of a return probe where it returns to */
	PROBE_ARG_COMM,      /* the thread's name: a string */
	PROBE_ARG_TEXT,      /* a string given in the probe's text, at probe_spec.strings + .value */
	PROBE_ARG_CALLERS,   /* the user stack: .word is the enum wire_stack_kind, .count the most; only by probe_add_stack(), and the last */
};
enum probe_arg_format {
	PROBE_FORMAT_UNSIGNED,
	PROBE_FORMAT_SIGNED,
	PROBE_FORMAT_HEX,
	PROBE_FORMAT_CHAR,
	PROBE_FORMAT_SYMBOL, /* an address, shown as the function that holds it */
	PROBE_FORMAT_FLOAT,  /* IEEE 754, of 32 or 64 bits */
};

/*
 * A fetch argument: what .source gives, then for each of .offset the word in memory at (what there is so far) + offset. Of a string, and of
 * an array, the last of these is where it starts; of an array of strings where its pointers start.
 */
struct probe_arg {
	char name[PROBE_NAME];        /* given, or arg1.. as the kernel names them */
	uint32_t at, length;          /* of FETCH in the probe's text */
	enum probe_arg_source source;
	enum isa_reg reg;             /* REGISTER; of RETVAL the one that holds it */
	uint8_t source_bits;          /* REGISTER: how many of it are meant */
	bool is_vector;               /* REGISTER, RETVAL: it is half .word of the vector registers, as BPF_HELPER_VECTOR counts; always 64 bits */
	uint8_t scale;                /* REGISTER, IMMEDIATE as an address: so many times .index is added; 0: none */
	enum isa_reg index;
	uint32_t word;                /* STACK: $stackN's N; $stack alone is register SP */
	uint64_t value;               /* IMMEDIATE, FILE, TEXT */
	uint32_t nreads;              /* of .offset */
	int64_t offset[PROBE_READS];
	enum probe_arg_format format; /* default: hex 64, as the kernel's x64 */
	uint8_t bits;                 /* 8, 16, 32 or 64: the value is cut to the low bits, sign-extended for s */
	uint8_t field_bits;           /* of a bit field: its width, 0: none .. */
	uint8_t field_at;             /* .. and its lowest bit */
	bool is_string;
	bool at_entry;                /* $argN: known only where a function is entered */
	uint32_t count;               /* of an array, 0: none */
};

#define PROBE_EVERY 1000000000 /* the most that probe_spec.every may be */
#define PROBE_TESTS 16     /* comparisons of a condition */
#define PROBE_TEST_PASS 254 /* in place of a test: the condition holds .. */
#define PROBE_TEST_FAIL 255 /* .. or does not */

enum probe_test_value { PROBE_TEST_ARG, PROBE_TEST_PID, PROBE_TEST_TID, PROBE_TEST_CPU, PROBE_TEST_COMM };
enum probe_comparison {
	PROBE_NONZERO,
	PROBE_EQUAL,
	PROBE_UNEQUAL,
	PROBE_LESS, /* signed where the argument is */
	PROBE_LESS_EQUAL,
	PROBE_GREATER,
	PROBE_GREATER_EQUAL,
	PROBE_SET, /* any of the constant's bits */
};

/** One comparison of a condition. */
struct probe_test {
	enum probe_test_value value;
	uint8_t arg; /* ARG: which one */
	enum probe_comparison comparison;
	uint64_t constant; /* of floating point its key: probe_float_key() */
	char text[16]; /* COMM, and arguments that are strings */
	bool is_start; /* EQUAL, UNEQUAL: of .text, which has no NUL then, the text begins with it */
	uint8_t next_true, next_false; /* a later test, or PASS, FAIL */
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
	uint64_t reference;      /* file offset of a counter that is not 0 while somebody probes (USDT's semaphore); 0: none */
	char strings[PROBE_STRINGS]; /* what PROBE_ARG_TEXT names, each with its NUL */
	uint32_t strings_used;
	size_t nargs;
	struct probe_arg args[PROBE_ARGS];
	uint64_t every;       /* record the first of so many hits for which the condition holds; 0, 1: all; at most PROBE_EVERY */
	uint64_t limit_ticks; /* record one in so many TSC ticks; 0: no limit .. */
	uint64_t burst_ticks; /* .. but so many ticks' worth at once */
	uint32_t ntests; /* of a condition; 0: none */
	struct probe_test tests[PROBE_TESTS];
};

/**
 * probe_parse() - read one probe in the short form or in that of the kernel's uprobe_events
 *
 *   [FILE:]SYMBOL[+OFFSET] [ARG...]       malloc   libc:malloc   libc:mem*   ./prog:func+0x10   lib.so:'ns::f(int)'
 *   FILE:0xFILEOFFSET [ARG...]
 *   p:[[GROUP/]EVENT] FILE:SYMBOL[+OFFSET] [ARG...]   also "p FILE:.."; FILE:OFFSET[%return][(COUNTER)] as the kernel takes it
 *   r[N]:[[GROUP/]EVENT] FILE:SYMBOL [ARG...]   the function's returns, as [FILE:]SYMBOL%return; N is read and means nothing
 *   FILE:SYMBOL:* [ARG...]                   each instruction of the function (SYMBOL:* too, where no file has that name)
 *   All with a condition behind: /NAME > 4096 && (comm == "worker" || !NAME)/ of its arguments, pid, tid, cpu and comm; where it does not hold nothing is
 *   counted nor recorded. Text that begins with: NAME ~ "start*", !~. What cannot be read, and not a number, compares as false (text as another text).
 *   ARG = [NAME=]FETCH[:TYPE]
 *   FETCH = %REG | %xmm0..%xmm15 | $stack | $stackN | $retval | $argN | $comm | $goid | @ADDR | @+FILEOFFSET | +|-[u]OFFSET(FETCH) | \IMM | \"TEXT"
 *           in a bracket also as an assembler has it: %REG,%REG,SCALE and ,%REG,SCALE
 *   TYPE = (u8..u64 s8..s64 x8..x64 char f32 f64 symbol bWIDTH@OFFSET/SIZE string ustring)[[N]] | f32@OFFSET/SIZE
 *   Of a vector register it is the low 64 bits; fields (b, f32@) of all 128 can be had. $retval of type f32 and f64 is xmm0.
 *
 * C++ names hold ':' and spaces: FILE ends at the first ':' that is not part of '::'; quotes protect a symbol.
 * Of a return probe %sp, $stack and $stackN are as after the return, as the kernel's are.
 *
 * Where the text is in the kernel's form, so are its limits: 64 elements of an array, 63 bytes of a FETCH, 32 of a name.
 *
 * Return: 0; -EINVAL with "column N: ..." in @err and the column (1-based) in *@column (may be NULL): the one that the kernel's error_log
 * points at. What the language of later versions has (@FILE ..) is refused by its name, not as a syntax error.
 * Source: Documentation/trace/uprobetracer.rst.
 */
int probe_parse(const char *text, struct probe_spec *ret, size_t *column, struct utap_error *err) BASE_MUST_CHECK;

/**
 * probe_parse_removal() - "-:[GROUP/]EVENT" or "-:GROUP/", a line that takes back an earlier one
 * @group, @event: "" when they are not given
 *
 * Return: 1; 0 it is no such line; -EINVAL as probe_parse().
 */
int probe_parse_removal(const char *text, char group[static PROBE_NAME], char event[static PROBE_NAME], size_t *column,
			struct utap_error *err) BASE_MUST_CHECK;

/**
 * probe_add_stack() - one argument more: the user stack, named "stack" (where another has the name, "stack_", ..)
 * @kind: FP, CFI or RAW
 * @most: addresses, at most WIRE_STACK_FRAMES; of RAW bytes, at most WIRE_STACK_BYTES; not 0
 *
 * Return: 0; -EINVAL no such kind or number; -E2BIG the probe has PROBE_ARGS, or its record would get too large.
 */
int probe_add_stack(struct probe_spec *spec, enum wire_stack_kind kind, uint32_t most, struct utap_error *err) BASE_MUST_CHECK;

enum probe_action {
	PROBE_COUNT,  /* count hits only */
	PROBE_RECORD, /* write a struct wire_record and the arguments, one u64 each, in order */
	/*
	 * The same, of calls: where the probe's condition, or its limit, leaves a call out, its entry is recorded as LEFT_OUT and its exits as always:
	 * whoever puts calls together knows which exits not to show.
	 */
	PROBE_RECORD_CALLS,
	PROBE_TRIGGER, /* RECORD, then count the hit: whoever sees the count finds the record; without limits */
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

/** probe_record_size() - bytes of a record, or of a LONG one's fixed part; where two are written, of the larger */
uint32_t probe_record_size(const struct probe_spec *spec, enum probe_part part);
/** probe_record_most() - bytes of the largest record, with all that may follow the fixed part; 0: none is LONG */
uint32_t probe_record_most(const struct probe_spec *spec, enum probe_part part);


/** What a program may have to know of the places it serves. */
struct probe_place {
	uint64_t base; /* where the mapping of the place has the file's first byte */
	uint64_t ip;   /* the place */
};
enum probe_needs { PROBE_NEEDS_NOTHING, PROBE_NEEDS_BASE, PROBE_NEEDS_IP };

/** probe_needs() - what of struct probe_place the programs of that part depend on; IP means both */
enum probe_needs probe_needs(const struct probe_spec *spec, enum probe_part part);

/**
 * probe_program() - the bpf program of a part of a probe; where it needs nothing of its place it is the same for all places of a spec (the
 * id is the cookie)
 * @place: may be NULL when it needs nothing
 * @ret:   heap, *count instructions, the caller frees; passes bpf_check(BPF_PROBE)
 *
 * Arguments are cut and extended to 64 bits in the program. Memory that cannot be read gives the value 0, or a locator that says so.
 * A program that counts is the same for all parts. Limits are of records: what they hold back is counted.
 *
 * Return: 0; -ENOMEM; -E2BIG for more instructions than a program may have.
 */
int probe_program(const struct probe_spec *spec, enum probe_action action, enum probe_part part,
		  const struct probe_place *place, struct bpf_insn **ret, size_t *count) BASE_MUST_CHECK;

/** probe_event_name() - a valid event name ([A-Za-z_][A-Za-z0-9_]*) derived from symbol (mangled or not) and offset, as perf probe does */
void probe_event_name(const char *symbol, uint64_t offset, char *name, size_t size);

#endif
