#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs random-user natively and in a guest of domus-vm, and compares: the same random programs must come to the same. Arguments: domus-vm, random-user, first seed,
number of seeds, instructions of a program at most, --calm (see main.c) if wanted, and options for domus-vm run. Exit 77: skipped."""
import difflib
import pathlib
import re
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / 'guest'))
import guestvm  # noqa: E402
from guestvm import PROMPT, Failed  # noqa: E402

PATIENCE = 600   # for a part of the seeds
PART = 2000      # seeds that one process runs


def native(program, *args):
    p = subprocess.run([program, *args], stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    if p.returncode == 77:
        print('SKIP:', p.stdout)
        sys.exit(77)
    if p.returncode:
        raise Failed(f'natively: exit status {p.returncode}: {p.stdout[-500:]}')
    return p.stdout


class Guest(guestvm.Guest):
    def __init__(self, vm, program, work, options):
        root = str(here.parents[1])
        tree = guestvm.tool(root, 'fetch-kernel')
        guestvm.tool(root, 'make-initramfs', tree, f'{work}/initrd.img', f'{program}=/bin/random-user')
        super().__init__(guestvm.domus_argv(vm, f'{tree}/vmlinuz', f'{work}/initrd.img', 'console=ttyS0 quiet', 1, '256M', ['--engine', 'dbt', *options]))
        self.wait_for_shell()
        self.shell('stty -echo; dmesg -n 1')

    def run(self, *args):
        self.send(f'random-user {" ".join(args)}; echo status=$?')
        return self.until(PROMPT, PATIENCE).decode(errors='replace')


def seeds(text):
    """Seed -> what it came to."""
    found = {}
    for line in text.splitlines():
        if m := re.fullmatch(r'(\d+):((?: [0-9a-f]+)+)', line.strip()):
            for k, word in enumerate(m[2].split()):
                found[int(m[1]) + k] = word
    return found


def compare(want, got, text):
    """The seeds that differ; a line that is not of results is an error of the program's."""
    wrong = [s for s in want if want[s] != got.get(s)]
    if wrong:
        rest = [line for line in text.splitlines() if line.strip() and not re.match(r'\d+:( [0-9a-f]+)+\s*$', line)]
        print(f'{len(wrong)} seeds differ: {" ".join(map(str, wrong[:40]))}')
        print(f'seed {wrong[0]}: natively {want[wrong[0]]}, in the guest {got.get(wrong[0], "nothing")}')
        print('\n'.join(rest[-12:]), flush=True)
    return wrong


def details(text):
    """Lines of --dump or --memory, without the other seeds."""
    text = re.sub(r'(?s)^.*?(?=code at|memory:)', '', text)
    return [line for line in text.splitlines() if not re.match(r'\d*:?( [0-9a-f]{4})+$', line)]


def explain(guest, program, seed, first, insns, options):
    """What is different in that seed, with those before it and without: memory in the end, or what --dump says."""
    for what, since in (('--memory', first), ('--dump', first), ('--dump', seed)):
        args = [*options, what, str(seed), str(since), str(seed - since + 1), insns]
        want, got = (details(t) for t in (native(program, *args), guest.run(*args)))
        lines = list(difflib.unified_diff(want, got, 'natively', 'in the guest', n=8, lineterm=''))
        print(f'{program} {" ".join(args)}: {"differs" if lines else "as natively this time"}', *lines[:60], sep='\n', flush=True)
        if lines:
            return


def run(vm, program, first, count, insns, how, options):
    with tempfile.TemporaryDirectory(prefix='domus-random-') as work, Guest(vm, program, work, options) as guest:
        mask = f"{int(native(program, '--list-features'), 16) & int(guest.run('--list-features').split()[0], 16):x}"
        print(f'features {mask}', flush=True)
        how = ['--features', mask, *how]
        for seed in range(first, first + count, PART):
            args = [*how, str(seed), str(min(PART, first + count - seed)), insns]
            want = native(program, *args)
            text = guest.run(*args)
            wrong = compare(seeds(want), seeds(text), text)
            if wrong or 'status=0' not in text:
                for s in wrong[:3]:
                    explain(guest, program, s, seed, insns, how)
                raise Failed('not as natively')
    print(f'{count} seeds: as natively')


def main():
    vm, program, first, count, insns, *options = sys.argv[1:]
    try:
        run(vm, program, int(first), int(count), insns, [o for o in options if o == '--calm'], [o for o in options if o != '--calm'])
    except Failed as e:
        print('FAILED:', e)
        return 1
    return 0


sys.exit(main())
