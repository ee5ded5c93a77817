# SPDX-License-Identifier: GPL-2.0-or-later
"""What run-devices.py, run-disks.py and run-net.py share: a Debian kernel with modules, in VMs that vm.py plays the daemon for, and running a file's tests."""
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

try:
    from vm import VM, Error, Fd, U32  # noqa: F401
except ImportError as e:
    print(f'SKIP: {e} (package python3-gi)')
    sys.exit(77)

here = pathlib.Path(__file__).resolve().parent
PROMPT = 'domus-guest# '


class Skip(Exception):
    """What this machine lacks."""


def boot(vm):
    vm.call('Start', False)
    vm.expect(PROMPT)


def make_initrd(tree, out, modules, commands, files):
    """modules: paths below the kernel's, without .ko, in the order in which they are loaded. commands come after them; files as of make-initramfs."""
    test = pathlib.Path(out).with_suffix('.sh')
    names = ' '.join(pathlib.Path(m).name for m in modules)
    test.write_text(f'#!/bin/sh\nfor m in {names}; do busybox insmod /lib/modules/$m.ko; done\n{commands}stty -F /dev/ttyS0 -onlcr\n')
    test.chmod(0o755)
    files = [f'{test}=/etc/domus-test', *files] + [f'{tree}/modules/kernel/{m}.ko=/lib/modules/{pathlib.Path(m).name}.ko' for m in modules]
    subprocess.run([str(here / 'make-initramfs'), tree, out] + files, check=True)


def run_test(test, start_vm):
    """test gets a function that starts a VM; all of them are gone afterwards. Returns what there is to say."""
    begin, vms = time.monotonic(), []

    def start(**more):
        vms.append(start_vm(**more))
        return vms[-1]

    try:
        test(start)
    except Skip as e:
        return f'skipped: {e}'
    finally:
        for vm in vms:
            vm.process.kill()
    return f'passed ({time.monotonic() - begin:.0f} s)'


def main(tests, modules, commands='', files=()):
    """Runs the functions of the dictionary tests that are called test_*, or those that the command line names."""
    domus_vm, only = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tree = subprocess.run([str(here / 'fetch-kernel')], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as d:
        initrd = f'{d}/initrd.img'
        make_initrd(tree, initrd, modules, commands, files)
        for name, test in list(tests.items()):
            if name.startswith('test_') and (not only or name in only):
                said = run_test(test, lambda **more: VM(domus_vm, f'{tree}/vmlinuz', initrd, **{'cmdline': 'console=ttyS0 quiet', **more}))
                print(f'{name}: {said}', flush=True)
