#!/bin/bash
# SPDX-License-Identifier: MIT
# What is recorded when conditions and limits leave hits and calls out: exactly the others, and what was left out is counted.
#
#   limits.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
limited=$programs/limited

# traced FILE ARGS...: utap trace of a whole run of the program
traced()
{
	local file=$1

	shift
	run trace --ring 8M --json -o "$file" "$@"
	expect_code 0
	grep -q ', 0 lost' stderr || problem "records were lost: $(tail -2 stderr)"
}

# The command, and what it starts, on the first CPU there is.
on_one_cpu()
{
	local before

	before=$(taskset -pc $BASHPID | sed 's/.*: //')
	taskset -pc "${before%%[-,]*}" $BASHPID > taskset.out
	"$@"
	taskset -pc "$before" $BASHPID > taskset.out
}

# The number before a word in the summary.
said() { sed -n "s/.* \([0-9]*\) $1.*/\1/p" stderr | tail -1; }

# same_calls ALL SOME CONDITION: SOME has those calls of ALL for which the Python expression over n, d, comm, event holds, each ended alike
same_calls()
{
	python3 - "$@" > compared <<- 'END' || problem "$3: $(cat compared)"
		import collections, json, sys
		every, some, condition = sys.argv[1:]
		def calls(path, wanted):
		    found = collections.Counter()
		    for line in open(path):
		        call = json.loads(line)
		        args = call["args"] or {}
		        values = dict(n=args.get("n"), d=args.get("d"), event=call["event"], odd=(args.get("n") or 0) // 1000000 % 2)
		        if eval(wanted, values):
		            found[(call["event"], call["how"], args.get("n"), args.get("d"))] += 1
		    return found
		want, got = calls(every, condition), calls(some, "True")
		if not want:
		    print("nothing is wanted")
		elif want != got:
		    print("missing", list((want - got).items())[:3], "too many", list((got - want).items())[:3])
		sys.exit(not want or want != got)
	END
}

begin 'a condition decides about whole calls'
traced all --duration -e "$limited:nest n=%di:s64 d=%si:s32" -e "$limited:leaf n=%di:s64" -e "$limited:hop n=%di:s64" -- "$limited" 4 120
while IFS=: read -r condition python; do
	traced some --duration -e "$limited:nest n=%di:s64 d=%si:s32 $condition" -- "$limited" 4 120
	same_calls all some "event == 'nest' and ($python)"
	grep -q 'not seen' stderr && problem "$condition: returns are said to have no entry: $(cat stderr)"
done <<- 'END'
	/d == 0/:d == 0
	/d == 2 && n > 1000000/:d == 2 and n > 1000000
	/n & 1 || d == 4/:n & 1 or d == 4
	/comm == "odd"/:odd
END
end

# Calls of other functions in between use the same frames; the tree shows what is meant, and nothing else.
begin 'a condition on one of several functions, as calls and as a tree'
traced all --duration -e "$limited:nest n=%di:s64 d=%si:s32" -e "$limited:leaf n=%di:s64" -e "$limited:hop n=%di:s64" -- "$limited" 4 120
traced some --duration -e "$limited:nest n=%di:s64 d=%si:s32 /d == 1/" -e "$limited:leaf n=%di:s64" -e "$limited:hop n=%di:s64 /n > 60/" -- "$limited" 4 120
same_calls all some "event == 'leaf' or (event == 'nest' and d == 1) or (event == 'hop' and n > 60)"
run trace --graph -o tree -e "$limited:nest n=%di:s64 d=%si:s32 /d == 1/" -- "$limited" 1 120
[ "$(grep -c 'nest(.*d=1' tree)" = "$(grep -c 'nest(' tree)" ] && [ "$(grep -c 'nest(' tree)" = 96 ] ||
	problem "not the 96 calls with d=1: $(grep -c 'nest(' tree), $(head -5 tree)"
end

begin 'latency under a condition'
run stat --latency --json -e "$limited:nest n=%di:s64 d=%si:s32 /d == 1/" -- "$limited" 3 100
expect_code 0
sum=$(sed -n 's/.*"calls":\([0-9]*\),.*"abandoned":\([0-9]*\),.*/\1 + \2/p' stdout | head -1)
[ $((sum)) = 240 ] || problem "$sum are not 240 calls: $(head -c 400 stdout)"
end

begin 'every so many hits'
run stat --json -e "$limited:leaf" -- "$limited" 1 500
hits=$(hits leaf)
for every in 1 2 10 999; do
	on_one_cpu traced some --every $every -e "$limited:leaf n=%di:s64" -- "$limited" 1 500
	[ "$(wc -l < some)" = $(((hits + every - 1) / every)) ] || problem "every $every of $hits: $(wc -l < some)"
	[ "$(said 'held back')" = $((hits - (hits + every - 1) / every)) ] || problem "every $every: $(said 'held back') held back"
done
# On several CPUs each counts for itself.
run stat --json -e "$limited:leaf" -- "$limited" 6 500
all=$(hits leaf)
traced some --every 7 -e "$limited:leaf n=%di:s64" -- "$limited" 6 500
[ $(($(wc -l < some) + $(said 'held back'))) = "$all" ] || problem "$(wc -l < some) and $(said 'held back') held back are not $all"
[ "$(wc -l < some)" -ge $((all / 7)) ] && [ "$(wc -l < some)" -le $((all / 7 + 1 + $(nproc --all))) ] ||
	problem "$(wc -l < some) of $all, every 7"
on_one_cpu run record --every 10 -o file -e "$limited:leaf" -- "$limited" 1 500
[ "$(said 'held back')" = $((hits - (hits + 9) / 10)) ] || problem "record: $(cat stderr)"
end

begin 'every so many of what a condition lets pass, and of calls'
on_one_cpu traced some --every 5 -e "$limited:nest n=%di:s64 d=%si:s32 /d == 2/" -- "$limited" 1 500
[ "$(wc -l < some) $(said 'held back')" = '60 240' ] || problem "$(wc -l < some), $(said 'held back') held back"
grep -qv '"d":2' some && problem "others, too: $(head -1 some)"
traced all --duration -e "$limited:nest n=%di:s64 d=%si:s32" -- "$limited" 1 500
on_one_cpu traced some --duration --every 5 -e "$limited:nest n=%di:s64 d=%si:s32 /d == 2/" -- "$limited" 1 500
[ "$(wc -l < some) $(said 'held back')" = '60 240' ] || problem "calls: $(wc -l < some), $(said 'held back') held back"
end

# limited burns some 50 ms or more; a tenth of a second's share comes at once, the others as time goes on.
begin 'so many a second'
run stat --json -e "$limited:leaf" -- "$limited" 2 20000
hits=$(hits leaf)
for rate in 1000 1k/s 20k; do
	begun=$(date +%s%N)
	traced some --max $rate -e "$limited:leaf n=%di:s64" -- "$limited" 2 20000
	ms=$((($(date +%s%N) - begun) / 1000000 + 1))
	per_second=${rate%/s} per_second=${per_second/k/000}
	most=$((per_second / 10 + per_second * ms / 1000 + 1))
	[ "$(wc -l < some)" -ge $((per_second / 10)) ] && [ "$(wc -l < some)" -le $most ] ||
		problem "at most $rate: $(wc -l < some) in $ms ms, not $((per_second / 10)) to $most"
	[ $(($(wc -l < some) + $(said 'held back'))) = "$hits" ] || problem "$(wc -l < some) and $(said 'held back') held back are not $hits"
done
traced some --duration --max 100 -e "$limited:nest n=%di:s64 d=%si:s32 /d == 3/" -- "$limited" 2 2000
grep -qv '"d":3' some && problem "others, too: $(head -1 some)"
[ $(($(wc -l < some) + $(said 'held back'))) = 1600 ] || problem "$(wc -l < some) calls and $(said 'held back') held back are not 1600"
end

begin 'limits that make no sense'
run trace --every 0 -e "$limited:leaf" -- "$limited"
expect_error 2 'a number from 1'
run trace --max 10x -e "$limited:leaf" -- "$limited"
expect_error 2 'a number a second'
run trace --max 10 --every 10 -e "$limited:leaf" -- "$limited"
expect_error 2 'do not go together'
run stat --max 10 -e "$limited:leaf" -- "$limited"
expect_error 2 'they go with --latency'
run trace --duration -e "r:$limited:nest r=\$retval /r == 1/" -- "$limited"
expect_error 2 'decided at its entry'
run record --overwrite --duration -e "$limited:nest n=%di /n/" -- "$limited"
expect_error 2 'may be overwritten'
end

# A limit is for records; who waits for an event is told of each.
begin 'limits in the recorder'
run record --overwrite --every 3 -o file -e "$limited:leaf" -- "$limited" 1 500
expect_code 0
grep -q ' held back' stderr || problem "nothing is said to be held back: $(cat stderr)"
end

# Each sees all hits, with its own arguments and condition; so do returns, and a probe on the instruction where a function returns.
begin 'several probes at one place'
traced some -e "p:first $limited:leaf n=%di:s64" -e "p:second $limited:leaf m=%di:s64 /m & 1/" -e "p:third $limited:leaf" -e "p:fourth $limited:leaf" \
	-e "r:back $limited:leaf r=\$retval:s64" -e "r:again $limited:leaf same=\$retval:s64 /same > 30/" -- "$limited" 2 100
python3 - some > compared <<- 'END' || problem "$(cat compared)"
	import json, sys
	lines = [json.loads(line) for line in open(sys.argv[1])]
	def values(event, name):
	    return [line["args"][name] for line in lines if line["event"] == event]
	first = values("first", "n")
	for event, got, want in (("second", values("second", "m"), [n for n in first if n & 1]),
	                         ("back", values("back", "r"), [3 * n for n in first]),
	                         ("again", values("again", "same"), [3 * n for n in first if 3 * n > 30])):
	    if sorted(got) != sorted(want) or not want:
	        print(event, len(got), "not", len(want))
	for event in ("third", "fourth"):
	    if sum(line["event"] == event for line in lines) != len(first):
	        print(event, "misses hits")
	sys.exit(bool(open("compared").read()))
END
run stat --json -e "$limited:leaf" -e "p:one $limited:leaf" -e "p:two $limited:leaf" -e "$limited:lea[f]" -- "$limited" 1 50
[ "$(hits one)" -gt 50 ] && [ "$(hits one)" = "$(hits two)" ] && [ "$(hits leaf)" = "$(hits one)" ] || problem "$(hits one), $(hits two), $(hits leaf) hits"
[ "$(grep -o '"event"' stdout | wc -l)" = 3 ] || problem "two that do the same are two: $(cat stdout)"
many=()
for ((i = 0; i < 20; i++)); do many+=(-e "p:e$i $limited:leaf n=%di"); done
run stat --json "${many[@]}" -- "$limited" 1 50
expect_code 0
grep -q 'too many other probes are at this place' stderr || problem "twenty are not too many: $(cat stderr)"
[ "$(hits e0)" -gt 50 ] && [ "$(hits e15)" = "$(hits e0)" ] || problem "$(hits e0), $(hits e15) hits"
end

# One that runs: all of it comes out again.
begin 'several probes at one place of a running program'
target "$programs/worker"
run stat --json -d 0.3 -e "p:one $programs/worker:handle_request" -e "p:two $programs/worker:handle_request" \
	-e "r:back $programs/worker:handle_request" -e "r:more $programs/worker:handle_request" -p "$pid"
expect_code 0
expect_hits one
expect_hits back
[ "$(hits one)" = "$(hits two)" ] && [ "$(hits back)" = "$(hits more)" ] || problem "$(hits one) and $(hits two), $(hits back) and $(hits more) hits"
as_before
finish
end

summary
