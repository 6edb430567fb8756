# SPDX-License-Identifier: MIT
# Compares stacks in utap's JSON with others, address by address.
#
#   stacks_tables.py told PROGRAM_OUTPUT UTAP_JSON CUT   each with the line that the program printed of the same call: all addresses; where the
#                                                        line's name is among CUT (joined by commas), as many as utap has, if it says that there are more
#   stacks_tables.py gdb GDB_OUTPUT UTAP_JSON LEAST      the shapes that both saw: each of gdb's starts one of utap's, and each of utap's with one of
#                                                        gdb's; LEAST of them
import json
import sys

how, other_path, utap_path, last = sys.argv[1:5]
bad = 0


def problem(text):
    global bad
    bad += 1
    if bad < 4:
        print(text)


def stacks():
    for line in open(utap_path):
        if line.startswith("{"):
            row = json.loads(line)
            yield [int(frame["addr"], 16) for frame in row["stack"] or []], "stack" in row.get("short", []), row["pid"]


def told():
    cut = last.split(",")
    wanted = {}
    for line in open(other_path):
        words = line.split()
        if " 0x" in line and words[0].isdigit():
            name = line[len(words[0]) + 1 : line.index(" 0x")]
            wanted.setdefault(int(words[0]), []).append((name, [int(word, 16) for word in words if word.startswith("0x")]))
    count = 0
    for have, is_short, pid in stacks():
        if not wanted.get(pid):
            problem(f"process {pid} printed no such call")
            continue
        name, want = wanted[pid].pop(0)
        count += 1
        if name in cut and is_short and len(have) > 1 and have[1:] == want[: len(have) - 1]:
            continue
        if have[1:] != want or is_short:
            problem(f"{name}: {[hex(a) for a in have[1:]]}{' ...' if is_short else ''}, libgcc says {[hex(a) for a in want]}")
    for pid, rest in wanted.items():
        if rest:
            problem(f"{len(rest)} calls of process {pid} have no record")
    print(f"{count} compared")
    if count < 10:
        problem("so few?")


def gdb():
    ours = {tuple(have) for have, is_short, _ in stacks()}
    theirs = {tuple(json.loads(line[6:])) for line in open(other_path) if line.startswith("STACK ")}
    for want in theirs:
        if not any(have[: len(want)] == want for have in ours):
            problem(f"gdb saw {[hex(a) for a in want]}, utap none of it: {[hex(a) for a in min(ours, default=())]}")
    for have in ours:
        if not any(have[: len(want)] == want for want in theirs):
            problem(f"utap saw {[hex(a) for a in have]}, gdb nothing of it")
    print(f"{len(theirs)} of gdb, {len(ours)} of utap")
    if len(theirs) < int(last):
        problem(f"gdb saw only {len(theirs)}")


{"told": told, "gdb": gdb}[how]()
sys.exit(bad != 0)
