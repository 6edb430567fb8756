/* SPDX-License-Identifier: MIT */
/* What entry.S calls in runtime.c, and the slot the controller fills. See wire/wire.h for the calling convention. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/wire.h"

extern const uint64_t runtime_data_slot __attribute__((visibility("hidden")));

static inline struct wire_control *control(void) { return (struct wire_control *)runtime_data_slot; }

/* runtime.c, for long.c */
void runtime_count_lost(struct wire_control *shared, uint32_t id);
/** runtime_copy() - memory of this process, whatever it is; how many bytes, up to the first page that cannot be read, or negative errno */
long runtime_copy(struct wire_control *shared, uint64_t to, uint64_t from, uint64_t size);

uint64_t runtime_ring_slow(struct wire_ring *ring, uint64_t what);
uint64_t runtime_cell_slow(struct wire_cells *cells, uint64_t what);
uint64_t runtime_pid(struct wire_local *local, uint64_t unused);
uint64_t runtime_tid(uint64_t unused, uint64_t unused2);
uint64_t runtime_read(const struct wire_read *read, uint64_t unused);
uint64_t runtime_comm(uint64_t to, uint64_t unused);
uint64_t runtime_pause(uint64_t unused, uint64_t unused2);
uint64_t runtime_long_reserve(struct wire_long *frame, uint64_t most);
uint64_t runtime_long_string(struct wire_long *frame, uint64_t unused);
uint64_t runtime_long_bytes(struct wire_long *frame, uint64_t unused);
uint64_t runtime_long_stack(struct wire_long *frame, uint64_t sp);
uint64_t runtime_long_seal(struct wire_long *frame, uint64_t unused);
uint64_t runtime_long_free(struct wire_long *frame, uint64_t unused);
void runtime_batch(struct wire_lend *lend);

#endif
