# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage pools of what many a kernel lacks: LVM, iSCSI, NFS; by virsh. They are run in the guest host (tests/guesthost/meson.build)."""
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
from harness import run, wait_until
from test_storage import MIB, noise, pool_xml, remove_pools, volume_xml

pytestmark = pytest.mark.domus
IQN, TID = 'iqn.2024-01.org.domus:pool', '7'
E = libvirt


def services(command):
    run('sh', '-c', f'. {harness.ROOT}/tests/guesthost/services; {command}')


def is_mounted(path):
    return any(line.split()[1] == str(path) for line in open('/proc/self/mounts'))


@pytest.fixture(autouse=True)
def sconn(conn):
    yield conn
    remove_pools(conn)


class Shell:
    """virsh that takes commands one after the other: in the guest host, its start takes longer than what it does."""
    def __init__(self, uri, folder):
        self.errors = open(folder / 'virsh-errors', 'w+')
        self.process = subprocess.Popen(['virsh', '-q', '-c', uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.calls = 0

    def __call__(self, *args, ok=True):
        """Like harness.run: stdout, stderr, and whether it failed as returncode."""
        self.calls += 1
        end, out = f'done-{self.calls}', ''
        self.errors.seek(0)
        self.errors.truncate()
        self.process.stdin.write(' '.join(map(str, args)) + f'\necho {end}\n')
        self.process.stdin.flush()
        while f'\n{end}' not in out:
            c = self.process.stdout.read(1)
            assert c, f'{args}: virsh ended'
            out += c
        out = '\n'.join(line for line in out[:-len(end)].splitlines()[1:] if not line.endswith(f'# echo {end}'))
        self.errors.seek(0)
        err = self.errors.read()
        p = subprocess.CompletedProcess(args, 'error:' in err, out.rpartition('virsh # ')[0] or out, err)
        assert not ok or not p.returncode, f'{args}:\n{p.stdout}\n{p.stderr}'
        return p

    def close(self):
        self.process.stdin.close()
        self.process.wait(harness.TIMEOUT)
        self.errors.close()


@pytest.fixture
def virsh(daemon, tmp_path, closing):
    return closing(Shell(daemon.uri, tmp_path))


@pytest.fixture
def refused(virsh):
    """What virsh says when it fails."""
    def call(*args):
        p = virsh(*args, ok=False)
        assert p.returncode, f'{args} succeeded: {p.stdout}'
        return p.stderr
    return call


@pytest.fixture
def loop(tmp_path):
    """A function that makes a loop device of that many MiB."""
    made = []

    def make(size):
        image = tmp_path / f'loop{len(made)}'
        with open(image, 'wb') as f:
            f.truncate(size * MIB)
        made.append(run('losetup', '--find', '--show', image).stdout.strip())
        return made[-1]
    yield make
    for device in made:
        run('losetup', '--detach', device)


@pytest.fixture
def pool_events(sconn):
    """The names of what pools met, of one pool."""
    names = {getattr(E, f'VIR_STORAGE_POOL_EVENT_{n}'): n.lower() for n in ('DEFINED', 'UNDEFINED', 'STARTED', 'STOPPED', 'CREATED', 'DELETED')}
    seen = []
    ids = [sconn.storagePoolEventRegisterAny(None, E.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, lambda c, p, e, d, o: seen.append((p.name(), names[e])), None),
           sconn.storagePoolEventRegisterAny(None, E.VIR_STORAGE_POOL_EVENT_ID_REFRESH, lambda c, p, o: seen.append((p.name(), 'refresh')), None)]

    def expect(pool, *wanted):
        wait_until(lambda: [e for n, e in seen if n == pool] == list(wanted), what=f'events {wanted} in {seen}')
    yield expect
    for i in ids:
        sconn.storagePoolEventDeregisterAny(i)


def fields(text):
    """Of "Name: value" lines."""
    return dict(re.split(r':\s+', line, maxsplit=1) for line in text.splitlines() if re.search(r':\s', line))


def exact(virsh, *vol):
    """Capacity and allocation in bytes."""
    f = fields(virsh('vol-info', '--bytes', *vol).stdout)
    return tuple(int(f[k].split()[0]) for k in ('Capacity', 'Allocation'))


def names(virsh, pool):
    return sorted(line.split()[0] for line in virsh('vol-list', pool).stdout.splitlines() if line.strip())


def check_content(virsh, tmp_path, pool, volume, size=MIB):
    """Up, down, in part, wiped: what is written there is there."""
    path = virsh('vol-path', volume, pool).stdout.strip()
    (tmp_path / 'up').write_bytes(noise(size))
    virsh('vol-upload', volume, tmp_path / 'up', '--pool', pool)
    assert open(path, 'rb').read(size) == (tmp_path / 'up').read_bytes()
    virsh('vol-download', volume, tmp_path / 'down', '--pool', pool, '--offset', 4096, '--length', size - 4096)
    assert (tmp_path / 'down').read_bytes() == (tmp_path / 'up').read_bytes()[4096:]
    virsh('vol-wipe', volume, pool)
    assert open(path, 'rb').read(size) == bytes(size)


def check_lookups(virsh, pool, volume):
    path = virsh('vol-path', volume, pool).stdout.strip()
    key = virsh('vol-key', volume, pool).stdout.strip()
    assert virsh('vol-pool', path).stdout.strip() == pool
    assert virsh('vol-name', key).stdout.strip() == volume
    assert virsh('vol-path', key).stdout.strip() == path
    return path


def check_autostart(d, pool):
    """A restart of the daemon changes nothing; a boot starts the pool again."""
    virsh = lambda *args: run('virsh', '-q', '-c', d.uri, *args)  # noqa: E731
    virsh('pool-autostart', pool)
    d.restart()
    assert 'running' in virsh('pool-info', pool).stdout
    virsh('pool-destroy', pool)
    d.stop()
    shutil.rmtree(d.dir / 'run')
    d.start()
    wait_until(lambda: 'running' in virsh('pool-info', pool).stdout, what='the autostart')
    virsh('pool-autostart', pool, '--disable')
    virsh('pool-destroy', pool)
    virsh('pool-undefine', pool)


def pool_file(folder, name, kind, source, path='/dev'):
    out = folder / f'{name}.xml'
    out.write_text(pool_xml(name, path, kind, source))
    return out


# --- LVM ---

@pytest.fixture
def group(loop, sconn):
    yield 'domus-test'
    remove_pools(sconn)
    subprocess.run(['vgremove', '--force', '--yes', 'domus-test'], capture_output=True)


def vg_exists(name):
    return subprocess.run(['vgs', name], capture_output=True).returncode == 0


def test_logical_life_cycle(virsh, sconn, loop, group, pool_events):
    devices = [loop(64), loop(64)]
    sources = [f'--source-dev={devices[0]}', f'--source-name={group}']
    virsh('pool-define-as', 'lvm', 'logical', *sources)
    assert f'/dev/{group}' in virsh('pool-dumpxml', 'lvm').stdout
    assert not vg_exists(group)
    p = virsh('pool-start', 'lvm', ok=False)
    assert p.returncode and group in p.stderr
    virsh('pool-build', 'lvm')
    assert vg_exists(group)
    virsh('pool-start', 'lvm')
    info = fields(virsh('pool-info', '--bytes', 'lvm').stdout)
    assert info['State'] == 'running' and 50 * MIB < int(info['Capacity']) < 64 * MIB and info['Capacity'] == info['Available']
    virsh('vol-create-as', 'lvm', 'one', '8M')
    assert names(virsh, 'lvm') == ['one'] and exact(virsh, 'one', 'lvm') == (8 * MIB, 8 * MIB)
    # What another program makes of the group is seen.
    run('lvcreate', '--yes', '-n', 'foreign', '-L', '4M', group)
    assert names(virsh, 'lvm') == ['one']
    virsh('pool-refresh', 'lvm')
    assert names(virsh, 'lvm') == ['foreign', 'one']
    assert int(fields(virsh('pool-info', '--bytes', 'lvm').stdout)['Allocation']) == 12 * MIB
    virsh('pool-destroy', 'lvm')
    assert not os.path.exists(f'/dev/{group}/one')
    virsh('pool-start', 'lvm')
    assert names(virsh, 'lvm') == ['foreign', 'one']
    virsh('pool-destroy', 'lvm')
    virsh('pool-delete', 'lvm')
    assert not vg_exists(group)
    virsh('pool-undefine', 'lvm')
    pool_events('lvm', 'defined', 'created', 'started', 'refresh', 'stopped', 'started', 'stopped', 'deleted', 'undefined')


@pytest.fixture
def logical(virsh, loop, group):
    virsh('pool-define-as', 'lvm', 'logical', '--source-dev', loop(96), '--source-name', group)
    virsh('pool-start', 'lvm', '--build')
    return f'/dev/{group}'


def test_logical_volumes(virsh, logical, tmp_path, refused):
    virsh('vol-create-as', 'lvm', 'one', '8M')
    assert check_lookups(virsh, 'lvm', 'one') == f'{logical}/one'
    assert fields(virsh('vol-info', 'one', 'lvm').stdout)['Type'] == 'block'
    check_content(virsh, tmp_path, 'lvm', 'one')
    virsh('vol-upload', 'one', tmp_path / 'up', '--pool', 'lvm')
    virsh('vol-clone', 'one', 'two', '--pool', 'lvm')
    assert open(f'{logical}/two', 'rb').read(MIB) == (tmp_path / 'up').read_bytes()
    virsh('vol-resize', 'one', '16M', '--pool', 'lvm')
    assert exact(virsh, 'one', 'lvm') == (16 * MIB, 16 * MIB)
    virsh('vol-resize', 'one', '4M', '--pool', 'lvm', '--delta')
    assert exact(virsh, 'one', 'lvm')[0] == 20 * MIB
    refused('vol-resize', 'one', '12M', '--pool', 'lvm')
    virsh('vol-resize', 'one', '12M', '--pool', 'lvm', '--shrink')
    assert exact(virsh, 'one', 'lvm')[0] == 12 * MIB
    assert open(f'{logical}/one', 'rb').read(MIB) == (tmp_path / 'up').read_bytes()
    # Of a qcow2 image in another pool, and back.
    virsh('pool-create-as', 'files', 'dir', '--target', tmp_path)
    run('qemu-img', 'convert', '-O', 'qcow2', tmp_path / 'up', tmp_path / 'image.qcow2')
    virsh('pool-refresh', 'files')
    (tmp_path / 'three.xml').write_text(volume_xml('three', 4 * MIB))
    virsh('vol-create-from', 'lvm', tmp_path / 'three.xml', 'image.qcow2', '--inputpool', 'files')
    assert open(f'{logical}/three', 'rb').read(MIB) == (tmp_path / 'up').read_bytes()
    (tmp_path / 'back.xml').write_text(volume_xml('back.qcow2', 4 * MIB, 'qcow2'))
    virsh('vol-create-from', 'files', tmp_path / 'back.xml', 'three', '--inputpool', 'lvm')
    run('qemu-img', 'compare', '-f', 'raw', f'{logical}/three', '-F', 'qcow2', tmp_path / 'back.qcow2')
    virsh('vol-delete', 'two', 'lvm')
    assert names(virsh, 'lvm') == ['one', 'three'] and not os.path.exists(f'{logical}/two')


def test_logical_snapshot(virsh, logical, tmp_path):
    virsh('vol-create-as', 'lvm', 'base', '8M')
    (tmp_path / 'up').write_bytes(noise(MIB))
    virsh('vol-upload', 'base', tmp_path / 'up', '--pool', 'lvm')
    virsh('vol-create-as', 'lvm', 'snap', '8M', '--backing-vol', 'base')
    assert f'<path>{logical}/base</path>' in virsh('vol-dumpxml', 'snap', 'lvm').stdout
    (tmp_path / 'new').write_bytes(noise(MIB))
    virsh('vol-upload', 'base', tmp_path / 'new', '--pool', 'lvm')
    assert open(f'{logical}/snap', 'rb').read(MIB) == (tmp_path / 'up').read_bytes()
    virsh('vol-delete', 'snap', 'lvm')
    assert names(virsh, 'lvm') == ['base']


def test_logical_capacity(virsh, logical, refused, tmp_path):
    for wanted in ('200M', '1P'):
        message = refused('vol-create-as', 'lvm', 'big', wanted)
        assert 'not enough space' in message and "'lvm'" in message and "'big'" in message
    virsh('vol-create-as', 'lvm', 'half', '64M')
    assert 'not enough space' in refused('vol-clone', 'half', 'copy', '--pool', 'lvm')
    assert "Not enough space left in storage pool 'lvm'" in refused('vol-resize', 'half', '120M', '--pool', 'lvm')
    assert exact(virsh, 'half', 'lvm') == (64 * MIB, 64 * MIB) and names(virsh, 'lvm') == ['half']
    assert 'qcow2' in refused('vol-create-as', 'lvm', 'q', '4M', '--format', 'qcow2')
    assert 'half' in refused('vol-create-as', 'lvm', 'half', '4M')
    # A copy that fails leaves nothing.
    virsh('pool-create-as', 'files', 'dir', '--target', tmp_path)
    run('qemu-img', 'create', '-q', '-f', 'qcow2', tmp_path / 'bad.qcow2', '8M')
    virsh('pool-refresh', 'files')
    os.truncate(tmp_path / 'bad.qcow2', 70000)
    (tmp_path / 'vol.xml').write_text(volume_xml('fails', 8 * MIB))
    refused('vol-create-from', 'lvm', tmp_path / 'vol.xml', 'bad.qcow2', '--inputpool', 'files')
    assert names(virsh, 'lvm') == ['half'] and not os.path.exists(f'{logical}/fails')


def test_logical_in_use(virsh, logical, refused):
    """A volume that is open stays, and so do its pool and its group."""
    virsh('vol-create-as', 'lvm', 'one', '8M')
    with open(f'{logical}/one', 'rb'):
        assert 'lvm' in refused('pool-delete', 'lvm')
        assert 'in use' in refused('vol-delete', 'one', 'lvm')
        refused('pool-destroy', 'lvm')
        assert names(virsh, 'lvm') == ['one'] and 'running' in virsh('pool-info', 'lvm').stdout
    virsh('pool-destroy', 'lvm')


def test_logical_gone(virsh, logical, refused):
    """Removed behind the pool's back: a refresh says so, and the pool can be stopped."""
    run('vgremove', '--force', '--yes', logical[len('/dev/'):])
    assert 'domus-test' in refused('pool-refresh', 'lvm')
    virsh('pool-destroy', 'lvm')
    assert 'domus-test' in refused('pool-start', 'lvm')


def test_logical_leaves_others_alone(virsh, loop, group, refused, tmp_path):
    """A group is not built over what is there."""
    devices = [loop(32), loop(32)]
    run('mkfs.ext4', '-q', devices[1])
    more = [f'--source-name={group}', '--source-dev', devices[0]]
    virsh('pool-define-as', 'lvm', 'logical', *more)
    virsh('pool-build', 'lvm')
    assert devices[0] in refused('pool-build', 'lvm')
    virsh('pool-define', pool_file(tmp_path, 'other', 'logical', f"<device path='{devices[1]}'/><name>other-group</name>"))
    message = refused('pool-build', 'other')
    assert devices[1] in message and 'ext4' in message and not vg_exists('other-group')
    virsh('pool-build', 'other', '--overwrite')
    assert vg_exists('other-group')
    found = ET.fromstring(virsh('find-storage-pool-sources', 'logical').stdout)
    by_name = {s.find('name').text: [d.get('path') for d in s.findall('device')] for s in found.findall('source')}
    assert by_name == {group: [devices[0]], 'other-group': [devices[1]]}
    virsh('pool-delete', 'other')
    virsh('pool-delete', 'lvm')
    assert not vg_exists('other-group') and not vg_exists(group)


def test_logical_autostart(own_daemon, loop, group):
    conn = own_daemon.open()
    p = conn.storagePoolDefineXML(pool_xml('lvm', '/dev', 'logical', f"<device path='{loop(32)}'/><name>{group}</name>"))
    p.create(E.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    p.createXML(volume_xml('v', 4 * MIB))
    conn.close()
    check_autostart(own_daemon, 'lvm')


# --- iSCSI ---

def tgtadm(mode, op, *args):
    return run('tgtadm', '--lld', 'iscsi', '--mode', mode, '--op', op, *args)


@pytest.fixture(scope='module')
def iscsi(tmp_path_factory):
    """A target with two units of 16 and 8 MiB; a folder of their files, and of more to come."""
    folder = tmp_path_factory.mktemp('iscsi')
    for unit, size in ((1, 16), (2, 8), (3, 4)):
        with open(folder / f'unit{unit}', 'wb') as f:
            f.truncate(size * MIB)
    services('start_iscsi')
    tgtadm('target', 'new', '--tid', TID, '--targetname', IQN)
    for unit in (1, 2):
        tgtadm('logicalunit', 'new', '--tid', TID, '--lun', str(unit), '--backing-store', folder / f'unit{unit}')
    tgtadm('target', 'bind', '--tid', TID, '--initiator-address', 'ALL')
    return folder


def sessions():
    return subprocess.run(['iscsiadm', '-m', 'session'], capture_output=True, text=True).stdout


BY_PATH = '/dev/disk/by-path'
ISCSI = ['--source-host', '127.0.0.1', '--source-dev', IQN, '--target', BY_PATH]


def test_iscsi_life_cycle(virsh, iscsi, pool_events):
    virsh('pool-define-as', 'san', 'iscsi', *ISCSI)
    virsh('pool-build', 'san')
    virsh('pool-start', 'san')
    assert IQN in sessions()
    info = fields(virsh('pool-info', '--bytes', 'san').stdout)
    assert (info['State'], info['Capacity'], info['Available']) == ('running', str(24 * MIB), '0')
    assert names(virsh, 'san') == ['unit:0:0:1', 'unit:0:0:2']
    # A unit that the target gets is there after a refresh, and goes with it.
    tgtadm('logicalunit', 'new', '--tid', TID, '--lun', '3', '--backing-store', iscsi / 'unit3')
    virsh('pool-refresh', 'san')
    assert names(virsh, 'san') == [f'unit:0:0:{i}' for i in (1, 2, 3)]
    assert exact(virsh, 'unit:0:0:3', 'san') == (4 * MIB, 4 * MIB)
    virsh('pool-destroy', 'san')
    assert IQN not in sessions()
    tgtadm('logicalunit', 'delete', '--tid', TID, '--lun', '3')
    virsh('pool-start', 'san')
    assert names(virsh, 'san') == ['unit:0:0:1', 'unit:0:0:2']
    virsh('pool-destroy', 'san')
    virsh('pool-undefine', 'san')
    pool_events('san', 'defined', 'created', 'started', 'refresh', 'stopped', 'started', 'stopped', 'undefined')


def test_iscsi_volumes(virsh, iscsi, tmp_path, refused):
    virsh('pool-create-as', 'san', 'iscsi', *ISCSI)
    path = check_lookups(virsh, 'san', 'unit:0:0:1')
    assert path == f'{BY_PATH}/ip-127.0.0.1:3260-iscsi-{IQN}-lun-1'
    check_content(virsh, tmp_path, 'san', 'unit:0:0:1')
    assert (iscsi / 'unit1').read_bytes()[:MIB] == bytes(MIB)
    assert 'iscsi' in refused('vol-create-as', 'san', 'more', '1M')
    assert 'iscsi' in refused('vol-delete', 'unit:0:0:1', 'san')
    assert 'iscsi' in refused('vol-resize', 'unit:0:0:1', '32M', '--pool', 'san')
    # A copy of a unit in a pool of files.
    virsh('vol-upload', 'unit:0:0:2', tmp_path / 'up', '--pool', 'san')
    virsh('pool-create-as', 'files', 'dir', '--target', tmp_path)
    (tmp_path / 'copy.xml').write_text(volume_xml('copy.qcow2', 8 * MIB, 'qcow2'))
    virsh('vol-create-from', 'files', tmp_path / 'copy.xml', 'unit:0:0:2', '--inputpool', 'san')
    run('qemu-img', 'compare', '-f', 'raw', path.replace('lun-1', 'lun-2'), '-F', 'qcow2', tmp_path / 'copy.qcow2')
    # A file system on a unit is a pool of its own.
    virsh('pool-define-as', 'fs', 'fs', '--source-dev', path, '--source-format', 'ext4', '--target', tmp_path / 'mnt')
    virsh('pool-start', 'fs', '--build', '--overwrite')
    virsh('vol-create-as', 'fs', 'v', '1M')
    virsh('pool-destroy', 'fs')
    virsh('pool-destroy', 'san')


def test_iscsi_gone(virsh, iscsi, refused):
    """Logged out behind the pool's back."""
    virsh('pool-create-as', 'san', 'iscsi', *ISCSI)
    run('iscsiadm', '-m', 'node', '-T', IQN, '-p', '127.0.0.1:3260', '--logout')
    assert IQN in refused('pool-refresh', 'san')
    virsh('pool-destroy', 'san')


def test_iscsi_refused(virsh, iscsi, refused):
    other = [a.replace(':pool', ':nothing') for a in ISCSI]
    assert f'{IQN[:-4]}nothing' in refused('pool-create-as', 'san', 'iscsi', *other)
    assert '127.0.0.2' in refused('pool-create-as', 'san', 'iscsi', *[a.replace('127.0.0.1', '127.0.0.2') for a in ISCSI])
    assert virsh('pool-list', '--all').stdout.strip() == '' and sessions() == ''
    found = ET.fromstring(virsh('find-storage-pool-sources-as', 'iscsi', '127.0.0.1').stdout)
    assert IQN in [d.get('path') for d in found.iter('device')]


def test_iscsi_initiator(virsh, iscsi, refused):
    """A target that lets in one initiator by name."""
    tgtadm('target', 'unbind', '--tid', TID, '--initiator-address', 'ALL')
    tgtadm('target', 'bind', '--tid', TID, '--initiator-name', 'iqn.2024-01.org.domus:me')
    try:
        refused('pool-create-as', 'san', 'iscsi', *ISCSI)
        virsh('pool-create-as', 'san', 'iscsi', *ISCSI, '--source-initiator', 'iqn.2024-01.org.domus:me')
        assert names(virsh, 'san') == ['unit:0:0:1', 'unit:0:0:2']
        virsh('pool-destroy', 'san')
        assert sessions() == ''
    finally:
        tgtadm('target', 'unbind', '--tid', TID, '--initiator-name', 'iqn.2024-01.org.domus:me')
        tgtadm('target', 'bind', '--tid', TID, '--initiator-address', 'ALL')


def test_iscsi_autostart(own_daemon, iscsi):
    run('virsh', '-c', own_daemon.uri, 'pool-define-as', 'san', 'iscsi', *ISCSI)
    run('virsh', '-c', own_daemon.uri, 'pool-start', 'san')
    check_autostart(own_daemon, 'san')
    assert sessions() == ''


# --- NFS ---

@pytest.fixture(scope='module')
def export(tmp_path_factory):
    """An exported file system of 32 MiB."""
    folder = tmp_path_factory.mktemp('export')
    run('mount', '-t', 'tmpfs', '-o', 'size=32M,mode=755', 'tmpfs', folder)
    services(f'start_nfs {folder}')
    return folder


def netfs(export, target):
    return ['--source-host', '127.0.0.1', '--source-path', export, '--source-format', 'nfs', '--target', target]


def test_netfs_life_cycle(virsh, export, tmp_path, pool_events, refused):
    mnt = tmp_path / 'mnt'
    virsh('pool-define-as', 'nfs', 'netfs', *netfs(export, mnt))
    assert str(mnt) in refused('pool-start', 'nfs')
    virsh('pool-build', 'nfs')
    virsh('pool-start', 'nfs')
    assert is_mounted(mnt)
    info = fields(virsh('pool-info', '--bytes', 'nfs').stdout)
    assert info['State'] == 'running' and int(info['Capacity']) == 32 * MIB
    (export / 'foreign').write_bytes(noise(MIB))
    virsh('pool-refresh', 'nfs')
    assert names(virsh, 'nfs') == ['foreign'] and exact(virsh, 'foreign', 'nfs')[0] == MIB
    (export / 'foreign').unlink()
    virsh('pool-destroy', 'nfs')
    assert not is_mounted(mnt)
    virsh('pool-delete', 'nfs')
    assert not mnt.exists()
    virsh('pool-undefine', 'nfs')
    pool_events('nfs', 'defined', 'created', 'started', 'refresh', 'stopped', 'deleted', 'undefined')


def test_netfs_volumes(virsh, export, tmp_path, refused):
    mnt = tmp_path / 'mnt'
    virsh('pool-define-as', 'nfs', 'netfs', *netfs(export, mnt))
    virsh('pool-start', 'nfs', '--build')
    virsh('vol-create-as', 'nfs', 'raw', '4M', '--allocation', '0')
    assert check_lookups(virsh, 'nfs', 'raw') == str(mnt / 'raw')
    check_content(virsh, tmp_path, 'nfs', 'raw')
    virsh('vol-create-as', 'nfs', 'q', '64M', '--format', 'qcow2')
    virsh('vol-create-as', 'nfs', 'over', '64M', '--format', 'qcow2', '--backing-vol', 'q', '--backing-vol-format', 'qcow2')
    virsh('vol-clone', 'q', 'copy', '--pool', 'nfs')
    virsh('vol-resize', 'raw', '8M', '--pool', 'nfs')
    virsh('vol-resize', 'q', '128M', '--pool', 'nfs')
    assert exact(virsh, 'raw', 'nfs')[0] == 8 * MIB and exact(virsh, 'q', 'nfs')[0] == 128 * MIB
    virsh('pool-refresh', 'nfs')
    assert names(virsh, 'nfs') == ['copy', 'over', 'q', 'raw'] == sorted(os.listdir(export))
    # Too much, known before and found out late.
    assert 'not enough space' in refused('vol-create-as', 'nfs', 'big', '100M')
    virsh('vol-create-as', 'nfs', 'sparse', '100M', '--allocation', '0')
    (tmp_path / 'much').write_bytes(noise(MIB) * 40)
    assert 'No space left' in refused('vol-upload', 'sparse', tmp_path / 'much', '--pool', 'nfs')
    virsh('vol-delete', 'sparse', 'nfs')
    for name in ('over', 'copy', 'q', 'raw'):
        virsh('vol-delete', name, 'nfs')
    assert os.listdir(export) == []
    # In use, it stays.
    virsh('vol-create-as', 'nfs', 'held', '1M')
    with open(mnt / 'held', 'rb'):
        assert 'busy' in refused('pool-destroy', 'nfs')
        assert names(virsh, 'nfs') == ['held'] and is_mounted(mnt)
    virsh('vol-delete', 'held', 'nfs')
    virsh('pool-destroy', 'nfs')


def test_netfs_version(virsh, export, tmp_path, refused):
    for version in ('3', '4.2'):
        xml = pool_file(tmp_path.parent, 'nfs', 'netfs', f"<host name='127.0.0.1'/><dir path='{export}'/><format type='nfs'/><protocol ver='{version}'/>", tmp_path)
        virsh('pool-create', xml)
        mounted = next(line for line in open('/proc/self/mounts') if f' {tmp_path} ' in line)
        assert f'vers={version}' in mounted
        virsh('pool-destroy', 'nfs')


def test_netfs_refused(virsh, export, tmp_path, refused):
    message = refused('pool-create-as', 'nfs', 'netfs', *netfs('/no/such/export', tmp_path))
    assert '/no/such/export' in message and not is_mounted(tmp_path)
    found = ET.fromstring(virsh('find-storage-pool-sources-as', 'netfs', '127.0.0.1').stdout)
    assert [d.get('path') for d in found.iter('dir')] == [str(export)]


def test_netfs_autostart(own_daemon, export, tmp_path):
    run('virsh', '-c', own_daemon.uri, 'pool-define-as', 'nfs', 'netfs', *netfs(export, tmp_path / 'mnt'))
    run('virsh', '-c', own_daemon.uri, 'pool-start', 'nfs', '--build')
    check_autostart(own_daemon, 'nfs')
    assert not is_mounted(tmp_path / 'mnt')
