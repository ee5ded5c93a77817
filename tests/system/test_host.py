# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host says of itself."""
import os
import socket
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
from harness import raises

domus = pytest.mark.domus


def test_identity(conn):
    assert conn.getHostname().split('.')[0] == socket.gethostname().split('.')[0]
    assert conn.getVersion() >= 2011000
    assert conn.getLibVersion() >= 9000000
    assert conn.getMaxVcpus(None) >= 4
    assert conn.isAlive() and conn.isSecure()


@domus
def test_type_and_uri(conn, daemon):
    assert conn.getType() == 'Domus'
    assert conn.getURI() == daemon.uri


def test_node_info(conn):
    model, memory, cpus, mhz, nodes, sockets, cores, threads = conn.getInfo()
    assert model == 'x86_64'
    assert cpus == len(os.sched_getaffinity(0)) or cpus >= 1
    assert nodes * sockets * cores * threads >= cpus
    total = int(next(line.split()[1] for line in open('/proc/meminfo') if line.startswith('MemTotal')))
    assert harness.PEER or abs(memory - total // 1024) <= 1  # libvirt adds up NUMA nodes


def test_cpu_map_and_stats(conn):
    n, present, online = conn.getCPUMap()
    assert n == len(present) and online == sum(present) >= 1
    stats = conn.getCPUStats(-1)
    assert {'kernel', 'user', 'idle', 'iowait'} <= set(stats)
    assert conn.getCPUStats(0)['idle'] <= stats['idle']
    raises(libvirt.VIR_ERR_INVALID_ARG, conn.getCPUStats, 5000)


def test_memory(conn):
    stats = conn.getMemoryStats(-1)
    assert stats['total'] >= stats['free'] > 0
    assert {'buffers', 'cached'} <= set(stats)
    assert conn.getFreeMemory() > 0
    assert conn.getCellsFreeMemory(0, 1)[0] > 0
    assert conn.getMemoryStats(0)['total'] > 0
    raises(libvirt.VIR_ERR_INVALID_ARG, conn.getMemoryStats, 900)


def test_capabilities(conn):
    caps = ET.fromstring(conn.getCapabilities())
    assert caps.find('host/cpu/arch').text == 'x86_64'
    assert caps.find('host/cpu/model').text
    assert caps.find('host/topology/cells').get('num') == str(len(caps.findall('host/topology/cells/cell')))
    guest = next(g for g in caps.findall('guest') if g.find('arch').get('name') == 'x86_64')
    assert guest.find('os_type').text == 'hvm'
    assert 'qemu' in [d.get('type') for d in guest.findall('arch/domain')]
    assert os.path.exists(guest.find('arch/emulator').text)


@domus
def test_capabilities_of_ours(conn):
    caps = ET.fromstring(conn.getCapabilities())
    assert caps.find('guest/arch/machine').text == 'domus'
    assert caps.find('guest/features/acpi') is not None


@domus
def test_domain_capabilities(conn):
    caps = ET.fromstring(conn.getCapabilities())
    emulator = caps.find('guest/arch/emulator').text

    def ask(*args):
        return ET.fromstring(conn.getDomainCapabilities(*args))
    for args in ((None, None, None, None), (None, 'x86_64', None, None), (emulator, 'x86_64', 'domus', 'qemu'),
                 (None, None, None, 'domus')):
        doc = ask(*args)
        assert doc.find('path').text == emulator
        assert doc.find('machine').text == 'domus'
        assert doc.find('arch').text == 'x86_64'
        assert args[3] in (None, doc.find('domain').text)
        assert int(doc.find('vcpu').get('max')) >= 4
    assert ask(None, None, None, None).find("cpu/mode[@name='host-passthrough']").get('supported') == 'yes'
    for args in ((None, 'sparc', None, None), (None, None, 'q35', None), ('/bin/true', None, None, None), (None, None, None, 'lxc')):
        raises(libvirt.VIR_ERR_INVALID_ARG, conn.getDomainCapabilities, *args)


def test_sysinfo(conn):
    if os.path.isdir('/sys/class/dmi/id'):
        assert ET.fromstring(conn.getSysinfo()).tag == 'sysinfo'
    else:
        raises((libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT), conn.getSysinfo)


@domus
def test_other_objects_are_none(conn):
    for count, old, all_of in (('numOfNetworks', 'listNetworks', 'listAllNetworks'),
                               ('numOfDefinedNetworks', 'listDefinedNetworks', 'listAllNetworks'),
                               ('numOfStoragePools', 'listStoragePools', 'listAllStoragePools'),
                               ('numOfDefinedStoragePools', 'listDefinedStoragePools', 'listAllStoragePools'),
                               ('numOfInterfaces', 'listInterfaces', 'listAllInterfaces'),
                               ('numOfSecrets', 'listSecrets', 'listAllSecrets'),
                               ('numOfNWFilters', 'listNWFilters', 'listAllNWFilters')):
        assert getattr(conn, count)() == 0
        assert getattr(conn, old)() == []
        assert getattr(conn, all_of)() == []
    assert conn.numOfDevices(None) == len(conn.listDevices(None))
    raises(libvirt.VIR_ERR_NO_NETWORK, conn.networkLookupByName, 'default')
    raises(libvirt.VIR_ERR_NO_STORAGE_POOL, conn.storagePoolLookupByName, 'default')


@domus
def test_what_is_missing_says_so(conn, echo_xml):
    dom = conn.defineXML(echo_xml('m'))
    for call in ((dom.save, '/tmp/x'), (dom.snapshotCreateXML, '<domainsnapshot/>')):
        raises(libvirt.VIR_ERR_NO_SUPPORT, *call)


def test_virsh_reads_it_all(virsh, daemon):
    for command in ('version', 'hostname', 'uri', 'nodeinfo', 'nodecpumap', 'nodecpustats', 'nodememstats', 'capabilities',
                    'domcapabilities', 'maxvcpus', 'freecell', 'list --all', 'list --all --title', 'domstats', 'net-list --all',
                    'pool-list --all'):
        out = virsh(*command.split(), ok=harness.PEER == '').stdout
        assert out or command in ('list --all', 'list --all --title', 'domstats', 'net-list --all', 'pool-list --all')
