# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays virtdomusd for one `domus-vm serve`: vmproto.h's methods and signals by GDBus, and the guest's serial console by a pty."""
import os
import pty
import select
import socket
import subprocess
import tempfile
import time
import tty

import gi
gi.require_version('Gio', '2.0')
from gi.repository import Gio, GLib  # noqa: E402

PATH = '/org/domus/VM'
INTERFACE = 'org.domus.VM1'


class Error(Exception):
    """A method's error: name and message."""

    def __init__(self, error):
        self.name = Gio.DBusError.get_remote_error(error) or ''
        Gio.DBusError.strip_remote_error(error)
        super().__init__(error.message)


class Fd(int):
    """A descriptor, for a property of type h. It stays the caller's."""


class U32(int):
    """A number of type u; plain ints are of type t."""


class VM:
    def __init__(self, domus_vm, kernel, initrd=None, cmdline='console=ttyS0', memory=256 << 20, cpus=1, engine='dbt', acpi=True, devices=()):
        self.dir = tempfile.TemporaryDirectory(prefix='domus-vm-')
        os.chmod(self.dir.name, 0o755)
        self.console_text = ''
        self.signals = []
        self._start(domus_vm)
        self._connect()
        master, slave = pty.openpty()
        tty.setraw(slave)
        self.console = slave
        self.files = [open(kernel, 'rb')] + ([open(initrd, 'rb')] if initrd else [])
        config = {'version': U32(1), 'name': 'test', 'uuid': 'c7a5fdbd-edaf-9455-926a-d65c16db1809', 'engine': engine, 'cpus': U32(cpus), 'memory': memory,
                  'kernel': Fd(self.files[0].fileno()), 'cmdline': cmdline, 'acpi': acpi, 'on-crash': 'preserve', 'on-poweroff': 'preserve',
                  'serial': [(master, slave)], 'devices': list(devices)}
        if initrd:
            config['initrd'] = Fd(self.files[1].fileno())
        try:
            self.call('Configure', config)
        except Error:
            self.close()
            raise
        os.close(master)

    def _start(self, domus_vm):
        self.socket = os.path.join(self.dir.name, 'control.sock')
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.socket)
        listener.listen(4)
        self.log = open(os.path.join(self.dir.name, 'log'), 'a+b')
        fds = [listener.fileno(), self.log.fileno()]
        user = ['--user', '65534:65534'] if os.geteuid() == 0 else []
        self.process = subprocess.Popen([domus_vm, 'serve', '--control-fd', str(fds[0]), '--log-fd', str(fds[1])] + user, pass_fds=fds)
        listener.close()

    def _connect(self):
        self.context = GLib.MainContext.default()
        self.bus = Gio.DBusConnection.new_for_address_sync('unix:path=' + self.socket, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT, None, None)
        # A message right behind the last line of the authentication waits at the other end for another one, and may not carry descriptors.
        for _ in range(100):
            try:
                self.call('GetStatus', timeout=200)
                break
            except Error:
                continue
        self.bus.signal_subscribe(None, INTERFACE, None, PATH, None, Gio.DBusSignalFlags.NONE, self._on_signal)

    def _on_signal(self, bus, sender, path, interface, name, args):
        self.signals.append((name, *args.unpack()))

    def log_text(self):
        with open(self.log.name, 'rb') as f:
            return f.read().decode(errors='replace')

    # --- Values

    def _fd(self, fds, fd):
        return GLib.Variant('h', fds.append(fd))

    def _value(self, fds, v):
        if isinstance(v, bool):
            return GLib.Variant('b', v)
        if isinstance(v, Fd):
            return self._fd(fds, v)
        if isinstance(v, U32):
            return GLib.Variant('u', v)
        if isinstance(v, int):
            return GLib.Variant('t', v)
        if isinstance(v, str):
            return GLib.Variant('s', v)
        if isinstance(v, dict):
            return GLib.Variant('a{st}', v)
        if isinstance(v, list) and (not v or isinstance(v[0], dict)):
            return GLib.Variant('aa{sv}', [self._dict(fds, d) for d in v])
        if isinstance(v, list) and isinstance(v[0], tuple):
            return GLib.Variant('a(hh)', [(fds.append(a), fds.append(b)) for a, b in v])
        return GLib.Variant('ah', [fds.append(fd) for fd in v])

    def _dict(self, fds, d):
        return {k: self._value(fds, v) for k, v in d.items()}

    def call(self, method, *args, timeout=60000):
        """Strings, dictionaries as a{sv}, lists of them. The result, if there is one."""
        fds = Gio.UnixFDList()
        types = '(' + ''.join('aa{sv}' if isinstance(a, list) else 'a{sv}' if isinstance(a, dict) else 'b' if isinstance(a, bool) else 's' for a in args) + ')'
        values = tuple(self._dict(fds, a) if isinstance(a, dict) else [self._dict(fds, d) for d in a] if isinstance(a, list) else a for a in args)
        try:
            reply, _ = self.bus.call_with_unix_fd_list_sync(None, PATH, INTERFACE, method, GLib.Variant(types, values), None, Gio.DBusCallFlags.NONE,
                                                            timeout, fds, None)
        except GLib.Error as e:
            raise Error(e) from None
        result = reply.unpack()
        return result[0] if result else None

    def add(self, driver, id, **props):
        self.call('AddDevices', [{'driver': driver, 'id': id, **{k.replace('_', '-'): v for k, v in props.items()}}])

    def remove(self, id):
        self.call('RemoveDevice', id)

    # --- Waiting

    def _step(self, timeout):
        """Signals and bytes of the console."""
        while self.context.pending():
            self.context.iteration(False)
        if select.select([self.console], [], [], timeout)[0]:
            self.console_text += os.read(self.console, 65536).decode(errors='replace')

    def wait_signal(self, name, *args, timeout=20):
        """The first signal of that name that begins with args; those before it are forgotten."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for i, signal in enumerate(self.signals):
                if signal[:len(args) + 1] == (name, *args):
                    del self.signals[:i + 1]
                    return signal
            self._step(0.05)
        raise TimeoutError(f'no signal {name} {args}; the console said: {self.console_text[-2000:]}\nthe log: {self.log_text()[-2000:]}')

    def expect(self, text, timeout=60):
        """What the console says up to text, and forgets it."""
        end = time.monotonic() + timeout
        while text not in self.console_text:
            if time.monotonic() > end:
                raise TimeoutError(f'{text!r} does not come; the console said: {self.console_text[-2000:]}\nthe log: {self.log_text()[-2000:]}')
            self._step(0.2)
        before, _, self.console_text = self.console_text.partition(text)
        return before

    def shell(self, command, timeout=60):
        """Runs a command in the guest's shell; its output. A command that fails raises."""
        # The shell echoes and wraps what it reads: the marks are not in it as they are printed.
        os.write(self.console, f"printf '<<%s>>' on; {command}; printf '<<%s>>' $?\n".encode())
        self.expect('<<on>>', timeout)
        output = self.expect('<<', timeout)
        status = self.expect('>>', timeout)
        if status != '0':
            raise AssertionError(f'{command}: status {status}: {output}')
        return output.replace('\r', '').strip('\n')

    def close(self):
        try:
            self.call('Quit')
        except Error:
            pass
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            if not self.bus.is_closed():
                self.bus.close_sync(None)
            os.close(self.console)
            self.log.close()
            for f in self.files:
                f.close()
            self.dir.cleanup()
        return self.process.returncode
