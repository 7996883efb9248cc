"""Runs a command and prints its peak resident memory in MB and the milliseconds from its start until FILE held WORD.
usage: watch.py FILE WORD LOG COMMAND...   (LOG gets what the command prints)"""
import os
import subprocess
import sys
import time

path, word, log = sys.argv[1], sys.argv[2].encode(), sys.argv[3]
LOOK_EVERY = 0.0005  # seconds, and a hundredth of the time so far: what the printed time may be too large by


def has_word():
    try:
        with open(path, "rb") as file:
            return word in file.read()
    except FileNotFoundError:
        return False


with open(log, "wb") as output:
    start = time.perf_counter()
    child = subprocess.Popen(sys.argv[4:], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    seen = None
    while seen is None:
        gone, status, usage = os.wait4(child.pid, os.WNOHANG)
        if has_word():
            seen = time.perf_counter() - start
        elif gone:
            break
        time.sleep(LOOK_EVERY + 0.01 * (time.perf_counter() - start))
    if not gone:
        gone, status, usage = os.wait4(child.pid, 0)
code = os.waitstatus_to_exitcode(status)
if code != 0 or seen is None:
    sys.exit(f"watch.py: exit status {code}, {word.decode()} {'seen' if seen else 'never seen'} in {path}")
print(f"{usage.ru_maxrss * 1024 / 1e6:.1f} {seen * 1e3:.1f}")
