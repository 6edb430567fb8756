/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as code. The two decoders agree; what is decoded can be printed, and relocated or refused with a reason;
 * relocated code is instructions again, and a direct branch in it still goes where the original went.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa/isa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void check_step(const uint8_t *code, size_t size, utap_addr addr, int error, const struct isa_insn *insn)
{
	bool has_target = false;
	utap_addr target = 0;
	int length = isa_step(code, size, addr, &has_target, &target);

	if (error) {
		CHECK(length == -EILSEQ && error == -EILSEQ && !has_target);
		return;
	}
	CHECK(length == insn->length && insn->length > 0 && insn->length <= size);
	CHECK(has_target == insn->has_target && (!has_target || target == insn->target));
	CHECK(!memcmp(insn->bytes, code, insn->length));
	CHECK((insn->class == ISA_REFUSED) == (insn->why != NULL));
	CHECK(!insn->has_rip_operand || insn->disp_offset + 4 <= insn->length);
}

static void check_text(const struct isa_insn *insn, size_t room)
{
	char text[160];

	memset(text, 'x', sizeof(text));
	isa_format(insn, text, room);
	for (size_t n = room; n < sizeof(text); n++)
		CHECK(text[n] == 'x');
	CHECK(!room || memchr(text, '\0', room));
}

/* What the copy does is checked elsewhere by running it; here, that it is code and leads to the same places. */
static void check_copy(const struct isa_insn *insn, const struct isa_emitter *e)
{
	bool has_target = !insn->has_target, has_operand = !insn->has_rip_operand;

	for (size_t at = 0; at < e->used;) {
		struct isa_insn part;

		CHECK(!isa_decode(e->buffer + at, e->used - at, e->addr + at, &part));
		CHECK(part.class != ISA_REFUSED && part.class != ISA_ENDBR);
		has_target |= part.has_target && part.target == insn->target;
		has_operand |= part.has_rip_operand && part.rip_operand == insn->rip_operand;
		at += part.length;
	}
	CHECK(has_target && has_operand);
}

static void check_relocated(const struct isa_insn *insn, enum isa_entry entry, utap_addr to, size_t room)
{
	uint8_t buffer[ISA_RELOCATED_MAX];
	struct isa_emitter e = { .buffer = buffer, .size = room, .addr = to };
	bool falls_through = true;
	const char *why = NULL;
	int error = isa_relocate(insn, entry, &e, &falls_through, &why);

	CHECK(e.used <= room);
	if (error) {
		CHECK(error == -ENOTSUP || (error == e.error && (error == -ERANGE || error == -ENOSPC)));
		CHECK(error == -ENOSPC ? room < ISA_RELOCATED_MAX : why != NULL);
		return;
	}
	CHECK(!e.error && e.used > 0);
	check_copy(insn, &e);
}

static void check_pun(const struct isa_insn *insn, const uint8_t *next, unsigned prefixes)
{
	uint8_t code[ISA_INSN_MAX + 4];
	struct isa_insn jump;
	utap_addr lo, hi;

	if (isa_pun(insn, next, prefixes, &lo, &hi)) {
		CHECK(insn->length >= 5 || prefixes >= insn->length);
		return;
	}
	for (unsigned n = 0; n < 2; n++) {
		CHECK(!isa_pun_encode(insn, next, prefixes, n ? lo : hi, code));
		memcpy(code + insn->length, next, 4);
		CHECK(!isa_decode(code, insn->length + 4u, insn->addr, &jump));
		CHECK(jump.class == ISA_JUMP && jump.target == (n ? lo : hi));
	}
	CHECK(isa_pun_encode(insn, next, prefixes, hi + 1, code) == -ERANGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const utap_addr addrs[] = { 0x401000, 0x7f0000001000, 0, UINT64_MAX - 4 };

	if (size < 2)
		return 0;

	utap_addr addr = addrs[data[0] & 3];
	size_t room = data[1] & 0x80 ? data[1] & 0x3f : ISA_RELOCATED_MAX;
	utap_addr to = addr + (data[0] & 4 ? 0x40000000 : 0x100000000) * (data[0] & 8 ? 1 : -1ULL);

	(void)isa_is_padding(data + 2, size - 2);
	for (size_t at = 2; at < size;) {
		struct isa_insn insn;
		int error = isa_decode(data + at, size - at, addr, &insn);

		check_step(data + at, size - at, addr, error, &insn);
		if (error) {
			at++;
			continue;
		}
		check_text(&insn, data[1] % 160);
		check_relocated(&insn, ISA_BY_JUMP, to, room);
		check_relocated(&insn, ISA_BY_CALL, to, room);
		for (unsigned prefixes = 0; size - at >= insn.length + 4u && prefixes < 5; prefixes++)
			check_pun(&insn, data + at + insn.length, prefixes);
		at += insn.length;
		addr += insn.length;
	}
	return 0;
}
