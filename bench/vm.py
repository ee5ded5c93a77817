# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines started by their hypervisors' own command lines, with the serial console on a pipe."""
import os
import pathlib
import re
import select
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKER = b'domus-guest: init reached'


class GuestError(Exception):
    """A guest did not do what was expected; the text has the end of its console."""


class Machine:
    """What the guest of a measurement consists of, whoever runs it."""

    def __init__(self, kernel, initrd, mib=256, cpus=1, cmdline='console=ttyS0'):
        self.kernel, self.initrd, self.mib, self.cpus, self.cmdline = kernel, initrd, mib, cpus, cmdline


class Running:
    """A machine that was started; as a context it is stopped at the end."""

    def __init__(self, name, argv, mib):
        self.name, self.mib, self.seen = name, mib, b''
        self.begin = time.monotonic()
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def fail(self, why):
        raise GuestError(f'{self.name}: {why}; its last output:\n{self.seen[-2000:].decode(errors="replace")}')

    def lines(self, patience=300):
        """Lines of the console with the time when each was complete, for as long as no gap is longer than patience."""
        fd, rest = self.process.stdout.fileno(), b''
        while True:
            if not select.select([fd], [], [], patience)[0]:
                self.fail(f'silent for {patience} s')
            chunk = os.read(fd, 65536)
            if not chunk:
                self.fail('ended')
            self.seen += chunk
            now = time.monotonic()
            *complete, rest = (rest + chunk).split(b'\n')
            for line in complete:
                yield now, line.decode(errors='replace').strip()

    def until_init(self):
        """Waits for init; returns the seconds since the start."""
        for now, line in self.lines():
            if MARKER.decode() in line:
                return now - self.begin

    def cpu_seconds(self):
        """CPU time of all its threads so far."""
        tasks = pathlib.Path(f'/proc/{self.process.pid}/task').glob('*/schedstat')
        return sum(int(t.read_text().split()[0]) for t in tasks) * 1e-9

    def wakeups(self):
        """How often all its threads went to sleep so far."""
        tasks = pathlib.Path(f'/proc/{self.process.pid}/task').glob('*/status')
        return sum(int(re.search(r'^voluntary_ctxt_switches:\s*(\d+)', t.read_text(), re.M)[1]) for t in tasks)

    def answer_seconds(self, n):
        """Until the shell on the console has carried out a command; n is another number each time."""
        begin, wanted = time.monotonic(), f'{n}-{n}'
        self.process.stdin.write(f'echo {n}-$(({n}))\n'.encode())
        self.process.stdin.flush()
        for now, line in self.lines(60):
            if line == wanted:
                return now - begin

    def memory_beyond_guest(self):
        """Bytes resident in all mappings but guest RAM, from /proc/PID/smaps. What is mapped twice, as the code cache is to be written
        here and run there, counts once: in shared mappings, the proportional size adds up to that."""
        rest, counted = 0, ''
        for line in pathlib.Path(f'/proc/{self.process.pid}/smaps').read_text().splitlines():
            if m := re.match(r'([0-9a-f]+)-([0-9a-f]+) ...(.) \S+ \S+ \S+ *(.*)', line):
                guest = int(m[2], 16) - int(m[1], 16) == self.mib << 20 or 'memfd:guest-ram' in m[4]
                counted = '' if guest else 'Pss:' if m[3] == 's' else 'Rss:'
            elif counted and line.startswith(counted):
                rest += int(line.split()[1]) << 10
        return rest


class Domus:
    def __init__(self, build, name='domus'):
        self.name, self.program = name, build / 'src/hv/main/domus-vm'

    def start(self, m):
        return Running(self.name, [self.program, 'run', '--engine', 'dbt', '--kernel', m.kernel, '--initrd', m.initrd, '--append',
                                   m.cmdline, '--memory', f'{m.mib}M', '--cpus', m.cpus], m.mib)


class Qemu:
    name = 'tcg'

    def start(self, m):
        return Running(self.name, ['qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg', '-cpu', 'max', '-m', m.mib, '-smp', m.cpus,
                                   '-display', 'none', '-nodefaults', '-serial', 'stdio', '-kernel', m.kernel, '-initrd', m.initrd,
                                   '-append', m.cmdline], m.mib)


def fetch_kernel():
    fetch = subprocess.run([ROOT / 'tests/guest/fetch-kernel'], check=True, capture_output=True, text=True)
    return pathlib.Path(fetch.stdout.strip())


def make_initramfs(tree, out, script=None, files=(), maker='make-initramfs'):
    """Makes an initramfs, of busybox or by make-debian. The script is run after init is reached; files are (path here, path in the guest)."""
    pairs = [f'{a}={b}' for a, b in files]
    if script:
        path = out.with_suffix('.script')
        path.write_text('#!/bin/sh\n' + script)
        path.chmod(0o755)
        pairs.append(f'{path}=/etc/domus-test')
    subprocess.run([ROOT / 'tests/guest' / maker, tree, out, *pairs], check=True)
    out.chmod(0o644)


def kernel_and_initrd(work):
    tree = fetch_kernel()
    shutil.copy(tree / 'vmlinuz', work / 'vmlinuz')
    (work / 'vmlinuz').chmod(0o644)
    make_initramfs(tree, work / 'initrd.img')
    return tree
