/* SPDX-License-Identifier: MIT */
/*
 * An open object: what is read at once (headers, segments, notes), and the end of everything that is read later.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

int object_damaged(const struct object *object, struct utap_error *err, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "%s: damaged: %s", object->path, text);
}

int object_no_memory(const struct object *object, struct utap_error *err)
{
	return base_error_system(err, -ENOMEM, "%s", object->path);
}

static void interpreter_read(struct object *object)
{
	for (size_t i = 0; i < object->image.program_count; i++) {
		const Elf64_Phdr *program = &object->image.programs[i];

		if (program->p_type != PT_INTERP)
			continue;
		const uint8_t *text = object_image_bytes(&object->image, program->p_offset, program->p_filesz);

		if (text && program->p_filesz && text[program->p_filesz - 1] == '\0')
			object->interpreter = (const char *)text;
		return;
	}
}

/* What is read at once, of an image that is open, or failed with @error. */
static int finish_open(struct object *object, int error, struct object **ret, struct utap_error *err)
{
	int r = error ? error : object_segments_read(object, err);

	if (r) {
		object_close(object);
		return r;
	}
	interpreter_read(object);
	object->build_id_size = object_note(&object->image, "GNU", NT_GNU_BUILD_ID, &object->build_id);
	*ret = object;
	return 0;
}

static struct object *create(const char *path, struct utap_error *err)
{
	struct object *object = calloc(1, sizeof(*object));

	if (object)
		object->path = strdup(path);
	if (object && object->path)
		return object;
	free(object);
	base_error_system(err, -ENOMEM, "%s", path);
	return NULL;
}

int object_open(const char *path, struct object **ret, struct utap_error *err)
{
	struct object *object = create(path, err);

	return object ? finish_open(object, object_image_open(path, false, &object->image, err), ret, err) : -ENOMEM;
}

int object_open_bytes(const char *path, uint8_t *bytes, size_t size, struct object **ret, struct utap_error *err)
{
	struct object *object = create(path, err);

	if (!object) {
		free(bytes);
		return -ENOMEM;
	}
	return finish_open(object, object_image_adopt(path, bytes, size, &object->image, err), ret, err);
}

void object_close(struct object *object)
{
	if (!object)
		return;
	free(object->rseq);
	free(object->slots);
	free(object->pointers);
	free(object->ranges);
	free(object->frames);
	free(object->by_name);
	free(object->covers);
	for (size_t i = 0; i < object->name_count; i++)
		free(object->names[i]);
	free(object->names);
	free(object->symbols);
	object_dynamic_free(&object->dynamic);
	free(object->segments);
	object_image_close(&object->extra);
	object_image_close(&object->image);
	free(object->path);
	free(object);
}

const char *object_path(const struct object *object)
{
	return object->path;
}
bool object_is_pie(const struct object *object)
{
	return object->image.header.e_type == ET_DYN;
}
uint64_t object_entry(const struct object *object)
{
	return object->image.header.e_entry;
}
const char *object_interpreter(const struct object *object)
{
	return object->interpreter;
}

size_t object_build_id(const struct object *object, const uint8_t **ret)
{
	if (object->build_id_size)
		*ret = object->build_id;
	return object->build_id_size;
}

bool object_is_go(struct object *object)
{
	const uint8_t *id;

	return object_image_section(&object->image, ".gopclntab") ||
	       object_image_section(&object->image, ".data.rel.ro.gopclntab") ||
	       object_image_section(&object->image, ".note.go.buildid") || object_note(&object->image, "Go", 4, &id);
}
