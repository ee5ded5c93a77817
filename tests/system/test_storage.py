# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage pools of folders, and their volumes."""
import os
import pathlib
import shutil
import subprocess
import threading
import time
import uuid
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
from harness import raises

domus = pytest.mark.domus
MIB = 1 << 20


def pool_xml(name, path, kind='dir', source='', **extra):
    ids = f'<uuid>{extra["uuid"]}</uuid>' if 'uuid' in extra else ''
    return f"<pool type='{kind}'><name>{name}</name>{ids}<source>{source}</source><target><path>{path}</path></target></pool>"


def volume_xml(name, capacity, format='raw', allocation=0, more=''):
    alloc = '' if allocation is None else f'<allocation>{allocation}</allocation>'
    cap = '' if capacity is None else f'<capacity>{capacity}</capacity>'
    return f"<volume><name>{name}</name>{cap}{alloc}<target><format type='{format}'/></target>{more}</volume>"


def backing_xml(path, format):
    kind = f"<format type='{format}'/>" if format else ''
    return f'<backingStore><path>{path}</path>{kind}</backingStore>'


def remove_pools(conn):
    for p in conn.listAllStoragePools():
        if p.isActive():
            p.destroy()
        if p.name() in [x.name() for x in conn.listAllStoragePools()] and p.isPersistent():
            p.undefine()


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path / 'pool'


@pytest.fixture
def sconn(conn):
    yield conn
    remove_pools(conn)


@pytest.fixture
def pool(sconn, folder):
    p = sconn.storagePoolDefineXML(pool_xml('p', folder))
    p.create(libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    return p


def info(vol):
    kind, capacity, allocation = vol.info()
    return capacity, allocation


def xml_value(obj, path):
    return harness.virt_xml_value(obj.XMLDesc(), path)


def format_of(vol):
    return ET.fromstring(vol.XMLDesc()).find('target/format').get('type')


def qemu_img(*args):
    return harness.run('qemu-img', *args).stdout


class Streams:
    def __init__(self, conn):
        self.conn = conn

    def upload(self, vol, path, offset=0, length=0, sparse=False):
        stream = self.conn.newStream()
        vol.upload(stream, offset, length, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM if sparse else 0)
        with open(path, 'rb') as f:
            if sparse:
                stream.sparseSendAll(lambda s, n, o: f.read(n), self.hole, self.skip, f)
                # The callbacks use the file by descriptor.
            else:
                stream.sendAll(lambda s, n, o: o.read(n), f)
        stream.finish()

    @staticmethod
    def hole(stream, f):
        fd = f.fileno()
        here = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            data = os.lseek(fd, here, os.SEEK_DATA)
        except OSError:
            data = None
        if data is None:
            end = os.lseek(fd, 0, os.SEEK_END)
            os.lseek(fd, here, os.SEEK_SET)
            return (False, end - here)
        if data > here:
            os.lseek(fd, here, os.SEEK_SET)
            return (False, data - here)
        hole = os.lseek(fd, here, os.SEEK_HOLE)
        os.lseek(fd, here, os.SEEK_SET)
        return (True, hole - here)

    @staticmethod
    def skip(stream, length, f):
        os.lseek(f.fileno(), length, os.SEEK_CUR)
        return length


# --- Pools ---

def test_life_cycle(sconn, folder):
    p = sconn.storagePoolDefineXML(pool_xml('life', folder))
    assert (p.isActive(), p.isPersistent(), p.autostart()) == (0, 1, 0)
    assert p.info() == [libvirt.VIR_STORAGE_POOL_INACTIVE, 0, 0, 0]
    raises((libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR), p.create)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, p.refresh)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, p.destroy)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, p.listVolumes)
    p.build()
    assert folder.is_dir()
    p.create()
    raises(libvirt.VIR_ERR_OPERATION_INVALID, p.create)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, p.delete)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, p.undefine)
    state, capacity, allocation, available = p.info()
    assert state == libvirt.VIR_STORAGE_POOL_RUNNING and capacity == allocation + available > 0
    assert sconn.storagePoolLookupByName('life').UUIDString() == p.UUIDString()
    assert sconn.storagePoolLookupByUUIDString(p.UUIDString()).name() == 'life'
    assert sconn.storagePoolLookupByTargetPath(str(folder)).name() == 'life'
    p.destroy()
    p.delete()
    assert not folder.exists()
    p.undefine()
    raises(libvirt.VIR_ERR_NO_STORAGE_POOL, p.info)
    raises(libvirt.VIR_ERR_NO_STORAGE_POOL, sconn.storagePoolLookupByName, 'life')


def test_transient(sconn, folder):
    folder.mkdir()
    p = sconn.storagePoolCreateXML(pool_xml('t', folder))
    assert (p.isActive(), p.isPersistent()) == (1, 0)
    raises((libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INTERNAL_ERROR), p.setAutostart, 1)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, sconn.storagePoolCreateXML, p.XMLDesc())
    p.destroy()
    assert sconn.listAllStoragePools() == []
    raises((libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR), sconn.storagePoolCreateXML, pool_xml('t', folder / 'no'))
    assert sconn.listAllStoragePools() == []


def test_lists(sconn, tmp_path):
    for name in 'abc':
        (tmp_path / name).mkdir()
    a = sconn.storagePoolDefineXML(pool_xml('a', tmp_path / 'a'))
    b = sconn.storagePoolDefineXML(pool_xml('b', tmp_path / 'b'))
    b.setAutostart(1)
    b.create()
    sconn.storagePoolCreateXML(pool_xml('c', tmp_path / 'c'))
    flags = {'ACTIVE': 'bc', 'INACTIVE': 'a', 'PERSISTENT': 'ab', 'TRANSIENT': 'c', 'AUTOSTART': 'b', 'NO_AUTOSTART': 'ac', 'DIR': 'abc', 'LOGICAL': ''}
    for flag, names in flags.items():
        found = sconn.listAllStoragePools(getattr(libvirt, f'VIR_CONNECT_LIST_STORAGE_POOLS_{flag}'))
        assert ''.join(sorted(p.name() for p in found)) == names, flag
    assert (sconn.numOfStoragePools(), sconn.numOfDefinedStoragePools()) == (2, 1)
    assert sorted(sconn.listStoragePools()) == ['b', 'c'] and sconn.listDefinedStoragePools() == ['a']
    assert a.name() == 'a'


def test_pool_duplicates(sconn, folder, tmp_path):
    p = sconn.storagePoolDefineXML(pool_xml('dup', folder))
    raises(libvirt.VIR_ERR_OPERATION_FAILED, sconn.storagePoolDefineXML, pool_xml('dup', tmp_path, uuid=uuid.uuid4()))
    raises(libvirt.VIR_ERR_OPERATION_FAILED, sconn.storagePoolDefineXML, pool_xml('other', tmp_path, uuid=p.UUIDString()))
    message = raises(libvirt.VIR_ERR_OPERATION_FAILED, sconn.storagePoolDefineXML, pool_xml('other', folder))
    assert 'dup' in message
    again = sconn.storagePoolDefineXML(p.XMLDesc())
    assert again.XMLDesc() == p.XMLDesc()
    assert [x.name() for x in sconn.listAllStoragePools()] == ['dup']


def test_redefine_while_active(sconn, pool, tmp_path):
    (tmp_path / 'new').mkdir()
    sconn.storagePoolDefineXML(pool_xml('p', tmp_path / 'new', uuid=pool.UUIDString()))
    assert xml_value(pool, 'target/path') == str(tmp_path / 'pool')
    assert harness.virt_xml_value(pool.XMLDesc(libvirt.VIR_STORAGE_XML_INACTIVE), 'target/path') == str(tmp_path / 'new')
    pool.destroy()
    assert xml_value(pool, 'target/path') == str(tmp_path / 'new')


@domus
@pytest.mark.parametrize('xml,code,named', [
    ("<pool type='gluster'><name>x</name></pool>", libvirt.VIR_ERR_CONFIG_UNSUPPORTED, 'gluster'),
    ("<pool type='dir'><name>x</name><target><path>/x</path></target><refresh/></pool>", libvirt.VIR_ERR_CONFIG_UNSUPPORTED, '<refresh>'),
    ("<pool type='dir'><name>a/b</name><target><path>/x</path></target></pool>", libvirt.VIR_ERR_XML_ERROR, "'a/b'"),
    ("<pool type='dir'><name>x</name></pool>", libvirt.VIR_ERR_XML_ERROR, 'target path'),
    ('<pool', libvirt.VIR_ERR_XML_ERROR, 'storage_pool_definition'),
])
def test_pool_refused(sconn, xml, code, named):
    assert named in raises(code, sconn.storagePoolDefineXML, xml)
    assert named in raises(code, sconn.storagePoolCreateXML, xml)
    assert sconn.listAllStoragePools() == []


def test_pool_events(sconn, folder):
    seen = []
    life = sconn.storagePoolEventRegisterAny(None, libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, lambda c, p, e, d, o: seen.append((p.name(), e)), None)
    fresh = sconn.storagePoolEventRegisterAny(None, libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH, lambda c, p, o: seen.append((p.name(), 'refresh')), None)
    p = sconn.storagePoolDefineXML(pool_xml('ev', folder))
    p.build()
    p.create()
    p.refresh()
    p.destroy()
    p.delete()
    p.undefine()
    wanted = [libvirt.VIR_STORAGE_POOL_EVENT_DEFINED, libvirt.VIR_STORAGE_POOL_EVENT_CREATED, libvirt.VIR_STORAGE_POOL_EVENT_STARTED, 'refresh',
              libvirt.VIR_STORAGE_POOL_EVENT_STOPPED, libvirt.VIR_STORAGE_POOL_EVENT_DELETED, libvirt.VIR_STORAGE_POOL_EVENT_UNDEFINED]
    harness.wait_until(lambda: [e for _, e in seen if e != 'refresh' or True] == wanted, what=f'events {seen}')
    sconn.storagePoolEventDeregisterAny(life)
    sconn.storagePoolEventDeregisterAny(fresh)


@domus
def test_capabilities(conn):
    root = ET.fromstring(conn.getStoragePoolCapabilities())
    assert root.find("pool[@type='dir']").get('supported') == 'yes'
    assert 'qcow2' in [v.text for v in root.findall("pool[@type='dir']/volOptions/enum/value")]


def test_read_only(daemon, sconn, pool):
    ro = daemon.open(readonly=True)
    p = ro.storagePoolLookupByName('p')
    assert p.info()[0] == libvirt.VIR_STORAGE_POOL_RUNNING and p.listVolumes() == []
    for call in (p.destroy, p.refresh, lambda: p.createXML(volume_xml('x', MIB)), lambda: ro.storagePoolDefineXML(p.XMLDesc())):
        raises(libvirt.VIR_ERR_OPERATION_DENIED, call)
    ro.close()


# --- Volumes ---

@pytest.mark.parametrize('format', ['raw', 'qcow2', 'vmdk', 'vdi', 'vpc'])
def test_create(pool, folder, format):
    vol = pool.createXML(volume_xml('v', 64 * MIB, format))
    path = folder / 'v'
    assert vol.path() == vol.key() == str(path) and vol.name() == 'v'
    capacity, allocation = info(vol)
    assert (abs(capacity - 64 * MIB) < MIB) if format == 'vpc' else capacity == 64 * MIB
    assert allocation == os.stat(path).st_blocks * 512 < MIB
    assert vol.info()[0] == libvirt.VIR_STORAGE_VOL_FILE
    assert vol.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2] == os.stat(path).st_size
    assert format_of(vol) == format
    assert oct(path.stat().st_mode & 0o777) == '0o600'
    assert pool.listVolumes() == ['v'] and pool.numOfVolumes() == 1
    assert [v.name() for v in pool.listAllVolumes()] == ['v']
    assert pool.storageVolLookupByName('v').key() == vol.key()
    assert vol.storagePoolLookupByVolume().name() == 'p'
    vol.delete()
    assert not path.exists()
    raises(libvirt.VIR_ERR_NO_STORAGE_VOL, vol.info)


def test_lookups(sconn, pool):
    vol = pool.createXML(volume_xml('v', MIB))
    assert sconn.storageVolLookupByKey(vol.key()).name() == 'v'
    assert sconn.storageVolLookupByPath(vol.path()).name() == 'v'
    assert sconn.storageVolLookupByPath(os.path.dirname(vol.path()) + '//./v').name() == 'v'
    raises(libvirt.VIR_ERR_NO_STORAGE_VOL, sconn.storageVolLookupByPath, '/no/such')
    raises(libvirt.VIR_ERR_NO_STORAGE_VOL, sconn.storageVolLookupByKey, 'none')
    raises(libvirt.VIR_ERR_NO_STORAGE_VOL, pool.storageVolLookupByName, 'none')


def test_preallocated(pool, folder):
    vol = pool.createXML(volume_xml('full', 8 * MIB, allocation=None))
    assert info(vol)[1] >= 8 * MIB
    vol = pool.createXML(volume_xml('half', 8 * MIB, allocation=4 * MIB))
    assert 4 * MIB <= info(vol)[1] < 5 * MIB and info(vol)[0] == 8 * MIB
    vol = pool.createXML(volume_xml('meta.qcow2', 64 * MIB, 'qcow2'), libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)
    assert info(vol)[0] == 64 * MIB
    raises(libvirt.VIR_ERR_INVALID_ARG, pool.createXML, volume_xml('m', MIB), libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA)


def test_permissions_and_times(pool, folder):
    more = '<permissions><mode>0640</mode><owner>1</owner><group>2</group></permissions>' if os.geteuid() == 0 else \
        '<permissions><mode>0640</mode></permissions>'
    vol = pool.createXML(f"<volume><name>perm</name><capacity>1</capacity><target><format type='raw'/>{more}</target></volume>")
    st = os.stat(vol.path())
    assert st.st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert (st.st_uid, st.st_gid) == (1, 2)
    root = ET.fromstring(vol.XMLDesc())
    assert root.find('target/permissions/mode').text == '0640'
    assert float(root.find('target/timestamps/mtime').text) == pytest.approx(st.st_mtime)


def test_qcow2_options(pool):
    more = "<compat>0.10</compat><clusterSize unit='KiB'>128</clusterSize>"
    vol = pool.createXML(f"<volume><name>o</name><capacity>{MIB}</capacity><target><format type='qcow2'/>{more}</target></volume>")
    root = ET.fromstring(vol.XMLDesc())
    assert root.find('target/compat').text == '0.10' and root.find('target/clusterSize').text == str(128 << 10)
    more = '<compat>1.1</compat><features><lazy_refcounts/></features>'
    vol = pool.createXML(f"<volume><name>l</name><capacity>{MIB}</capacity><target><format type='qcow2'/>{more}</target></volume>")
    assert ET.fromstring(vol.XMLDesc()).find('target/features/lazy_refcounts') is not None


def test_backing_store(pool, folder):
    base = pool.createXML(volume_xml('base', 16 * MIB, 'qcow2'))
    over = pool.createXML(volume_xml('over', None, 'qcow2', more=backing_xml(base.path(), 'qcow2')))
    assert info(over)[0] == 16 * MIB
    assert xml_value(over, 'backingStore/path') == base.path()
    assert ET.fromstring(over.XMLDesc()).find('backingStore/format').get('type') == 'qcow2'
    # A volume's format is known; nobody has to say it.
    third = pool.createXML(volume_xml('third', 32 * MIB, 'qcow2', more=backing_xml(base.path(), None)))
    assert ET.fromstring(third.XMLDesc()).find('backingStore/format').get('type') == 'qcow2'
    raises((libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR), pool.createXML,
           volume_xml('x', MIB, 'qcow2', more=backing_xml('/no/such', 'raw')))
    assert sorted(pool.listVolumes()) == ['base', 'over', 'third']


@domus
def test_volume_refused(pool, folder):
    for name in ('a/b', '../x', '', '.', 'a\nb'):
        raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL), pool.createXML, volume_xml(name, MIB))
    pool.createXML(volume_xml('there', MIB))
    raises(libvirt.VIR_ERR_STORAGE_VOL_EXIST, pool.createXML, volume_xml('there', MIB))
    # Also if the pool has not seen it yet; and it is left alone.
    (folder / 'unseen').write_text('precious')
    raises(libvirt.VIR_ERR_STORAGE_VOL_EXIST, pool.createXML, volume_xml('unseen', MIB))
    raises(libvirt.VIR_ERR_STORAGE_VOL_EXIST, pool.createXML, volume_xml('unseen', MIB, 'qcow2'))
    assert (folder / 'unseen').read_text() == 'precious'
    message = raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, pool.createXML, volume_xml('x', MIB, 'floppy'))
    assert 'floppy' in message
    raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, pool.createXML, volume_xml('x', MIB, 'raw', more=backing_xml('/dev/null', 'raw')))
    raises(libvirt.VIR_ERR_XML_ERROR, pool.createXML, volume_xml('x', None))
    raises((libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_OPERATION_FAILED), pool.createXML, volume_xml('x', 1 << 62))
    assert sorted(os.listdir(folder)) == ['there', 'unseen']


def test_refresh(pool, folder):
    (folder / 'raw').write_bytes(b'x' * 1000)
    qemu_img('create', '-q', '-f', 'qcow2', folder / 'q', '1G')
    (folder / 'dir').mkdir()
    (folder / 'link').symlink_to('/no/such')
    os.mkfifo(folder / 'fifo')
    assert pool.listVolumes() == []
    pool.refresh()
    assert sorted(pool.listVolumes()) == ['dir', 'q', 'raw']
    assert info(pool.storageVolLookupByName('raw'))[0] == 1000
    assert info(pool.storageVolLookupByName('q'))[0] == 1 << 30
    assert format_of(pool.storageVolLookupByName('q')) == 'qcow2'
    assert pool.storageVolLookupByName('dir').info()[0] == libvirt.VIR_STORAGE_VOL_DIR
    (folder / 'raw').unlink()
    pool.refresh()
    assert sorted(pool.listVolumes()) == ['dir', 'q']


@domus
def test_raw_stays_raw(daemon, sconn, pool, folder):
    """A guest that writes an image's header into its disk does not change what the disk is."""
    vol = pool.createXML(volume_xml('disk', MIB))
    qemu_img('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/hostname', folder.parent / 'evil')
    with open(vol.path(), 'r+b') as f:
        f.write((folder.parent / 'evil').read_bytes()[:1024])
    pool.refresh()
    assert format_of(vol) == 'raw' and 'hostname' not in vol.XMLDesc()
    pool.destroy()
    pool.create()
    assert format_of(pool.storageVolLookupByName('disk')) == 'raw'


@domus
def test_damaged_images(pool, folder):
    base = pool.createXML(volume_xml('short', 16 * MIB, 'qcow2'))
    os.truncate(base.path(), 100000)
    pool.refresh()
    message = raises(libvirt.VIR_ERR_OPERATION_FAILED, pool.createXML, volume_xml('over', None, 'qcow2', more=backing_xml(base.path(), 'qcow2')))
    assert base.path() in message and 'shorter than its header says' in message
    for a, b in (('c1', 'c2'), ('c2', 'c1')):
        qemu_img('create', '-q', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b', folder / b, folder / a, '1M')
    pool.refresh()
    message = raises(libvirt.VIR_ERR_OPERATION_FAILED, pool.createXML, volume_xml('over', None, 'qcow2', more=backing_xml(folder / 'c1', 'qcow2')))
    assert 'cycle' in message and str(folder / 'c1') in message
    # Nor are they copied, into zeroes where something is missing.
    for name in ('short', 'c1'):
        message = raises(libvirt.VIR_ERR_OPERATION_FAILED, pool.createXMLFrom, volume_xml('copy', 16 * MIB, 'qcow2'), pool.storageVolLookupByName(name))
        assert str(folder / name) in message
    assert sorted(pool.listVolumes()) == ['c1', 'c2', 'short']


# --- Copies ---

def noise(n):
    return os.urandom(n)


@pytest.mark.parametrize('source,target', [('raw', 'raw'), ('raw', 'qcow2'), ('qcow2', 'raw'), ('qcow2', 'qcow2'), ('vmdk', 'qcow2')])
def test_clone(pool, folder, source, target):
    data = noise(MIB)
    (folder / 'data').write_bytes(data + b'\0' * (3 * MIB))
    qemu_img('convert', '-f', 'raw', '-O', source, folder / 'data', folder / 'src')
    (folder / 'data').unlink()
    pool.refresh()
    src = pool.storageVolLookupByName('src')
    vol = pool.createXMLFrom(volume_xml('dst', 4 * MIB, target), src)
    assert format_of(vol) == target and info(vol) [0] == 4 * MIB
    qemu_img('convert', '-f', target, '-O', 'raw', vol.path(), folder / 'check')
    assert (folder / 'check').read_bytes() == data + b'\0' * (3 * MIB)
    assert info(vol)[1] < 3 * MIB


def test_clone_larger(pool, folder):
    src = pool.createXML(volume_xml('src', 4 * MIB, 'qcow2'))
    assert info(pool.createXMLFrom(volume_xml('grown', 8 * MIB, 'qcow2'), src))[0] == 8 * MIB
    assert info(pool.createXMLFrom(volume_xml('kept', 1, 'qcow2'), src))[0] == 4 * MIB
    assert info(pool.createXMLFrom(volume_xml('raw', 8 * MIB), src))[0] == 8 * MIB


def test_virsh_clone(virsh, pool, folder):
    (folder / 'one').write_bytes(noise(MIB) + b'\0' * MIB)
    pool.refresh()
    virsh('vol-clone', 'one', 'two', '--pool', 'p')
    assert (folder / 'two').read_bytes() == (folder / 'one').read_bytes()
    r = virsh('vol-clone', 'one', 'three', '--pool', 'p', '--reflink', ok=False)
    if r.returncode:
        assert 'by reference' in r.stderr and not (folder / 'three').exists()


def test_between_pools(sconn, pool, tmp_path):
    (tmp_path / 'second').mkdir()
    second = sconn.storagePoolCreateXML(pool_xml('second', tmp_path / 'second'))
    src = pool.createXML(volume_xml('src', MIB))
    vol = second.createXMLFrom(volume_xml('dst', MIB), src)
    assert vol.path() == str(tmp_path / 'second' / 'dst')


# --- Changes ---

@pytest.mark.parametrize('format', ['raw', 'qcow2'])
def test_resize(pool, format):
    vol = pool.createXML(volume_xml('v', 4 * MIB, format))
    vol.resize(8 * MIB)
    assert info(vol)[0] == 8 * MIB
    vol.resize(MIB, libvirt.VIR_STORAGE_VOL_RESIZE_DELTA)
    assert info(vol)[0] == 9 * MIB
    raises(libvirt.VIR_ERR_INVALID_ARG, vol.resize, 4 * MIB)
    vol.resize(4 * MIB, libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK)
    assert info(vol)[0] == 4 * MIB
    vol.resize(MIB, libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK | libvirt.VIR_STORAGE_VOL_RESIZE_DELTA)
    assert info(vol)[0] == 3 * MIB
    vol.resize(16 * MIB, libvirt.VIR_STORAGE_VOL_RESIZE_ALLOCATE)
    assert info(vol)[0] == 16 * MIB and info(vol)[1] > 12 * MIB
    raises(libvirt.VIR_ERR_OPERATION_FAILED, vol.resize, 1 << 60, libvirt.VIR_STORAGE_VOL_RESIZE_ALLOCATE)


def test_wipe(pool, folder):
    (folder / 'v').write_bytes(noise(2 * MIB))
    pool.refresh()
    vol = pool.storageVolLookupByName('v')
    vol.wipe()
    assert (folder / 'v').read_bytes() == b'\0' * (2 * MIB)
    vol.wipePattern(libvirt.VIR_STORAGE_VOL_WIPE_ALG_TRIM)
    assert info(vol) == (2 * MIB, 0)
    if not shutil.which('scrub'):
        assert 'scrub' in raises((libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR), vol.wipePattern, libvirt.VIR_STORAGE_VOL_WIPE_ALG_DOD)
    raises(libvirt.VIR_ERR_INVALID_ARG, vol.wipePattern, 77)
    vol.delete(libvirt.VIR_STORAGE_VOL_DELETE_ZEROED)


# --- Streams ---

def test_upload_download(sconn, pool, tmp_path, folder):
    streams = Streams(sconn)
    (tmp_path / 'up').write_bytes(noise(5 * MIB + 123))
    vol = pool.createXML(volume_xml('v', 8 * MIB))
    streams.upload(vol, tmp_path / 'up')
    assert (folder / 'v').read_bytes() == (tmp_path / 'up').read_bytes() + b'\0' * (3 * MIB - 123)
    stream, out = sconn.newStream(), bytearray()
    vol.download(stream, 1000, 2 * MIB)
    stream.recvAll(lambda s, data, o: o.extend(data), out)
    stream.finish()
    assert bytes(out) == (folder / 'v').read_bytes()[1000:1000 + 2 * MIB]


@domus
def test_after_a_stream(sconn, pool, tmp_path):
    """Whoever has finished a stream can go on with the volume at once."""
    streams = Streams(sconn)
    (tmp_path / 'up').write_bytes(noise(1000))
    for i in range(20):
        vol = pool.createXML(volume_xml(f'v{i}', MIB))
        streams.upload(vol, tmp_path / 'up')
        vol.resize(2 * MIB)
        stream, out = sconn.newStream(), bytearray()
        vol.download(stream, 0, 1000)
        stream.recvAll(lambda s, data, o: o.extend(data), out)
        stream.finish()
        vol.delete()
        assert bytes(out) == (tmp_path / 'up').read_bytes()


def test_upload_offset(sconn, pool, tmp_path, folder):
    (tmp_path / 'up').write_bytes(noise(MIB))
    vol = pool.createXML(volume_xml('v', 4 * MIB))
    Streams(sconn).upload(vol, tmp_path / 'up', offset=MIB + 5)
    assert (folder / 'v').read_bytes() == b'\0' * (MIB + 5) + (tmp_path / 'up').read_bytes() + b'\0' * (2 * MIB - 5)
    stream = sconn.newStream()
    vol.upload(stream, 0, 1000)
    with pytest.raises(libvirt.libvirtError, match='more data'):
        for _ in range(200):
            stream.send(b'x' * 60000)
        stream.finish()
    raises_stream = sconn.newStream()
    vol.upload(raises_stream, 5 * MIB, 0)
    with pytest.raises(libvirt.libvirtError, match='behind the end'):
        raises_stream.finish()


def test_sparse_streams(virsh, pool, tmp_path, folder):
    up = tmp_path / 'up'
    with open(up, 'wb') as f:
        for at in (0, 3, 17, 40):
            f.seek(at * MIB)
            f.write(noise(100000))
        f.truncate(64 * MIB)
    pool.createXML(volume_xml('v', 64 * MIB))
    virsh('vol-upload', 'v', up, '--pool', 'p', '--sparse')
    assert subprocess.run(['cmp', up, folder / 'v']).returncode == 0
    assert os.stat(folder / 'v').st_blocks * 512 < 2 * MIB
    virsh('vol-download', 'v', tmp_path / 'down', '--pool', 'p', '--sparse')
    assert subprocess.run(['cmp', up, tmp_path / 'down']).returncode == 0
    assert os.stat(tmp_path / 'down').st_blocks * 512 < 2 * MIB
    virsh('vol-download', 'v', tmp_path / 'full', '--pool', 'p')
    assert subprocess.run(['cmp', up, tmp_path / 'full']).returncode == 0
    # Holes over data are holes.
    (folder / 'v').write_bytes(noise(MIB) * 64)
    virsh('vol-upload', 'v', up, '--pool', 'p', '--sparse')
    assert subprocess.run(['cmp', up, folder / 'v']).returncode == 0


def test_uploaded_format(virsh, pool, tmp_path):
    """What is uploaded says what it is, once."""
    qemu_img('create', '-q', '-f', 'qcow2', tmp_path / 'q', '1G')
    vol = pool.createXML(volume_xml('v', MIB))
    virsh('vol-upload', 'v', tmp_path / 'q', '--pool', 'p')
    harness.wait_until(lambda: format_of(vol) == 'qcow2')
    assert info(vol)[0] == 1 << 30


@domus
def test_aborted_streams(sconn, pool, folder):
    vol = pool.createXML(volume_xml('v', 64 * MIB))
    stream = sconn.newStream()
    vol.upload(stream, 0, 0)
    stream.send(b'x' * 1000)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, vol.delete)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, pool.destroy)
    stream.abort()
    harness.wait_until(lambda: deleted(vol), what='the end of the upload')
    vol = pool.createXML(volume_xml('w', 64 * MIB))
    stream = sconn.newStream()
    vol.download(stream, 0, 0)
    stream.recv(1000)
    stream.abort()
    harness.wait_until(lambda: deleted(vol), what='the end of the download')


def deleted(vol):
    try:
        vol.delete()
    except libvirt.libvirtError as e:
        assert e.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID
        return False
    return True


@domus
def test_client_dies_in_stream(daemon, sconn, pool, tmp_path):
    pool.createXML(volume_xml('v', MIB))
    with open('/dev/zero', 'rb') as zero:
        p = subprocess.Popen(['virsh', '-q', '-c', daemon.uri, 'vol-upload', 'v', '/dev/stdin', '--pool', 'p'], stdin=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        p.stdin.write(zero.read(3 * MIB))
        p.stdin.flush()
        p.kill()
        p.wait()
        p.stdin.close()
    vol = pool.storageVolLookupByName('v')
    harness.wait_until(lambda: deleted(vol), what='the end of the upload')


# --- The daemon ---

@domus
def test_restart(own_daemon, tmp_path):
    for name in ('a', 'b', 'c'):
        (tmp_path / name).mkdir()
    conn = own_daemon.open()
    a = conn.storagePoolDefineXML(pool_xml('a', tmp_path / 'a'))
    a.create()
    a.createXML(volume_xml('v', MIB, 'qcow2'))
    a.setAutostart(1)
    b = conn.storagePoolDefineXML(pool_xml('b', tmp_path / 'b'))
    b.setAutostart(1)
    conn.storagePoolCreateXML(pool_xml('c', tmp_path / 'c'))
    before = {p.name(): (p.UUIDString(), p.isActive(), p.isPersistent(), p.autostart()) for p in conn.listAllStoragePools()}
    conn.close()
    own_daemon.restart()
    conn = own_daemon.open()
    after = {p.name(): (p.UUIDString(), p.isActive(), p.isPersistent(), p.autostart()) for p in conn.listAllStoragePools()}
    assert after == before
    assert conn.storagePoolLookupByName('a').listVolumes() == ['v']
    conn.close()
    # A boot empties the run directory.
    own_daemon.stop()
    shutil.rmtree(own_daemon.dir / 'run')
    shutil.rmtree(tmp_path / 'c')
    own_daemon.start()
    conn = own_daemon.open()
    assert {p.name(): p.isActive() for p in conn.listAllStoragePools()} == {'a': 1, 'b': 1}
    # What vanished meanwhile is not in use any more.
    own_daemon.stop()
    shutil.rmtree(tmp_path / 'b')
    own_daemon.start()
    conn = own_daemon.open()
    assert {p.name(): p.isActive() for p in conn.listAllStoragePools()} == {'a': 1, 'b': 0}
    remove_pools(conn)
    conn.close()


@domus
def test_killed_while_creating(own_daemon, tmp_path):
    """What was being made is not there afterwards, not even in part."""
    conn = own_daemon.open()
    pool = conn.storagePoolCreateXML(pool_xml('p', tmp_path))
    src = pool.createXML(volume_xml('src', 512 * MIB, allocation=None))
    with open(src.path(), 'r+b') as f:
        block = noise(MIB)
        for _ in range(256):
            f.write(block)

    def clone():
        try:
            pool.createXMLFrom(volume_xml('dst', 512 * MIB), src)
        except libvirt.libvirtError:
            pass
    t = threading.Thread(target=clone)
    t.start()
    time.sleep(0.05)
    own_daemon.stop(9)
    t.join()
    own_daemon.start()
    left = set(os.listdir(tmp_path)) - {'src'}
    assert left <= {'dst'}
    if 'dst' in left:  # it was quicker
        assert subprocess.run(['cmp', tmp_path / 'src', tmp_path / 'dst']).returncode == 0


@domus
def test_loop_does_not_wait(sconn, daemon, pool, folder):
    """Other clients are served while a volume is written."""
    src = pool.createXML(volume_xml('src', 256 * MIB, allocation=None))
    with open(src.path(), 'r+b') as f:
        block = noise(MIB)
        for _ in range(256):
            f.write(block)
    done = []

    def clone():
        done.append(pool.createXMLFrom(volume_xml('dst', 256 * MIB), src))
    t = threading.Thread(target=clone)
    t.start()
    other = daemon.open()
    slowest = 0
    while not done and t.is_alive():
        begin = time.monotonic()
        other.listAllStoragePools()
        slowest = max(slowest, time.monotonic() - begin)
    t.join()
    other.close()
    assert done and slowest < 5


@domus
def test_many_at_once(sconn, pool, folder):
    """Volumes come and go while the pool is refreshed again and again."""
    stop, errors = threading.Event(), []

    def refresh():
        while not stop.is_set():
            pool.refresh()

    def churn(i):
        try:
            for n in range(10):
                v = pool.createXML(volume_xml(f'v{i}-{n}', MIB))
                assert v.info()[1] == MIB
                v.delete()
            pool.createXML(volume_xml(f'stays{i}', MIB))
        except Exception as e:
            errors.append(e)
    threads = [threading.Thread(target=churn, args=(i,)) for i in range(4)]
    refresher = threading.Thread(target=refresh)
    refresher.start()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    stop.set()
    refresher.join()
    assert not errors
    assert sorted(pool.listVolumes()) == sorted(os.listdir(folder)) == [f'stays{i}' for i in range(4)]


# --- What stock clients do ---

def test_virsh(virsh, sconn, folder):
    virsh('pool-define-as', 'v', 'dir', '--target', folder)
    virsh('pool-build', 'v')
    virsh('pool-start', 'v')
    virsh('vol-create-as', 'v', 'a.qcow2', '1G', '--format', 'qcow2')
    virsh('vol-create-as', 'v', 'b.qcow2', '2G', '--format', 'qcow2', '--backing-vol', 'a.qcow2', '--backing-vol-format', 'qcow2')
    assert 'b.qcow2' in virsh('vol-list', 'v', '--details').stdout
    assert '2.00 GiB' in virsh('vol-info', 'b.qcow2', 'v').stdout
    assert virsh('vol-path', 'a.qcow2', 'v').stdout.strip() == str(folder / 'a.qcow2')
    assert virsh('vol-pool', folder / 'a.qcow2').stdout.strip() == 'v'
    virsh('vol-resize', 'a.qcow2', '3G', '--pool', 'v')
    assert 'running' in virsh('pool-info', 'v').stdout
    virsh('pool-refresh', 'v')
    virsh('vol-delete', 'b.qcow2', 'v')
    virsh('pool-autostart', 'v')
    assert virsh('pool-list', '--all', '--autostart', '--name').stdout.split() == ['v']
    virsh('pool-destroy', 'v')
    virsh('pool-undefine', 'v')
