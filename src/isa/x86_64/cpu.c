/* SPDX-License-Identifier: MIT */
/* What this machine's processor can do. */
#include <cpuid.h>

#include "isa/isa.h"

#define CPUID_7_ECX_RDPID (1U << 22)

bool isa_has_rdpid(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & CPUID_7_ECX_RDPID);
}
