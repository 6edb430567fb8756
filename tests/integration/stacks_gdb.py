# SPDX-License-Identifier: MIT
# Run inside gdb: each time probed_leaf() is entered, its instructions are stepped through, and at each the backtrace is printed: a JSON array of
# the addresses up to main() or a thread's start, innermost first. The last one of a call is where it returned to.
#
#   gdb -q -batch -x stacks_gdb.py PROGRAM      with MODE (of the program), CALLS (how many to look at), STEPS=0: only the entry and the return
import json
import os

import gdb

LAST = ("main", "start_thread")


def backtrace():
    addresses = []
    frame = gdb.newest_frame()
    while frame:
        addresses.append(frame.pc())
        if frame.name() in LAST:
            break
        frame = frame.older()
    return addresses


def say(kind):
    print("STACK " + json.dumps({"kind": kind, "stack": backtrace()}))


gdb.execute("set pagination off")
gdb.execute("set breakpoint pending on")
gdb.execute("set backtrace limit 700")
gdb.execute("handle SIGUSR1 nostop noprint pass")
gdb.execute("break *probed_leaf")
gdb.execute(f"run {os.environ['MODE']} 3 > /dev/null")
for call in range(int(os.environ.get("CALLS", "1"))):
    if not gdb.selected_inferior().pid:
        break
    gdb.execute("set scheduler-locking step")
    depth = len(backtrace())
    before = None
    while gdb.newest_frame().name() == "probed_leaf":
        if gdb.newest_frame().pc() != before and (before is None or os.environ.get("STEPS", "1") == "1"):
            say("inside")
        before = gdb.newest_frame().pc()
        gdb.execute("nexti", to_string=True)
    say("returned")
    gdb.execute("set scheduler-locking off")
    gdb.execute("continue", to_string=True)
if gdb.selected_inferior().pid:
    gdb.execute("kill")
