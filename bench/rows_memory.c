/* SPDX-License-Identifier: MIT */
#include "rows.h"
void rows_memory(struct bench *bench) { }
