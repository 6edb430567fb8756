# SPDX-License-Identifier: MIT
# Completion of utap's command line for bash. Commands and options repeat src/cli/commands.c; tests/integration/cli.sh
# compares them.

_utap_options()
{
	case $1 in
	trace) echo "--event --file --pid --follow --output --to --by --flow --duration --graph --all-instructions --stack --every --max --seconds --events --json --color --ring --force-no-frame --allow-trap --debugger-safe" ;;
	record) echo "--event --file --pid --follow --output --compression-level --to --by --flow --duration --all-instructions --stack --every --max --seconds --events --ring --overwrite --snapshot-on --force-no-frame --allow-trap --debugger-safe" ;;
	script) echo "--input --output --events --json --color" ;;
	report) echo "--input --output --latency --graph --sort --json" ;;
	convert) echo "--input --output --to --by --flow --events" ;;
	stat) echo "--event --file --pid --follow --output --latency --all-instructions --every --max --seconds --events --ring --json --force-no-frame --allow-trap --debugger-safe" ;;
	top) echo "--event --file --pid --follow --output --latency --interval --sort --seconds --ring --force-no-frame --allow-trap --debugger-safe" ;;
	list) echo "--pid --output --coverage --sample --json" ;;
	probe) echo "--line --vars --funcs --definition --externs --no-inlines --exec --output --json --explain --pid --force-no-frame --allow-trap --debugger-safe" ;;
	detach) echo "--pid --force" ;;
	esac
	[ "$1" = top ] || echo "--verbose"
	echo "--quiet --help"
}

_utap_pids()
{
	local path

	for path in /proc/[0-9]*; do
		[ -O "$path" ] && echo "${path#/proc/}"
	done
}

_utap()
{
	local commands="trace record script report convert stat top list probe detach help version"
	local word=${COMP_WORDS[COMP_CWORD]}
	local before=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]}

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
		return
	fi
	case $before in
	-p | --pid)
		mapfile -t COMPREPLY < <(compgen -W "$(_utap_pids)" -- "$word")
		return
		;;
	-i | --input | -o | --output | -F | --file)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--to)
		mapfile -t COMPREPLY < <(compgen -W "ctf perfetto chrome folded flame ftrace systrace jsonl csv trace-cmd" -- "$word")
		return
		;;
	--stack)
		mapfile -t COMPREPLY < <(compgen -W "fp cfi raw" -- "$word")
		return
		;;
	--by)
		mapfile -t COMPREPLY < <(compgen -W "time calls" -- "$word")
		return
		;;
	--sort)
		mapfile -t COMPREPLY < <(compgen -W "total self calls mean p50 p99 max name" -- "$word")
		return
		;;
	-e | --event | --explain | -d | --seconds | -n | --events | --ring | --snapshot-on)
		return
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
		return
		;;
	esac
	case $word in
	--color=*) mapfile -t COMPREPLY < <(compgen -W "auto always never" -- "${word#--color=}") ;;
	-*) mapfile -t COMPREPLY < <(compgen -W "$(_utap_options "$command")" -- "$word") ;;
	*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	esac
}

complete -o filenames -F _utap utap
