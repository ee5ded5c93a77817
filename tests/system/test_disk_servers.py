# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks whose images a qemu-storage-daemon serves to the VM: on servers (nbd, iscsi, https), in iscsi-direct pools, and qcow2: sizes and thresholds while the guest runs. A small guest
and the servers share a network namespace."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
import netns
from harness import Console, raises, run, wait_until
from test_storage import MIB, noise, remove_pools, volume_xml

MISSING = netns.missing() or next((f'no {p}' for p in ('tgtd', 'qemu-nbd', 'openssl') if not shutil.which(p, path='/usr/sbin:/usr/bin:/sbin:/bin')), None)
pytestmark = [pytest.mark.domus, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]

# With a Debian kernel, which the sanitizers would make take minutes.
guest = pytest.mark.debian
BOOT = 600
SHELL = b'domus-guest# '
IQN = 'iqn.2024-01.org.domus:disks'
INITIATOR = 'iqn.2024-01.org.domus:guest'
MODULES = ['virtio/virtio_ring', 'virtio/virtio', 'virtio/virtio_pci_legacy_dev', 'virtio/virtio_pci_modern_dev', 'virtio/virtio_pci', 'block/virtio_blk',
           'scsi/scsi_common', 'scsi/scsi_mod', 'scsi/virtio_scsi', 'scsi/sd_mod', 'cdrom/cdrom', 'scsi/sr_mod']


# --- The host and its servers ---

@pytest.fixture(scope='module')
def daemon(work):
    d = netns.NetDaemon(work / 'disk_servers')
    try:
        yield d.start()
    finally:
        d.cleanup()


@pytest.fixture(scope='module')
def host(daemon):
    return daemon.namespace


def is_open(host, port):
    return host.run('ss', '-Hltn', f'sport = :{port}').stdout != ''


@pytest.fixture
def folder(work, request):
    path = work / 'servers' / re.sub(r'\W', '-', request.node.name)
    path.mkdir(parents=True)
    return path


@pytest.fixture
def spawn(host, closing):
    """A program beside the daemon that ends with the test."""
    class Program:
        def __init__(self, *argv):
            self.process = host.spawn(*argv)

        def close(self):
            self.process.kill()
            self.process.wait()
    return lambda *argv: closing(Program(*argv))


class Targets:
    """tgtd with a target of two units."""
    def __init__(self, host, folder):
        self.host, self.folder, self.control = host, folder, str(os.getpid() % 30000 + 1000)
        folder.mkdir(parents=True)
        self.process = host.spawn('tgtd', '-f', '-C', self.control, '--iscsi', 'portal=127.0.0.1:3260')
        wait_until(lambda: self.adm('sys', 'show', ok=False).returncode == 0, what='tgtd')
        self.adm('target', 'new', '--tid', '1', '--targetname', IQN)
        self.adm('target', 'bind', '--tid', '1', '--initiator-address', 'ALL')
        for unit, size in ((1, 16), (2, 8)):
            self.add(unit, size)

    def adm(self, mode, op, *args, ok=True):
        return self.host.run('tgtadm', '-C', self.control, '--lld', 'iscsi', '--mode', mode, '--op', op, *args, ok=ok)

    def path(self, unit):
        return self.folder / f'unit{unit}'

    def add(self, unit, size):
        with open(self.path(unit), 'wb') as f:
            f.truncate(size * MIB)
        self.adm('logicalunit', 'new', '--tid', '1', '--lun', str(unit), '--backing-store', self.path(unit))

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope='module')
def targets(host, work):
    t = Targets(host, work / 'targets')
    yield t
    t.close()


HTTPS = r'''
import http.server, os, re, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self, body):
        try:
            data = open(os.path.join(sys.argv[3], os.path.basename(self.path.partition('?')[0])), 'rb').read()
        except OSError:
            return self.send_error(404)
        part = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
        begin, end = (int(part[1]), min(int(part[2] or len(data)), len(data) - 1) + 1) if part else (0, len(data))
        self.send_response(206 if part else 200)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Length', str(end - begin))
        if part:
            self.send_header('Content-Range', f'bytes {begin}-{end - 1}/{len(data)}')
        self.end_headers()
        if body:
            self.wfile.write(data[begin:end])

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(('127.0.0.1', 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print('ready', flush=True)
server.serve_forever()
'''


# --- The guest ---

@pytest.fixture(scope='module')
def linux(daemon, guests, work):
    """A Debian kernel with a shell, and a SCSI controller: the domain and its console."""
    tree, script = guests.linux_tree, work / 'modules.sh'
    names = ' '.join(m.rpartition('/')[2] for m in MODULES)
    script.write_text(f'#!/bin/sh\nfor m in {names}; do [ ! -e /lib/modules/$m.ko ] || busybox insmod /lib/modules/$m.ko; done\nstty -F /dev/ttyS0 -onlcr\n')
    script.chmod(0o755)
    files = [f'{tree}/modules/kernel/drivers/{m}.ko=/lib/modules/{m.rpartition("/")[2]}.ko' for m in MODULES
             if (tree / f'modules/kernel/drivers/{m}.ko').exists()]
    initrd = guests.initrd('disks', f'{script}=/etc/domus-test', *files)
    conn = daemon.open()
    devices = "<console type='pty'/><controller type='scsi' index='0' model='virtio-scsi'/>"
    dom = conn.defineXML(harness.domain_xml('linux', guests.linux, initrd=initrd, cmdline='console=ttyS0 quiet', memory=256, devices=devices))
    dom.create()
    console = Console(dom)
    console.expect(b'domus-guest: init reached', timeout=BOOT)
    console.expect(SHELL, timeout=BOOT)
    yield dom, console
    conn = daemon.open()  # it may not be the same daemon
    for dom in conn.listAllDomains():
        if dom.isActive():
            dom.destroy()
        dom.undefine()
    conn.close()


def ask(console, line, timeout=BOOT):
    """Runs a line in the guest and returns its output."""
    console.send(f'{line}; echo "done"=$?\r')
    out = console.expect(b'done=', timeout=timeout)
    status = console.expect(b'\n', timeout=timeout).strip()
    console.expect(SHELL, timeout=timeout)
    assert status == b'0', f'{line}: {status}: {out}'
    return out.partition(b'\n')[2].rpartition(b'done=')[0].decode()


@pytest.fixture
def sh(linux):
    return lambda line: ask(linux[1], line)


@pytest.fixture
def conn(daemon):
    """The guest stays for the other tests."""
    assert daemon.process.poll() is None, 'the daemon is gone'
    c = daemon.open()
    yield c
    remove_pools(c)
    for dom in c.listAllDomains():
        if dom.name() != 'linux':
            if dom.isActive():
                dom.destroy()
            dom.undefine()
    c.close()
    assert daemon.process.poll() is None


def disk_xml(source, target='vda', bus='virtio', kind='network', fmt='raw', more='', device='disk'):
    return (f"<disk type='{kind}' device='{device}'><driver name='qemu' type='{fmt}'/>{source}<target dev='{target}' bus='{bus}'/>{more}</disk>")


def network(protocol, name, port, inside='', more=''):
    return f"<source protocol='{protocol}' name='{name}'{more}><host name='127.0.0.1' port='{port}'/>{inside}</source>"


@pytest.fixture
def plug(linux, virsh, folder, sh):
    """Plugs a disk by virsh, and waits until the guest has it: its name there. All are unplugged in the end."""
    dom, console = linux
    plugged = []

    def listed():
        return set(sh('ls /sys/block').split())

    def detach(path, target, domain=dom):
        virsh('detach-device', 'linux', path, '--live')
        wait_until(lambda: target not in [t.get('dev') for t in ET.fromstring(domain.XMLDesc()).iter('target')], what='the removal')
        plugged.remove((path, target))

    def attach(xml):
        target = re.search(r"target dev='(\w+)'", xml)[1]
        path = folder / f'{target}.xml'
        path.write_text(xml)
        before = listed()
        virsh('attach-device', 'linux', path, '--live')
        plugged.append((path, target))
        name = wait_until(lambda: listed() - before, what='the disk in the guest').pop()
        wait_until(lambda: sh(f'[ -b /dev/{name} ] && echo there || true').strip(), what='its node')
        return name
    attach.detach = lambda target, *domain: detach(*next(p for p in plugged if p[1] == target), *domain)
    yield attach
    for p in list(plugged):
        detach(*p)


def digest(data):
    return hashlib.md5(data).hexdigest()


def check_disk(sh, name, path, size=MIB, direct='iflag=direct'):
    """What the server has is read, and what the guest writes gets there."""
    data = open(path, 'rb').read(size)
    assert digest(data) in sh(f'dd if=/dev/{name} bs=64k count={size >> 16} {direct} 2>/dev/null | md5sum')
    sh(f'dd if=/dev/urandom of=/tmp/new bs=64k count={size >> 16} 2>/dev/null; dd if=/tmp/new of=/dev/{name} bs=64k conv=fsync 2>/dev/null')
    assert digest(open(path, 'rb').read(size)) in sh('md5sum /tmp/new')


@pytest.fixture
def image(folder):
    """A raw image of 8 MiB, the beginning of which is noise."""
    path = folder / 'image'
    path.write_bytes(noise(MIB) + bytes(7 * MIB))
    return path


# --- Network disks ---

@guest
def test_nbd(spawn, host, image, plug, sh, linux):
    spawn('qemu-nbd', '-f', 'raw', '-t', '-x', 'disk', '-b', '127.0.0.1', image)
    wait_until(lambda: is_open(host, 10809), what='qemu-nbd')
    name = plug(disk_xml(network('nbd', 'disk', 10809)))
    assert sh(f'cat /sys/block/{name}/size').strip() == str(8 * MIB // 512)
    check_disk(sh, name, image)
    assert linux[0].blockInfo('vda')[0] == 8 * MIB
    assert linux[0].blockStats('vda')[1] >= MIB


@guest
def test_nbd_socket(spawn, image, folder, plug, sh):
    """On a SCSI bus, by a UNIX socket."""
    socket = folder / 'nbd.sock'
    spawn('qemu-nbd', '-f', 'raw', '-t', '-k', socket, image)
    wait_until(socket.exists, what='qemu-nbd')
    name = plug(disk_xml(f"<source protocol='nbd'><host transport='unix' socket='{socket}'/></source>", target='sda', bus='scsi'))
    assert name.startswith('sd')
    check_disk(sh, name, image)


@guest
def test_nbd_server_ends(spawn, host, image, plug, sh, linux):
    """The guest gets an I/O error, the host hears of it, and all goes on."""
    server = spawn('qemu-nbd', '-f', 'raw', '-t', '-b', '127.0.0.1', '-p', '10810', image)
    wait_until(lambda: is_open(host, 10810), what='qemu-nbd')
    name = plug(disk_xml(network('nbd', '', 10810).replace(" name=''", '')))
    check_disk(sh, name, image, size=MIB // 4)
    seen, dom = [], linux[0]
    event = dom.connect().domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, lambda *a: seen.append(a[2:]), None)
    server.close()
    assert 'failed' in sh(f'dd if=/dev/{name} of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null || echo failed')
    wait_until(lambda: seen, what='the event')
    assert seen[0][1] == 'virtio-disk0'
    dom.connect().domainEventDeregisterAny(event)
    assert dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert sh('echo alive').strip() == 'alive'


@guest
def test_iscsi(targets, plug, sh):
    with open(targets.path(1), 'r+b') as f:
        f.write(noise(MIB))
    name = plug(disk_xml(network('iscsi', f'{IQN}/1', 3260, f"<initiator><iqn name='{INITIATOR}'/></initiator>")))
    assert sh(f'cat /sys/block/{name}/size').strip() == str(16 * MIB // 512)
    check_disk(sh, name, targets.path(1))


@pytest.fixture(scope='module')
def certificate(host, work):
    """One that the host trusts, for localhost; the host is the namespace."""
    key, cert, trusted = (work / n for n in ('key.pem', 'cert.pem', 'trusted.crt'))
    run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '30', '-subj', '/CN=localhost', '-addext',
        'subjectAltName=DNS:localhost')
    store = '/etc/ssl/certs/ca-certificates.crt'
    trusted.write_bytes((open(store, 'rb').read() if os.path.exists(store) else b'') + cert.read_bytes())
    trusted.chmod(0o644)
    return key, cert, trusted, store


@pytest.fixture
def https(spawn, certificate, folder):
    p = spawn(sys.executable, '-c', HTTPS, certificate[1], certificate[0], folder)
    assert p.process.stdout.readline() == 'ready\n'


@guest
def test_https(https, certificate, host, image, plug, sh, virsh, folder):
    """The certificate must be one that the host trusts, unless it says that this does not matter."""
    xml = disk_xml(network('https', '/image', 8443).replace('127.0.0.1', 'localhost'), more='<readonly/>')
    (folder / 'untrusted.xml').write_text(xml)
    p = virsh('attach-device', 'linux', folder / 'untrusted.xml', '--live', ok=False)
    assert p.returncode and 'certificate' in p.stderr and "'vda'" in p.stderr
    name = plug(xml.replace('</source>', "<ssl verify='no'/></source>"))
    assert digest(image.read_bytes()) in sh(f'md5sum /dev/{name}')
    assert 'refused' in sh(f'echo x 2>/dev/null >/dev/{name} || echo refused')
    plug.detach('vda')
    host.run('mount', '--bind', certificate[2], certificate[3])
    try:
        name = plug(xml.replace("name='/image'", "name='/image' query='a=b'"))
        assert digest(image.read_bytes()) in sh(f'md5sum /dev/{name}')
        plug.detach('vda')
    finally:
        host.run('umount', certificate[3])


@guest
def test_https_disc(https, image, plug, sh):
    """A CD-ROM drive with a disc from a server, exchanged for nothing."""
    source = network('https', '/image', 8443, "<ssl verify='no'/>").replace('127.0.0.1', 'localhost')
    name = plug(disk_xml(source, target='sdb', bus='scsi', device='cdrom'))
    assert name.startswith('sr')
    assert digest(image.read_bytes()) in sh(f'md5sum /dev/{name}')


@guest
@pytest.mark.parametrize('source,said', [
    (network('nbd', 'disk', 10999), 'Connection refused'),
    (network('iscsi', f'{IQN}/1', 3999), '127.0.0.1:3999'),
    (network('iscsi', 'iqn.2024-01.org.domus:none/1', 3260), 'Target not found'),
    (network('iscsi', f'{IQN}/7', 3260), 'iSCSI'),
    (network('https', '/none', 8443, "<ssl verify='no'/>"), '404'),
])
def test_unreachable(targets, https, linux, virsh, folder, source, said):
    """What is wrong is said to who asks, and nothing is left behind."""
    (folder / 'disk.xml').write_text(disk_xml(source, more='<readonly/>'))
    p = virsh('attach-device', 'linux', folder / 'disk.xml', '--live', ok=False)
    assert p.returncode and said in p.stderr and "'vda'" in p.stderr
    assert '<disk' not in linux[0].XMLDesc()


@pytest.mark.parametrize('source,named', [
    (network('nbd', 'x', 1, "<ssl verify='no'/>"), '<ssl>'),
    (network('nbd', 'x', 1, "<initiator><iqn name='i'/></initiator>"), '<initiator>'),
    (network('iscsi', 'x/1', 1, "<auth username='u'><secret type='iscsi' usage='s'/></auth>"), '<auth>'),
    (network('nbd', 'x', 1, more=" tls='yes'"), "'tls'"),
    (network('rbd', 'x', 1), "'rbd'"),
    (network('https', 'x', 1, "<cookies><cookie name='a'>b</cookie></cookies>"), '<cookies>'),
])
def test_refused_by_name(conn, echo_xml, source, named):
    assert named in raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, conn.defineXML, echo_xml('refused', devices=disk_xml(source)))


# --- At the start of a domain ---

@pytest.fixture
def start(conn, virsh, echo_xml):
    """Defines a domain with a disk and starts it by virsh: what virsh says if that fails."""
    def call(name, disk):
        conn.defineXML(echo_xml(name, devices="<console type='pty'/>" + disk))
        p = virsh('start', name, ok=False)
        assert (p.returncode == 0) == bool(conn.lookupByName(name).isActive())
        return p.stderr if p.returncode else None
    return call


def test_start_with_server(spawn, host, image, start, conn):
    spawn('qemu-nbd', '-f', 'raw', '-t', '-b', '127.0.0.1', '-p', '10811', image)
    wait_until(lambda: is_open(host, 10811), what='qemu-nbd')
    disk = disk_xml("<source protocol='nbd'><host name='127.0.0.1' port='10811'/></source>")
    assert start('served', disk) is None
    assert conn.lookupByName('served').blockInfo('vda')[0] == 8 * MIB
    assert "in use by domain 'served'" in start('second', disk)
    assert "in use by domain 'twice'" in start('twice', disk.replace('10811', '10813') + disk.replace('10811', '10813').replace('vda', 'vdb'))
    message = start('unserved', disk.replace('10811', '10812'))
    assert 'Connection refused' in message and "'vda'" in message and '127.0.0.1:10812' in message


def test_damaged_images(start, own_image, folder):
    """Shorter than the header says, and a chain that goes in a circle: each is named, and so is the disk's image."""
    short = own_image('qcow2')
    os.truncate(short, 70000)
    message = start('short', disk_xml(file_source(short), kind='file', fmt='qcow2'))
    assert str(short) in message and 'shorter than its header says' in message
    one, two = folder / 'one', folder / 'two'
    for a, b in ((one, two), (two, one)):
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b', b, a, '1M')
    message = start('circle', disk_xml(file_source(one), kind='file', fmt='qcow2'))
    assert str(one) in message and 'cycle' in message
    over = folder / 'over'
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-F', 'raw', '-b', folder / 'lost', over, '1M')
    assert str(folder / 'lost') in start('lost', disk_xml(file_source(over), kind='file', fmt='qcow2'))


@pytest.mark.parametrize('fmt', ['raw', 'qcow2'])
def test_two_writers(start, own_image, conn, fmt, virsh):
    """The second is refused and the first goes on; readers share."""
    path = own_image(fmt)
    disk = disk_xml(file_source(path), kind='file', fmt=fmt)
    assert start('first', disk) is None
    message = start('second', disk)
    assert 'in use' in message or 'lock' in message
    assert str(path) in message or "'vda'" in message
    assert subprocess.run(['qemu-img', 'resize', '-f', fmt, path, '32M'], capture_output=True).returncode
    assert conn.lookupByName('first').state()[0] == libvirt.VIR_DOMAIN_RUNNING
    virsh('destroy', 'first')
    wait_until(lambda: virsh('start', 'second', ok=False).returncode == 0, what='the image')
    virsh('destroy', 'second')
    reader = disk.replace('</disk>', '<readonly/></disk>')
    wait_until(lambda: start('reader1', reader) is None, what='the image')
    assert start('reader2', reader) is None
    message = start('writer', disk)
    assert 'in use' in message or 'lock' in message


# --- iscsi-direct ---

def direct_xml(name='direct', iqn=IQN, host='127.0.0.1', initiator=f"<initiator><iqn name='{INITIATOR}'/></initiator>", more=''):
    return f"<pool type='iscsi-direct'><name>{name}</name><source><host name='{host}'/><device path='{iqn}'/>{initiator}{more}</source></pool>"


def test_direct_pool(conn, virsh, targets, folder):
    virsh('pool-define-as', 'direct', 'iscsi-direct', '--source-host', '127.0.0.1', '--source-dev', IQN, '--source-initiator', INITIATOR)
    virsh('pool-start', 'direct')
    assert virsh('pool-list', '--type', 'iscsi-direct', '--name').stdout.split() == ['direct']
    assert [line.split()[0] for line in virsh('vol-list', 'direct').stdout.splitlines() if line] == ['unit:0:0:1', 'unit:0:0:2']
    info = virsh('vol-info', '--bytes', 'unit:0:0:1', 'direct').stdout
    assert str(16 * MIB) in info and 'network' in info
    key = virsh('vol-key', 'unit:0:0:1', 'direct').stdout.strip()
    assert key == f'ip-127.0.0.1:3260-iscsi-{IQN}-lun-1' and virsh('vol-pool', key).stdout.strip() == 'direct'
    assert str(24 * MIB) in virsh('pool-info', '--bytes', 'direct').stdout
    targets.add(3, 4)
    virsh('pool-refresh', 'direct')
    assert 'unit:0:0:3' in virsh('vol-list', 'direct').stdout
    targets.adm('logicalunit', 'delete', '--tid', '1', '--lun', '3')
    virsh('pool-refresh', 'direct')
    assert 'unit:0:0:3' not in virsh('vol-list', 'direct').stdout
    (folder / 'data').write_bytes(noise(1000))
    for args in (('vol-create-as', 'direct', 'x', '1M'), ('vol-delete', 'unit:0:0:1', 'direct'), ('vol-wipe', 'unit:0:0:1', 'direct'),
                 ('vol-resize', 'unit:0:0:1', '20M', '--pool', 'direct'), ('vol-clone', 'unit:0:0:1', 'x', '--pool', 'direct'),
                 ('pool-delete', 'direct')):
        p = virsh(*args, ok=False)
        assert p.returncode and ('iscsi-direct' in p.stderr or 'direct' in p.stderr), args
    vol = conn.storagePoolLookupByName('direct').storageVolLookupByName('unit:0:0:1')
    raises((libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT), vol.download, conn.newStream(), 0, 0)
    virsh('pool-destroy', 'direct')
    virsh('pool-undefine', 'direct')
    found = ET.fromstring(virsh('find-storage-pool-sources-as', 'iscsi-direct', '127.0.0.1').stdout)
    assert [d.get('path') for d in found.iter('device')] == [IQN]


def test_direct_pool_refused(conn, targets):
    raises(libvirt.VIR_ERR_XML_ERROR, conn.storagePoolDefineXML, direct_xml(initiator=''))
    auth = "<auth type='chap' username='u'><secret usage='s'/></auth>"
    assert '<auth>' in raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, conn.storagePoolDefineXML, direct_xml(more=auth))
    failed = libvirt.VIR_ERR_OPERATION_FAILED
    assert '127.0.0.9:3260' in raises(failed, conn.storagePoolCreateXML, direct_xml(host='127.0.0.9'))
    assert 'Target not found' in raises(failed, conn.storagePoolCreateXML, direct_xml(iqn=f'{IQN}-none'))
    assert conn.listAllStoragePools() == []


@guest
def test_direct_volume(conn, targets, plug, sh, linux):
    """A unit as a guest's disk."""
    conn.storagePoolCreateXML(direct_xml())
    with open(targets.path(2), 'r+b') as f:
        f.write(noise(MIB))
    name = plug(disk_xml("<source pool='direct' volume='unit:0:0:2'/>", kind='volume'))
    assert sh(f'cat /sys/block/{name}/size').strip() == str(8 * MIB // 512)
    check_disk(sh, name, targets.path(2))
    assert linux[0].blockInfo('vda')[0] == 8 * MIB
    plug.detach('vda')
    conn.storagePoolLookupByName('direct').destroy()


# --- Sizes and thresholds while the guest runs ---

@pytest.fixture
def own_image(folder):
    def make(fmt, size='16M'):
        path = folder / f'image.{fmt}'
        run('qemu-img', 'create', '-q', '-f', fmt, path, size)
        return path
    return make


def file_source(path):
    return f"<source file='{path}'/>"


@guest
@pytest.mark.parametrize('fmt', ['raw', 'qcow2'])
@pytest.mark.parametrize('target,bus', [('vda', 'virtio'), ('sda', 'scsi')])
def test_resize(plug, sh, virsh, own_image, linux, fmt, target, bus):
    path = own_image(fmt)
    name = plug(disk_xml(file_source(path), target, bus, kind='file', fmt=fmt))
    virsh('blockresize', 'linux', target, '24M')
    wait_until(lambda: sh(f'cat /sys/block/{name}/size').strip() == str(24 * MIB // 512), what='the size in the guest')
    # The new end can be used.
    sh(f'dd if=/dev/urandom of=/tmp/new bs=64k count=4 2>/dev/null; dd if=/tmp/new of=/dev/{name} bs=64k seek=$((24 * 16 - 4)) conv=fsync 2>/dev/null')
    sh(f'dd if=/dev/{name} bs=64k skip=$((24 * 16 - 4)) iflag=direct 2>/dev/null | cmp - /tmp/new')
    assert linux[0].blockInfo(target)[0] == 24 * MIB
    wanted = sh('md5sum /tmp/new').split()[0]
    plug.detach(target)
    out = path.parent / 'out'
    wait_until(lambda: subprocess.run(['qemu-img', 'convert', '-f', fmt, '-O', 'raw', path, out], capture_output=True).returncode == 0, what='the image')
    data = out.read_bytes()
    assert len(data) == 24 * MIB and digest(data[-4 << 16:]) == wanted


@guest
@pytest.mark.parametrize('fmt', ['raw', 'qcow2'])
def test_threshold(plug, sh, virsh, own_image, linux, fmt):
    """Told once, when a write goes beyond it."""
    path = own_image(fmt, '64M')
    name = plug(disk_xml(file_source(path), kind='file', fmt=fmt))
    dom = linux[0]
    seen = []
    event = dom.connect().domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, lambda *a: seen.append(a[2:-1]), None)
    virsh('domblkthreshold', 'linux', 'vda', str(4 * MIB))
    sh(f'dd if=/dev/zero of=/dev/{name} bs=64k count=16 conv=fsync 2>/dev/null')
    assert not seen
    sh(f'dd if=/dev/zero of=/dev/{name} bs=64k count=128 conv=fsync 2>/dev/null')
    wait_until(lambda: seen, what='the event')
    # The guest writes in pieces of its own size; the first that goes beyond it counts.
    assert seen[0][:3] == ('vda', str(path), 4 * MIB) and 0 < seen[0][3] <= 5 * MIB
    sh(f'dd if=/dev/zero of=/dev/{name} bs=64k count=512 conv=fsync 2>/dev/null')
    virsh('domblkthreshold', 'linux', 'vda', str(40 * MIB))
    virsh('domblkthreshold', 'linux', 'vda', '0')
    sh(f'dd if=/dev/zero of=/dev/{name} bs=64k count=800 conv=fsync 2>/dev/null')
    assert len(seen) == 1
    if fmt == 'raw':  # the guest's offsets are the file's
        virsh('domblkthreshold', 'linux', 'vda', str(50 * MIB))
        sh(f'dd if=/dev/urandom of=/dev/{name} bs=64k count=1 seek=960 conv=fsync 2>/dev/null')
        wait_until(lambda: len(seen) == 2, what='the second event')
        assert seen[1][2] == 50 * MIB and 10 * MIB < seen[1][3] <= 10 * MIB + 64 * 1024
    dom.connect().domainEventDeregisterAny(event)


@guest
def test_another_daemon(plug, own_image, linux, daemon, folder, closing):
    """The last one. A daemon that is killed and started again hears of a threshold that the other one set, and can resize."""
    path = own_image('qcow2', '64M')
    name = plug(disk_xml(file_source(path), kind='file', fmt='qcow2'))
    linux[0].setBlockThreshold('vda', 4 * MIB)
    linux[1].close()
    daemon.restart()
    conn = daemon.open()
    dom, seen = conn.lookupByName('linux'), []
    console = closing(Console(dom))
    dom.connect().domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, lambda *a: seen.append(a[2:-1]), None)
    console.insist('echo re`echo a`dy', b'ready')
    console.expect(SHELL)
    ask(console, f'dd if=/dev/zero of=/dev/{name} bs=64k count=128 conv=fsync 2>/dev/null')
    wait_until(lambda: seen, what='the event')
    # The guest writes in pieces of its own size; the first that goes beyond it counts.
    assert seen[0][:3] == ('vda', str(path), 4 * MIB) and 0 < seen[0][3] <= 5 * MIB
    dom.blockResize('vda', 80 * MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    wait_until(lambda: ask(console, f'cat /sys/block/{name}/size').strip() == str(80 * MIB // 512), what='the size in the guest')
    plug.detach('vda', dom)
