# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces for the tests of networks: a host with the daemon, guests and neighbours around it. Root only."""
import os
import re
import signal
import struct
import subprocess
import sys

import harness

UDHCPC_SCRIPT = '''#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev $interface
[ -n "$router" ] && ip route add default via ${router%% *}
echo "$ip $mask ${router:-none} ${dns:-none} ${domain:-none} ${mtu:-none}" > "$RESULT"
'''


def missing():
    """What the machine lacks for these tests, or None."""
    if os.geteuid() != 0:
        return 'needs root'
    p = subprocess.run(['unshare', '-n', 'sh', '-c', 'ip link add br0 type bridge && nft add table inet domus'], capture_output=True, text=True)
    return p.stderr.strip() or None if p.returncode else None


class Namespace:
    """A network namespace, with a /sys of its own, that a process keeps open."""
    def __init__(self):
        self.holder = subprocess.Popen(['unshare', '-n', '-m', 'sh', '-c', 'mount -t sysfs sysfs /sys && ip link set lo up && echo ready && exec sleep inf'],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == 'ready\n'
        self.prefix = ['nsenter', '-t', str(self.holder.pid), '-n', '-m', '--']
        self.background = []

    def run(self, *argv, ok=True, **kwargs):
        return harness.run(*self.prefix, *argv, ok=ok, **kwargs)

    def sh(self, script, ok=True, **kwargs):
        return self.run('sh', '-ec', script, ok=ok, **kwargs)

    def spawn(self, *argv, **kwargs):
        p = subprocess.Popen([*self.prefix, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **kwargs)
        self.background.append(p)
        return p

    def python(self, script, *args, ok=True, **kwargs):
        return self.run(sys.executable, '-c', script, *args, ok=ok, **kwargs)

    def connect(self, device, other, other_device, mac=None):
        """A cable: device here, other_device in the other namespace."""
        address = ['address', mac] if mac else []
        self.run('ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', other_device, *address, 'netns', str(other.holder.pid))
        self.run('ip', 'link', 'set', device, 'up')
        other.run('ip', 'link', 'set', other_device, 'up')

    def links(self):
        return set(re.findall(r'^\d+: ([^:@]+)', self.run('ip', '-o', 'link').stdout, re.M))

    def rules(self):
        return self.run('nft', 'list', 'ruleset').stdout

    def pings(self, address, count=1, timeout=2):
        return self.run('busybox', 'ping', '-c', str(count), '-W', str(timeout), address, ok=False).returncode == 0

    def close(self):
        for p in [*self.background, self.holder]:
            p.send_signal(signal.SIGKILL)
            p.wait()


class Guest(Namespace):
    """Stands for a guest: eth0 is connected to a bridge of the host."""
    def __init__(self, host, bridge, mac, device, work):
        super().__init__()
        self.work, self.device, self.host, self.mac = work, device, host, mac
        host.connect(device, self, 'eth0', mac)
        host.run('ip', 'link', 'set', device, 'master', bridge)

    def dhcp(self, timeout=30, hostname=None):
        """Asks for an address; {ip, mask, router, dns, domain, mtu} as the server has told them, or None."""
        result, script = self.work / f'{self.device}.lease', self.work / 'udhcpc.sh'
        script.write_text(UDHCPC_SCRIPT)
        script.chmod(0o755)
        result.unlink(missing_ok=True)
        name = ['-x', f'hostname:{hostname}'] if hostname else []
        self.run('busybox', 'udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-t', str(timeout), '-T', '1', '-O', 'mtu', *name, '-s', script, ok=False,
                 env={**os.environ, 'RESULT': str(result)})
        if not result.exists():
            return None
        return dict(zip(('ip', 'mask', 'router', 'dns', 'domain', 'mtu'), result.read_text().split()))

    def address(self, *addresses, router=None):
        for a in addresses:
            self.run('ip', 'address', 'add', a, 'dev', 'eth0', *(['nodad'] if ':' in a else []))
        if router:
            self.run('ip', 'route', 'add', 'default', 'via', router)


class NetDaemon(harness.Daemon):
    """A daemon in a network namespace."""
    def __init__(self, directory, namespace=None):
        super().__init__(directory)
        self.own = namespace is None
        self.namespace = namespace or Namespace()

    def argv(self):
        return [*self.namespace.prefix, *super().argv()]

    def dnsmasq_pids(self):
        texts = [f.read_text() for f in self.dir.glob('run/networks/*/dnsmasq.pid')]
        return [int(t) for t in texts if t.strip()]

    def cleanup(self):
        if self.process and self.process.poll() is None:
            remove_networks(self.open())
        pids = self.dnsmasq_pids()
        super().cleanup()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        if self.own:
            self.namespace.close()


def is_running(pid):
    """Dead processes may stay for a while, until their parent looks."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def remove_networks(conn):
    for net in conn.listAllNetworks():
        if net.isActive():
            net.destroy()
    for net in conn.listAllNetworks():
        net.undefine()
    conn.close()


TYPES = {'A': 1, 'TXT': 16, 'AAAA': 28, 'SRV': 33, 'PTR': 12}

QUERY = r'''
import socket, struct, sys
server, name, kind = sys.argv[1], sys.argv[2], int(sys.argv[3])
q = struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + b''.join(bytes([len(p)]) + p.encode() for p in name.split('.')) + b'\0' + struct.pack('>2H', kind, 1)
s = socket.socket(socket.AF_INET6 if ':' in server else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
for attempt in range(int(sys.argv[4])):
    s.sendto(q, (server, 53))
    try:
        print(s.recv(4096).hex())
        break
    except TimeoutError:
        pass
'''


def dns(namespace, server, name, kind='A', attempts=5):
    """(response code, data of the answers) of a name server; None if it does not answer."""
    out = namespace.python(QUERY, server, name, TYPES[kind], attempts).stdout.strip()
    if not out:
        return None
    data = bytes.fromhex(out)
    flags, questions, answers = struct.unpack('>HHH', data[2:8])
    at = 12

    def skip_name(at):
        while data[at] and data[at] < 0xc0:
            at += 1 + data[at]
        return at + (2 if data[at] else 1)
    for _ in range(questions):
        at = skip_name(at) + 4
    found = []
    for _ in range(answers):
        at = skip_name(at)
        length = struct.unpack('>H', data[at + 8:at + 10])[0]
        found.append(data[at + 10:at + 10 + length])
        at += 10 + length
    return flags & 15, found


# Sends for some seconds as fast as it goes; the receiver prints bytes per second.
SINK = r'''
import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', int(sys.argv[1])))
s.listen()
print('ready', flush=True)
c = s.accept()[0]
c.recv(1 << 16)
skip = time.monotonic() + 0.5
while time.monotonic() < skip:
    c.recv(1 << 16)
begin, n = time.monotonic(), 0
while time.monotonic() < begin + float(sys.argv[2]):
    n += len(c.recv(1 << 16))
print(n / (time.monotonic() - begin))
'''
SOURCE = r'''
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
try:
    while True:
        s.send(bytes(1 << 16))
except OSError:
    pass
'''


def throughput(sender, receiver, address, enough):
    """KiB/s by TCP, after half a second. A busy host sends less than it may: the best of some tries counts."""
    best = 0
    for port in range(5001, 5006):
        best = max(best, throughput_once(sender, receiver, address, port))
        if best >= enough:
            break
    return best


def throughput_once(sender, receiver, address, port, seconds=2):
    sink = receiver.spawn(sys.executable, '-c', SINK, port, seconds)
    assert sink.stdout.readline() == 'ready\n'
    source = sender.spawn(sys.executable, '-c', SOURCE, address, port)
    value = float(sink.stdout.readline()) / 1024
    source.kill()
    return value


SERVER = r'''
import socket, sys
s = socket.create_server(('', int(sys.argv[1])))
print('ready', flush=True)
while True:
    c, peer = s.accept()
    c.sendall(f'{peer[0]} {peer[1]}'.encode())
    c.close()
'''
CLIENT = r'''
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
print(s.recv(100).decode())
'''


def serve(namespace, port=7000):
    """A server that tells everybody whom it sees."""
    p = namespace.spawn(sys.executable, '-c', SERVER, port)
    assert p.stdout.readline() == 'ready\n'


def seen_as(client, address, port=7000):
    """(address, port) that the server sees of the client, or None if it is not reached."""
    p = client.python(CLIENT, address, port, ok=False)
    return p.stdout.split() if p.returncode == 0 else None
