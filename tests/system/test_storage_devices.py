# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage pools on block devices (loop devices here): file systems, partitions; and disks that are full."""
import os
import re
import shutil
import subprocess

import libvirt
import pytest

import harness
from harness import raises
from test_storage import MIB, info, noise, pool_xml, remove_pools, volume_xml

pytestmark = [pytest.mark.domus, pytest.mark.skipif(os.geteuid() != 0, reason='needs root for loop devices and mounts')]


@pytest.fixture
def sconn(conn):
    yield conn
    remove_pools(conn)


@pytest.fixture
def loop(tmp_path, conn):
    """A loop device of 96 MiB."""
    image = tmp_path / 'image'
    with open(image, 'wb') as f:
        f.truncate(96 * MIB)
    r = subprocess.run(['losetup', '--find', '--show', '--partscan', image], capture_output=True, text=True)
    if r.returncode:
        pytest.skip(f'no loop device: {r.stderr.strip()}')
    device = r.stdout.strip()
    yield device
    remove_pools(conn)
    subprocess.run(['partx', '--delete', device], capture_output=True)
    harness.run('losetup', '--detach', device)


def fs_xml(loop, path, format='ext4'):
    return pool_xml('fs', path, 'fs', f"<device path='{loop}'/><format type='{format}'/>")


def is_mounted(path):
    return any(line.split()[1] == str(path) for line in open('/proc/self/mounts'))


@pytest.fixture
def small(sconn, loop, tmp_path):
    """A file system of some 80 MiB."""
    (tmp_path / 'mnt').mkdir()
    p = sconn.storagePoolDefineXML(fs_xml(loop, tmp_path / 'mnt'))
    p.build(libvirt.VIR_STORAGE_POOL_BUILD_OVERWRITE)
    p.create()
    return p


def test_fs_life_cycle(sconn, loop, tmp_path):
    mnt = tmp_path / 'mnt'
    p = sconn.storagePoolDefineXML(fs_xml(loop, mnt))
    p.build(libvirt.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)
    message = raises(libvirt.VIR_ERR_STORAGE_POOL_BUILT, p.build, libvirt.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)
    assert loop in message and 'ext4' in message
    raises(libvirt.VIR_ERR_INVALID_ARG, p.build, 3)
    p.create()
    assert is_mounted(mnt)
    assert 60 * MIB < p.info()[1] < 96 * MIB
    p.createXML(volume_xml('v', MIB))
    assert p.listVolumes() == ['v'] and (mnt / 'v').exists()
    p.destroy()
    assert not is_mounted(mnt)
    p.create()
    assert p.listVolumes() == ['v']
    p.destroy()
    p.build(libvirt.VIR_STORAGE_POOL_BUILD_OVERWRITE)
    p.create()
    assert p.listVolumes() == []


def test_fs_busy(sconn, small, tmp_path):
    """A file system in use stays, and so does the pool."""
    v = small.createXML(volume_xml('v', MIB))
    with open(v.path(), 'rb'):
        message = raises((libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR), small.destroy)
        assert 'busy' in message
        assert small.isActive() and small.listVolumes() == ['v']
    small.destroy()


def test_fs_refused(sconn, loop, tmp_path):
    (tmp_path / 'mnt').mkdir()
    p = sconn.storagePoolDefineXML(fs_xml(loop, tmp_path / 'mnt'))
    raises((libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR), p.create)  # nothing on it
    assert not p.isActive() and not is_mounted(tmp_path / 'mnt')
    p.undefine()
    p = sconn.storagePoolDefineXML(fs_xml('/dev/no-such-device', tmp_path / 'mnt'))
    message = raises((libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_SYSTEM_ERROR), p.create)
    assert '/dev/no-such-device' in message


def test_fs_restart(own_daemon, loop, tmp_path):
    (tmp_path / 'mnt').mkdir()
    conn = own_daemon.open()
    p = conn.storagePoolDefineXML(fs_xml(loop, tmp_path / 'mnt'))
    p.create(libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE)
    p.createXML(volume_xml('v', MIB))
    own_daemon.restart()
    conn = own_daemon.open()
    p = conn.storagePoolLookupByName('fs')
    assert p.isActive() and p.listVolumes() == ['v']
    # Unmounted behind its back.
    own_daemon.stop()
    harness.run('umount', tmp_path / 'mnt')
    own_daemon.start()
    conn = own_daemon.open()
    p = conn.storagePoolLookupByName('fs')
    assert not p.isActive()
    p.undefine()
    conn.close()


def test_capacity_is_checked_before(small, tmp_path):
    mnt = tmp_path / 'mnt'
    for allocation in (None, 200 * MIB):
        message = raises(libvirt.VIR_ERR_OPERATION_FAILED, small.createXML, volume_xml('big', 200 * MIB, allocation=allocation))
        assert 'not enough space' in message and "'fs'" in message and "'big'" in message
    assert info(small.createXML(volume_xml('sparse', 200 * MIB)))[0] == 200 * MIB
    v = small.createXML(volume_xml('v', 50 * MIB, allocation=None))
    assert 'not enough space' in raises(libvirt.VIR_ERR_OPERATION_FAILED, small.createXMLFrom, volume_xml('copy', 50 * MIB, allocation=None), v)
    raises(libvirt.VIR_ERR_OPERATION_FAILED, v.resize, 100 * MIB, libvirt.VIR_STORAGE_VOL_RESIZE_ALLOCATE)
    assert info(v)[0] == 50 * MIB
    assert sorted(os.listdir(mnt)) == ['lost+found', 'sparse', 'v']
    assert sorted(small.listVolumes()) == ['sparse', 'v']


def test_disk_fills_up(sconn, small, tmp_path):
    """What the checks could not foresee: the error says it, nothing is left behind, the rest goes on."""
    mnt = tmp_path / 'mnt'
    source = tmp_path / 'source'
    source.mkdir()
    with open(source / 'src.qcow2.raw', 'wb') as f:
        f.write(b'A' * (120 * MIB))
    harness.run('qemu-img', 'convert', '-c', '-O', 'qcow2', source / 'src.qcow2.raw', source / 'src')
    (source / 'src.qcow2.raw').unlink()
    other = sconn.storagePoolCreateXML(pool_xml('other', source))
    src = other.storageVolLookupByName('src')
    before = small.info()[3]
    message = raises((libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_SYSTEM_ERROR), small.createXMLFrom, volume_xml('dst', 120 * MIB), src) \
        if info(src)[1] < 60 * MIB else 'No space left'
    assert 'No space left' in message
    assert os.listdir(mnt) == ['lost+found'] and small.listVolumes() == []
    small.refresh()
    assert abs(small.info()[3] - before) < MIB
    # A stream that fills the disk.
    vol = small.createXML(volume_xml('up', 200 * MIB))
    stream = sconn.newStream()
    vol.upload(stream, 0, 0)
    with pytest.raises(libvirt.libvirtError, match='No space left'):
        for _ in range(2000):
            stream.send(b'x' * 100000)
        stream.finish()
    harness.wait_until(lambda: vol.delete() is not None, what='deletion')
    assert small.listVolumes() == []


def test_partitions(sconn, loop, tmp_path):
    base = os.path.basename(loop)
    p = sconn.storagePoolDefineXML(pool_xml('disk', '/dev', 'disk', f"<device path='{loop}'/><format type='gpt'/>"))
    raises((libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR), p.create)
    p.build()
    raises(libvirt.VIR_ERR_STORAGE_POOL_BUILT, p.build)
    p.create()
    assert p.info()[1] == 96 * MIB and p.info()[2] == 0 and p.info()[3] > 90 * MIB
    message = raises(libvirt.VIR_ERR_XML_ERROR, p.createXML, volume_xml('a', MIB, 'linux'))
    assert f'{base}p1' in message
    one = p.createXML(volume_xml(f'{base}p1', 10 * MIB, 'linux'))
    two = p.createXML(volume_xml(f'{base}p2', 20 * MIB, 'linux'))
    assert (one.info()[0], info(one)[0], info(two)[0]) == (libvirt.VIR_STORAGE_VOL_BLOCK, 10 * MIB, 20 * MIB)
    assert p.info()[2] == 30 * MIB
    raises(libvirt.VIR_ERR_OPERATION_FAILED, p.createXML, volume_xml(f'{base}p3', 90 * MIB, 'linux'))
    (tmp_path / 'up').write_bytes(noise(MIB))
    stream = sconn.newStream()
    two.upload(stream, 0, 0)
    with open(tmp_path / 'up', 'rb') as f:
        stream.sendAll(lambda s, n, o: f.read(n), None)
    stream.finish()
    one.delete()
    p.refresh()
    assert p.listVolumes() == [f'{base}p2']
    # The gap is used again, by a copy.
    again = p.createXMLFrom(volume_xml(f'{base}p1', 10 * MIB, 'linux'), two) if info(two)[0] <= 10 * MIB else \
        p.createXML(volume_xml(f'{base}p1', 10 * MIB, 'linux'))
    assert again.path() == f'/dev/{base}p1'
    copy = p.createXMLFrom(volume_xml(f'{base}p3', 20 * MIB, 'linux'), two)
    assert open(copy.path(), 'rb').read(MIB) == (tmp_path / 'up').read_bytes()
    two.wipe()
    assert open(two.path(), 'rb').read(MIB) == b'\0' * MIB
    p.destroy()
    p.create()
    assert sorted(p.listVolumes()) == [f'{base}p{i}' for i in (1, 2, 3)]


def listed(virsh, pool):
    return sorted(line.split()[0] for line in virsh('vol-list', pool).stdout.splitlines() if line.strip())


def by_virsh(virsh, tmp_path, pool, volume, more, path):
    """The life of a running pool's volume. more: the further volume's name."""
    virsh('vol-create-as', pool, volume, '4M')
    assert virsh('vol-path', volume, pool).stdout.strip() == path
    assert virsh('vol-pool', path).stdout.strip() == pool and virsh('vol-name', virsh('vol-key', volume, pool).stdout.strip()).stdout.strip() == volume
    (tmp_path / 'up').write_bytes(noise(4 * MIB))
    virsh('vol-upload', volume, tmp_path / 'up', '--pool', pool)
    virsh('vol-clone', volume, more, '--pool', pool)
    virsh('vol-download', more, tmp_path / 'down', '--pool', pool)
    assert (tmp_path / 'down').read_bytes() == (tmp_path / 'up').read_bytes()
    virsh('vol-wipe', volume, pool)
    assert open(path, 'rb').read(4 * MIB) == bytes(4 * MIB)
    assert 'Capacity:       4.00 MiB' in virsh('vol-info', volume, pool).stdout
    assert re.search('not enough space|no large enough free extent', virsh('vol-create-as', pool, more[:-1] + '3', '1G', ok=False).stderr)
    virsh('pool-refresh', pool)
    assert listed(virsh, pool) == sorted([volume, more])
    virsh('vol-delete', more, pool)
    assert listed(virsh, pool) == [volume]


def test_fs_by_virsh(virsh, sconn, loop, tmp_path):
    mnt = tmp_path / 'mnt'
    virsh('pool-define-as', 'f', 'fs', '--source-dev', loop, '--source-format', 'ext4', '--target', mnt)
    assert virsh('pool-start', 'f', ok=False).returncode
    virsh('pool-build', 'f', '--overwrite')
    virsh('pool-autostart', 'f')
    virsh('pool-start', 'f')
    assert 'running' in virsh('pool-info', 'f').stdout and is_mounted(mnt)
    by_virsh(virsh, tmp_path, 'f', 'v1', 'v2', str(mnt / 'v1'))
    virsh('vol-resize', 'v1', '8M', '--pool', 'f')
    assert 'Capacity:       8.00 MiB' in virsh('vol-info', 'v1', 'f').stdout
    virsh('vol-delete', 'v1', 'f')
    virsh('pool-destroy', 'f')
    virsh('pool-delete', 'f')
    assert not mnt.exists()
    virsh('pool-undefine', 'f')


def test_disk_by_virsh(virsh, sconn, loop, tmp_path):
    base = os.path.basename(loop)
    virsh('pool-define-as', 'd', 'disk', '--source-dev', loop, '--source-format', 'gpt', '--target', '/dev')
    assert loop in virsh('pool-start', 'd', ok=False).stderr
    virsh('pool-build', 'd')
    virsh('pool-start', 'd')
    by_virsh(virsh, tmp_path, 'd', f'{base}p1', f'{base}p2', f'/dev/{base}p1')
    assert "'disk' does not support changing of volume capacity" in virsh('vol-resize', f'{base}p1', '8M', '--pool', 'd', ok=False).stderr
    # A partition in use keeps the table.
    harness.run('mkfs.ext4', '-q', f'/dev/{base}p1')
    (tmp_path / 'mnt').mkdir()
    harness.run('mount', f'/dev/{base}p1', tmp_path / 'mnt')
    virsh('pool-destroy', 'd')
    try:
        assert 'busy' in virsh('pool-delete', 'd', ok=False).stderr
    finally:
        harness.run('umount', tmp_path / 'mnt')
    virsh('pool-start', 'd')
    assert listed(virsh, 'd') == [f'{base}p1']
    virsh('pool-destroy', 'd')
    virsh('pool-delete', 'd')
    assert loop in virsh('pool-start', 'd', ok=False).stderr
    assert not os.path.exists(f'/dev/{base}p1')
    virsh('pool-undefine', 'd')


@pytest.mark.skipif(shutil.which('lvs') is not None, reason='LVM is installed')
def test_missing_programs(sconn):
    message = raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, sconn.storagePoolDefineXML, "<pool type='logical'><name>vg</name></pool>")
    assert 'lvs' in message
    raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, sconn.findStoragePoolSources, 'logical', None, 0)
