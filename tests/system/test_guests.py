# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian guest on a disk from a pool, on a NAT network, used as its owner would: by virsh and by ssh. One boot serves all tests."""
import hashlib
import os
import re
import shlex
import shutil
import sys

import libvirt
import pytest

import debian
import harness
import netns
from harness import wait_until
from netns import seen_as, serve, throughput

pytestmark = [pytest.mark.domus, pytest.mark.debian, pytest.mark.skipif(netns.missing() is not None, reason=str(netns.missing()))]

MIB = 1 << 20
IP = '192.168.122.1'
NETWORK = """<network><name>{}</name>{}<bridge name='{}'/><ip address='{}.1' prefix='24'><dhcp><range start='{}.2' end='{}.254'/></dhcp></ip></network>"""
NIC2 = '52:54:00:de:b1:a2'


def network_xml(name, bridge, net, forward=''):
    return NETWORK.format(name, forward, bridge, net, net, net)


class Site:
    """The host with a pool and two networks, a neighbour outside, and the guest."""
    def __init__(self, work):
        self.dir = work / 'test_guests'
        self.daemon = netns.NetDaemon(self.dir)
        self.host, self.outside = self.daemon.namespace, netns.Namespace()
        self.guest = self.conn = None

    def start(self):
        self.host.connect('up0', self.outside, 'eth0')
        self.host.run('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'up0')
        self.outside.run('ip', 'address', 'add', '10.99.0.2/24', 'dev', 'eth0')
        self.daemon.start()
        self.virsh('net-define', self.file('default.xml', network_xml('default', 'virbr0', '192.168.122', "<forward mode='nat'/>")))
        self.virsh('net-start', 'default')
        self.virsh('net-create', self.file('lan.xml', network_xml('lan', 'lan0', '192.168.50')))
        self.pool = self.dir / 'pool'
        self.virsh('pool-create-as', 'pool', 'dir', '--target', self.pool, '--build')
        self.conn = self.daemon.open()
        files = debian.Files(self.dir / 'files')
        base = self.pool / 'base.qcow2'
        shutil.copy(files.cache / 'disk.qcow2', base)
        self.virsh('pool-refresh', 'pool')
        self.virsh('vol-create-as', 'pool', 'system.qcow2', '3GiB', '--format', 'qcow2', '--backing-vol', 'base.qcow2', '--backing-vol-format', 'qcow2')
        disk = "<disk type='volume'><driver name='qemu' type='qcow2'/><source pool='pool' volume='system.qcow2'/><target dev='vda'/></disk>"
        nic = f"<interface type='network'><mac address='{debian.MAC}'/><source network='default'/></interface>"
        balloon = "<memballoon model='virtio'><stats period='1'/></memballoon>"
        self.guest = debian.Debian(self.conn, self.host, files, 'guest', disk + nic + debian.AGENT + balloon)
        self.find_guest()
        self.guest.sh(debian.SHUTDOWN)

    def virsh(self, *args, ok=True, timeout=harness.TIMEOUT):
        return harness.run('virsh', '-q', '-c', self.daemon.uri, *args, ok=ok, timeout=timeout)

    def file(self, name, text):
        (self.dir / name).write_text(text)
        return self.dir / name

    def find_guest(self):
        self.guest.ip = wait_until(lambda: address_in(self.virsh('domifaddr', 'guest').stdout), what='a lease')
        self.guest.connect()

    def volume(self, name, mib, format='raw'):
        self.virsh('vol-create-as', 'pool', name, f'{mib}MiB', '--format', format)
        return self.pool / name

    def small_fs(self, name, mib):
        """A file system of a size, to be filled, where the daemon sees it."""
        path = self.dir / name
        path.mkdir()
        self.host.run('mount', '-t', 'tmpfs', '-o', f'size={mib}m,mode=755', 'tmpfs', path)
        return path

    def close(self):
        if self.guest:
            self.guest.close()
        if self.conn:
            self.conn.close()
        self.daemon.cleanup()
        self.outside.close()
        self.host.close()


def address_in(text):
    found = re.search(r'ipv4 +(192\.168\.122\.\d+)/', text)
    return found and found[1]


@pytest.fixture(scope='module')
def site(work):
    s = Site(work)
    try:
        s.start()
        yield s
    finally:
        s.close()


@pytest.fixture
def daemon(site):
    return site.daemon


@pytest.fixture
def guest(site, daemon):
    return site.guest


@pytest.fixture
def virsh(site, daemon):
    return site.virsh


def disk(site, target, name, *more):
    """Hot-plugs a volume of the pool; the path of the guest's device that appeared."""
    return plug(site, site.pool / name, target, *more)


def plug(site, path, target, *more):
    before = disks(site)
    site.virsh('attach-disk', 'guest', path, target, '--live', *more)
    return wait_until(lambda: disks(site) - before, what='the disk').pop()


def disks(site):
    return set(site.guest.sh('for d in /sys/block/*; do [ ! -b /dev/${d##*/} ] || echo /dev/${d##*/}; done').split())


def unplug_disk(site, target):
    site.virsh('detach-disk', 'guest', target, '--live')
    wait_until(lambda: target not in site.virsh('domblklist', 'guest').stdout.split(), what='the removal')


# --- Addresses and the way out ---

def test_addresses(site, guest, virsh):
    assert address_in(virsh('domifaddr', 'guest').stdout) == guest.ip
    assert address_in(virsh('net-dhcp-leases', 'default').stdout) == guest.ip
    assert f' {debian.MAC} ' in virsh('domifaddr', 'guest', '--source', 'arp').stdout
    assert address_in(virsh('domifaddr', 'guest', '--source', 'arp').stdout) == guest.ip
    agent = virsh('domifaddr', 'guest', '--source', 'agent', '--full').stdout
    assert address_in(agent) == guest.ip and '127.0.0.1/8' in agent and debian.MAC in agent


def test_nat(site, guest):
    serve(site.outside)
    assert guest.sh(f'python3 -c {shlex.quote(netns.CLIENT)} 10.99.0.2 7000').split()[0] == '10.99.0.1'
    p = guest.spawn('python3', '-c', netns.SERVER, '7000')
    assert p.stdout.readline() == 'ready\n'
    assert seen_as(site.host, guest.ip)[0] == IP and seen_as(site.outside, guest.ip) is None
    guest.sh('pkill -f 7000', ok=False)


# --- Reboot ---

@pytest.mark.parametrize('mode', ['agent', 'acpi'])
def test_reboot(site, guest, virsh, mode):
    """What was written is there afterwards, and so is the address."""
    digest = guest.sh(f'head -c 8M /dev/urandom >/root/{mode}; sync; sha256sum </root/{mode}')
    boot = guest.sh('cat /proc/sys/kernel/random/boot_id')
    guest.disconnect()
    ip = guest.ip
    virsh('reboot', 'guest', '--mode', mode)
    guest.wait_for_boot()
    site.find_guest()
    assert guest.ip == ip and guest.sh('cat /proc/sys/kernel/random/boot_id') != boot
    assert guest.sh(f'sha256sum </root/{mode}') == digest
    assert virsh('domstate', 'guest').stdout.split() == ['running']


# --- Hot-plug ---

FIO = ('fio --name=t --filename={} --rw=randrw --bs=16k --size=32M --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 '
       '--time_based --runtime={} --do_verify=1 --minimal')


def test_disks_come_and_go(site, guest, virsh):
    """Beside a disk that works; the last one while it works itself."""
    site.volume('work.raw', 32)
    device = disk(site, 'vdb', 'work.raw', '--subdriver', 'raw')
    work = guest.spawn('sh', '-c', f'while [ ! -e /tmp/enough ]; do {FIO.format(device, 3)} || exit 1; done')
    for fmt, target in (('raw', 'vdc'), ('qcow2', 'vdc'), ('raw', 'sda')):
        site.volume(f'{target}.{fmt}', 32, fmt)
        d = disk(site, target, f'{target}.{fmt}', '--subdriver', fmt)
        digest = guest.sh(f'head -c 4M /dev/urandom >/tmp/x; dd if=/tmp/x of={d} bs=64k conv=fsync,nocreat 2>/dev/null; sha256sum </tmp/x').split()[0]
        assert guest.sh(f'dd if={d} bs=64k count=64 iflag=direct 2>/dev/null | sha256sum').split()[0] == digest
        unplug_disk(site, target)
        wait_until(lambda: guest.sh(f'[ ! -e {d} ]', ok=False).returncode == 0, what=f'the end of {d}')
    guest.sh('touch /tmp/enough')
    assert work.wait(harness.TIMEOUT) == 0, work.stdout.read()
    before = writes(virsh, 'vdb')
    lost = guest.spawn('sh', '-c', FIO.format(device, 600) + ' 2>&1')
    wait_until(lambda: writes(virsh, 'vdb') > before, what='writes')
    unplug_disk(site, 'vdb')
    assert lost.wait(harness.TIMEOUT) != 0


def writes(virsh, target):
    return int(re.search(r'wr_req (\d+)', virsh('domblkstat', 'guest', target).stdout)[1])


SINK = '''
import socket, sys
s = socket.create_server(('', int(sys.argv[1])))
print('ready', flush=True)
c = s.accept()[0]
n = 0
while n < int(sys.argv[2]):
    data = c.recv(1 << 16)
    assert data and not data.strip(bytes(1))
    n += len(data)
print('enough', flush=True)
while c.recv(1 << 16):
    pass
'''


def test_cards_come_and_go(site, guest, virsh):
    """While they are flooded, and beside a card that works on."""
    source = guest.spawn('sh', '-c', f'while [ ! -e /tmp/enough-nic ]; do ping -q -c 10 -i 0.1 {IP} | grep "packets transmitted"; done')
    for _ in range(2):
        virsh('attach-interface', 'guest', 'network', 'lan', '--mac', NIC2, '--model', 'virtio', '--live')
        # udev gives it another name.
        device = wait_until(lambda: guest.sh(f'udevadm settle; grep -l {NIC2} /sys/class/net/ens*/address || true'), what='the card').split('/')[4]
        guest.sh(f'ip link set {device} up; ip address add 192.168.50.9/24 dev {device}')
        wait_until(lambda: site.host.pings('192.168.50.9'), what='the way there')
        sink = site.host.spawn(sys.executable, '-c', SINK, 5000, MIB)
        assert sink.stdout.readline() == 'ready\n'
        guest.spawn('sh', '-c', 'busybox nc 192.168.50.1 5000 </dev/zero & ping -f -q 192.168.50.1')
        assert sink.stdout.readline() == 'enough\n'
        virsh('detach-interface', 'guest', 'network', '--mac', NIC2, '--live')
        sink.kill()
        wait_until(lambda: guest.sh(f'[ ! -e /sys/class/net/{device} ]', ok=False).returncode == 0, what='the end of the card')
        wait_until(lambda: NIC2 not in virsh('domiflist', 'guest').stdout, what='the removal')
    guest.sh('touch /tmp/enough-nic')
    lines = list(source.stdout)
    assert lines and all(' 0% packet loss' in line for line in lines), lines
    guest.sh('pkill ping; pkill busybox; true', ok=False)


RNG = "<rng model='virtio'>{}<backend model='random'>/dev/urandom</backend><alias name='ua-rng'/></rng>"
CHANNEL = "<channel type='unix'><target type='virtio' name='test.{}'/><alias name='ua-channel'/></channel>"
CD = "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{}'/><target dev='sdb' bus='scsi'/><readonly/><alias name='ua-cd'/></disk>"
BALLOON = "<memballoon model='virtio'{}><stats period='1'/>{}</memballoon>"


def test_others_come_and_go(site, guest, virsh):
    """What else there is, changed and taken away by its alias; in the guest, and in the definition."""
    def device(command, xml, ok=True):
        return virsh(command, 'guest', site.file('device.xml', xml), '--live', ok=ok)

    def gone(alias):
        virsh('detach-device-alias', 'guest', alias, '--live')
        wait_until(lambda: f"'{alias}'" not in virsh('dumpxml', 'guest').stdout, what=f'the removal of {alias}')

    rngs = 'udevadm settle; cat /sys/class/misc/hw_random/rng_available'
    before = guest.sh(rngs)
    device('attach-device', RNG.format("<rate bytes='1' period='3600000'/>"))
    wait_until(lambda: guest.sh(rngs) != before, what='the rng')
    device('update-device', RNG.format(''))  # an hour for a byte, else
    guest.sh('for r in $(cat /sys/class/misc/hw_random/rng_available); do echo $r >/sys/class/misc/hw_random/rng_current && '
             'dd if=/dev/hwrng of=/dev/null bs=1k count=20 || exit 1; done 2>/dev/null')
    gone('ua-rng')
    device('attach-device', CHANNEL.format('one'))
    wait_until(lambda: guest.sh('[ -e /dev/virtio-ports/test.one ]', ok=False).returncode == 0, what='the port')
    device('update-device', CHANNEL.format('one'))
    assert "the name of device 'ua-channel'" in device('update-device', CHANNEL.format('two'), ok=False).stderr
    gone('ua-channel')
    media = [site.volume(f'{n}.iso.raw', 4) for n in range(2)]
    for n, path in enumerate(media):
        path.write_bytes(bytes([48 + n]) * (4 << 20))
    device('attach-device', CD.format(media[0]))
    for n, path in enumerate(media):
        device('update-device', CD.format(path))
        wait_until(lambda: guest.sh('head -c 3 /dev/sr0 2>/dev/null', ok=False).stdout == str(n) * 3, what='the medium')
    gone('ua-cd')
    device('update-device', BALLOON.format('', "<alias name='balloon0'/>").replace("'1'", "'2'"))
    assert "<stats period='2'/>" in virsh('dumpxml', 'guest').stdout
    assert 'autodeflate' in device('update-device', BALLOON.format(" autodeflate='on'", ''), ok=False).stderr
    gone('balloon0')
    device('attach-device', BALLOON.format('', ''))
    wait_until(lambda: 'unused' in virsh('dommemstat', 'guest').stdout, what="the guest's figures")
    failed = device('attach-device', "<controller type='usb'/>", ok=False)
    assert "type 'usb' cannot be attached" in failed.stderr


def test_interface_settings(guest, virsh):
    for source in 'lease', 'arp', 'agent':
        assert guest.ip in virsh('domifaddr', 'guest', '--source', source).stdout, source
    carrier = f'cat $(dirname $(grep -l {debian.MAC} /sys/class/net/*/address))/carrier'
    assert virsh('domif-getlink', 'guest', debian.MAC).stdout.split()[-1] == 'up'
    virsh('domif-setlink', 'guest', debian.MAC, 'down')
    assert virsh('domif-getlink', 'guest', debian.MAC).stdout.split()[-1] == 'down'
    virsh('domif-setlink', 'guest', debian.MAC, 'up')
    wait_until(lambda: guest.sh(carrier, ok=False).stdout.strip() == '1', what='the link')
    assert int(re.search(r'rx_bytes (\d+)', virsh('domifstat', 'guest', debian.MAC).stdout)[1]) > 0
    # The persistent definition does not know the device's name: then the live one is left alone, too.
    assert 'vnet' in virsh('domiftune', 'guest', 'vnet0', '--outbound', '1000', '--live', '--config', ok=False).stderr
    assert re.search(r'outbound.average: 0$', virsh('domiftune', 'guest', debian.MAC).stdout, re.M)
    virsh('domiftune', 'guest', debian.MAC, '--outbound', '50000', '--live', '--config')
    for where in '--live', '--config':
        assert re.search(r'outbound.average: 50000$', virsh('domiftune', 'guest', debian.MAC, where).stdout, re.M)
    virsh('domiftune', 'guest', debian.MAC, '--outbound', '0', '--live', '--config')


# --- Volumes ---

def digest_of(path):
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, 'sha256').hexdigest()


def test_volumes(site, virsh):
    """Up, down, whole and sparse, and cloned: the same bytes."""
    source, back, sparse = (site.dir / n for n in ('source', 'back', 'sparse'))
    with open(source, 'wb') as f:
        for at in (0, 20, 50):
            f.seek(at * MIB)
            f.write(os.urandom(3 * MIB))
        f.truncate(64 * MIB)
    want = digest_of(source)
    virsh('vol-create-as', 'pool', 'up.raw', '64MiB', '--format', 'raw', '--allocation', '0')
    virsh('vol-upload', 'up.raw', source, '--pool', 'pool', '--sparse')
    virsh('vol-download', 'up.raw', back, '--pool', 'pool')
    virsh('vol-download', 'up.raw', sparse, '--pool', 'pool', '--sparse')
    virsh('vol-clone', 'up.raw', 'clone.raw', '--pool', 'pool')
    virsh('vol-create-as', 'pool', 'whole.raw', '64MiB', '--format', 'raw', '--allocation', '0')
    virsh('vol-upload', 'whole.raw', source, '--pool', 'pool')
    for path in (back, sparse, *(site.pool / n for n in ('up.raw', 'clone.raw', 'whole.raw'))):
        assert digest_of(path) == want, path
    for path in (sparse, site.pool / 'up.raw', site.pool / 'clone.raw'):
        assert os.stat(path).st_blocks * 512 < 16 * MIB, path
    # A clone of an image with a backing file is one, too, and reads the same.
    virsh('vol-clone', 'up.raw', 'x.raw', '--pool', 'pool')
    virsh('vol-create-as', 'pool', 'top.qcow2', '64MiB', '--format', 'qcow2', '--backing-vol', 'up.raw', '--backing-vol-format', 'raw')
    virsh('vol-clone', 'top.qcow2', 'top2.qcow2', '--pool', 'pool')
    harness.run('qemu-img', 'convert', '-O', 'raw', site.pool / 'top2.qcow2', back)
    assert digest_of(back) == want
    for n in ('up.raw', 'clone.raw', 'whole.raw', 'x.raw', 'top.qcow2', 'top2.qcow2'):
        virsh('vol-delete', n, '--pool', 'pool')


# --- Limits ---

def rates(guest, device, *jobs, seconds=3):
    """(bytes, requests) per second of each job by direct I/O, jobs side by side."""
    common = f'--filename={device} --size=16M --direct=1 --ioengine=libaio --iodepth=4 --time_based --runtime={seconds} --minimal'
    out = guest.sh(f'fio {common} ' + ' '.join(f'--name=j{i} --rw={op} --bs={bs}' for i, (op, bs) in enumerate(jobs)))
    figures = [line.split(';') for line in out.splitlines()]
    return [(1024 * (int(f[6]) + int(f[47])), int(f[7]) + int(f[48])) for f in figures]


@pytest.fixture(scope='module')
def limited(site):
    site.volume('limited.raw', 16)
    return disk(site, 'vdl', 'limited.raw', '--subdriver', 'raw')


# Option and limit, the job that it limits, and which of its figures.
LIMITS = [
    [('total-bytes-sec', 2 * MIB, ('randrw', '16k'), 0)],
    [('total-iops-sec', 100, ('randrw', '4k'), 1)],
    [('read-bytes-sec', 2 * MIB, ('read', '64k'), 0), ('write-iops-sec', 100, ('randwrite', '4k'), 1)],
    [('read-iops-sec', 100, ('randread', '4k'), 1), ('write-bytes-sec', 2 * MIB, ('write', '64k'), 0)],
]


@pytest.mark.parametrize('limits', LIMITS)
def test_disk_limits(guest, virsh, limited, limits):
    """Low ones, so that the machine could always do more. A busy one does less than it may: the best of some tries counts."""
    virsh('blkdeviotune', 'guest', 'vdl', '--live', *(f'--{name}={limit}' for name, limit, _, _ in limits))
    shown = virsh('blkdeviotune', 'guest', 'vdl', '--live').stdout
    best = [0] * len(limits)
    for _ in range(8):
        got = rates(guest, limited, *(job for _, _, job, _ in limits))
        best = [max(b, figures[kind]) for b, figures, (_, _, _, kind) in zip(best, got, limits)]
        if all(b >= 0.9 * limit for b, (_, limit, _, _) in zip(best, limits)):
            break
    virsh('blkdeviotune', 'guest', 'vdl', '--live', *(f'--{name}=0' for name, _, _, _ in limits))
    for value, (name, limit, _, _) in zip(best, limits):
        assert re.search(rf"{name.replace('-', '_')} *: {limit}\n", shown)
        assert 0.9 * limit <= value <= 1.1 * limit, (name, value)


def test_burst(guest, virsh, limited):
    """Two seconds at 4 MiB/s, then 1 MiB/s."""
    virsh('blkdeviotune', 'guest', 'vdl', '--live', '--total-bytes-sec', MIB, '--total-bytes-sec-max', 4 * MIB, '--total-bytes-sec-max-length', 2)
    values = []
    for _ in range(3):
        values.append(rates(guest, limited, ('write', '64k'), seconds=6)[0][0] * 6)
        if values[-1] > 7 * MIB:
            break
    virsh('blkdeviotune', 'guest', 'vdl', '--live', '--total-bytes-sec', 0)
    assert max(values) <= 1.1 * (8 + 6) * MIB and max(values) > 7 * MIB, values


def test_card_limits(site, guest, virsh):
    virsh('domiftune', 'guest', debian.MAC, '--inbound', '3000,0,64', '--outbound', '1500,0,64', '--live')
    into, out = throughput(site.host, guest, guest.ip, 2700), throughput(guest, site.host, IP, 1350)
    virsh('domiftune', 'guest', debian.MAC, '--inbound', '0', '--outbound', '0', '--live')
    assert 2700 <= into <= 3300 and 1350 <= out <= 1650, (into, out)


# --- The agent and the balloon ---

def test_agent(site, guest, virsh):
    assert virsh('guestvcpus', 'guest').stdout.split() == ['vcpus', ':', '0-1', 'online', ':', '0-1', 'offlinable', ':', '1']
    assert virsh('vcpucount', 'guest', '--guest').stdout.split() == ['2']
    virsh('setvcpus', 'guest', '1', '--guest')
    assert guest.sh('nproc') == '1' and virsh('vcpucount', 'guest', '--guest').stdout.split() == ['1']
    assert 'greater than' in virsh('setvcpus', 'guest', '3', '--guest', ok=False).stderr
    virsh('setvcpus', 'guest', '2', '--guest')
    assert guest.sh('nproc') == '2'
    virsh('guestvcpus', 'guest', '1', '--disable')
    assert guest.sh('nproc') == '1'
    virsh('guestvcpus', 'guest', '1', '--enable')
    assert guest.sh('nproc') == '2'
    info = virsh('guestinfo', 'guest').stdout
    for part in ('os.id               : debian', 'hostname            : domus-guest', 'fs.0.mountpoint     : /', f': {guest.ip}', 'user.count'):
        assert part in info, info
    assert re.search(r'/ +vda1 +ext4 +vda', virsh('domfsinfo', 'guest').stdout)
    assert virsh('domhostname', 'guest', '--source', 'agent').stdout.strip() == 'domus-guest'
    before = guest.sh('grep ^root: /etc/shadow')
    virsh('set-user-password', 'guest', 'root', 'another')
    assert guest.sh('grep ^root: /etc/shadow') != before
    assert virsh('get-user-sshkeys', 'guest', 'root').stdout.startswith('ssh-ed25519 ')
    other = site.file('other.pub', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG other\n')
    virsh('set-user-sshkeys', 'guest', 'root', '--file', other)
    assert ' other' in virsh('get-user-sshkeys', 'guest', 'root').stdout
    virsh('set-user-sshkeys', 'guest', 'root', '--remove', '--file', other)
    assert ' other' not in virsh('get-user-sshkeys', 'guest', 'root').stdout
    assert '"return":{' in virsh('qemu-agent-command', 'guest', '{"execute":"guest-info"}').stdout
    error = virsh('qemu-agent-command', 'guest', '{"execute":"guest-nonsense"}', ok=False).stderr
    assert 'guest-nonsense' in error


def test_time(guest, virsh):
    virsh('domtime', 'guest', '--time', '1000000000')
    assert abs(int(guest.sh('date +%s')) - 1000000000) < 600
    assert abs(int(re.search(r'\d+', virsh('domtime', 'guest').stdout)[0]) - 1000000000) < 600
    virsh('domtime', 'guest', '--now')
    assert abs(int(guest.sh('date +%s')) - harness.time.time()) < 600


def test_freeze(guest, virsh):
    """Nothing is written while the file systems are frozen."""
    virsh('domfsfreeze', 'guest')
    assert '"return":"frozen"' in virsh('qemu-agent-command', 'guest', '{"execute":"guest-fsfreeze-status"}').stdout
    before = virsh('domblkstat', 'guest', 'vda').stdout
    writer = guest.spawn('sh', '-c', 'echo late >/late; sync; echo written')
    wrote = re.search(r'wr_bytes (\d+)', virsh('domblkstat', 'guest', 'vda').stdout)[1]
    assert wrote == re.search(r'wr_bytes (\d+)', before)[1]
    virsh('domfsthaw', 'guest')
    assert writer.stdout.readline() == 'written\n'
    virsh('domfstrim', 'guest')


def test_balloon(guest, virsh):
    def stats():
        return {k: int(v) for k, v in (line.split() for line in virsh('dommemstat', 'guest').stdout.splitlines())}
    full = stats()['actual']
    assert full == 768 << 10
    virsh('setmem', 'guest', '600M', '--live')
    wait_until(lambda: stats()['actual'] == 600 << 10, what='the balloon')
    wait_until(lambda: int(guest.sh("awk '/^MemTotal/ { print $2 }' /proc/meminfo")) < 600 << 10, what="the guest's memory")
    assert stats()['unused'] < stats()['available']
    virsh('setmem', 'guest', '768M', '--live')
    wait_until(lambda: stats()['actual'] == full, what='the balloon')
    assert 'cannot' in (error := virsh('setmem', 'guest', '900M', '--live', ok=False).stderr) or 'greater' in error


# --- A full disk ---

@pytest.mark.parametrize('format', ['raw', 'qcow2'])
def test_full_disk(site, guest, virsh, format):
    """The guest stops where its write found no space, and goes on as if nothing had been when there is some."""
    fs = site.small_fs(f'small-{format}', 24)
    image = fs / f'image.{format}'
    site.host.run('qemu-img', 'create', '-q', '-f', format, image, '64M')
    seen = []
    handle = site.conn.domainEventRegisterAny(guest.dom, libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, lambda c, d, *what: seen.append(what[:4]), None)
    device = plug(site, image, 'vdf', '--subdriver', format)
    digest = guest.sh('head -c 40M /dev/urandom >/tmp/full; sha256sum </tmp/full').split()[0]
    writer = guest.spawn('sh', '-c', f'dd if=/tmp/full of={device} bs=256k conv=fsync,nocreat 2>&1; echo status $?')
    wait_until(lambda: virsh('domstate', 'guest', '--reason').stdout.split() == ['paused', '(I/O', 'error)'], what='the pause')
    assert 'vdf: no space' in virsh('domblkerror', 'guest').stdout
    wait_until(lambda: seen, what='the event')
    assert seen[0][0] == str(image) and seen[0][2] == libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE and seen[0][3] == 'enospc'
    # Without space it stops again.
    virsh('resume', 'guest')
    wait_until(lambda: virsh('domstate', 'guest', '--reason').stdout.split() == ['paused', '(I/O', 'error)'] and len(seen) > 1, what='another pause')
    site.host.run('mount', '-o', 'remount,size=96m', fs)
    virsh('resume', 'guest')
    assert [line for line in writer.stdout][-1] == 'status 0\n'
    assert virsh('domblkerror', 'guest').stdout.strip() in ('', 'No errors found')
    assert guest.sh(f'dd if={device} bs=256k count=160 iflag=direct 2>/dev/null | sha256sum; rm /tmp/full').split()[0] == digest
    unplug_disk(site, 'vdf')
    site.conn.domainEventDeregisterAny(handle)


def test_clean(guest):
    """After all that, the guest's kernel has nothing to complain of but what the lost disk explains."""
    bad = guest.sh('dmesg | grep -E "BUG|WARNING|Oops|Call Trace|hung task|EXT4-fs error" || true')
    assert bad == ''
