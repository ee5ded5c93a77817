# SPDX-License-Identifier: GPL-2.0-or-later
"""What networks do with packets: DHCP, DNS, NAT, isolation, bandwidth; and that they go on when the daemon or a dnsmasq dies.

A host with the daemon, a neighbour outside behind an uplink, and guests in network namespaces of their own.
"""
import os
import signal
import socket
import time

import libvirt
import pytest

import harness
import netns
from netns import dns, seen_as, serve, throughput

pytestmark = [pytest.mark.domus, pytest.mark.skipif(netns.missing() is not None, reason=str(netns.missing()))]

LIVE, CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
ADD, DELETE, MODIFY = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY
MAC = '52:54:00:00:00:0{}'


def net_xml(name, forward='', body='', dhcp="<range start='192.168.{n}.10' end='192.168.{n}.99'/>", n=50):
    dhcp = dhcp and dhcp.format(n=n)
    ip = f"<ip address='192.168.{n}.1' prefix='24'><dhcp>{dhcp}</dhcp></ip>" if dhcp else f"<ip address='192.168.{n}.1' prefix='24'/>"
    return f"<network><name>{name}</name>{forward}<bridge name='{name}br' stp='off'/>{body}{ip}</network>"


NAT = "<forward mode='nat'/>"


class Site:
    """The host, and a neighbour that knows no way to the guests."""
    def __init__(self, work):
        self.daemon = netns.NetDaemon(work / 'test_network_traffic')
        self.host, self.outside = self.daemon.namespace, netns.Namespace()
        self.host.connect('up0', self.outside, 'eth0')
        self.host.run('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'up0')
        self.host.run('ip', 'address', 'add', 'fd99::1/64', 'dev', 'up0', 'nodad')
        self.outside.run('ip', 'address', 'add', '10.99.0.2/24', 'dev', 'eth0')
        self.outside.run('ip', 'address', 'add', 'fd99::2/64', 'dev', 'eth0', 'nodad')
        serve(self.outside)
        self.guests = []

    def guest(self, bridge, number):
        g = netns.Guest(self.host, bridge, MAC.format(number), f'g{len(self.guests)}', self.daemon.dir)
        self.guests.append(g)
        return g

    def drop_guests(self):
        for g in self.guests:
            g.close()
            self.host.run('ip', 'link', 'del', g.device, ok=False)
        self.guests.clear()


@pytest.fixture(scope='module')
def site(work):
    s = Site(work)
    try:
        s.daemon.start()
        yield s
    finally:
        s.daemon.cleanup()
        s.outside.close()
        s.host.close()


@pytest.fixture
def daemon(site):
    return site.daemon


@pytest.fixture
def conn(site):
    c = site.daemon.open()
    yield c
    c.close()
    site.drop_guests()
    netns.remove_networks(site.daemon.open())


# --- DHCP ---

def test_dhcp(site, conn, virsh):
    net = conn.networkCreateXML(net_xml('net', NAT, "<domain name='example.test'/><mtu size='1400'/>",
                                        "<range start='192.168.50.10' end='192.168.50.99'/><host mac='52:54:00:00:00:02' name='two' ip='192.168.50.5'/>"))
    one, two = site.guest('netbr', 1), site.guest('netbr', 2)
    lease = one.dhcp(hostname='eins')
    assert 10 <= int(lease['ip'].split('.')[3]) <= 99
    assert (lease['mask'], lease['router'], lease['dns'], lease['domain'], lease['mtu']) == ('24', '192.168.50.1', '192.168.50.1', 'example.test', '1400')
    assert two.dhcp()['ip'] == '192.168.50.5'
    leases = {x['mac']: x for x in net.DHCPLeases()}
    assert set(leases) == {one.mac, two.mac}
    mine = leases[one.mac]
    assert (mine['ipaddr'], mine['prefix'], mine['hostname'], mine['iface']) == (lease['ip'], 24, 'eins', 'netbr')
    assert 0 < mine['expirytime'] - time.time() <= 3600
    assert [x['ipaddr'] for x in net.DHCPLeases(two.mac.upper())] == ['192.168.50.5']
    assert net.DHCPLeases(MAC.format(9)) == []
    assert lease['ip'] in virsh('net-dhcp-leases', 'net').stdout and 'two' in virsh('net-dhcp-leases', 'net', two.mac).stdout


def test_lease_time_and_only_static(site, conn):
    net = conn.networkCreateXML(net_xml('net', NAT, dhcp="<host mac='52:54:00:00:00:01' ip='192.168.50.5'><lease expiry='0'/></host>"
                                                         "<host mac='52:54:00:00:00:02' ip='192.168.50.6'><lease expiry='10' unit='minutes'/></host>"))
    one, two, other = (site.guest('netbr', i) for i in (1, 2, 3))
    assert one.dhcp()['ip'] == '192.168.50.5' and two.dhcp()['ip'] == '192.168.50.6'
    leases = {x['ipaddr']: x['expirytime'] for x in net.DHCPLeases()}
    assert leases['192.168.50.5'] == 0 and leases['192.168.50.6'] - time.time() < 601
    assert other.dhcp(timeout=2) is None


def test_update_while_active(site, conn):
    net = conn.networkDefineXML(net_xml('net', NAT))
    net.create()
    one, two = site.guest('netbr', 1), site.guest('netbr', 2)
    pid = site.daemon.dnsmasq_pids()
    net.update(ADD, libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, "<host mac='52:54:00:00:00:01' name='one' ip='192.168.50.5'/>", LIVE | CONFIG)
    assert one.dhcp()['ip'] == '192.168.50.5'
    net.update(ADD, libvirt.VIR_NETWORK_SECTION_DNS_HOST, -1, "<host ip='192.168.50.77'><hostname>new.test</hostname></host>", LIVE)
    harness.wait_until(lambda: dns(one, '192.168.50.1', 'new.test') == (0, [socket.inet_aton('192.168.50.77')]), what='new name')
    assert site.daemon.dnsmasq_pids() == pid, 'hosts change without a restart'
    net.update(DELETE, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE, -1, "<range start='192.168.50.10' end='192.168.50.99'/>", LIVE)
    net.update(ADD, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE, -1, "<range start='192.168.50.200' end='192.168.50.201'/>", LIVE)
    assert two.dhcp()['ip'] in ('192.168.50.200', '192.168.50.201')
    assert site.daemon.dnsmasq_pids() != pid
    net.update(ADD, libvirt.VIR_NETWORK_SECTION_DNS_TXT, -1, "<txt name='late.test' value='yes'/>", LIVE)
    assert dns(one, '192.168.50.1', 'late.test', 'TXT') == (0, [b'\x03yes'])


# --- DNS ---

def test_dns(site, conn):
    conn.networkCreateXML(net_xml('net', NAT, """<domain name='example.test' localOnly='yes'/>
        <dns><txt name='note.test' value='a, "b"; c'/><srv service='ldap' protocol='tcp' domain='example.test' target='srv.test' port='389' priority='1' weight='2'/>
        <host ip='192.168.50.77'><hostname>named</hostname><hostname>alias.test</hostname></host>
        <host ip='fd00::77'><hostname>named</hostname></host></dns>"""))
    g = site.guest('netbr', 1)
    lease = g.dhcp(hostname='guest')
    address = socket.inet_aton('192.168.50.77')
    assert dns(g, '192.168.50.1', 'named') == (0, [address]) == dns(g, '192.168.50.1', 'named.example.test') == dns(g, '192.168.50.1', 'alias.test')
    assert dns(g, '192.168.50.1', 'named', 'AAAA') == (0, [socket.inet_pton(socket.AF_INET6, 'fd00::77')])
    assert dns(g, '192.168.50.1', 'note.test', 'TXT') == (0, [b'\x09a, "b"; c'])
    code, srv = dns(g, '192.168.50.1', '_ldap._tcp.example.test', 'SRV')
    assert code == 0 and srv[0].startswith(bytes([0, 1, 0, 2, 1, 133]))
    assert dns(g, '192.168.50.1', 'guest.example.test') == (0, [socket.inet_aton(lease['ip'])])
    assert dns(g, '192.168.50.1', 'unknown.example.test')[0] == 3


def test_dns_off_and_forwarder(site, conn):
    conn.networkCreateXML(net_xml('net', NAT, "<dns enable='no'/>"))
    g = site.guest('netbr', 1)
    g.dhcp()
    assert dns(g, '192.168.50.1', 'named', attempts=1) is None
    conn.networkCreateXML(net_xml('far', NAT, "<dns><host ip='1.2.3.4'><hostname>far.test</hostname></host></dns>", n=51, dhcp=None))
    conn.networkCreateXML(net_xml('near', NAT, "<dns><forwarder domain='test' addr='192.168.51.1'/></dns>", n=52, dhcp=None))
    h = site.guest('nearbr', 2)
    h.address('192.168.52.9/24')
    assert dns(h, '192.168.52.1', 'far.test') == (0, [socket.inet_aton('1.2.3.4')])


# --- Who reaches whom ---

def test_nat(site, conn):
    conn.networkCreateXML(net_xml('net', NAT))
    one, two = site.guest('netbr', 1), site.guest('netbr', 2)
    one.dhcp()
    address = two.dhcp()['ip']
    assert seen_as(one, '10.99.0.2')[0] == '10.99.0.1'
    assert one.pings('10.99.0.2') and one.pings(address) and one.pings('192.168.50.1')
    site.outside.sh('ip route add 192.168.50.0/24 via 10.99.0.1')
    try:
        serve(one)
        assert seen_as(site.outside, address_of(one)) is None, 'a guest behind NAT is not reached from outside'
        assert seen_as(two, address_of(one))[0] == address
    finally:
        site.outside.sh('ip route del 192.168.50.0/24')


def address_of(guest):
    return guest.run('ip', '-4', '-o', 'address', 'show', 'eth0').stdout.split()[3].split('/')[0]


def test_nat_addresses_and_ports(site, conn):
    site.host.sh('ip address add 10.99.0.50/24 dev up0')
    try:
        conn.networkCreateXML(net_xml('net', "<forward mode='nat' dev='up0'><nat><address start='10.99.0.50' end='10.99.0.50'/>"
                                             "<port start='4000' end='4009'/></nat></forward>"))
        g = site.guest('netbr', 1)
        g.dhcp()
        address, port = seen_as(g, '10.99.0.2')
        assert address == '10.99.0.50' and 4000 <= int(port) <= 4009
        assert g.pings('10.99.0.2')
    finally:
        site.host.sh('ip address del 10.99.0.50/24 dev up0')


def test_port_forwarding(site, conn):
    conn.networkCreateXML(net_xml('net', """<forward mode='nat'><nat><portForward proto='tcp' target='192.168.50.5'><range start='2000' end='2001' to='7000'/>
        <range start='7000'/></portForward><portForward proto='tcp' address='10.99.0.9' target='192.168.50.5'><range start='3000' to='7000'/></portForward>
        <portForward proto='tcp' dev='up7' target='192.168.50.5'><range start='4000' to='7000'/></portForward></nat></forward>"""))
    g = site.guest('netbr', 1)
    g.address('192.168.50.5/24', router='192.168.50.1')
    serve(g)
    site.host.sh('ip address add 10.99.0.9/24 dev up0')
    try:
        assert seen_as(site.outside, '10.99.0.1', 2000)[0] == '10.99.0.2' == seen_as(site.outside, '10.99.0.1')[0]
        assert seen_as(site.outside, '10.99.0.9', 3000)[0] == '10.99.0.2' and seen_as(site.outside, '10.99.0.1', 3000) is None
        assert seen_as(site.outside, '10.99.0.1', 4000) is None
        assert seen_as(site.host, '10.99.0.1', 2000) is not None, 'from the host itself'
        assert seen_as(g, '10.99.0.2')[0] == '10.99.0.1'
    finally:
        site.host.sh('ip address del 10.99.0.9/24 dev up0')


def test_nat_of_ipv6(site, conn):
    ip6 = "<ip family='ipv6' address='fd50::1' prefix='64'><dhcp><range start='fd50::100' end='fd50::1ff'/></dhcp></ip>"
    conn.networkCreateXML(net_xml('net', "<forward mode='nat'><nat ipv6='yes'/></forward>", ip6))
    g = site.guest('netbr', 1)
    g.address('fd50::9/64', router='fd50::1')
    harness.wait_until(lambda: g.pings('fd50::1'), what='the host')
    serve6(site.outside)
    assert seen_as(g, 'fd99::2', 7006)[0] == 'fd99::1'


def serve6(namespace):
    p = namespace.spawn('python3', '-c', netns.SERVER.replace("(('', int(sys.argv[1])))", "(('::', int(sys.argv[1])), family=socket.AF_INET6)"), 7006)
    assert p.stdout.readline() == 'ready\n'


def test_route(site, conn):
    conn.networkCreateXML(net_xml('net', "<forward mode='route'/>"))
    g = site.guest('netbr', 1)
    g.dhcp()
    assert not g.pings('10.99.0.2', timeout=1)
    site.outside.sh('ip route add 192.168.50.0/24 via 10.99.0.1')
    try:
        assert seen_as(g, '10.99.0.2')[0] == address_of(g)
        serve(g)
        assert seen_as(site.outside, address_of(g))[0] == '10.99.0.2'
    finally:
        site.outside.sh('ip route del 192.168.50.0/24')


def test_open(site, conn):
    conn.networkCreateXML(net_xml('net', "<forward mode='open'/>"))
    g = site.guest('netbr', 1)
    g.dhcp()
    site.outside.sh('ip route add 192.168.50.0/24 via 10.99.0.1')
    try:
        assert seen_as(g, '10.99.0.2')[0] == address_of(g) and 'domus' not in site.host.rules()
    finally:
        site.outside.sh('ip route del 192.168.50.0/24')


def test_isolated(site, conn):
    conn.networkCreateXML(net_xml('net'))
    conn.networkCreateXML(net_xml('other', NAT, n=51))
    one, two, third = site.guest('netbr', 1), site.guest('netbr', 2), site.guest('otherbr', 3)
    lease = one.dhcp()
    assert lease['router'] == 'none'
    two.dhcp()
    third.address('192.168.51.9/24', router='192.168.51.1')
    one.sh('ip route add default via 192.168.50.1')
    assert one.pings(address_of(two)) and one.pings('192.168.50.1')
    assert not one.pings('10.99.0.2', timeout=1) and not one.pings('192.168.51.9', timeout=1)
    assert third.pings('10.99.0.2') and not third.pings(address_of(one), timeout=1)


# --- Bandwidth ---

def test_network_bandwidth(site, conn):
    conn.networkCreateXML(net_xml('net', NAT, "<bandwidth><inbound average='4000' burst='64'/><outbound average='2000' burst='64'/></bandwidth>"))
    g = site.guest('netbr', 1)
    g.dhcp()
    into, out = throughput(site.host, g, address_of(g), 3600), throughput(g, site.host, '192.168.50.1', 1800)
    assert 3600 < into < 4400, into
    assert 1800 < out < 2200, out


# --- Restarts and deaths ---

def test_daemon_dies(site, conn):
    net = conn.networkDefineXML(net_xml('net', NAT))
    net.create()
    port = net.portCreateXML("<networkport><owner><name>vm</name><uuid>06578fc1-c686-46fa-bc2c-83893b466a6e</uuid></owner>"
                             "<mac address='52:54:00:00:00:01'/></networkport>").UUIDString()
    conn.networkCreateXML(net_xml('passing', n=51))
    g = site.guest('netbr', 1)
    lease = g.dhcp()
    pids, links = site.daemon.dnsmasq_pids(), site.host.links()
    site.daemon.stop(signal.SIGKILL)
    assert g.pings('10.99.0.2')
    site.host.sh('nft flush table inet domus')
    site.daemon.start()
    c = site.daemon.open()
    assert {n.name(): n.isActive() for n in c.listAllNetworks()} == {'net': 1, 'passing': 1}
    net = c.networkLookupByName('net')
    assert 'masquerade' in site.host.rules()
    assert site.daemon.dnsmasq_pids() == pids and site.host.links() == links
    assert [x['ipaddr'] for x in net.DHCPLeases()] == [lease['ip']] and [p.UUIDString() for p in net.listAllPorts()] == [port]
    assert dns(g, '192.168.50.1', 'unknown') is not None
    net.update(ADD, libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, "<host mac='52:54:00:00:00:01' ip='192.168.50.5'/>", LIVE)
    g.sh('ip address flush dev eth0')
    assert g.dhcp()['ip'] == '192.168.50.5'
    c.close()


def test_dnsmasq_dies(site, conn):
    conn.networkCreateXML(net_xml('net', NAT, "<dns><host ip='1.2.3.4'><hostname>h.test</hostname></host></dns>"))
    g = site.guest('netbr', 1)
    lease = g.dhcp()
    for _ in range(2):
        pid = site.daemon.dnsmasq_pids()[0]
        os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: (site.daemon.dnsmasq_pids() or [pid]) != [pid] and dns(g, '192.168.50.1', 'h.test'), what='another dnsmasq')
    assert 'dnsmasq' in site.daemon.log.read_text()
    g.sh('ip address flush dev eth0')
    assert g.dhcp()['ip'] == lease['ip'], 'leases are kept'


def test_dnsmasq_dies_while_nobody_looks(site, conn):
    conn.networkCreateXML(net_xml('net', NAT))
    g = site.guest('netbr', 1)
    g.dhcp()
    site.daemon.stop(signal.SIGKILL)
    pid = site.daemon.dnsmasq_pids()[0]
    os.kill(pid, signal.SIGKILL)
    site.daemon.start()
    harness.wait_until(lambda: site.daemon.dnsmasq_pids() not in ([], [pid]) and dns(g, '192.168.50.1', 'x') is not None, what='another dnsmasq')


def test_bridge_vanishes_while_nobody_looks(site, conn):
    conn.networkDefineXML(net_xml('net', NAT)).create()
    site.daemon.stop(signal.SIGKILL)
    pids = site.daemon.dnsmasq_pids()
    site.host.sh('ip link del netbr')
    site.daemon.start()
    c = site.daemon.open()
    net = c.networkLookupByName('net')
    assert not net.isActive() and 'domus' not in site.host.rules() and not netns.is_running(pids[0])
    net.create()
    c.close()


def test_autostart(site, conn):
    conn.networkDefineXML(net_xml('net', NAT)).setAutostart(1)
    site.daemon.stop()
    (site.daemon.dir / 'run/autostarted').unlink()
    site.daemon.start()
    c = site.daemon.open()
    net = c.networkLookupByName('net')
    harness.wait_until(net.isActive, what='autostart')
    net.destroy()
    c.close()
    site.daemon.restart(signal.SIGTERM)
    c = site.daemon.open()
    assert not c.networkLookupByName('net').isActive(), 'once per boot'
    c.close()
