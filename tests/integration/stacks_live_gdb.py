# SPDX-License-Identifier: MIT
# Run inside gdb, attached to a process: the addresses of the stacks with which a function is entered, up to main(), inlined calls left out.
#
#   gdb -q -batch -p PID -x stacks_live_gdb.py     with PLACE (a breakpoint), CALLS (how many)
import json
import os

import gdb


def backtrace():
    addresses = []
    frame = gdb.newest_frame()
    while frame and frame.is_valid():
        if frame.type() != gdb.INLINE_FRAME:
            addresses.append(frame.pc())
        if frame.name() in ("main", "start_thread"):
            break
        try:
            frame = frame.older()
        except gdb.error:
            break
    return addresses


gdb.execute("set pagination off")
gdb.execute("set backtrace limit 400")
gdb.execute(f"break {os.environ['PLACE']}")
for _ in range(int(os.environ["CALLS"])):
    gdb.execute("continue", to_string=True)
    stack = backtrace()
    # Inlined frames at its end share the address of the function that they are in.
    print("STACK " + json.dumps(stack))
gdb.execute("delete")
gdb.execute("detach")
