# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system tests are built from: a daemon of their own, domains, consoles, events, terminals.

Everything is waited for with a generous deadline and nothing by a fixed sleep, so that a busy machine makes the tests slow, not red.
DOMUS_PEER=libvirtd runs the same tests against libvirtd and QEMU: that shows which of them describe libvirt and not just us.
"""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as ET

import libvirt

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get('DOMUS_BUILD', ROOT / 'build')).resolve()
VMM = os.environ.get('DOMUS_VMM', BUILD / 'src/hv/main/domus-vm')
PEER = os.environ.get('DOMUS_PEER', '')
TIMEOUT = float(os.environ.get("DOMUS_TEST_TIMEOUT", 120))
PROMPT = b'ready> '


def wait_until(condition, timeout=TIMEOUT, what='condition'):
    """Returns the first true result; asserts that it comes before the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f'{what}: not within {timeout} s'
        time.sleep(0.02)


def start_event_loop():
    """libvirt's client event loop, in a thread; to be called before the first connection is opened."""
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda *_: None, None)
    # The loop is entered again at least this often, also when nobody is connected.
    libvirt.virEventAddTimeout(100, lambda *_: None, None)

    def run():
        while True:
            libvirt.virEventRunDefaultImpl()
    threading.Thread(target=run, daemon=True, name='libvirt-events').start()


class Daemon:
    """virtdomusd with directories of its own."""
    def __init__(self, directory, socket_dir=None):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o755)
        self.socket_dir = pathlib.Path(socket_dir or self.dir / 'sock')
        self.socket_dir.mkdir(parents=True, exist_ok=True)
        self.log = self.dir / 'virtdomusd.log'
        self.process = self.refusal = None
        self.mode = 'system' if os.geteuid() == 0 else 'session'

    @property
    def socket(self):
        return self.socket_dir / 'virtdomusd-sock'

    @property
    def uri(self):
        return f'domus+unix:///{self.mode}?socket={self.socket}'

    @property
    def ro_uri(self):
        return f'domus+unix:///{self.mode}?socket={self.socket}-ro'

    @property
    def qemu_uri(self):
        return f'qemu:///{self.mode}?socket={self.socket}'

    def argv(self):
        args = [BUILD / 'src/daemon/virtdomusd', f'--{self.mode}', '--socket-dir', self.socket_dir, '--vmm', VMM,
                '--bootloader', BUILD / 'src/bootloader/domus-bootloader']
        for d in ('config', 'run', 'state', 'log'):
            args += [f'--{d}-dir', self.dir / d]
        return [str(a) for a in args]

    def environment(self):
        return None

    def start(self):
        with open(self.log, 'a') as log:
            self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())
        try:
            wait_until(self.answers, what=f'answer of {self.argv()[0]}')
        except AssertionError as e:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f'{e}; {self.refusal}\n{self.log.read_text()[-4000:]}') from None
        return self

    def answers(self):
        assert self.process.poll() is None, f'the daemon ended with {self.process.returncode}'
        try:
            conn = libvirt.open(self.uri)
        except libvirt.libvirtError as e:
            self.refusal = e
            return False
        conn.close()
        return True

    def open(self, readonly=False):
        return libvirt.openReadOnly(self.uri) if readonly else libvirt.open(self.uri)

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait(TIMEOUT)

    def restart(self, sig=signal.SIGKILL):
        self.stop(sig)
        self.start()

    def vmm_pids(self, name=None):
        """domus-vm processes of this daemon (of one domain): those that have its log open."""
        logs = {str(self.dir / 'log' / f'{name}.log')} if name else None
        found = []
        for proc in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                if os.path.basename(os.readlink(proc / 'exe')) != 'domus-vm' or b'\0attend\0' in (proc / 'cmdline').read_bytes():
                    continue
                opened = {os.readlink(fd) for fd in (proc / 'fd').iterdir()}
            except OSError:
                continue
            mine = opened & logs if logs else any(o.startswith(str(self.dir / 'log') + '/') for o in opened)
            if mine:
                found.append(int(proc.name))
        return found

    def cleanup(self):
        """Ends everything that was started from here."""
        if self.process and self.process.poll() is None:
            try:
                conn = self.open()
                remove_domains(conn)
                conn.close()
            except libvirt.libvirtError:
                pass
            self.stop()
        for pid in self.vmm_pids():
            os.kill(pid, signal.SIGKILL)
        self.check_end()

    def check_end(self):
        """A daemon that was told to end did so without complaint, and no sanitizer said anything."""
        code = self.process.returncode if self.process else 0
        assert code in (0, -signal.SIGKILL), f'the daemon ended with {code}:\n{self.log.read_text()[-4000:]}'
        for f in [self.log] + list(self.dir.glob('log/*.log')):
            text = f.read_text(errors='replace')
            found = re.search(r'(ERROR: \w+Sanitizer|runtime error:).*', text)
            assert not found, f'{f}: …{text[max(found.start() - 200, 0):][:6000]}'

    def logs(self):
        """(title, tail) of every log."""
        files = [self.log] + sorted(self.dir.glob('log/*.log'))
        return [(str(f), f.read_text(errors='replace')[-6000:]) for f in files if f.exists()]


class Libvirtd(Daemon):
    """The peer: libvirtd in session mode, as nobody if we are root, with QEMU's TCG."""
    def __init__(self, directory, socket_dir=None):
        super().__init__(directory)
        self.mode = 'session'
        for d in ('rt', 'config', 'cache', 'home'):
            (self.dir / d).mkdir(exist_ok=True)
        if os.geteuid() == 0:
            subprocess.run(['chown', '-R', 'nobody:', self.dir], check=True)

    def check_end(self):
        pass

    @property
    def socket(self):
        return self.dir / 'rt/libvirt/libvirt-sock'

    @property
    def uri(self):
        return f'qemu+unix:///session?socket={self.socket}'

    def argv(self):
        drop = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] if os.geteuid() == 0 else []
        return [*drop, 'libvirtd', '--pid-file', str(self.dir / 'rt/pid')]

    def environment(self):
        return {'PATH': os.environ['PATH'], 'HOME': str(self.dir / 'home'), 'XDG_RUNTIME_DIR': str(self.dir / 'rt'),
                'XDG_CONFIG_HOME': str(self.dir / 'config'), 'XDG_CACHE_HOME': str(self.dir / 'cache')}

    def vmm_pids(self, name=None):
        runs = self.dir / 'rt/libvirt/qemu/run'
        return [int(f.read_text()) for f in runs.glob(f'{name or "*"}.pid') if f.name != 'driver.pid']


def make_daemon(directory, **kwargs):
    return (Libvirtd if PEER == 'libvirtd' else Daemon)(directory, **kwargs)


def remove_domains(conn):
    for dom in conn.listAllDomains():
        for remove in (dom.destroy if dom.isActive() else None, dom.undefine):
            try:
                if remove:
                    remove()
            except libvirt.libvirtError:
                pass


def domain_xml(name, kernel, initrd=None, cmdline='', memory=64, vcpus=1, kind='domus', top='', devices="<console type='pty'/>",
               uuid=None, features='<acpi/><apic/>'):
    """A direct kernel guest. memory: MiB. top, devices: further XML at those places."""
    if PEER == 'libvirtd':
        kind = 'qemu' if kind == 'domus' else kind
        devices += "<controller type='usb' model='none'/><memballoon model='none'/>"
    return f'''<domain type='{kind}'>
  <name>{name}</name>
  {f"<uuid>{uuid}</uuid>" if uuid else ""}
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64'>hvm</type>
    <kernel>{kernel}</kernel>
    {f"<initrd>{initrd}</initrd>" if initrd else ""}
    {f"<cmdline>{cmdline}</cmdline>" if cmdline else ""}
  </os>
  <features>{features}</features>
  {top}
  <devices>{devices}</devices>
</domain>'''


def raises(code, call, *args):
    """Asserts that the call fails with a libvirt error of that code (or one of them) and returns its message."""
    codes = code if isinstance(code, (tuple, set, list)) else (code,)
    try:
        call(*args)
    except libvirt.libvirtError as e:
        assert e.get_error_code() in codes, f'code {e.get_error_code()}, not {codes}: {e}'
        assert str(e)
        return str(e)
    raise AssertionError(f'{call} succeeded')


class Events:
    """Records domain events of a connection, in order."""
    def __init__(self, conn, dom=None):
        self.conn, self.seen, self.changed = conn, [], threading.Condition()
        self.ids = [
            conn.domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self.on_lifecycle, None),
            conn.domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self.on_reboot, None),
            conn.domainEventRegisterAny(dom, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self.on_metadata, None),
        ]

    def add(self, *event):
        with self.changed:
            self.seen.append((time.monotonic(), event))
            self.changed.notify_all()

    def on_lifecycle(self, conn, dom, event, detail, opaque):
        self.add(dom.name(), event, detail)

    def on_reboot(self, conn, dom, opaque):
        self.add(dom.name(), 'reboot')

    def on_metadata(self, conn, dom, kind, uri, opaque):
        self.add(dom.name(), 'metadata', kind, uri)

    def list(self, name=None):
        with self.changed:
            return [e[1:] for _, e in self.seen if name in (None, e[0])]

    def wait(self, *event, timeout=TIMEOUT):
        """The time at which an event came that begins with these values (name, event, detail)."""
        def find():
            return next((t for t, e in self.seen if e[:len(event)] == event), None)
        with self.changed:
            assert self.changed.wait_for(lambda: find() is not None, timeout), f'no event {event}, only {[e for _, e in self.seen]}'
            return find()

    def close(self):
        for i in self.ids:
            self.conn.domainEventDeregisterAny(i)


class Console:
    """A domain's console by the API."""
    def __init__(self, dom, flags=0):
        self.data, self.ended, self.changed = b'', False, threading.Condition()
        self.position = 0
        self.stream = dom.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
        dom.openConsole(None, self.stream, flags)
        self.stream.eventAddCallback(libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR |
                                     libvirt.VIR_STREAM_EVENT_HANGUP, self.on_event, None)

    def on_event(self, stream, events, opaque):
        with self.changed:
            try:
                chunk = stream.recv(65536) if not self.ended else b''
                if chunk == -2:
                    return
            except libvirt.libvirtError:
                chunk = b''
            self.data += chunk
            if not chunk:
                self.end()
            self.changed.notify_all()

    def end(self):
        if not self.ended:
            self.ended = True
            self.stream.eventRemoveCallback()

    def expect(self, text, timeout=TIMEOUT):
        """Waits for text after what was expected before; returns everything up to it."""
        text = text.encode() if isinstance(text, str) else text

        def find():
            return self.data.find(text, self.position)
        with self.changed:
            ok = self.changed.wait_for(lambda: find() >= 0 or self.ended, timeout)
            assert find() >= 0, f'{"console ended" if ok else "no answer"} without {text!r}: …{self.data[-2000:]!r}'
            end = find() + len(text)
            start, self.position = self.position, end
            return self.data[start:end]

    def wait_end(self, timeout=TIMEOUT):
        with self.changed:
            assert self.changed.wait_for(lambda: self.ended, timeout), f'the console did not end: …{self.data[-500:]!r}'

    def send(self, text):
        data = text.encode()
        while data:
            n = self.stream.send(data)
            if n == -2:
                time.sleep(0.02)
                continue
            data = data[n:]

    def ask(self, line, answer, timeout=TIMEOUT):
        self.send(line + '\r')
        return self.expect(answer, timeout)

    def insist(self, line, answer):
        """Sends the line until the answer comes: what arrives while a guest sets up its port is lost, as on a real one."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            self.send(line + '\r')
            try:
                return self.expect(answer, 3)
            except AssertionError:
                if self.ended or time.monotonic() > deadline:
                    raise

    def close(self):
        with self.changed:
            self.end()
        try:
            self.stream.finish()
        except libvirt.libvirtError:
            pass


class Terminal:
    """A program on a terminal of its own."""
    def __init__(self, *argv):
        self.data, self.position = b'', 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ['TERM'] = 'vt100'
            os.execvp(argv[0], [str(a) for a in argv])
        self.status = None

    def read(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            chunk = os.read(self.fd, 65536)
        except OSError:
            chunk = b''
        self.data += chunk
        return bool(chunk)

    def expect(self, text, timeout=TIMEOUT):
        text = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + timeout
        while (at := self.data.find(text, self.position)) < 0:
            assert self.read(max(deadline - time.monotonic(), 0)), f'no {text!r} on the terminal: …{self.data[-2000:]!r}'
        start, self.position = self.position, at + len(text)
        return self.data[start:self.position]

    def send(self, text):
        os.write(self.fd, text.encode())

    def insist(self, line, answer):
        """Types the line until the answer comes: virsh says that it is connected before it listens to the keys."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            self.send(line + '\r')
            try:
                return self.expect(answer, 3)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def wait(self, timeout=TIMEOUT):
        """Reads to the end; the exit code."""
        deadline = time.monotonic() + timeout
        while self.read(max(deadline - time.monotonic(), 0)):
            pass
        assert time.monotonic() < deadline, f'the program did not end: …{self.data[-2000:]!r}'
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def run(*argv, ok=True, timeout=TIMEOUT, **kwargs):
    p = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **kwargs)
    assert not ok or p.returncode == 0, f'{argv}: {p.returncode}\n{p.stdout}\n{p.stderr}'
    return p


def normal(xml):
    """A document without layout, to compare two."""
    return ET.canonicalize(xml, strip_text=True)


class Guests:
    """The guests' files, made once, where any user can read them."""
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(exist_ok=True)
        self.dir.chmod(0o755)
        self.made = {}

    def copy(self, source, name):
        target = self.dir / name
        shutil.copy(source, target)
        target.chmod(0o644)
        return target

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    @property
    def echo(self):
        """Boots in milliseconds, echoes lines; see tests/guest/echo.c."""
        return self.once('echo', lambda: self.copy(BUILD / 'tests/guest/guest-echo', 'echo.elf'))

    @property
    def linux_tree(self):
        return self.once('tree', lambda: pathlib.Path(run(ROOT / 'tests/guest/fetch-kernel', timeout=900).stdout.strip()))

    @property
    def linux(self):
        """Debian's stock cloud kernel."""
        return self.once('linux', lambda: self.copy(self.linux_tree / 'vmlinuz', 'vmlinuz'))

    def initrd(self, name='initrd', *files):
        def make():
            out = self.dir / f'{name}.img'
            run(ROOT / 'tests/guest/make-initramfs', self.linux_tree, out, *files)
            out.chmod(0o644)
            return out
        return self.once(name, make)

    def write(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        path.chmod(0o644)
        return path


def make_work_dir():
    work = pathlib.Path(tempfile.mkdtemp(prefix='domus-test.'))
    work.chmod(0o755)
    return work


def virt_xml_value(xml, path):
    node = ET.fromstring(xml).find(path)
    return None if node is None else node.text


def seconds(text):
    return float(re.match(r'[\d.]+', text)[0])
