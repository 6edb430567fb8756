# SPDX-License-Identifier: MIT
"""utap top on a terminal of its own, ended in some way: its last word on each mode must be "off", and the terminal's settings be the old ones.

top_terminal.py 'INTERVAL q|INT|end' UTAP WORKER
"""
import os
import pty
import select
import signal
import sys
import termios
import time

interval, how = sys.argv[1].split()
utap, worker = sys.argv[2:]
os.environ["TERM"] = "xterm"
MODES = {"keypad": (b"\x1b[?1h", b"\x1b[?1l"), "alternate screen": (b"\x1b[?1049h", b"\x1b[?1049l")}


def gather(fd, seconds, pid):
    """What is written within so many seconds, or until the program is gone; and its status."""
    said, until = b"", time.time() + seconds
    while time.time() < until:
        if select.select([fd], [], [], 0.05)[0]:
            said += os.read(fd, 65536)
            continue
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return said, status
    return said, None


ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
seconds = "1" if how == "end" else "20"
pid = os.fork()
if pid == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.dup2(theirs, fd)
    os.execv(utap, [utap, "top", "-e", "worker:worker_hash", "--interval", interval, "--", worker, seconds, "1"])
said, status = gather(ours, 0.8, pid)
if how == "q":
    os.write(ours, b"q")
elif how == "INT":
    os.kill(pid, signal.SIGINT)
if status is None:
    more, status = gather(ours, 10, pid)
    said += more
wrong = []
if status is None:
    os.kill(pid, signal.SIGKILL)
    wrong.append("it does not end")
elif status != 0:
    wrong.append("status %d" % status)
for name, (on, off) in MODES.items():
    if on not in said:
        wrong.append("%s was never on" % name)
    elif said.rfind(off) < said.rfind(on):
        wrong.append("%s stays on" % name)
if termios.tcgetattr(theirs) != before:
    wrong.append("the terminal's settings are others than before")
if wrong:
    sys.exit(", ".join(wrong))
