# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces of type 'user': what becomes of their passt, and what a client hears when it cannot serve. The guest cares for nothing."""
import os
import pathlib
import signal
import sys

import libvirt
import pytest

import harness
import netns
from harness import raises, wait_until

pytestmark = [pytest.mark.domus, pytest.mark.skipif(netns.missing() is not None, reason=str(netns.missing()))]

LISTENER = '''
import signal, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if sys.argv[1] == 'tcp' else socket.SOCK_DGRAM)
s.bind(('0.0.0.0', int(sys.argv[2])))
if sys.argv[1] == 'tcp':
    s.listen()
print('listens', flush=True)
signal.pause()
'''


@pytest.fixture(scope='module')
def daemon(work):
    """In a network namespace with an address and a route."""
    d = netns.NetDaemon(work / 'test_passt')
    try:
        d.namespace.sh('ip link add up0 type veth peer name up1 && ip address add 10.99.0.1/24 dev up0 && ip link set up0 up && ip link set up1 up && ip route add default via 10.99.0.2')
        yield d.start()
    finally:
        d.cleanup()
        d.namespace.close()


def user(forwards='', mac='52:54:00:00:02:01', more=''):
    return f"<interface type='user'><mac address='{mac}'/>{more}<model type='virtio'/><backend type='passt'/>{forwards}</interface>"


def forward(first, last=None, proto='tcp', place=''):
    end = f" end='{last}'" if last else ''
    return f"<portForward proto='{proto}'{place}><range start='{first}'{end}/></portForward>"


def passts(daemon):
    """Those of the namespace; a zombie has no namespaces any more."""
    def ours(process):
        try:
            return os.readlink(process / 'ns/net') == mine and (process / 'comm').read_text().startswith('passt')
        except OSError:
            return False
    mine = os.readlink(f'/proc/{daemon.namespace.holder.pid}/ns/net')
    return [int(p.name) for p in pathlib.Path('/proc').glob('[0-9]*') if ours(p)]


def take(daemon, proto, port):
    p = daemon.namespace.spawn(sys.executable, '-c', LISTENER, proto, port)
    assert p.stdout.readline() == 'listens\n'
    return p


@pytest.mark.parametrize('proto,forwards', [
    ('tcp', forward(4001)),                                # IPv6's port is free: passt would be content
    ('tcp', forward(4000, 4002)),
    ('udp', forward(4001, proto='udp')),
    ('tcp', forward(4001, place=" address='10.99.0.1'")),
], ids=['port', 'range', 'udp', 'address'])
def test_port_in_use(daemon, conn, echo_xml, virsh, guests, proto, forwards):
    """By start and by attach, naming the port; nothing stays, and without the other one all is well."""
    holder = take(daemon, proto, 4001)
    try:
        conn.defineXML(echo_xml('dev', devices="<console type='pty'/>" + user(forwards)))
        failed = virsh('start', 'dev', ok=False)
        assert f'{proto.upper()} port 4001 of the host' in failed.stderr and 'Address already in use' in failed.stderr, failed.stderr
        assert virsh('domstate', 'dev').stdout.strip() == 'shut off'
        assert daemon.vmm_pids('dev') == []
        wait_until(lambda: not passts(daemon), what='no passt')
        other = conn.defineXML(echo_xml('other'))
        other.create()
        before = other.XMLDesc()
        failed = virsh('attach-device', 'other', guests.write('user.xml', user(forwards).encode()), '--live', ok=False)
        assert f'{proto.upper()} port 4001 of the host' in failed.stderr, failed.stderr
        assert other.XMLDesc() == before
        wait_until(lambda: not passts(daemon), what='no passt')
    finally:
        holder.kill()
        holder.wait()
    virsh('attach-device', 'other', guests.write('user.xml', user(forwards).encode()), '--live')
    assert len(passts(daemon)) == 1
    # Two guests want it now.
    failed = virsh('start', 'dev', ok=False)
    assert 'Address already in use' in failed.stderr
    virsh('destroy', 'other')
    wait_until(lambda: not passts(daemon), what='no passt')
    virsh('start', 'dev')


def test_update(conn, echo_xml, virsh, guests):
    """What a passt was started with stays, and the definition does not say otherwise."""
    dom = conn.defineXML(echo_xml('dev', devices="<console type='pty'/>" + user(forward(4006))))
    dom.create()
    before = dom.XMLDesc()
    for what, xml in ('port forwards', user(forward(4007))), ('addresses', user(forward(4006), more="<ip family='ipv4' address='10.0.2.9'/>")):
        failed = virsh('update-device', 'dev', guests.write('user.xml', xml.encode()), '--live', ok=False)
        assert f"cannot modify the {what} of a running domain's interface" in failed.stderr, failed.stderr
    assert dom.XMLDesc() == before
    virsh('update-device', 'dev', guests.write('user.xml', user("<link state='down'/>" + forward(4006)).encode()), '--live')
    assert virsh('domif-getlink', 'dev', '52:54:00:00:02:01').stdout.split()[-1] == 'down'


def test_ends_with_its_guest(daemon, echo_xml, closing):
    """passt outlives the daemon, but not the guest, whoever is there."""
    first = daemon.open()
    first.defineXML(echo_xml('dev', devices="<console type='pty'/>" + user(forward(4005)))).create()
    first.close()
    pids, machines = passts(daemon), daemon.vmm_pids('dev')
    assert len(pids) == 1
    daemon.stop(signal.SIGKILL)
    assert passts(daemon) == pids
    for pid in machines:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not passts(daemon), what='end of passt')
    daemon.start()
    dom = closing(daemon.open()).lookupByName('dev')
    dom.create()
    assert len(passts(daemon)) == 1
    dom.destroy()
    wait_until(lambda: not passts(daemon), what='end of passt')
    dom.undefine()


def test_own_words(daemon, conn, echo_xml, virsh):
    """What passt refuses is told in its words."""
    conn.defineXML(echo_xml('dev', devices="<console type='pty'/>" + user(more="<source dev='nodev0'/>")))
    failed = virsh('start', 'dev', ok=False)
    assert "passt for interface 'net0' has not started: " in failed.stderr and 'nodev0' in failed.stderr, failed.stderr
    assert daemon.vmm_pids('dev') == []
    dom = conn.defineXML(echo_xml('other'))
    dom.create()
    before = dom.XMLDesc()
    message = raises(libvirt.VIR_ERR_OPERATION_FAILED, dom.attachDevice, user(more="<source dev='nodev0'/>"))
    assert 'nodev0' in message
    assert dom.XMLDesc() == before
    assert passts(daemon) == []
