/* SPDX-License-Identifier: MIT */
/* Inside the table of unwind information: see unwind.h. */
#ifndef OBJECT_UNWIND_INSIDE_H
#define OBJECT_UNWIND_INSIDE_H

#include "object/cfi.h"
#include "object/unwind.h"

/** object_unwind_rule() - a row as a rule of the walker; WIRE_UNWIND_UNKNOWN where it has none that says the same */
uint32_t object_unwind_rule(const struct object_cfi_cie *cie, const struct object_cfi_row *row);

#endif
