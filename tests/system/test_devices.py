# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks, drives, channels and the rest, by stock clients: in definitions, and in a Debian guest that boots from its disk."""
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
from harness import Console, raises, run, wait_until

domus = pytest.mark.domus
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='needs root: the guest\'s disk is made with it')


def root(test):
    """A test with a Debian guest on a disk, which the sanitizers would make take minutes."""
    return pytest.mark.debian(needs_root(test))


BOOT = 900
SHELL = b'domus-guest# '
AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"


def disk_xml(path, target, fmt='raw', more='', bus='virtio', device='disk'):
    source = f"<source file='{path}'/>" if path else ''
    return (f"<disk type='file' device='{device}'><driver name='qemu' type='{fmt}'/>{source}<target dev='{target}' bus='{bus}'/>{more}</disk>")


@pytest.fixture
def image(guests):
    """A raw image of a size in MiB, where any user can reach it."""
    def make(name, size=16):
        path = guests.dir / f'{name}.raw'
        with open(path, 'wb') as f:
            f.truncate(size << 20)
        return path
    return make


# --- Definitions ---

def test_definition_keeps_addresses(conn, echo_xml, image):
    dom = conn.defineXML(echo_xml('dev', devices="<console type='pty'/>" + disk_xml(image('a'), 'vda') + RNG + AGENT))
    before = [ET.tostring(a) for a in ET.fromstring(dom.XMLDesc()).iter('address')]
    assert len(before) == 4
    dom.attachDeviceFlags(disk_xml(image('b'), 'sda', bus='scsi'), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    after = [ET.tostring(a) for a in ET.fromstring(dom.XMLDesc()).iter('address')]
    assert set(before) < set(after)
    dom.detachDeviceFlags(disk_xml(image('b'), 'sda', bus='scsi'), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert 'sda' not in dom.XMLDesc()


@domus
@pytest.mark.parametrize('device,part', [
    ("<disk type='file'><source file='/i'/><target dev='hda' bus='ide'/></disk>", "bus 'ide' of disk 'hda'"),
    ("<interface type='network'><source network='default'/><model type='e1000'/></interface>", "'e1000'"),
    ("<input type='tablet' bus='usb'/>", '<input>'),
    ("<graphics type='vnc'/>", '<graphics>'),
    ("<vsock model='virtio'><cid auto='yes'/></vsock>", '<vsock>'),
    ("<controller type='pci' model='pcie-root'/>", "'pcie-root'"),
])
def test_refused_by_name(conn, echo_xml, device, part):
    message = raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, conn.defineXML, echo_xml('dev', devices=device))
    assert part in message


@domus
def test_format_is_settled(conn, echo_xml, image, guests):
    """A definition without formats gets them, once."""
    qcow2 = guests.dir / 'settled.qcow2'
    run('qemu-img', 'create', '-q', '-f', 'qcow2', qcow2, '8M')
    xml = echo_xml('dev', devices=f"<disk type='file'><source file='{qcow2}'/><target dev='vda'/></disk>"
                                  f"<disk type='file'><source file='{image('plain')}'/><target dev='vdb'/></disk>")
    dom = conn.defineXML(xml)
    assert [d.get('type') for d in ET.fromstring(dom.XMLDesc()).iter('driver')] == ['qcow2', 'raw']
    # What a guest may have written since does not count.
    shutil.copy(qcow2, guests.dir / 'plain.raw')
    dom = conn.defineXML(xml.replace('<name>', f'<uuid>{dom.UUIDString()}</uuid><name>'))
    assert [d.get('type') for d in ET.fromstring(dom.XMLDesc()).iter('driver')] == ['qcow2', 'raw']


def test_virsh_config(conn, echo_xml, image, virsh):
    conn.defineXML(echo_xml('dev'))
    path = image('c')
    virsh('attach-disk', 'dev', path, 'vdb', '--subdriver', 'raw', '--config')
    assert str(path) in virsh('domblklist', 'dev').stdout
    virsh('blkdeviotune', 'dev', 'vdb', '--total-bytes-sec', '1000000', '--config')
    assert 'total_bytes_sec: 1000000' in virsh('blkdeviotune', 'dev', 'vdb', '--config').stdout
    assert 'Capacity:       16777216' in virsh('domblkinfo', 'dev', 'vdb').stdout
    virsh('detach-disk', 'dev', 'vdb', '--config')
    assert virsh('domblklist', 'dev').stdout.strip() == ''


@domus
def test_virt_install(daemon, conn, guests, image):
    """What virt-install gives a guest by itself through a qemu URI is taken, but for what a screen needs."""
    run('virt-install', '--connect', daemon.qemu_uri, '--name', 'vi', '--memory', '64', '--osinfo', 'linux2022', '--import', '--boot',
        f'kernel={guests.echo}', '--disk', f'path={image("vi")},format=raw', '--network', 'none', '--graphics', 'none', '--noautoconsole')
    dom = conn.lookupByName('vi')
    kinds = {d.tag for d in ET.fromstring(dom.XMLDesc()).find('devices')}
    assert {'disk', 'controller', 'channel', 'rng', 'memballoon', 'console'} <= kinds


# --- With a guest that cares for nothing ---

def test_locks(conn, echo_xml, image):
    path = image('locked')
    a, b = (conn.defineXML(echo_xml(n, devices="<console type='pty'/>" + disk_xml(path, 'vda'))) for n in ('one', 'two'))
    a.create()
    message = raises((libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR), b.create)
    assert harness.PEER or "in use by domain 'one'" in message
    failed = subprocess.run(['qemu-img', 'resize', '-f', 'raw', path, '32M'], capture_output=True, text=True)
    assert failed.returncode and 'lock' in failed.stderr
    a.destroy()
    b.create()


@domus
def test_missing_image(conn, echo_xml):
    dom = conn.defineXML(echo_xml('dev', devices=disk_xml('/nonexistent/image', 'vda')))
    assert "cannot open image '/nonexistent/image' of disk 'vda'" in raises(libvirt.VIR_ERR_SYSTEM_ERROR, dom.create)
    assert not dom.isActive()


@domus
def test_failed_attach(conn, echo_xml, image, guests, virsh):
    """It leaves nothing: not the controller that the disk would have needed, in the document or in the VM."""
    held = image('held')
    conn.defineXML(echo_xml('holder', devices="<console type='pty'/>" + disk_xml(held, 'vda'))).create()
    dom = conn.defineXML(echo_xml('dev', devices="<console type='pty'/>" + disk_xml(image('own'), 'vda')))
    dom.create()
    live, config = dom.XMLDesc(), dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    # The daemon cannot open the one, the server of images that are not raw the other.
    failed = virsh('attach-disk', 'dev', held, 'sda', '--targetbus', 'scsi', '--subdriver', 'raw', '--persistent', '--live', ok=False)
    assert "in use by domain 'holder'" in failed.stderr
    odd = guests.write('odd.vhdx', b'vhdxfile' + bytes(1 << 20))
    failed = virsh('attach-disk', 'dev', odd, 'sda', '--targetbus', 'scsi', '--subdriver', 'vhdx', '--persistent', '--live', ok=False)
    assert "cannot open the image of disk 'sda'" in failed.stderr
    assert (dom.XMLDesc(), dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) == (live, config)
    raises(libvirt.VIR_ERR_DEVICE_MISSING, dom.detachDeviceAlias, 'scsi0')
    # A controller that was left in the VM would be in the way of this one.
    dom.attachDevice(disk_xml(image('good'), 'sda', bus='scsi'))
    assert dom.blockStats('sda')


@domus
def test_daemon_restart(own_daemon, echo_xml, image):
    """Another daemon finds the devices of a running guest as they are."""
    conn = own_daemon.open()
    dom = conn.defineXML(echo_xml('dev', devices="<console type='pty'/>" + disk_xml(image('r'), 'vda') + AGENT))
    dom.create()
    before = dom.XMLDesc()
    conn.close()
    own_daemon.restart()
    conn = own_daemon.open()
    dom = conn.lookupByName('dev')
    assert dom.XMLDesc() == before
    assert dom.blockStats('vda')
    dom.destroy()
    conn.close()


# --- Debian on its disk ---

@pytest.fixture(scope='module')
def debian(daemon, guests):
    """One guest for the tests that follow: its boot is the slowest part."""
    tree = harness.pathlib.Path(run(harness.ROOT / 'tests/guest/make-debian-disk', timeout=1800).stdout.strip())
    hd = guests.dir / 'debian.qcow2'
    base = guests.dir / 'debian-base.qcow2'
    shutil.copy(tree / 'disk.qcow2', base)
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', hd)
    for f in (base, hd):
        f.chmod(0o600)
    cmdline = (tree / 'cmdline').read_text().strip() + ' init=/usr/local/sbin/domus-init'
    devices = ("<console type='pty'/>" + disk_xml(hd, 'vda', fmt='qcow2') + disk_xml(None, 'sda', bus='sata', device='cdrom') + AGENT + RNG +
               "<memballoon model='virtio'><stats period='1'/></memballoon>")
    conn = daemon.open()
    dom = conn.defineXML(harness.domain_xml('debian', guests.copy(tree / 'vmlinuz', 'debian-vmlinuz'),
                                            initrd=guests.copy(tree / 'initrd.img', 'debian-initrd'), cmdline=cmdline, memory=768, devices=devices))
    dom.create()
    console = Console(dom)
    console.expect(b'domus-guest: init reached', timeout=BOOT)
    console.expect(SHELL, timeout=BOOT)
    yield dom, console
    console.close()
    if dom.isActive():
        dom.destroy()
    dom.undefine()
    conn.close()


def ask(console, command, answer, timeout=harness.TIMEOUT):
    console.send(command + '; echo "done"+\n')
    console.expect(answer, timeout=timeout)
    console.expect(b'done+', timeout=timeout)


@root
@domus
def test_hot_plug(debian, image):
    dom, console = debian
    path = image('hot', 32)
    seen = []
    ids = [dom.connect().domainEventRegisterAny(dom, event, lambda c, d, alias, what: seen.append((what, alias)), what)
           for event, what in ((libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, 'added'), (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, 'removed'))]
    dom.attachDevice(disk_xml(path, 'vdb', more='<serial>hot-1</serial>'))
    ask(console, 'udevadm settle; i=0; until [ -b /dev/vdb ]; do sleep 0.2; done; cat /sys/block/vdb/serial', b'hot-1')
    ask(console, 'echo some text | dd of=/dev/vdb conv=fsync; blockdev --getsize64 /dev/vdb', b'33554432')
    assert path.read_bytes()[:9] == b'some text'
    dom.blockResize('vdb', 48 << 20, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    ask(console, 'blockdev --getsize64 /dev/vdb', b'50331648')
    assert dom.blockStatsFlags('vdb')['wr_bytes'] > 0
    assert dom.blockInfo('vdb')[0] == 48 << 20
    dom.detachDevice(disk_xml(path, 'vdb'))
    wait_until(lambda: ('removed', 'virtio-disk1') in seen, what='the removal')
    assert ('added', 'virtio-disk1') in seen
    assert 'vdb' not in dom.XMLDesc()
    for i in ids:
        dom.connect().domainEventDeregisterAny(i)


@root
@domus
def test_qcow2_hot_plug(debian, guests):
    dom, console = debian
    path = guests.dir / 'hot.qcow2'
    run('qemu-img', 'create', '-q', '-f', 'qcow2', path, '64M')
    dom.attachDevice(disk_xml(path, 'vdc', fmt='qcow2'))
    # The guest counts for itself.
    ask(console, 'until d=$(ls /dev/vd[b-z]) && [ -b $d ]; do sleep 0.2; done; blockdev --getsize64 $d', b'67108864')
    ask(console, 'echo other text | dd of=$d conv=fsync; sync', b'records out')
    assert dom.blockInfo('vdc')[0] == 64 << 20
    dom.detachDevice(disk_xml(path, 'vdc', fmt='qcow2'))
    wait_until(lambda: 'vdc' not in dom.XMLDesc(), what='the removal')
    out = guests.dir / 'hot.raw'
    # The process that had it has let go.
    wait_until(lambda: subprocess.run(['qemu-img', 'convert', '-O', 'raw', path, out], capture_output=True).returncode == 0, what='the image')
    assert out.read_bytes()[:10] == b'other text'


@root
@domus
def test_media(debian, image, virsh):
    dom, console = debian
    first = image('disc', 4)
    virsh('change-media', 'debian', 'sda', first, '--insert', '--live')
    ask(console, 'sleep 1; dd if=/dev/sr0 of=/dev/null bs=1M', b'4+0 records in')
    virsh('change-media', 'debian', 'sda', '--eject', '--live')
    assert 'disc.raw' not in dom.XMLDesc()


@root
@domus
def test_balloon(debian, virsh):
    dom, console = debian
    full = dom.memoryStats()['actual']
    dom.setMemoryFlags(full - (128 << 10), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait_until(lambda: dom.memoryStats()['actual'] == full - (128 << 10), what='the balloon')
    stats = wait_until(lambda: 'unused' in dom.memoryStats() and dom.memoryStats(), what="the guest's figures")
    assert 0 < stats['unused'] < stats['available'] <= full
    dom.setMemory(full)


@root
@domus
def test_agent(debian, virsh):
    dom, console = debian
    assert dom.hostname(libvirt.VIR_DOMAIN_GET_HOSTNAME_AGENT) == 'domus-guest'
    assert dom.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS)['os.id'] == 'debian'
    fs = dom.fsInfo()
    assert [(f[0], f[3]) for f in fs] == [('/', ['vda'])]
    assert dom.fsFreeze() == 1
    assert dom.fsThaw() == 1
    dom.fSTrim(None, 0)
    assert abs(dom.getTime()['seconds'] - harness.time.time()) < 3600
    assert '"return"' in virsh('qemu-agent-command', 'debian', '{"execute":"guest-ping"}').stdout
    message = raises(libvirt.VIR_ERR_INTERNAL_ERROR, dom.setUserPassword, 'nobody-of-that-name', 'x')
    assert 'guest-set-user-password' in message
    assert "state='connected'" in dom.XMLDesc()


@root
@domus
def test_shutdown_by_agent(debian):
    """The last one. The lean init has no systemd that would do what the agent calls for."""
    dom, console = debian
    message = raises(libvirt.VIR_ERR_INTERNAL_ERROR, dom.shutdownFlags, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    assert 'guest-shutdown' in message
    ask(console, r"rm -f /sbin/shutdown; printf '#!/bin/sh\nbusybox poweroff -f\n' >/sbin/shutdown; chmod 755 /sbin/shutdown", b'')
    dom.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    wait_until(lambda: not dom.isActive(), what='the end')
