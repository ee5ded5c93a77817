#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one test guest in domus-vm and judges how it ended. Arguments: domus-vm, engine, the guests' folder, name of the case.
The engine is dbt, kvm, translated: dbt that translates all code when it runs first, or checked: and compares it with the executor.
mirrored, mirrored-translated and unmirrored are dbt, too, with the memory of all programs at its own addresses, or of none."""
import os
import select
import signal
import subprocess
import sys
import time

PASSED = 33  # what report.c writes to the debug-exit port, as (0x10 << 1) | 1
CRASHED = 1

# name: (image, CPUs, words for the guest, time limit, why not on an emulating /dev/kvm)
CASES = {
    'smoke': ('smoke', 1, 'smoke', 20, None),
    'smoke-multiboot': ('smoke-multiboot', 1, 'smoke', 20, None),
    'exceptions': ('exceptions', 1, '', 20, 'it lacks icebp and some checks'),
    'paging': ('paging', 1, '', 20, 'it lacks stac and clac'),
    'calls': ('calls', 1, '', 20, 'it lacks stac and clac'),
    'string': ('string', 1, '', 20, None),
    'vector': ('vector', 1, '', 20, 'it cannot emulate all of its instructions'),
    'realmode': ('realmode', 1, '', 20, 'it lacks decimal arithmetic'),
    'mirror': ('mirror', 1, '', 60, 'it is not made for this'),
    'smc': ('smc', 1, '', 20, None),
    'smc-2': ('smc', 2, '', 30, None),
    'smp-2': ('smp', 2, '', 30, None),
    'smp-4': ('smp', 4, '', 60, None),
    'smp-x2apic': ('smp', 2, 'x2apic', 30, None),
    'timer': ('timer', 1, '', 30, None),
    'irq': ('irq', 1, '', 30, None),
    'hostile': ('hostile', 1, '', 60, None),
}


def engine_options(engine):
    if engine == 'translated':
        return ['--engine', 'dbt', '--translate-after', '1']
    if engine == 'checked':
        return ['--engine', 'dbt', '--translate-after', '1', '--engine-check']
    if engine == 'mirrored':
        return ['--engine', 'dbt', '--mirror', 'always']
    if engine == 'mirrored-translated':
        return ['--engine', 'dbt', '--translate-after', '1', '--mirror', 'always']
    if engine == 'unmirrored':
        return ['--engine', 'dbt', '--mirror', 'never']
    return ['--engine', engine]


class Vm:
    def __init__(self, vm, engine, image, cpus=1, words='', *options):
        self.out = b''
        self.p = subprocess.Popen([vm, 'run', *engine_options(engine), '--kernel', image, '--append', words, '--memory', '32M',
                                   '--cpus', str(cpus), *options],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def read_until(self, text, limit=20):
        """Collects output until text appears behind what an earlier call found."""
        end = time.monotonic() + limit
        while text not in self.out:
            if not select.select([self.p.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f'no {text!r} within {limit} s, only {self.out!r}')
            data = os.read(self.p.stdout.fileno(), 65536)
            if not data:
                raise AssertionError(f'ended without {text!r}: {self.out!r}')
            self.out += data
        before, self.out = self.out.split(text, 1)
        return before

    def write(self, text):
        self.p.stdin.write(text)
        self.p.stdin.flush()

    def wait(self, limit=20):
        return self.p.wait(limit)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.p.kill()
        self.p.wait()


def emulated_kvm(vm):
    p = subprocess.run([vm, 'probe'], capture_output=True, text=True, timeout=20)
    return 'emulated' in p.stdout + p.stderr


def run_case(vm, engine, folder, name, lenient):
    image, cpus, words, limit, _ = CASES[name]
    if lenient:
        words += ' lenient'
    p = subprocess.run([vm, 'run', *engine_options(engine), '--kernel', f'{folder}/guest-{image}', '--append', words.strip(),
                        '--memory', '32M', '--cpus', str(cpus), '--debug-exit'],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
    sys.stdout.buffer.write(p.stdout)
    print('exit code', p.returncode)
    assert p.returncode == PASSED


def run_triple(vm, engine, folder):
    with Vm(vm, engine, f'{folder}/guest-hostile', 1, 'triple') as g:
        code = g.wait()
        print(g.p.stdout.read())
        assert code == CRASHED, code


def run_spin(vm, engine, folder):
    """A guest that spins with interrupts off can be stopped."""
    with Vm(vm, engine, f'{folder}/guest-hostile', 2, 'spin') as g:
        time.sleep(0.5)
        assert g.p.poll() is None
        g.p.send_signal(signal.SIGTERM)
        start = time.monotonic()
        g.wait(5)
        print(f'gone after {time.monotonic() - start:.3f} s')


def run_echo(vm, engine, folder):
    start = time.monotonic()
    with Vm(vm, engine, f'{folder}/guest-echo', 1, 'some words') as g:
        banner = g.read_until(b'ready> ')
        print(f'ready after {time.monotonic() - start:.3f} s')
        assert b'some words' in banner
        g.write(b'hello\n')
        g.read_until(b'echo: hello\r\nready> ')
        for i in range(20):
            line = b'line %d ' % i + b'x' * i
            g.write(line + b'\n')
            g.read_until(b'echo: ' + line + b'\r\n')
        g.write(b'reboot\n')
        g.read_until(b'rebooting')
        g.read_until(b'ready> ')
        g.write(b'again\n')
        g.read_until(b'echo: again')
        g.write(b'poweroff\n')
        g.read_until(b'powering off')
        assert g.wait() == 0


SPECIAL = {'echo': run_echo, 'triple-fault': run_triple, 'spin': run_spin}


def main():
    vm, engine, folder, name = sys.argv[1:]
    lenient = False
    if engine == 'kvm':
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            print('SKIP: there is no usable /dev/kvm')
            return 77
        lenient = emulated_kvm(vm)
        if lenient and name in CASES and CASES[name][4]:
            print('SKIP: this /dev/kvm is an emulator, and', CASES[name][4])
            return 77
    if name in SPECIAL:
        SPECIAL[name](vm, engine, folder)
    else:
        run_case(vm, engine, folder, name, lenient)
    return 0


sys.exit(main())
