#!/bin/bash
# SPDX-License-Identifier: MIT
# What users of other tracers report, a test for each class: probes that hang at detach, change vector registers, write into red zones,
# break exceptions, CET, callers that are blocked, small signal stacks, longjmp, coroutines, deep recursion, cancellation, signals.
#
#   classes.sh BUILD [CLASS...]
#
# Each program checks itself and says how often its functions were called. It runs three times from its start with probes - at function
# entries, at every instruction, and (where `r:` works) at returns, too: the output must be that of the unprobed run, the counts the
# program's own. Then probes come and go while it runs.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
shift
only=" $* "
sources=$here/../programs/classes

. "$here/places.sh"

# What is probed: a round a line, in $rounds.
rounds='entries instructions'
"$utap" stat -e 'r:probed_step' -- "$programs/early" > /dev/null 2>&1 && rounds="$rounds returns"

# Where things lie decides whether a punned jump finds room: the same in each run that is compared.
same_places=
setarch -R true 2> /dev/null && same_places='setarch -R'

# build SOURCE FLAGS...: ./program, or the reason why not is the reason to skip
build()
{
	local compiler=gcc log
	[[ $1 = *.cc ]] && compiler=g++
	if ! command -v $compiler > /dev/null; then
		skip "$compiler is not installed"
		return 1
	fi
	if ! log=$($compiler -O2 -g -fvisibility=hidden -D_GNU_SOURCE -Wno-infinite-recursion "${@:2}" "$sources/$1" -o program -lpthread 2>&1); then
		skip "it does not compile: $(head -1 <<< "$log")"
		return 1
	fi
}

# probes ROUND PATTERN EXTRA...: the file `probes`. Extra ones belong to every round; they are of libraries.
probes()
{
	local pattern=$2

	case $1 in
	entries) functions_of ./program "$pattern" | sed 's,^,./program:,' ;;
	instructions) instructions_of ./program "$pattern" | sed 's,^,./program:,' ;;
	returns) functions_of ./program "$pattern" | sed 's,.*,./program:&\nr:&_returns ./program:&,' ;;
	esac > probes
	shift 2
	[ $# = 0 ] || printf '%s\n' "$@" >> probes
	[ -s probes ] || problem "there is nothing to probe"
}

# The program's own count of each function is the number of hits of its entry, unless that was refused by name.
same_counts() # ROUND
{
	local function calls hit

	while read -r function calls; do
		hit=$(count_of "$function" counts)
		if [ "$hit" = 0 ] && grep -q "not probed: $function+0x0 " stderr; then
			[ "$1" = entries ] && refused="$refused $function"
			continue
		fi
		[ "$hit" = "$calls" ] || problem "$1: $function was called $calls times, and hit '$hit' times"
		[ "$1" = returns ] && returned "$function" "$calls"
	done < <(grep -E '^[a-z_]+ [0-9]+$' out)
}

# A function returns as often as it was called, or was left otherwise (and that is told).
returned() # FUNCTION CALLS
{
	local hit
	hit=$(count_of "$1_returns" counts)

	if [ "$hit" = 0 ] && grep -q "not probed: $1+0x0 " stderr; then
		return # refused by name: an exit of it cannot be probed
	fi
	case " $leaves " in
	*" $1 "*) [ "$hit" -le "$2" ] || problem "returns: $1 returned $hit times of $2" ;;
	*) [ "$hit" = "$2" ] || problem "returns: $1 was called $2 times and returned $hit times" ;;
	esac
}

started() # ROUND ROUNDS
{
	local sum lost

	timeout -k 5 120 $same_places "$utap" stat -v --json -o counts -F probes -- ./program "$2" > out 2> stderr < /dev/null
	code=$?
	[ "$code" = 0 ] && grep -q EXIT-SUCCESS out || problem "$1, counted: $code, $(grep -v 'not probed' stderr | head -3)"
	[ "$how" = timed ] || cmp -s <(tail -n +2 plain) <(tail -n +2 out) || problem "$1: its output differs from the unprobed run's"
	same_counts "$1"
	# Recorded through a ring that is too small: what does not fit is counted.
	timeout -k 5 120 $same_places "$utap" record --ring 64K -o data -F probes -- ./program "$2" > out 2> stderr < /dev/null
	code=$?
	[ "$code" = 0 ] && grep -q EXIT-SUCCESS out || problem "$1, recorded: $code, $(grep -v 'not probed' stderr | head -3)"
	read -r sum lost < <(sed -n 's/^utap: \([0-9]*\) events, \([0-9]*\) lost.*/\1 \2/p' stderr)
	rm -f data
	[ "$how$library" = timed ] || [ "$((sum + lost))" = "$(count_all counts)" ] || same_again "$1" "$2" $((sum + lost))
}

# Recorded and lost are not as many as were counted. Are counts the same from run to run? Libraries may take locks or not.
same_again() # ROUND ROUNDS SUM
{
	local before

	before=$(count_all counts)
	timeout -k 5 120 $same_places "$utap" stat -q --json -o counts -F probes -- ./program "$2" > out 2> stderr < /dev/null
	[ "$(count_all counts)" != "$before" ] || problem "$1: $3 recorded and lost, but $before counted, twice"
}

attached() # ROUND
{
	local i sum=0

	for i in 1 2 3 4; do
		run stat --json -F probes -o counts -d 0.1 -p "$pid"
		expect_code 0
		sum=$((sum + $(count_all counts)))
		as_before files
	done
	[ "$sum" -gt 0 ] || problem "$1: nothing was hit in four times"
	run record -q --ring 64K -F probes -d 0.1 -o data -p "$pid"
	expect_code 0
	as_before files
	rm -f data
}

# class NAME SOURCE FUNCTIONS ROUNDS PROBES-OF-LIBRARIES... ; $flags to compile, $how: timed (its output depends on time),
# $library: timed (which instructions of libraries it runs depends on time, as where a thread is when it is cancelled),
# $leaves: functions that may be left without returning
class()
{
	local title=$1 source=$2 functions=$3 number=$4 round

	if [ "$only" = '  ' ] || [[ $only == *" $title "* ]]; then
		shift 4
		examine "$@"
	fi
	flags='' how='' library='' leaves='' refused='' before_round=''
}

examine() # PROBES-OF-LIBRARIES...
{
	begin "class $title"
	# shellcheck disable=SC2086
	if build "$source" $flags; then
		./program "$number" > plain 2> plain.err || problem "unprobed: it ends with $?: $(head -2 plain.err)"
		for round in $rounds; do
			[ -z "$before_round" ] || "$before_round"
			probes "$round" "$functions" "$@"
			started "$round" "$number"
		done
		for round in $rounds; do
			probes "$round" "$functions" "$@"
			target ./program
			attached "$round"
			finish
		done
	fi
	[ -z "$refused" ] || echo "    $name: entries that cannot be probed yet:$refused"
	end
}
flags='' how='' library='' leaves='' refused='' before_round=''

class vectors vectors.c 'vectors_[a-z]*' 400

look_for_red_zone()
{
	objdump -d --no-show-raw-insn program | sed -n '/<redzone_compiled>:/,/^$/p' > code
	grep -q -- '-0x[0-9a-f]*(%rsp' code && ! grep -q 'sub .*,%rsp' code || problem "the compiler did not use the red zone"
}
before_round=look_for_red_zone
class redzone redzone.c 'redzone_[a-z]*' 20000

leaves='throw_deep throw_value throw_nested throw_make'
class exceptions throw.cc 'throw_[a-z]*' 100 'libgcc_s:_Unwind_*' 'libstdc++:__cxa_*' 'libstdc++:__gxx_personality_v0'

flags=-fcf-protection=full
class cet cet.c 'cet_[a-z]*' 20000

class stack-use depth.c 'depth_leaf|depth_other' 5000

class sigstack sigstack.c 'sigstack_[a-z]*' 3000 'libc:raise'

how=timed leaves='jump_down jump_leave jump_spin'
class longjmp longjmp.c 'jump_[a-z]*' 300 'libc:*jmp*'

flags=-fno-optimize-sibling-calls leaves='coroutine_work coroutine_inner' # some wait when the program ends
class coroutines coroutine.c 'coroutine_[a-z]*' 500 'libc:*context'

class recursion recursion.c 'recursion_[a-z]*' 2

leaves='cancel_wait cancel_down'
library=timed
class cancellation cancel.cc 'cancel_[a-z]*' 100 'libc:pthread_*' 'libc:pause' 'libgcc_s:_Unwind_*'

leaves='async_spin async_down'
class cancellation-async cancel_async.c 'async_[a-z]*' 40 'libc:pthread_c*'

how=timed
class signals signals.c 'signals_[a-z]*' 50

how=timed
class syscalls syscalls.c 'syscalls_[a-z]*' 60 $(instructions_of_libc read poll recv write send nanosleep clock_nanosleep)

# ---- detaching while callers stay inside, for ever ----

# Ctrl-C to a tracer that has been at it for a moment: how long it takes to be gone, in ms.
interrupt_after() # SECONDS TRACER
{
	local start

	sleep "$1"
	start=$(date +%s%N)
	kill -INT "$2"
	wait "$2"
	code=$?
	took=$((($(date +%s%N) - start) / 1000000))
}

hang() # ROUND COMMAND PROBES...
{
	local tracer command=$2

	probes "$1" 'hang_[a-z]*' "${@:3}"
	# shellcheck disable=SC2086
	"$utap" $command -F probes -p "$pid" > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
	interrupt_after 0.4 $tracer
	expect_code 0
	[ "$took" -le 1000 ] || problem "$1, $command: it took $took ms to detach"
	as_before
}

if [ "$only" = '  ' ] || [[ $only == *' detach '* ]]; then
	for round in $rounds; do
		begin "class detach with callers blocked inside: $round"
		if build hang.c; then
			target ./program
			hang "$round" stat
			hang "$round" 'record -q -o data'
			hang "$round" stat 'libc:*'
			hang "$round" stat $(instructions_of_libc poll epoll_wait pthread_cond_wait sem_wait __futex_abstimed_wait_cancelable64)
			finish
		fi
		end
	done
fi

summary
