# SPDX-License-Identifier: MIT
# Compares the stacks in utap's JSON with those that gdb saw, one by one: each of utap's must start with all of gdb's.
#
#   stacks_compare.py GDB_OUTPUT UTAP_JSON inside|returned [MOST]
import json
import sys

gdb_path, utap_path, kind = sys.argv[1:4]
most = int(sys.argv[4]) if len(sys.argv) > 4 else 512
wanted, got = [], []
for line in open(gdb_path):
    if line.startswith("STACK "):
        row = json.loads(line[6:])
        if row["kind"] == kind:
            wanted.append(row["stack"])
for line in open(utap_path):
    if line.startswith("{"):
        row = json.loads(line)
        got.append(([int(frame["addr"], 16) for frame in row["stack"] or []], row))
bad = 0
if not wanted:
    print("gdb saw no stack")
    bad = 1
if len(got) < len(wanted):
    print(f"{len(got)} stacks, gdb saw {len(wanted)}")
    bad = 1
for number, (want, (have, row)) in enumerate(zip(wanted, got)):
    if have[: len(want)][:most] != want[:most]:
        print(f"stack {number}: {[hex(a) for a in have[:20]]}, gdb says {[hex(a) for a in want[:20]]}")
        bad = 1
print(f"{len(wanted)} compared")
sys.exit(bad)
