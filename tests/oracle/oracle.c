/* SPDX-License-Identifier: MIT */
/*
 * The kernel's uprobes as oracle for utap: all functions of a program and of libc probed at once, in two runs of the same
 * deterministic program; counts and first arguments must be equal, and the output that of an untraced run.
 *
 * Runs of the kernel are repeated when something differs: what differs between two of them is the program's own doing
 * (time, threads) and is left out, with its number reported. What the kernel agrees on with itself, utap must agree with.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isa/isa.h"
#include "runs.h"
#include "uprobes.h"

#define TIMEOUT_S 120
#define UTAP_REPEATS 3
#define SHOWN 20 /* differing functions shown */

struct options {
	const char *name;
	const char *directory; /* for outputs */
	const char *companion;
	char *setting;       /* NAME=VALUE for the environment, or NULL */
	const char *excused; /* names of functions, with commas */
	uint64_t budget; /* hits the kernel is to count at most; 0: all */
	struct places_choice choice;
	bool threads;
	size_t tolerated; /* functions of a program with threads that may differ all the same */
	bool verbose;
	char *const *argv;
};

struct oracle {
	const struct options *options;
	struct places places;
	struct run_report report;
	unsigned runs; /* of the kernel */
	int plain_status;
	size_t failures;
};

struct tally {
	size_t compared, hot, unsure, unsure_sum, no_kernel, excused, differ;
	uint64_t hits, hot_hits, early;
};

/* ---- runs and their output ---- */

static void output_path(const struct oracle *o, const char *kind, char *path, size_t size)
{
	snprintf(path, size, "%s/%s.%s", o->options->directory, o->options->name, kind);
}

static struct run make_run(const struct oracle *o, const char *output)
{
	return (struct run) {
		.argv = o->options->argv,
		.companion = o->options->companion,
		.output = output,
		.returns = o->options->choice.returns,
		.timeout_s = TIMEOUT_S,
	};
}

/* What a run printed, and how it ended, is what the untraced run printed and how that ended. */
static void check_output(struct oracle *o, const char *kind, int status)
{
	_cleanup_free_ char *expected = NULL;
	_cleanup_free_ char *got = NULL;
	size_t expected_size, got_size;
	char path[4096];

	if (status != o->plain_status) {
		printf("  %s: ended with status 0x%x, untraced 0x%x\n", kind, (unsigned)status, (unsigned)o->plain_status);
		o->failures++;
	}
	output_path(o, "plain", path, sizeof(path));
	if (base_file_read(path, &expected, &expected_size))
		expected_size = 0;
	output_path(o, kind, path, sizeof(path));
	if (base_file_read(path, &got, &got_size))
		got_size = 0;
	if (expected && got && expected_size == got_size && !memcmp(expected, got, got_size))
		return;
	printf("  %s: the output (%zu bytes, in %s) differs from the untraced run's (%zu bytes)\n", kind, got_size, path,
	       expected_size);
	o->failures++;
}

static int do_plain(struct oracle *o, struct utap_error *err)
{
	char path[4096];
	struct run run = make_run(o, path);

	output_path(o, "plain", path, sizeof(path));
	return run_plain(&run, &o->plain_status, err);
}

static int do_utap(struct oracle *o, struct utap_error *err)
{
	char path[4096];
	struct run run = make_run(o, path);
	int status;
	int error;

	output_path(o, "utap", path, sizeof(path));
	error = run_utap(&run, &o->places, &status, &o->report, err);
	if (error)
		return error;
	check_output(o, "utap", status);
	return 0;
}

static struct place **all_places(const struct places *places, size_t *count)
{
	size_t n = 0;
	struct place **all;

	for (size_t f = 0; f < places->nfiles; f++)
		n += places->files[f].count;
	all = calloc(n + 1, sizeof(struct place *));
	*count = 0;
	for (size_t f = 0; all && f < places->nfiles; f++)
		for (size_t i = 0; i < places->files[f].count; i++)
			all[(*count)++] = &places->files[f].place[i];
	return all;
}

static bool same_arguments(const struct place_count *a, const struct place_count *b)
{
	return a->sum == b->sum && a->mapped == b->mapped && a->low == b->low;
}

static void check_report(struct oracle *o)
{
	const struct run_report *r = &o->report;

	if (r->lost || r->damaged || r->counted != r->hits + r->children) {
		printf("  utap: %lu lost, %lu damaged, counted %lu but delivered %lu and %lu of children\n",
		       (unsigned long)r->lost, (unsigned long)r->damaged, (unsigned long)r->counted,
		       (unsigned long)r->hits, (unsigned long)r->children);
		o->failures++;
	}
}

/* With threads or random seeds of its own a program differs from run to run: what differs between two runs of utap is left out, too. */
static int repeat_utap(struct oracle *o, struct utap_error *err)
{
	size_t count;
	_cleanup_free_ struct place **all = all_places(&o->places, &count);
	_cleanup_free_ struct place *first = calloc(count + 1, sizeof(*first));
	struct run_report report = o->report;
	int error;

	if (!all || !first)
		return base_error_system(err, -ENOMEM, "cannot keep the counts");
	for (size_t i = 0; i < count; i++) {
		first[i] = *all[i];
		all[i]->probed = false;
		all[i]->utap = (struct place_count) { 0 };
	}
	o->places.nreserved = 0;
	o->report = (struct run_report) { 0 };
	error = do_utap(o, err);
	check_report(o);
	o->report = report;
	for (size_t i = 0; i < count; i++) {
		if (all[i]->probed) {
			first[i].unsure |= first[i].utap.count != all[i]->utap.count;
			first[i].unsure_sum |= !same_arguments(&first[i].utap, &all[i]->utap);
		}
		*all[i] = first[i];
	}
	return error;
}

static int do_kernel(struct oracle *o, struct utap_error *err)
{
	char path[4096], kind[16];
	struct run run = make_run(o, path);
	int status;
	int error;

	snprintf(kind, sizeof(kind), "kernel%u", o->runs);
	output_path(o, kind, path, sizeof(path));
	error = run_kernel(&run, &o->places, o->runs, &status, err);
	if (error)
		return error;
	o->runs++;
	check_output(o, kind, status);
	return 0;
}

/* ---- comparing ---- */

static int by_hits(const void *a, const void *b)
{
	const struct place *const *x = a, *const *y = b;

	return (*x)->utap.count < (*y)->utap.count ? -1 : (*x)->utap.count > (*y)->utap.count;
}

/* A hit costs the kernel tens of microseconds: functions are given to it coldest first, as long as the budget lasts. */
static int choose(struct oracle *o)
{
	uint64_t sum = 0;
	size_t count;
	_cleanup_free_ struct place **all = all_places(&o->places, &count);

	if (!all)
		return -ENOMEM;
	qsort(all, count, sizeof(struct place *), by_hits);
	for (size_t i = 0; i < count; i++) {
		uint8_t code[ISA_INSN_MAX];

		all[i]->no_kernel = uprobes_cannot(code, places_code(&o->places, all[i], code, sizeof(code)));
		if (o->options->choice.returns) {
			char name[PLACES_NAME];

			places_function(&o->places, all[i], name, sizeof(name));
			all[i]->no_kernel |= uprobes_cannot_return(name);
		}
		if (all[i]->no_kernel)
			continue;
		sum += all[i]->utap.count;
		all[i]->hot = o->options->budget && sum > o->options->budget;
	}
	return 0;
}

/*
 * In the middle of a function %rdi may hold anything, also what somebody left on the stack: only counts are compared there. And what a
 * function returns by a tail call utap does not know.
 */
static bool differs(const struct oracle *o, const struct place *place)
{
	if (place->unsure)
		return false;
	return place->utap.count != place->kernel[0].count ||
	       (!o->options->choice.one_in && !place->unsure_sum && !place->utap.tails && !same_arguments(&place->utap, &place->kernel[0]));
}

/* Functions that are known to run differently, for a reason that run.sh tells. */
static bool is_excused(const struct oracle *o, const struct place *place)
{
	char name[PLACES_NAME];
	size_t length;

	places_function(&o->places, place, name, sizeof(name));
	length = strlen(name);
	for (const char *at = o->options->excused; length && at && *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == length && !strncmp(at, name, length))
			return true;
	return false;
}

static void compare_place(struct oracle *o, struct place *place, struct tally *tally)
{
	if (!place->probed)
		return;
	if (place->no_kernel) {
		tally->no_kernel++;
		return;
	}
	if (place->hot) {
		tally->hot++;
		tally->hot_hits += place->utap.count;
		return;
	}
	for (unsigned i = 1; i < o->runs; i++) {
		place->unsure |= place->kernel[i].count != place->kernel[0].count;
		place->unsure_sum |= !same_arguments(&place->kernel[i], &place->kernel[0]);
	}
	tally->compared++;
	tally->hits += place->utap.count;
	tally->early += place->early;
	tally->unsure += place->unsure;
	tally->unsure_sum += !place->unsure && place->unsure_sum;
	place->excused = differs(o, place) && is_excused(o, place);
	tally->excused += place->excused;
	tally->differ += !place->excused && differs(o, place);
}

static struct tally compare_all(struct oracle *o)
{
	struct tally tally = { 0 };

	for (size_t f = 0; f < o->places.nfiles; f++)
		for (size_t i = 0; i < o->places.files[f].count; i++)
			compare_place(o, &o->places.files[f].place[i], &tally);
	return tally;
}

/* ---- telling ---- */

static void show_count(const char *who, const struct place_count *count)
{
	printf("      %s: %lu hits, arguments: sum 0x%lx, %lu mapped ones, low bits 0x%lx\n", who,
	       (unsigned long)count->count, (unsigned long)count->sum, (unsigned long)count->mapped,
	       (unsigned long)count->low);
}

static void show_place(const struct oracle *o, const struct place *place)
{
	char name[2 * PLACES_NAME];
	uint8_t code[48];
	size_t size = places_code(&o->places, place, code, sizeof(code));
	struct isa_insn insn;

	places_name(&o->places, place, name, sizeof(name));
	printf("  %s, layer L%d\n", name, place->layer);
	show_count("utap", &place->utap);
	for (unsigned i = 0; i < o->runs; i++)
		show_count("kernel", &place->kernel[i]);
	if (place->early)
		printf("      %lu hits before the start\n", (unsigned long)place->early);
	for (size_t at = 0, n = 0; n < 3 && at < size && !isa_decode(code + at, size - at, at, &insn); n++) {
		char text[160];

		isa_format(&insn, text, sizeof(text));
		printf("      +%zu  %s\n", at, text);
		at += insn.length;
	}
}

static void show_differences(const struct oracle *o)
{
	size_t shown = 0;

	for (size_t f = 0; f < o->places.nfiles; f++)
		for (size_t i = 0; i < o->places.files[f].count; i++) {
			const struct place *place = &o->places.files[f].place[i];
			bool wrong = place->probed && !place->hot && !place->no_kernel && !place->excused && differs(o, place);

			if ((wrong && shown++ < SHOWN) || (o->options->verbose && (place->unsure || place->no_kernel || place->excused)))
				show_place(o, place);
		}
	if (shown > SHOWN)
		printf("  ... and %zu more\n", shown - SHOWN);
}

static bool is_failed(const struct oracle *o, const struct tally *t)
{
	return o->failures || t->differ > o->options->tolerated;
}

static void tell(struct oracle *o, const struct tally *t)
{
	const struct run_report *r = &o->report;

	for (size_t i = 0; o->options->verbose && i < RUNS_WHYS; i++)
		if (r->whys[i].count)
			printf("  refused %zu: %s\n", r->whys[i].count, r->whys[i].text);
	show_differences(o);
	if (o->options->choice.one_in)
		printf("  one instruction in %u, seed %lu\n", o->options->choice.one_in, (unsigned long)o->options->choice.seed);
	printf("%s oracle %s: %zu places probed (%zu refused), %lu hits; %zu places and %lu hits compared in %u kernel "
	       "run%s: %zu differ",
	       is_failed(o, t) ? "FAIL" : "PASS", o->options->name, r->probed, r->refused, (unsigned long)r->hits,
	       t->compared, (unsigned long)t->hits, o->runs, o->runs == 1 ? "" : "s", t->differ);
	if (t->unsure || t->unsure_sum)
		printf("; not deterministic: %zu counts, %zu arguments", t->unsure, t->unsure_sum);
	if (t->differ && o->options->tolerated)
		printf(" (%zu may)", o->options->tolerated);
	if (t->excused)
		printf("; %zu differ for a known reason", t->excused);
	if (t->no_kernel)
		printf("; %zu the kernel cannot probe", t->no_kernel);
	if (t->hot)
		printf("; %zu hot ones (%lu hits) not asked of the kernel", t->hot, (unsigned long)t->hot_hits);
	if (t->early)
		printf("; %lu hits in relocation, before utap's start", (unsigned long)t->early);
	printf("\n");
}

static int examine(struct oracle *o, struct utap_error *err)
{
	struct tally tally;
	int error = places_find(o->options->argv[0], &o->options->choice, &o->places, err);

	if (!error)
		error = do_plain(o, err);
	if (!error)
		error = do_utap(o, err);
	if (!error && choose(o))
		error = base_error_system(err, -ENOMEM, "cannot sort the functions");
	if (error)
		return error;
	do {
		error = do_kernel(o, err);
		if (error)
			return error;
		tally = compare_all(o);
	} while (tally.differ && o->runs < PLACES_RUNS);
	check_report(o);
	for (int i = 0; i < UTAP_REPEATS && o->options->threads && tally.differ && !error; i++) {
		error = repeat_utap(o, err);
		tally = compare_all(o);
	}
	if (error)
		return error;
	tell(o, &tally);
	return is_failed(o, &tally) ? 1 : 0;
}

/* ---- main ---- */

static int usage(void)
{
	fprintf(stderr, "Usage: oracle [-v] [-t N] [-b HITS] [-s N] [-i N [-r SEED]] [-R] [-c COMMAND] [-x FUNCTION,..] [-e NAME=VALUE] -n NAME -d DIRECTORY -- PROGRAM ARG...\n"
			"  -b  hits the kernel is to count at most (default: all)   -s  every Nth function of the program only\n"
			"  -R  the functions' returns, and what they return\n"
			"  -i  instructions instead of functions, each with a chance of 1 in N (-r SEED: the very ones)\n"
			"  -c  a shell command that runs beside the program         -v  reasons and what is left out\n"
			"  -x  functions that may differ   -t  threads or random seeds: leave out what differs between runs of\n"
			"      utap, too, and let N functions differ\n");
	return 2;
}

static int parse(int argc, char **argv, struct options *options)
{
	int c;

	while ((c = getopt(argc, argv, "+vRt:b:s:i:r:c:x:e:n:d:")) >= 0)
		switch (c) {
		case 't':
			options->threads = true;
			options->tolerated = strtoul(optarg, NULL, 0);
			break;
		case 'R':
			options->choice.returns = true;
			break;
		case 'v':
			options->verbose = true;
			break;
		case 'b':
			options->budget = strtoull(optarg, NULL, 0);
			break;
		case 's':
			options->choice.sample = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'i':
			options->choice.one_in = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'r':
			options->choice.seed = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			options->companion = optarg;
			break;
		case 'x':
			options->excused = optarg;
			break;
		case 'e':
			options->setting = optarg;
			break;
		case 'n':
			options->name = optarg;
			break;
		case 'd':
			options->directory = optarg;
			break;
		default:
			return -EINVAL;
		}
	options->argv = argv + optind;
	return options->name && options->directory && options->choice.sample && options->choice.seed && *options->argv ? 0 : -EINVAL;
}

/* Everything that could make two runs differ and that can be fixed. */
static int make_deterministic(char *setting)
{
	if (personality(ADDR_NO_RANDOMIZE) < 0 || clearenv())
		return -errno;
	setenv("PATH", "/nonexistent", 1); /* nothing that one of them starts runs beside it */
	setenv("HOME", "/nonexistent", 1);
	setenv("LC_ALL", "C", 1);
	setenv("TZ", "UTC", 1);
	setenv("TERM", "dumb", 1);
	setenv("PYTHONHASHSEED", "0", 1);
	setenv("PERL_HASH_SEED", "0", 1);
	setenv("PERL_PERTURB_KEYS", "0", 1);
	return setting && putenv(setting) ? -errno : 0;
}

int main(int argc, char **argv)
{
	struct options options = { .choice = { .sample = 1, .seed = (uint64_t)getpid() } };
	struct oracle oracle = { .options = &options };
	struct utap_error err = { 0 };
	int result;

	if (parse(argc, argv, &options))
		return usage();
	if (make_deterministic(options.setting)) {
		perror("oracle");
		return 1;
	}
	result = examine(&oracle, &err);
	if (result < 0)
		printf("FAIL oracle %s: %s\n", options.name, err.text);
	places_free(&oracle.places);
	return result ? 1 : 0;
}
