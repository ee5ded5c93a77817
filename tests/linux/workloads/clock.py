# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers each line with the clocks, for the runner to compare with its own; an argument is a number of busy processes."""
import os
import sys
import time

children = []
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        while True:
            pass
    children.append(pid)
print('domus-clock ready', flush=True)
while sys.stdin.readline().strip() != 'end':
    print('domus-clock', time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime_ns(time.CLOCK_REALTIME),
          time.clock_gettime_ns(time.CLOCK_BOOTTIME), flush=True)
for pid in children:
    os.kill(pid, 9)
