# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a domain, with a tiny guest that boots in milliseconds (tests/guest/echo.c)."""
import os
import signal
import time
import xml.etree.ElementTree as ET

import libvirt
import pytest

import harness
from harness import Console, PROMPT, raises, wait_until

domus = pytest.mark.domus

STARTED, STOPPED = libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STOPPED
SUSPENDED, RESUMED = libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_RESUMED
SHUTOFF, RUNNING, PAUSED = libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED
CRASHED = libvirt.VIR_DOMAIN_CRASHED


@pytest.fixture
def boot(conn, echo_xml, closing):
    """Defines and starts an echo guest; returns it with its console, at its prompt."""
    def make(name='g', transient=False, **kwargs):
        xml = echo_xml(name, **kwargs)
        dom = conn.createXML(xml) if transient else conn.defineXML(xml)
        if not transient:
            dom.create()
        console = closing(Console(dom))
        console.insist('hello', b'echo: hello')
        console.expect(PROMPT)
        return dom, console
    return make


def wait_state(dom, state, reason=None):
    wait_until(lambda: dom.state()[0] == state, what=f'state {state} of {dom.name()}')
    if reason is not None:
        assert dom.state() == [state, reason]


def test_start(conn, events, boot):
    dom, _ = boot()
    assert dom.ID() > 0
    assert dom.state() == [RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    events.wait('g', STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, dom.create)
    assert conn.lookupByID(dom.ID()).name() == 'g'
    assert f"id='{dom.ID()}'" in dom.XMLDesc()


def test_ids_differ(conn, echo_xml):
    seen = set()
    dom = conn.defineXML(echo_xml('ids'))
    for _ in range(3):
        dom.create()
        seen.add(conn.lookupByName('ids').ID())
        dom.destroy()
    assert len(seen) == 3


def test_live_and_inactive_xml(boot):
    dom, _ = boot()
    live, inactive = ET.fromstring(dom.XMLDesc()), ET.fromstring(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert live.get('id') and not inactive.get('id')
    tty = live.find('devices/console').get('tty')
    assert tty.startswith('/dev/pts/') and os.path.exists(tty)
    assert live.find('devices/serial/source').get('path') == tty
    assert live.find('devices/console/alias').get('name') == 'serial0'
    assert inactive.find('devices/console').get('tty') is None
    assert inactive.find('devices/serial/alias') is None


@domus
def test_live_xml_defines_the_same(conn, boot):
    dom, _ = boot()
    inactive = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    conn.defineXML(dom.XMLDesc())
    assert dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == inactive


def test_destroy(events, boot):
    dom, console = boot()
    dom.destroy()
    assert dom.state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED]
    events.wait('g', STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
    console.wait_end()
    assert (dom.ID(), dom.isActive()) == (-1, 0)
    raises(libvirt.VIR_ERR_OPERATION_INVALID, dom.destroy)


def test_event_order(conn, events, boot):
    dom, _ = boot()
    dom.suspend()
    dom.resume()
    dom.destroy()
    dom.undefine()
    events.wait('g', libvirt.VIR_DOMAIN_EVENT_UNDEFINED)
    kinds = [e[0] for e in events.list('g') if e[0] != libvirt.VIR_DOMAIN_EVENT_SHUTDOWN]
    # QEMU's starts report a resume of their own.
    kinds = [k for i, k in enumerate(kinds) if not (k == RESUMED and SUSPENDED not in kinds[:i])]
    assert kinds == [libvirt.VIR_DOMAIN_EVENT_DEFINED, STARTED, SUSPENDED, RESUMED, STOPPED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED]


def test_suspend_resume(events, boot):
    dom, console = boot()
    dom.suspend()
    assert dom.state() == [PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER]
    events.wait('g', SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
    time = dom.info()[4]
    console.send('while paused\r')
    assert dom.info()[4] - time < 50_000_000
    assert b'echo: while' not in console.data
    dom.resume()
    events.wait('g', RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
    assert dom.state() == [RUNNING, libvirt.VIR_DOMAIN_RUNNING_UNPAUSED]
    console.expect(b'echo: while paused')


def test_start_paused(conn, events, echo_xml, closing):
    dom = conn.defineXML(echo_xml('p'))
    dom.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    wait_state(dom, PAUSED)
    console = closing(Console(dom))
    events.wait('p', SUSPENDED)
    dom.resume()
    console.expect(PROMPT)


def test_inactive_refuses(conn, echo_xml):
    dom = conn.defineXML(echo_xml('off'))
    for call in (dom.suspend, dom.resume, dom.shutdown, dom.reboot, dom.reset, dom.destroy):
        raises(libvirt.VIR_ERR_OPERATION_INVALID, call)


def test_shutdown_by_button(events, boot):
    dom, console = boot()
    dom.shutdown()
    console.expect(b'powering off')
    events.wait('g', STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    wait_state(dom, SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN)
    console.wait_end()


def test_shutdown_ignored(boot):
    dom, console = boot(cmdline='nobutton')
    dom.shutdown()
    console.ask('still', b'echo: still')
    assert dom.state()[0] == RUNNING
    dom.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
    wait_state(dom, SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED)


def test_shutdown_modes(boot):
    dom, _ = boot()
    raises((libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_INVALID_ARG,
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_AGENT_UNRESPONSIVE),
           dom.shutdownFlags, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
    dom.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    wait_state(dom, SHUTOFF)


def test_poweroff_by_guest(events, boot):
    dom, console = boot()
    console.ask('poweroff', b'powering off')
    events.wait('g', STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    wait_state(dom, SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN)


def test_reboot_by_guest(events, boot):
    dom, console = boot()
    number = dom.ID()
    console.ask('reboot', b'rebooting')
    console.expect(b'echo guest')
    console.expect(PROMPT)
    events.wait('g', 'reboot')
    assert dom.state()[0] == RUNNING and dom.ID() == number
    console.ask('again', b'echo: again')


def test_reboot(events, boot):
    dom, console = boot()
    number = dom.ID()
    dom.reboot()
    console.expect(b'echo guest')
    console.expect(PROMPT)
    events.wait('g', 'reboot')
    wait_state(dom, RUNNING)
    assert dom.ID() == number
    # The restart was for the reboot: a shutdown is one again.
    console.ask('again', b'echo: again')
    dom.shutdown()
    wait_state(dom, SHUTOFF)


def test_reset(boot):
    dom, console = boot(cmdline='nobutton')
    used = dom.info()[4]
    console.send('spin\r')
    wait_until(lambda: dom.info()[4] - used > 200_000_000, what='cpu time of a spinning guest')
    dom.reset()
    console.expect(b'echo guest')
    console.expect(PROMPT)
    console.ask('after', b'echo: after')


def test_on_reboot_destroy(events, boot):
    dom, console = boot(top='<on_reboot>destroy</on_reboot>')
    console.send('reboot\r')
    events.wait('g', STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    wait_state(dom, SHUTOFF)


def test_on_poweroff_restart(boot):
    dom, console = boot(top='<on_poweroff>restart</on_poweroff>')
    console.ask('poweroff', b'powering off')
    console.expect(b'echo guest')
    console.expect(PROMPT)
    assert dom.state()[0] == RUNNING


@domus
def test_crash(events, boot):
    dom, console = boot()
    console.send('crash\r')
    wait_state(dom, SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED)
    events.wait('g', STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED)


@domus
def test_on_crash_restart(boot):
    dom, console = boot(top='<on_crash>restart</on_crash>')
    console.ask('crash', b'crashing')
    console.expect(b'echo guest')
    console.expect(PROMPT)
    console.ask('back', b'echo: back')


@domus
def test_on_crash_preserve(boot):
    dom, console = boot(top='<on_crash>preserve</on_crash>')
    console.send('crash\r')
    wait_state(dom, CRASHED)
    assert dom.isActive()
    dom.destroy()
    wait_state(dom, SHUTOFF)


def test_lifecycle_action_changed_live(boot):
    dom, console = boot()
    dom.setLifecycleAction(libvirt.VIR_DOMAIN_LIFECYCLE_REBOOT, libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
                           libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert harness.virt_xml_value(dom.XMLDesc(), 'on_reboot') == 'destroy'
    assert harness.virt_xml_value(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), 'on_reboot') == 'restart'
    console.send('reboot\r')
    wait_state(dom, SHUTOFF)


def test_transient(conn, events, boot):
    dom, console = boot('t', transient=True)
    assert (dom.isPersistent(), dom.isActive()) == (0, 1)
    raises((libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INTERNAL_ERROR), dom.undefine)
    console.ask('poweroff', b'powering off')
    events.wait('t', STOPPED)
    wait_until(lambda: not conn.listAllDomains(), what='end of the transient domain')
    raises(libvirt.VIR_ERR_NO_DOMAIN, conn.lookupByName, 't')


def test_transient_duplicate(conn, boot, echo_xml):
    boot('t', transient=True)
    raises((libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_FAILED), conn.createXML, echo_xml('t'))


def test_transient_becomes_persistent(conn, boot):
    """What virt-install does: create, then define with the same uuid while it runs."""
    dom, console = boot('t', transient=True)
    conn.defineXML(dom.XMLDesc().replace('<on_reboot>restart', '<on_reboot>destroy'))
    assert (dom.isPersistent(), dom.isActive()) == (1, 1)
    assert harness.virt_xml_value(dom.XMLDesc(), 'on_reboot') == 'restart'
    console.ask('poweroff', b'powering off')
    wait_state(dom, SHUTOFF)
    assert dom.isUpdated() == 0
    assert harness.virt_xml_value(dom.XMLDesc(), 'on_reboot') == 'destroy'


def test_undefine_while_running(conn, boot):
    dom, _ = boot()
    dom.undefine()
    assert (dom.isPersistent(), dom.isActive()) == (0, 1)
    dom.destroy()
    raises(libvirt.VIR_ERR_NO_DOMAIN, conn.lookupByName, 'g')


def test_autodestroy(daemon, conn, echo_xml):
    other = daemon.open()
    other.createXML(echo_xml('mortal'), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    assert [d.name() for d in conn.listAllDomains()] == ['mortal']
    other.close()
    wait_until(lambda: not conn.listAllDomains(), what='end of the domain with its creator')


def test_redefined_while_running(conn, boot, echo_xml):
    dom, console = boot(memory=64)
    conn.defineXML(echo_xml('g', memory=96, uuid=dom.UUIDString()))
    assert dom.maxMemory() == 64 * 1024
    assert harness.virt_xml_value(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), 'memory') == str(96 * 1024)
    dom.destroy()
    assert dom.maxMemory() == 96 * 1024


def test_info_and_stats(conn, boot):
    dom, console = boot(vcpus=2, memory=64)
    console.send('spin\r')
    wait_until(lambda: dom.info()[4] > 20_000_000, what='cpu time')
    state, max_memory, memory, vcpus, _ = dom.info()
    assert (state, max_memory, memory, vcpus) == (RUNNING, 64 * 1024, 64 * 1024, 2)
    (stats_dom, stats), = conn.getAllDomainStats()
    assert stats_dom.name() == 'g'
    assert (stats['state.state'], stats['state.reason']) == (RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED)
    assert stats['cpu.time'] > 0
    assert (stats['vcpu.current'], stats['vcpu.maximum']) == (2, 2)
    assert stats['vcpu.0.state'] == libvirt.VIR_VCPU_RUNNING
    assert stats['balloon.current'] == stats['balloon.maximum'] == 64 * 1024
    wait_until(lambda: conn.getAllDomainStats()[0][1]['vcpu.0.time'] > stats['vcpu.0.time'], what='time of vCPU 0')
    infos, maps = dom.vcpus()
    assert [i[0] for i in infos] == [0, 1]
    assert infos[0][2] > 0 and len(maps) == 2
    assert harness.PEER or dom.memoryStats()['actual'] == 64 * 1024
    assert dom.memoryStats()['rss'] > 0
    assert harness.PEER or dom.getCPUStats(True)[0]['cpu_time'] > 0


def test_stats_filters(conn, boot, echo_xml):
    boot('on')
    conn.defineXML(echo_xml('off'))

    def names(stats, flags):
        return sorted(d.name() for d, _ in conn.getAllDomainStats(stats, flags))
    assert names(0, 0) == ['off', 'on']
    assert names(0, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE) == ['on']
    only = conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE)
    assert set(only[0][1]) == {'state.state', 'state.reason'}
    assert [d.name() for d, _ in conn.domainListGetStats([conn.lookupByName('off')])] == ['off']


@domus
@pytest.mark.parametrize('what', ['missing', 'garbage', 'empty', 'directory', 'truncated'])
def test_bad_kernels(conn, guests, what):
    path = guests.dir / f'kernel-{what}'
    if what == 'garbage':
        guests.write(path.name, b'not a kernel at all ' * 1000)
    elif what == 'empty':
        guests.write(path.name, b'')
    elif what == 'directory':
        path.mkdir(exist_ok=True)
    elif what == 'truncated':
        guests.write(path.name, guests.echo.read_bytes()[:300])
    dom = conn.defineXML(harness.domain_xml('bad', path))
    code = libvirt.VIR_ERR_SYSTEM_ERROR if what == 'missing' else None
    with pytest.raises(libvirt.libvirtError) as e:
        dom.create()
    assert code in (None, e.value.get_error_code()), str(e.value)
    assert path.name in str(e.value) or 'kernel' in str(e.value)
    assert dom.state()[0] == SHUTOFF
    assert not dom.isActive()


@domus
def test_missing_initrd(conn, guests):
    dom = conn.defineXML(harness.domain_xml('bad', guests.echo, initrd='/nonexistent/initrd'))
    message = raises(libvirt.VIR_ERR_SYSTEM_ERROR, dom.create)
    assert '/nonexistent/initrd' in message


@domus
def test_memory_beyond_host(conn, echo_xml):
    total = conn.getInfo()[1]
    dom = conn.defineXML(echo_xml('huge', memory=total * 2))
    with pytest.raises(libvirt.libvirtError) as e:
        dom.create()
    assert 'memory' in str(e.value).lower()
    assert dom.state()[0] == SHUTOFF


@domus
def test_kvm_asked_for(conn, echo_xml):
    """The definition can insist on KVM; where that is not real, the start says so."""
    real = '<domain type=\'kvm\'/>' in conn.getCapabilities()
    dom = conn.defineXML(echo_xml('k', kind='kvm'))
    if real:
        dom.create()
        assert dom.isActive()
    else:
        assert "'kvm'" in raises((libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_OPERATION_UNSUPPORTED), dom.create)


@domus  # libvirtd takes two seconds
def test_killed_vmm(daemon, events, boot):
    dom, _ = boot()
    pid, = daemon.vmm_pids('g')
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    at = events.wait('g', STOPPED)
    assert at - begin < 1
    assert events.list('g')[-1] in ((STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED),
                                    (STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED))
    wait_state(dom, SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED)
    dom.create()
    assert dom.isActive()


def test_spinning_guests_harm_nobody(conn, boot):
    dom, console = boot('spin', vcpus=1)
    console.send('spin\r')
    other, other_console = boot('other')
    other_console.ask('alive', b'echo: alive')
    dom.suspend()
    dom.resume()
    dom.destroy()
    assert other.state()[0] == RUNNING


def test_inject_nmi(boot):
    dom, console = boot()
    dom.injectNMI()
    assert dom.state()[0] in (RUNNING, SHUTOFF, CRASHED)


def test_many_starts(conn, echo_xml):
    dom = conn.defineXML(echo_xml('often'))
    for _ in range(10):
        dom.create()
        dom.destroy()
    assert dom.state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED]


def test_parallel_guests(conn, echo_xml, closing):
    doms = [conn.createXML(echo_xml(f'par{i}', memory=16)) for i in range(6)]
    consoles = [closing(Console(d)) for d in doms]
    for i, c in enumerate(consoles):
        c.insist(f'guest {i}', f'echo: guest {i}')
    assert conn.numOfDomains() == 6
