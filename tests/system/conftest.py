# SPDX-License-Identifier: GPL-2.0-or-later
import gc
import itertools
import os
import shutil
import signal

import pytest

import harness

own_daemons = itertools.count()

# What is for a guest that is a host: tests/guesthost runs it there.
collect_ignore = [] if 'DOMUS_GUEST_HOST' in os.environ else ['test_storage_host.py']


def pytest_configure(config):
    config.addinivalue_line('markers', 'domus: says something about Domus alone; not run against a peer')
    config.addinivalue_line('markers', 'debian: with a Debian guest, which the sanitizers would make take minutes')
    harness.start_event_loop()


def pytest_collection_modifyitems(items):
    if harness.PEER:
        for item in items:
            if item.get_closest_marker('domus'):
                item.add_marker(pytest.mark.skip(reason=f'not about {harness.PEER}'))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the logs of its daemon and domains."""
    report = (yield).get_result()
    if report.failed:
        for value in item.funcargs.values():
            if isinstance(value, harness.Daemon):
                report.sections += value.logs()


@pytest.fixture(autouse=True)
def garbage_between_tests():
    """A libvirt object that is collected resets its thread's last error: were that to happen between a failed call and the
    binding's look at the error, the error would be lost. So garbage is collected between tests only."""
    gc.disable()
    yield
    gc.collect()


@pytest.fixture(scope='session')
def work():
    path = harness.make_work_dir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope='session')
def guests(work):
    return harness.Guests(work / 'guests')


@pytest.fixture(scope='module')
def daemon(work, request):
    """One for the tests of a file; the domains of a test end with it."""
    d = harness.make_daemon(work / request.module.__name__)
    try:
        yield d.start()
    finally:
        d.cleanup()


@pytest.fixture
def own_daemon(work):
    """One for this test alone."""
    # A socket's path holds 107 bytes only.
    d = harness.make_daemon(work / f'own{next(own_daemons)}')
    try:
        yield d.start()
    finally:
        d.cleanup()


@pytest.fixture
def conn(daemon):
    assert daemon.process.poll() is None, 'the daemon is gone'
    c = daemon.open()
    yield c
    harness.remove_domains(c)
    c.close()
    assert daemon.process.poll() is None, f'the daemon ended with {daemon.process.returncode}'


@pytest.fixture
def events(conn):
    e = harness.Events(conn)
    yield e
    e.close()


@pytest.fixture
def virsh(daemon):
    def call(*args, ok=True, uri=None, timeout=harness.TIMEOUT):
        return harness.run('virsh', '-q', '-c', uri or daemon.uri, *args, ok=ok, timeout=timeout)
    return call


@pytest.fixture
def echo_xml(guests):
    def make(name, **kwargs):
        return harness.domain_xml(name, guests.echo, **kwargs)
    return make


@pytest.fixture
def closing():
    """Closes what it was given, also when the test fails."""
    things = []

    def add(thing):
        things.append(thing)
        return thing
    yield add
    for thing in reversed(things):
        thing.close()


def pytest_sessionstart(session):
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # What was started is ended also when the tests are.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit('terminated', 143))
