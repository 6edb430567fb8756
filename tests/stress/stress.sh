#!/bin/bash
# SPDX-License-Identifier: MIT
# What must hold however often: utap killed at any instant, attach and detach again and again.
#
#   stress.sh BUILD; UTAP_KILLS (100) and UTAP_CYCLES (300) set how often, UTAP_SEED repeats a run.
. "$(dirname "$0")/../integration/lib.sh"

# stress PROGRAM ARGS...: it says EXIT-SUCCESS, or what is wrong
stress()
{
	timeout -k 5 3000 "$@" > stress.out 2>&1
	code=$?
	grep -v -e '^EXIT-SUCCESS' stress.out | sed 's/^/    /'
	[ "$code" = 0 ] && grep -q '^EXIT-SUCCESS' stress.out || problem "it ended with $code"
}

kills=${UTAP_KILLS:-100}
begin "$kills times killed: worker"
stress "$stress/kill9" "$utap" "$kills" "$programs/worker"
end

fewer=$(((kills + 2) / 3))
for args in churn storm worker-static 'forker vfork' 'forker spawn' 'blocked nanosleep' 'blocked read'; do
	begin "$fewer times killed: $args"
	# shellcheck disable=SC2086
	stress "$stress/kill9" "$utap" "$fewer" "$programs/"$args
	end
done

cycles=${UTAP_CYCLES:-300}
begin "$cycles cycles by one process"
stress "$stress/cycles" "$programs/worker" "$cycles"
end

begin "$((cycles / 10)) cycles by the command"
target "$programs/worker"
for ((i = 0; i < cycles / 10; i++)); do
	run stat -q -e 'worker:*' -e libc:malloc -e libc:free -d 0.01 -p "$pid"
	expect_code 0
	[ "$problems" -gt 0 ] && break
done
as_before
finish
end

summary
