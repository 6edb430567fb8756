/* SPDX-License-Identifier: MIT */
/*
 * The feature sections of a perf.data that describe the machine and the run, and the rows of its table of build-ids.
 * What cannot be found out is written as an empty string: a trace is worth more than its host name.
 *
 * Source: tools/perf/Documentation/perf.data-file-format.txt, HEADER_*.
 */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "format/perf_layout.h"

#define NAME_ALIGN 64 /* perf pads strings to it */

void format_perf_features_mark(struct format_perf_features *features, enum format_perf_feature_bit bit,
			       const struct format_buffer *out, size_t start)
{
	assert(features->count < FORMAT_PERF_FEATURES);
	assert(!features->count || features->bits[features->count - 1] < bit);
	features->bits[features->count] = (uint8_t)bit;
	features->sections[features->count++] = (struct format_perf_section) { start, out->size - start };
}

struct format_perf_section *format_perf_features_find(struct format_perf_features *features,
						      enum format_perf_feature_bit bit)
{
	uint32_t i = 0;

	while (i < features->count && features->bits[i] != bit)
		i++;
	assert(i < features->count);
	return &features->sections[i];
}

static void add_string(struct format_buffer *out, const char *text)
{
	uint32_t size = (uint32_t)base_align_up(strlen(text) + 1, NAME_ALIGN);

	format_buffer_u32(out, size);
	format_buffer_add(out, text, strlen(text));
	format_buffer_zero(out, size - strlen(text));
}

static void string_feature(struct format_buffer *out, struct format_perf_features *features,
			   enum format_perf_feature_bit bit, const char *text)
{
	size_t start = out->size;

	add_string(out, text);
	format_perf_features_mark(features, bit, out, start);
}

static void cpus_feature(struct format_buffer *out, struct format_perf_features *features)
{
	size_t start = out->size;

	format_buffer_u32(out, (uint32_t)sysconf(_SC_NPROCESSORS_CONF));
	format_buffer_u32(out, (uint32_t)sysconf(_SC_NPROCESSORS_ONLN));
	format_perf_features_mark(features, FORMAT_PERF_NRCPUS, out, start);
}

/* The value of the first line "key : value" in /proc/cpuinfo; "" when there is none. */
static const char *cpuinfo_value(char *text, const char *key, char *value, size_t size)
{
	char *line = text ? strstr(text, key) : NULL;
	char *colon = line ? strchr(line, ':') : NULL;

	snprintf(value, size, "%.*s", colon ? (int)strcspn(colon + 1, "\n") : 0, colon ? colon + 1 : "");
	return value + strspn(value, " \t");
}

/* perf data convert --to-json wants these. */
static void machine_features(struct format_buffer *out, struct format_perf_features *features)
{
	_cleanup_free_ char *text = NULL;
	char model[128], vendor[32], family[16], number[16], stepping[16], id[128];

	if (base_file_read("/proc/cpuinfo", &text, NULL) < 0)
		text = NULL;
	string_feature(out, features, FORMAT_PERF_CPUDESC, cpuinfo_value(text, "model name", model, sizeof(model)));
	snprintf(id, sizeof(id), "%s,%s,%s,%s", cpuinfo_value(text, "vendor_id", vendor, sizeof(vendor)),
		 cpuinfo_value(text, "cpu family", family, sizeof(family)),
		 cpuinfo_value(text, "model\t", number, sizeof(number)),
		 cpuinfo_value(text, "stepping", stepping, sizeof(stepping)));
	string_feature(out, features, FORMAT_PERF_CPUID, id);
	size_t start = out->size;

	format_buffer_u64(out, (uint64_t)sysconf(_SC_PHYS_PAGES) * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024));
	format_perf_features_mark(features, FORMAT_PERF_TOTAL_MEM, out, start);
}

static void cmdline_feature(struct format_buffer *out, struct format_perf_features *features)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0, start = out->size;
	uint32_t count = 0;

	if (base_file_read("/proc/self/cmdline", &text, &size) < 0)
		size = 0;
	for (size_t at = 0; at < size; at += strlen(text + at) + 1)
		count++;
	format_buffer_u32(out, count);
	for (size_t at = 0; at < size; at += strlen(text + at) + 1)
		add_string(out, text + at);
	format_perf_features_mark(features, FORMAT_PERF_CMDLINE, out, start);
}

static uint64_t clock_ns(clockid_t clock, bool resolution)
{
	struct timespec time = { 0 };

	if (resolution)
		clock_getres(clock, &time);
	else
		clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Times of samples, the clock they are in, and one moment on that clock and on the wall's. */
static void clock_features(struct format_buffer *out, struct format_perf_features *features, bool is_packed)
{
	size_t start = out->size;

	format_buffer_zero(out, 16);
	format_perf_features_mark(features, FORMAT_PERF_SAMPLE_TIME, out, start);
	start = out->size;
	format_buffer_u64(out, clock_ns(CLOCK_MONOTONIC, true));
	format_perf_features_mark(features, FORMAT_PERF_CLOCKID, out, start);
	start = out->size;
	if (is_packed) { /* between the bits of the clock's */
		format_buffer_zero(out, 5 * sizeof(uint32_t));
		format_perf_features_mark(features, FORMAT_PERF_COMPRESSED, out, start);
	}
	start = out->size;
	format_buffer_u32(out, 1); /* version */
	format_buffer_u32(out, CLOCK_MONOTONIC);
	format_buffer_u64(out, clock_ns(CLOCK_REALTIME, false));
	format_buffer_u64(out, clock_ns(CLOCK_MONOTONIC, false));
	format_perf_features_mark(features, FORMAT_PERF_CLOCK_DATA, out, start);
}

void format_perf_features_host(struct format_buffer *out, struct format_perf_features *features, bool is_packed)
{
	struct utsname host = { 0 };

	if (uname(&host) < 0)
		host = (struct utsname) { 0 };
	string_feature(out, features, FORMAT_PERF_HOSTNAME, host.nodename);
	string_feature(out, features, FORMAT_PERF_OSRELEASE, host.release);
	string_feature(out, features, FORMAT_PERF_VERSION, "utap " UTAP_VERSION);
	string_feature(out, features, FORMAT_PERF_ARCH, host.machine);
	cpus_feature(out, features);
	machine_features(out, features);
	cmdline_feature(out, features);
	clock_features(out, features, is_packed);
}

void format_perf_build_id_record(struct format_buffer *out, const char *path, const uint8_t *id, size_t size)
{
	struct format_perf_build_id row = { .header = { .type = FORMAT_PERF_RECORD_BUILD_ID,
			      .misc = PERF_RECORD_MISC_USER | FORMAT_PERF_MISC_BUILD_ID_SIZE },
		  .pid = -1 /* the host, not a guest */,
		  .size = (uint8_t)size };
	size_t length = base_align_up(strlen(path) + 1, NAME_ALIGN);

	assert(size <= sizeof(row.id));
	row.header.size = (uint16_t)(sizeof(row) + length);
	memcpy(row.id, id, size);
	format_buffer_add(out, &row, sizeof(row));
	format_buffer_add(out, path, strlen(path));
	format_buffer_zero(out, length - strlen(path));
}
