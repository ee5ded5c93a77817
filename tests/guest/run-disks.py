#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: run-disks.py DOMUS-VM [TEST...]

Disks of a Debian kernel's guest: that what was flushed survives, full disks, limits, sizes, discard, media, hot-plug while they work. Exit 77: skipped."""
import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile

from devicetest import Error, Fd, Skip, U32, boot, main

MODULES = [f'drivers/{m}' for m in (
    'virtio/virtio_ring', 'virtio/virtio', 'virtio/virtio_pci_legacy_dev', 'virtio/virtio_pci_modern_dev', 'virtio/virtio_pci', 'block/virtio_blk',
    'scsi/scsi_common', 'scsi/scsi_mod', 'scsi/virtio_scsi', 'scsi/sd_mod', 'cdrom/cdrom', 'scsi/sr_mod')] + ['fs/isofs/isofs']
MiB = 1 << 20


class Image:
    """A raw image and its descriptor."""

    def __init__(self, directory, size, flags=0, name='image'):
        self.path = os.path.join(directory, name)
        with open(self.path, 'wb') as f:
            f.truncate(size)
        os.sync()  # the file itself is not what a power cut shall take
        self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | flags)

    def disk(self, id='disk', driver='virtio-blk', **props):
        return {'driver': driver, 'id': id, 'fd': Fd(self.fd), **{k.replace('_', '-'): v for k, v in props.items()}}

    def close(self):
        os.close(self.fd)

    def blocks(self):
        return os.stat(self.path).st_blocks


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix='domus-disks-', dir='/var/tmp') as d:
        yield d


@contextlib.contextmanager
def file_system(size):
    """A small ext4 of its own: its directory."""
    with scratch() as d:
        os.mkdir(f'{d}/mnt')
        with open(f'{d}/fs', 'wb') as f:
            f.truncate(size)
        subprocess.run(['mkfs.ext4', '-q', '-m', '0', f'{d}/fs'], check=True, env={**os.environ, 'PATH': '/usr/sbin:/sbin:/usr/bin:/bin'})
        if os.geteuid() != 0 or subprocess.run(['mount', '-o', 'loop', f'{d}/fs', f'{d}/mnt']).returncode != 0:
            raise Skip('a file system of its own needs root and loop devices')
        try:
            yield f'{d}/mnt'
        finally:
            subprocess.run(['umount', f'{d}/mnt'], check=True)


def work(vm, command):
    """For what takes seconds where nothing else runs."""
    return vm.shell(command, timeout=240)


# --- What was flushed survives

JOURNAL = ("i=0; while :; do printf 'record %08d' $i | dd of=/dev/vda bs=4096 seek=$i conv=sync,fsync,notrunc 2>/dev/null && "
           "echo acknowledged $i.; i=$((i + 1)); done")


def run_journal(vm, records):
    """The guest writes and flushes a record after the other. The last one that it knows to be on the disk, of at least so many."""
    boot(vm)
    os.write(vm.console, (JOURNAL + '\n').encode())
    vm.expect(f'acknowledged {records}.')


def last_acknowledged(vm, at_least):
    with contextlib.suppress(OSError):
        for _ in range(20):
            vm._step(0.02)
    found = re.findall(r'acknowledged (\d+)\.', vm.console_text)
    return max([at_least] + [int(n) for n in found])


def missing_records(path, last):
    with open(path, 'rb') as f:
        return [i for i in range(last + 1) if f.seek(i * 4096) is None or f.read(15) != b'record %08d' % i]


def kill(vm):
    vm.process.send_signal(signal.SIGKILL)
    vm.process.wait()


def test_killed(start):
    """The process dies at any time; the host lives."""
    for i, props in enumerate([{}, {'cache': 'none'}, {'cache': 'writethrough'}]):
        with scratch() as d:
            image = Image(d, 64 * MiB, os.O_DIRECT if props.get('cache') == 'none' else 0)
            vm = start(devices=[image.disk(**props)])
            run_journal(vm, 20 + 7 * i)
            kill(vm)
            last = last_acknowledged(vm, 20 + 7 * i)
            image.close()
            assert missing_records(image.path, last) == [], f'{props}: of {last}'
            vm.close()


def cut_power(mount_point):
    """EXT4_IOC_SHUTDOWN, without writing anything back: what was not synchronised is lost, as if the host had lost power."""
    fd = os.open(mount_point, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x8004587d, ctypes.c_uint32(2))
    finally:
        os.close(fd)


def lost_after_power_cut(start, **props):
    with file_system(128 * MiB) as d:
        image = Image(d, 64 * MiB)
        vm = start(devices=[image.disk(werror='report', **props)])
        run_journal(vm, 20)
        cut_power(d)
        last = last_acknowledged(vm, 20)
        kill(vm)
        vm.close()
        image.close()
        subprocess.run(['umount', d], check=True)
        subprocess.run(['mount', '-o', 'loop', f'{d}/../fs', d], check=True)
        return missing_records(image.path, last)


def test_power_cut(start):
    assert lost_after_power_cut(start) == []
    assert lost_after_power_cut(start, cache='writethrough') == []
    # That the test would see it.
    assert lost_after_power_cut(start, cache='unsafe') != []


# --- Full disks

def test_full(start):
    with file_system(48 * MiB) as d:
        image = Image(d, 64 * MiB)
        filler = os.path.join(d, 'filler')
        with open(filler, 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, 24 * MiB)
        vm = start(devices=[image.disk()])
        boot(vm)
        vm.shell('dd if=/dev/urandom of=/tmp/data bs=1M count=30 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches')
        os.write(vm.console, b'dd if=/tmp/data of=/dev/vda bs=1M conv=fsync 2>/dev/null && printf "<<%s>>" written\n')
        vm.wait_signal('DeviceError', 'disk', 'no-space', timeout=60)
        vm.wait_signal('StateChanged', 'paused', 'io-error')
        # Still full: it stops again.
        vm.call('Resume')
        vm.wait_signal('StateChanged', 'paused', 'io-error')
        os.unlink(filler)
        vm.call('Resume')
        vm.expect('<<written>>')
        vm.shell('echo 3 >/proc/sys/vm/drop_caches; cmp -n 31457280 /tmp/data /dev/vda')
        assert 'error' not in vm.shell('dmesg').lower()
        assert vm.close() == 0
        image.close()


# --- What disks can do

def test_blk(start):
    with scratch() as d:
        image = Image(d, 256 * MiB)
        vm = start(cpus=2, devices=[image.disk(serial='serial-1', discard=True, queues=U32(2), logical_block_size=U32(512))])
        boot(vm)
        assert vm.shell('cat /sys/block/vda/serial') == 'serial-1'
        assert vm.shell('ls /sys/block/vda/mq | wc -l') == '2'
        work(vm, '/opt/mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt && dd if=/dev/urandom of=/tmp/d bs=1M count=40 2>/dev/null && '
                 'cp /tmp/d /mnt/d && sync && umount /mnt')
        assert image.blocks() * 512 > 40 * MiB
        vm.shell('echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /mnt && cmp /tmp/d /mnt/d && rm /mnt/d && sync && fstrim /mnt && umount /mnt')
        assert image.blocks() * 512 < 20 * MiB, image.blocks()
        # A larger one while it is mounted.
        vm.shell('mount -t ext4 /dev/vda /mnt')
        vm.call('SetDevice', 'disk', {'size': 512 * MiB})
        vm.shell('while [ $(cat /sys/block/vda/size) != 1048576 ]; do usleep 50000; done')
        assert os.stat(image.path).st_size == 512 * MiB
        vm.shell('umount /mnt; dd if=/tmp/d of=/dev/vda bs=1M seek=470 conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; '
                 'dd if=/dev/vda bs=1M skip=470 count=40 2>/dev/null | cmp - /tmp/d')
        stats = vm.call('GetDeviceStats', 'disk')
        assert stats['rd-bytes'] > 40 * MiB and stats['wr-bytes'] > 80 * MiB and stats['flush-req'] > 0 and stats['size'] == 512 * MiB, stats
        assert stats['wr-highest'] == 510 * MiB and stats['errors'] == 0, stats
        dmesg = vm.shell('dmesg')
        assert 'BUG' not in dmesg and 'I/O error' not in dmesg, dmesg
        assert vm.close() == 0
        image.close()


def timed(vm, command):
    """Seconds of the guest."""
    return float(vm.shell(f"s=$(cut -d' ' -f1 /proc/uptime); {command} >/dev/null 2>&1; e=$(cut -d' ' -f1 /proc/uptime); "
                          "echo \"$e $s\" | awk '{ print $1 - $2 }'"))


def test_limits(start):
    # A machine that is busy with other things may be slower, but never faster.
    slack = max(1, os.getloadavg()[0] / os.cpu_count())
    with scratch() as d:
        image = Image(d, 256 * MiB)
        vm = start(devices=[image.disk(iotune={'read-bytes-sec': 10 * MiB, 'write-iops-sec': 50})])
        boot(vm)
        took = timed(vm, 'dd if=/dev/vda of=/dev/null bs=1M count=50')
        assert 4.5 < took < 5.5 * slack, took
        took = timed(vm, '(for i in 0 1 2 3 4 5 6 7; do dd if=/dev/zero of=/dev/vda bs=4096 seek=$((i * 100)) count=25 oflag=direct & done; wait)')
        assert 3.6 < took < 4.4 * slack, took
        vm.call('SetDevice', 'disk', {'iotune': {'total-bytes-sec': 40 * MiB}})
        took = timed(vm, 'dd if=/dev/vda of=/dev/null bs=1M skip=60 count=120')
        assert 2.7 < took < 3.3 * slack, took
        try:
            vm.call('SetDevice', 'disk', {'iotune': {'total-bytes': 1}})
        except Error as e:
            assert "no limit 'total-bytes'" in str(e), str(e)
        assert vm.close() == 0
        image.close()


def make_iso(d, name, content):
    with open(f'{d}/{name}.txt', 'w') as f:
        f.write(content)
    subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-o', f'{d}/{name}.iso', f'{d}/{name}.txt'], check=True, stderr=subprocess.DEVNULL)
    return os.open(f'{d}/{name}.iso', os.O_RDONLY | os.O_CLOEXEC)


def test_scsi(start):
    """A disk comes and goes while it works, CDs change."""
    with scratch() as d:
        image = Image(d, 256 * MiB)
        vm = start(cpus=2, devices=[{'driver': 'virtio-scsi', 'id': 'scsi0', 'slot': U32(5)}, {'driver': 'scsi-cd', 'id': 'cd', 'bus': 'scsi0', 'target': U32(1)}])
        boot(vm)
        assert vm.shell('cat /sys/block/sr0/device/vendor').strip() == 'DOMUS'
        vm.call('AddDevices', [image.disk('sda', 'scsi-disk', bus='scsi0', target=U32(3), lun=U32(2), serial='s-1', discard=True)])
        vm.shell('while [ ! -b /dev/sda ]; do usleep 50000; done')
        work(vm, '/opt/mkfs.ext4 -q /dev/sda && mount -t ext4 /dev/sda /mnt && dd if=/dev/urandom of=/tmp/d bs=1M count=30 2>/dev/null && cp /tmp/d /mnt/d && '
                 'umount /mnt && echo 3 >/proc/sys/vm/drop_caches && mount -t ext4 /dev/sda /mnt && cmp /tmp/d /mnt/d && umount /mnt')
        vm.call('SetDevice', 'sda', {'size': 300 * MiB})
        vm.shell('while [ $(cat /sys/block/sda/size) != 614400 ]; do usleep 50000; echo 1 >/sys/block/sda/device/rescan; done')
        for i in range(3):
            vm.shell('(while :; do dd if=/dev/sda of=/dev/null bs=64k 2>/dev/null || break; done) & :')
            vm.remove('sda')
            vm.wait_signal('DeviceRemoved', 'sda')
            vm.shell('while [ -b /dev/sda ]; do usleep 50000; done')
            vm.call('AddDevices', [image.disk('sda', 'scsi-disk', bus='scsi0', target=U32(3), lun=U32(2))])
            vm.shell('while [ ! -b /dev/sda ]; do usleep 50000; done')
        if shutil.which('xorriso'):
            change_cds(vm, d)
        assert vm.close() == 0
        image.close()


def change_cds(vm, d):
    for name in ('one', 'two'):
        fd = make_iso(d, name, f'this is {name}')
        vm.call('SetDevice', 'cd', {'fd': Fd(fd)})
        os.close(fd)
        vm.shell('for i in 1 2 3 4 5; do mount -t iso9660 -o ro /dev/sr0 /mnt 2>/dev/null && break; sleep 1; done')
        assert f'this is {name}' in vm.shell('cat /mnt/*')
        if name == 'two':
            # Mounted: locked by the guest.
            try:
                vm.call('SetDevice', 'cd', {'eject': True})
                raise AssertionError('a locked tray was opened')
            except Error as e:
                assert 'locked' in str(e), str(e)
        vm.shell('umount /mnt')
    vm.call('SetDevice', 'cd', {'eject': True, 'force': True})
    vm.shell('if dd if=/dev/sr0 of=/dev/null bs=2048 count=1; then false; fi')
    vm.shell('eject /dev/sr0 || eject -s /dev/sr0 || :')


def test_hotplug(start):
    """A PCI disk goes while it is written to, and comes again."""
    with scratch() as d:
        image = Image(d, 256 * MiB)
        vm = start(cpus=2, devices=[image.disk(slot=U32(6))])
        boot(vm)
        for i in range(3):
            # By a node of its own: a write to /dev/vda when it has just gone would make a file of that name.
            vm.shell('rm -f /tmp/vda; mknod /tmp/vda b $(tr : " " </sys/block/vda/dev)')
            vm.shell('(while dd if=/dev/zero of=/tmp/vda bs=64k count=1000 conv=fsync 2>/dev/null; do :; done) & sleep 0.3')
            vm.remove('disk')
            vm.wait_signal('DeviceRemoved', 'disk', timeout=60)
            vm.shell('while [ -b /dev/vda ]; do usleep 50000; done')
            vm.call('AddDevices', [image.disk(slot=U32(6))])
            vm.shell('while [ ! -b /dev/vda ]; do usleep 50000; done')
        dmesg = vm.shell('dmesg')
        assert 'BUG' not in dmesg and 'Oops' not in dmesg, dmesg
        assert vm.close() == 0
        image.close()


main(globals(), MODULES, commands='mkdir /mnt\n',
     files=[f'{shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin")}=/opt/mkfs.ext4'])
