#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: run-devices.py DOMUS-VM

Devices that are plugged into a Debian kernel's guest and out of it, through domus-vm's control socket. Exit 77: skipped."""
import hashlib
import os
import tempfile
import time

from devicetest import PROMPT, Error, Fd, U32, boot, main

MODULES = [f'drivers/{m}' for m in (
    'virtio/virtio_ring', 'virtio/virtio', 'virtio/virtio_pci_legacy_dev', 'virtio/virtio_pci_modern_dev', 'virtio/virtio_pci',
    'char/hw_random/virtio-rng', 'block/virtio_blk', 'scsi/scsi_common', 'scsi/scsi_mod', 'scsi/sd_mod', 'cdrom/cdrom', 'scsi/sr_mod', 'scsi/virtio_scsi')]


def refused(vm, text, method, *args):
    try:
        vm.call(method, *args)
    except Error as e:
        assert text in str(e), f'{method} says: {e}'
        return e.name
    raise AssertionError(f'{method} {args} was not refused')


def rng(id, **props):
    return {'driver': 'virtio-rng', 'id': id, **{k.replace('_', '-'): v for k, v in props.items()}}


def descriptors(vm):
    return len(os.listdir(f'/proc/{vm.process.pid}/fd'))


def check_descriptors(vm, wanted):
    """A message's own go soon after its reply."""
    end = time.monotonic() + 5
    while descriptors(vm) != wanted:
        assert time.monotonic() < end, f'{descriptors(vm)} descriptors, not {wanted}'
        time.sleep(0.02)


def test_hotplug(start):
    vm = start(devices=[rng('rng0', slot=U32(4))])
    boot(vm)
    assert '/virtio0' in vm.shell('ls -l /sys/bus/virtio/devices')
    assert 'virtio_rng.0' in vm.shell('cat /sys/class/misc/hw_random/rng_current')
    assert vm.shell('dd if=/dev/hwrng bs=1000 count=10 2>/dev/null | wc -c') == '10000'

    before = descriptors(vm)
    with open('/dev/urandom', 'rb') as source:
        vm.add('virtio-rng', 'rng1', slot=U32(7), fd=Fd(source.fileno()), rate_bytes=4096, rate_period=U32(100))
    check_descriptors(vm, before + 1)
    vm.shell('while [ ! -e /sys/bus/pci/devices/0000:00:07.0/virtio1 ]; do usleep 50000; done')
    assert vm.shell('cat /sys/bus/pci/devices/0000:00:07.0/device') == '0x1044'
    vm.shell('while ! grep -q virtio_rng.1 /sys/class/misc/hw_random/rng_available; do usleep 50000; done')
    vm.shell('echo virtio_rng.1 >/sys/class/misc/hw_random/rng_current')
    # 40 KiB at 40 KiB/s; the first period's are there at once.
    took = float(vm.shell("s=$(cut -d' ' -f1 /proc/uptime); dd if=/dev/hwrng of=/dev/null bs=1024 count=40 2>/dev/null; "
                          "e=$(cut -d' ' -f1 /proc/uptime); echo \"$e $s\" | awk '{ print $1 - $2 }'"))
    assert 0.6 < took < 2, took
    # A rate that would take an hour, which is taken back while the guest waits.
    vm.call('SetDevice', 'rng1', {'rate-bytes': 512, 'rate-period': U32(3600000)})
    vm.shell('dd if=/dev/hwrng of=/tmp/bytes bs=1024 count=200 2>/dev/null & :')
    vm.call('SetDevice', 'rng1', {'rate-bytes': 0})
    vm.shell('wait; while [ "$(wc -c </tmp/bytes)" != 204800 ]; do usleep 50000; done')

    # What is wrong is named, nothing is left behind.
    refused(vm, "device 'rng0': there is a device with this id already", 'AddDevices', [rng('rng0', slot=U32(9))])
    refused(vm, "device 'x': PCI slot 4 is taken", 'AddDevices', [rng('x', slot=U32(4))])
    refused(vm, "device 'x': there is no PCI slot 32", 'AddDevices', [rng('x', slot=U32(32))])
    with open('/dev/urandom', 'rb') as source:
        assert refused(vm, "device 'x': unknown property 'colour'", 'AddDevices', [rng('x', fd=Fd(source.fileno()), colour='red')]).endswith('NoProperty')
        refused(vm, "device 'x': there is no driver 'virtio-hamster'", 'AddDevices', [{'driver': 'virtio-hamster', 'id': 'x', 'fd': Fd(source.fileno())}])
    refused(vm, "'rate-period'", 'AddDevices', [rng('x', rate_period=U32(0))])
    refused(vm, "needs a 'driver'", 'AddDevices', [{'id': 'x'}])
    # Of several, none comes when one is refused, and the guest hears of none.
    bus = {'driver': 'virtio-scsi', 'id': 'scsi0', 'slot': U32(9)}
    refused(vm, "device 'disk0': ", 'AddDevices', [bus, {'driver': 'scsi-disk', 'id': 'disk0', 'bus': 'scsi0'}])
    assert refused(vm, "'scsi0'", 'GetDeviceStats', 'scsi0').endswith('NoDevice')
    vm.shell('echo 1 >/sys/bus/pci/rescan; [ ! -e /sys/bus/pci/devices/0000:00:09.0 ]')
    assert refused(vm, "device 'y': there is no such device", 'RemoveDevice', 'y').endswith('NoDevice')
    assert refused(vm, "'y'", 'GetDeviceStats', 'y').endswith('NoDevice')
    assert refused(vm, "device 'rng0'", 'SetDevice', 'rng0', {'colour': 1}).endswith('NoProperty')
    refused(vm, "'rate-period'", 'SetDevice', 'rng0', {'rate-period': U32(0)})
    check_descriptors(vm, before + 1)

    vm.remove('rng1')
    vm.wait_signal('DeviceRemoved', 'rng1')
    check_descriptors(vm, before)
    vm.shell('[ ! -e /sys/bus/pci/devices/0000:00:07.0 ]')
    # The slot can be filled again; the guest may let go by itself.
    vm.add('virtio-rng', 'rng2', slot=U32(7))
    vm.shell('while [ ! -e /sys/bus/pci/devices/0000:00:07.0/virtio1 ]; do usleep 50000; done')
    vm.shell('echo 0 >/sys/bus/pci/slots/7/power')
    vm.wait_signal('DeviceRemoved', 'rng2')

    # A reset ends the guest that was asked.
    vm.call('Pause')
    vm.remove('rng0')
    vm.call('Reset')
    vm.wait_signal('DeviceRemoved', 'rng0')
    vm.call('Resume')
    vm.expect(PROMPT)
    vm.shell('[ ! -e /sys/bus/pci/devices/0000:00:04.0 ]')
    dmesg = vm.shell('dmesg')
    assert 'BUG' not in dmesg and 'WARNING' not in dmesg, dmesg
    assert vm.close() == 0


def test_many_times(start):
    """Each slot, again and again, while the guest reads."""
    vm = start(cpus=2)
    boot(vm)
    vm.shell('(while :; do dd if=/dev/hwrng of=/dev/null bs=512 count=64 2>/dev/null || usleep 10000; done) & :')
    before = descriptors(vm)
    for i in range(3):
        for slot in range(1, 32):
            vm.add('virtio-rng', f'rng{slot}', slot=U32(slot))
        vm.shell('while [ $(ls /sys/bus/virtio/drivers/virtio_rng | grep -c virtio) != 31 ]; do usleep 50000; done')
        for slot in range(1, 32):
            vm.remove(f'rng{slot}')
        for slot in range(1, 32):
            vm.wait_signal('DeviceRemoved')
        vm.shell('[ $(ls /sys/bus/pci/devices | wc -l) = 1 ]')
    check_descriptors(vm, before)
    dmesg = vm.shell('dmesg')
    assert 'BUG' not in dmesg and 'WARNING' not in dmesg, dmesg
    assert vm.close() == 0


def disk(id, fd, **props):
    return {'driver': 'virtio-blk', 'id': id, 'fd': Fd(fd), **{k.replace('_', '-'): v for k, v in props.items()}}


def test_disks(start):
    """Disks that come and go while the guest uses them."""
    vm = start(cpus=2)
    boot(vm)
    before = descriptors(vm)
    with tempfile.TemporaryFile() as image:
        image.truncate(64 << 20)
        image.write(b'first sector')
        image.flush()
        vm.call('AddDevices', [disk('disk0', image.fileno(), slot=U32(6), serial='domus-disk-0')])
        vm.shell('while [ ! -b /dev/vda ]; do usleep 50000; done')
        assert vm.shell('cat /sys/block/vda/size /sys/block/vda/serial').split() == ['131072', 'domus-disk-0']
        assert vm.shell('head -c 12 /dev/vda') == 'first sector'
        vm.shell('dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null; dd if=/tmp/data of=/dev/vda bs=64k seek=16 conv=fsync 2>/dev/null')
        vm.shell('echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k skip=16 count=128 2>/dev/null | cmp - /tmp/data')
        wanted = vm.shell('sha256sum </tmp/data').split()[0]
        image.seek(1 << 20)
        assert hashlib.sha256(image.read(8 << 20)).hexdigest() == wanted
        stats = vm.call('GetDeviceStats', 'disk0')
        assert stats['wr-bytes'] >= 8 << 20 and stats['flush-req'] >= 1 and stats['errors'] == 0, stats
        # Out while it is written to, several times.
        for i in range(3):
            vm.shell('(dd if=/dev/zero of=/dev/vda bs=4k count=100000 conv=notrunc 2>/dev/null; :) & usleep 300000')
            vm.remove('disk0')
            vm.wait_signal('DeviceRemoved', 'disk0')
            vm.shell('while [ -b /dev/vda ]; do usleep 50000; done; wait')
            check_descriptors(vm, before)
            vm.call('AddDevices', [disk('disk0', image.fileno(), slot=U32(6 + i))])
            vm.shell('while [ ! -b /dev/vda ]; do usleep 50000; done')
        # The image grows.
        image.truncate(80 << 20)
        vm.call('SetDevice', 'disk0', {'size': 0})
        vm.shell('while [ $(cat /sys/block/vda/size) != 163840 ]; do usleep 50000; done')
    assert vm.close() == 0


def test_scsi(start):
    """What hangs below a controller comes and goes without ACPI; with the controller all of it goes."""
    vm = start(devices=[{'driver': 'virtio-scsi', 'id': 'scsi0', 'slot': U32(3)}, {'driver': 'scsi-cd', 'id': 'cd0', 'bus': 'scsi0', 'target': U32(0)}])
    boot(vm)
    vm.shell('while [ ! -b /dev/sr0 ]; do usleep 50000; done')
    before = descriptors(vm)
    with tempfile.TemporaryFile() as image, tempfile.TemporaryFile() as medium:
        image.truncate(32 << 20)
        medium.write(b'a medium' + bytes((1 << 20) - 8))
        medium.flush()
        refused(vm, "there is no SCSI controller 'scsi1'", 'AddDevices', [{'driver': 'scsi-disk', 'id': 'disk0', 'bus': 'scsi1', 'fd': Fd(image.fileno())}])
        vm.call('AddDevices', [{'driver': 'scsi-disk', 'id': 'disk0', 'bus': 'scsi0', 'target': U32(2), 'fd': Fd(image.fileno())}])
        vm.shell('while [ ! -b /dev/sda ]; do usleep 50000; done')
        vm.shell('dd if=/dev/urandom of=/dev/sda bs=64k count=100 conv=fsync 2>/dev/null')
        refused(vm, "device 'scsi0': device 'cd0' is connected to it", 'RemoveDevice', 'scsi0')
        vm.remove('disk0')
        vm.wait_signal('DeviceRemoved', 'disk0')
        vm.shell('while [ -b /dev/sda ]; do usleep 50000; done')
        check_descriptors(vm, before)
        vm.call('SetDevice', 'cd0', {'fd': Fd(medium.fileno())})
        vm.shell('i=0; while [ "$(head -c 8 /dev/sr0 2>/dev/null)" != "a medium" ]; do usleep 50000; done')
        vm.call('SetDevice', 'cd0', {'eject': True, 'force': True})
        vm.shell('while head -c 8 /dev/sr0 >/dev/null 2>&1; do usleep 50000; done')
        vm.call('AddDevices', [{'driver': 'scsi-disk', 'id': 'disk1', 'bus': 'scsi0', 'target': U32(1), 'fd': Fd(image.fileno())}])
        vm.shell('while [ ! -b /dev/sda ]; do usleep 50000; done')
        # By the guest's own will, so that nobody is asked about what is connected.
        vm.shell('echo 0 >/sys/bus/pci/slots/3/power')
        vm.wait_signal('DeviceRemoved', 'scsi0')
    check_descriptors(vm, before)
    for id in 'scsi0', 'cd0', 'disk1':
        assert refused(vm, id, 'GetDeviceStats', id).endswith('NoDevice')
    assert vm.close() == 0


def test_no_acpi(start):
    vm = start(acpi=False, devices=[rng('rng0', slot=U32(4))])
    vm.add('virtio-rng', 'early')
    vm.remove('early')
    vm.wait_signal('DeviceRemoved', 'early')
    vm.call('Start', True)
    refused(vm, "device 'x': the machine has no ACPI", 'AddDevices', [rng('x')])
    refused(vm, "device 'rng0': the machine has no ACPI", 'RemoveDevice', 'rng0')
    assert vm.close() == 0


def test_bad_configuration(start):
    for device, text in (rng('a', rate_bytes='much'), "device 'a': property 'rate-bytes'"), (rng('a', slot=U32(0)), 'slot 0 is taken'), (rng('a', slot='four'), 'devices'):
        try:
            start(devices=[device]).close()
        except Error as e:
            assert text in str(e), str(e)
        else:
            raise AssertionError(f'{device} was taken')


main(globals(), MODULES)
