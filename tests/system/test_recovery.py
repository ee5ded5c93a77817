# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons that die, machines that die meanwhile, files half written."""
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import libvirt
import pytest

import harness
from harness import Console, Events, PROMPT, wait_until

domus = pytest.mark.domus

RUNNING, PAUSED, SHUTOFF = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_SHUTOFF


def start(conn, xml):
    dom = conn.defineXML(xml)
    dom.create()
    console = Console(dom)
    console.insist('hello', b'echo: hello')
    console.close()
    return dom


@pytest.mark.parametrize('sig', [signal.SIGKILL, signal.SIGTERM])
def test_guests_survive_the_daemon(own_daemon, echo_xml, closing, sig):
    conn = own_daemon.open()
    dom = start(conn, echo_xml('live', vcpus=2))
    start(conn, echo_xml('paused')).suspend()
    conn.createXML(echo_xml('transient'))
    before = {d.name(): (d.ID(), d.state(), d.XMLDesc()) for d in conn.listAllDomains()}
    pids = sorted(own_daemon.vmm_pids())
    assert len(pids) == 3
    own_daemon.restart(sig)
    conn = closing(own_daemon.open())
    after = {d.name(): (d.ID(), d.state(), d.XMLDesc()) for d in conn.listAllDomains()}
    assert after.keys() == before.keys()
    for name, (number, state, xml) in before.items():
        assert after[name][0] == number
        assert after[name][1][0] == state[0]
        assert harness.PEER or after[name][2] == xml
    assert sorted(own_daemon.vmm_pids()) == pids
    events = closing(Events(conn))
    dom = conn.lookupByName('live')
    console = closing(Console(dom))
    console.ask('still there', b'echo: still there')
    conn.lookupByName('paused').resume()
    closing(Console(conn.lookupByName('paused'))).ask('woken', b'echo: woken')
    assert conn.lookupByName('transient').isPersistent() == 0
    dom.shutdown()
    events.wait('live', libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    conn.lookupByName('transient').destroy()
    assert sorted(d.name() for d in conn.listAllDomains()) == ['live', 'paused']


@domus
def test_guests_that_die_meanwhile(own_daemon, echo_xml, closing):
    conn = own_daemon.open()
    start(conn, echo_xml('killed'))
    conn.createXML(echo_xml('gone'))
    own_daemon.stop(signal.SIGKILL)
    for pid in own_daemon.vmm_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not own_daemon.vmm_pids(), what='end of the guests')
    own_daemon.start()
    conn = closing(own_daemon.open())
    assert [(d.name(), d.state()[0]) for d in conn.listAllDomains()] == [('killed', SHUTOFF)]
    conn.lookupByName('killed').create()


def processes_with(text):
    """Those that have it in their command line, and have not ended."""
    found = []
    for p in harness.pathlib.Path('/proc').glob('[0-9]*'):
        try:
            if str(text).encode() in (p / 'cmdline').read_bytes():
                found.append(int(p.name))
        except OSError:
            pass
    return found


@domus
@pytest.mark.skipif(not shutil.which('qemu-storage-daemon'), reason='needs qemu-storage-daemon')
def test_servers_live_as_long_as_their_guest(own_daemon, echo_xml, guests, closing):
    """Not less, though the daemon dies, and not longer, though there is no daemon."""
    images = [guests.dir / f'served-{i}.qcow2' for i in range(2)]
    disks = []
    for image, target in zip(images, ('vda', 'vdb')):
        harness.run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '8M')
        disks.append(f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{image}'/><target dev='{target}' bus='virtio'/></disk>")
    conn = own_daemon.open()
    start(conn, echo_xml('dev', devices="<console type='pty'/>" + disks[0]))
    servers = processes_with(images[0])
    assert servers
    own_daemon.restart(signal.SIGKILL)
    conn = closing(own_daemon.open())
    dom = conn.lookupByName('dev')
    assert processes_with(images[0]) == servers
    dom.attachDevice(disks[1])
    assert processes_with(images[1])
    dom.blockResize('vdb', 16 << 20, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    assert [dom.blockInfo(t)[0] for t in ('vda', 'vdb')] == [8 << 20, 16 << 20]
    pids = own_daemon.vmm_pids('dev')
    own_daemon.stop(signal.SIGKILL)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for image in images:
        wait_until(lambda: not processes_with(image), what=f'end of what serves {image}')
        harness.run('qemu-img', 'check', image)
    own_daemon.start()
    dom = closing(own_daemon.open()).lookupByName('dev')
    dom.create()
    assert processes_with(images[0])
    dom.destroy()
    wait_until(lambda: not processes_with(images[0]), what='end of the server')
    # The guest lets go of what it was asked for at the end; the one that serves the medium ends by itself.
    assert 'ended:' not in own_daemon.log.read_text()


@domus
def test_guest_that_powers_off_meanwhile(own_daemon, echo_xml, closing):
    """It does so by itself: the daemon was killed while a shutdown was under way."""
    conn = own_daemon.open()
    dom = start(conn, echo_xml('off'))
    dom.shutdown()
    own_daemon.stop(signal.SIGKILL)
    own_daemon.start()
    conn = closing(own_daemon.open())
    wait_until(lambda: conn.lookupByName('off').state()[0] == SHUTOFF, what='shut off')


@domus
def test_killed_after_restart(own_daemon, echo_xml, closing):
    """Also a daemon that found the guest, and is not its parent, sees it die at once."""
    conn = own_daemon.open()
    start(conn, echo_xml('orphan'))
    own_daemon.restart()
    conn = closing(own_daemon.open())
    events = closing(Events(conn))
    pid, = own_daemon.vmm_pids('orphan')
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    assert events.wait('orphan', libvirt.VIR_DOMAIN_EVENT_STOPPED) - begin < 1
    assert conn.lookupByName('orphan').state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED]


@domus
def test_reboot_after_restart(own_daemon, echo_xml, closing):
    conn = own_daemon.open()
    start(conn, echo_xml('again'))
    own_daemon.restart()
    conn = closing(own_daemon.open())
    dom = conn.lookupByName('again')
    console = closing(Console(dom))
    console.ask('reboot', b'rebooting')
    console.expect(b'echo guest')
    console.expect(PROMPT)
    assert dom.state()[0] == RUNNING


def test_definitions_survive(own_daemon, echo_xml, closing):
    conn = own_daemon.open()
    xml = {}
    for i in range(10):
        dom = conn.defineXML(echo_xml(f'd{i}', top=f'<title>number {i}</title>'))
        dom.setAutostart(i % 2 and 0)
        xml[dom.name()] = dom.XMLDesc()
    conn.lookupByName('d3').rename('renamed')
    xml['renamed'] = conn.lookupByName('renamed').XMLDesc()
    conn.lookupByName('d4').undefine()
    del xml['d3'], xml['d4']
    own_daemon.restart()
    conn = closing(own_daemon.open())
    assert {d.name(): d.XMLDesc() for d in conn.listAllDomains()} == xml


@domus
def test_autostart(own_daemon, echo_xml, closing):
    """With the daemon, but once per boot of the host: a guest that was shut down stays so when only the daemon restarts."""
    conn = own_daemon.open()
    conn.defineXML(echo_xml('auto')).setAutostart(1)
    conn.defineXML(echo_xml('manual'))
    own_daemon.stop()
    shutil.rmtree(own_daemon.dir / 'run')
    own_daemon.start()
    conn = own_daemon.open()
    wait_until(lambda: conn.lookupByName('auto').isActive(), what='autostart')
    assert not conn.lookupByName('manual').isActive()
    conn.lookupByName('auto').destroy()
    own_daemon.restart()
    conn = closing(own_daemon.open())
    assert not conn.lookupByName('auto').isActive()


@domus
def test_broken_files(own_daemon, echo_xml, closing):
    conn = own_daemon.open()
    conn.defineXML(echo_xml('good'))
    own_daemon.stop()
    domains = own_daemon.dir / 'config/domains'
    (domains / 'half.xml').write_text("<domain type='domus'><name>half</na")
    (domains / 'empty.xml').write_text('')
    (domains / 'binary.xml').write_bytes(os.urandom(4096))
    (domains / 'README').write_text('not a definition')
    own_daemon.start()
    conn = closing(own_daemon.open())
    assert [d.name() for d in conn.listAllDomains()] == ['good']
    assert 'half' in own_daemon.log.read_text()
    assert (domains / 'half.xml').exists()


@domus
def test_killed_while_writing(own_daemon, echo_xml):
    """At whatever moment the daemon dies, each definition is a whole one, old or new."""
    rng = random.Random(1)
    for _ in range(5):
        conn = own_daemon.open()

        def redefine():
            try:
                for i in range(100000):
                    for name in ('a', 'b'):
                        conn.defineXML(echo_xml(name, uuid=f'00000000-0000-4000-8000-00000000000{"ab".index(name)}',
                                                top=f'<title>{i}</title><description>{"x" * 20000}</description>'))
            except libvirt.libvirtError:
                pass
        t = threading.Thread(target=redefine)
        t.start()
        wait_until(lambda: len(list((own_daemon.dir / 'config/domains').glob('*.xml'))) == 2, what='definitions')
        time.sleep(rng.uniform(0, 0.2))
        own_daemon.stop(signal.SIGKILL)
        t.join()
        own_daemon.start()
        conn = own_daemon.open()
        assert sorted(d.name() for d in conn.listAllDomains()) == ['a', 'b']
        for d in conn.listAllDomains():
            assert 'x' * 20000 in d.XMLDesc()
        conn.close()


@domus
def test_second_daemon_is_refused(own_daemon):
    p = subprocess.run(own_daemon.argv(), capture_output=True, text=True, timeout=harness.TIMEOUT)
    assert p.returncode != 0 and p.stderr
    assert own_daemon.answers()


@domus
def test_stale_sockets_are_replaced(own_daemon):
    own_daemon.stop(signal.SIGKILL)
    assert own_daemon.socket.exists()
    own_daemon.start()
