#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian in domus-vm, doing real work that is checked. Arguments: the source folder, domus-vm, name of a case (or --list), and
options for domus-vm run.

Programs' output must be the same as that of the same programs run natively, stress-ng and the kernel's own tests must pass, the
guest's clocks must keep up with the host's, and after all that the guest's log must be clean."""
import atexit
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'guest'))
import guestvm  # noqa: E402
from guestvm import PROMPT, Failed, tool  # noqa: E402

PATIENCE = 600  # for one workload of the short cases

# What a guest's log must not say. Of warnings and errors (levels 0 to 4) only the known ones may be there, too.
BAD_LOG = re.compile(r'BUG|WARNING|Oops|Call Trace|lockup|stall|hung task|blocked for more|unstable|clocksource.*(skew|watchdog|unstable)'
                     r'|Marking (TSC|clocksource)|traps:|segfault|general protection|mce:|Hardware Error|rcu:.*(detected|starved)|rcu_.*kthread starved'
                     r'|NMI|double fault|bad page|Bad page|corrupt|invalid opcode|alg:.*fail|I/O error|EXT4-fs error|APIC error|do_IRQ')
# Programs that fault on purpose (our own, and stressors of these names) are in the log as they would be natively.
GOOD_LOG = re.compile(r'RETBleed: WARNING|NMI watchdog: Perf|(traps: |^)?(numbers|stress-ng[-\w]*)\[\d+\]:? |: WARNING: Spectre'
                      r'|MCE: Killing stress-ng'  # pages that a stressor declares broken
                      r'|Code: |AMD-Vi|not a bug|clocksource: Switched|NMI watchdog: Enabled|ACPI: .*NMI|rcu: .*(RCU|Offload)|test_bpf'
                      r'|alg: .*(allocate transform .*: -2|\(rc=-2\))$')  # what the kernel lacks

PROGRAMS = ['python', 'perl', 'gcc', 'openssl', 'luajit', 'node', 'busybox32', 'tools', 'verify']

CPU = ['cpu', 'vecmath', 'matrix=--matrix-method,all', 'fp', 'hash', 'qsort', 'bsearch', 'funccall', 'funcret', 'branch', 'goto',
       'crypt', 'vecwide', 'vecfp', 'vecshuf', 'longjmp', 'far-branch', 'fp-error', 'tsc', 'regs', 'rotate', 'memcpy', 'str', 'wcs', 'zlib',
       'x86cpuid', 'tree', 'skiplist', 'radixsort', 'heapsort', 'mergesort', 'sparsematrix', 'rdrand', 'opcode', 'priv-instr', 'nop',
       'icache', 'flushcache', 'cacheline', 'lockbus', 'misaligned', 'mutex', 'judy', 'prefetch',
       'stream=--stream-l3-size,4M', 'zero']  # its arrays are a multiple of the L3 cache, which may be larger than the guest
VM = ['vm=--vm-method,all,--vm-bytes,128M', 'vm-addr', 'vm-rw', 'vm-segv', 'vm-splice', 'mmap=--mmap-bytes,64M', 'mmapaddr', 'mmapfixed',
      'mmapfork', 'mmapmany', 'mprotect', 'mremap=--mremap-bytes,64M', 'madvise', 'mincore', 'msync=--msync-bytes,64M',
      'brk', 'stack', 'stackmmap', 'shm', 'shm-sysv', 'tlb-shootdown', 'fault', 'userfaultfd', 'remap', 'munmap', 'memfd',
      'pageswap', 'memrate=--memrate-bytes,64M', 'mlock', 'memthrash', 'bigheap', 'pkey', 'numa', 'resources', 'null']
SYSCALL = ['syscall', 'fork', 'vfork', 'clone', 'exec', 'spawn', 'pthread', 'pipe', 'pipeherd', 'switch', 'futex', 'sem', 'sem-sysv', 'msg',
           'mq', 'poll', 'epoll', 'eventfd', 'timer', 'timerfd', 'hrtimers', 'itimer', 'alarm', 'nanosleep', 'clock', 'signal', 'signest',
           'sigfd', 'sigfpe', 'sigsegv', 'sigtrap', 'sigq', 'sigrt', 'sigsuspend', 'sigpending', 'sigchld', 'sigpipe', 'sigabrt', 'sock',
           'sockpair', 'udp', 'splice', 'tee', 'vdso', 'x86syscall', 'usersyscall', 'seccomp', 'ptrace', 'kill', 'wait', 'zombie', 'yield',
           'schedpolicy', 'affinity', 'membarrier', 'rseq', 'getrandom', 'get', 'dup', 'open', 'close', 'fstat', 'dentry', 'dir', 'rename',
           'link', 'symlink', 'seek', 'hdd=--hdd-bytes,32M', 'iomix=--iomix-bytes,32M', 'io-uring', 'aio', 'sysbadaddr', 'enosys',
           'nice', 'session', 'set', 'procfs', 'personality', 'context', 'uprobe', 'bad-altstack']
SHORT = ['cpu', 'vm=--vm-bytes,64M', 'vecmath', 'fp-error', 'switch', 'fork', 'futex', 'sigsegv', 'tlb-shootdown', 'mmap=--mmap-bytes,32M',
         'timer', 'opcode', 'lockbus']


def say(*words):
    print(*words, flush=True)


def folder():
    path = tempfile.mkdtemp(prefix='domus-linux-')
    atexit.register(shutil.rmtree, path, True)
    return path


class Guest(guestvm.Guest):
    """A Debian guest with the workloads in /mnt, driven by the shell on its console."""

    def __init__(self, env, kernel='generic', cpus=1, memory='2G', append=''):
        tree = tool(env.source, 'fetch-kernel', kernel)
        super().__init__(guestvm.domus_argv(env.vm, f'{tree}/vmlinuz', env.initrd(tree), f'console=ttyS0 quiet loglevel=1 {append}', cpus,
                                            memory, env.options))
        say(f'{kernel} kernel, {cpus} CPUs: shell after {self.wait_for_shell():.1f} s')
        self.shell('stty -echo; dmesg -n 1')

    def workload(self, name, *args, limit=PATIENCE):
        """(exit status, output) of a workload in the guest."""
        self.send(f'/mnt/run {name} {" ".join(args)}')
        self.until(b'domus-result ', limit)
        out = self.until(b'domus-end', 60).decode(errors='replace')
        self.until(PROMPT, 60)
        return parse(out)

    def check_log(self):
        text = self.shell('dmesg -r; echo', 120)
        clock = self.shell('cat /sys/devices/system/clocksource/clocksource0/current_clocksource')
        lines, bad = text.splitlines(), []
        for k, line in enumerate(lines):
            level = re.match(r'<(\d+)>', line)
            if BAD_LOG.search(line) and not GOOD_LOG.search(re.sub(r'^<\d+>\[[ .\d]*\] ', '', line)):
                bad.append(k)
            elif level and int(level[1]) & 7 < 3:
                bad.append(k)
        if bad:
            near = [line for k, line in enumerate(lines) if any(-20 <= k - b <= 30 for b in bad)]
            raise Failed('the guest\'s log is not clean:\n' + '\n'.join(lines[b] for b in bad[:40]) + '\nwith what is around that:\n' + '\n'.join(near[:200]))
        if clock.strip() not in ('tsc', 'kvm-clock'):
            raise Failed(f'the guest\'s clock source is {clock!r} now')
        say(f'log clean ({len(text.splitlines())} lines)')

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.check_log()
                self.send('poweroff -f')
                if self.p.wait(60):
                    raise Failed(f'domus-vm ended with status {self.p.returncode}')
        finally:
            self.close()


def parse(text):
    """(exit status, output, seconds) of what workloads/run prints."""
    head, body = text.removeprefix('domus-result ').split('\n', 1)
    m = re.search(r'status=(\d+) ms=(\d+)', head)
    return int(m[1]), body.split('domus-end')[0].strip(), int(m[2]) / 1000


class Env:
    def __init__(self, source, vm, options):
        self.source, self.vm, self.options = source, vm, options
        self.work = folder()
        self.workloads = f'{source}/tests/linux/workloads'

    def initrd(self, tree):
        """The image of a kernel with the workloads, made once."""
        out = f'{self.work}/{os.path.basename(tree)}.img'
        if not os.path.exists(out):
            tool(self.source, 'make-debian', tree, out, *(f'{self.workloads}/{f}=/mnt/{f}' for f in sorted(os.listdir(self.workloads))))
        return out

    def native(self, name, *args):
        """A workload on this machine, in the same tree, of which nothing can be changed."""
        root = tool(self.source, 'fetch-debian') + '/root'
        script = f'''set -e
            mount --bind {root} {root}
            for at in tmp mnt dev; do mount -t tmpfs tmpfs {root}/$at; done
            mount -t proc proc {root}/proc
            for device in null zero random urandom full tty; do touch {root}/dev/$device; mount --bind /dev/$device {root}/dev/$device; done
            mkdir {root}/dev/shm
            ln -s /proc/self/fd {root}/dev/fd
            cp {self.workloads}/* {root}/mnt/
            {root}/bin/busybox ifconfig lo 127.0.0.1
            mount -o remount,ro,bind {root}
            exec chroot {root} bash /mnt/run {name} {" ".join(args)}'''
        p = subprocess.run(['unshare', '--mount', '--net', '--pid', '--fork', '--propagation', 'private', 'sh', '-c', script],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=PATIENCE,
                           env={'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'TERM': 'vt100'})
        out = p.stdout.decode(errors='replace')
        if 'domus-result' not in out:
            raise Failed(f'{name} cannot run natively: {out}')
        return parse(out[out.index('domus-result'):])


def first_difference(want, got):
    for i, (a, b) in enumerate(zip(want.splitlines() + [''], got.splitlines() + [''])):
        if a != b:
            return f'line {i + 1}: natively {a[:300]!r}, in the guest {b[:300]!r}'
    return 'one ends early'


def compare(env, guest, name, *args):
    """The same program natively and in the guest: the same output."""
    status, want, native = env.native(name, *args)
    if status:
        raise Failed(f'{name} fails natively: {want[-1000:]}')
    status, got, seconds = guest.workload(name, *args)
    if status or got != want:
        raise Failed(f'{name}: exit status {status}; {first_difference(want, got)}\n{got[-1500:] if status else ""}')
    say(f'{name}: as natively ({len(want.splitlines())} lines); {seconds:.1f} s, natively {native:.1f} s')


def expect(guest, name, *args, limit=PATIENCE):
    """A workload that judges itself."""
    status, got, seconds = guest.workload(name, *args, limit=limit)
    if status:
        raise Failed(f'{name} {" ".join(args)}: exit status {status}\n{got[-6000:]}')
    say(f'{name}: passed; {seconds:.1f} s\n  ' + '\n  '.join(line for line in got.splitlines()[-12:] if not line.startswith('+')))


def collect(failures, fn, *args, **kwargs):
    """Goes on after a failure, so that one run tells all of them."""
    try:
        fn(*args, **kwargs)
    except Failed as e:
        say('FAILED:', e)
        failures.append(str(e).splitlines()[0])


def check(failures):
    if failures:
        raise Failed('; '.join(failures))


def programs(env, cpus=2, *args):
    """All programs, dpkg at work and the kernel's tests."""
    failures = []
    with Guest(env, 'generic', cpus) as guest:
        for name in PROGRAMS:
            collect(failures, compare, env, guest, name, *args)
        collect(failures, expect, guest, 'dpkg')
        collect(failures, expect, guest, 'modules', *args, limit=1800)
        check(failures)


def only(env, names):
    """For hunting: the programs or other workloads with these names."""
    failures = []
    with Guest(env, 'generic', 2) as guest:
        for name in names:
            if name.split()[0] in PROGRAMS:
                collect(failures, compare, env, guest, *name.split())
            else:
                collect(failures, expect, guest, *name.split())
        check(failures)


def stress(env, kernel, cpus, seconds, stressors, limit=PATIENCE):
    with Guest(env, kernel, cpus) as guest:
        expect(guest, 'stress', str(seconds), str(cpus), *stressors, limit=limit)


def spread(env, cpus, minutes, stressors):
    """A group of stressors for so many minutes in all; the first of the list, which runs many methods, for a third."""
    failures = []
    with Guest(env, 'generic', cpus) as guest:
        collect(failures, expect, guest, 'stress', str(minutes * 20), str(cpus), stressors[0], limit=minutes * 60 + 600)
        each = max(2, round(minutes * 40 / len(stressors[1:])))
        for one in stressors[1:]:
            collect(failures, expect, guest, 'stress', str(each), str(cpus), one, limit=each + 600)
        check(failures)


def sample(guest):
    """(host, guest monotonic, guest real time) in seconds, from the quickest of some answers."""
    best = None
    for _ in range(8):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        guest.send('now')
        guest.until(b'domus-clock ', 120)
        words = guest.until(b'\n', 60).split()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if not best or after - before < best[0]:
            best = after - before, (before + after) / 2e9, int(words[0]) / 1e9, int(words[1]) / 1e9
    return best[1:]


def clock_error(guest, load, seconds):
    """The guest's clocks against the host's, with so many busy processes in the guest; in percent."""
    guest.send(f'python3 /mnt/clock.py {load}')
    guest.until(b'domus-clock ready', 120)
    samples = [sample(guest)]
    while samples[-1][0] - samples[0][0] < seconds:
        time.sleep(min(2, seconds / 5))
        samples.append(sample(guest))
    guest.send('end')
    guest.until(PROMPT, 60)
    h0, m0, r0 = samples[0]
    drift = [(abs((m - m0) - (h - h0)), abs((r - r0) - (h - h0))) for h, m, r in samples[1:]]
    span = samples[-1][0] - h0
    error = max(drift[-1]) / span * 100
    worst = max(max(d) for d in drift)
    say(f'clock with {load} busy processes over {span:.1f} s: error {error:.4f}%, worst deviation {worst * 1000:.1f} ms '
        f'(median {statistics.median(max(d) for d in drift) * 1000:.1f} ms)')
    if error >= 1 or worst > max(0.01 * span, 0.15):
        raise Failed(f'clock error {error:.3f}% with {load} busy processes, at worst {worst * 1000:.1f} ms away')


def clock(env, seconds, cpus=4):
    with Guest(env, 'cloud', cpus) as guest:
        clock_error(guest, 0, seconds)
        clock_error(guest, cpus, seconds)


def soak(env, seconds, cpus=2):
    with Guest(env, 'generic', cpus) as guest:
        expect(guest, 'mixed', str(seconds), limit=seconds + 1200)


CASES = {
    'programs': lambda env: programs(env, 2, 'quick'),
    'stress-1': lambda env: stress(env, 'cloud', 1, 1, SHORT),
    'stress-2': lambda env: stress(env, 'generic', 2, 1, SHORT),
    'clock': lambda env: clock(env, 10),
    'programs-1': lambda env: programs(env, 1),
    'programs-4': lambda env: programs(env, 4),
    'clock-10-minutes': lambda env: clock(env, 600),
    'soak-1-hour': lambda env: soak(env, 3600),
}
for _group, _list in (('cpu', CPU), ('vm', VM), ('syscall', SYSCALL)):
    for _cpus in (1, 2):
        CASES[f'stress-{_group}-{_cpus}'] = lambda env, n=_cpus, what=_list: spread(env, n, 10, what)


def main():
    source, vm, name, *options = sys.argv[1:]
    if name == '--list':
        say(*CASES)
        return 0
    if os.geteuid() != 0 or not shutil.which('mmdebstrap'):
        say('SKIP: making a Debian guest needs root and mmdebstrap')
        return 77
    start = time.monotonic()
    case = CASES.get(name) or (lambda env: only(env, name.split(',')))
    try:
        case(Env(source, vm, options))
    except Failed as e:
        say('FAILED:', e)
        return 1
    say(f'passed in {time.monotonic() - start:.0f} s')
    return 0


sys.exit(main())
