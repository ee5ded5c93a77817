# SPDX-License-Identifier: GPL-2.0-or-later
"""The stock programs: virsh from definition to undefinition, virt-install; with the URIs that users type."""
import os
import re
import socket
import time

import libvirt
import pytest

import harness
from harness import Terminal, run, wait_until

domus = pytest.mark.domus


def test_virsh_life(virsh, daemon, guests, echo_xml):
    xml = guests.write('life.xml', echo_xml('life', vcpus=2).encode())
    virsh('define', xml)
    assert re.search(r'-\s+life\s+shut off', virsh('list', '--all').stdout)
    virsh('desc', 'life', '--title', 'A title', '--config')
    assert 'A title' in virsh('list', '--all', '--title').stdout
    virsh('start', 'life')
    assert re.search(r'\d+\s+life\s+running', virsh('list').stdout)
    info = virsh('dominfo', 'life').stdout
    assert re.search(r'^CPU\(s\):\s+2$', info, re.M) and re.search(r'^Persistent:\s+yes$', info, re.M)
    assert re.search(r'^State:\s+running$', info, re.M)
    assert 'state.state=1' in virsh('domstats', 'life').stdout
    assert virsh('domstate', 'life', '--reason').stdout.strip() == 'running (booted)'
    virsh('suspend', 'life')
    assert virsh('domstate', 'life').stdout.strip() == 'paused'
    virsh('resume', 'life')
    assert virsh('domid', 'life').stdout.strip().isdigit()
    assert len(virsh('domuuid', 'life').stdout.strip()) == 36
    assert '/dev/pts/' in virsh('ttyconsole', 'life').stdout
    assert 'VCPU' in virsh('vcpuinfo', 'life').stdout
    assert virsh('vcpucount', 'life', '--live').stdout.strip() == '2'
    assert 'rss' in virsh('dommemstat', 'life').stdout
    assert 'cpu_time' in virsh('cpu-stats', 'life', '--total', ok=not harness.PEER).stdout or harness.PEER
    virsh('autostart', 'life')
    assert 'life' in virsh('list', '--all', '--autostart', '--name').stdout
    virsh('autostart', '--disable', 'life')
    virsh('reboot', 'life')
    virsh('reset', 'life')
    virsh('destroy', 'life')
    assert virsh('domstate', 'life', '--reason').stdout.strip() == 'shut off (destroyed)'
    virsh('domrename', 'life', 'newlife')
    assert '<name>newlife</name>' in virsh('dumpxml', 'newlife').stdout
    virsh('metadata', 'newlife', 'urn:x', '--key', 'k', '--set', '<v>1</v>', '--config')
    assert '<v>1</v>' in virsh('metadata', 'newlife', 'urn:x').stdout
    virsh('undefine', 'newlife')
    assert virsh('list', '--all', '--name').stdout.strip() == ''


def test_virsh_errors(virsh, guests):
    p = virsh('start', 'nobody', ok=False)
    assert p.returncode == 1 and "failed to get domain 'nobody'" in p.stderr
    bad = guests.write('bad.xml', b'<domain>\n<name>x</nam>\n</domain>\n')
    p = virsh('define', bad, ok=False)
    assert p.returncode == 1 and 'tag mismatch' in p.stderr


@domus
def test_virsh_unsupported_names_the_element(virsh, guests, echo_xml):
    bad = guests.write('u.xml', echo_xml('u', devices="<sound model='ich6'/>").encode())
    p = virsh('define', bad, ok=False)
    assert 'unsupported configuration: element <sound>' in p.stderr


def test_virsh_event_loop(daemon, conn, echo_xml, closing):
    t = closing(Terminal('virsh', '-c', daemon.uri, 'event', '--event', 'lifecycle', '--loop'))
    wait_until(lambda: registered(conn, t), what='registration')
    dom = conn.defineXML(echo_xml('watched'))
    dom.create()
    dom.suspend()
    dom.resume()
    dom.destroy()
    dom.undefine()
    for line in ("'watched': Defined Added", "'watched': Started Booted", "'watched': Suspended Paused",
                 "'watched': Resumed Unpaused", "'watched': Stopped Destroyed", "'watched': Undefined Removed"):
        t.expect(line)
    t.send('\x03')
    assert t.wait() == 0


def registered(conn, terminal):
    """virsh does not say when it listens: a definition that it does not see tells that it does not yet."""
    name = f'probe{time.monotonic_ns()}'
    kernel = '/probe'
    conn.defineXML(harness.domain_xml(name, kernel)).undefine()
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        terminal.read(0.05)
        if name.encode() in terminal.data:
            return True
    return False


def test_virsh_all_events(daemon, conn, echo_xml, closing):
    t = closing(Terminal('virsh', '-c', daemon.uri, 'event', '--all', '--loop', '--timestamp'))
    wait_until(lambda: registered(conn, t), what='registration')
    t.send('\x03')
    assert t.wait() == 0


VIRT_INSTALL = ['virt-install', '--name', 'vi', '--memory', '64', '--vcpus', '2', '--disk', 'none', '--network', 'none', '--graphics', 'none',
                '--osinfo', 'detect=off,name=linux2020', '--import', '--noautoconsole']
QEMU_STYLE = ['--memballoon', 'none', '--rng', 'none', '--channel', 'none', '--controller', 'usb,model=none']


def check_installed(conn):
    dom = conn.lookupByName('vi')
    assert (dom.isActive(), dom.isPersistent()) == (1, 1)
    console = harness.Console(dom)
    console.insist('installed', b'echo: installed')
    console.close()
    dom.destroy()
    dom.undefine()


@domus
@pytest.mark.parametrize('scheme', ['domus', 'qemu'])
def test_virt_install(daemon, conn, guests, scheme):
    uri = daemon.uri if scheme == 'domus' else daemon.qemu_uri
    extra = QEMU_STYLE if scheme == 'qemu' else []
    run(*VIRT_INSTALL, *extra, '--connect', uri, '--boot', f'kernel={guests.echo},kernel_args=console=ttyS0')
    check_installed(conn)


@domus
def test_qemu_uri(daemon, conn, echo_xml, virsh):
    conn.defineXML(echo_xml('q'))
    assert 'q' in virsh('list', '--all', '--name', uri=daemon.qemu_uri).stdout
    assert virsh('uri', uri=daemon.qemu_uri).stdout.strip() == daemon.qemu_uri


@domus
def test_remote_uri_without_a_name(daemon, virsh):
    assert virsh('hostname', uri=f'remote+unix:///?socket={daemon.socket}').stdout.strip()


def default_socket_dir():
    if os.geteuid() == 0:
        return '/run/libvirt'
    runtime = os.environ.get('XDG_RUNTIME_DIR')
    return f'{runtime}/libvirt' if runtime else None


@pytest.fixture
def default_daemon(work):
    """At the place where clients look by themselves."""
    where = default_socket_dir()
    if not where:
        pytest.skip('no XDG_RUNTIME_DIR')
    taken = f'{where}/virtdomusd-sock'
    if os.path.exists(taken):
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(taken)
            pytest.skip(f'another daemon listens at {taken}')
        except OSError:
            pass
        finally:
            probe.close()
    d = harness.Daemon(work / 'default', socket_dir=where)
    try:
        yield d.start()
    finally:
        d.cleanup()


@domus
def test_plain_uri(default_daemon, guests, echo_xml):
    """The commands as a user types them."""
    uri = f'domus:///{default_daemon.mode}'
    xml = guests.write('plain.xml', echo_xml('plain').encode())

    def virsh(*args):
        return run('virsh', '-q', '-c', uri, *args).stdout
    assert uri in virsh('uri')
    virsh('define', xml)
    virsh('start', 'plain')
    assert 'running' in virsh('list')
    assert 'plain' in run('virsh', '-q', '-r', '-c', uri, 'list', '--name').stdout
    assert run('virsh', '-q', '-r', '-c', uri, 'destroy', 'plain', ok=False).returncode == 1
    t = Terminal('virsh', '-c', uri, 'console', 'plain')
    try:
        t.expect('Escape character')
        t.insist('hi', 'echo: hi')
    finally:
        t.close()
    virsh('destroy', 'plain')
    virsh('undefine', 'plain')
    run(*VIRT_INSTALL, '--connect', uri, '--boot', f'kernel={guests.echo},kernel_args=console=ttyS0')
    conn = libvirt.open(uri)
    check_installed(conn)
    conn.close()


@domus
def test_virt_xml(daemon, conn, echo_xml):
    conn.defineXML(echo_xml('vx'))
    run('virt-xml', '--connect', daemon.uri, 'vx', '--edit', '--vcpus', '2')
    run('virt-xml', '--connect', daemon.uri, 'vx', '--edit', '--metadata', 'title=edited')
    dom = conn.lookupByName('vx')
    assert dom.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None) == 'edited'
    assert dom.info()[3] == 2
