/* SPDX-License-Identifier: MIT */
/* How a place is patched; safest first. docs/architecture.md describes the layers. */
#ifndef PATCH_LAYER_H
#define PATCH_LAYER_H

enum patch_layer {
	PATCH_REFUSED = 0,
	PATCH_L0 = 5, /* a trap (int3), handled by a process of ours that stays attached; only when asked for */
	PATCH_L1 = 1, /* a jump (for calls: a call) over one instruction of at least 5 bytes */
	PATCH_L2 = 2, /* a jump over a group of several instructions that nothing leads into */
	PATCH_L3 = 3, /* a 2-byte jump to an island of 5 bytes in dead padding */
	PATCH_L4 = 4, /* a punned jump: its high displacement bytes are the following instruction's */
};

#endif
