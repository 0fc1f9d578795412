#!/bin/sh
# Question  Does ru_maxrss of getrusage(RUSAGE_SELF) tell the most memory that this process ever had?
# Guess     Yes: "self" is this process, and exec gives it a new address space.
# Version   Linux with Python 3.11 and later; subprocess and multiprocessing's "spawn" start by vfork and exec.
# Behaviour exec keeps the larger of the old and the new peak: a child begins with that of its parent.
#           VmHWM in /proc/self/status is that of the new address space alone.
# Seen      "parent 400 MiB; child ru_maxrss over 300: True; child VmHWM over 300: False"
# Hurts     A pool that replaces workers which grew too large replaces every worker after every file, once the process
#           that feeds it has been large: a scan of a fleet of drivers then costs half a second of start-up a driver.
set -eu
python3 - <<'PYTHON'
import subprocess
import sys

large = bytearray(400 << 20)
child = """
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
own = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) >> 10
print(f"child ru_maxrss over 300: {peak > 300}; child VmHWM over 300: {own > 300}")
"""
told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
print(f"parent {len(large) >> 20} MiB; {told.stdout.strip()}")
PYTHON
