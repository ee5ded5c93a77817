#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs every test suite and adds up what they say. Called by ./check after the packages are there and build/ is built."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent
MESON = '/usr/bin/meson'


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.reasons = []

    def add(self, result, name, reason=''):
        if result == 'pass':
            self.passed += 1
        elif result == 'skip':
            self.skipped += 1
            self.reasons.append(f'skipped: {name}: {reason}')
        else:
            self.failed += 1
            self.reasons.append(f'FAILED: {name}')


def stage(title):
    print(f'\n== {title} ({time.strftime("%H:%M:%S")})', flush=True)


def run(*cmd, env=None):
    return subprocess.run(cmd, cwd=ROOT, env={**os.environ, **(env or {})}).returncode


def meson_tests(tally, build, label, skip_suites):
    args = [MESON, 'test', '-C', build, '--no-rebuild', '--print-errorlogs']
    for s in skip_suites:
        args += ['--no-suite', s]
    run(*args)
    log = ROOT / build / 'meson-logs' / 'testlog.json'
    if not log.exists():
        tally.add('fail', f'{label}: meson test wrote no log')
        return
    for line in log.read_text().splitlines():
        t = json.loads(line)
        result = {'OK': 'pass', 'EXPECTEDFAIL': 'pass', 'SKIP': 'skip'}.get(t['result'], 'fail')
        out = (t.get('stdout') or '').strip().splitlines()
        tally.add(result, f'{label}: {t["name"]}', out[-1] if out else 'says no reason')


def build_stage(tally, long):
    stage('unit, style, differential, guest and fuzz tests')
    if run('ninja', '-C', 'build'):
        tally.add('fail', 'build')
        return
    meson_tests(tally, 'build', 'build', [] if long else ['long'])


def asan_stage(tally, long):
    stage('the same code under AddressSanitizer and UndefinedBehaviorSanitizer')
    if not (ROOT / 'build-asan' / 'build.ninja').exists():
        if run(MESON, 'setup', 'build-asan', '-Db_sanitize=address,undefined', '-Db_lundef=false'):
            tally.add('fail', 'asan: setup')
            return
    if run('ninja', '-C', 'build-asan'):
        tally.add('fail', 'asan: build')
        return
    meson_tests(tally, 'build-asan', 'asan', ['long', 'style', 'diff', 'guest', 'kvm', 'linux'])
    system_tests(tally, 'asan system', 'build-asan', '--ignore', 'tests/system/test_linux.py', '-m', 'not debian')


def system_tests(tally, label, build, *args):
    junit = ROOT / build / 'system-tests.xml'
    junit.unlink(missing_ok=True)
    run('/usr/bin/python3', '-m', 'pytest', '-q', '-rs', '-p', 'no:cacheprovider', f'--junitxml={junit}', 'tests/system', *args,
        env={'DOMUS_BUILD': build})
    if not junit.exists():
        tally.add('fail', f'{label}: pytest wrote no results')
        return
    for case in ET.parse(junit).getroot().iter('testcase'):
        name = f'{label}: {case.get("classname")}.{case.get("name")}'
        skip = case.find('skipped')
        if case.find('failure') is not None or case.find('error') is not None:
            tally.add('fail', name)
        elif skip is not None:
            tally.add('skip', name, skip.get('message', ''))
        else:
            tally.add('pass', name)


def system_stage(tally, long):
    stage('system tests: stock clients, real guests')
    system_tests(tally, 'system', 'build')


STAGES = {'build': build_stage, 'asan': asan_stage, 'system': system_stage}


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--long', action='store_true', help='also run the suites that take many minutes')
    p.add_argument('stages', nargs='*', help=' '.join(STAGES))
    args = p.parse_args()
    if unknown := set(args.stages) - set(STAGES):
        p.error(f'no such stage: {" ".join(unknown)}')
    tally = Tally()
    for name, fn in STAGES.items():
        if not args.stages or name in args.stages:
            fn(tally, args.long)
    print()
    for r in tally.reasons:
        print(r)
    print(f'{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped', flush=True)
    return 1 if tally.failed or not tally.passed else 0


sys.exit(main())
