#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes small disk images as C arrays for fuzz-bootloader. Argument: the header to write. They fit smoke.c's largest input."""
import os
import subprocess
import sys
import tempfile

SECTOR, SIZE = 512, 124 * 512
GRUB = b'set default=1\nmenuentry a { linux /boot/k a; }\nmenuentry b { linux /boot/k b; initrd /boot/i /boot/i; }\n'


def tool(*args, data=None):
    subprocess.run(args, input=data, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, 'MTOOLS_SKIP_CHECK': '1'})


def blank(path, size):
    with open(path, 'wb') as f:
        f.truncate(size)


def tree(work):
    root = f'{work}/root'
    os.makedirs(f'{root}/boot/grub')
    for name, data in ('grub/grub.cfg', GRUB), ('k', b'kernel' * 300), ('i', b'initrd' * 500):
        with open(f'{root}/boot/{name}', 'wb') as f:
            f.write(data)
    return root


def ext(work, root, *options, size=SIZE):
    blank(f'{work}/ext', size)
    tool('mke2fs', '-q', '-F', '-b', '1024', '-N', '16', '-O', '^metadata_csum,^resize_inode', *options, '-d', root, f'{work}/ext')
    return open(f'{work}/ext', 'rb').read()


def vfat(work, root, size=SIZE):
    blank(f'{work}/vfat', size)
    tool('mkfs.vfat', '-F', '12', '-r', '64', '-S', '512', f'{work}/vfat')
    tool('mcopy', '-s', '-i', f'{work}/vfat', f'{root}/boot', '::')
    return open(f'{work}/vfat', 'rb').read()


def disk(work, script, at, part):
    blank(f'{work}/disk', 126 * SECTOR)
    tool('sfdisk', '-q', f'{work}/disk', data=script)
    data = bytearray(open(f'{work}/disk', 'rb').read())
    data[at:at + len(part)] = part
    return bytes(data)


def main():
    with tempfile.TemporaryDirectory() as work:
        root = tree(work)
        images = {
            'ext2': ext(work, root, '-t', 'ext2'),
            'ext4': ext(work, root, '-t', 'ext4', '-O', '^has_journal'),
            'vfat': vfat(work, root),
            'mbr': disk(work, b'label: dos\nstart=2, size=124, type=5\nstart=4, size=110, type=6\n', 4 * SECTOR, vfat(work, root, 110 * SECTOR)),
            'gpt': disk(work, b'label: gpt\ntable-length: 4\nfirst-lba: 3\nstart=4, size=110\n', 4 * SECTOR, vfat(work, root, 110 * SECTOR)),
        }
    with open(sys.argv[1], 'w') as out:
        for name, data in images.items():
            assert len(data) < 65536, name
            out.write(f'static const uint8_t {name}_image[] = {{ \'d\', {", ".join(map(str, data))} }};\n')


main()
