# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions: what is accepted, what is refused and how, names and lists, metadata."""
import uuid

import libvirt
import pytest

import harness
from harness import raises

domus = pytest.mark.domus


def test_define_and_dump(conn, echo_xml):
    dom = conn.defineXML(echo_xml('one', memory=128, vcpus=2, cmdline='a=&quot;b&quot; &amp; c'))
    assert dom.name() == 'one'
    assert dom.ID() == -1
    assert dom.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN]
    assert (dom.isActive(), dom.isPersistent(), dom.isUpdated()) == (0, 1, 0)
    assert dom.OSType() == 'hvm'
    assert dom.maxMemory() == 128 * 1024
    assert dom.info()[1:4] == [128 * 1024, 128 * 1024, 2]
    xml = dom.XMLDesc()
    assert harness.virt_xml_value(xml, 'os/cmdline') == 'a="b" & c'
    again = conn.defineXML(xml)
    assert again.XMLDesc() == xml
    assert conn.lookupByUUIDString(dom.UUIDString()).name() == 'one'
    assert conn.lookupByUUID(dom.UUID()).name() == 'one'


def test_defaults(conn, echo_xml):
    xml = conn.defineXML(echo_xml('defaults')).XMLDesc()
    assert uuid.UUID(harness.virt_xml_value(xml, 'uuid'))
    assert harness.virt_xml_value(xml, 'on_poweroff') == 'destroy'
    assert harness.virt_xml_value(xml, 'on_reboot') == 'restart'
    assert harness.virt_xml_value(xml, 'on_crash') == 'destroy'
    assert "<clock offset='utc'" in xml
    assert "<serial type='pty'>" in xml and "<console type='pty'>" in xml


MALFORMED = {
    'nothing': '',
    'no-xml': 'hello',
    'open-end': '<domain',
    'mismatch': "<domain type='qemu'><name>x</nam></domain>",
    'bomb': "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><domain type='qemu'><name>&c;</name></domain>",
    'other-root': '<network><name>x</name></network>',
    'no-name': "<domain type='qemu'><memory>65536</memory><os><type>hvm</type></os></domain>",
    'nul': "<domain type='qemu'><name>a&#0;b</name></domain>",
}


@pytest.mark.parametrize('key', MALFORMED)
def test_malformed(conn, key):
    codes = (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL, libvirt.VIR_ERR_NO_NAME, libvirt.VIR_ERR_INVALID_ARG)
    raises(codes, conn.defineXML, MALFORMED[key])
    raises(codes, conn.createXML, MALFORMED[key])
    assert conn.listAllDomains() == []


@domus
def test_malformed_line(conn):
    message = raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL), conn.defineXML, "<domain>\n<name>x</nam>\n</domain>")
    assert '(domain_definition):2: Opening and ending tag mismatch' in message


UNSUPPORTED = {
    'element': ('top', '<iothreads>2</iothreads>', '<iothreads>'),
    'disk': ('devices', "<disk type='file'><source file='/x'/><target dev='sda' bus='sata'/></disk>", 'sata'),
    'interface': ('devices', "<interface type='network'><source network='default'/><model type='e1000'/></interface>", 'e1000'),
    'serial-type': ('devices', "<serial type='file'><source path='/etc/x'/></serial>", "'file'"),
    'value': ('top', '<on_crash>coredump-destroy</on_crash>', 'coredump-destroy'),
    'attribute': ('top', "<cpu mode='custom'/>", 'custom'),
    'hook': ('top', "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>", 'commandline'),
}


@domus
@pytest.mark.parametrize('key', UNSUPPORTED)
def test_unsupported(conn, echo_xml, key):
    where, xml, named = UNSUPPORTED[key]
    message = raises(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, conn.defineXML, echo_xml('u', **{where: xml}))
    assert message.startswith('unsupported configuration: ') and named in message


@pytest.mark.parametrize('vcpus,memory', [(0, 64), (1, 0), (2000, 64), (1, 1 << 30)])
def test_senseless_sizes(conn, echo_xml, vcpus, memory):
    def define_and_start():
        conn.defineXML(echo_xml('s', vcpus=vcpus, memory=memory)).create()
    raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_INTERNAL_ERROR,
            libvirt.VIR_ERR_NO_MEMORY, libvirt.VIR_ERR_OPERATION_FAILED), define_and_start)
    assert conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE) == []


@pytest.mark.parametrize('name', ['a/b', '', 'a\nb', pytest.param(' ', marks=domus), pytest.param('x' * 300, marks=domus)])
def test_bad_names(conn, echo_xml, name):
    raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL, libvirt.VIR_ERR_NO_NAME), conn.defineXML, echo_xml(name))


@pytest.mark.parametrize('name', ['-rf', '..x', 'Ünïcode ☃', 'a b', "quote'\"<&>".replace('&', '&amp;').replace('<', '&lt;')])
def test_strange_names(daemon, conn, echo_xml, name):
    dom = conn.defineXML(echo_xml(name))
    assert conn.lookupByName(dom.name()).UUIDString() == dom.UUIDString()
    dom.create()
    assert dom.isActive()


def test_duplicates(conn, echo_xml):
    first = conn.defineXML(echo_xml('dup'))
    codes = (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_DOM_EXIST)
    message = raises(codes, conn.defineXML, echo_xml('dup', uuid=uuid.uuid4()))
    assert 'dup' in message and first.UUIDString() in message
    raises(codes, conn.defineXML, echo_xml('other', uuid=first.UUIDString()))
    raises(codes, conn.createXML, echo_xml('other', uuid=first.UUIDString()))
    assert [d.name() for d in conn.listAllDomains()] == ['dup']


def test_validate(conn, echo_xml):
    kind = 'qemu'
    conn.defineXMLFlags(echo_xml('valid', kind=kind), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    raises(libvirt.VIR_ERR_XML_INVALID_SCHEMA, conn.defineXMLFlags, echo_xml('bad', kind=kind, top='<nonsense/>'),
           libvirt.VIR_DOMAIN_DEFINE_VALIDATE)


def test_missing(conn):
    raises(libvirt.VIR_ERR_NO_DOMAIN, conn.lookupByName, 'nobody')
    raises(libvirt.VIR_ERR_NO_DOMAIN, conn.lookupByUUIDString, str(uuid.uuid4()))
    raises(libvirt.VIR_ERR_NO_DOMAIN, conn.lookupByID, 4711)


def test_undefined_handle(conn, echo_xml):
    dom = conn.defineXML(echo_xml('short'))
    dom.undefine()
    for call in (dom.create, dom.XMLDesc, dom.info, dom.undefine, dom.destroy):
        raises(libvirt.VIR_ERR_NO_DOMAIN, call)


def test_define_events(conn, events, echo_xml):
    dom = conn.defineXML(echo_xml('ev'))
    events.wait('ev', libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_ADDED)
    conn.defineXML(dom.XMLDesc())
    events.wait('ev', libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_UPDATED)
    dom.undefine()
    events.wait('ev', libvirt.VIR_DOMAIN_EVENT_UNDEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED_REMOVED)
    assert [e[0] for e in events.list('ev')] == [libvirt.VIR_DOMAIN_EVENT_DEFINED] * 2 + [libvirt.VIR_DOMAIN_EVENT_UNDEFINED]


def test_lists(conn, echo_xml):
    conn.defineXML(echo_xml('off1'))
    conn.defineXML(echo_xml('off2')).setAutostart(1)
    on = conn.defineXML(echo_xml('on'))
    on.create()
    gone = conn.createXML(echo_xml('transient'))

    def names(flags=0):
        return sorted(d.name() for d in conn.listAllDomains(flags))
    assert names() == ['off1', 'off2', 'on', 'transient']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE) == ['on', 'transient']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE) == ['off1', 'off2']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT) == ['transient']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT) == ['off1', 'off2', 'on']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING) == ['on', 'transient']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED) == []
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF) == ['off1', 'off2']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART) == ['off2']
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART | libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE) == []
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE) == []
    # The calls of old clients.
    assert conn.numOfDomains() == 2
    assert sorted(conn.listDomainsID()) == sorted([on.ID(), gone.ID()])
    assert conn.numOfDefinedDomains() == 2
    assert sorted(conn.listDefinedDomains()) == ['off1', 'off2']
    assert conn.lookupByID(on.ID()).name() == 'on'


def test_rename(conn, events, echo_xml):
    dom = conn.defineXML(echo_xml('old'))
    conn.defineXML(echo_xml('taken'))
    raises((libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_DOM_EXIST), dom.rename, 'taken')
    raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_INVALID_ARG), dom.rename, 'a/b')
    dom.rename('new')
    assert conn.lookupByName('new').UUIDString() == dom.UUIDString()
    raises(libvirt.VIR_ERR_NO_DOMAIN, conn.lookupByName, 'old')
    assert harness.virt_xml_value(conn.lookupByName('new').XMLDesc(), 'name') == 'new'
    events.wait('new', libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_RENAMED)
    dom = conn.lookupByName('new')
    dom.create()
    raises(libvirt.VIR_ERR_OPERATION_INVALID, dom.rename, 'newer')


def test_title_and_description(conn, events, echo_xml):
    dom = conn.defineXML(echo_xml('text'))
    config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    title, description = libvirt.VIR_DOMAIN_METADATA_TITLE, libvirt.VIR_DOMAIN_METADATA_DESCRIPTION
    raises(libvirt.VIR_ERR_NO_DOMAIN_METADATA, dom.metadata, title, None)
    dom.setMetadata(title, 'T <&> ü', None, None, config)
    dom.setMetadata(description, 'two\nlines', None, None, config)
    assert dom.metadata(title, None) == 'T <&> ü'
    assert dom.metadata(description, None, config) == 'two\nlines'
    assert '<title>T &lt;&amp;&gt; ü</title>' in dom.XMLDesc()
    raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_INVALID_ARG), dom.setMetadata, title, 'two\nlines', None, None, config)
    events.wait('text', 'metadata', title)
    dom.setMetadata(title, None, None, None, config)
    raises(libvirt.VIR_ERR_NO_DOMAIN_METADATA, dom.metadata, title, None)


def test_metadata(conn, events, echo_xml):
    dom = conn.defineXML(echo_xml('meta'))
    element, both = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
    raises(libvirt.VIR_ERR_OPERATION_INVALID, dom.setMetadata, element, '<a/>', 'k', 'urn:a', both)
    dom.create()
    dom.setMetadata(element, "<a x='1'><b/></a>", 'k', 'urn:a', both)
    dom.setMetadata(element, '<c/>', 'k2', 'urn:c', libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert harness.normal(dom.metadata(element, 'urn:a')) == harness.normal("<a x='1'><b/></a>")
    events.wait('meta', 'metadata', element, 'urn:a')
    raises(libvirt.VIR_ERR_NO_DOMAIN_METADATA, dom.metadata, element, 'urn:c', libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert 'urn:c' in dom.XMLDesc() and 'urn:c' not in dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL), dom.setMetadata, element, '<open', 'k', 'urn:a', both)
    dom.setMetadata(element, None, None, 'urn:a', both)
    assert 'urn:a' not in dom.XMLDesc()


def test_autostart_flag(conn, echo_xml):
    dom = conn.defineXML(echo_xml('auto'))
    assert dom.autostart() == 0
    dom.setAutostart(1)
    assert dom.autostart() == 1
    conn.defineXML(dom.XMLDesc())
    assert dom.autostart() == 1
    dom.setAutostart(0)
    assert dom.autostart() == 0
    transient = conn.createXML(echo_xml('transient'))
    raises(libvirt.VIR_ERR_OPERATION_INVALID, transient.setAutostart, 1)


def test_resources_of_definition(conn, echo_xml):
    dom = conn.defineXML(echo_xml('res', memory=128, vcpus=2))
    config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    assert dom.vcpusFlags(config) == 2
    assert dom.vcpusFlags(config | libvirt.VIR_DOMAIN_VCPU_MAXIMUM) == 2
    dom.setMemoryFlags(96 * 1024, config)
    assert dom.info()[1:3] == [128 * 1024, 96 * 1024]
    dom.setMemoryFlags(64 * 1024, config | libvirt.VIR_DOMAIN_MEM_MAXIMUM)
    assert dom.info()[1:3] == [64 * 1024, 64 * 1024]
    dom.setVcpusFlags(1, config)
    assert dom.vcpusFlags(config) == 1
    raises(libvirt.VIR_ERR_INVALID_ARG, dom.setVcpusFlags, 3, config)
    raises(libvirt.VIR_ERR_INVALID_ARG, dom.setVcpusFlags, 0, config)
    dom.setVcpusFlags(4, config | libvirt.VIR_DOMAIN_VCPU_MAXIMUM)
    assert dom.vcpusFlags(config | libvirt.VIR_DOMAIN_VCPU_MAXIMUM) == 4


def test_big_document(conn, echo_xml):
    text = 'x' * (512 << 10)
    dom = conn.defineXML(echo_xml('big', top=f'<description>{text}</description>'))
    assert text in dom.XMLDesc()
    raises((libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_XML_DETAIL, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_INTERNAL_ERROR),
           conn.defineXML, echo_xml('bigger', top=f'<description>{"x" * (5 << 20)}</description>'))
    assert [d.name() for d in conn.listAllDomains()] == ['big']


def test_many_domains(conn, echo_xml):
    names = sorted(f'many{i}' for i in range(200))
    for n in names:
        conn.defineXML(echo_xml(n))
    assert sorted(d.name() for d in conn.listAllDomains()) == names
    assert conn.numOfDefinedDomains() == 200
