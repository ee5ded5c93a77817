#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: run-kernel.py DOMUS-VM

Where domus-vm puts Debian's kernel, which it unpacks itself. Exit 77: skipped."""
import os
import re

from devicetest import PROMPT, boot, main

os.environ['DOMUS_DEBUG'] = '1'  # for a line in the log if the kernel had to unpack itself


def places(vm):
    """Virtual and physical address of the kernel's text, and that it is in working order: its initramfs has loaded two modules."""
    text = vm.shell("grep ' _text$' /proc/kallsyms; grep 'Kernel code' /proc/iomem; cat /proc/modules; dmesg | grep -E 'BUG|WARNING|Oops' || true")
    assert 'evdev' in text and 'button' in text, text
    assert not re.search('BUG|WARNING|Oops', text), text
    assert 'debug:' in vm.log_text() and 'unpack itself' not in vm.log_text(), vm.log_text()
    return re.search('([0-9a-f]+) T _text', text)[1], re.search('([0-9a-f]+)-[0-9a-f]+ : Kernel code', text)[1]


def test_random(start):
    vm = start(cpus=2, memory=512 << 20)
    boot(vm)
    seen = [places(vm)]
    for _ in range(2):
        vm.call('Reset')
        vm.expect(PROMPT)
        seen.append(places(vm))
    assert len({virtual for virtual, _ in seen}) > 1 and len({physical for _, physical in seen}) > 1, seen
    assert vm.close() == 0


def test_nokaslr(start):
    vm = start(cmdline='console=ttyS0 quiet nokaslr', memory=5 << 30)
    boot(vm)
    assert places(vm) == ('ffffffff81000000', '01000000'), places(vm)
    assert vm.close() == 0


main(globals(), [])
