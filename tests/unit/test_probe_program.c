/* SPDX-License-Identifier: MIT */
/* Specification -> program, run. */
#include "probe_machine.h"

static void test_count(void **state)
{
	struct machine m = { 0 };

	run_text(&m, "f %di", PROBE_COUNT);
	assert_int_equal(m.counts, 1);
	assert_int_equal(m.reserves, 0);
}

static void test_record(void **state)
{
	struct machine m = { 0 };
	struct wire_record header;

	memset(m.record, 0xcc, sizeof(m.record));
	run_text(&m, "f", PROBE_RECORD);
	memcpy(&header, m.record, sizeof(header));
	assert_int_equal(m.reserved, 24);
	assert_int_equal(m.submits, 1);
	assert_int_equal(header.id, 0x123);
	assert_int_equal(header.size, 24);
	assert_int_equal(header.flags, 0);
	assert_int_equal(header.time, 0x1122334455667788ULL);
	assert_int_equal(header.tid, 4712);
	assert_int_equal(header.pid, 4711);
	assert_int_equal(m.record[24], 0xcc);
}

static void check_args(const char *text, const uint64_t *want, size_t count, unsigned words)
{
	struct machine m = { 0 };
	uint64_t got[PROBE_ARGS];

	memset(m.record, 0xcc, sizeof(m.record));
	run_text(&m, text, PROBE_RECORD);
	assert_int_equal(m.reserved, 24 + 8 * count);
	assert_int_equal(m.submits, 1);
	assert_int_equal(m.words, words);
	memcpy(got, m.record + 24, 8 * count);
	for (size_t i = 0; i < count; i++) {
		if (got[i] != want[i])
			fail_msg("'%s': argument %zu is 0x%lx, want 0x%lx", text, i + 1, (unsigned long)got[i],
				 (unsigned long)want[i]);
	}
	assert_int_equal(m.record[24 + 8 * count], 0xcc);
}

static void test_registers(void **state)
{
	static const uint64_t want[] = {
		0xf1f2f3f4f5f6f70eULL,
		0x0e,
		0xf70e,
		0xf5f6f70e,
		0x0e,
		0xfffffffffffff70eULL,
		0xfffffffff5f6f70eULL,
		0xf5f6f70e,
		0xf1f2f3f4f5f6f713ULL,
	};

	check_args("f %di a=%di:u8 b=%di:x16 c=%di:u32 d=%di:s8 e=%di:s16 g=%di:s32 h=%edi $stack", want, COUNT(want),
		   0);
}

static void test_stack(void **state)
{
	/* Ten different words: r8, r9 and all eight slots; a word asked for twice is read once. */
	static const char text[] =
	    "f $stack0:s8 $stack1:s16 $stack2:s32 $stack3:u8 $stack4:u16 $stack5:u32 $stack6:s64 "
	    "$stack7 $stack8 $stack9 a=$stack0 b=$stack1:u8 c=$stack9:s8 d=%si d2=$stack0:s64";
	static const uint64_t want[] = {
		0x00,
		0xffffffffffff8701ULL,
		0xffffffff85868702ULL,
		0x03,
		0x8704,
		0x85868705,
		0x8182838485868706ULL,
		0x8182838485868707ULL,
		0x8182838485868708ULL,
		0x8182838485868709ULL,
		0x8182838485868700ULL,
		0x01,
		0x09,
		0xf1f2f3f4f5f6f70dULL,
		0x8182838485868700ULL,
	};

	check_args(text, want, COUNT(want), 10);
}

/* Halves of vector registers, and fields of them; also where others are held. */
static void test_vectors(void **state)
{
	static const uint64_t want[] = { 0xa1b2c3d4e5f60000ULL, 0xe5f60006, 0xa1b2c3d4e5f6001eULL, 0xa1b2c3d4, 0xe5f60005, 0xa1b2c3d4e5f60005ULL,
					 0xa1,			0x0002,	    0x8182838485868701ULL, 0xf1f2f3f4f5f6f70eULL };

	check_args("f a=%xmm0:f64 b=%xmm3:f32 c=%xmm15 d=%xmm2:f32@32/64 e=%xmm2:f32@64/128 f=%xmm2:f64@64/128 g=%xmm1:b8@120/128 h=%xmm1:u16 "
		   "i=$stack1 j=%di",
		   want, COUNT(want), 1);
}

/* What a function returns as floating point is in xmm0; after a tail call it is not known. */
static void test_float_result(void **state)
{
	uint64_t want[] = { 0xf1f2f3f4f5f6f713ULL, 0x8182838485868700ULL, 0xa1b2c3d4e5f60000ULL, 0xe5f60000, 0xf1f2f3f4f5f6f70aULL };

	for (int tail = 0; tail < 2; tail++) {
		struct machine m = { 0 };
		uint64_t words[COUNT(want)];

		run_part(&m, "r:f $retval:f64 $retval:f32 $retval", PROBE_RECORD, tail ? PROBE_PART_TAIL : PROBE_PART_RETURN);
		memcpy(words, m.record + sizeof(struct wire_record), sizeof(words));
		for (size_t i = 0; i < COUNT(want); i++)
			assert_int_equal(words[i], tail && i > 1 ? 0 : want[i]);
	}
}

/* Addresses as an assembler writes them. */
static void test_index(void **state)
{
	static const struct {
		const char *text;
		uint64_t addr;
	} rows[] = { { "f +8(%di,%si,4):u32", 8 + 0xf1f2f3f4f5f6f70eULL + 4 * 0xf1f2f3f4f5f6f70dULL },
		     { "f -4(,%bx,8):u32", 8 * 0xf1f2f3f4f5f6f705ULL - 4 },
		     { "f +0(%r9,%r15):u32", 0xf1f2f3f4f5f6f708ULL + 0xf1f2f3f4f5f6f700ULL } };

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct machine m = { .memory = { { .addr = rows[i].addr, .data = "\x78\x56\x34\x12", .size = 4 } } };
		uint64_t value;

		run_text(&m, rows[i].text, PROBE_RECORD);
		memcpy(&value, m.record + sizeof(struct wire_record), 8);
		assert_int_equal(value, 0x12345678);
	}
}

#define SP_VALUE 0xf1f2f3f4f5f6f713ULL

/* The record at @at of the machine's, header and words. */
static void check_record(const struct machine *m, size_t at, uint32_t id, uint16_t flags, const uint64_t *want,
			 size_t count)
{
	struct wire_record header;
	uint64_t words[8];

	memcpy(&header, m->record + at, sizeof(header));
	memcpy(words, m->record + at + sizeof(header), 8 * count);
	assert_int_equal(header.id, id);
	assert_int_equal(header.size, 24 + 8 * count);
	assert_int_equal(header.flags, flags);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(words[i], want[i]);
}

/* After a return the stack is one word shorter: $stack0 is what the caller has there. */
static void test_return(void **state)
{
	static const char text[] = "r:f $retval:s16 %di $stack0:u8 $stack2:u16 $stack %sp:u8";
	static const uint64_t want[] = { SP_VALUE, 0x8182838485868700ULL, 0xfffffffffffff70aULL, 0xf1f2f3f4f5f6f70eULL,
					 0x01,	   0x8703,		  SP_VALUE + 8,		 0x1b };
	struct machine m = { 0 };

	run_part(&m, text, PROBE_RECORD, PROBE_PART_RETURN);
	assert_int_equal(m.submits, 1);
	assert_int_equal(m.words, 3);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN, want, COUNT(want));
}

/* The number of the goroutine, among as many words of the stack as there may be. */
static void test_goid(void **state)
{
	static const char *const texts[] = { "f $goid", "f $stack0 $stack1 $goid", "r:f $goid $stack0",
					     "f $goid $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8" };
	static const size_t at[] = { 0, 2, 2, 0 }; /* the word of its record: a return's begins with frame and caller */
	uint64_t value;

	for (size_t i = 0; i < COUNT(texts); i++) {
		struct machine m = { .read = 4711 };

		run_part(&m, texts[i], PROBE_RECORD, i == 2 ? PROBE_PART_RETURN : PROBE_PART_PLACE);
		assert_int_equal(m.submits, 1);
		assert_int_equal(m.reads, 1);
		memcpy(&value, m.record + sizeof(struct wire_record) + 8 * at[i], 8);
		assert_int_equal(value, 4711);
	}
}

static void test_tail(void **state)
{
	static const uint64_t want[] = { SP_VALUE, 0x8182838485868700ULL, 0, 0xf1f2f3f4f5f6f70aULL };
	struct machine m = { 0 };

	run_part(&m, "r:f $retval %ax", PROBE_RECORD, PROBE_PART_TAIL);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL, want, COUNT(want));
}

static void test_entry(void **state)
{
	static const uint64_t want[] = { SP_VALUE, 0xf1f2f3f4f5f6f70eULL, 0x8182838485868701ULL };
	struct machine m = { 0 };

	run_part(&m, "f %di $stack1", PROBE_RECORD, PROBE_PART_ENTRY);
	assert_int_equal(m.words, 1);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, want, COUNT(want));
}

/* A return probe's arguments are not recorded at the entry of the pair, nor an entry's at its returns. */
static void test_pair_args(void **state)
{
	static const uint64_t frame[] = { SP_VALUE, 0x8182838485868700ULL };
	struct machine m = { 0 };

	run_part(&m, "r:f $retval", PROBE_RECORD, PROBE_PART_ENTRY);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, frame, 1);
	m = (struct machine) { 0 };
	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_RETURN);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN, frame, 2);
}

/* One place, two records: the second belongs to the next probe of the table. */
static void test_both(void **state)
{
	static const uint64_t first[] = { SP_VALUE, 0xf1f2f3f4f5f6f70eULL };
	static const uint64_t second[] = { SP_VALUE, 0x8182838485868700ULL };
	struct machine m = { 0 };

	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_ENTRY_RETURN);
	assert_int_equal(m.submits, 2);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, first, COUNT(first));
	check_record(&m, 40, 0x124, WIRE_RECORD_RETURN, second, COUNT(second));
	m = (struct machine) { 0 };
	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_ENTRY_TAIL);
	check_record(&m, 40, 0x124, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL, second, COUNT(second));
	m = (struct machine) { .full = true };
	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_ENTRY_RETURN);
	assert_int_equal(m.reserves, 2);
	assert_int_equal(m.submits, 0);
}

/* Go's stacks move: what is recorded depends on the goroutine and on the distance from the stack's end alone. */
static void test_go_frame(void **state)
{
	uint64_t g = 0xf1f2f3f4f5f6f700ULL + ISA_R14;
	uint64_t frame = 1ULL << 63 | g >> 5 << 27 | 0x40;
	uint64_t entry[] = { frame, 0xf1f2f3f4f5f6f70eULL };
	uint64_t leave[] = { frame, 0x8182838485868700ULL, 0xf1f2f3f4f5f6f70aULL };
	struct machine m = { .read = SP_VALUE + 0x200 };

	run_part(&m, "f %di", PROBE_RECORD, PROBE_PART_GO_ENTRY);
	assert_int_equal(m.reads, 1);
	check_record(&m, 0, 0x123, WIRE_RECORD_ENTRY, entry, COUNT(entry));
	m = (struct machine) { .read = SP_VALUE + 0x200 };
	run_part(&m, "r:f $retval", PROBE_RECORD, PROBE_PART_GO_RETURN);
	check_record(&m, 0, 0x123, WIRE_RECORD_RETURN, leave, COUNT(leave));
	m = (struct machine) { .read = SP_VALUE + 0x200 };
	run_part(&m, "r:f", PROBE_RECORD, PROBE_PART_GO_ENTRY_TAIL);
	assert_int_equal(m.submits, 2);
	check_record(&m, 32, 0x124, WIRE_RECORD_RETURN | WIRE_RECORD_TAIL, leave, 2);
}

/* So many words of the stack that none is left for it: the plain address then. */
static void test_go_full(void **state)
{
	struct machine m = { 0 };
	uint64_t frame;

	run_part(&m, "f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8", PROBE_RECORD, PROBE_PART_GO_ENTRY);
	assert_int_equal(m.reads, 1);
	m = (struct machine) { 0 };
	run_part(&m, "f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8 $stack9", PROBE_RECORD,
		 PROBE_PART_GO_ENTRY);
	assert_int_equal(m.reads, 0);
	memcpy(&frame, m.record + 24, 8);
	assert_int_equal(frame, SP_VALUE);
}

static void test_full(void **state)
{
	struct machine m = { .full = true };

	run_text(&m, "f %di $stack1", PROBE_RECORD);
	assert_int_equal(m.reserves, 1);
	assert_int_equal(m.submits, 0);
}

/* Every register's load stands right before its store. */
static void test_pairs(void **state)
{
	static struct probe_spec spec;
	struct bpf_insn *program;
	size_t count;
	size_t pairs = 0;

	assert_int_equal(probe_parse("f %di %si:s8 %dx:u16 %cx %r8:s32 $stack", &spec, NULL, NULL), 0);
	assert_int_equal(probe_program(&spec, PROBE_RECORD, PROBE_PART_PLACE, NULL, &program, &count), 0);
	for (size_t i = 0; i + 1 < count; i++) {
		if (program[i].src != 7 || (program[i].opcode & 7) != 1)
			continue;
		assert_true(program[i].dst >= 1 && program[i].dst <= 5);
		assert_int_equal(program[i + 1].opcode, 0x7b);
		assert_int_equal(program[i + 1].dst, 6);
		assert_int_equal(program[i + 1].src, program[i].dst);
		assert_int_equal(program[i + 1].offset, 24 + 8 * pairs);
		pairs++;
	}
	assert_int_equal(pairs, 6);
	free(program);
}

/* What needs neither memory nor scratch costs what it always did: a load and a store each, and for a word of the stack a call before. */
static void test_plain(void **state)
{
	static const struct {
		const char *text;
		size_t insns;
	} cases[] = {
		{ "f", 21 },
		{ "f %di", 23 },
		{ "f %di %si:u8 %dx:s16 %edi $stack", 31 },
		{ "f $stack0", 26 },
		{ "f $stack0 $stack1 $stack2", 36 },
		{ "f \\5 %ip", 26 },
	};
	const struct probe_place place = { .ip = MACHINE_IP };

	for (size_t i = 0; i < COUNT(cases); i++) {
		static struct probe_spec spec;
		struct bpf_insn *program;
		size_t count;

		assert_int_equal(probe_parse(cases[i].text, &spec, NULL, NULL), 0);
		assert_int_equal(probe_program(&spec, PROBE_RECORD, PROBE_PART_PLACE, &place, &program, &count), 0);
		free(program);
		if (count != cases[i].insns)
			fail_msg("'%s' takes %zu instructions", cases[i].text, count);
	}
}

/* ---- memory ---- */

#define TARGET 0x10000ULL
#define FAULT_WORD (WIRE_LOCATOR_FAILED | EFAULT)

/* What the tests read: registers of the machine lead there. */
struct target_memory {
	uint64_t next;   /* 0 */
	uint64_t text;   /* 8 */
	int16_t shorts[4]; /* 16 */
	uint32_t bits;   /* 24 */
	uint32_t more;   /* 28 */
	uint64_t names[3]; /* 32 */
	char string[16]; /* 56 */
};

static const struct target_memory target = {
	.next = TARGET + 8,
	.text = TARGET + 56,
	.shorts = { -1, 2, -3, 4 },
	.bits = 0xdeadbeef,
	.more = 0x12345678,
	.names = { TARGET + 56, 8, TARGET + 58 },
	.string = "a string",
};

static void set_memory(struct machine *m)
{
	static const uint64_t file = 0x55667788;

	m->memory[0] = (struct machine_memory) { .addr = TARGET, .data = &target, .size = sizeof(target) };
	m->memory[1] = (struct machine_memory) { .addr = MACHINE_BASE + 0x20, .data = &file, .size = sizeof(file) };
	m->memory[2] = (struct machine_memory) { .addr = MACHINE_IP, .data = "code", .size = 5 };
	m->memory[3] = (struct machine_memory) { .addr = stack_word(2), .data = "stack", .size = 6 };
}

static void run_memory(struct machine *m, const char *text, enum probe_part part)
{
	set_memory(m);
	run_part(m, text, PROBE_RECORD, part);
}

static uint64_t word_of(const struct machine *m, size_t i)
{
	uint64_t word;

	memcpy(&word, m->record + 24 + 8 * i, sizeof(word));
	return word;
}

static void check_words(const char *text, enum probe_part part, size_t skip, const uint64_t *want, size_t count, unsigned longs)
{
	struct machine m = { 0 };

	run_memory(&m, text, part);
	assert_int_equal(m.longs, longs);
	assert_int_equal(m.submits, 1);
	for (size_t i = 0; i < count; i++)
		if (word_of(&m, skip + i) != want[i])
			fail_msg("'%s': argument %zu is 0x%lx, want 0x%lx", text, i + 1, (unsigned long)word_of(&m, skip + i),
				 (unsigned long)want[i]);
}

/* Values from memory that fit in a plain record; 0 where nothing can be read, whichever of the reads fails. */
static void test_memory(void **state)
{
	check_words("f @0x10000 @0x10010:s16 +0(@0x10000):x64 @0x10018:b4@4/32", PROBE_PART_PLACE, 0,
		    (const uint64_t[]) { TARGET + 8, (uint64_t)-1, TARGET + 56, 0xe }, 4, 0);
	check_words("f bad=@0x99:u8 worse=+0(+0(+8(@0x99))):u64 nowhere=+0(@0x10028) part=@0x10041:u64 i=\\-5:s8 same=@0x10000", PROBE_PART_PLACE,
		    0, (const uint64_t[]) { 0, 0, 0, 0, (uint64_t)-5, TARGET + 8 }, 6, 0);
}

/* One program a place: its address, and where its file is. */
static void test_place(void **state)
{
	check_words("f %ip @+0x20:u32 +0(%ip):u8 %ip:x16", PROBE_PART_PLACE, 0,
		    (const uint64_t[]) { MACHINE_IP, 0x55667788, 'c', MACHINE_IP & 0xffff }, 4, 0);
	/* Of a return: where it returns to, after frame and caller. */
	check_words("r:f %ip $stack1:u8 +0($stack1):u8 @+0x20", PROBE_PART_RETURN, 2,
		    (const uint64_t[]) { stack_word(0), 0x02, 's', 0x55667788 }, 4, 0);
}

/* More values than can be held, of all kinds of them. */
static void test_many_words(void **state)
{
	char text[600] = "f %di $stack1";
	uint64_t want[40] = { 0xf1f2f3f4f5f6f70eULL, stack_word(1) };

	for (size_t i = 0; i < 30; i++) {
		sprintf(text + strlen(text), " @0x%lx:u8", (unsigned long)(TARGET + 24 + i % 4));
		want[2 + i] = ((const uint8_t *)&target.bits)[i % 4];
	}
	check_words(text, PROBE_PART_PLACE, 0, want, 32, 1);
	sprintf(text, "f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8 $stack9 $stack10:u8");
	for (size_t i = 0; i <= 10; i++)
		want[i] = i < 10 ? stack_word(i) : (uint8_t)stack_word(i);
	check_words(text, PROBE_PART_PLACE, 0, want, 11, 1);
	want[10] = stack_word(10);
	check_words("r:f $stack0 $stack1 $stack2 $stack3 $stack4 $stack5 $stack6 $stack7 $stack8 $stack9", PROBE_PART_RETURN, 2, want + 1, 10,
		    1);
}

/* The bytes that argument @i names. */
static const char *bytes_of(const struct machine *m, size_t i, size_t size)
{
	uint64_t locator = word_of(m, i);

	assert_false(locator & (WIRE_LOCATOR_FAILED | WIRE_LOCATOR_SHORT));
	assert_int_equal(wire_locator_bytes(locator), size);
	assert_true(wire_locator_offset(locator) + size <= m->used);
	return (const char *)m->record + wire_locator_offset(locator);
}

static void test_strings(void **state)
{
	struct machine m = { 0 };
	uint64_t locators[3];
	struct wire_record header;

	run_memory(&m, "f a=+0(+8(@0x10000)):string %di b=@0x1003a:ustring c=+0(@0x99):string d=\\\"imm\" e=$comm n=@0x10020:string[3] "
		       "o=+0(\\0x10038):string p=\\0x10038:string",
		   PROBE_PART_PLACE);
	assert_int_equal(m.longs, 1);
	memcpy(&header, m.record, sizeof(header));
	assert_int_equal(header.flags, WIRE_RECORD_LONG);
	assert_int_equal(header.id, 0x123);
	/* @0x10008 holds the address of the text: +0 of it is where the string starts */
	assert_int_equal(word_of(&m, 0), FAULT_WORD);
	assert_int_equal(word_of(&m, 1), 0xf1f2f3f4f5f6f70eULL);
	assert_string_equal(bytes_of(&m, 2, 7), "string");
	assert_int_equal(word_of(&m, 3), FAULT_WORD);
	assert_string_equal(bytes_of(&m, 4, 4), "imm");
	assert_string_equal(bytes_of(&m, 5, 16), "worker");
	memcpy(locators, bytes_of(&m, 6, 24), 24);
	assert_string_equal((const char *)m.record + wire_locator_offset(locators[0]), "a string");
	assert_int_equal(locators[1], FAULT_WORD);
	assert_string_equal((const char *)m.record + wire_locator_offset(locators[2]), "string");
	assert_string_equal(bytes_of(&m, 7, 9), "a string");
	assert_string_equal(bytes_of(&m, 8, 9), "a string");
}

static void test_arrays(void **state)
{
	struct machine m = { 0 };
	uint32_t fields[2];

	run_memory(&m, "f a=@0x10010:s16[4] b=@0x10018:b12@4/32[2] c=@0x99:u8[2] d=+0(+0(@0x99)):b1@0/8[2] e=@0x10018:b1@31/32[9]", PROBE_PART_PLACE);
	assert_memory_equal(bytes_of(&m, 0, 8), target.shorts, 8);
	memcpy(fields, bytes_of(&m, 1, 8), 8);
	assert_int_equal(fields[0], 0xbee);
	assert_int_equal(fields[1], 0x567);
	assert_int_equal(word_of(&m, 2), FAULT_WORD);
	assert_int_equal(word_of(&m, 3), FAULT_WORD);
	assert_false(word_of(&m, 4) & WIRE_LOCATOR_FAILED); /* nine words from there: all can be read but the last two */
	assert_int_equal(wire_locator_bytes(word_of(&m, 4)), 36);
}

static void test_long_parts(void **state)
{
	struct machine m = { 0 };
	struct wire_record header;

	/* Of the two records of one place only that with the argument is long. */
	run_memory(&m, "f s=@0x10038:string", PROBE_PART_ENTRY_RETURN);
	assert_int_equal(m.longs, 1);
	assert_int_equal(m.reserves, 1);
	assert_int_equal(m.submits, 2);
	memcpy(&header, m.record, sizeof(header));
	assert_int_equal(header.flags, WIRE_RECORD_LONG | WIRE_RECORD_ENTRY);
	assert_int_equal(word_of(&m, 0), SP_VALUE);

	m = (struct machine) { 0 };
	run_memory(&m, "r:f s=+0($retval):string r=$retval t=+0(+8($retval)):u32 a=+0($retval):u8[4] b=+0($retval):b1@0/8[4]", PROBE_PART_TAIL);
	memcpy(&header, m.record, sizeof(header));
	assert_int_equal(header.flags, WIRE_RECORD_LONG | WIRE_RECORD_RETURN | WIRE_RECORD_TAIL);
	assert_int_equal(m.reads, 0);
	assert_int_equal(word_of(&m, 1), stack_word(0)); /* the caller */
	assert_int_equal(word_of(&m, 2), FAULT_WORD);
	assert_int_equal(word_of(&m, 3), 0);
	assert_int_equal(word_of(&m, 4), 0);
	assert_int_equal(word_of(&m, 5), FAULT_WORD);
	assert_int_equal(word_of(&m, 6), FAULT_WORD);

	m = (struct machine) { .full = true };
	run_memory(&m, "f s=@0x10038:string", PROBE_PART_PLACE);
	assert_int_equal(m.longs, 1);
	assert_int_equal(m.submits, 0);
	m = (struct machine) { .unnamed = true };
	run_memory(&m, "f $comm", PROBE_PART_PLACE);
	assert_true(word_of(&m, 0) & WIRE_LOCATOR_FAILED);
}

static const uint8_t *locate(const struct machine *m, uint64_t locator, uint32_t size)
{
	assert_int_equal(locator & (WIRE_LOCATOR_FAILED | WIRE_LOCATOR_SHORT), WIRE_LOCATOR_SHORT);
	assert_int_equal(wire_locator_bytes(locator), size);
	return m->record + wire_locator_offset(locator);
}

static void expect_walk(const uint8_t *at, uint64_t what, uint64_t sp, uint64_t bp)
{
	const uint64_t want[] = { what, sp, bp };

	assert_memory_equal(at, want, sizeof(want));
}

/* The stack is fetched before all else and is the last argument; a return's is as after the return. */
static void test_user_stack(void **state)
{
	struct machine m = { .stack_kind = WIRE_STACK_FP, .stack_most = 7 };
	uint64_t bp;

	run_memory(&m, "f s=@0x10038:string a=%di", PROBE_PART_PLACE);
	assert_int_equal(m.longs, 1);
	bp = m.context[ISA_BP];
	assert_int_equal(word_of(&m, 1), m.context[ISA_DI]);
	assert_int_equal(wire_locator_offset(word_of(&m, 2)), 48);
	expect_walk(locate(&m, word_of(&m, 2), 24), WIRE_STACK(WIRE_STACK_FP, 7), SP_VALUE, bp);
	assert_int_equal(wire_locator_offset(word_of(&m, 0)), 72);

	m = (struct machine) { .stack_kind = WIRE_STACK_CFI, .stack_most = 512 };
	run_memory(&m, "f%return", PROBE_PART_RETURN);
	expect_walk(locate(&m, word_of(&m, 2), 24), WIRE_STACK(WIRE_STACK_CFI | WIRE_STACK_RETURN, 512), SP_VALUE + 8, bp);

	m = (struct machine) { .stack_kind = WIRE_STACK_FP, .stack_most = 1, .no_stack = true };
	run_memory(&m, "f", PROBE_PART_PLACE);
	assert_int_equal(word_of(&m, 0), WIRE_LOCATOR_FAILED | EFAULT);
}

/* Registers and what is appended are one piece. */
static void test_copied_stack(void **state)
{
	static const enum isa_reg regs[16] = { ISA_AX, ISA_DX, ISA_CX, ISA_BX, ISA_SI, ISA_DI, ISA_BP, ISA_SP,
					       ISA_R8, ISA_R9, ISA_R10, ISA_R11, ISA_R12, ISA_R13, ISA_R14, ISA_R15 };

	for (unsigned is_return = 0; is_return < 2; is_return++) {
		struct machine m = { .stack_kind = WIRE_STACK_RAW, .stack_most = 60000 };
		const uint8_t *at;

		run_memory(&m, is_return ? "f%return $comm s=@0x10038:string" : "f $comm s=@0x10038:string",
			   is_return ? PROBE_PART_RETURN : PROBE_PART_PLACE);
		at = locate(&m, word_of(&m, 2 * is_return + 2), 16 * 8 + 24);
		for (unsigned i = 0; i < 16; i++)
			assert_int_equal(((const uint64_t *)(const void *)at)[i],
					 m.context[regs[i]] + (is_return && regs[i] == ISA_SP ? 8 : 0));
		expect_walk(at + 128, WIRE_STACK(WIRE_STACK_RAW | (is_return ? WIRE_STACK_RETURN : 0), 60000), SP_VALUE + 8 * is_return,
			    m.context[ISA_BP]);
		m = (struct machine) { .stack_kind = WIRE_STACK_RAW, .stack_most = 60000, .no_stack = true };
		run_memory(&m, "f", PROBE_PART_PLACE);
		assert_int_equal(word_of(&m, 0), WIRE_LOCATOR_FAILED | EFAULT);
	}
}

static void test_stack_limits(void **state)
{
	static const struct {
		enum wire_stack_kind kind;
		uint32_t most;
		int error;
		uint32_t size, record_most;
	} cases[] = {
		{ WIRE_STACK_FP, 1, 0, 32, 40 },
		{ WIRE_STACK_CFI, 512, 0, 32, 32 + 4096 },
		{ WIRE_STACK_RAW, 1, 0, 160, 160 + 16 },
		{ WIRE_STACK_RAW, 60000, 0, 160, 160 + 60008 },
		{ WIRE_STACK_FP, 0, -EINVAL, 24, 0 },
		{ WIRE_STACK_FP, 513, -EINVAL, 24, 0 },
		{ WIRE_STACK_RAW, 60001, -EINVAL, 24, 0 },
		{ 0, 1, -EINVAL, 24, 0 },
		{ 4, 1, -EINVAL, 24, 0 },
	};
	static struct probe_spec spec;
	char text[2000] = "f stack=%di stack_=%di";

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(probe_parse("f", &spec, NULL, NULL), 0);
		assert_int_equal(probe_add_stack(&spec, cases[i].kind, cases[i].most, NULL), cases[i].error);
		assert_int_equal(probe_record_size(&spec, PROBE_PART_PLACE), cases[i].size);
		assert_int_equal(probe_record_most(&spec, PROBE_PART_PLACE), cases[i].record_most);
	}
	assert_int_equal(probe_parse(text, &spec, NULL, NULL), 0);
	assert_int_equal(probe_add_stack(&spec, WIRE_STACK_FP, 1, NULL), 0);
	assert_string_equal(spec.args[2].name, "stack__");
	for (int i = 2; i < PROBE_ARGS; i++)
		strcat(text, " %di");
	assert_int_equal(probe_parse(text, &spec, NULL, NULL), 0);
	assert_int_equal(probe_add_stack(&spec, WIRE_STACK_FP, 1, NULL), -E2BIG);
	assert_int_equal(spec.nargs, PROBE_ARGS);
	assert_int_equal(probe_parse("f @0:u64[4096] @0:u64[4000]", &spec, NULL, NULL), 0);
	assert_int_equal(probe_add_stack(&spec, WIRE_STACK_RAW, 8192, NULL), -E2BIG);
	assert_int_equal(spec.nargs, 2);
}

/* The largest programs there can be pass the checker. */
static void test_largest(void **state)
{
	static const char *const args[] = {
		" +0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(+0(%di)))))))))))))):b1@0/8",
		" +0x7fffffffffff(+0x7fffffffffff(+0x7fffffffffff(+0x7fffffffffff(%di)))):string",
	};

	for (size_t i = 0; i < COUNT(args); i++) {
		static struct probe_spec spec;
		struct bpf_insn *program;
		struct utap_error err = { 0 };
		char text[20000] = "r:f";
		size_t count;

		for (int k = 0; k < PROBE_ARGS; k++)
			strcat(text, args[i]);
		assert_int_equal(probe_parse(text, &spec, NULL, &err), 0);
		assert_int_equal(probe_program(&spec, PROBE_RECORD, PROBE_PART_RETURN, NULL, &program, &count), 0);
		if (bpf_check(program, count, BPF_PROBE, &err))
			fail_msg("%s", err.text);
		assert_true(count > 4 * PROBE_ARGS);
		free(program);
	}
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint32_t size, most;
	} cases[] = {
		{ "f %di", 32, 0 },
		{ "f @0:u8", 32, 0 },
		{ "f @0:u8[3]", 32, 40 },
		{ "f $comm", 48, 48 },
		{ "f \\\"eight..\"", 40, 40 },
		{ "f @0:string", 32, WIRE_LONG_MAX },
		{ "f @0:string[2]", 48, WIRE_LONG_MAX },
		{ "f @0:b1@0/8[9]", 48, 48 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		static struct probe_spec spec;

		assert_int_equal(probe_parse(cases[i].text, &spec, NULL, NULL), 0);
		assert_int_equal(probe_record_size(&spec, PROBE_PART_PLACE), cases[i].size);
		assert_int_equal(probe_record_most(&spec, PROBE_PART_PLACE), cases[i].most);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_vectors),  cmocka_unit_test(test_float_result), cmocka_unit_test(test_index),
		cmocka_unit_test(test_stack),
		cmocka_unit_test(test_return),
		cmocka_unit_test(test_goid),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_pair_args),
		cmocka_unit_test(test_both),
		cmocka_unit_test(test_go_frame),
		cmocka_unit_test(test_go_full),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_place),
		cmocka_unit_test(test_many_words),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_long_parts),
		cmocka_unit_test(test_user_stack),
		cmocka_unit_test(test_copied_stack),
		cmocka_unit_test(test_stack_limits),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
