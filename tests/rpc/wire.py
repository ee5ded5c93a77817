#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""virtdomusd against clients that speak the protocol badly, by raw sockets: wire.py VIRTDOMUSD FAKE_VM REMOTE_FACTS."""
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

DAEMON, FAKE_VM, FACTS = sys.argv[1:4]
REMOTE, QEMU, KEEPALIVE = 0x20008086, 0x20008087, 0x6b656570
CALL, REPLY, MESSAGE, STREAM, CALL_FDS, REPLY_FDS, HOLE = range(7)
OK, ERROR, CONTINUE = range(3)
MAX = (32 << 20) + 4
OPEN, CLOSE, CREATE, CREATE_XML, DEFINE, DESTROY, FEATURE, LIB_VERSION, CONSOLE, LIST_ALL, CAPABILITIES, UNDEFINE, RESUME, \
    SET_METADATA, EVENT_REGISTER = 1, 2, 9, 10, 11, 12, 60, 157, 201, 273, 7, 35, 28, 264, 316

XML = '''<domain type='domus'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type>hvm</type><kernel>{kernel}</kernel><cmdline>{cmdline}</cmdline></os><devices><console type='pty'/></devices></domain>'''


def u32(*words):
    return struct.pack(f'>{len(words)}I', *(w & 0xffffffff for w in words))


def string(s):
    b = s.encode()
    return u32(len(b)) + b + b'\0' * (-len(b) % 4)


class Facts:
    """Number -> (name, access) of every procedure."""

    def __init__(self, path):
        self.procs = {}
        remote = pathlib.Path(path).read_text().split('[remote]')[1].split('[qemu]')[0]
        for m in re.finditer(r'^(\d+) (\w+) (\w+)', remote, re.M):
            self.procs[int(m[1])] = (m[2], m[3])


class Packet:
    def __init__(self, data):
        self.program, self.version, self.procedure, self.type, self.serial, self.status = struct.unpack('>6I', data[:24])
        self.payload = data[24:]

    def error(self):
        """(code, domain, message)"""
        code, domain, present = struct.unpack('>iiI', self.payload[:12])
        n, = struct.unpack('>I', self.payload[12:16])
        return code, domain, self.payload[16:16 + n].decode() if present else None


class Client:
    def __init__(self, server, read_only=False, opened=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(server.path + ('-ro' if read_only else ''))
        self.serial = 0
        self.pending = b''
        if opened:
            assert self.call(OPEN, u32(0, 0)).status == OK

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def packet(self, procedure, payload=b'', program=REMOTE, version=1, kind=CALL, status=OK, serial=None):
        if serial is None:
            self.serial += 1
            serial = self.serial
        return u32(28 + len(payload), program, version, procedure, kind, serial, status) + payload

    def send(self, *args, **kwargs):
        self.sock.sendall(self.packet(*args, **kwargs))
        return self.serial

    def read(self, n):
        while len(self.pending) < n:
            more = self.sock.recv(1 << 20)
            if not more:
                return None
            self.pending += more
        data, self.pending = self.pending[:n], self.pending[n:]
        return data

    def receive(self):
        """The next packet, or None when the server has closed the connection."""
        word = self.read(4)
        if word is None:
            return None
        rest = self.read(struct.unpack('>I', word)[0] - 4)
        return None if rest is None else Packet(rest)

    def call(self, *args, **kwargs):
        serial = self.send(*args, **kwargs)
        while True:
            p = self.receive()
            assert p is not None, 'connection closed'
            if p.type == REPLY and p.serial == serial:
                return p

    def closed(self):
        """The server hangs up, perhaps after some packets."""
        try:
            while self.receive():
                pass
        except ConnectionResetError:
            pass
        return True


class Server:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='domus-wire-')
        self.path = f'{self.dir}/sock/virtdomusd-sock'
        self.log = open(f'{self.dir}/log.txt', 'w+')
        self.kernel = f'{self.dir}/kernel'
        pathlib.Path(self.kernel).write_bytes(b'kernel')
        dirs = [x for d in ('config', 'run', 'state', 'log', 'socket') for x in (f'--{d}-dir', f'{self.dir}/{d[:4]}')]
        self.process = subprocess.Popen([DAEMON, '--session', *dirs, '--vmm', FAKE_VM], stdout=self.log, stderr=self.log)
        for _ in range(600):
            if os.path.exists(self.path + '-ro'):
                break
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(0.05)

    def stop(self):
        for p in pathlib.Path(self.dir).glob('run/vm/*/pid'):
            try:
                os.kill(int(p.read_text()), 9)
            except (OSError, ValueError):
                pass
        self.process.terminate()
        status = self.process.wait(20)
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        shutil.rmtree(self.dir)
        return status, text

    def rss_kib(self):
        return int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{self.process.pid}/status').read_text())[1])


class Wire(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.facts = Facts(FACTS)

    @classmethod
    def tearDownClass(cls):
        status, text = cls.server.stop()
        if status != 0 or 'runtime error' in text: # the words of a sanitizer
            sys.exit(f'virtdomusd ended with status {status}:\n{text}')

    def tearDown(self):
        """Whatever was done, the daemon goes on."""
        self.assertIsNone(self.server.process.poll())
        with Client(self.server) as c:
            self.assertEqual(c.call(LIB_VERSION).status, OK)

    def test_impossible_lengths(self):
        for n in (0, 4, 27, MAX + 1, 0x7fffffff, 0xffffffff):
            with Client(self.server) as c:
                c.sock.sendall(u32(n, REMOTE, 1, LIB_VERSION))
                self.assertTrue(c.closed())

        with Client(self.server, read_only=True) as c:
            c.sock.sendall(u32((4 << 20) + 1, REMOTE, 1, LIB_VERSION))
            self.assertTrue(c.closed())

    def test_largest_packet(self):
        with Client(self.server) as c:
            p = c.call(LIB_VERSION, b'\0' * (MAX - 28))
            self.assertEqual(p.error(), (39, 7, 'Unable to decode message payload'))
            self.assertEqual(c.call(LIB_VERSION).status, OK)

    def test_truncated(self):
        whole = Client.packet(type('S', (), {'serial': 0})(), OPEN, u32(0, 0))
        for n in range(len(whole)):
            with Client(self.server, opened=False) as c:
                c.sock.sendall(whole[:n])
        # A long one that never comes takes no memory for what it announces.
        before = self.server.rss_kib()
        clients = [Client(self.server) for _ in range(50)]
        for c in clients:
            c.sock.sendall(u32(MAX, REMOTE, 1, LIB_VERSION, CALL, 9, OK))
        time.sleep(0.2)
        self.assertLess(self.server.rss_kib() - before, 50 << 10)
        for c in clients:
            c.sock.close()

    def test_byte_by_byte(self):
        with Client(self.server) as c:
            for b in c.packet(LIB_VERSION):
                c.sock.sendall(bytes([b]))
            self.assertEqual(c.receive().status, OK)

    def test_unknown_procedures(self):
        events = [n for n, (_, access) in self.facts.procs.items() if access == 'event']
        with Client(self.server) as c:
            for n in [0, 454, 99999, 0xffffffff, *events]:
                self.assertEqual(c.call(n).error(), (39, 7, f'unknown procedure: {n}'))
            self.assertEqual(c.call(1, program=QEMU).error()[0], 3)
            self.assertEqual(c.call(6, program=QEMU).error(), (39, 7, 'unknown procedure: 6'))

    def test_unknown_programs(self):
        with Client(self.server) as c:
            p = c.call(1, program=0x12345678)
            self.assertEqual(p.error(), (39, 7, f'Cannot find program {0x12345678} version 1'))
            self.assertEqual(p.program, 0x12345678)
            self.assertEqual(c.call(1, version=2).error(), (39, 7, f'Cannot find program {REMOTE} version 2'))
            self.assertEqual(c.call(LIB_VERSION).status, OK)

    def test_wrong_packet_types(self):
        for kind in (CALL_FDS, REPLY_FDS):
            with Client(self.server) as c:
                c.send(LIB_VERSION, kind=kind)
                self.assertTrue(c.closed())
        with Client(self.server) as c:
            for kind in (REPLY, MESSAGE, 7, 0xffffffff):
                self.assertEqual(c.call(LIB_VERSION, kind=kind).error(), (39, 7, f'Unexpected message type {kind}'))
            self.assertEqual(c.call(LIB_VERSION, status=CONTINUE).error()[:2], (39, 7))

    def test_every_procedure_with_nonsense(self):
        """Empty, short, all ones, zeros: an answer each time, and the connection stays. Zeros can be a valid call that does something, but
        none that ends the connection."""
        with Client(self.server) as c:
            for n in self.facts.procs:
                if n in (OPEN, CLOSE):
                    continue
                for payload in (b'', b'\0\0\0', b'\xff' * 64, u32(0xffffffff) * 3 + b'\0' * 64, b'\0' * 40, u32(2) * 40):
                    self.assertEqual(c.call(n, payload).type, REPLY)

    def test_bad_xdr(self):
        with Client(self.server) as c:
            for payload in (u32(100) + b'name', u32(0xffffffff), string('a') + b'\0\0\0\0', u32(4) + b'a\0b\0'):
                self.assertEqual(c.call(23, payload).error(), (39, 7, 'Unable to decode message payload'))
            # A list that is longer than the message, and one that is longer than allowed.
            for n in (1, 16384, 16385, 0x7fffffff):
                self.assertEqual(c.call(344, u32(n, 0, 0)).error()[0], 39)

    def test_before_open(self):
        with Client(self.server, opened=False) as c:
            for n, (_, access) in self.facts.procs.items():
                if access in ('read', 'write', 'secret'):
                    self.assertEqual(c.call(n).error(), (1, 20, 'internal error: hypervisor connection not open'))
            self.assertEqual(c.call(FEATURE, u32(10)).payload, u32(1))
            self.assertEqual(c.call(FEATURE, u32(14)).error()[0], 1)
            self.assertEqual(c.call(66).payload, u32(1, 0))

    def test_open(self):
        for name, good in (('domus:///system', True), ('domus:///session?x=y', True), ('qemu:///system', True), ('', True),
                           ('qemu:///session', True), ('xen:///system', False), ('domus:///', False), ('domus:///systemx', False)):
            with Client(self.server, opened=False) as c:
                p = c.call(OPEN, u32(1) + string(name) + u32(0))
                if good:
                    self.assertEqual(p.status, OK)
                    want = name.split('?')[0] or 'domus:///session'
                    self.assertEqual(c.call(110).payload, string(want))
                    self.assertEqual(c.call(OPEN, u32(0, 0)).error()[0], 1)
                else:
                    self.assertEqual(p.error(), (5, 0, f'no connection driver available for {name}'))

    def test_read_only(self):
        for read_only, flags in ((True, 0), (False, 1)):
            with Client(self.server, read_only=read_only, opened=False) as c:
                self.assertEqual(c.call(OPEN, u32(0, flags)).status, OK)
                for n, (_, access) in self.facts.procs.items():
                    if access in ('write', 'secret'):
                        code, _, message = c.call(n).error()
                        self.assertEqual(code, 29)
                        self.assertRegex(message, '^operation forbidden: read only access prevents vir')
                self.assertEqual(c.call(LIB_VERSION).status, OK)

    def test_unknown_flags(self):
        with Client(self.server) as c:
            code, _, message = c.call(LIST_ALL, u32(1, 1 << 30)).error()
            self.assertEqual((code, message),
                             (8, 'invalid argument: unsupported flags (0x40000000) in function virConnectListAllDomains'))

    def test_keepalive(self):
        with Client(self.server, opened=False) as c:
            for n in range(3):
                c.send(1, program=KEEPALIVE, kind=MESSAGE, serial=0)
                p = c.receive()
                self.assertEqual((p.program, p.procedure, p.type, p.serial, p.payload), (KEEPALIVE, 2, MESSAGE, 0, b''))
            c.send(2, program=KEEPALIVE, kind=MESSAGE, serial=0)
            c.send(77, b'nonsense', program=KEEPALIVE, kind=CALL, serial=0)

    def test_pipelined(self):
        with Client(self.server) as c:
            c.sock.sendall(b''.join(c.packet(LIB_VERSION) for _ in range(2000)))
            first = c.serial - 1999
            self.assertEqual([c.receive().serial for _ in range(2000)], list(range(first, first + 2000)))

    def test_slow_reader(self):
        """Replies that nobody reads stop the calls, not the daemon's memory."""
        with Client(self.server) as c:
            before = self.server.rss_kib()
            c.sock.settimeout(0.5)
            sent = 0
            try:
                for sent in range(100000):
                    c.send(CAPABILITIES)
            except socket.timeout:
                pass
            self.assertLess(self.server.rss_kib() - before, 64 << 10)
            c.sock.settimeout(10)
            for _ in range(100):
                self.assertEqual(c.receive().status, OK)

    # With a domain.

    def xml(self, name, cmdline=''):
        return string(XML.format(name=name, kernel=self.server.kernel, cmdline=cmdline))

    def make_domain(self, c, name, running=True, cmdline=''):
        xml = self.xml(name, cmdline)
        p = c.call(CREATE_XML, xml + u32(0)) if running else c.call(DEFINE, xml)
        self.assertEqual(p.status, OK, p.status and p.error())
        return p.payload

    def names(self, c):
        return c.call(LIST_ALL, u32(1, 0)).payload

    def wait_until(self, condition):
        for _ in range(200):
            if condition():
                return
            time.sleep(0.05)
        self.fail('it never happened')

    def test_vanishing_mid_call(self):
        with Client(self.server) as c:
            c.send(CREATE_XML, self.xml('orphan') + u32(0))
        with Client(self.server) as c:
            self.wait_until(lambda: b'orphan' in self.names(c))
            dom = c.call(23, string('orphan')).payload
        with Client(self.server) as c:
            for _ in range(5):
                c.send(DESTROY, dom)
        with Client(self.server) as c:
            self.wait_until(lambda: b'orphan' not in self.names(c))

    def test_autodestroy(self):
        with Client(self.server) as c:
            p = c.call(CREATE_XML, self.xml('tied') + u32(2))
            self.assertEqual(p.status, OK)
        # and a client that is gone before its domain is up
        with Client(self.server) as c:
            c.send(CREATE_XML, self.xml('tied-too') + u32(2))
        with Client(self.server) as c:
            self.wait_until(lambda: b'tied' not in self.names(c))

    def test_calls_overtake(self):
        """A call that waits for a VM does not hold up others of the same connection."""
        with Client(self.server) as c:
            dom = self.make_domain(c, 'slow', running=False)
            start = c.send(CREATE, dom)
            quick = c.send(LIB_VERSION)
            self.assertEqual([c.receive().serial for _ in range(2)], [quick, start])
            self.assertEqual(c.call(DESTROY, dom).status, OK)
            self.assertEqual(c.call(UNDEFINE, dom).status, OK)

    def console(self, c, dom):
        p = c.call(CONSOLE, dom + u32(0, 1))
        self.assertEqual(p.status, OK, p.status and p.error())
        return c.serial

    def stream(self, c, serial, payload=b'', status=CONTINUE, kind=STREAM):
        c.send(CONSOLE, payload, kind=kind, status=status, serial=serial)

    def next_stream(self, c, data_too=False):
        while True:
            p = c.receive()
            self.assertEqual((p.type, p.procedure), (STREAM, CONSOLE))
            if data_too or p.status != CONTINUE:
                return p

    def test_streams(self):
        with Client(self.server) as c:
            dom = self.make_domain(c, 'streams')

            serial = self.console(c, dom)
            self.stream(c, serial, b'hello\n')
            got = b''
            while b'HELLO' not in got:
                got += self.next_stream(c, data_too=True).payload
            self.stream(c, serial, status=OK)
            self.assertEqual(self.next_stream(c).status, OK)

            # Packets of a stream that is gone, or never was.
            for s in (serial, 4711):
                for status in (OK, ERROR, CONTINUE, 9):
                    self.stream(c, s, b'x', status=status)
            self.assertEqual(c.call(LIB_VERSION).status, OK)

            for make_wrong in (lambda s: self.stream(c, s, status=9),
                               lambda s: self.stream(c, s, u32(0, 0), kind=HOLE)):
                serial = self.console(c, dom)
                make_wrong(serial)
                p = self.next_stream(c)
                self.assertEqual((p.status, p.serial, p.error()[0]), (ERROR, serial, 39))

            serial = self.console(c, dom)
            self.stream(c, serial, status=ERROR)
            self.assertEqual(self.next_stream(c).status, OK)

            # The end of the domain is the end of the file; then the client finishes.
            serial = self.console(c, dom)
            c.send(DESTROY, dom)
            kinds = set()
            while len(kinds) < 2:
                p = c.receive()
                kinds.add((p.type, p.status))
            self.assertEqual(kinds, {(REPLY, OK), (STREAM, CONTINUE)})
            self.stream(c, serial, b'too late')
            self.stream(c, serial, status=OK)
            self.assertEqual(self.next_stream(c).status, OK)

    def test_vanishing_with_stream(self):
        with Client(self.server) as c:
            dom = self.make_domain(c, 'left')
            self.console(c, dom)
            with Client(self.server) as other:
                self.assertRegex(other.call(CONSOLE, dom + u32(0, 0)).error()[2], 'Active console session')
        with Client(self.server) as c:
            self.wait_until(lambda: c.call(CONSOLE, dom + u32(0, 0)).status == OK)
            self.assertEqual(c.call(DESTROY, dom).status, OK)

    def test_full_connection(self):
        """With as many calls in flight as there may be, and more waiting, pings are still answered. Meanwhile the server pings a client that
        said it would answer, and is silent."""
        with Client(self.server) as c, Client(self.server) as silent:
            self.assertEqual(silent.call(FEATURE, u32(10)).payload, u32(1))
            dom = self.make_domain(c, 'hanging', running=False, cmdline='hang-in-start')
            calls = {c.send(CREATE, dom)} | {c.send(RESUME, dom) for _ in range(100)} | {c.send(LIB_VERSION)}
            c.send(1, program=KEEPALIVE, kind=MESSAGE, serial=0)
            p = c.receive()
            self.assertEqual((p.program, p.procedure), (KEEPALIVE, 2))
            p = silent.receive()
            self.assertEqual((p.program, p.procedure, p.type), (KEEPALIVE, 1, MESSAGE))
            c.sock.settimeout(30)
            self.assertEqual({c.receive().serial for _ in range(102)}, calls)
            self.assertEqual(c.call(UNDEFINE, dom).status, OK)

    def test_unread_events(self):
        """A client that wants a thousand copies of every event and reads none is given up; who caused them notices nothing."""
        with Client(self.server) as stuck, Client(self.server) as c:
            for _ in range(1000):
                self.assertEqual(stuck.call(EVENT_REGISTER, u32(23, 0)).status, OK)
            dom = self.make_domain(c, 'noisy', running=False)
            uri = 'urn:' + 'x' * 100000
            self.assertEqual(c.call(SET_METADATA, dom + u32(2, 1) + string('<a/>') + u32(1) + string('k') +
                                    u32(1) + string(uri) + u32(2)).status, OK)
            self.assertTrue(stuck.closed())
            self.assertEqual(c.call(UNDEFINE, dom).status, OK)

    def test_too_many_readers(self):
        """Everybody may fill the read-only socket; the other one goes on."""
        readers = [Client(self.server, read_only=True, opened=False) for _ in range(520)]
        with Client(self.server) as c:
            self.assertEqual(c.call(LIB_VERSION).status, OK)
        self.assertTrue(readers[-1].closed())
        self.assertEqual(readers[0].call(66).payload, u32(1, 0))
        for r in readers:
            r.sock.close()

    def test_many_clients(self):
        clients = [Client(self.server) for _ in range(200)]
        for c in clients:
            c.send(LIB_VERSION)
        for c in clients:
            self.assertEqual(c.receive().status, OK)
            c.sock.close()


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1], verbosity=2)
