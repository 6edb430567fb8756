/* SPDX-License-Identifier: MIT */
/*
 * The table of formats, and what is the same for all: threads and their names, the first error, what happens when the
 * probes grow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "format/convert_inside.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct format_kind *const kinds[] = {
	&format_kind_ctf,   &format_kind_perfetto,  &format_kind_chrome,   &format_kind_folded,
	&format_kind_flame, &format_kind_ftrace,    &format_kind_systrace, &format_kind_jsonl,
	&format_kind_csv,   &format_kind_tracecmd,  &format_kind_functions, &format_kind_tree, /* reports come last */
};

struct thread_entry {
	struct format_thread thread; /* its key is the hash's */
	UT_hash_handle hh;
};

static const struct format_kind *find_kind(const char *name)
{
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

const char *format_convert_name(size_t index, const char **summary)
{
	if (index >= COUNT(kinds) || kinds[index]->is_report)
		return NULL;
	if (summary)
		*summary = kinds[index]->summary;
	return kinds[index]->name;
}

bool format_convert_is_known(const char *name)
{
	const struct format_kind *kind = find_kind(name);

	return kind && !kind->is_report;
}

bool format_convert_has_calls(const char *name)
{
	return find_kind(name)->has_calls;
}

bool format_convert_is_directory(const char *name)
{
	return find_kind(name)->is_directory;
}

bool format_convert_symbol(const struct format_convert *convert, const struct trace_record *record, uint64_t addr,
			   struct format_symbol *ret)
{
	const struct format_convert_options *options = &convert->options;

	return options->symbol && options->symbol(options->symbol_arg, record->source, record->pid, addr, ret);
}

static struct format_call call_of(const struct format_convert *convert)
{
	const struct format_convert_options *options = &convert->options;

	return (struct format_call) { .symbol = options->symbol,
				      .symbol_arg = options->symbol_arg,
				      .unwind = options->unwind,
				      .unwind_arg = options->unwind_arg };
}

bool format_convert_stack(const struct format_convert *convert, const struct format_event *event, struct trace_stack *ret)
{
	struct format_call call = call_of(convert);
	struct trace_stack stack;

	if (!format_stack_of(event->probe, event->record, &call, &stack) || stack.raw || stack.error)
		return false;
	*ret = stack;
	return true;
}

uint64_t format_convert_frame(const struct format_convert *convert, const struct format_event *event, const struct trace_stack *stack,
			      uint32_t i, struct format_symbol *symbol)
{
	struct format_call call = call_of(convert);
	uint64_t address;

	format_stack_frame(stack, i, event->record, &call, &address, symbol);
	return address;
}

const char *format_function_name(const struct trace_probe *probe)
{
	return probe->symbol && *probe->symbol ? probe->symbol : probe->event;
}

/* ---- its life ---- */

static void convert_free(struct format_convert *convert)
{
	struct thread_entry *threads = convert->threads;
	struct thread_entry *entry;
	struct thread_entry *next;

	if (convert->kind->release)
		convert->kind->release(convert);
	HASH_ITER(hh, threads, entry, next)
	{
		HASH_DEL(threads, entry);
		free(entry->thread.open);
		free(entry);
	}
	format_calls_destroy(convert->calls);
	format_buffer_deinit(&convert->text);
	free(convert);
}

static int learn_probes(struct format_convert *convert, const struct trace_probe *probes, uint32_t nprobes)
{
	int error = convert->calls ? format_calls_probes(convert->calls, probes, nprobes) : 0;

	if (error)
		return error;
	convert->probes = probes;
	convert->nprobes = nprobes;
	return convert->kind->probes ? convert->kind->probes(convert) : 0;
}

static int begin(struct format_convert *convert, const struct trace_probe *probes, uint32_t nprobes,
		 struct utap_error *err)
{
	int error = convert->kind->has_calls ? format_calls_create(&convert->calls) : 0;

	convert->probes = probes;
	convert->nprobes = nprobes;
	if (!error && convert->kind->begin) {
		error = convert->kind->begin(convert, err);
		if (error)
			return error;
	}
	if (!error)
		error = learn_probes(convert, probes, nprobes);
	return error ? base_error_system(err, error, "%s cannot be written", convert->kind->name) : 0;
}

int format_convert_create(const struct format_convert_options *options, const struct trace_probe *probes,
			  uint32_t nprobes, struct format_convert **ret, struct utap_error *err)
{
	const struct format_kind *kind = find_kind(options->to);
	struct format_convert *convert;
	int error;

	if (!kind)
		return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "there is no format '%.40s'", options->to);
	convert = calloc(1, sizeof(*convert));
	if (!convert)
		return base_error(err, -ENOMEM, UTAP_ERROR_SYSTEM, "no memory to convert");
	*convert = (struct format_convert) { .kind = kind, .options = *options, .out = options->out };
	error = begin(convert, probes, nprobes, err);
	if (error) {
		convert_free(convert);
		return error;
	}
	*ret = convert;
	return 0;
}

/* stdio tells only that something failed; the reason is the last one. */
static int check(struct format_convert *convert, int error)
{
	if (!error && convert->out && ferror(convert->out))
		error = errno ? -errno : -EIO;
	if (error && !convert->error)
		convert->error = error;
	return convert->error;
}

int format_convert_probes(struct format_convert *convert, const struct trace_probe *probes, uint32_t nprobes)
{
	if (convert->error || (probes == convert->probes && nprobes == convert->nprobes))
		return convert->error;
	return check(convert, learn_probes(convert, probes, nprobes));
}

/* ---- threads ---- */

static struct format_thread *get_thread(struct format_convert *convert, uint32_t pid, uint32_t tid)
{
	struct thread_entry *threads = convert->threads;
	struct thread_entry *entry;
	uint64_t key = (uint64_t)pid << 32 | tid;

	if (convert->last && convert->last->key == key)
		return convert->last;
	HASH_FIND(hh, threads, &key, sizeof(key), entry);
	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return NULL;
		entry->thread =
		    (struct format_thread) { .key = key, .pid = pid, .tid = tid, .number = convert->nthreads + 1 };
		HASH_ADD(hh, threads, thread.key, sizeof(entry->thread.key), entry);
		if (!entry->hh.tbl) {
			free(entry);
			return NULL;
		}
		convert->threads = threads;
		convert->nthreads++;
	}
	convert->last = &entry->thread;
	return convert->last;
}

/* A thread is told of before its first record, and when it got another name. */
static int tell_thread(struct format_convert *convert, struct format_thread *thread, const char *comm)
{
	if (thread->is_named && (!comm || strncmp(thread->comm, comm, sizeof(thread->comm) - 1) == 0))
		return 0;
	if (comm)
		snprintf(thread->comm, sizeof(thread->comm), "%s", comm);
	thread->is_named = true;
	return convert->kind->thread ? convert->kind->thread(convert, thread) : 0;
}

static int put(struct format_convert *convert, const struct trace_record *record, uint64_t ip, const char *comm)
{
	const struct trace_probe *probe = &convert->probes[record->id];
	struct format_thread *thread = get_thread(convert, record->pid, record->tid);
	struct format_event event = {
		.probe = probe, .record = record, .ip = ip ? ip : probe->addr, .thread = thread, .comm = comm
	};
	int error;

	if (!thread)
		return -ENOMEM;
	if (record->time_ns > convert->last_ns)
		convert->last_ns = record->time_ns;
	error = tell_thread(convert, thread, comm);
	if (error)
		return error;
	return convert->calls ? format_calls_add(convert, &event) : convert->kind->record(convert, &event);
}

int format_convert_record(struct format_convert *convert, const struct trace_record *record, uint64_t ip,
			  const char *comm)
{
	if (convert->error)
		return convert->error;
	errno = 0;
	return check(convert, put(convert, record, ip, comm));
}

int format_convert_lost(struct format_convert *convert, uint32_t id, uint64_t lost, uint64_t time_ns)
{
	if (convert->error || !lost || !convert->kind->lost)
		return convert->error;
	if (time_ns > convert->last_ns)
		convert->last_ns = time_ns;
	errno = 0;
	return check(convert, convert->kind->lost(convert, id, lost, time_ns));
}

int format_convert_flush(struct format_convert *convert)
{
	int error = 0;

	if (convert->error)
		return convert->error;
	errno = 0;
	if (convert->kind->flush)
		error = convert->kind->flush(convert);
	if (!error && convert->out && fflush(convert->out))
		error = errno ? -errno : -EIO;
	return check(convert, error);
}

static int end(struct format_convert *convert)
{
	int error = 0;

	for (struct thread_entry *entry = convert->threads; entry && convert->calls && !error; entry = entry->hh.next)
		error = format_calls_end(convert, &entry->thread);
	if (!error && convert->kind->end)
		error = convert->kind->end(convert);
	if (!error && convert->out && fflush(convert->out))
		error = errno ? -errno : -EIO;
	return error;
}

int format_convert_finish(struct format_convert *convert, bool is_bad)
{
	int error;

	errno = 0;
	if (!is_bad && !convert->error)
		check(convert, end(convert));
	error = convert->error;
	convert_free(convert);
	return error;
}
