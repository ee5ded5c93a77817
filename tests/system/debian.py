# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian guest on a disk of its own: its files, its console, and commands in it by ssh."""
import pathlib
import shlex
import shutil
import sys

import harness

BOOT = 900  # seconds
MAC = '52:54:00:de:b1:a0'
AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
SSH = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=20',
       '-o', 'ServerAliveInterval=20', '-o', 'ServerAliveCountMax=10']


# What the guest agent calls to end the system: the lean init has no systemd that would do it.
SHUTDOWN = """cat >/sbin/shutdown.new <<'END'
#!/bin/sh
sync
mount -o remount,ro /
case "$*" in *-r*) busybox reboot -f ;; *) busybox poweroff -f ;; esac
END
chmod 755 /sbin/shutdown.new && mv /sbin/shutdown.new /sbin/shutdown && sync"""


class Files:
    """What tests/guest/make-debian-disk has made."""
    def __init__(self, directory):
        self.cache = pathlib.Path(harness.run(harness.ROOT / 'tests/guest/make-debian-disk', timeout=1800).stdout.strip())
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(exist_ok=True)
        for name in ('vmlinuz', 'initrd.img', 'id_ed25519'):
            shutil.copy(self.cache / name, self.dir / name)
        (self.dir / 'id_ed25519').chmod(0o600)
        self.cmdline = (self.cache / 'cmdline').read_text().strip() + ' init=/usr/local/sbin/domus-init'


class Debian:
    """A running guest; the network namespace host reaches it by ssh."""
    def __init__(self, conn, host, files, name, devices, memory=768, vcpus=2, top=''):
        self.conn, self.host, self.files, self.name = conn, host, files, name
        self.control = files.dir / f'{name}.ssh'
        self.ip = None
        self.dom = conn.defineXML(harness.domain_xml(name, files.dir / 'vmlinuz', initrd=files.dir / 'initrd.img', cmdline=files.cmdline, memory=memory,
                                                     vcpus=vcpus, top=top, devices="<console type='pty'/>" + devices))
        self.dom.create()
        self.console = harness.Console(self.dom)
        self.wait_for_boot()

    def wait_for_boot(self):
        self.console.expect(b'domus-guest: init reached', timeout=BOOT)
        self.console.expect(b'domus-guest# ', timeout=BOOT)

    def open_console(self):
        self.console.close()
        self.console = harness.Console(self.dom)

    def ssh_argv(self, *command):
        return ['ssh', '-i', self.files.dir / 'id_ed25519', *SSH, '-o', f'ControlPath={self.control}', f'root@{self.ip}', *command]

    def connect(self):
        """One connection that the commands share."""
        self.disconnect()
        argv = self.ssh_argv()
        harness.wait_until(lambda: self.host.run(*argv[:1], '-MNf', *argv[1:], ok=False).returncode == 0, what='ssh')

    def disconnect(self):
        if self.control.exists():
            argv = self.ssh_argv()
            self.host.run(*argv[:1], '-O', 'exit', *argv[1:], ok=False)

    def sh(self, command, ok=True, timeout=harness.TIMEOUT):
        """What a command of root's in the guest prints."""
        p = self.host.run(*self.ssh_argv(command), ok=False, timeout=timeout)
        assert not ok or p.returncode == 0, f'{command}: {p.returncode}\n{p.stdout}\n{p.stderr}'
        return p.stdout.strip() if ok else p

    def spawn(self, *argv, **kwargs):
        """A program that goes on in the guest, as netns.Namespace.spawn does in a namespace."""
        words = ['python3' if a == sys.executable else str(a) for a in argv]
        return self.host.spawn(*self.ssh_argv(shlex.join(words)), **kwargs)

    def close(self):
        self.disconnect()
        self.console.close()
        if self.dom.isActive():
            self.dom.destroy()
        self.dom.undefine()
