/* SPDX-License-Identifier: MIT */
/* The sets of bench-hot: one function each, named ROLE.KIND. */
#include "target.h"

#define ROLE(role) target_fn hot_##role##_nop5, hot_##role##_push, hot_##role##_lea, hot_##role##_mov, hot_##role##_idle
#define RETURNS(role)                                                                                                                \
	extern uint8_t hot_##role##_nop5_return[], hot_##role##_push_return[], hot_##role##_lea_return[], hot_##role##_mov_return[], \
	    hot_##role##_idle_return[]
ROLE(plain);
ROLE(floor);
ROLE(utap);
ROLE(event);
ROLE(link);
RETURNS(plain);
RETURNS(floor);
RETURNS(utap);
RETURNS(event);
RETURNS(link);

#define ONE(role, kind, floor)                                                                 \
	{                                                                                      \
		#role "." #kind, (target_fn *const[]){ hot_##role##_##kind }, 1, floor,        \
		    (uint8_t *const[]) { hot_##role##_##kind##_return }                        \
	}
#define SETS(role, floor)                                                                                               \
	ONE(role, nop5, floor), ONE(role, push, floor), ONE(role, lea, floor), ONE(role, mov, floor), ONE(role, idle, false)

const struct target_set target_sets[] = {
	SETS(plain, false), SETS(floor, true), SETS(utap, false), SETS(event, false), SETS(link, false),
};
const size_t target_nsets = sizeof(target_sets) / sizeof(*target_sets);
