# SPDX-License-Identifier: MIT
# Places in programs, for tests that probe many of them, and what utap counted there. Sourced after lib.sh.
# shellcheck shell=bash

# Names of the functions of a program that match a pattern (a whole regular expression).
functions_of() # FILE PATTERN
{
	nm "$1" | sed -n -E "s/^[0-9a-f]+ [Tt] ($2)\$/\1/p" | sort -u
}

# Each instruction of these functions, as NAME+OFFSET; those of pieces that the compiler put elsewhere (.cold), too.
instructions_of() # FILE PATTERN
{
	local at rest function= base=0

	objdump -d --no-show-raw-insn "$1" |
		sed -n -e 's/^0*\([0-9a-f]*\) <\(.*\)>:$/\1 \2/p' -e 's/^ *\([0-9a-f]*\):\t.*/\1/p' |
		while read -r at rest; do
			if [ -n "$rest" ]; then
				base=$((0x$at)) function=$rest
			elif [[ $function =~ ^($2)(\.cold)?$ ]]; then
				echo "$function+$((0x$at - base))"
			fi
		done
}

# Each instruction of functions of libc that programs here use.
instructions_of_libc() # NAME...
{
	local name libc

	libc=$(ldd "$programs/worker" | sed -n 's/.* => \(.*libc.so[^ ]*\) .*/\1/p')
	for name in "$@"; do
		gdb -nx -batch -ex "disassemble $name" "$libc" 2> /dev/null | sed -n "s/^ *0x[0-9a-f]* <+\([0-9]*\)>:.*/libc:$name+\1/p"
	done
}

# Hits of an event in a file that `utap stat --json -o FILE` wrote, 0 if it was not probed; nothing if it has no such event.
count_of() # EVENT FILE
{
	tr '}' '\n' < "$2" | sed -n -e 's/.*"event":"'"$1"'",.*"hits":\([0-9a-z]*\),.*/\1/p' |
		awk '{ sum += $1 } END { if (NR) printf "%.0f", sum }'
}

# All hits in such a file.
count_all() # FILE
{
	tr '}' '\n' < "$1" | sed -n -e 's/.*"hits":\([0-9]*\),.*/\1/p' | awk '{ sum += $1 } END { printf "%.0f", sum }'
}
