# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's stock kernel: boot, dialogue, shutdown, reboot, several processors."""
import shutil

import libvirt
import pytest

import harness
from harness import Console, Terminal, run, wait_until

domus = pytest.mark.domus

BOOT = 600
SHELL = b'domus-guest# '


@pytest.fixture
def boot(conn, guests, closing):
    def make(name='linux', initrd=None, **kwargs):
        xml = harness.domain_xml(name, guests.linux, initrd=initrd or guests.initrd(), cmdline=kwargs.pop('cmdline', 'console=ttyS0'),
                                 memory=kwargs.pop('memory', 256), **kwargs)
        dom = conn.defineXML(xml)
        dom.create()
        console = closing(Console(dom))
        console.expect(b'domus-guest: init reached', timeout=BOOT)
        console.expect(SHELL, timeout=BOOT)
        return dom, console
    return make


def test_dialogue_and_shutdown(boot, events):
    """One boot for the most: it is the slowest part."""
    dom, console = boot()
    answer = console.ask('echo $((6 * 7)) `uname -sm`', b'42 Linux x86_64')
    assert answer
    console.expect(SHELL)
    console.ask('grep -c ^processor /proc/cpuinfo', b'\n1\r')
    dom.suspend()
    dom.resume()
    console.ask('echo aw`echo a`ke', b'awake')
    dom.shutdown()
    console.expect(b'domus-guest: power button')
    events.wait('linux', libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, timeout=BOOT)
    assert dom.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]


def test_reboot(boot, events):
    dom, console = boot()
    console.send('reboot -f\r')
    console.expect(b'domus-guest: init reached', timeout=BOOT)
    console.expect(SHELL, timeout=BOOT)
    events.wait('linux', 'reboot')
    dom.reboot()  # by the power button: the guest shuts down and is started again
    console.expect(b'domus-guest: power button', timeout=BOOT)
    console.expect(b'domus-guest: init reached', timeout=BOOT)
    assert dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING


def test_panic_reboots(boot):
    """A kernel that panics and is told to reboot at once does so."""
    dom, console = boot(cmdline='console=ttyS0 panic=-1')
    console.send('echo c >/proc/sysrq-trigger\r')
    console.expect(b'Kernel panic', timeout=BOOT)
    console.expect(b'domus-guest: init reached', timeout=BOOT)


def stress_initrd(guests):
    """stress-ng with its libraries, from this machine."""
    stress = shutil.which('stress-ng')
    if not stress:
        pytest.skip('no stress-ng')
    return guests.initrd('stress', f'{stress}=/bin/stress-ng')


@pytest.mark.parametrize('vcpus', [2, 4])
def test_smp(boot, guests, vcpus):
    """Atomic operations and interrupts between processors: threads that check their own results."""
    # stress-ng takes a buffer as large as the last cache, which is the host's: hundreds of MiB on some.
    dom, console = boot(vcpus=vcpus, memory=1536, initrd=stress_initrd(guests))
    console.ask('grep -c ^processor /proc/cpuinfo', f'\n{vcpus}\r')
    console.expect(SHELL)
    classes = ' '.join(f'--{c} {vcpus}' for c in ('cpu', 'switch', 'futex')) + f' --vm {vcpus} --vm-bytes 32M'
    console.send(f'stress-ng --verify --metrics-brief -t 10 {classes}; echo "stress-ng: exit" $?\r')
    console.expect(b'stress-ng: exit 0', timeout=BOOT)
    console.expect(SHELL)
    assert b'fail' not in console.data.split(b'stress-ng: exit 0')[0].split(b'--verify')[-1].replace(b'failed: 0', b'')
    assert not any(w in console.data for w in (b'soft lockup', b'rcu: INFO', b'BUG:', b'Oops'))


@domus
def test_virt_install(daemon, conn, guests, closing):
    """As in the README: the shell on virsh's console, and poweroff."""
    run('virt-install', '--connect', daemon.uri, '--name', 'vlinux', '--memory', '256', '--disk', 'none', '--network', 'none',
        '--graphics', 'none', '--osinfo', 'detect=off,name=linux2020', '--import', '--noautoconsole',
        '--boot', f'kernel={guests.linux},initrd={guests.initrd()},kernel_args=console=ttyS0', timeout=BOOT)
    t = closing(Terminal('virsh', '-c', daemon.uri, 'console', 'vlinux'))
    t.expect('Escape character')
    t.expect('domus-guest: init reached', timeout=BOOT)
    t.expect('domus-guest# ', timeout=BOOT)
    t.insist('echo from `uname -s`', 'from Linux')
    t.send('poweroff -f\r')
    wait_until(lambda: conn.lookupByName('vlinux').state()[0] == libvirt.VIR_DOMAIN_SHUTOFF, timeout=BOOT, what='poweroff')
