/* SPDX-License-Identifier: MIT */
/*
 * Call frame information (DWARF 5, 6.4; LSB 5.0, "Exception Frames"): the descriptions in .eh_frame and .debug_frame, and the rows that their
 * instructions make. One reader for everybody who asks where a caller's registers are. What is damaged is no description.
 */
#ifndef OBJECT_CFI_H
#define OBJECT_CFI_H

#include "object/cursor.h"

#define OBJECT_CFI_REGISTERS 17 /* rax .. r15, the return address */
#define OBJECT_CFI_BP 6
#define OBJECT_CFI_SP 7
#define OBJECT_CFI_RETURN 16

enum object_cfi_kind {
	OBJECT_CFI_NONE,       /* nothing was said */
	OBJECT_CFI_SAME,
	OBJECT_CFI_OFFSET,     /* saved at the CFA + offset */
	OBJECT_CFI_EXPRESSION, /* saved where the expression says, which gets the CFA */
	OBJECT_CFI_UNDEFINED,
	OBJECT_CFI_OTHER,
};
struct object_cfi_rule {
	enum object_cfi_kind kind;
	uint32_t size; /* of an expression, which lies in the section */
	union {
		int64_t offset;
		const uint8_t *expression;
	};
};
struct object_cfi_row {
	bool cfa_known;   /* a register and an offset */
	unsigned cfa_reg; /* DWARF number */
	int64_t cfa_offset;
	const uint8_t *cfa_expression; /* where not known: an expression, or NULL */
	uint32_t cfa_size;
	struct object_cfi_rule rules[OBJECT_CFI_REGISTERS];
};

/** Bytes that hold descriptions. */
struct object_cfi_section {
	const uint8_t *bytes;
	uint64_t size, vaddr;
	bool eh;       /* .eh_frame, else .debug_frame */
	bool endless;  /* the bytes go on behind it: a length of 0 ends it */
	uint64_t most; /* FDEs in it */
};

struct object_cfi_cie {
	uint64_t code_align;
	int64_t data_align;
	uint64_t return_register;
	uint8_t encoding;
	bool has_augmentation;
	bool is_signal; /* of signal frames: what they interrupted was not calling */
	const uint8_t *program, *end;
};

/** A description, FDE: valid as long as the section's bytes. */
struct object_cfi_fde {
	uint64_t start, end; /* vaddr */
	uint64_t at;         /* offset in the section */
	struct object_cfi_cie cie;
	const uint8_t *program, *program_end;
	uint64_t program_vaddr;
	bool eh;
};

/**
 * object_cfi_next() - the FDE at offset *@at, or behind what is there; *@at goes behind it
 * Return: false: there is none any more.
 */
bool object_cfi_next(const struct object_cfi_section *section, uint64_t *at, struct object_cfi_fde *ret);

/** One row, for code in [start, end) of the FDE. Return false to see no more. */
typedef bool object_cfi_row_fn(void *arg, uint64_t start, uint64_t end, const struct object_cfi_row *row);
/** object_cfi_rows() - all rows of @fde by address; false: it is damaged, from where @fn was called last on */
bool object_cfi_rows(const struct object_cfi_fde *fde, object_cfi_row_fn *fn, void *arg);

#endif
