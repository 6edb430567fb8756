# SPDX-License-Identifier: MIT
# How much stack the runtime's entries need: objdump's disassembly of .text in, "ENTRY BYTES" a line out, what the caller of the entry pushes left
# out. A function needs what it pushes and takes, and of what it calls the one that needs most. What cannot be summed up is an error.
function fail(text)
{
	print "the runtime's stack: " text > "/dev/stderr"
	failed = 1
	exit 1
}

function need(name, depth,    i, most, bytes, kind)
{
	if (name in known)
		return known[name]
	if (!(name in own))
		fail(name " is not there")
	if (depth > 50)
		fail(name " calls itself")
	most = own[name]
	for (i = 1; i <= calls[name]; i++) {
		kind = how[name, i]
		bytes = need(called[name, i], depth + 1) + (kind == "tail" ? 0 : own[name]) + (kind == "call" ? 8 : 0)
		most = bytes > most ? bytes : most
	}
	known[name] = most
	return most
}

function add(target, kind)
{
	called[name, ++calls[name]] = target
	how[name, calls[name]] = kind
}

/^[0-9a-f]+ <.*>:$/ {
	name = substr($2, 2, length($2) - 3)
	own[name] = 0
	next
}
name == "" { next }
{
	target = $NF
	gsub(/[<>]/, "", target)
	is_out = target !~ /\+0x/ && target != name
}
/\tpush/ { own[name] += 8 }
/\tsub +\$0x[0-9a-f]+,%rsp/ {
	match($0, /\$0x[0-9a-f]+,%rsp/)
	own[name] += number(substr($0, RSTART + 3, RLENGTH - 8))
	next
}
/\t(and|lea|mov|sub) .*,%rsp$/ && !/\tmov +%rbx,%rsp/ { # %rbx: how a lent thread goes home
	if ($0 !~ /\tlea +-?0x[0-9a-f]+\(%r[bs]p\),%rsp/)
		fail(name " moves it: " $0)
	if ($0 ~ /\tlea +-0x[0-9a-f]+\(%rsp\)/) {
		match($0, /-0x[0-9a-f]+/)
		own[name] += number(substr($0, RSTART + 3, RLENGTH - 3))
	}
}
/\t(call|jmp) +\*/ { fail(name " goes where something it read says: " $0) }
/\tcall/ { add(target, "call") }
# To another function: its last call, for which it has given back its own stack; but a part of itself may lie elsewhere.
/\tj[a-z]+ / && is_out { add(target, target ~ /\.cold/ ? "part" : "tail") }

function number(hex,    i, value)
{
	for (i = 1; i <= length(hex); i++)
		value = value * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
	return value
}

END {
	if (failed)
		exit 1
	for (name in own)
		if (name ~ /_entry$/ && name != "batch_entry")
			print name, need(name, 0)
}
