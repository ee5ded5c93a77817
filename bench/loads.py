# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of loads, run on the host and in guests, and the comparison of their times and results."""
import contextlib
import re
import signal
import statistics
import subprocess
import time

RESULT = re.compile(r'domus-bench: (\S+) ([0-9.]+) ([0-9.]+) ([0-9]+) (\S+)$')
BEGIN = re.compile(r'domus-bench: begin (\S+)$')
TOOK = re.compile(r'domus-bench: took (\S+)$')
FAILED = re.compile(r'domus-bench: failed: (.*)$')
END = 'domus-bench: end'


class Result:
    """One run of one load: seconds by the clock of who ran it and by the host's, CPU seconds on the host, operations, checksum."""

    def __init__(self, seconds, cpu_seconds, operations, checksum, host_seconds):
        self.seconds, self.cpu_seconds = float(seconds), float(cpu_seconds)
        self.operations, self.checksum, self.host_seconds = int(operations), checksum, host_seconds


def parse(lines, complain, cpu=None):
    """Results by name, from (time, line) pairs up to the end marker; complain(text) is called for a load that failed. cpu() gives the
    CPU time so far of who runs them; without it, what the program says about itself is right."""
    results, begin, end = {}, (0, 0), None
    for now, line in lines:
        if BEGIN.search(line):
            begin, end = (now, cpu() if cpu else 0), None
        elif TOOK.search(line):  # the result follows later, because its checksum takes time
            end = now, cpu() if cpu else 0
        elif m := FAILED.search(line):
            complain(m[1])
        elif line.endswith(END):
            break
        elif m := RESULT.search(line):
            end = end or (now, cpu() if cpu else 0)
            name, seconds, cpu_seconds, *rest = m.groups()
            results[name] = Result(seconds, end[1] - begin[1] if cpu else cpu_seconds, *rest, end[0] - begin[0])
    return results


class Native:
    """The programs on the host itself."""

    def __init__(self, command, name='native'):
        self.command, self.name = command, name

    def run(self, complain):
        p = subprocess.Popen(['/bin/sh', '-c', self.command], stdout=subprocess.PIPE, text=True)
        with p:
            results = parse(((time.monotonic(), line.rstrip()) for line in p.stdout), complain)
        if p.returncode:
            complain(f'exit status {p.returncode}')
        return results


class Guest:
    """The programs in a guest of one hypervisor. The memory of the hypervisor beyond guest RAM is noted when they have ended."""

    def __init__(self, vmm, machine, name=None):
        self.vmm, self.name, self.machine, self.memory = vmm, name or vmm.name, machine, []
        self.profile = None  # the file where perf records, if it shall

    def run(self, complain):
        with self.vmm.start(self.machine) as vm, contextlib.ExitStack() as at_end:
            results = parse(self.watched(vm, at_end), complain, vm.cpu_seconds)
            self.memory.append(vm.memory_beyond_guest() / (1 << 20))
        return results

    def watched(self, vm, at_end):
        """The lines of the console; perf, if wanted, is started at the first load and stopped after the last."""
        perf = not self.profile
        for now, line in vm.lines():
            if not perf and BEGIN.search(line):
                perf = subprocess.Popen(['perf', 'record', '-q', '-e', 'cpu-clock', '-g', '-o', self.profile, '-p', str(vm.process.pid)],
                                        stdout=subprocess.DEVNULL)
                at_end.callback(perf.wait)
                at_end.callback(perf.send_signal, signal.SIGINT)
            yield now, line


class Comparison:
    """Results of several rounds of several sides, the first of which says what the checksums must be."""

    def __init__(self, sides, cpu_time=False):
        self.field = 'cpu_seconds' if cpu_time else 'seconds'
        self.sides, self.results, self.complaints = sides, {s.name: {} for s in sides}, []

    def measure(self, rounds, progress):
        for i in range(rounds):
            for side in self.sides:
                progress(f'round {i + 1} of {rounds}: {side.name}')
                results = side.run(lambda text: self.complaints.append(f'FAILED: {side.name}: {text}'))
                self.check_clock(side, results)
                for name, r in results.items():
                    self.results[side.name].setdefault(name, []).append(r)
        for name in self.names():
            self.check_results(name, rounds)

    def names(self):
        """All loads that any side gave a result for, in order."""
        return list(dict.fromkeys(name for s in self.sides for name in self.results[s.name]))

    def check_clock(self, side, results):
        """A guest whose clock is slow looks fast: it must agree with the host's, which also counts the serial port's time."""
        guest = sum(r.seconds for r in results.values())
        host = sum(r.host_seconds for r in results.values())
        if abs(host - guest) > 0.1 + 0.03 * host:
            self.complaints.append(f'CLOCK: {side.name} says {guest:.3f} s where the host says {host:.3f} s')

    def check_results(self, name, rounds):
        reference = self.results[self.sides[0].name].get(name)
        right = reference[0].checksum if reference else None
        for side in self.sides:
            runs = self.results[side.name].get(name, [])
            if len(runs) != rounds:
                self.complaints.append(f'MISSING: {side.name} gave {len(runs)} results for {name}, not {rounds}')
            for r in runs:
                if r.checksum != right:
                    self.complaints.append(f'WRONG RESULT: {side.name} {name}: {r.checksum}, not {right}')

    def each(self, result):
        """Seconds per operation."""
        return max(getattr(result, self.field), 1e-6) / result.operations

    def median(self, side, name):
        """Median of the seconds per operation, None if there is nothing."""
        runs = self.results.get(side, {}).get(name)
        return statistics.median(self.each(r) for r in runs) if runs else None

    def ratios(self, above, below, name):
        """Median, least and greatest ratio of the seconds per operation; the extremes are of the single rounds."""
        a, b = self.results.get(above, {}).get(name), self.results.get(below, {}).get(name)
        if not a or not b:
            return None
        single = [self.each(x) / self.each(y) for x, y in zip(a, b)]
        return self.median(above, name) / self.median(below, name), min(single), max(single)


def amount(comparison, side, name, rate):
    each = comparison.median(side, name)
    if each is None:
        return '-'
    if rate:
        return f'{1 / each:,.0f}/s' if each < 0.01 else f'{1 / each:.3g}/s'
    return f'{each * comparison.results[side][name][0].operations:.3f}s'


def spread(ratio):
    return f'{ratio[0]:6.2f} ({ratio[1]:.2f}..{ratio[2]:.2f})' if ratio else '-'


def geometric_mean(ratios):
    return f'{statistics.geometric_mean(r[0] for r in ratios):6.2f}' if ratios and all(ratios) else '-'


def table(c, ours, peer, rate=False):
    """Prints the comparison; the ratios are the time of Domus to that of the host, and the time of the peer to that of Domus."""
    names, slow = c.names(), [c.ratios(ours, 'native', n) for n in c.names()]
    fast = [c.ratios(peer, ours, n) for n in names]
    row = '{:14} {:>12} {:>12} {:>12}  {:24} {:24}'
    print(row.format('load', 'native', ours, peer, f'{ours}/native time', f'{peer}/{ours} time'))
    for n, s, f in zip(names, slow, fast):
        print(row.format(n, *(amount(c, side, n, rate) for side in ('native', ours, peer)), spread(s), spread(f)))
    print(row.format('geometric mean', '', '', '', geometric_mean(slow), geometric_mean(fast)))
    for side in c.sides:
        if getattr(side, 'memory', None):
            print(f'memory of {side.name} beyond guest RAM after the loads: {statistics.median(side.memory):.1f} MiB '
                  f'({min(side.memory):.1f}..{max(side.memory):.1f})')
    return good(c)


def cpu_table(c, names):
    """Prints what one operation costs the host in CPU time, all processes of the VM together, for the two names."""
    row = '{:14} {:>12} {:>12}  {:24}'
    print(row.format('CPU, us each', *names, f'{names[1]}/{names[0]}'))
    for load in c.names():
        each = [[r.cpu_seconds / r.operations for r in c.results[n].get(load, [])] for n in names]
        if not all(each):
            continue
        single = [b / max(a, 1e-9) for a, b in zip(*each)]
        a, b = (statistics.median(e) for e in each)
        print(row.format(load, f'{a * 1e6:,.2f}', f'{b * 1e6:,.2f}', spread((b / max(a, 1e-9), min(single), max(single)))))


def speed_up_table(c, names):
    """Prints what a second CPU brings to each of the names, whose sides end in -1 and -2, and the others' time on two to the first's."""
    row = '{:14} {:8} {:>12} {:>12}  {:24} {:24}'
    print(row.format('load', '', '1 CPU', '2 CPUs', 'speed-up', f'time / {names[0]}, 2 CPUs'))
    for load in c.names():
        for n in names:
            one, two = f'{n}-1', f'{n}-2'
            print(row.format(load, n, amount(c, one, load, False), amount(c, two, load, False), spread(c.ratios(one, two, load)),
                             '' if n == names[0] else spread(c.ratios(two, f'{names[0]}-2', load))))
    return good(c)


def good(c):
    for text in c.complaints:
        print(f'*** {text}')
    return not c.complaints


def command(program, scale, names, env):
    settings = ' '.join(f'{k}={v}' for k, v in env.items())
    return f'{settings} {program} --scale {scale} {" ".join(names)}'.strip()


def guest_script(commands):
    """Kernel messages stay away from the console, where they would end up inside of lines. A program that fails has no end marker."""
    return f'dmesg -n 1\n{commands.strip()} || echo "domus-bench: failed: exit status $?"\necho {END}\n'
