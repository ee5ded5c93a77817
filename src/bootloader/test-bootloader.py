#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""domus-bootloader on images made here: partition tables, file systems, configurations, damage. Argument: the program."""
import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

TOOLS = ['mke2fs', 'sfdisk', 'mkfs.vfat', 'mmd', 'mcopy', 'debugfs']
PROGRAM = sys.argv[1]
KERNEL, INITRD = b'kernel ' * 3001, b'initrd ' * 5001
UUID = '5a8f1d0c-3b1e-4c55-9b35-2c86c1f6d0a7'

GRUB = r'''
# As Debian's update-grub writes it, shortened.
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
else
   set default="0"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function savedefault {
  if [ -z "${boot_once}" ]; then
    saved_entry="${chosen}"
    save_env saved_entry
  fi
}
function load_video { insmod all_video; }
if loadfont unicode ; then set gfxmode=auto; load_video; fi
set linux_gfx_mode=keep
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-x' {
	load_video
	search --no-floppy --fs-uuid --set=root @UUID@
	echo	'Loading Linux ...'
	linux	/boot/vmlinuz-2 root=UUID=@UUID@ ro  quiet
	echo	'Loading initial ramdisk ...'
	initrd	/boot/initrd.img-2
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-x' {
	menuentry 'Debian GNU/Linux, with Linux 2' --class debian $menuentry_id_option 'gnulinux-2-advanced-x' {
		linux	/boot/vmlinuz-2 root=/dev/vda1 advanced
		initrd	/boot/initrd.img-2
	}
	menuentry 'Debian GNU/Linux, with Linux 1 (recovery mode)' --unrestricted $menuentry_id_option 'gnulinux-1-recovery-x' {
		linux	/boot/vmlinuz-1 single "a b=\"c\""
		initrd	/boot/initrd.img-2 /boot/initrd.img-1
	}
}
menuentry "Gone" { linux /boot/vmlinuz-gone; initrd /boot/initrd.img-2; }
menuentry "Xen" { multiboot /boot/xen.gz ; }
'''.replace('@UUID@', UUID)


class Failed(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failed(' '.join(str(w) for w in what))


def tool(*args, data=None):
    p = subprocess.run([str(a) for a in args], input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       env={**os.environ, 'MTOOLS_SKIP_CHECK': '1'})
    check(p.returncode == 0, args, p.stdout.decode(errors='replace'))


# --- Images ---

class Maker:
    def __init__(self, work):
        self.work, self.n = pathlib.Path(work), 0

    def new(self, suffix='img'):
        self.n += 1
        return self.work / f'{self.n}.{suffix}'

    def tree(self, files):
        root = self.new('d')
        for name, data in files.items():
            path = root / name.lstrip('/')
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, pathlib.PurePath):
                path.symlink_to(data)
            else:
                path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return root

    def ext(self, files, kind='ext4', size=8 << 20, *options):
        out = self.new()
        with open(out, 'wb') as f:
            f.truncate(size)
        tool('mke2fs', '-q', '-F', '-t', kind, '-U', UUID, '-L', 'root', *options, '-d', self.tree(files), out)
        return out

    def vfat(self, files, size=8 << 20, *options):
        out = self.new()
        with open(out, 'wb') as f:
            f.truncate(size)
        tool('mkfs.vfat', '-n', 'BOOT', '-i', 'abcd1234', *options, out)
        made = set()
        for name, data in files.items():
            for parent in reversed(pathlib.PurePosixPath(name).parents):
                if str(parent) != '/' and parent not in made:
                    made.add(parent)
                    tool('mmd', '-i', out, f'::{parent}')
            source = self.new('file')
            source.write_bytes(data if isinstance(data, bytes) else data.encode())
            tool('mcopy', '-i', out, source, f'::{name}')
        return out

    def disk(self, script, parts, size=34 << 20):
        """A disk partitioned as sfdisk's script says, with file systems at byte offsets."""
        out = self.new()
        with open(out, 'wb') as f:
            f.truncate(size)
        tool('sfdisk', '-q', out, data=script.encode())
        with open(out, 'r+b') as f:
            for at, part in parts.items():
                f.seek(at)
                f.write(pathlib.Path(part).read_bytes())
        return out


def debian(**more):
    return {'/boot/grub/grub.cfg': GRUB, '/boot/vmlinuz-2': KERNEL, '/boot/initrd.img-2': INITRD, '/boot/vmlinuz-1': b'old kernel',
            '/boot/initrd.img-1': b'old', **more}


# --- Runs ---

def spawn(*args, image=None):
    """(exit status, what it wrote: standard output, standard error, kernel, initrd)"""
    fds = [os.memfd_create('out'), os.memfd_create('err'), os.memfd_create('kernel'), os.memfd_create('initrd')]
    fds.append(os.dup(image.theirs.fileno()) if isinstance(image, Nbd) else os.open(image or '/dev/null', os.O_RDONLY))
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in fds]
    actions = [(os.POSIX_SPAWN_DUP2, fd, n) for fd, n in zip(high, [1, 2, 4, 5, 3])]
    if not image:
        actions = actions[:2]
    pid = os.posix_spawn(PROGRAM, [PROGRAM, *args], os.environ, file_actions=actions)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    files = [os.pread(fd, os.fstat(fd).st_size, 0) for fd in fds[:4]]
    for fd in fds + high:
        os.close(fd)
    return status, *files


def run(image, *args):
    """(exit status, JSON or message, kernel, initrd)"""
    status, out, err, kernel, initrd = spawn('--name', 'x', *args, image=image)
    if status == 0:
        check(not err, err)
        return 0, json.loads(out), kernel, initrd
    check(not out and err.count(b'\n') >= 1, status, out, err)
    return status, err.decode(), kernel, initrd


def boots(image, *args, kernel=KERNEL, initrd=INITRD, **wanted):
    status, answer, k, i = run(image, *args)
    check(status == 0, 'fails:', answer)
    for name, value in wanted.items():
        check(answer[name] == value, name, 'is', answer[name], 'not', value)
    check(k == kernel, 'another kernel, of', len(k), 'bytes')
    check(i == initrd, 'another initrd, of', len(i), 'bytes')
    return answer


def fails(image, words, *args):
    status, message, _, _ = run(image, *args)
    check(status == 1, 'status', status, message)
    check(message.startswith("disk 'x': ") and words in message, 'says', message)


# --- Cases ---

def test_file_systems(make):
    for kind in 'ext2', 'ext3', 'ext4':
        boots(make.ext(debian(), kind), config='/boot/grub/grub.cfg', partition=0, kernel=KERNEL, entry='0', id='gnulinux-simple-x',
              title='Debian GNU/Linux', cmdline=f'root=UUID={UUID} ro quiet')
    boots(make.ext(debian(), 'ext4', 8 << 20, '-b', '4096', '-O', 'inline_data,metadata_csum,64bit'))
    for bits, size in (12, 2 << 20), (16, 20 << 20), (32, 34 << 20):
        image = make.vfat(debian(**{'/boot/A long name beside.txt': 'x'}), size, '-F', bits, *(['-s', '1'] if bits == 32 else []))
        fails(image, 'looks for uuid:')  # its own is another
        boots(image, '--entry', 'gnulinux-2-advanced-x', cmdline='root=/dev/vda1 advanced')


class Nbd(threading.Thread):
    """An NBD server for one connection: what a qemu-storage-daemon says, or damage in its place."""
    def __init__(self, data, damage=None):
        super().__init__(daemon=True)
        self.data, self.damage = data, damage
        self.ours, self.theirs = socket.socketpair()
        self.start()

    def get(self, n):
        data = b''
        while len(data) < n:
            part = self.ours.recv(n - len(data))
            if not part:
                raise ConnectionError
            data += part
        return data

    def run(self):
        try:
            with self.ours:
                self.ours.sendall(b'NBDMAGICIHAVEOPT' + struct.pack('>H', 1 if self.damage == 'flags' else 3))
                flags, magic, option, size = struct.unpack('>I8sII', self.get(20))
                name = self.get(size)
                if self.damage == 'closed' or (flags, magic, option, name) != (3, b'IHAVEOPT', 1, b'disk'):
                    return
                self.ours.sendall(struct.pack('>QH', 1 << 63 if self.damage == 'size' else len(self.data), 3))
                while True:
                    self.reply(*struct.unpack('>IHHQQI', self.get(28)))
        except ConnectionError:
            pass

    def reply(self, magic, flags, kind, cookie, offset, size):
        if magic != 0x25609513 or flags or kind or offset + size > len(self.data) or self.damage == 'hangup':
            self.ours.close()
            raise ConnectionError
        cookie += self.damage == 'cookie'
        self.ours.sendall(struct.pack('>IIQ', 0x67446698, 5 if self.damage == 'error' else 0, cookie))
        if self.damage != 'error':
            self.ours.sendall(self.data[offset:offset + size])


def test_nbd(make):
    image = make.ext(debian(**{'/boot/vmlinuz-2': KERNEL * 200})).read_bytes()
    boots(Nbd(image), kernel=KERNEL * 200, cmdline=f'root=UUID={UUID} ro quiet')
    for damage, words in [('flags', 'Protocol error'), ('size', 'Protocol error'), ('closed', 'reset by peer'), ('hangup', ''), ('cookie', ''),
                          ('error', '')]:
        fails(Nbd(image, damage), words)
    fails(Nbd(b''), 'it has only')


def test_links(make):
    boots(make.ext({'/vmlinuz': pathlib.PurePath('boot/vmlinuz-2'), '/initrd': pathlib.PurePath('/boot/initrd.img-2'), **debian()}),
          '--kernel', '/vmlinuz', '--initrd', '/initrd', config=None, cmdline='')
    fails(make.ext({'/a': pathlib.PurePath('b'), '/b': pathlib.PurePath('a')}), 'no file /a', '--kernel', '/a')


def test_partitions(make):
    root, gpt = make.ext(debian()), 'label: gpt\nd14 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\nd1 : start=4096, size=16384\n'
    disk = make.disk(gpt, {2 << 20: root})
    boots(disk, partition=1)
    boots(disk, '--partition', '1')
    fails(disk, 'not looked at', '--partition', '14')
    data = bytearray(disk.read_bytes())
    data[512 + 60] ^= 1  # the first copy's header
    disk.write_bytes(data)
    boots(disk, partition=1)
    data[-512 + 60] ^= 1
    disk.write_bytes(data)
    fails(disk, 'both copies of the GUID partition table are damaged')
    # MBR, in a logical partition
    boots(make.disk('label: dos\nstart=2048, size=2048, type=83\nstart=6144, size=60000, type=5\nstart=8192, size=2048\nstart=12288, size=16384\n',
                    {6 << 20: root}), partition=6)
    # a separate /boot, found by number, and the active partition first
    boot = make.ext({'/grub/grub.cfg': "set root='hd0,msdos1'\nmenuentry b { linux /vmlinuz-2 x\n initrd /initrd.img-2\n}",
                     '/vmlinuz-2': KERNEL, '/initrd.img-2': INITRD}, 'ext2', 4 << 20, '-U', 'random')
    disk = make.disk('label: dos\nstart=2048, size=8192, type=83\nstart=12288, size=16384, bootable\n', {1 << 20: boot, 6 << 20: root})
    boots(disk, '--entry', '0', partition=2)
    boots(disk, '--partition', '1', partition=1, config='/grub/grub.cfg', title='b', cmdline='x')
    # a ring of logical partitions
    data = bytearray(make.disk('label: dos\nstart=6144, size=60000, type=5\nstart=8192, size=2048\n', {}).read_bytes())
    struct.pack_into('<BBBBBBBBII', data, 6144 * 512 + 446 + 16, 0, 0, 0, 0, 5, 0, 0, 0, 0, 2048)
    ring = make.new()
    ring.write_bytes(data)
    fails(ring, 'no file system that can be read')


def test_grub_entries(make):
    image = make.ext(debian())
    old = {'kernel': b'old kernel', 'initrd': INITRD + b'\0' * (-len(INITRD) % 4) + b'old'}
    for entry in 'gnulinux-1-recovery-x', '1>1', 'gnulinux-advanced-x>1', 'Advanced options for Debian GNU/Linux>gnulinux-1-recovery-x':
        boots(image, '--entry', entry, **old, entry='1>1', cmdline='single "a b="c""')
    boots(image, '--entry', '1', entry='1>0')
    boots(image, '--args', 'a', '--append', 'b', cmdline='a b')
    boots(image, '--initrd', '', initrd=b'', initrds=[])
    fails(image, '/boot/grub/grub.cfg names /boot/vmlinuz-gone, which is not there', '--entry', 'Gone')
    fails(image, 'entry "Xen" of /boot/grub/grub.cfg boots no Linux kernel', '--entry', '3')
    fails(image, 'no entry "9"', '--entry', '9')
    status, menu, _, _ = run(image, '--list')
    check(status == 0 and menu['default'] == '0' and [e['entry'] for e in menu['entries']] == ['0', '1>0', '1>1', '2', '3'], menu)


def test_grub_environment(make):
    env = '# GRUB Environment Block\nsaved_entry=gnulinux-advanced-x>gnulinux-2-advanced-x\n'.ljust(1024, '#')
    saved = GRUB.replace('set default="0"', 'set default="${saved_entry}"')
    boots(make.ext(debian(**{'/boot/grub/grubenv': env, '/boot/grub/grub.cfg': saved})), entry='1>0')
    boots(make.ext(debian(**{'/boot/grub/grubenv': env.replace('saved', 'next')})), entry='1>0')
    boots(make.ext(debian(**{'/boot/grub/grub.cfg': saved})), entry='0')
    boots(make.ext(debian(**{'/boot/grub/grubenv': 'next_entry=nowhere\n'})), entry='0')


SCRIPT = r'''
a=1 # a comment
set b="x y"
if [ "$a" = 2 ]; then set r=no
elif [ -z "$a" -o ! -f /boot/vmlinuz-2 ]; then set r=no
elif test -n "$a" -a -e /boot/vmlinuz-2 -a -d /boot; then set r=elif
else set r=no; fi
for i in 1 2 3; do menuentry never { linux /never ; } ; done
while true; do
  set r=loop
done
if unknown command; then set r=no; fi
if ! true; then set r=no; fi
source $prefix/more.cfg
if false
then
  menuentry never { linux /never ; }
fi
menuentry "t $a" --class=x --id=an\ id {
  set root=nowhere
  linux (hd0)/boot/vmlinuz-2 \
    $b "$b" '$b' \$b $undefined ${a}z r=$r more=$more [$?]
  if [ "$a" -ge 1 ]; then initrd (hd0)/boot/initrd.img-2; else initrd /no; fi
}
menuentry own { linux /boot/vmlinuz-2 root=$root
initrd /boot/initrd.img-2 }
'''


def test_grub_script(make):
    image = make.ext(debian(**{'/boot/grub/grub.cfg': SCRIPT, '/boot/grub/more.cfg': 'set more=yes\n'}))
    boots(image, title='t 1', id='an id', cmdline='x y "x y" $b $b 1z r=elif more=yes [0]')
    boots(image, '--entry', 'own', cmdline='root=domus')
    for text, words in [('menuentry a {\n linux /b\n', 'does not end'), ('fi\n', 'did not begin'), ('if true; then', 'has no end'),
                        ('if true; then ' * 100, 'too many blocks'), ('a ' * 1000, 'more than 256 words'),
                        ('a=0123456789\n' + 'a=$a$a\n' * 40, 'make it too large'), ('source $prefix/grub.cfg', 'too many other files'),
                        ('x' * (1 << 20) + 'y', 'more than 1048576')]:
        fails(make.ext({'/boot/grub/grub.cfg': text}), words)
    fails(make.ext({'/boot/grub/grub.cfg': "menuentry 'a\x1b[2J' { true\n}\n"}), 'entry "a?[2J"')
    fails(make.ext({'/boot/grub/grub.cfg': ''}), 'no grub.cfg')


def test_bls(make):
    entries = {'/loader/entries/m-1.conf': 'title One\nversion 1\nlinux /vmlinuz-1\ninitrd /initrd.img-1\noptions one\n',
               '/loader/entries/m-10.conf': '# newest\ntitle\tTen\nversion 10\nlinux /vmlinuz-10\ninitrd /i1\ninitrd /i2\noptions ten\noptions  $more two\n',
               '/loader/entries/m-2.conf': 'title Two\nlinux /vmlinuz-1\n', '/loader/entries/README': 'x',
               '/vmlinuz-1': b'old', '/vmlinuz-10': KERNEL, '/initrd.img-1': INITRD, '/i1': INITRD, '/i2': b''}
    for image in make.ext(entries), make.vfat(entries), make.ext({'/boot' + k: v for k, v in entries.items()}):
        boots(image, title='Ten', id='m-10', cmdline='ten $more two', initrd=INITRD + b'\0' * (-len(INITRD) % 4))
        boots(image, '--entry', 'm-1', kernel=b'old', cmdline='one')
    boots(make.ext({'/loader/loader.conf': 'timeout 3\ndefault m-1*\n', **{k: v for k, v in entries.items() if '10.conf' not in k}}),
          kernel=b'old', title='One')
    fedora = 'set default="${saved_entry}"\nload_env\nif [ -f /no ]; then true; fi\ninsmod blscfg\nblscfg\n'
    boots(make.ext({'/grub2/grub.cfg': fedora, '/grub2/grubenv': 'more=opts for all\n', **entries}), config='/grub2/grub.cfg',
          cmdline='ten opts for all two', initrd=INITRD + b'\0' * (-len(INITRD) % 4))


def test_extlinux(make):
    text = '''# made by hand
DEFAULT linux
TIMEOUT 10
LABEL old
  MENU LABEL The old one
  KERNEL ../vmlinuz-1
  APPEND old initrd=/boot/initrd.img-2
LABEL linux
  LINUX /vmlinuz-2
  INITRD /initrd.img-2
  APPEND root=/dev/vda quiet
'''
    files = {k: v for k, v in debian(**{'/boot/extlinux/extlinux.conf': text}).items() if 'grub' not in k}
    for image in make.ext(files), make.vfat(files):
        boots(image, title='linux', cmdline='root=/dev/vda quiet')
        boots(image, '--entry', 'The old one', kernel=b'old kernel', cmdline='old')


def test_unsupported(make):
    for magic, at, words in [(b'XFSB', 0, 'xfs, which is not supported'), (b'_BHRfS_M', 0x10040, 'btrfs, which'), (b'LABELONE', 512, 'LVM'),
                             (b'QFI\xfb', 0, 'qcow2'), (b'', 0, 'no partition table, no known file system')]:
        image = make.new()
        data = bytearray(1 << 20)
        data[at:at + len(magic)] = magic
        image.write_bytes(data)
        fails(image, words)
    for size in 0, 100, 512, 4096:
        image.write_bytes(b'\x55\xaa' * (size // 2))
        fails(image, 'it has only' if size < 512 else 'no partition table, no known file system')
    fails(make.ext({'/etc/passwd': 'x'}), 'no grub.cfg, loader/entries or extlinux.conf (ext4)')


def test_damage(make):
    whole = make.ext(debian(), 'ext4', 8 << 20, '-b', '1024').read_bytes()
    image = make.new()
    image.write_bytes(whole[:3 << 20])
    fails(image, 'its superblock says 8192 blocks of 1024 bytes, but only 3145728 bytes are there')
    huge = bytearray(whole)
    struct.pack_into('<I', huge, 1024 + 32, 8)  # blocks per group
    image.write_bytes(huge)
    fails(image, 'ext4')
    image.write_bytes(whole)
    with open(image, 'r+b') as f:
        for at in range(4096, 4 << 20, 262144):  # nothing but an answer or a message
            os.pwrite(f.fileno(), bytes(1500), at)
            check(run(image)[0] in (0, 1))
            os.pwrite(f.fileno(), whole[at:at + 1500], at)
    fat = make.vfat(debian(), 2 << 20, '-F', '12')
    data = bytearray(fat.read_bytes())
    reserved = struct.unpack_from('<H', data, 14)[0] * 512
    for pattern in b'\x02\x20\x00', b'\x00\x00\x00', b'\xf0\xff\xfe':
        data[reserved + 3:reserved + 300] = pattern * 99
        image.write_bytes(data)
        check(run(image, '--entry', '1')[0] in (0, 1))
    # a sparse file that claims more than memory
    big = make.ext({**debian(), '/big': b''})
    tool('debugfs', '-w', '-R', 'sif /big size 0x40000000000', big)
    fails(big, 'too large', '--kernel', '/big')


def test_caller(make):
    image = make.ext(debian())
    for args in ['--nonsense'], ['--partition', '-1'], ['--user', 'root'], ['stray']:
        status, out, err, _, _ = spawn(*args, image=image)
        check(status == 2 and b'usage' in err and not out, args, status, err)
    status, out, err, _, _ = spawn()
    check(status == 2 and b'descriptors 3' in err, status, err)
    if os.geteuid() == 0:
        boots(image, '--user', '65534:65534')


def main():
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing:
        print('SKIP: no', ', '.join(missing))
        return 77
    failed = 0
    with tempfile.TemporaryDirectory(prefix='domus-boot-') as work:
        for name, case in [(n, f) for n, f in globals().items() if n.startswith('test_')]:
            try:
                case(Maker(tempfile.mkdtemp(dir=work)))
                print('passed', name)
            except Failed as e:
                failed += 1
                print('FAILED', name, sys.exc_info()[2].tb_next.tb_lineno, e)
    return 1 if failed else 0


sys.exit(main())
