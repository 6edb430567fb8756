/* SPDX-License-Identifier: MIT */
/* The notes of statically defined probes. Their addresses are those of the link; prelink, which moves files, left a mark to correct them by. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"
#include "object/usdt.h"

#define USDT_OWNER "stapsdt"
#define USDT_TYPE 3

struct usdt_reading {
	struct object *object;
	uint64_t base; /* where the section .stapsdt.base is, 0: there is none */
	struct object_usdt *probes;
	size_t count, cap;
};

/* The text at *@at, which ends before @end; NULL when it does not end. */
static const char *take_text(const char **at, const char *end)
{
	const char *text = *at;
	const char *nul = memchr(text, 0, (size_t)(end - text));

	if (nul)
		*at = nul + 1;
	return nul ? text : NULL;
}

/* A descriptor: three addresses (the place, the base at link time, the semaphore) and three texts. */
static int take_note(void *arg, const uint8_t *descriptor, size_t size)
{
	struct usdt_reading *reading = arg;
	const char *at = (const char *)descriptor + 3 * sizeof(uint64_t);
	const char *end = (const char *)descriptor + size;
	struct object_usdt usdt = { 0 };
	uint64_t words[3];
	uint64_t moved;

	if (size < sizeof(words) + 3)
		return -EINVAL;
	memcpy(words, descriptor, sizeof(words));
	usdt.provider = take_text(&at, end);
	usdt.name = usdt.provider ? take_text(&at, end) : NULL;
	usdt.arguments = usdt.name ? take_text(&at, end) : NULL;
	if (!usdt.arguments)
		return -EINVAL;
	moved = reading->base && words[1] ? reading->base - words[1] : 0;
	usdt.vaddr = words[0] + moved;
	if (object_vaddr_to_offset(reading->object, usdt.vaddr, &usdt.offset))
		return 0; /* of code that the linker dropped */
	if (words[2] && object_vaddr_to_offset(reading->object, words[2] + moved, &usdt.semaphore))
		return -EINVAL;
	if (base_grow(&reading->probes, &reading->cap, reading->count + 1, sizeof(*reading->probes)))
		return -ENOMEM;
	reading->probes[reading->count++] = usdt;
	return 0;
}

int object_usdt(struct object *object, struct object_usdt **ret, size_t *count, struct utap_error *err)
{
	const Elf64_Shdr *base = object_image_section(&object->image, ".stapsdt.base");
	struct usdt_reading reading = { .object = object, .base = base ? base->sh_addr : 0 };
	int error = object_notes(&object->image, USDT_OWNER, USDT_TYPE, take_note, &reading);

	if (error) {
		free(reading.probes);
		return error == -ENOMEM ? object_no_memory(object, err)
					: base_error(err, error, UTAP_ERROR_SYSTEM, "%s: note %zu of its static probes (USDT) is damaged",
						     object_path(object), reading.count + 1);
	}
	*ret = reading.probes;
	*count = reading.count;
	return 0;
}
