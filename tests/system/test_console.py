# SPDX-License-Identifier: GPL-2.0-or-later
"""Consoles: by the API and by virsh on a terminal."""
import signal
import subprocess

import libvirt
import pytest

import harness
from harness import Console, PROMPT, Terminal, raises, wait_until

domus = pytest.mark.domus


@pytest.fixture
def guest(conn, echo_xml):
    dom = conn.defineXML(echo_xml('con'))
    dom.create()
    console = Console(dom)
    console.insist('up', b'echo: up')
    console.expect(PROMPT)
    console.close()
    return dom


def test_dialogue(guest, closing):
    c = closing(Console(guest))
    c.ask('hello', b'echo: hello')
    for i in range(20):
        c.ask(f'line {i}', f'echo: line {i}')


def test_long_lines(guest, closing):
    c = closing(Console(guest))
    c.ask('start', b'echo: start')
    c.expect(PROMPT)
    for i in range(10):
        line = str(i) * 150
        c.ask(line, b'echo: ' + line.encode())
        c.expect(PROMPT)


def test_reconnect(guest, closing):
    for i in range(3):
        c = Console(guest)
        c.ask(f'round {i}', f'echo: round {i}')
        c.close()


def test_one_user_at_a_time(daemon, guest, closing):
    first = closing(Console(guest))
    first.ask('one', b'echo: one')
    other_conn = closing(daemon.open())
    other = other_conn.lookupByName('con')
    message = raises(libvirt.VIR_ERR_OPERATION_FAILED, Console, other)
    assert 'console' in message.lower()
    second = closing(Console(other, libvirt.VIR_DOMAIN_CONSOLE_FORCE))
    first.wait_end()
    second.ask('two', b'echo: two')


def test_freed_when_the_client_vanishes(daemon, guest, closing):
    script = ('import libvirt,sys,time; c=libvirt.open(sys.argv[1]); s=c.newStream(0);'
              'c.lookupByName("con").openConsole(None,s,0); print("open",flush=True); time.sleep(600)')
    p = subprocess.Popen(['/usr/bin/python3', '-c', script, daemon.uri], stdout=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b'open\n'
        raises(libvirt.VIR_ERR_OPERATION_FAILED, Console, guest)
    finally:
        p.send_signal(signal.SIGKILL)
        p.wait()

    def get():
        try:
            return Console(guest)
        except libvirt.libvirtError:
            return None
    c = closing(wait_until(get, what='a free console'))
    c.ask('free', b'echo: free')


def test_inactive(conn, echo_xml):
    dom = conn.defineXML(echo_xml('off'))
    raises(libvirt.VIR_ERR_OPERATION_INVALID, Console, dom)


def test_no_console(conn, echo_xml):
    dom = conn.createXML(echo_xml('mute', devices=''))
    raises((libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED), Console, dom)


def test_unknown_device(guest):
    stream = guest.connect().newStream(0)
    raises((libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INVALID_ARG),
           guest.openConsole, 'serial7', stream)


def test_ends_with_the_guest(guest, closing):
    c = closing(Console(guest))
    c.ask('poweroff', b'powering off')
    c.wait_end()


def test_survives_a_reboot(guest, closing):
    c = closing(Console(guest))
    c.ask('reboot', b'rebooting')
    c.expect(b'echo guest')
    c.ask('same console', b'echo: same console')


def test_nobody_listens(guest, closing):
    """A guest whose console nobody reads goes on."""
    c = Console(guest)
    for i in range(300):
        c.send('x' * 150 + '\r')
    c.close()
    c = closing(Console(guest))
    c.insist('there', b'echo: there')


@domus
def test_log_keeps_the_boot(daemon, guest, closing):
    c = closing(Console(guest))
    c.ask('for the log', b'echo: for the log')
    log = daemon.dir / 'log/con.log'
    wait_until(lambda: 'echo: for the log' in log.read_text(errors='replace'), what='the log')
    assert 'echo guest, command line' in log.read_text(errors='replace')


@domus
def test_log_keeps_the_boot_without_a_console(daemon, guest):
    log = daemon.dir / 'log/con.log'
    wait_until(lambda: 'ready>' in log.read_text(errors='replace'), what='the log')


def test_virsh_console(daemon, guest, closing):
    t = closing(Terminal('virsh', '-c', daemon.uri, 'console', 'con'))
    t.expect("Connected to domain 'con'")
    t.expect('Escape character is ^]')
    t.insist('typed', 'echo: typed')
    t.send('\x1d')
    assert t.wait() == 0
    t = closing(Terminal('virsh', '-c', daemon.uri, 'console', 'con'))
    t.expect('Escape character')
    t.insist('back', 'echo: back')


def test_virsh_console_force(daemon, guest, closing):
    first = closing(Terminal('virsh', '-c', daemon.uri, 'console', 'con'))
    first.expect('Escape character')
    first.insist('mine', 'echo: mine')
    refused = closing(Terminal('virsh', '-c', daemon.uri, 'console', 'con'))
    refused.expect('error')
    assert refused.wait() == 1
    second = closing(Terminal('virsh', '-c', daemon.uri, 'console', '--force', 'con'))
    second.expect('Escape character')
    second.insist('now mine', 'echo: now mine')
    first.wait()


def test_virsh_start_console(daemon, conn, echo_xml, closing):
    conn.defineXML(echo_xml('sc'))
    t = closing(Terminal('virsh', '-c', daemon.uri, 'start', 'sc', '--console'))
    t.expect('ready> ')
    t.insist('poweroff', 'powering off')
    t.wait()


def test_virsh_create_console(daemon, guests, echo_xml, closing):
    xml = guests.write('cc.xml', echo_xml('cc').encode())
    t = closing(Terminal('virsh', '-c', daemon.uri, 'create', xml, '--console'))
    t.expect('ready> ')
    t.insist('hello', 'echo: hello')
    t.send('poweroff\r')
    t.wait()
