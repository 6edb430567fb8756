/* SPDX-License-Identifier: MIT */
/* Pages of code as the kernel maps them: those of this program, of libc and of the dynamic linker, compared with their memory. */
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "object/object.h"

struct found {
	unsigned files;
	size_t pages;
	bool failed;
};

static void compare_segment(struct found *found, const struct object *object, const struct dl_phdr_info *info, const ElfW(Phdr) *segment)
{
	uint64_t low = base_align_down(segment->p_vaddr, BASE_PAGE);
	uint64_t high = base_align_up(segment->p_vaddr + segment->p_filesz, BASE_PAGE);
	size_t available = 0;

	for (uint64_t at = low; at < high; at += BASE_PAGE) {
		const uint8_t *page = object_page(object, at, &available);

		if (!page || !available ||
		    memcmp(page, (const void *)(uintptr_t)(info->dlpi_addr + at), available < BASE_PAGE ? available : BASE_PAGE))
			found->failed = true;
		found->pages++;
	}
	if (object_page(object, high, &available) && object_page(object, high, &available) == object_page(object, low, &available))
		found->failed = true;
}

static int compare_file(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct found *found = arg;
	const char *path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
	struct object *object;

	(void)size;
	if (*path != '/' || object_open(path, &object, NULL)) /* the vDSO is no file */
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X)
			compare_segment(found, object, info, &info->dlpi_phdr[i]);
	object_close(object);
	found->files++;
	return 0;
}

static void test_mapped(void **state)
{
	struct found found = { 0 };

	(void)state;
	dl_iterate_phdr(compare_file, &found);
	assert_true(found.files >= 2);
	assert_true(found.pages > 100);
	assert_false(found.failed);
}

/* Nothing outside of segments of code. */
static void test_outside(void **state)
{
	struct object *object;
	const struct object_segment *segments;
	size_t available;

	(void)state;
	assert_int_equal(object_open("/proc/self/exe", &object, NULL), 0);
	size_t count = object_segments(object, &segments);

	for (size_t i = 0; i < count; i++)
		if (!segments[i].execute && base_align_up(segments[i].vaddr, BASE_PAGE) + BASE_PAGE <= segments[i].vaddr + segments[i].memory_size)
			assert_null(object_page(object, base_align_up(segments[i].vaddr, BASE_PAGE), &available));
	assert_null(object_page(object, UINT64_MAX - BASE_PAGE + 1, &available));
	object_close(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_mapped), cmocka_unit_test(test_outside) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
