/* SPDX-License-Identifier: MIT */
/*
 * Statically defined probes (USDT): places that a program's authors marked, with arguments. They are described in notes named "stapsdt"; the
 * arguments become fetch arguments of the kernel's uprobe_events language.
 *
 * Source: <sys/sdt.h> of SystemTap (the notes' layout), its wiki page UserSpaceProbeImplementation (the arguments' grammar).
 */
#ifndef OBJECT_USDT_H
#define OBJECT_USDT_H

#include "object/object.h"

/** One place of a probe; a probe may have several. Strings live as long as the object. */
struct object_usdt {
	const char *provider, *name;
	const char *arguments; /* as in the note, "-4@%edi 8@-8(%rbp)"; "" when it has none */
	uint64_t vaddr, offset; /* of the marked instruction, as linked and in the file */
	uint64_t semaphore;     /* file offset of its counter (u16), not 0 while somebody probes; 0: it has none */
};

/**
 * object_usdt() - all marked places, in the order of the notes
 * @ret: heap array, the caller frees
 * Return: 0 (also when there are none); -EINVAL damaged; -ENOMEM.
 */
int object_usdt(struct object *object, struct object_usdt **ret, size_t *count, struct utap_error *err) BASE_MUST_CHECK;

/**
 * object_usdt_args() - its arguments as fetch arguments: "arg1=%di:s32 arg2=-8(%bp):u64"
 * @ret: heap text, the caller frees; "" when it has none
 *
 * In fetch arguments @+OFFSET is meant as the kernel reads it: an address as far from the probed one as the offset is from the probed offset.
 *
 * Return: 0; -ENOTSUP an argument that cannot be fetched (a vector register, an index), with its number and text in @err; -EINVAL one that does not follow the grammar;
 * -ENOMEM.
 */
int object_usdt_args(struct object *object, const struct object_usdt *usdt, char **ret, struct utap_error *err) BASE_MUST_CHECK;

#endif
