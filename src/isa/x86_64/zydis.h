/* SPDX-License-Identifier: MIT */
/* The decoding library, for the files of this folder only. Nothing outside it sees a Zydis type. */
#ifndef ISA_X86_64_ZYDIS_H
#define ISA_X86_64_ZYDIS_H

#include <Zydis/DecoderTypes.h>

#include "base/base.h"

/** isa_zydis_decode() - the instruction without its operands; 0 or -EILSEQ */
int isa_zydis_decode(const uint8_t *code, size_t size, ZydisDecodedInstruction *ret) BASE_MUST_CHECK;

/** isa_zydis_target() - whether @i is a direct branch, and then where to */
bool isa_zydis_target(const ZydisDecodedInstruction *i, utap_addr addr, utap_addr *target);

#endif
