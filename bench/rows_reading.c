/* SPDX-License-Identifier: MIT */
#include "rows.h"
void rows_reading(struct bench *bench) { }
