# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks by stock clients: life cycle of every mode, updates, ports, events, errors."""
import re
import threading
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
import netns
from harness import raises

pytestmark = [pytest.mark.domus, pytest.mark.skipif(netns.missing() is not None, reason=str(netns.missing()))]

ERR = libvirt
DHCP = "<ip address='192.168.{n}.1' netmask='255.255.255.0'><dhcp><range start='192.168.{n}.10' end='192.168.{n}.99'/></dhcp></ip>"


def net_xml(name, forward='', body='', bridge=None, n=None):
    ip = DHCP.format(n=n) if n is not None else ''
    return f"<network><name>{name}</name>{forward}<bridge name='{bridge or name + 'br'}' stp='off'/>{body}{ip}</network>"


NAT = "<forward mode='nat'/>"


@pytest.fixture(scope='module')
def daemon(work):
    d = netns.NetDaemon(work / 'test_network')
    try:
        yield d.start()
    finally:
        d.cleanup()


@pytest.fixture
def host(daemon):
    return daemon.namespace


@pytest.fixture
def conn(daemon):
    c = daemon.open()
    yield c
    netns.remove_networks(c)
    assert daemon.process.poll() is None
    assert {i for i in daemon.namespace.links() if not i.startswith('ifb')} == {'lo'}, 'links are left'
    assert 'domus' not in daemon.namespace.rules()


# --- Life cycle ---

def check_life(conn, virsh, host, xml, name):
    conn.networkDefineXML(xml)
    assert virsh('net-list', '--all', '--name').stdout.split() == [name]
    before = host.links()
    virsh('net-start', name)
    info = virsh('net-info', name).stdout
    assert re.search(r'Active:\s+yes', info) and re.search(r'Persistent:\s+yes', info)
    assert 'already active' in raises(ERR.VIR_ERR_OPERATION_INVALID, conn.networkLookupByName(name).create)
    after = host.links()
    virsh('net-destroy', name)
    assert host.links() == before
    raises(ERR.VIR_ERR_OPERATION_INVALID, conn.networkLookupByName(name).destroy)
    virsh('net-start', name)
    virsh('net-destroy', name)
    virsh('net-undefine', name)
    assert virsh('net-list', '--all', '--name').stdout.split() == []
    return after - before


@pytest.mark.parametrize('mode', ['nat', 'route', 'open', 'isolated'])
def test_own_bridge(conn, virsh, host, mode):
    forward = '' if mode == 'isolated' else f"<forward mode='{mode}'/>"
    assert check_life(conn, virsh, host, net_xml('net', forward, n=50), 'net') == {'netbr'}


def test_host_bridge(conn, virsh, host):
    host.sh('ip link add br0 type bridge')
    try:
        xml = "<network><name>net</name><forward mode='bridge'/><bridge name='br0'/></network>"
        assert check_life(conn, virsh, host, xml, 'net') == set()
        net = conn.networkDefineXML(xml)
        assert net.bridgeName() == 'br0'
    finally:
        host.sh('ip link del br0')
    assert "there is no bridge 'br0'" in raises(ERR.VIR_ERR_OPERATION_FAILED, net.create)
    host.sh('ip link add br0 type veth peer name br1')
    try:
        assert "'br0' is not a bridge" in raises(ERR.VIR_ERR_OPERATION_FAILED, net.create)
    finally:
        host.sh('ip link del br0')


@pytest.mark.parametrize('mode', ['bridge', 'private', 'vepa', 'passthrough'])
def test_direct(conn, virsh, host, mode):
    host.sh('ip link add eth0 type veth peer name eth1')
    try:
        xml = f"<network><name>net</name><forward mode='{mode}'><interface dev='eth0'/></forward></network>"
        assert check_life(conn, virsh, host, xml, 'net') == set()
        raises(ERR.VIR_ERR_INTERNAL_ERROR, conn.networkDefineXML(xml).bridgeName)
    finally:
        host.sh('ip link del eth0')
    assert "there is no interface 'eth0'" in raises(ERR.VIR_ERR_OPERATION_FAILED, conn.networkLookupByName('net').create)


def test_ipv6_and_route(conn, host):
    xml = net_xml('net', NAT, "<ip family='ipv6' address='fd00:7::1' prefix='64'><dhcp><range start='fd00:7::100' end='fd00:7::1ff'/></dhcp></ip>"
                              "<ip address='192.168.7.1' prefix='24'/><mtu size='1400'/>"
                              "<route address='10.7.0.0' prefix='16' gateway='192.168.7.2' metric='3'/>"
                              "<route family='ipv6' address='fd00:8::' prefix='64' gateway='fd00:7::2'/>")
    net = conn.networkCreateXML(xml)
    assert not net.isPersistent()
    shown = host.run('ip', 'address', 'show', 'netbr').stdout
    assert 'inet 192.168.7.1/24 brd 192.168.7.255' in shown and 'inet6 fd00:7::1/64' in shown and 'mtu 1400' in shown
    assert '10.7.0.0/16 via 192.168.7.2 dev netbr' in host.run('ip', 'route').stdout
    assert 'fd00:8::/64 via fd00:7::2 dev netbr' in host.run('ip', '-6', 'route').stdout
    assert host.run('cat', '/proc/sys/net/ipv6/conf/all/forwarding').stdout == '1\n'
    net.destroy()
    assert conn.listAllNetworks() == []


def test_forwarding_only_where_wanted(conn, own_host):
    daemon, host = own_host
    c = daemon.open()
    host.sh('echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding')
    c.networkCreateXML(net_xml('a', n=50))
    assert host.run('cat', '/proc/sys/net/ipv4/ip_forward').stdout == '0\n'
    c.networkCreateXML(net_xml('b', NAT, n=51))
    assert host.run('cat', '/proc/sys/net/ipv4/ip_forward').stdout == '1\n'
    assert host.run('cat', '/proc/sys/net/ipv6/conf/all/forwarding').stdout == '0\n'
    assert host.run('cat', '/proc/sys/net/ipv6/conf/bbr/disable_ipv6').stdout == '1\n'
    c.close()


@pytest.fixture
def own_host(work):
    """(daemon, its namespace) for one test alone."""
    d = netns.NetDaemon(work / 'own_net')
    try:
        yield d.start(), d.namespace
    finally:
        d.cleanup()


# --- Definitions ---

def test_default_network(conn, virsh):
    path = harness.ROOT / 'data/default-network.xml'
    virsh('net-define', path)
    net = conn.networkLookupByName('default')
    assert net.bridgeName() == 'virbr0' and not net.autostart()
    net.create()
    net.setAutostart(1)
    assert re.search(r'Autostart:\s+yes', virsh('net-info', 'default').stdout)
    net.setAutostart(0)


def test_bridge_is_chosen(conn):
    a = conn.networkDefineXML('<network><name>a</name></network>')
    b = conn.networkDefineXML("<network><name>b</name><bridge name='virbr%d'/></network>")
    assert (a.bridgeName(), b.bridgeName()) == ('virbr0', 'virbr1')
    mac = ET.fromstring(a.XMLDesc()).find('mac').get('address')
    assert mac.startswith('52:54:00:')
    again = conn.networkDefineXML(a.XMLDesc())
    assert again.UUIDString() == a.UUIDString() and ET.fromstring(again.XMLDesc()).find('mac').get('address') == mac


def test_definitions_conflict(conn):
    a = conn.networkDefineXML(net_xml('a', n=50))
    assert 'already exists with uuid' in raises(ERR.VIR_ERR_OPERATION_FAILED, conn.networkDefineXML, net_xml('a', n=51))
    other = f"<network><name>b</name><uuid>{a.UUIDString()}</uuid></network>"
    assert 'already defined with uuid' in raises(ERR.VIR_ERR_OPERATION_FAILED, conn.networkDefineXML, other)
    assert "bridge name 'abr' is already in use by network 'a'" in raises(
        ERR.VIR_ERR_OPERATION_FAILED, conn.networkDefineXML, net_xml('b', bridge='abr'))
    assert [n.name() for n in conn.listAllNetworks()] == ['a']


def test_unsupported_is_named(conn):
    for body, word in (("<vlan><tag id='3'/></vlan>", '<vlan>'), ("<virtualport type='openvswitch'/>", '<virtualport>'),
                       ("<forward mode='hostdev'/>", 'hostdev')):
        message = raises(ERR.VIR_ERR_CONFIG_UNSUPPORTED, conn.networkDefineXML, f'<network><name>a</name>{body}</network>')
        assert word in message
    message = raises(ERR.VIR_ERR_XML_INVALID_SCHEMA, conn.networkDefineXMLFlags, '<network><name>a</name><nonsense/></network>',
                     libvirt.VIR_NETWORK_DEFINE_VALIDATE)
    assert 'nonsense' in message
    raises(ERR.VIR_ERR_NO_NETWORK, conn.networkLookupByName, 'a')


def test_transient_and_persistent(conn):
    xml = net_xml('a', n=50)
    net = conn.networkCreateXML(xml)
    raises(ERR.VIR_ERR_OPERATION_INVALID, net.setAutostart, 1)
    raises(ERR.VIR_ERR_OPERATION_INVALID, conn.networkCreateXML, net.XMLDesc())
    conn.networkDefineXML(net.XMLDesc())
    assert net.isPersistent() and net.isActive()
    net.setAutostart(1)
    net.undefine()
    assert not net.isPersistent() and net.isActive()
    net.destroy()
    raises(ERR.VIR_ERR_NO_NETWORK, conn.networkLookupByName, 'a')


def test_redefinition_waits_for_the_next_start(conn, host):
    net = conn.networkDefineXML(net_xml('a', n=50))
    net.create()
    conn.networkDefineXML(net.XMLDesc().replace('192.168.50.', '192.168.51.'))
    assert '192.168.50.1' in net.XMLDesc() and '192.168.51.1' in net.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    net.destroy()
    net.create()
    assert '192.168.51.1' in host.run('ip', 'address', 'show', 'abr').stdout


def test_lists(conn):
    a, b = conn.networkDefineXML(net_xml('a', n=50)), conn.networkCreateXML(net_xml('b', n=51))
    a.setAutostart(1)
    for flag, names in ((0, 'ab'), (libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE, 'b'), (libvirt.VIR_CONNECT_LIST_NETWORKS_PERSISTENT, 'a'),
                        (libvirt.VIR_CONNECT_LIST_NETWORKS_AUTOSTART, 'a'),
                        (libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE | libvirt.VIR_CONNECT_LIST_NETWORKS_PERSISTENT, '')):
        assert ''.join(n.name() for n in conn.listAllNetworks(flag)) == names
    assert (conn.numOfNetworks(), conn.listNetworks()) == (1, ['b'])
    assert (conn.numOfDefinedNetworks(), conn.listDefinedNetworks()) == (1, ['a'])
    assert conn.networkLookupByUUIDString(b.UUIDString()).name() == 'b'


def test_read_only(daemon, conn):
    conn.networkDefineXML(net_xml('a', n=50))
    ro = daemon.open(readonly=True)
    net = ro.networkLookupByName('a')
    assert '192.168.50.1' in net.XMLDesc()
    for call in (net.create, net.destroy, net.undefine):
        raises(ERR.VIR_ERR_OPERATION_DENIED, call)
    ro.close()


# --- Updates ---

ADD, DELETE, MODIFY = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY
LIVE, CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG


def test_update_config_and_live(conn, virsh):
    net = conn.networkDefineXML(net_xml('a', n=50))
    host_xml = "<host mac='52:54:00:00:00:01' ip='192.168.50.5'/>"
    raises(ERR.VIR_ERR_OPERATION_INVALID, net.update, ADD, libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, host_xml, LIVE)
    net.create()
    virsh('net-update', 'a', 'add', 'ip-dhcp-host', host_xml, '--live', '--config')
    assert '192.168.50.5' in net.XMLDesc() and '192.168.50.5' in net.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    virsh('net-update', 'a', 'delete', 'ip-dhcp-host', host_xml, '--live')
    assert '192.168.50.5' not in net.XMLDesc() and '192.168.50.5' in net.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    for section, xml in (('ip-dhcp-range', "<range start='192.168.50.200' end='192.168.50.210'/>"), ('dns-host', "<host ip='192.168.50.7'><hostname>x</hostname></host>"),
                         ('dns-txt', "<txt name='t' value='v'/>"), ('dns-srv', "<srv service='s' protocol='tcp'/>"), ('portgroup', "<portgroup name='g'/>")):
        virsh('net-update', 'a', 'add', section, xml, '--live')
        assert virsh('net-update', 'a', 'add', section, xml, '--live', ok=False).returncode != 0
        virsh('net-update', 'a', 'delete', section, xml, '--live')
    message = raises((ERR.VIR_ERR_OPERATION_UNSUPPORTED, ERR.VIR_ERR_NO_SUPPORT), net.update, ADD, libvirt.VIR_NETWORK_SECTION_BRIDGE, -1, '<bridge/>', LIVE)
    assert 'update' in message


def test_update_that_fails_changes_nothing(conn, daemon):
    net = conn.networkDefineXML(net_xml('a', n=50))
    net.create()
    before, pid = net.XMLDesc(), daemon.dnsmasq_pids()
    for command, section, xml in ((ADD, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE, "<range start='10.0.0.1' end='10.0.0.9'/>"),
                                  (DELETE, libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, "<host mac='52:54:00:00:00:01'/>"),
                                  (ADD, libvirt.VIR_NETWORK_SECTION_DNS_TXT, "<txt"),
                                  (MODIFY, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE, "<range start='192.168.50.10' end='192.168.50.99'/>")):
        with pytest.raises(libvirt.libvirtError):
            net.update(command, section, -1, xml, LIVE | CONFIG)
    assert net.XMLDesc() == before == net.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE) and daemon.dnsmasq_pids() == pid


def test_forward_interface_update(conn, host):
    net = conn.networkDefineXML(net_xml('a', NAT, n=50))
    net.create()
    assert 'oifname "up0"' not in host.rules()
    net.update(ADD, libvirt.VIR_NETWORK_SECTION_FORWARD_INTERFACE, -1, "<interface dev='up0'/>", LIVE)
    assert 'oifname "up0"' in host.rules()
    net.update(DELETE, libvirt.VIR_NETWORK_SECTION_FORWARD_INTERFACE, -1, "<interface dev='up0'/>", LIVE)
    assert 'oifname "up0"' not in host.rules()


# --- Ports ---

PORT = '''<networkport><owner><name>vm</name><uuid>06578fc1-c686-46fa-bc2c-83893b466a6e</uuid></owner>{group}
<mac address='52:54:00:00:00:01'/>{body}</networkport>'''


def test_ports(conn, virsh):
    net = conn.networkDefineXML(net_xml('a', n=50, body="<bandwidth><inbound average='1000'/></bandwidth>"
                                                        "<portgroup name='slow'><bandwidth><inbound average='100' floor='50'/></bandwidth></portgroup>"))
    raises(ERR.VIR_ERR_OPERATION_INVALID, net.portCreateXML, PORT.format(group='', body=''))
    net.create()
    port = net.portCreateXML(PORT.format(group='<group>slow</group>', body=''))
    assert [p.UUIDString() for p in net.listAllPorts()] == [port.UUIDString()] == virsh('net-port-list', 'a').stdout.split()[:1]
    xml = ET.fromstring(port.XMLDesc())
    assert xml.find('plug').attrib == {'type': 'network', 'bridge': 'abr'} and xml.find('bandwidth/inbound').get('average') == '100'
    assert "connections='1'" in net.XMLDesc() and 'connections' not in net.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    assert net.portLookupByUUIDString(port.UUIDString()).UUIDString() == port.UUIDString()
    assert port.parameters()['inbound.average'] == 100
    port.setParameters({'inbound.average': 200, 'outbound.average': 300})
    assert ET.fromstring(port.XMLDesc()).find('bandwidth/outbound').get('average') == '300'
    raises(ERR.VIR_ERR_OPERATION_INVALID, port.setParameters, {'inbound.floor': 2000})
    assert port.parameters()['inbound.floor'] == 50
    raises(ERR.VIR_ERR_CONFIG_UNSUPPORTED, net.portCreateXML, PORT.format(group='<group>none</group>', body=''))
    raises(ERR.VIR_ERR_OPERATION_FAILED, net.portCreateXML, port.XMLDesc())
    port.delete()
    assert net.listAllPorts() == []
    raises(ERR.VIR_ERR_NO_NETWORK_PORT, port.XMLDesc)


# --- Events ---

def test_events(conn, closing):
    seen, changed = [], threading.Condition()

    def on_event(c, net, event, detail, opaque):
        with changed:
            seen.append((net.name(), event))
            changed.notify_all()
    ids = [conn.networkEventRegisterAny(None, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, on_event, None)]
    net = conn.networkDefineXML(net_xml('a', n=50))
    other = conn.networkDefineXML(net_xml('b', n=51))
    ids.append(conn.networkEventRegisterAny(other, libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE, on_event, None))
    net.create()
    net.destroy()
    net.undefine()
    other.undefine()
    expected = [('a', libvirt.VIR_NETWORK_EVENT_DEFINED), ('b', libvirt.VIR_NETWORK_EVENT_DEFINED), ('a', libvirt.VIR_NETWORK_EVENT_STARTED),
                ('a', libvirt.VIR_NETWORK_EVENT_STOPPED), ('a', libvirt.VIR_NETWORK_EVENT_UNDEFINED)] + [('b', libvirt.VIR_NETWORK_EVENT_UNDEFINED)] * 2
    with changed:
        assert changed.wait_for(lambda: len(seen) >= len(expected), harness.TIMEOUT), seen
        assert seen == expected
    for i in ids:
        conn.networkEventDeregisterAny(i)


def test_virsh_event(conn, daemon):
    t = harness.Terminal('virsh', '-c', daemon.uri, 'net-event', '--event', 'lifecycle', '--loop', '--timeout', '60')
    try:
        def tries():
            conn.networkCreateXML(net_xml('a')).destroy()
            return t.read(0.2) and b'Started' in t.data and b'Stopped' in t.data  # it may have come to listen in between
        harness.wait_until(tries, what='event')
        assert b"event 'lifecycle' for network 'a': Started" in t.data or b"event 'lifecycle' for network a: Started" in t.data
    finally:
        t.close()


# --- What can go wrong ---

def test_bridge_name_is_taken(conn, host):
    host.sh('ip link add abr type bridge; ip link set abr up')
    net = conn.networkDefineXML(net_xml('a', n=50))
    assert "bridge name 'abr' is already in use by a device of the host" in raises(ERR.VIR_ERR_OPERATION_FAILED, net.create)
    assert 'abr' in host.links() and not net.isActive()
    host.sh('ip link del abr')
    net.create()


def test_range_is_in_use(conn, host):
    host.sh('ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up; ip address add 192.168.50.77/28 dev up0')
    net = conn.networkDefineXML(net_xml('a', n=50))
    assert 'address range 192.168.50.0/24 is already in use by 192.168.50.64/28 on up0' in raises(ERR.VIR_ERR_OPERATION_FAILED, net.create)
    host.sh('ip address flush dev up0; ip route add 192.168.0.0/16 dev up0')
    assert '192.168.0.0/16 on up0' in raises(ERR.VIR_ERR_OPERATION_FAILED, net.create)
    host.sh('ip link del up0')
    net.create()
    other = conn.networkDefineXML(net_xml('b', n=50))
    assert 'on abr' in raises(ERR.VIR_ERR_OPERATION_FAILED, other.create)


def test_dnsmasq_cannot_serve(conn, host, daemon):
    holder = host.spawn('python3', '-c', 'import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("",53)); print("ready",flush=True); time.sleep(1000)')
    assert holder.stdout.readline() == 'ready\n'
    net = conn.networkDefineXML(net_xml('a', n=50))
    message = raises(ERR.VIR_ERR_OPERATION_FAILED, net.create)
    assert 'dnsmasq: failed to create listening socket' in message and 'in use' in message
    assert not net.isActive() and not list((daemon.dir / 'run/networks').iterdir())
    holder.kill()
    holder.wait()
    net.create()
    assert net.isActive()


def test_no_dnsmasq(own_host, tmp_path):
    daemon, host = own_host
    daemon.stop()
    # the daemon looks in the system's folders only
    host.run('sh', '-c', f'mount --bind /dev/null {harness.run("which", "dnsmasq").stdout.strip()}')
    daemon.start()
    conn = daemon.open()
    net = conn.networkDefineXML(net_xml('a', NAT, n=50))
    message = raises((ERR.VIR_ERR_SYSTEM_ERROR, ERR.VIR_ERR_OPERATION_FAILED), net.create)
    assert 'dnsmasq' in message
    assert host.links() == {'lo'} and 'domus' not in host.rules()
    conn.close()


def test_session_daemon_refuses(work):
    """No rights, no networks: but they can be described."""
    d = harness.Daemon(work / 'session_net')
    d.mode = 'session'
    try:
        d.start()
        conn = d.open()
        net = conn.networkDefineXML(net_xml('a', n=50))
        assert 'session' in raises(ERR.VIR_ERR_OPERATION_UNSUPPORTED, net.create)
        net.undefine()
        conn.close()
    finally:
        d.cleanup()


def test_two_daemons(conn, host, work):
    """One in each network namespace: the same names and addresses do not meet."""
    other = netns.NetDaemon(work / 'other_net')
    try:
        c = other.start().open()
        xml = net_xml('a', NAT, n=50)
        mine, theirs = conn.networkCreateXML(xml), c.networkCreateXML(xml)
        rules = host.rules()
        theirs.destroy()
        assert host.rules() == rules and 'abr' in host.links() and mine.isActive()
        c.close()
    finally:
        other.cleanup()


def test_only_our_table(conn, host):
    host.sh('nft add table inet admin; nft "add chain inet admin c { type filter hook forward priority 0; }"; nft add rule inet admin c counter drop')
    before = host.rules()
    net = conn.networkCreateXML(net_xml('a', NAT, n=50))
    assert before.strip() in host.rules() and 'table inet domus' in host.rules()
    net.destroy()
    assert host.rules() == before
    host.sh('nft delete table inet admin')


def test_updates_at_the_same_time(conn, daemon):
    """Each waits for the dnsmasq of the one before it; a network that is destroyed answers those that still wait."""
    net = conn.networkDefineXML(net_xml('a', n=50))
    net.create()
    ranges = [f"<range start='192.168.50.{i}' end='192.168.50.{i}'/>" for i in range(100, 106)]
    errors = []

    def update(xml, flags=LIVE | CONFIG):
        c = daemon.open()
        try:
            c.networkLookupByName('a').update(ADD, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE, -1, xml, flags)
        except libvirt.libvirtError as e:
            errors.append(str(e))
        c.close()
    threads = [threading.Thread(target=update, args=(x,)) for x in ranges]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    for xml in (net.XMLDesc(), net.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)):
        assert all(r in xml for r in ranges)
    threads = [threading.Thread(target=update, args=(x.replace('50.10', '50.20'), LIVE)) for x in ranges]
    for t in threads:
        t.start()
    harness.wait_until(lambda: '192.168.50.20' in net.XMLDesc(), what='the first one')
    net.destroy()
    for t in threads:
        t.join()
    assert not net.isActive() and all('meanwhile' in e or 'not running' in e for e in errors), errors
