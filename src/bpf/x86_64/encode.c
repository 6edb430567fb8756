/* SPDX-License-Identifier: MIT */
/* Instruction encodings: one private function builds prefixes, opcode, ModRM and SIB for all of them. */

#include "bpf/x86_64/encode.h"

/* Opcodes of two bytes carry their 0x0f escape in bits 8 to 15. */
#define ESCAPE 0x0f00
#define REX 0x40

static void opcode(struct isa_emitter *e, unsigned value)
{
	if (value & ESCAPE)
		isa_emit_u8(e, 0x0f);
	isa_emit_u8(e, (uint8_t)value);
}

static void rex(struct isa_emitter *e, bool wide, bool byte, unsigned reg, unsigned index, unsigned base)
{
	uint8_t bits = (uint8_t)((wide ? 8 : 0) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (base >> 3 & 1));

	if (bits || byte)
		isa_emit_u8(e, REX | bits);
}

static void modrm(struct isa_emitter *e, unsigned mod, unsigned reg, unsigned rm)
{
	isa_emit_u8(e, (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7)));
}

/* Register to register. */
static void form_reg(struct isa_emitter *e, unsigned op, bool wide, unsigned reg, unsigned rm)
{
	rex(e, wide, false, reg, 0, rm);
	opcode(e, op);
	modrm(e, 3, reg, rm);
}

static void operand(struct isa_emitter *e, unsigned reg, struct x86_mem mem)
{
	if (mem.base == X86_NONE) { /* SIB without base and index: an absolute 32-bit displacement */
		modrm(e, 0, reg, 4);
		isa_emit_u8(e, 0x25);
		isa_emit_u32(e, (uint32_t)mem.disp);
		return;
	}

	bool sib = mem.index != X86_NONE || (mem.base & 7) == X86_SP;
	unsigned mod = mem.disp == 0 && (mem.base & 7) != X86_BP ? 0 : mem.disp == (int8_t)mem.disp ? 1 : 2;

	modrm(e, mod, reg, sib ? 4 : mem.base);
	if (sib)
		isa_emit_u8(e, (uint8_t)((mem.index != X86_NONE ? mem.shift << 6 | (mem.index & 7) << 3 : 4 << 3) |
					 (mem.base & 7)));
	if (mod == 1)
		isa_emit_u8(e, (uint8_t)mem.disp);
	if (mod == 2)
		isa_emit_u32(e, (uint32_t)mem.disp);
}

/* @byte: the register operand is a byte register, which needs a REX prefix to be spl, bpl, sil or dil. */
static void form_mem(struct isa_emitter *e, unsigned op, bool wide, bool byte, unsigned reg, struct x86_mem mem)
{
	if (mem.base == X86_NONE)
		isa_emit_u8(e, 0x64);
	rex(e, wide, byte && reg >= 4, reg, mem.index == X86_NONE ? 0 : mem.index, mem.base == X86_NONE ? 0 : mem.base);
	opcode(e, op);
	operand(e, reg, mem);
}

void x86_mov(struct isa_emitter *e, bool wide, enum x86_reg dst, enum x86_reg src)
{
	form_reg(e, 0x89, wide, src, dst);
}

void x86_mov_imm(struct isa_emitter *e, enum x86_reg dst, uint64_t value)
{
	if (value == (uint32_t)value) {
		rex(e, false, false, 0, 0, dst);
		isa_emit_u8(e, (uint8_t)(0xb8 + (dst & 7)));
		isa_emit_u32(e, (uint32_t)value);
	} else if ((int64_t)value == (int32_t)value) {
		form_reg(e, 0xc7, true, 0, dst);
		isa_emit_u32(e, (uint32_t)value);
	} else {
		rex(e, true, false, 0, 0, dst);
		isa_emit_u8(e, (uint8_t)(0xb8 + (dst & 7)));
		isa_emit_u64(e, value);
	}
}

void x86_mov_extend(struct isa_emitter *e, enum x86_reg dst, enum x86_reg src, unsigned size, bool is_signed)
{
	unsigned op = size == 4 ? 0x63 : ESCAPE | (is_signed ? 0xbe : 0xb6) | (size == 2);

	if (size == 4 && !is_signed) {
		x86_mov(e, false, dst, src);
		return;
	}
	rex(e, is_signed, size == 1 && src >= 4, dst, 0, src);
	opcode(e, op);
	modrm(e, 3, dst, src);
}

void x86_load(struct isa_emitter *e, enum x86_reg dst, struct x86_mem mem, unsigned size)
{
	if (size >= 4)
		form_mem(e, 0x8b, size == 8, false, dst, mem);
	else
		form_mem(e, ESCAPE | 0xb6 | (size == 2), false, false, dst, mem);
}

void x86_load_signed(struct isa_emitter *e, enum x86_reg dst, struct x86_mem mem, unsigned size)
{
	form_mem(e, size == 8 ? 0x8b : size == 4 ? 0x63 : ESCAPE | 0xbe | (size == 2), true, false, dst, mem);
}

void x86_store(struct isa_emitter *e, struct x86_mem mem, enum x86_reg src, unsigned size)
{
	if (size == 2)
		isa_emit_u8(e, 0x66);
	form_mem(e, size == 1 ? 0x88 : 0x89, size == 8, size == 1, src, mem);
}

void x86_store_imm(struct isa_emitter *e, struct x86_mem mem, int32_t value, unsigned size)
{
	if (size == 2)
		isa_emit_u8(e, 0x66);
	form_mem(e, size == 1 ? 0xc6 : 0xc7, size == 8, false, 0, mem);
	if (size == 1)
		isa_emit_u8(e, (uint8_t)value);
	else if (size == 2)
		isa_emit_bytes(e, &(uint16_t) { (uint16_t)value }, 2);
	else
		isa_emit_u32(e, (uint32_t)value);
}

void x86_lea(struct isa_emitter *e, enum x86_reg dst, struct x86_mem mem)
{
	form_mem(e, 0x8d, true, false, dst, mem);
}

void x86_address(struct isa_emitter *e, enum x86_reg dst, utap_addr addr)
{
	int64_t distance = (int64_t)(addr - (isa_emit_here(e) + 7));

	if (addr == (uint32_t)addr || distance != (int32_t)distance) {
		x86_mov_imm(e, dst, addr);
		return;
	}
	rex(e, true, false, dst, 0, 0);
	isa_emit_u8(e, 0x8d);
	modrm(e, 0, dst, 5);
	isa_emit_u32(e, (uint32_t)distance);
}

void x86_alu(struct isa_emitter *e, enum x86_alu op, bool wide, enum x86_reg dst, enum x86_reg src)
{
	form_reg(e, op << 3 | 1U, wide, src, dst);
}

void x86_alu_imm(struct isa_emitter *e, enum x86_alu op, bool wide, enum x86_reg dst, int32_t value)
{
	bool small = value == (int8_t)value;

	form_reg(e, small ? 0x83 : 0x81, wide, op, dst);
	if (small)
		isa_emit_u8(e, (uint8_t)value);
	else
		isa_emit_u32(e, (uint32_t)value);
}

void x86_alu_load(struct isa_emitter *e, enum x86_alu op, bool wide, enum x86_reg dst, struct x86_mem mem)
{
	form_mem(e, op << 3 | 3U, wide, false, dst, mem);
}

void x86_alu_store(struct isa_emitter *e, enum x86_alu op, bool wide, struct x86_mem mem, enum x86_reg src)
{
	form_mem(e, op << 3 | 1U, wide, false, src, mem);
}

void x86_alu_store_imm(struct isa_emitter *e, enum x86_alu op, bool wide, struct x86_mem mem, int32_t value)
{
	bool small = value == (int8_t)value;

	form_mem(e, small ? 0x83 : 0x81, wide, false, op, mem);
	if (small)
		isa_emit_u8(e, (uint8_t)value);
	else
		isa_emit_u32(e, (uint32_t)value);
}

void x86_test(struct isa_emitter *e, bool wide, enum x86_reg a, enum x86_reg b)
{
	form_reg(e, 0x85, wide, b, a);
}

void x86_test_imm(struct isa_emitter *e, bool wide, enum x86_reg reg, int32_t value)
{
	form_reg(e, 0xf7, wide, 0, reg);
	isa_emit_u32(e, (uint32_t)value);
}

void x86_imul(struct isa_emitter *e, bool wide, enum x86_reg dst, enum x86_reg src)
{
	form_reg(e, ESCAPE | 0xaf, wide, dst, src);
}

void x86_imul_imm(struct isa_emitter *e, bool wide, enum x86_reg dst, int32_t value)
{
	form_reg(e, 0x69, wide, dst, dst);
	isa_emit_u32(e, (uint32_t)value);
}

void x86_unary(struct isa_emitter *e, enum x86_unary op, bool wide, enum x86_reg reg)
{
	form_reg(e, 0xf7, wide, op, reg);
}

void x86_shift_imm(struct isa_emitter *e, enum x86_shift op, bool wide, enum x86_reg reg, unsigned by)
{
	form_reg(e, 0xc1, wide, op, reg);
	isa_emit_u8(e, (uint8_t)by);
}

void x86_shift_cl(struct isa_emitter *e, enum x86_shift op, bool wide, enum x86_reg reg)
{
	form_reg(e, 0xd3, wide, op, reg);
}

void x86_bswap(struct isa_emitter *e, bool wide, enum x86_reg reg)
{
	rex(e, wide, false, 0, 0, reg);
	isa_emit_u8(e, 0x0f);
	isa_emit_u8(e, (uint8_t)(0xc8 + (reg & 7)));
}

void x86_rotate16(struct isa_emitter *e, enum x86_reg reg)
{
	isa_emit_u8(e, 0x66);
	x86_shift_imm(e, X86_ROL, false, reg, 8);
}

void x86_cdq(struct isa_emitter *e, bool wide)
{
	rex(e, wide, false, 0, 0, 0);
	isa_emit_u8(e, 0x99);
}

void x86_cmov(struct isa_emitter *e, enum x86_cond cond, bool wide, enum x86_reg dst, enum x86_reg src)
{
	form_reg(e, ESCAPE | 0x40 | cond, wide, dst, src);
}

void x86_lock(struct isa_emitter *e)
{
	isa_emit_u8(e, 0xf0);
}
void x86_inc(struct isa_emitter *e, struct x86_mem mem)
{
	form_mem(e, 0xff, true, false, 0, mem);
}

void x86_xadd(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg reg)
{
	form_mem(e, ESCAPE | 0xc1, wide, false, reg, mem);
}

void x86_xchg(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg reg)
{
	form_mem(e, 0x87, wide, false, reg, mem);
}

void x86_cmpxchg(struct isa_emitter *e, bool wide, struct x86_mem mem, enum x86_reg reg)
{
	form_mem(e, ESCAPE | 0xb1, wide, false, reg, mem);
}

void x86_mov_vector(struct isa_emitter *e, enum x86_reg dst, unsigned number)
{
	isa_emit_u8(e, 0x66);
	form_reg(e, ESCAPE | 0x7e, true, number, dst); /* movq */
}

void x86_store_vector(struct isa_emitter *e, struct x86_mem mem, unsigned half, unsigned size)
{
	bool high = half % 2; /* movhps has no prefix; movq, movd */

	if (!high)
		isa_emit_u8(e, 0x66);
	form_mem(e, ESCAPE | (high ? 0x17 : size == 8 ? 0xd6 : 0x7e), false, false, half / 2, mem);
}

void x86_push(struct isa_emitter *e, enum x86_reg reg)
{
	rex(e, false, false, 0, 0, reg);
	isa_emit_u8(e, (uint8_t)(0x50 + (reg & 7)));
}

void x86_pop(struct isa_emitter *e, enum x86_reg reg)
{
	rex(e, false, false, 0, 0, reg);
	isa_emit_u8(e, (uint8_t)(0x58 + (reg & 7)));
}

void x86_save_flags(struct isa_emitter *e)
{
	isa_emit_bytes(e, "\x9f\x0f\x90\xc0", 4);
}

/* 1 + 127 overflows a signed byte, 0 + 127 does not: that restores OF; sahf restores the other five. */
void x86_restore_flags(struct isa_emitter *e)
{
	isa_emit_bytes(e, "\x04\x7f\x9e", 3);
}
void x86_rdtsc(struct isa_emitter *e)
{
	isa_emit_bytes(e, "\x0f\x31", 2);
}

void x86_rdpid(struct isa_emitter *e, enum x86_reg reg)
{
	isa_emit_u8(e, 0xf3);
	form_reg(e, ESCAPE | 0xc7, false, 7, reg);
}

void x86_lsl(struct isa_emitter *e, enum x86_reg dst, enum x86_reg src)
{
	form_reg(e, ESCAPE | 0x03, false, dst, src);
}
void x86_pushf(struct isa_emitter *e)
{
	isa_emit_u8(e, 0x9c);
}
void x86_popf(struct isa_emitter *e)
{
	isa_emit_u8(e, 0x9d);
}
void x86_cld(struct isa_emitter *e)
{
	isa_emit_u8(e, 0xfc);
}
void x86_copy_words(struct isa_emitter *e)
{
	isa_emit_bytes(e, "\xf3\x48\xa5", 3);
}
void x86_ret(struct isa_emitter *e)
{
	isa_emit_u8(e, 0xc3);
}
