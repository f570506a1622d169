"""Runs one command as a child and prints its exit status, wall seconds, CPU seconds and peak memory in kilobytes.

A program of its own, because a child's peak memory begins at its parent's: this parent is as small as Python gets. The
child writes to standard error, so that standard output holds the figures alone. The CPU time is that of the whole
process tree; the peak is that of its largest process.
"""

import os
import sys
import time

if __name__ == "__main__":
    command = sys.argv[1:]
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - began
    peak_kb = usage.ru_maxrss // 1024 if sys.platform == "darwin" else usage.ru_maxrss
    print(os.waitstatus_to_exitcode(status), wall_s, usage.ru_utime + usage.ru_stime, peak_kb)
