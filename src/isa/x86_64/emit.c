/* SPDX-License-Identifier: MIT */
/* The emitter: appends bytes, keeps the first error. Never reads or writes outside the caller's buffer. */
#include <errno.h>
#include <string.h>

#include "isa/isa.h"

void isa_emit_bytes(struct isa_emitter *e, const void *bytes, size_t size)
{
	if (e->error)
		return;
	if (size > e->size - e->used) {
		e->error = -ENOSPC;
		return;
	}
	memcpy(e->buffer + e->used, bytes, size);
	e->used += size;
}

void isa_emit_u8(struct isa_emitter *e, uint8_t value) { isa_emit_bytes(e, &value, sizeof(value)); }
void isa_emit_u32(struct isa_emitter *e, uint32_t value) { isa_emit_bytes(e, &value, sizeof(value)); }
void isa_emit_u64(struct isa_emitter *e, uint64_t value) { isa_emit_bytes(e, &value, sizeof(value)); }

static void emit_rel32(struct isa_emitter *e, uint8_t opcode, utap_addr to)
{
	int64_t distance = (int64_t)(to - (isa_emit_here(e) + 5));

	if (distance != (int32_t)distance) {
		if (!e->error)
			e->error = -ERANGE;
		return;
	}
	isa_emit_u8(e, opcode);
	isa_emit_u32(e, (uint32_t)distance);
}

void isa_emit_jump(struct isa_emitter *e, utap_addr to) { emit_rel32(e, 0xe9, to); }
void isa_emit_call(struct isa_emitter *e, utap_addr to) { emit_rel32(e, 0xe8, to); }
