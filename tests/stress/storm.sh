#!/bin/bash
# SPDX-License-Identifier: MIT
# A storm: probes come, change and go at random in a program with many threads, while it forks, loads and unloads a library, takes signals,
# and utap is interrupted or killed. After each round the program's own checks must have held, its text must be the file's, and where utap
# was not killed its counts must be the program's own: nothing is lost uncounted.
#
#   storm.sh BUILD; UTAP_STRESS_SECONDS (20) says how long, UTAP_SEED repeats the same choices.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../integration/lib.sh"
. "$here/../integration/places.sh"

seconds=${UTAP_STRESS_SECONDS:-20}
seed=${UTAP_SEED:-$(($(date +%s%N) / 1000 % 30000 + 1))}
# Some thousand children on, bash waits for one that has ended when its number comes again (numbers end at 32768): a long storm is several.
piece=240
if [ "$seconds" -gt $piece ]; then
	left=$seconds failed=0
	while [ "$left" -gt 0 ] && [ "$failed" = 0 ]; do
		UTAP_STRESS_SECONDS=$((left < piece ? left : piece)) UTAP_SEED=$seed "$here/storm.sh" "$build" || failed=1
		left=$((left - piece)) seed=$((seed % 30000 + 1))
	done
	exit $failed
fi
RANDOM=$seed
library=$stress/libstorm_library.so
storm=$stress/storm_target
threads=5 # that stand still when they are told to
functions='storm_hash storm_list storm_compare storm_down storm_jump storm_leaf'
declare -A rounds=()
tracer=
returns=
"$utap" stat -e 'r:probed_step' -- "$programs/early" > /dev/null 2>&1 && returns=1

# From 0 to $1 - 1. In the shell itself: a subshell would not move the sequence on.
pick() { picked=$((RANDOM % $1)); }

# ---- the target ----

shared_word() { od -An -tu4 -j"$1" -N4 shared | tr -d ' '; }
shared_calls() { od -An -v -w8 -tu8 -j16 -N48 shared | tr -d ' ' | tr '\n' ' '; }

close_gate() # and wait until all of its threads stand still
{
	local i

	printf '\1' | dd of=shared conv=notrunc bs=1 count=1 2> /dev/null
	for ((i = 0; i < 2000; i++)); do
		[ "$(shared_word 4)" = $threads ] && break
		sleep 0.005
	done
	[ "$i" -lt 2000 ] || problem "the program's threads do not stand still: $(shared_word 4) of $threads"
	sleep 0.02 # a handler that began before
}

open_gate() { printf '\0' | dd of=shared conv=notrunc bs=1 count=1 2> /dev/null; }

start_target()
{
	rm -f shared
	target "$storm" shared "$library" || problem "the program does not start: $(cat target.err)"
	sleep 0.1
}

# Something happens to it meanwhile.
disturb()
{
	local i n
	pick 6
	n=$picked

	for ((i = 0; i < n; i++)); do
		pick 3
		[ "$picked" = 0 ] && kill -USR1 "$pid" 2> /dev/null
		[ "$picked" = 1 ] && kill -USR2 "$pid" 2> /dev/null
		pick 60
		sleep "0.0$((picked + 10))"
	done
}

kept=0
settled() # what must hold after each round
{
	local i

	if ! kill -0 "$pid" 2> /dev/null; then
		problem "round $round ($kind): the program died: $(cat target.err)"
		return
	fi
	# A thread that was taken off its processor inside of our code keeps our memory there; utap says so (-v), and `utap detach` is for that.
	for ((i = 0; i < 20; i++)); do
		grep -q 'memfd:utap' "/proc/$pid/maps" || break
		sleep 0.1
		kept=$((kept + 1))
		run detach -p "$pid"
	done
	# It may be loading or forking just now: only its own text and libc's, and nothing of ours.
	"$intact" text "$pid" > changed || problem "round $round ($kind): $(head -3 changed)"
	! grep -q 'memfd:utap' "/proc/$pid/maps" || problem "round $round ($kind): memory of ours stays: $(head -3 stderr)"
}

# ---- probes ----

every_place=
some_places() # COUNT: in the file `probes`
{
	[ -n "$every_place" ] || every_place=$(instructions_of "$storm" 'storm_.*|step|work|on_alarm|make_.*|live_shortly' | sed 's/^/storm_target:/')
	shuf -n "$1" --random-source=<(yes "$RANDOM") <<< "$every_place" > probes
}

some_probes()
{
	pick 6
	case $picked in
	0) some_places 20 ;;
	1) some_places 300 ;;
	2) printf 'storm_target:storm_*\nlibc:malloc\nlibc:free\nlibc:qsort*\n' > probes ;;
	3) printf 'libc:*mem*\nlibc:str*\nlibc:pthread_*\n' > probes ;;
	4) printf 'storm_target:*\nlibstorm_library:*\n' > probes ;;
	5) printf 'storm_target:storm_down n=%%di:s64 m=%%si:s64 $stack0\nstorm_target:storm_leaf %%di\n' > probes
		[ -z "$returns" ] || printf 'r:down_back storm_target:storm_down\nr:leaf_back storm_target:storm_leaf\n' >> probes ;;
	esac
}

# A command of utap with some probes.
some_command()
{
	some_probes
	pick 4
	case $picked in
	0) command=(stat -q) ;;
	1) command=(record -q --ring 64K -o data) ;;
	2) command=(record -q --ring 1M -o data) ;;
	3) command=(trace -q -o lines) ;;
	esac
}

begin_tracer()
{
	: > stderr # what the last one said is not to be read again
	"$utap" "${command[@]}" -F probes -p "$pid" > stdout 2> stderr < /dev/null &
	tracer=$!
	started_pids="$started_pids $tracer"
}

# A shell's background program ignores SIGINT until it says otherwise: one sent earlier is lost.
await_handler()
{
	local i caught

	for ((i = 0; i < 1200; i++)); do
		caught=$(sed -n 's/^SigCgt:.*\(.\)$/\1/p' "/proc/$tracer/status" 2> /dev/null)
		[[ $caught = [2367abefABEF] || -z $caught ]] && break
		sleep 0.01
	done
}

end_tracer() # [SIGNAL]
{
	local i

	[ "${1:-}" != INT ] || await_handler
	[ -z "${1:-}" ] || kill "-$1" "$tracer" 2> /dev/null
	for ((i = 0; i < 1200; i++)); do
		[[ "$(sed 's/.*) \(.\).*/\1/' "/proc/$tracer/stat" 2> /dev/null)" = [!ZX] ]] || break
		sleep 0.05
	done
	if [ "$i" = 1200 ]; then
		problem "round $round ($kind): utap ${command[*]} does not end: $(grep -v 'not probed' stderr | tail -2)"
		gdb -nx -batch -p "$tracer" -ex 'thread apply all bt' 2> /dev/null | grep '^#' | sed 's/^/    /'
		grep -E 'State|Tracer|Sig' "/proc/$tracer/status" "/proc/$pid/status" | sed 's/^/    /'
		kill -KILL "$tracer"
	fi
	wait "$tracer" 2> /dev/null
	code=$?
	started_pids=${started_pids/ $tracer/}
}

# ---- rounds ----

# The library was loaded or unloaded just while utap attached, which it says.
came_and_went() { grep -q 'storm_library' probes && grep -q 'was changed by somebody else during the attach; try again' stderr; }

round_plain() # attach, trace for a moment, detach, all while it runs
{
	some_command
	pick 200
	command+=(-d "0.$((picked + 100))")
	begin_tracer
	disturb
	end_tracer
	[ "$code" = 0 ] || came_and_went || problem "round $round ($kind): exit code $code: $(grep -v 'not probed' stderr | head -2)"
}

round_interrupted() # Ctrl-C at any instant
{
	some_command
	begin_tracer
	pick 300
	sleep "0.$(printf %03d "$picked")"
	end_tracer INT
	[[ $code = 0 || $code = 130 ]] || came_and_went || problem "round $round ($kind): exit code $code: $(grep -v 'not probed' stderr | head -2)"
}

round_killed() # by SIGKILL at any instant; then somebody cleans up
{
	some_command
	begin_tracer
	pick 150
	sleep "0.$(printf %03d "$picked")"
	kill -KILL "$tracer" 2> /dev/null
	end_tracer
	disturb
	run detach -p "$pid"
	[ "$code" = 0 ] || problem "round $round ($kind): detach: exit code $code: $(head -2 stderr)"
}

# Counted, or recorded, exactly: it stands still while utap attaches and ends, and works in between.
round_exact()
{
	local before after i sum lost want=0 hit

	pick 2
	[ "$picked" = 0 ] && command=(stat -v --json -o counts) || command=(record -v --ring 64K -o data)
	for i in $functions; do echo "storm_target:$i"; done > probes
	close_gate
	before=($(shared_calls))
	begin_tracer
	for ((i = 0; i < 1000; i++)); do
		grep -q 'places probed in' stderr && break
		kill -0 "$tracer" 2> /dev/null || break
		sleep 0.01
	done
	open_gate
	disturb
	sleep 0.1
	close_gate
	after=($(shared_calls))
	end_tracer INT
	open_gate
	[ "$code" = 0 ] || problem "round $round ($kind): exit code $code: $(grep -v 'not probed' stderr | head -2)"
	i=0
	for function in $functions; do
		if grep -q "not probed: $function+" stderr; then
			i=$((i + 1))
			continue
		fi
		want=$((want + after[i] - before[i]))
		if [ "${command[0]}" = stat ]; then
			hit=$(count_of "$function" counts)
			[ "$hit" = $((after[i] - before[i])) ] ||
				problem "round $round ($kind): $function was called $((after[i] - before[i])) times and hit '$hit' times"
		fi
		i=$((i + 1))
	done
	[ "${command[0]}" = record ] || return
	read -r sum lost < <(sed -n 's/^utap: \([0-9]*\) events, \([0-9]*\) lost.*/\1 \2/p' stderr)
	[ "$((sum + lost))" = "$want" ] || problem "round $round ($kind): $want calls, but $sum recorded and $lost lost: $(tail -2 stderr)"
}

begin "storm of $seconds seconds, seed $seed"
start_target
end_at=$(($(date +%s) + seconds))
for ((round = 1; $(date +%s) < end_at && problems == 0; round++)); do
	pick 10
	case $picked in
	0 | 1 | 2) kind=plain ;;
	3 | 4) kind=interrupted ;;
	5 | 6) kind=killed ;;
	*) kind=exact ;;
	esac
	"round_$kind"
	rounds[$kind]=$((${rounds[$kind]:-0} + 1))
	settled
	rm -f data data.old lines
done
finish
name="storm of $seconds seconds, seed $seed$who: ${rounds[plain]:-0} rounds plain, ${rounds[interrupted]:-0} interrupted, ${rounds[killed]:-0} killed, \
${rounds[exact]:-0} exact, $(shared_word 8) times forked, $(shared_word 12) times loaded, $kept times detached again"
end
summary
