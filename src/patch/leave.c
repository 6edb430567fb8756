/* SPDX-License-Identifier: MIT */
/*
 * The way out of a trampoline for a thread that waits in a system call there. It may wait for ever, and utap would with it, or leave its memory
 * behind. But the original instruction is in the text again, and at a system call, before or behind it, a thread's registers are those
 * that it would have at the original: so it can go on there. The kernel starts an interrupted call anew by going back two bytes: to the
 * original's, then.
 *
 * The trampoline tells where it leads back to; between the place that leads into it and there the original code must have exactly one
 * system call. Whatever is not so plain stays as it is.
 */
#include <string.h>

#include "isa/isa.h"
#include "patch/inside.h"

#define WINDOW 512 /* bytes of a trampoline from a system call to its end */
#define REACH PATCH_REACH_MAX

static const uint8_t syscall_code[] = { 0x0f, 0x05 };

static bool is_syscall(const struct patch_target *target, utap_addr addr)
{
	uint8_t code[sizeof(syscall_code)];

	return !process_read(target->mem, addr, code, sizeof(code)) && !memcmp(code, syscall_code, sizeof(code));
}

static bool is_in_pool(const struct patch_target *target, utap_addr addr)
{
	for (size_t i = 0; i < target->npools; i++)
		if (addr - target->pools[i].addr < target->pools[i].size)
			return true;
	return false;
}

/* Where the trampoline that has @at in it jumps back to; 0: it cannot be said. */
static utap_addr find_back(const struct patch_target *target, utap_addr at)
{
	uint8_t code[WINDOW + ISA_INSN_MAX] = { 0 };

	if (process_read(target->mem, at, code, sizeof(code)))
		return 0;
	for (size_t i = 0; i < WINDOW;) {
		struct isa_insn insn;

		if (isa_decode(code + i, sizeof(code) - i, at + i, &insn))
			return 0;
		if (insn.length == 5 && insn.bytes[0] == 0xe9 && !is_in_pool(target, insn.target))
			return insn.target;
		i += insn.length;
	}
	return 0;
}

/* The place that the trampoline that leads back to @back belongs to: the nearest one before. */
static utap_addr find_place(const struct patch_target *target, utap_addr back)
{
	utap_addr found = 0;

	for (size_t i = 0; i < target->sites; i++) {
		const struct wire_site *site = &target->journal[i];

		if (site->kind != WIRE_SITE_ISLAND && site->changed && site->addr < back && back - site->addr <= REACH &&
		    site->addr > found)
			found = site->addr;
	}
	return found;
}

/* The only system call of the original code in [from, to). */
static utap_addr find_call(const struct patch_target *target, utap_addr from, utap_addr to)
{
	uint8_t code[REACH + ISA_INSN_MAX] = { 0 };
	utap_addr found = 0;

	if (patch_original(target, from, code, to - from))
		return 0;
	for (size_t i = 0; i < to - from;) {
		struct isa_insn insn;

		if (isa_decode(code + i, sizeof(code) - i, from + i, &insn))
			return 0;
		if (!memcmp(insn.bytes, syscall_code, sizeof(syscall_code))) {
			if (found)
				return 0;
			found = from + i;
		}
		i += insn.length;
	}
	return found;
}

utap_addr patch_way_out(const struct patch_target *target, const struct user_regs_struct *regs)
{
	utap_addr behind = regs->rip;
	utap_addr back, place, call;

	if (!is_in_pool(target, regs->rip))
		return 0;
	if (is_syscall(target, regs->rip))
		behind += sizeof(syscall_code);
	else if ((int64_t)regs->orig_rax < 0 || !is_syscall(target, regs->rip - sizeof(syscall_code)))
		return 0;
	back = find_back(target, behind);
	place = back ? find_place(target, back) : 0;
	call = place ? find_call(target, place, back) : 0;
	if (!call || !is_syscall(target, call)) /* or it is not back in the text */
		return 0;
	return call + (regs->rip - (behind - sizeof(syscall_code)));
}
