# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines with a network card on a tap, in a network namespace of the measurement's own, where the other end of their connections is."""
import shlex
import subprocess

import loads
import vm

MODULES = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'failover', 'net_failover', 'virtio_net']
MAC = '52:54:00:12:34:56'
TAP, HOST, GUEST = 'tap0', '10.0.0.1', '10.0.0.2'
VETH_HOST, VETH_CLIENT = '10.0.1.1', '10.0.1.2'


class Namespace:
    """A network namespace, which a process that sleeps keeps."""

    def __init__(self):
        self.holder = subprocess.Popen(['unshare', '--net', 'setpriv', '--pdeathsig', 'KILL', 'sh', '-c', 'echo; exec sleep infinity'], stdout=subprocess.PIPE)
        if not self.holder.stdout.readline():
            raise vm.GuestError('no network namespace can be made, which needs root')
        self.prefix = ['nsenter', f'--net=/proc/{self.holder.pid}/ns/net']
        self.run('ip', 'link', 'set', 'lo', 'up')

    def run(self, *command):
        subprocess.run([*self.prefix, *command], check=True)

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Network:
    """The host's side: a tap for the guest, a veth for the client on the host itself, and the server."""

    def __init__(self, server):
        self.host, self.client = Namespace(), Namespace()
        self.host.run('ip', 'tuntap', 'add', 'dev', TAP, 'mode', 'tap', 'vnet_hdr')
        self.host.run('ip', 'addr', 'add', f'{HOST}/24', 'dev', TAP)
        self.host.run('ip', 'link', 'set', TAP, 'up')
        self.host.run('ip', 'link', 'add', 'veth0', 'type', 'veth', 'peer', 'name', 'veth1', 'netns', str(self.client.holder.pid))
        for namespace, name, address in (self.host, 'veth0', VETH_HOST), (self.client, 'veth1', VETH_CLIENT):
            namespace.run('ip', 'addr', 'add', f'{address}/24', 'dev', name)
            namespace.run('ip', 'link', 'set', name, 'up')
        self.server = subprocess.Popen([*self.host.prefix, server, '--serve'], stdout=subprocess.PIPE)
        self.server.stdout.readline()

    def close(self):
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        self.host.close()
        self.client.close()


class Domus(vm.Domus):
    def __init__(self, build, name, prefix):
        super().__init__(build, name)
        self.prefix = prefix

    def start(self, m):
        return vm.Running(self.name, [*self.prefix, self.program, 'run', '--engine', 'dbt', '--kernel', m.kernel, '--initrd', m.initrd, '--append', m.cmdline,
                                      '--memory', f'{m.mib}M', '--cpus', m.cpus, '--net', f'tap={TAP},mac={MAC}'], m.mib)


class Qemu(vm.Qemu):
    def __init__(self, prefix):
        self.prefix = prefix

    def start(self, m):
        return vm.Running(self.name, [*self.prefix, 'qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg', '-cpu', 'max', '-m', m.mib, '-smp', m.cpus, '-display', 'none',
                                      '-nodefaults', '-serial', 'stdio', '-kernel', m.kernel, '-initrd', m.initrd, '-append', m.cmdline, '-netdev',
                                      f'tap,id=n,ifname={TAP},script=no,downscript=no', '-device', f'virtio-net-pci,netdev=n,mac={MAC}'], m.mib)


def guest_commands(ctx):
    """The kernel gives a card an address of its own by IPv6, and asks around with it: that is switched off, to be quiet from the start."""
    return ('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6\n' + ''.join(f'insmod /lib/modules/{m}.ko\n' for m in MODULES) +
            f'ip addr add {GUEST}/24 dev eth0\nip link set eth0 up\n' +
            loads.guest_script(loads.command('/bin/bench-net', ctx.scale, ctx.args.only, {'BENCH_PEER': HOST})))


def measure(ctx, compare):
    """Runs build/bench/bench-net in guests against itself on the host; the host runs it in another namespace, over a veth."""
    program, initrd = ctx.programs('net') / 'bench-net', ctx.work / 'net.img'
    files = [(next(ctx.tree.rglob(f'{m}.ko')), f'/lib/modules/{m}.ko') for m in MODULES]
    vm.make_initramfs(ctx.tree, initrd, guest_commands(ctx), [(program, '/bin/bench-net'), *files])
    network = Network(program)
    try:
        prefix = network.host.prefix
        here = loads.command(f'{shlex.join(network.client.prefix)} {program}', ctx.scale, ctx.args.only, {'BENCH_PEER': VETH_HOST})
        peer = Domus(ctx.args.against.resolve(), 'other', prefix) if ctx.args.against else Qemu(prefix)
        vmms = [Domus(ctx.build, 'domus', prefix), peer]
        return compare(ctx, 'net', loads.Native(here), vm.Machine(ctx.machine.kernel, initrd), True, vmms, cpu=True)
    finally:
        network.close()
