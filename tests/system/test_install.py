# SPDX-License-Identifier: GPL-2.0-or-later
"""virt-install, virt-clone and virt-xml with guests that boot their own kernel: from disks of a pool, on a network, by cloud-init, by Debian's installer."""
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
import netns
from harness import Console, run, wait_until

pytestmark = [pytest.mark.domus, pytest.mark.debian, pytest.mark.skipif(netns.missing() is not None, reason=str(netns.missing()))]

BOOT = 900
SHELL = b'domus-guest# '
LEAN = 'bootloader=domus-bootloader,bootloader_args="--entry 2"'
NETWORK = """<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>"""


class Site(netns.NetDaemon):
    """A host as an installed Domus has it, with a pool and the network "default"."""
    def __init__(self, work):
        super().__init__(work / 'test_install')
        self.images = self.dir / 'images'
        self.images.mkdir(exist_ok=True)
        # Where virt-install puts what it makes; it is this host's only if there is no such folder yet, and empty.
        os.makedirs('/var/lib/libvirt', exist_ok=True)
        self.namespace.sh('mount -t tmpfs -o mode=755 tmpfs /var/lib/libvirt; mkdir -m 711 /var/lib/libvirt/boot')

    def start(self):
        super().start()
        conn = self.open()
        conn.networkCreateXML(NETWORK)
        conn.storagePoolCreateXML(f"<pool type='dir'><name>images</name><target><path>{self.images}</path></target></pool>")
        conn.close()
        return self

    def client(self, program, *args, uri=None, ok=True, timeout=BOOT):
        return self.namespace.run(program, '--connect', uri or self.uri, *args, ok=ok, timeout=timeout)

    def install(self, name, *args, memory='512', **kwargs):
        return self.client('virt-install', '--name', name, '--memory', memory, '--osinfo', 'linux2022', '--graphics', 'none', '--noautoconsole', *args,
                           **kwargs)

    def ssh(self, user, address, key, command):
        """Its output, once the guest lets us in."""
        argv = ['ssh', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=20', '-o',
                'LogLevel=ERROR', '-i', key, f'{user}@{address}', command]

        def attempt():
            p = self.namespace.run(*argv, ok=False, timeout=BOOT)
            return p if p.returncode != 255 else None
        p = wait_until(attempt, timeout=BOOT, what=f'ssh to {user}@{address}')
        assert p.returncode == 0, p.stderr
        return p.stdout


@pytest.fixture(scope='module')
def daemon(work):
    site = Site(work)
    try:
        yield site.start()
    finally:
        site.cleanup()
        site.namespace.close()


@pytest.fixture(scope='module')
def debian():
    """The cache's folder with Debian's disk."""
    return harness.pathlib.Path(run(harness.ROOT / 'tests/guest/make-debian-disk', timeout=1800).stdout.strip())


def base_image(daemon, tree, name):
    path = daemon.images / name
    shutil.copy(tree / 'disk.qcow2', path)
    path.chmod(0o600)
    daemon.client('virsh', 'pool-refresh', 'images')
    return path


def overlay(daemon, name, base):
    daemon.client('virsh', 'vol-create-as', 'images', name, '4G', '--format', 'qcow2', '--backing-vol', base.name, '--backing-vol-format', 'qcow2')
    return f'vol=images/{name},bus=virtio'


@pytest.fixture(scope='module')
def base(daemon, debian):
    return base_image(daemon, debian, 'base.qcow2')


@pytest.fixture(scope='module')
def guest(daemon, base):
    """A guest by virt-install --import: its disks are made by the options that users take; the kernel is its own."""
    daemon.client('virsh', 'vol-create-as', 'images', 'data.raw', '16M', '--format', 'raw')
    daemon.install('one', '--import', '--boot', LEAN, '--disk', f'pool=images,size=4,format=qcow2,backing_store={base},backing_format=qcow2,bus=virtio',
                   '--disk', 'pool=images,size=0.0625,bus=virtio', '--disk', 'vol=images/data.raw,bus=virtio', '--network',
                   'network=default,model=virtio')
    conn = daemon.open()
    dom = conn.lookupByName('one')
    console = Console(dom)
    console.expect(b'domus-guest: init reached', timeout=BOOT)
    console.expect(SHELL, timeout=BOOT)
    yield dom, console
    console.close()
    conn.close()


def ask(console, command, answer=b'', timeout=harness.TIMEOUT):
    console.send(command + '; echo "done"+\n')
    seen = console.expect(answer, timeout=timeout) if answer else b''
    return seen + console.expect(b'done+', timeout=timeout)


def address_of(dom, wanted=1):
    """The first IPv4 address that the network's server has given."""
    def leased():
        found = dom.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
        addresses = [a['addr'] for i in found.values() for a in i['addrs'] or []]
        return addresses if len(addresses) >= wanted else None
    return wait_until(leased, timeout=BOOT, what='an address')[0]


def mac_of(dom):
    return devices(dom).find('interface/mac').get('address')


def devices(dom, flags=0):
    return ET.fromstring(dom.XMLDesc(flags)).find('devices')


# --- The guest of virt-install --import ---

def test_import(daemon, guest, debian):
    dom, console = guest
    root = ET.fromstring(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert root.findtext('bootloader') == 'domus-bootloader' and root.find('os/kernel') is None
    ask(console, 'cat /proc/cmdline', b'init=/usr/local/sbin/domus-init')
    ask(console, 'cat /sys/block/vd[abc]/size', b'8388608\r\n131072\r\n32768')
    out = daemon.ssh('root', address_of(dom), debian / 'id_ed25519', 'cat /sys/class/dmi/id/product_uuid')
    assert out.strip() == dom.UUIDString()
    ask(console, 'echo kept >/root/kept; sync')


def test_virt_xml_on_a_running_guest(daemon, guest):
    dom, console = guest
    daemon.client('virt-xml', 'one', '--add-device', '--disk', 'pool=images,size=0.03125,bus=virtio,serial=added', '--update')
    ask(console, 'until grep -qs added /sys/block/vd?/serial; do sleep 0.2; done; cat /sys/block/vdd/size', b'65536')
    for flags in 0, libvirt.VIR_DOMAIN_XML_INACTIVE:
        assert len(devices(dom, flags).findall('disk')) == 4
    daemon.client('virt-xml', 'one', '--edit', '--network', 'link.state=down', '--update')
    ask(console, 'until grep -q 0 /sys/class/net/e*/carrier; do sleep 0.2; done')
    daemon.client('virt-xml', 'one', '--edit', '--network', 'link.state=up', '--update')
    ask(console, 'until grep -q 1 /sys/class/net/e*/carrier; do sleep 0.2; done')
    daemon.client('virt-xml', 'one', '--remove-device', '--disk', 'target=vdd', '--update')
    wait_until(lambda: len(devices(dom).findall('disk')) == 3, what='the removal')
    assert len(devices(dom, libvirt.VIR_DOMAIN_XML_INACTIVE).findall('disk')) == 3
    ask(console, 'while [ -e /dev/vdd ]; do sleep 0.2; done')


def test_new_kernel_at_the_reboot(daemon, guest):
    """What the guest has installed since is what boots, as on a machine with a disk."""
    dom, console = guest
    ask(console, "cp /boot/vmlinuz-6* /boot/vmlinuz-new; sed -i 's,/boot/vmlinuz-6[^ ]*,/boot/vmlinuz-new,; s,console=tty0,from=new,' /boot/grub/grub.cfg; sync")
    seen = []
    event = dom.connect().domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, lambda *_: seen.append(True), None)
    dom.reboot()
    console.expect(b'init reached', timeout=BOOT)
    console.expect(SHELL, timeout=BOOT)
    dom.connect().domainEventDeregisterAny(event)
    assert seen and dom.isActive()
    ask(console, 'cat /proc/cmdline', b'from=new')
    ask(console, 'cat /root/kept', b'kept')
    log = (daemon.dir / 'log/one.log').read_text(errors='replace')
    assert re.findall(r"boot loader: disk 'vda', kernel '/boot/vmlinuz-(\w+)", log) == ['6', 'new']


@pytest.fixture(scope='module')
def clone(daemon, guest):
    """What virt-clone makes of it, while it is off."""
    dom, console = guest
    dom.shutdown()
    wait_until(lambda: not dom.isActive(), timeout=BOOT, what='the end')
    daemon.client('virt-clone', '--original', 'one', '--name', 'two', '--auto-clone')
    copy = dom.connect().lookupByName('two')
    copy.create()
    other = Console(copy)
    other.expect(b'init reached', timeout=BOOT)
    other.expect(SHELL, timeout=BOOT)
    yield copy, other
    other.close()


def test_clone(daemon, guest, clone):
    """The copy has disks of its own with the same on them, and is another guest on the network."""
    dom, copy, console = guest[0], *clone
    files = [{s.get('file') for s in devices(d).iter('source') if s.get('file')} for d in (dom, copy)]
    assert len(files[1]) == 3 and not files[0] & files[1]
    ask(console, 'cat /root/kept', b'kept')
    ask(console, 'cat /proc/cmdline', b'from=new')
    assert address_of(copy) not in [lease['ipaddr'] for lease in dom.connect().networkLookupByName('default').DHCPLeases(mac_of(dom))]


def test_failed_restart(daemon, clone):
    """A guest that has made itself unbootable ends, and its log says why."""
    dom, console = clone
    ask(console, 'rm /boot/vmlinuz-*; sync')
    dom.reboot()
    wait_until(lambda: not dom.isActive(), timeout=BOOT, what='the end')
    assert dom.state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED]
    assert 'which is not there' in (daemon.dir / 'log/two.log').read_text(errors='replace')
    message = harness.raises(libvirt.VIR_ERR_OPERATION_FAILED, dom.create)
    assert "domus-bootloader: disk 'vda'" in message and 'which is not there' in message


# --- Others ---

def test_virt_xml_on_a_defined_guest(daemon):
    daemon.client('virsh', 'vol-create-as', 'images', 'plain.raw', '1M', '--format', 'raw')
    daemon.install('plain', '--import', '--disk', 'vol=images/plain.raw,bus=virtio', '--network', 'none', '--noreboot')
    conn = daemon.open()
    dom = conn.lookupByName('plain')
    daemon.client('virt-xml', 'plain', '--edit', '--memory', '640')
    daemon.client('virt-xml', 'plain', '--edit', '--vcpus', '2')
    daemon.client('virt-xml', 'plain', '--add-device', '--rng', '/dev/urandom')
    daemon.client('virt-xml', 'plain', '--add-device', '--disk', 'pool=images,size=0.01,bus=virtio')
    daemon.client('virt-xml', 'plain', '--edit', '--boot', 'bootloader=domus-bootloader,bootloader_args="--entry 0 --append single"')
    daemon.client('virt-xml', 'plain', '--remove-device', '--disk', 'target=vda')
    root = ET.fromstring(dom.XMLDesc())
    assert root.findtext('vcpu') == '2' and root.findtext('memory') == str(640 << 10)
    assert root.find('devices/rng') is not None and [t.get('dev') for t in root.findall('devices/disk/target')] == ['vdb']
    assert root.findtext('bootloader_args') == '--entry 0 --append single'
    p = daemon.client('virt-xml', 'plain', '--edit', '--boot', 'bootloader_args="--list"', ok=False)
    assert p.returncode and "'--list' in <bootloader_args> is not supported" in p.stderr
    dom.undefine()
    conn.close()


USER_DATA = '''#cloud-config
hostname: made-by-cloud-init
locale: false
ssh_genkeytypes: [ed25519]
users:
  - name: alice
    sudo: ALL=(ALL) NOPASSWD:ALL
    shell: /bin/bash
    ssh_authorized_keys: ["@KEY@"]
'''


def test_cloud_init(daemon):
    """With all that virt-install chooses by itself for a qemu URI: the disc and the SMBIOS strings of nocloud, and no word of a kernel."""
    tree = harness.pathlib.Path(run(harness.ROOT / 'tests/guest/make-debian-disk', 'cloud-init', timeout=1800).stdout.strip())
    data = daemon.dir / 'user-data'
    data.write_text(USER_DATA.replace('@KEY@', (tree / 'id_ed25519.pub').read_text().strip()))
    disk = overlay(daemon, 'cloud.qcow2', base_image(daemon, tree, 'cloud-base.qcow2'))
    daemon.install('cloud', '--import', '--disk', disk, '--network', 'network=default', '--cloud-init', f'user-data={data},disable=on',
                   uri=daemon.qemu_uri)
    conn = daemon.open()
    dom = conn.lookupByName('cloud')
    assert devices(dom).find("disk[@device='cdrom']/source") is not None
    out = daemon.ssh('alice', address_of(dom), tree / 'id_ed25519', 'hostname; id -un; sudo -n id -un; sudo -n cat /sys/class/dmi/id/product_serial')
    assert out.split()[:3] == ['made-by-cloud-init', 'alice', 'root'] and 'ds=nocloud' in out
    dom.destroy()
    # What is left is the guest without the disc.
    assert devices(dom).find("disk[@device='cdrom']/source") is None
    dom.undefine()
    conn.close()


def test_location(daemon):
    """Debian's installer, from a tree on this machine: its first question on the serial console."""
    tree = run(harness.ROOT / 'tests/guest/fetch-installer', timeout=900).stdout.strip()
    daemon.install('installed', '--location', tree, '--extra-args', 'console=ttyS0 TERM=dumb DEBIAN_FRONTEND=text', '--disk',
                   'pool=images,size=1,bus=virtio', '--network', 'network=default,model=virtio', memory='1024')
    conn = daemon.open()
    dom = conn.lookupByName('installed')
    console = Console(dom)
    console.expect(b'Select a language', timeout=BOOT)
    console.close()
    assert ET.fromstring(dom.XMLDesc()).find('os/kernel') is not None
    # Afterwards it boots from its disk.
    assert ET.fromstring(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).find('os/kernel') is None
    dom.destroy()
    assert "domus-bootloader: disk 'vda'" in harness.raises(libvirt.VIR_ERR_OPERATION_FAILED, dom.create)
    dom.undefine()
    conn.close()
