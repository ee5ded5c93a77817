# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux guests for tests: their console, the command lines that start them, and archives that their kernels unpack."""
import os
import pathlib
import re
import select
import subprocess
import time

PROMPT = b'domus-guest# '
INIT_REACHED = b'domus-guest: init reached'
BOOT = 300  # seconds; a busy machine is slow


class Failed(Exception):
    pass


def tool(source, name, *args):
    """What a script of tests/guest prints."""
    p = subprocess.run([f'{source}/tests/guest/{name}', *args], stdout=subprocess.PIPE, text=True)
    if p.returncode:
        raise Failed(f'{name} failed')
    return p.stdout.strip()


def domus_argv(vm, kernel, initrd, append, cpus=1, memory='2G', options=()):
    return [vm, 'run', '--kernel', kernel, '--initrd', initrd, '--memory', memory, '--cpus', str(cpus), '--append', append, '--no-reboot', *options]


def qemu_argv(kernel, initrd, append, cpus=1, memory='2G', options=()):
    """QEMU's software CPU, which has SVM."""
    return ['qemu-system-x86_64', '-machine', 'pc,accel=tcg', '-cpu', 'max', '-m', memory, '-smp', str(cpus), '-display', 'none', '-serial', 'stdio',
            '-no-reboot', '-nodefaults', '-kernel', kernel, '-initrd', initrd, '-append', append, *options]


class Guest:
    """A guest with its console on the standard streams of the process argv."""

    def __init__(self, argv):
        self.out, self.log = b'', b''
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def wait_for_shell(self):
        """Of make-initramfs and make-debian. Returns the seconds it took."""
        start = time.monotonic()
        self.until(INIT_REACHED, BOOT)
        self.until(PROMPT, BOOT)
        return time.monotonic() - start

    def until(self, text, limit, each=None):
        """Output up to text, which must come within limit seconds. each(bytes) is given output that does not end in a part of text, as it comes; then only
        the rest is returned."""
        end = time.monotonic() + limit
        while text not in self.out:
            if each and len(self.out) > len(text):
                each(self.out[:-len(text)])
                self.out = self.out[-len(text):]
            if not select.select([self.p.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise Failed(f'no {text!r} within {limit} s, after {self.log[-3000:].decode(errors="replace")}')
            data = os.read(self.p.stdout.fileno(), 65536)
            if not data:
                raise Failed(f'the guest ended: {self.log[-3000:].decode(errors="replace")}')
            self.out += data
            self.log += data
        before, self.out = self.out.split(text, 1)
        return before.replace(b'\r\n', b'\n').replace(b'\r', b'')

    def send(self, line):
        try:
            self.p.stdin.write(line.encode() + b'\n')
            self.p.stdin.flush()
        except BrokenPipeError as e:
            raise Failed('the guest is gone') from e

    def shell(self, line, limit=60):
        self.send(line)
        return self.until(PROMPT, limit).decode(errors='replace')

    def close(self):
        self.p.kill()
        self.p.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Cpio:
    """The newc format (cpio(5)), as the kernel unpacks it."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0
        self.dirs = set()

    def entry(self, name, mode, body=b''):
        self.inode += 1
        name = name.encode() + b'\0'
        fields = [self.inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name), 0]
        for part in (b'070701' + b''.join(b'%08X' % f for f in fields) + name, body):
            self.data += part + b'\0' * (-len(part) % 4)

    def parents(self, name):
        for d in reversed(pathlib.PurePosixPath(name).parents):
            if str(d) not in ('.', *self.dirs):
                self.dirs.add(str(d))
                self.entry(str(d), 0o040755)

    def add(self, name, body, mode=0o755):
        self.parents(name)
        self.entry(name, 0o100000 | mode, body)

    def copy(self, name, path):
        path = pathlib.Path(path)
        self.add(name, path.read_bytes(), path.stat().st_mode & 0o777)

    def finish(self):
        self.entry('TRAILER!!!', 0)
        return bytes(self.data)


def module(tree, name):
    """The module of a kernel that fetch-kernel unpacked."""
    found = sorted(pathlib.Path(tree, 'modules', 'kernel').rglob(name + '.ko*'))
    if not found:
        raise Failed(f'this kernel package has no module {name}')
    if found[0].suffix == '.xz':
        return subprocess.run(['xz', '-dc', found[0]], stdout=subprocess.PIPE, check=True).stdout
    return found[0].read_bytes()


def libraries(binary):
    """The shared libraries that a program needs, where they are here."""
    out = subprocess.run(['ldd', binary], capture_output=True, text=True, check=True).stdout
    return re.findall(r'(/[^ ]+) \(0x', out)
