#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: test-programs.py BUILD-DIR: whether the programs of loads run here, and give the same results each time."""
import os
import pathlib
import re
import subprocess
import sys

RESULT = re.compile(r'domus-bench: (\S+) [0-9.]+ [0-9.]+ ([0-9]+) ([0-9a-f]{16})')


def results(program, *args):
    env = {'BENCH_EXIT': str(program.parent / 'bench-exit'), 'BENCH_TMP': '/dev/shm'}
    p = subprocess.run([program, '--scale', '0.02', *args], env=os.environ | env, stdout=subprocess.PIPE, text=True, timeout=60)
    if p.returncode:
        sys.exit(f'{program.name}: exit status {p.returncode}; its output:\n{p.stdout}')
    return {m[1]: m[3] for m in RESULT.finditer(p.stdout)}


def check(program, least):
    first, second = results(program), results(program)
    if first != second:
        sys.exit(f'{program.name}: the results of two runs differ: {first} {second}')
    if len(first) < least:
        sys.exit(f'{program.name}: {len(first)} results, not {least}: {first}')
    print(f'{program.name}: {len(first)} loads')


def main():
    build = pathlib.Path(sys.argv[1])
    check(build / 'bench-user', 11)  # one needs AVX2
    check(build / 'bench-kernel', 9)
    check(build / 'bench-smp', 2)
    if subprocess.run([build / 'bench-user', 'nonesuch'], capture_output=True).returncode != 2:
        sys.exit('bench-user: takes a load that it does not have')


main()
