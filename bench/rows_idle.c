/* SPDX-License-Identifier: MIT */
#include "rows.h"
void rows_idle(struct bench *bench) { }
