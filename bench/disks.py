# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines with a disk: raw, and qcow2, which Domus has through qemu-storage-daemon."""
import pathlib
import struct
import subprocess
import time

import loads
import vm

SIZE_MIB = 256
MODULES = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_blk']


def make_images(work):
    """Every block of 4 KiB begins with its number."""
    raw, qcow2 = work / 'disk.raw', work / 'disk.qcow2'
    rest = bytes(i % 251 + 1 for i in range(4088))
    with raw.open('wb') as f:
        for mib in range(SIZE_MIB):
            f.write(b''.join(struct.pack('<Q', mib * 256 + i) + rest for i in range(256)))
    subprocess.run(['qemu-img', 'convert', '-O', 'qcow2', raw, qcow2], check=True)
    return {'raw': raw, 'qcow2': qcow2}


class Served(vm.Running):
    """A machine and the server of its image; the CPU time is that of both."""

    def __init__(self, server, *args):
        self.server = server
        super().__init__(*args)

    def cpu_seconds(self):
        tasks = pathlib.Path(f'/proc/{self.server.pid}/task').glob('*/schedstat')
        return super().cpu_seconds() + sum(int(t.read_text().split()[0]) for t in tasks) * 1e-9

    def __exit__(self, *args):
        super().__exit__(*args)
        self.server.terminate()
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:  # QEMU 7.2 may wait for itself for ever if it is told to end in the moment in which its client goes
            self.server.kill()
            self.server.wait()


class Domus(vm.Domus):
    def __init__(self, build, name, image, kind):
        super().__init__(build, name)
        self.image, self.kind = image, kind

    def start(self, m):
        argv = [self.program, 'run', '--engine', 'dbt', '--kernel', m.kernel, '--initrd', m.initrd, '--append', m.cmdline, '--memory', f'{m.mib}M', '--cpus', m.cpus]
        if self.kind == 'raw':
            return vm.Running(self.name, [*argv, '--disk', self.image], m.mib)
        socket = self.image.with_suffix('.sock')
        socket.unlink(missing_ok=True)
        server = subprocess.Popen(['qemu-storage-daemon', '--object', 'iothread,id=t', '--blockdev', f'driver=qcow2,node-name=n,file.driver=file,file.aio=io_uring,file.filename={self.image}', '--export',
                                   f'type=vhost-user-blk,id=e,node-name=n,iothread=t,writable=on,addr.type=unix,addr.path={socket}'])
        while not socket.exists():
            time.sleep(0.01)
        return Served(server, self.name, [*argv, '--device', f'virtio-blk,vhost-user={socket}'], m.mib)


class Qemu(vm.Qemu):
    def __init__(self, image, kind):
        self.image, self.kind = image, kind

    def start(self, m):
        return vm.Running(self.name, ['qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg', '-cpu', 'max', '-m', m.mib, '-smp', m.cpus, '-display', 'none', '-nodefaults',
                                      '-serial', 'stdio', '-kernel', m.kernel, '-initrd', m.initrd, '-append', m.cmdline,
                                      '-drive', f'file={self.image},format={self.kind},if=none,id=d,aio=io_uring', '-device', 'virtio-blk-pci,drive=d'], m.mib)


def measure(ctx, compare):
    """Runs build/bench/bench-disk in guests on both kinds of images; the host runs it on the raw image."""
    program, initrd, images = ctx.programs('disk') / 'bench-disk', ctx.work / 'disk.img', make_images(ctx.work)
    files = [(next(ctx.tree.rglob(f'{m}.ko')), f'/lib/modules/{m}.ko') for m in MODULES]
    script = ''.join(f'insmod /lib/modules/{m}.ko\n' for m in MODULES) + loads.guest_script(loads.command('/bin/bench-disk', ctx.scale, ctx.args.only, {}))
    vm.make_initramfs(ctx.tree, initrd, script, [(program, '/bin/bench-disk'), *files])
    here = loads.command(program, ctx.scale, ctx.args.only, {'BENCH_DISK': images['raw']})
    good = True
    for kind, image in images.items():
        peer = Domus(ctx.args.against.resolve(), 'other', image, kind) if ctx.args.against else Qemu(image, kind)
        vmms = [Domus(ctx.build, 'domus', image, kind), peer]
        good &= compare(ctx, f'disk, {kind}', loads.Native(here), vm.Machine(ctx.machine.kernel, initrd), True, vmms, cpu=True)
    return good
