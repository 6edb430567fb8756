/* SPDX-License-Identifier: MIT */
/* What entry.S calls in runtime.c, and the slot the controller fills. See wire/wire.h for the calling convention. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include "wire/wire.h"

extern const uint64_t runtime_data_slot __attribute__((visibility("hidden")));

uint64_t runtime_ring_slow(struct wire_ring *ring, uint64_t what);
uint64_t runtime_cell_slow(struct wire_cells *cells, uint64_t what);
uint64_t runtime_pid(struct wire_local *local, uint64_t unused);
uint64_t runtime_tid(uint64_t unused, uint64_t unused2);
uint64_t runtime_read(const struct wire_read *read, uint64_t unused);
uint64_t runtime_pause(uint64_t unused, uint64_t unused2);
void runtime_batch(struct wire_lend *lend);

#endif
