# SPDX-License-Identifier: GPL-2.0-or-later
"""What guests reach by their cards: on isolated networks and ports, by Ethernet devices, macvtap and passt. Two small Linux guests serve all tests."""
import os
import re
import subprocess
import sys

import libvirt
import pytest

import harness
import netns
from harness import Console, raises, wait_until
from netns import serve

pytestmark = [pytest.mark.domus, pytest.mark.debian, pytest.mark.skipif(netns.missing() is not None, reason=str(netns.missing()))]

MODULES = ['drivers/virtio/virtio_ring', 'drivers/virtio/virtio', 'drivers/virtio/virtio_pci_legacy_dev', 'drivers/virtio/virtio_pci_modern_dev',
           'drivers/virtio/virtio_pci', 'net/core/failover', 'drivers/net/net_failover', 'drivers/net/virtio_net']
DHCP = '#!/bin/sh\n[ "$1" = bound ] || exit 0\nip address add $ip/$mask dev $interface\n[ -z "$router" ] || { ip route add $router dev $interface; ip route add default via $router; }\n'
SENDER = '''
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(open(sys.argv[3], 'rb').read())
s.recv(1)
'''
MAC = {'one': '52:54:00:00:01:01', 'two': '52:54:00:00:01:02'}


class Guest:
    """A Linux guest whose shell is on its console; its card comes and goes."""
    def __init__(self, site, name):
        self.site, self.name, self.mac = site, name, MAC[name]
        self.dom = site.conn.defineXML(harness.domain_xml(name, site.kernel, initrd=site.initrd, cmdline='console=ttyS0 quiet', memory=128))
        self.dom.create()
        self.console = Console(self.dom)
        self.console.expect(b'domus-guest# ')
        self.card = None

    def sh(self, command, ok=True):
        """What the command prints; None if it fails, which must be ok."""
        # The shell echoes what it reads: the marks are not in it as they are printed.
        self.console.send(f"printf '<<%s>>' on; {command}; printf '<<%s>>' $?\n")
        self.console.expect(b'<<on>>')
        output = self.console.expect(b'<<')[:-2]
        status = self.console.expect(b'>>')
        assert not ok or status == b'0>>', f'{command}: {output}'
        return output.decode().replace('\r', '').strip() if status == b'0>>' else None

    def plug(self, kind, body):
        self.card = f"<interface type='{kind}'><mac address='{self.mac}'/>{body}</interface>"
        self.dom.attachDevice(self.card)
        self.sh('until [ -e /sys/class/net/eth0 ]; do usleep 20000; done; ip link set eth0 up')

    def unplug(self):
        if not self.card:
            return
        self.dom.detachDevice(self.card)
        wait_until(lambda: self.mac not in self.dom.XMLDesc(), what='the removal')
        self.sh('while [ -e /sys/class/net/eth0 ]; do usleep 20000; done')
        self.card = None

    def lease(self):
        self.sh('udhcpc -q -n -f -t 30 -T 1 -i eth0 -s /dhcp >/dev/null 2>&1')
        return re.search(r'inet ([\d.]+)/', self.sh('ip -4 address show dev eth0'))[1]

    def address(self, address):
        self.sh(f'ip address add {address}/24 dev eth0')

    def pings(self, address, tries=1):
        """A link that came up carries packets a little later; so what shall be reached is tried more often."""
        return any(self.sh(f'ping -c 1 -W 2 {address} >/dev/null', ok=False) is not None for _ in range(tries))

    def device(self):
        return re.search(r"<target dev='([^']+)'", self.dom.XMLDesc())[1]

    def close(self):
        self.console.close()
        self.dom.destroy()
        self.dom.undefine()


class Site:
    """The host, and a neighbour outside."""
    def __init__(self, work, guests):
        self.daemon = netns.NetDaemon(work / 'test_guest_networks')
        self.host, self.outside = self.daemon.namespace, netns.Namespace()
        self.guests, self.conn = [], None
        self.kernel = guests.linux
        tree = guests.linux_tree
        script = ''.join(f'busybox insmod /lib/modules/{m.rpartition("/")[2]}.ko\n' for m in MODULES)
        files = [f'{tree}/modules/kernel/{m}.ko=/lib/modules/{m.rpartition("/")[2]}.ko' for m in MODULES]
        test, dhcp = guests.write('net-test', f'#!/bin/sh\n{script}stty -F /dev/ttyS0 -onlcr\n'.encode()), guests.write('dhcp', DHCP.encode())
        for f in (test, dhcp):
            f.chmod(0o755)
        self.initrd = guests.initrd('net-initrd', f'{test}=/etc/domus-test', f'{dhcp}=/dhcp', *files)

    def start(self):
        self.host.connect('up0', self.outside, 'eth0')
        for ns, n, device in ((self.host, 1, 'up0'), (self.outside, 2, 'eth0')):
            ns.run('ip', 'address', 'add', f'10.99.0.{n}/24', 'dev', device)
        # One that is not the host's router, which passt takes for the host itself.
        self.outside.run('ip', 'address', 'add', '10.99.0.3/24', 'dev', 'eth0')
        self.outside.run('ip', 'route', 'add', 'default', 'via', '10.99.0.1')
        self.host.run('ip', 'route', 'add', 'default', 'via', '10.99.0.2')
        self.daemon.start()
        self.conn = self.daemon.open()
        for name, n in (('lan', 50), ('other', 51)):
            self.conn.networkCreateXML(f"<network><name>{name}</name><bridge name='{name}0'/><ip address='192.168.{n}.1' prefix='24'><dhcp>"
                                       f"<range start='192.168.{n}.10' end='192.168.{n}.99'/></dhcp></ip></network>")
        self.guests = [Guest(self, name) for name in MAC]

    def close(self):
        for g in self.guests:
            g.close()
        if self.conn:
            self.conn.close()
        self.daemon.cleanup()
        self.outside.close()
        self.host.close()


@pytest.fixture(scope='module')
def site(work, guests):
    s = Site(work, guests)
    try:
        s.start()
        yield s
    finally:
        s.close()


@pytest.fixture
def daemon(site):
    return site.daemon


@pytest.fixture
def pair(site, daemon):
    """Both guests, without cards before and after."""
    yield site.guests
    for g in site.guests:
        g.unplug()


def test_isolated_network(site, pair):
    """They reach each other and the host, and nothing else."""
    one, two = pair
    one.plug('network', "<source network='lan'/>")
    two.plug('network', "<source network='lan'/>")
    addresses = one.lease(), two.lease()
    for g in pair:
        g.sh('ip route add default via 192.168.50.1')
    assert one.pings(addresses[1], 10) and two.pings(addresses[0], 10) and one.pings('192.168.50.1', 10)
    assert not one.pings('10.99.0.2') and not two.pings('10.99.0.2')
    two.unplug()
    two.plug('network', "<source network='other'/>")
    there = two.lease()
    two.sh('ip route add default via 192.168.51.1')
    assert two.pings('192.168.51.1', 10)
    assert not one.pings(there) and not two.pings(addresses[0])
    assert one.pings('192.168.50.1')


def test_another_network_while_running(site, pair):
    one, two = pair
    one.plug('network', "<source network='other'/>")
    two.plug('network', "<source network='lan'/>")
    one.address('192.168.50.201')
    two.address('192.168.50.202')
    assert two.pings('192.168.50.1', 10) and not one.pings('192.168.50.202')
    one.dom.updateDeviceFlags(one.card.replace("'other'", "'lan'"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert one.pings('192.168.50.202', 10)
    assert "network='lan'" in one.dom.XMLDesc() and "bridge='lan0'" in one.dom.XMLDesc()


@pytest.mark.parametrize('kind,source', [('network', "<source network='lan'/>"), ('bridge', "<source bridge='lan0'/>")])
def test_isolated_ports(site, pair, kind, source):
    """The host is reached, another isolated port is not; one that is not isolated is."""
    one, two = pair
    one.plug(kind, source + "<port isolated='yes'/>")
    two.plug(kind, source + "<port isolated='yes'/>")
    one.address('192.168.50.201')
    two.address('192.168.50.202')
    assert one.pings('192.168.50.1', 10) and two.pings('192.168.50.1', 10)
    assert not one.pings('192.168.50.202') and not two.pings('192.168.50.201')
    two.unplug()
    two.plug(kind, source)
    two.address('192.168.50.202')
    assert one.pings('192.168.50.202', 10) and two.pings('192.168.50.201', 10)


# --- Ethernet devices ---

def test_ethernet(site, pair):
    """The daemon makes the device, and what is done with it is the host's business."""
    one, two = pair
    one.plug('ethernet', "<target dev='eth-one'/><mtu size='1400'/>")
    assert 'eth-one' in site.host.links()
    site.host.sh('ip address add 192.168.60.1/24 dev eth-one')
    one.address('192.168.60.2')
    assert one.pings('192.168.60.1', 10) and one.sh('cat /sys/class/net/eth0/mtu') == '1400'
    assert 'File exists' in raises(libvirt.VIR_ERR_SYSTEM_ERROR, two.dom.attachDevice, "<interface type='ethernet'><target dev='eth-one'/></interface>")
    one.unplug()
    assert 'eth-one' not in site.host.links()
    two.plug('ethernet', '')
    assert two.device().startswith('vnet')


@pytest.mark.parametrize('make', ['ip tuntap add name theirs mode tap', 'ip tuntap add name theirs mode tap multi_queue',
                                  'ip link add link up0 name theirs type macvtap mode bridge'])
def test_unmanaged_ethernet(site, pair, make):
    """Somebody else's device is used as it is, and stays; also when another daemon takes over meanwhile."""
    one, two = pair
    site.host.sh(f'{make}; ip link set theirs up')
    before = site.host.run('ip', 'link', 'show', 'theirs').stdout.split('link/')[1]
    try:
        if 'macvtap' in make:
            one.mac = before.split()[1]  # a macvtap passes what is for its own address only
        one.plug('ethernet', "<target dev='theirs' managed='no'/>")
        if 'macvtap' in make:
            one.address('10.99.0.9')
            assert one.pings('10.99.0.2', 10)
        else:
            site.host.sh('ip address add 192.168.61.1/24 dev theirs')
            one.address('192.168.61.2')
            assert one.pings('192.168.61.1', 10)
        busy = "<interface type='ethernet'><target dev='theirs' managed='no'/></interface>"
        assert "'theirs' is in use by domain 'one'" in raises(libvirt.VIR_ERR_OPERATION_FAILED, two.dom.attachDevice, busy)
        one.unplug()
        assert site.host.run('ip', 'link', 'show', 'theirs').stdout.split('link/')[1] == before
        assert 'qdisc htb' not in site.host.run('tc', 'qdisc', 'show', 'dev', 'theirs').stdout
    finally:
        one.unplug()
        one.mac = MAC['one']
        site.host.sh('ip link del theirs')
    missing = raises(libvirt.VIR_ERR_OPERATION_FAILED, two.dom.attachDevice, busy)
    assert "there is no interface 'theirs'" in missing


# --- macvtap ---

def test_device_in_use_stays(site, pair, virsh):
    """The device below a guest's macvtap cannot be taken out of its network."""
    one, _ = pair
    site.host.sh('ip link add down0 type bridge; ip link set down0 up')
    net = site.conn.networkCreateXML("<network><name>direct</name><forward mode='bridge'><interface dev='up0'/><interface dev='down0'/></forward></network>")
    try:
        one.plug('network', "<source network='direct'/>")
        one.address('10.99.0.9')
        assert one.pings('10.99.0.2', 10)
        p = virsh('net-update', 'direct', 'delete', 'forward-interface', "<interface dev='up0'/>", '--live', ok=False)
        assert "interface 'up0' of network 'direct' is in use by domain 'one'" in p.stderr
        assert one.pings('10.99.0.2')
        virsh('net-update', 'direct', 'delete', 'forward-interface', "<interface dev='down0'/>", '--live')
    finally:
        one.unplug()
        net.destroy()
        site.host.sh('ip link del down0')


# --- passt ---

@pytest.mark.skipif(subprocess.run(['sh', '-c', 'command -v passt'], capture_output=True).returncode != 0, reason='no passt here (package passt)')
def test_passt(site, pair):
    """The guest speaks as a program of the host, and the host's forwarded ports lead into it."""
    one, _ = pair
    one.plug('user', "<backend type='passt'/><ip family='ipv4' address='172.17.2.4' prefix='24'/><portForward proto='tcp' address='10.99.0.1'>"
                     "<range start='2000' to='7000'/><range start='2100' end='2105' to='7100'/><range start='2103' exclude='yes'/></portForward>")
    assert one.lease() == '172.17.2.4'
    # An input that does not end: Debian 12's passt sends data twice, at wrong places of the stream, when the guest has closed its half before they come.
    one.sh('mkfifo /tmp/never; sleep 100000 >/tmp/never & :')
    serve(site.outside)
    assert one.sh('nc 10.99.0.3 7000 </tmp/never').split()[0] == '10.99.0.1'
    data = os.urandom(500000).hex().encode()
    (site.daemon.dir / 'data').write_bytes(data)
    want = harness.run('sha256sum', site.daemon.dir / 'data').stdout.split()[0]
    for outer, inner in ((2000, 7000), (2104, 7104)):
        one.sh(f'nc -l -p {inner} </tmp/never | head -c {len(data)} | sha256sum >/tmp/sum{inner} & until netstat -ltn | grep -q :{inner}; do usleep 50000; done')
        sender = site.outside.spawn(sys.executable, '-c', SENDER, '10.99.0.1', outer, site.daemon.dir / 'data')
        one.sh(f'until [ -s /tmp/sum{inner} ]; do usleep 50000; done')
        assert one.sh(f'cat /tmp/sum{inner}').split()[0] == want
        sender.kill()
        one.sh('killall nc; :')
    for closed in (2103, 7000):
        assert site.outside.run('busybox', 'nc', '-w', '5', '10.99.0.1', str(closed), ok=False).returncode != 0
