#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: run-net.py DOMUS-VM [TEST ...]

Network cards, balloon and virtio-serial in a Debian kernel's guest, against peers in a network namespace of the test's. Exit 77: skipped."""
import ctypes
import fcntl
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tty

from devicetest import Error, Fd, U32, boot, main

MODULES = ['drivers/virtio/virtio_ring', 'drivers/virtio/virtio', 'drivers/virtio/virtio_pci_legacy_dev', 'drivers/virtio/virtio_pci_modern_dev',
           'drivers/virtio/virtio_pci', 'net/core/failover', 'drivers/net/net_failover', 'drivers/net/virtio_net', 'drivers/virtio/virtio_balloon',
           'drivers/char/virtio_console']
MAC = '52:54:00:12:34:56'
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100
SIZE = 24 << 20


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_network():
    """Two bridges, and an interface with a default route for passt to take as an example."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) < 0:
        return False
    run('ip', 'link', 'set', 'lo', 'up')
    for i in range(2):
        run('ip', 'link', 'add', f'br{i}', 'type', 'bridge')
        run('ip', 'addr', 'add', f'10.0.{i}.1/24', 'dev', f'br{i}')
        run('ip', 'link', 'set', f'br{i}', 'up')
    run('ip', 'link', 'add', 'out0', 'type', 'bridge')
    run('ip', 'addr', 'add', '192.0.2.1/24', 'dev', 'out0')
    run('ip', 'link', 'set', 'out0', 'up')
    run('ip', 'route', 'add', 'default', 'via', '192.0.2.254')
    return os.path.exists('/dev/net/tun')


def open_tap(name, queues, bridge):
    fds = []
    for _ in range(queues):
        fd = os.open('/dev/net/tun', os.O_RDWR | os.O_CLOEXEC)
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (IFF_MULTI_QUEUE if queues > 1 else 0)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack('16sH22x', name.encode(), flags))
        fds.append(fd)
    run('ip', 'link', 'set', name, 'master', bridge, 'up')
    return fds


def close_all(fds):
    for fd in fds:
        os.close(fd)


class Peer(threading.Thread):
    """A server for n connections: takes all and digests it, or sends data; all connections share a port."""

    def __init__(self, n, data=None, host='0.0.0.0'):
        super().__init__(daemon=True)
        self.server = socket.create_server((host, 0), backlog=n)
        self.server.settimeout(60)
        self.port = self.server.getsockname()[1]
        self.n, self.data, self.digests = n, data, []
        self.start()

    def run(self):
        threads = [threading.Thread(target=self.serve, args=(self.server.accept()[0],)) for _ in range(self.n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.server.close()

    def serve(self, s):
        with s:
            s.settimeout(60)
            if self.data is not None:
                s.sendall(self.data)
                return
            digest = hashlib.sha256()
            while block := s.recv(1 << 18):
                digest.update(block)
            self.digests.append(digest.hexdigest())


def net(id, fds, **more):
    return {'driver': 'virtio-net', 'id': id, 'fds': list(fds), 'mac': MAC, **more}


def address(vm, last='0.2', interface='eth0'):
    vm.shell(f'ip addr flush dev {interface}; ip link set {interface} up; ip addr add 10.0.{last}/24 dev {interface}')


def ping(vm, to='10.0.0.1', tries=10):
    """A link that came up carries packets a little later."""
    return any(' 0% packet loss' in vm.shell(f'ping -c 2 -i 0.2 -W 1 {to} || true') for _ in range(tries))


def check_clean(vm):
    dmesg = vm.shell('dmesg')
    assert 'BUG' not in dmesg and 'WARNING' not in dmesg and 'csum' not in dmesg, dmesg


def transfer(vm, to='10.0.0.1', streams=4):
    """Both directions at once, over several connections; what arrives is what was sent."""
    digest = vm.shell(f'[ -e /tmp/data ] || dd if=/dev/urandom of=/tmp/data bs=1M count={SIZE >> 20} 2>/dev/null; sha256sum </tmp/data').split()[0]
    data = os.urandom(SIZE)
    taker, giver = Peer(streams), Peer(streams, data)
    vm.shell(' '.join(f'nc {to} {taker.port} </tmp/data & nc {to} {giver.port} </dev/null | sha256sum >/tmp/sum{i} &' for i in range(streams)) + ' wait',
             timeout=120)
    sums = vm.shell('cat /tmp/sum*').split('\n')
    taker.join(10)
    assert taker.digests == [digest] * streams, taker.digests
    assert [s.split()[0] for s in sums] == [hashlib.sha256(data).hexdigest()] * streams, sums


def test_tap(start):
    fds = open_tap('t0', 2, 'br0')
    vm = start(cpus=2, memory=384 << 20, devices=[net('net0', fds, queues=U32(2), mtu=U32(1400))])
    close_all(fds)
    boot(vm)
    assert MAC in vm.shell('cat /sys/class/net/eth0/address') and vm.shell('cat /sys/class/net/eth0/mtu') == '1400'
    address(vm)
    assert ping(vm)
    transfer(vm)
    counts = [sum(map(int, line.split()[1:3])) for line in vm.shell("grep -E 'virtio.-input' /proc/interrupts").split('\n')]
    assert len(counts) == 2 and min(counts) > 0, counts
    stats = vm.call('GetDeviceStats', 'net0')
    assert stats['rx-bytes'] > 4 * SIZE and stats['tx-bytes'] > 4 * SIZE and stats['rx-packets'] > 0 and stats['rx-errors'] == 0, stats
    # Many segments travel in one piece.
    assert stats['rx-bytes'] / stats['rx-packets'] > 1600, stats

    vm.call('SetDevice', 'net0', {'link': False})
    vm.shell('while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 20000; done')
    assert not ping(vm, tries=1)
    vm.call('SetDevice', 'net0', {'link': True})
    vm.shell('while [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do usleep 20000; done')
    assert ping(vm)

    # Another network while it runs; one with fewer queues is refused.
    fds = open_tap('t1', 1, 'br1')
    try:
        vm.call('SetDevice', 'net0', {'fds': fds})
        raise AssertionError('a back end with too few queues was taken')
    except Error as e:
        assert 'queues' in str(e), e
    close_all(fds)
    fds = open_tap('t2', 2, 'br1')
    vm.call('SetDevice', 'net0', {'fds': fds})
    close_all(fds)
    assert not os.path.exists('/sys/class/net/t0')
    assert not ping(vm, tries=1)
    address(vm, '1.2')
    assert ping(vm, '10.0.1.1')
    transfer(vm, '10.0.1.1')
    check_clean(vm)
    assert vm.close() == 0


def test_hotplug(start):
    """Cards come and go while the guest floods them; and a tap is deleted under one."""
    vm = start(cpus=2, memory=384 << 20)
    boot(vm)
    for i in range(4):
        fds = open_tap(f't{i}', 1, 'br0')
        vm.add('virtio-net', f'net{i}', slot=U32(5), fds=fds, mac=MAC)
        close_all(fds)
        vm.shell('while [ ! -e /sys/class/net/eth0 ]; do usleep 20000; done')
        address(vm)
        assert ping(vm)
        vm.shell('(while ping -c 1 -W 1 10.0.0.1 >/dev/null; do :; done; dd if=/dev/zero bs=60000 | nc -u 10.0.0.1 9) >/dev/null 2>&1 & sleep 0.2')
        if i % 2:
            run('ip', 'link', 'del', f't{i}')
            vm.shell('while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 20000; done')
        vm.remove(f'net{i}')
        vm.wait_signal('DeviceRemoved', f'net{i}')
        vm.shell('[ ! -e /sys/class/net/eth0 ]; killall nc ping 2>/dev/null || true')
        assert not os.path.exists(f'/sys/class/net/t{i}')
    check_clean(vm)
    assert vm.close() == 0


def test_plain_driver(start):
    """No offloads: whole packets with whole checksums."""
    fds = open_tap('t0', 1, 'br0')
    vm = start(memory=384 << 20, devices=[net('net0', fds, offloads=False)])
    close_all(fds)
    boot(vm)
    address(vm)
    transfer(vm, streams=1)
    assert vm.close() == 0


def test_passt(start):
    if not shutil.which('passt'):
        print('test_passt: no passt here (package passt)')
        return
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o777)
        passt = subprocess.Popen(['passt', '--foreground', '--socket', f'{d}/s', '--quiet'])
        client = socket.socket(socket.AF_UNIX)
        for _ in range(100):
            try:
                client.connect(f'{d}/s')
                break
            except OSError:
                time.sleep(0.05)
        vm = start(memory=384 << 20, devices=[{'driver': 'virtio-net', 'id': 'net0', 'passt': Fd(client.fileno()), 'mac': MAC}])
        client.close()
        boot(vm)
        vm.shell('ip link set eth0 up; udhcpc -q -n -i eth0 -s /bin/true; ip addr add 192.0.2.1/24 dev eth0; ip route add default via 192.0.2.254')
        # To the guest with an input that does not end: Debian 12's passt sends data twice, at wrong places of the stream, to a guest that has closed its
        # half of the connection before they come.
        data = os.urandom(2 << 20)
        taker, giver = Peer(1), Peer(1, data)
        digest = vm.shell('dd if=/dev/urandom of=/tmp/data bs=1000 count=2000 2>/dev/null; sha256sum </tmp/data').split()[0]
        vm.shell(f'nc 192.0.2.254 {taker.port} </tmp/data')
        taker.join(60)
        assert taker.digests == [digest], taker.digests
        got = vm.shell(f'mkfifo /tmp/never; sleep 100000 >/tmp/never & nc 192.0.2.254 {giver.port} </tmp/never | sha256sum').split()[0]
        assert got == hashlib.sha256(data).hexdigest()
        passt.kill()
        passt.wait()
        vm.shell('while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 20000; done')
        assert 'passt has closed the connection' in vm.log_text()
        check_clean(vm)
        assert vm.close() == 0


def resident(vm):
    with open(f'/proc/{vm.process.pid}/status') as f:
        return int(next(line for line in f if line.startswith('RssShmem')).split()[1]) << 10


def wait_for(what, condition, timeout=30):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


def test_balloon(start):
    memory = 768 << 20
    half = memory // 2
    vm = start(memory=memory, cpus=2, devices=[{'driver': 'virtio-balloon', 'id': 'balloon0', 'free-page-reporting': True, 'stats-interval': U32(1)}])
    boot(vm)

    def stats():
        return vm.call('GetDeviceStats', 'balloon0')

    wait_for(stats, lambda: 'free-memory' in stats())
    assert stats()['actual'] == memory and abs(stats()['total-memory'] - memory) < memory // 4, stats()
    # Free pages go back by themselves.
    vm.shell('dd if=/dev/zero of=/tmp/fill bs=1M count=120 2>/dev/null')
    full = resident(vm)
    assert full > 120 << 20, full
    vm.shell('rm /tmp/fill')
    wait_for(lambda: resident(vm), lambda: resident(vm) < full - (80 << 20))
    # Half, and back, while the guest runs programs; what it has in memory stays what it is.
    kept = vm.shell('dd if=/dev/urandom of=/tmp/keep bs=1M count=30 2>/dev/null; sha256sum </tmp/keep')
    vm.shell('(while :; do ls -lR /sys/devices | sha256sum; done) >/tmp/sums 2>&1 & :')
    for i in range(2):
        vm.call('SetDevice', 'balloon0', {'target': half})
        wait_for(stats, lambda: stats()['actual'] == half)
        assert vm.shell('sha256sum </tmp/keep') == kept
        free = int(vm.shell("awk '/MemFree/ { print $2 }' /proc/meminfo")) << 10
        assert free < half, free
        assert resident(vm) < half + (32 << 20), resident(vm)
        vm.call('SetDevice', 'balloon0', {'target': memory})
        wait_for(stats, lambda: stats()['actual'] == memory)
        assert vm.shell('sha256sum </tmp/keep') == kept
    sums = vm.shell('sort -u /tmp/sums | head -n 3 | cut -c 1-64; kill %1 2>/dev/null || true')
    assert sums, sums
    last = stats()['last-update']
    wait_for(stats, lambda: stats()['last-update'] > last)
    check_clean(vm)
    assert vm.close() == 0


def test_serial(start):
    with tempfile.TemporaryDirectory() as d:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f'{d}/agent')
        listener.listen(4)
        master, slave = os.openpty()
        tty.setraw(slave)
        vm = start(devices=[{'driver': 'virtio-serial', 'id': 'serial0'},
                            {'driver': 'serialport', 'id': 'console0', 'bus': 'serial0', 'nr': U32(0), 'console': True, 'fd': Fd(master), 'hold': Fd(slave)},
                            {'driver': 'serialport', 'id': 'channel0', 'bus': 'serial0', 'nr': U32(1), 'name': 'org.example.0', 'listen': True,
                             'fd': Fd(listener.fileno())}])
        listener.close()
        os.close(master)
        boot(vm)
        assert vm.shell('cat /sys/class/virtio-ports/vport0p1/name') == 'org.example.0'
        # An echo in the guest. It sees the end of the file when nobody is connected, and keeps the port open: Linux throws away what it has queued in a
        # port that is closed, so that a client which comes between the end of the file and the close would lose what it sent.
        vm.shell('(exec 3<>/dev/vport0p1; while :; do cat <&3 >&3; usleep 20000; done) & :')
        data = os.urandom(1 << 20)
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(30)
            client.connect(f'{d}/agent')
            sender = threading.Thread(target=client.sendall, args=(data,))
            sender.start()
            got = b''
            while len(got) < len(data):
                block = client.recv(65536)
                assert block, len(got)
                got += block
            sender.join()
            assert got == data
            client.close()
        # A port that nobody reads on the host stops its writer only.
        client = socket.socket(socket.AF_UNIX)
        client.connect(f'{d}/agent')
        client.sendall(data)
        time.sleep(0.5)
        assert vm.shell('echo alive') == 'alive'
        client.close()
        # The console, with nobody there at first.
        vm.shell('head -c 200000 /dev/zero | tr "\\0" x >/dev/hvc0; echo the end >/dev/hvc0', timeout=10)
        vm.shell('(echo ready; read line; echo "heard $line") </dev/hvc0 >/dev/hvc0 & :')
        text = b''
        while b'ready' not in text:
            text += os.read(slave, 65536)
        assert b'the end' in text
        os.write(slave, b'hello\n')
        while b'heard hello' not in text:
            text += os.read(slave, 65536)
        # Ports come and go.
        a, b = socket.socketpair()
        vm.add('serialport', 'channel1', bus='serial0', nr=U32(5), name='org.example.1', fd=Fd(a.fileno()))
        a.close()
        vm.shell('while [ ! -e /dev/vport0p5 ]; do usleep 20000; done; echo word >/dev/vport0p5')
        b.settimeout(10)
        assert b.recv(100) == b'word\n'
        vm.remove('channel1')
        vm.wait_signal('DeviceRemoved', 'channel1')
        vm.shell('while [ -e /dev/vport0p5 ]; do usleep 20000; done')
        assert b.recv(100) == b''
        check_clean(vm)
        assert vm.close() == 0
        os.close(slave)


if os.geteuid() != 0 or not make_network():
    print('SKIP: taps in a network namespace need root and /dev/net/tun')
    sys.exit(77)
main(globals(), MODULES)
