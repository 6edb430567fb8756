/* SPDX-License-Identifier: MIT */
/*
 * Separate debug files, where gdb and elfutils look for them: by build-id, then by the name in .gnu_debuglink. A file
 * is taken only if it belongs to the object: same build-id, or, without one, the checksum of the link. Nothing is
 * downloaded.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define CRC_CHUNK (1UL << 20)
#define CRC_POLYNOMIAL 0xedb88320 /* of the link's checksum: CRC-32, reflected */
#define BUILD_ID_MAX 64

struct debug_link {
	const char *name;
	uint32_t crc;
};

/* Debug files are optional: whatever is wrong with one, the caller goes on without. */
static bool candidate_open(const char *path, struct object_image *ret)
{
	struct utap_error err = { 0 };
	int r = object_image_open(path, true, ret, &err);

	if (r && r != -ENOENT)
		base_log(BASE_LOG_WARN, "debug file not used: %s", err.text);
	return r == 0;
}

static bool same_build_id(const struct object *object, struct object_image *image)
{
	const uint8_t *id;
	size_t size = object_note(image, "GNU", NT_GNU_BUILD_ID, &id);

	return size && size == object->build_id_size && memcmp(id, object->build_id, size) == 0;
}

static bool by_build_id(const struct object *object, const char *root, struct object_image *ret)
{
	char hex[2 * BUILD_ID_MAX + 1];
	char path[PATH_MAX];
	size_t size = object->build_id_size;

	if (size < 2 || size > BUILD_ID_MAX)
		return false;
	for (size_t i = 0; i < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", object->build_id[i]);
	if (snprintf(path, sizeof(path), "%s/.build-id/%.2s/%s.debug", root, hex, hex + 2) >= (int)sizeof(path) ||
	    !candidate_open(path, ret))
		return false;
	if (same_build_id(object, ret))
		return true;
	base_log(BASE_LOG_WARN, "debug file not used: %s has another build-id than %s", path, object->path);
	object_image_close(ret);
	return false;
}

static bool link_read(struct object *object, struct debug_link *ret)
{
	const Elf64_Shdr *section = object_image_section(&object->image, ".gnu_debuglink");
	const uint8_t *bytes = section ? object_image_section_bytes(&object->image, section) : NULL;
	const uint8_t *end = bytes ? memchr(bytes, '\0', section->sh_size) : NULL;

	if (!end || end == bytes || strchr((const char *)bytes, '/'))
		return false;
	size_t crc_at = base_align_up((size_t)(end - bytes) + 1, 4);

	if (section->sh_size < 4 || crc_at > section->sh_size - 4)
		return false;
	ret->name = (const char *)bytes;
	memcpy(&ret->crc, bytes + crc_at, sizeof(ret->crc));
	return true;
}

static void crc_table_fill(uint32_t table[256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t value = i;

		for (unsigned bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? CRC_POLYNOMIAL : 0);
		table[i] = value;
	}
}

static int file_crc(const char *path, uint32_t *ret)
{
	_cleanup_free_ uint8_t *chunk = malloc(CRC_CHUNK);
	FILE *file = fopen(path, "re");
	uint32_t table[256];
	uint32_t crc = UINT32_MAX;

	if (!file || !chunk) {
		if (file)
			fclose(file);
		return file ? -ENOMEM : -errno;
	}
	crc_table_fill(table);
	for (size_t n; (n = fread(chunk, 1, CRC_CHUNK, file)) > 0;)
		for (size_t i = 0; i < n; i++)
			crc = crc >> 8 ^ table[(crc ^ chunk[i]) & 0xff];
	int failed = ferror(file);

	fclose(file);
	if (failed)
		return -EIO;
	*ret = ~crc;
	return 0;
}

/* The checksum costs a pass over the file: equal build-ids are as good. */
static bool linked_open(const struct object *object, const struct debug_link *link, const char *path,
			struct object_image *ret)
{
	uint32_t crc = 0;

	if (!candidate_open(path, ret))
		return false;
	if (same_build_id(object, ret) || (file_crc(path, &crc) == 0 && crc == link->crc))
		return true;
	object_image_close(ret);
	return false;
}

static bool by_link(struct object *object, const char *root, struct object_image *ret)
{
	struct debug_link link;
	char path[PATH_MAX];

	if (!link_read(object, &link))
		return false;
	/* Magic links of /proc resolve to names that may mean other files here. */
	bool magic = strncmp(object->path, "/proc/", 6) == 0;
	_cleanup_free_ char *folder = magic ? NULL : realpath(object->path, NULL);

	if (!folder)
		folder = strdup(object->path);
	char *slash = folder ? strrchr(folder, '/') : NULL;

	if (!slash)
		return false;
	*slash = '\0';
	const char *const shapes[][3] = { { "", folder, "" }, { "", folder, "/.debug" }, { root, folder, "" } };

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		int length =
		    snprintf(path, sizeof(path), "%s%s%s/%s", shapes[i][0], shapes[i][1], shapes[i][2], link.name);

		if (length < (int)sizeof(path) && linked_open(object, &link, path, ret))
			return true;
	}
	return false;
}

int object_debugfile_open(struct object *object, const char *root, struct object_image *ret)
{
	struct object_image image = { 0 };

	if (!by_build_id(object, root, &image) && !by_link(object, root, &image))
		return -ENOENT;
	*ret = image;
	return 0;
}
