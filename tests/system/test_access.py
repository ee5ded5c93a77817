# SPDX-License-Identifier: GPL-2.0-or-later
"""Read-only connections, and clients that do not keep to the protocol."""
import os
import socket
import struct

import libvirt
import pytest

import harness
from harness import Console, raises, wait_until

domus = pytest.mark.domus

REMOTE, VERSION = 0x20008086, 1
KEEPALIVE = 0x6b656570
CALL, REPLY, MESSAGE, STREAM = 0, 1, 2, 3
OK, ERROR, CONTINUE = 0, 1, 2
OPEN, CLOSE, GET_TYPE, GET_VERSION, DEFINE_XML, LOOKUP, AUTH_LIST, OPEN_CONSOLE, CREATE_XML = 1, 2, 3, 4, 11, 23, 66, 201, 10


def packet(program=REMOTE, version=VERSION, procedure=OPEN, kind=CALL, serial=1, status=OK, body=b'', length=None):
    head = struct.pack('>IIiiIi', program, version, procedure, kind, serial, status)
    return struct.pack('>I', 4 + len(head) + len(body) if length is None else length) + head + body


def string(text):
    data = text.encode()
    return struct.pack('>I', len(data)) + data + bytes(-len(data) % 4)


OPEN_BODY = struct.pack('>I', 1) + string('domus:///system') + struct.pack('>I', 0)


class Raw:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(harness.TIMEOUT)
        self.sock.connect(str(path))

    def send(self, data):
        self.sock.sendall(data)

    def send_to_the_end(self, *packets):
        """The daemon may hang up at any of them."""
        try:
            for p in packets:
                self.send(p)
            self.sock.shutdown(socket.SHUT_WR)
            self.wait_end()
        except OSError as e:
            assert not isinstance(e, TimeoutError)

    def read(self, n):
        data = b''
        while len(data) < n:
            chunk = self.sock.recv(n - len(data))
            if not chunk:
                return None
            data += chunk
        return data

    def receive(self):
        """(type, serial, status, body) of the next packet; None at the end."""
        length = self.read(4)
        if length is None:
            return None
        data = self.read(struct.unpack('>I', length)[0] - 4)
        if data is None:
            return None
        _, _, _, kind, serial, status = struct.unpack('>IIiiIi', data[:24])
        return kind, serial, status, data[24:]

    def call(self, **kwargs):
        self.send(packet(**kwargs))
        return self.receive()

    def open(self):
        assert self.call(procedure=AUTH_LIST)[2] == OK
        reply = self.call(procedure=OPEN, body=OPEN_BODY, serial=2)
        assert reply[2] == OK, reply
        return self

    def error_code(self, **kwargs):
        kind, _, status, body = self.call(**kwargs)
        assert (kind, status) == (REPLY, ERROR)
        return struct.unpack('>i', body[:4])[0]

    def wait_end(self):
        while self.receive() is not None:
            pass

    def close(self):
        self.sock.close()


@pytest.fixture
def raw(daemon, closing):
    def make(path=None):
        return closing(Raw(path or daemon.socket))
    return make


# --- read-only -------------------------------------------------------------------------------------------------------

def ways_in(daemon):
    ways = [lambda: libvirt.openReadOnly(daemon.uri)]
    if not harness.PEER:
        ways.append(lambda: libvirt.open(daemon.ro_uri))
        ways.append(lambda: libvirt.openReadOnly(daemon.qemu_uri))
    return ways


@pytest.mark.parametrize('way', range(1 if harness.PEER else 3))
def test_read_only(daemon, conn, echo_xml, closing, way):
    conn.defineXML(echo_xml('ro')).create()
    reader = closing(ways_in(daemon)[way]())
    dom = reader.lookupByName('ro')
    assert dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert [d.name() for d in reader.listAllDomains()] == ['ro']
    assert '<name>ro</name>' in dom.XMLDesc()
    assert reader.getCapabilities() and reader.getInfo()
    assert reader.getAllDomainStats()
    writes = [dom.destroy, dom.suspend, dom.resume, dom.shutdown, dom.reboot, dom.reset, dom.undefine, dom.create, dom.injectNMI,
              (dom.setAutostart, 1), (dom.rename, 'x'), (reader.defineXML, echo_xml('x')), (reader.createXML, echo_xml('x')),
              (dom.setMetadata, libvirt.VIR_DOMAIN_METADATA_TITLE, 't', None, None), (dom.setMemoryFlags, 1024),
              (dom.setVcpusFlags, 1), (dom.XMLDesc, libvirt.VIR_DOMAIN_XML_SECURE), (Console, dom)]
    for w in writes:
        call, *args = w if isinstance(w, tuple) else (w,)
        raises(libvirt.VIR_ERR_OPERATION_DENIED, call, *args)
    assert [d.name() for d in conn.listAllDomains()] == ['ro']
    assert conn.lookupByName('ro').state()[0] == libvirt.VIR_DOMAIN_RUNNING


@domus
def test_read_only_socket_whatever_the_flags_say(raw, daemon, conn, echo_xml):
    """The client library checks for itself; here nothing but the daemon does."""
    r = raw(f'{daemon.socket}-ro').open()
    assert r.error_code(procedure=DEFINE_XML, body=string(echo_xml('x')), serial=3) == libvirt.VIR_ERR_OPERATION_DENIED
    assert conn.listAllDomains() == []


@domus
def test_read_only_events(daemon, conn, echo_xml, closing):
    reader = closing(libvirt.openReadOnly(daemon.uri))
    events = closing(harness.Events(reader))
    conn.defineXML(echo_xml('seen'))
    events.wait('seen', libvirt.VIR_DOMAIN_EVENT_DEFINED)


@domus
def test_socket_modes(daemon):
    assert os.stat(daemon.socket).st_mode & 0o007 == 0
    if daemon.mode == 'system':
        assert os.stat(f'{daemon.socket}-ro').st_mode & 0o006 == 0o006


# --- protocol --------------------------------------------------------------------------------------------------------

@domus
@pytest.mark.parametrize('length', [0, 1, 4, 27, 33554437, 0x7fffffff, 0xffffffff])
def test_bad_packet_length(raw, conn, length):
    r = raw()
    r.send(packet(length=length))
    r.wait_end()
    assert conn.getLibVersion()


@domus
def test_truncated_packets(raw, conn):
    whole = packet(body=OPEN_BODY)
    for n in range(1, len(whole), 5):
        r = raw()
        r.send(whole[:n])
        r.close()
    assert conn.getLibVersion()


@domus
def test_slow_packets(raw):
    r = raw()
    for part in packet(procedure=AUTH_LIST):
        r.send(bytes([part]))
    assert r.receive()[2] == OK


@domus
def test_unknown_procedure(raw):
    r = raw().open()
    kind, serial, status, body = r.call(procedure=9999, serial=77)
    assert (kind, serial, status) == (REPLY, 77, ERROR)
    assert struct.unpack('>ii', body[:8]) in ((39, 7), (3, 0), (3, 7), (3, 10))
    assert r.call(procedure=GET_TYPE, serial=78)[2] == OK


@domus
def test_unknown_program_and_version(raw):
    r = raw().open()
    assert r.error_code(program=0x12345678, procedure=1, serial=3) == libvirt.VIR_ERR_RPC
    assert r.error_code(version=9, procedure=GET_TYPE, serial=4) == libvirt.VIR_ERR_RPC
    assert r.call(procedure=GET_TYPE, serial=5)[2] == OK


@domus
@pytest.mark.parametrize('body', [b'', b'\0\0\0', struct.pack('>I', 0xffffffff), struct.pack('>I', 100) + b'short',
                                  struct.pack('>I', 5 << 20) + b'x' * 64, string('a\0b'), string('\udcff'.encode('utf-8', 'surrogateescape').decode('latin1'))])
def test_bad_arguments(raw, body):
    r = raw().open()
    kind, _, status, _ = r.call(procedure=LOOKUP, body=body, serial=3)
    assert (kind, status) == (REPLY, ERROR)
    assert r.call(procedure=GET_TYPE, serial=4)[2] == OK


@domus
def test_bad_utf8(raw):
    r = raw().open()
    body = struct.pack('>I', 4) + b'\xff\xfe\xfd\xfc'
    assert r.call(procedure=LOOKUP, body=body, serial=3)[2] == ERROR
    assert r.call(procedure=GET_TYPE, serial=4)[2] == OK


@domus
def test_call_before_open(raw):
    r = raw()
    for procedure in (GET_TYPE, GET_VERSION, LOOKUP):
        assert r.call(procedure=procedure, body=string('x') if procedure == LOOKUP else b'')[2] == ERROR


@domus
@pytest.mark.parametrize('name', ['xen:///system', 'domus:///nonsense', 'x' * 1000, 'domus', '://'])
def test_unknown_names_at_open(raw, name):
    r = raw()
    assert r.call(procedure=AUTH_LIST)[2] == OK
    body = struct.pack('>I', 1) + string(name) + struct.pack('>I', 0)
    assert r.call(procedure=OPEN, body=body, serial=2)[2] == ERROR


@domus
def test_open_twice(raw):
    r = raw().open()
    assert r.call(procedure=OPEN, body=OPEN_BODY, serial=3)[2] == ERROR
    assert r.call(procedure=GET_TYPE, serial=4)[2] == OK


@domus
def test_calls_of_the_wrong_type(raw, conn):
    for kind in (REPLY, MESSAGE, 7, -1):
        r = raw().open()
        r.send_to_the_end(packet(procedure=GET_TYPE, kind=kind, serial=9), packet(procedure=GET_TYPE, serial=10))
    assert conn.getLibVersion()


@domus
def test_stream_without_a_stream(raw, conn):
    for status in (OK, ERROR, CONTINUE, 5):
        r = raw().open()
        r.send_to_the_end(packet(procedure=OPEN_CONSOLE, kind=STREAM, serial=42, status=status, body=b'data'),
                          packet(procedure=GET_TYPE, serial=43))
    assert conn.getLibVersion()


def open_console(r, dom, serial):
    body = string(dom.name()) + dom.UUID() + struct.pack('>i', dom.ID()) + struct.pack('>I', 0) + struct.pack('>I', 1)
    return r.call(procedure=OPEN_CONSOLE, body=body, serial=serial)


@domus
def test_stream_misuse(raw, conn, echo_xml, closing):
    dom = conn.createXML(echo_xml('stream'))
    for status, body in ((ERROR, b''), (ERROR, b'\xff' * 8), (5, b'x'), (OK, b'trailing'), (CONTINUE, b'')):
        r = raw().open()
        assert open_console(r, dom, 9)[2] == OK
        r.send_to_the_end(*(packet(procedure=OPEN_CONSOLE, kind=STREAM, serial=9, status=s, body=b)
                            for s, b in ((CONTINUE, b'x\r'), (status, body), (CONTINUE, b'after the end\r'))))

    def get():
        try:
            return Console(dom)
        except libvirt.libvirtError:
            return None
    closing(wait_until(get, what='a free console')).insist('fine', b'echo: fine')


@domus
def test_keepalive(raw):
    r = raw().open()
    r.send(packet(program=KEEPALIVE, procedure=1, kind=MESSAGE, serial=0))
    kind, serial, status, body = r.receive()
    assert (kind, status, body) == (MESSAGE, OK, b'')


@domus
def test_vanishing_in_the_middle_of_calls(raw, conn, echo_xml):
    for i in range(10):
        r = raw().open()
        r.send(packet(procedure=CREATE_XML, body=string(echo_xml(f'v{i}')) + struct.pack('>I', 0), serial=5))
        r.close()
    wait_until(lambda: all(d.state()[0] == libvirt.VIR_DOMAIN_RUNNING for d in conn.listAllDomains()), what='started guests')
    for d in conn.listAllDomains():
        d.destroy()
    assert conn.listAllDomains() == []


@domus
def test_many_calls_at_once(raw):
    """All are answered, though the client reads none until it has sent all."""
    r = raw().open()
    for i in range(200):
        r.send(packet(procedure=GET_TYPE, serial=100 + i))
    assert {r.receive()[1] for _ in range(200)} == set(range(100, 300))


@domus
def test_client_that_never_reads(raw, conn):
    r = raw().open()
    r.sock.settimeout(0.5)
    try:
        for i in range(200000):
            r.send(packet(procedure=7, serial=100 + i))
    except OSError:
        pass
    assert conn.getLibVersion()


@domus
def test_many_connections(daemon, closing):
    conns = [closing(daemon.open()) for _ in range(30)]
    assert all(c.getLibVersion() for c in conns)
