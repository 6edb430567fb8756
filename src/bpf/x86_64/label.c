/* SPDX-License-Identifier: MIT */
/* Labels and the instructions that refer to them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/x86_64/encode.h"

void x86_labels_reset(struct x86_labels *l)
{
	l->count = 0;
	l->references_used = 0;
	l->error = 0;
}

void x86_labels_free(struct x86_labels *l)
{
	free(l->place);
	free(l->references);
}

size_t x86_label(struct x86_labels *l)
{
	if (!l->error)
		l->error = base_grow(&l->place, &l->cap, l->count + 1, sizeof(*l->place));
	if (l->error)
		return SIZE_MAX;
	l->place[l->count] = SIZE_MAX;
	return l->count++;
}

void x86_label_here(struct x86_labels *l, struct isa_emitter *e, size_t label)
{
	if (label < l->count)
		l->place[label] = e->used;
}

size_t x86_label_place(const struct x86_labels *l, size_t label)
{
	return label < l->count ? l->place[label] : SIZE_MAX;
}

static void refer(struct isa_emitter *e, struct x86_labels *l, size_t label, bool is_short)
{
	if (!l->error)
		l->error =
		    base_grow(&l->references, &l->references_cap, l->references_used + 1, sizeof(*l->references));
	if (!l->error)
		l->references[l->references_used++] =
		    (struct x86_reference) { .at = e->used, .label = label, .is_short = is_short };
	if (is_short)
		isa_emit_u8(e, 0);
	else
		isa_emit_u32(e, 0);
}

static int resolve(const struct x86_labels *l, struct isa_emitter *e, const struct x86_reference *ref)
{
	size_t place = x86_label_place(l, ref->label);
	size_t size = ref->is_short ? 1 : 4;

	if (place == SIZE_MAX)
		return -EINVAL;

	int64_t distance = (int64_t)place - (int64_t)(ref->at + size);

	if (ref->is_short ? distance != (int8_t)distance : distance != (int32_t)distance)
		return -ERANGE;
	memcpy(e->buffer + ref->at, &distance, size); /* little endian: the low bytes come first */
	return 0;
}

int x86_labels_resolve(struct x86_labels *l, struct isa_emitter *e)
{
	if (e->error)
		return e->error;
	if (l->error)
		return l->error;
	for (size_t i = 0; i < l->references_used; i++) {
		int r = resolve(l, e, &l->references[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

void x86_jump(struct isa_emitter *e, struct x86_labels *l, size_t label)
{
	isa_emit_u8(e, 0xe9);
	refer(e, l, label, false);
}

void x86_jump_if(struct isa_emitter *e, struct x86_labels *l, enum x86_cond cond, size_t label)
{
	isa_emit_u8(e, 0x0f);
	isa_emit_u8(e, (uint8_t)(0x80 | cond));
	refer(e, l, label, false);
}

void x86_jump_short(struct isa_emitter *e, struct x86_labels *l, size_t label)
{
	isa_emit_u8(e, 0xeb);
	refer(e, l, label, true);
}

void x86_jump_if_short(struct isa_emitter *e, struct x86_labels *l, enum x86_cond cond, size_t label)
{
	isa_emit_u8(e, (uint8_t)(0x70 | cond));
	refer(e, l, label, true);
}

void x86_jump_if_rcx_zero(struct isa_emitter *e, struct x86_labels *l, size_t label)
{
	isa_emit_u8(e, 0xe3);
	refer(e, l, label, true);
}

void x86_call_label(struct isa_emitter *e, struct x86_labels *l, size_t label)
{
	isa_emit_u8(e, 0xe8);
	refer(e, l, label, false);
}

void x86_call_through(struct isa_emitter *e, struct x86_labels *l, size_t label)
{
	isa_emit_bytes(e, "\xff\x15", 2);
	refer(e, l, label, false);
}

void x86_lea_label(struct isa_emitter *e, struct x86_labels *l, enum x86_reg dst, size_t label)
{
	isa_emit_u8(e, dst >= X86_R8 ? 0x4c : 0x48);
	isa_emit_u8(e, 0x8d);
	isa_emit_u8(e, (uint8_t)((dst & 7) << 3 | 5));
	refer(e, l, label, false);
}
