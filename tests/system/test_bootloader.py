# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains that boot the kernel on their disk: a small one, which boots in milliseconds, from disks that are made here."""
import os
import shutil
import signal
import struct
import subprocess
import sys

import libvirt
import pytest

import harness
from harness import Console, raises, run, wait_until

pytestmark = [pytest.mark.domus, pytest.mark.skipif(not shutil.which('mke2fs') or not shutil.which('debugfs'), reason='no e2fsprogs')]

MENU = '''menuentry "first" --id one { linux /boot/echo.elf from=first }
menuentry "second" --id two { linux /boot/echo.elf from=second }
'''


@pytest.fixture
def disk(guests, tmp_path):
    """A file system with a grub.cfg and the kernel that it names."""
    def make(name, menu=MENU):
        boot = tmp_path / name / 'boot'
        (boot / 'grub').mkdir(parents=True)
        if menu is not None:
            (boot / 'grub/grub.cfg').write_text(menu)
        shutil.copy(guests.echo, boot / 'echo.elf')
        path = guests.dir / f'{name}.img'
        path.unlink(missing_ok=True)
        run('mke2fs', '-q', '-F', '-t', 'ext4', '-d', boot.parent, path, '8M')
        path.chmod(0o644)
        return path
    return make


def rewrite(path, menu, tmp_path):
    """Another configuration in the file system."""
    (tmp_path / 'menu').write_text(menu)
    for request in 'rm /boot/grub/grub.cfg', f'write {tmp_path}/menu /boot/grub/grub.cfg':
        subprocess.run(['debugfs', '-w', '-R', request, path], capture_output=True, check=True)


def disk_xml(path, fmt='raw', target='vda', bus='virtio', more=''):
    return f"<disk type='file'><driver name='qemu' type='{fmt}'/><source file='{path}'/><target dev='{target}' bus='{bus}'/>{more}</disk>"


def domain(devices, top='', os_xml='', name='boots'):
    return (f"<domain type='domus'><name>{name}</name><memory unit='MiB'>64</memory>{top}<os><type arch='x86_64'>hvm</type>{os_xml}</os>"
            f"<features><acpi/><apic/></features><devices><console type='pty'/>{devices}</devices></domain>")


def boots(conn, closing, xml, words):
    """Starts it; its console, after the guest has said these words of its command line."""
    dom = conn.defineXML(xml)
    dom.create()
    console = closing(Console(dom))
    console.expect(f'command line: {words}')
    console.expect('ready> ')
    return dom, console


def convert(path, fmt):
    out = path.with_suffix('.' + fmt)
    run('qemu-img', 'convert', '-O', fmt, path, out)
    out.chmod(0o644)
    return out


@pytest.mark.parametrize('kind', ['raw', 'qcow2', 'scsi', 'vdi'])
def test_boots(conn, disk, closing, kind):
    path = disk(kind)
    if kind == 'scsi':
        xml = disk_xml(path, target='sda', bus='scsi')
    else:
        xml = disk_xml(path if kind == 'raw' else convert(path, kind), fmt=kind)
    boots(conn, closing, domain(xml), 'from=first')


def test_options(conn, disk, closing):
    path = disk('options')
    top = "<bootloader>/usr/sbin/domus-bootloader</bootloader><bootloader_args>--entry two --append 'a b'</bootloader_args>"
    dom, _ = boots(conn, closing, domain(disk_xml(path), top), 'from=second a b')
    assert harness.virt_xml_value(dom.XMLDesc(), 'bootloader_args') == "--entry two --append 'a b'"


def test_which_disk(conn, disk, closing):
    one, two = disk('one', MENU.replace('first', 'one')), disk('two', MENU.replace('first', 'two'))
    disks = [disk_xml(one), disk_xml(two, target='vdb')]
    dom, _ = boots(conn, closing, domain(''.join(disks), os_xml="<boot dev='cdrom'/><boot dev='hd'/>"), 'from=one')
    dom.destroy()
    dom.undefine()
    boots(conn, closing, domain(disks[0] + disk_xml(two, target='vdb', more="<boot order='1'/>")), 'from=two')


def test_volume(conn, disk, closing, guests):
    """A disk that its pool knows."""
    path = disk('volume')
    directory = guests.dir / 'boot-pool'
    directory.mkdir(exist_ok=True)
    convert(path, 'qcow2').rename(directory / 'volume.qcow2')
    pool = conn.storagePoolCreateXML(f"<pool type='dir'><name>boot</name><target><path>{directory}</path></target></pool>")
    try:
        xml = "<disk type='volume'><source pool='boot' volume='volume.qcow2'/><target dev='vda' bus='virtio'/></disk>"
        dom, console = boots(conn, closing, domain(xml), 'from=first')
        console.send('reboot\r')
        console.expect('command line: from=first')
        dom.destroy()
    finally:
        pool.destroy()


@pytest.mark.parametrize('how', ['guest', 'reboot', 'reset'])
def test_restart_reads_again(conn, disk, closing, events, tmp_path, how):
    path = disk('again')
    dom, console = boots(conn, closing, domain(disk_xml(path)), 'from=first')
    rewrite(path, MENU.replace('first', 'another'), tmp_path)
    if how == 'guest':
        console.send('reboot\r')
    elif how == 'reboot':
        dom.reboot()
    else:
        dom.reset()
    console.expect('command line: from=another')
    console.expect('ready> ')
    events.wait('boots', 'reboot')
    assert dom.isActive() and dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert console.ask('still there', 'echo: still there')


def test_restart_of_a_paused_guest(conn, disk, closing):
    dom, console = boots(conn, closing, domain(disk_xml(disk('paused'))), 'from=first')
    dom.suspend()
    dom.reset()
    wait_until(lambda: dom.state()[0] == libvirt.VIR_DOMAIN_PAUSED, what='pause')
    dom.resume()
    console.expect('command line: from=first')
    assert console.ask('awake', 'echo: awake')


def test_failed_restart(conn, disk, closing, events, daemon, tmp_path):
    path = disk('breaks')
    dom, console = boots(conn, closing, domain(disk_xml(path)), 'from=first')
    rewrite(path, 'menuentry gone { linux /boot/gone }', tmp_path)
    console.send('reboot\r')
    events.wait('boots', libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED)
    assert dom.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED]
    text = "domus-bootloader: disk 'vda': /boot/grub/grub.cfg names /boot/gone, which is not there"
    assert f'cannot restart: {text}' in (daemon.dir / 'log/boots.log').read_text(errors='replace')
    rewrite(path, MENU, tmp_path)
    dom.create()


def test_no_kernel(conn, disk, closing, tmp_path):
    """What a boot loader finds need not be a kernel."""
    path = disk('text', 'menuentry a { linux /boot/grub/grub.cfg }')
    dom = conn.defineXML(domain(disk_xml(path)))
    assert 'the kernel is not a bzImage' in raises(libvirt.VIR_ERR_OPERATION_FAILED, dom.create)
    rewrite(path, MENU, tmp_path)
    dom.create()
    console = closing(Console(dom))
    console.expect('ready> ')
    rewrite(path, 'menuentry a { linux /boot/grub/grub.cfg }', tmp_path)
    console.send('reboot\r')
    wait_until(lambda: not dom.isActive(), what='the end')


@pytest.mark.parametrize('what,words', [
    ('empty', "disk 'vda': no partition table, no known file system"),
    ('no menu', 'no grub.cfg, loader/entries or extlinux.conf'),
    ('loop', 'too many other files'),
    ('gpt', 'partition table'),
    ('short', 'only'),
])
def test_bad_disks(conn, disk, guests, what, words):
    path = disk('bad', {'no menu': None, 'loop': 'source $prefix/grub.cfg'}.get(what, MENU))
    if what == 'empty':
        path.write_bytes(bytes(1 << 20))
    elif what == 'gpt':
        sector = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, 1, 2047, 34, 2014, bytes(16), 2, 0xffffffff, 0xffffffff, 0)
        path.write_bytes(bytes(510) + b'\x55\xaa' + sector.ljust(512, b'\0') + bytes(1 << 20))
    elif what == 'short':
        os.truncate(path, 1 << 20)
    for fmt, image in ('raw', path), ('qcow2', convert(path, 'qcow2')):
        dom = conn.defineXML(domain(disk_xml(image, fmt)))
        message = raises(libvirt.VIR_ERR_OPERATION_FAILED, dom.create)
        assert "cannot start domain 'boots': domus-bootloader: " in message and words in message
        assert not dom.isActive() and dom.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
        dom.undefine()


def test_not_a_disk(conn, disk, image_file):
    cdrom = f"<disk type='file' device='cdrom'><source file='{image_file}'/><target dev='sda' bus='scsi'/></disk>"
    for xml, words in [(domain(''), 'neither <kernel> in <os> nor a hard disk'),
                       (domain(cdrom + disk_xml(disk('second')), os_xml="<boot dev='cdrom'/><boot dev='hd'/>"), "CD-ROM drive 'sda' comes first"),
                       (domain(disk_xml('/nonexistent')), "cannot open image '/nonexistent'")]:
        dom = conn.defineXML(xml)
        assert words in raises((libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_SYSTEM_ERROR), dom.create)
        dom.undefine()


@pytest.fixture
def image_file(guests):
    return guests.write('disc.iso', bytes(1 << 20))


def test_virsh(virsh, disk, conn, tmp_path):
    """What a user meets."""
    xml = tmp_path / 'boots.xml'
    xml.write_text(domain(disk_xml(disk('virsh', None)), '<bootloader/>'))
    virsh('define', '--validate', xml)
    p = virsh('start', 'boots', ok=False)
    assert p.returncode and "domus-bootloader: disk 'vda': " in p.stderr
    assert virsh('domstate', '--reason', 'boots').stdout.strip() == 'shut off (failed)'
    dump = tmp_path / 'dump.xml'
    dump.write_text(virsh('dumpxml', 'boots').stdout.replace("type='domus'", "type='qemu'"))
    run('virt-xml-validate', dump, 'domain')
    xml.write_text(domain('', '<bootloader>/usr/bin/pygrub</bootloader>'))
    p = virsh('define', xml, ok=False)
    assert p.returncode and "boot loader '/usr/bin/pygrub' is not available" in p.stderr


def test_no_boot_from_cds(daemon, image_file, guests):
    """virt-install --cdrom says why not, and leaves nothing behind."""
    new = guests.dir / 'installed.img'
    p = run('virt-install', '--connect', daemon.qemu_uri, '--name', 'cd', '--memory', '64', '--osinfo', 'linux2022', '--cdrom', image_file, '--disk',
            f'path={new},size=0.01,format=raw', '--network', 'none', '--graphics', 'none', '--noautoconsole', ok=False)
    assert p.returncode and 'comes first in the boot order, but only hard disks can be booted from here' in p.stderr
    conn = daemon.open()
    assert 'cd' not in [d.name() for d in conn.listAllDomains()]
    for pool in conn.listAllStoragePools():
        pool.destroy()
        pool.undefine()
    conn.close()


def test_daemon_is_away(own_daemon, disk, closing, tmp_path):
    """A guest that restarts meanwhile waits for it."""
    conn = own_daemon.open()
    path = disk('away')
    dom, console = boots(conn, closing, domain(disk_xml(convert(path, 'qcow2'), 'qcow2')), 'from=first')
    pty = libvirt_tty(dom)
    console.close()
    conn.close()
    own_daemon.stop(signal.SIGKILL)
    with open(pty, 'r+b', buffering=0) as f:
        f.write(b'reboot\r')
        text = b''
        while b'rebooting' not in text:
            text += f.read(100)
    own_daemon.start()
    conn = own_daemon.open()
    dom = conn.lookupByName('boots')
    console = closing(Console(dom))
    console.expect('command line: from=first')
    assert console.ask('back', 'echo: back')
    dom.destroy()
    conn.close()


def libvirt_tty(dom):
    return harness.ET.fromstring(dom.XMLDesc()).find('devices/console').get('tty')


CALLER = '''
import os, signal, socket, subprocess, sys
ours, image = socket.socketpair()
out = os.memfd_create('out')
server, *high = [os.dup2(fd, 20 + i) for i, fd in enumerate((ours.fileno(), image.fileno(), out, out))]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
print(subprocess.Popen([sys.argv[1], '--name=vda'], close_fds=False).pid, flush=True)
signal.pause()
'''


def test_ends_with_its_caller():
    """One whose image's server does not answer does not stay behind when the daemon dies."""
    caller = subprocess.Popen([sys.executable, '-c', CALLER, harness.BUILD / 'src/bootloader/domus-bootloader'], stdout=subprocess.PIPE, text=True)
    status = harness.pathlib.Path(f'/proc/{int(caller.stdout.readline())}/status')
    try:
        wait_until(lambda: 'Name:\tdomus-bootloade' in (text := status.read_text()) and 'State:\tS' in text, what='the boot loader that waits')
    finally:
        caller.kill()
        caller.wait()
    wait_until(lambda: not status.exists() or 'State:\tZ' in status.read_text(), what='its end')
