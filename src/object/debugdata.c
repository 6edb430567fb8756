/* SPDX-License-Identifier: MIT */
/*
 * .gnu_debugdata: a small ELF file with the symbols of a stripped one, packed with xz (Fedora puts it everywhere).
 * What comes out is limited, since a few kilobytes can unpack to gigabytes.
 */
#include <errno.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define OUTPUT_MAX (256UL << 20)
#define DECODER_MEMORY (128UL << 20)

static int unpack(lzma_stream *stream, uint8_t **ret, size_t *size)
{
	_cleanup_free_ uint8_t *output = NULL;
	size_t cap = 0;
	lzma_ret status = LZMA_OK;

	while (status == LZMA_OK) {
		size_t used = stream->total_out;

		if (used >= OUTPUT_MAX || base_grow(&output, &cap, used + (64UL << 10), 1))
			return -ENOMEM;
		stream->next_out = output + used;
		stream->avail_out = cap - used;
		status = lzma_code(stream, LZMA_FINISH);
	}
	if (status != LZMA_STREAM_END)
		return status == LZMA_MEM_ERROR ? -ENOMEM : -EINVAL;
	*size = stream->total_out;
	*ret = output;
	output = NULL;
	return 0;
}

int object_debugdata_open(struct object *object, struct object_image *ret)
{
	const Elf64_Shdr *section = object_image_section(&object->image, ".gnu_debugdata");
	const uint8_t *packed = section ? object_image_section_bytes(&object->image, section) : NULL;
	lzma_stream stream = LZMA_STREAM_INIT;
	struct utap_error err = { 0 };
	uint8_t *bytes = NULL;
	size_t size = 0;

	if (!packed)
		return -ENOENT;
	if (lzma_stream_decoder(&stream, DECODER_MEMORY, 0) != LZMA_OK)
		return -ENOMEM;
	stream.next_in = packed;
	stream.avail_in = section->sh_size;
	int r = unpack(&stream, &bytes, &size);

	lzma_end(&stream);
	if (r)
		base_log(BASE_LOG_WARN, "%s: .gnu_debugdata not used: it does not unpack", object->path);
	else if ((r = object_image_adopt(object->path, bytes, size, ret, &err)) != 0)
		base_log(BASE_LOG_WARN, ".gnu_debugdata not used: %s", err.text);
	return r;
}
