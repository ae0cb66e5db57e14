"""Boots a machine on a pty and waits for `login:`; measures the process that stays while the machine runs; ends it.

    boot.py IDLE END KEEPER COMMAND...

IDLE: seconds of quiet before memory and wake-ups of the process that stays are taken; 0: not at all. END: a shell command that
ends the machine; empty: SIGTERM to COMMAND; after the word KILL: it is not asked, and its end is not timed; KILL alone: SIGKILL
to COMMAND. KEEPER: a shell command that prints the PID of the process that stays; empty:
COMMAND itself. One line of JSON on standard output.
"""

import glob
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time


def drain(master, seconds, until=b""):
    """Reads the console; True once `until` was seen, False at its end or when the time is up."""
    deadline, seen = time.monotonic() + seconds, b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([master], [], [], left)[0]:
            break
        try:
            seen += os.read(master, 4096)
        except OSError:
            break
        if until and until in seen:
            return True
    if until:
        sys.exit(f"no prompt: {seen[-300:]!r}")
    return False


def fields(path):
    pairs = (line.partition(":") for line in open(path))
    return {name: rest.split() for name, _, rest in pairs}


def wakes(pid):
    names = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
    tasks = [fields(path) for path in glob.glob(f"/proc/{pid}/task/*/status")]
    return sum(int(task[name][0]) for task in tasks for name in names)


def main(idle, end, keeper, argv):
    begin = time.monotonic()
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    drain(master, 60, b"login: ")
    result = {"ms": (time.monotonic() - begin) * 1000}
    if idle:
        drain(master, idle)
        kept = int(subprocess.check_output(keeper, shell=True)) if keeper else pid
        before = wakes(kept)
        drain(master, idle)
        rollup = fields(f"/proc/{kept}/smaps_rollup")
        result["wakes_per_min"] = (wakes(kept) - before) * 60 / idle
        result["pss_kib"] = int(rollup["Pss"][0])
        result["private_kib"] = int(rollup["Private_Dirty"][0])
    begin = time.monotonic()
    is_asked, end = not end.startswith("KILL"), end.removeprefix("KILL")
    if not is_asked and not end:
        os.kill(pid, signal.SIGKILL)
    elif end:
        subprocess.Popen(end, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    else:
        os.kill(pid, signal.SIGTERM)
    drain(master, 60)
    os.waitpid(pid, 0)
    if is_asked:
        result["stop_ms"] = (time.monotonic() - begin) * 1000
    print(json.dumps(result))


main(float(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
