# SPDX-License-Identifier: GPL-2.0-or-later
"""virtdomusd against libvirtd: the start of a domain, and remote procedure calls.

Both run privately: libvirtd as user nobody in session mode (as root), virtdomusd in a directory of its own."""
import os
import subprocess
import time

import libvirt

from report import report


def domain_xml(ctx, name, kind, extra):
    return f'''<domain type='{kind}'><name>{name}</name><memory unit='MiB'>{ctx.machine.mib}</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type><kernel>{ctx.work}/vmlinuz</kernel><initrd>{ctx.work}/initrd.img</initrd>
<cmdline>console=ttyS0</cmdline></os><features><acpi/><apic/></features>{extra}</domain>'''


def start_daemons(ctx):
    work = ctx.work
    for d in ('lv/rt', 'lv/config', 'lv/cache', 'lv/home', 'd/sock'):
        (work / d).mkdir(parents=True)
    subprocess.run(['chown', '-R', 'nobody:', work / 'lv'], check=True)
    env = {'PATH': os.environ['PATH'], 'HOME': str(work / 'lv/home'), 'XDG_RUNTIME_DIR': str(work / 'lv/rt'),
           'XDG_CONFIG_HOME': str(work / 'lv/config'), 'XDG_CACHE_HOME': str(work / 'lv/cache')}
    libvirtd = subprocess.Popen(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'libvirtd',
                                 '--pid-file', str(work / 'lv/pid')],
                                env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ctx.processes.append(libvirtd)
    args = [ctx.build / 'src/daemon/virtdomusd', '--system', '--socket-dir', work / 'd/sock', '--vmm',
            ctx.build / 'src/hv/main/domus-vm']
    for d in ('config', 'run', 'state', 'log'):
        args += [f'--{d}-dir', work / 'd' / d]
    with open(work / 'd/virtdomusd.log', 'w') as log:
        ctx.processes.append(subprocess.Popen(args, stdout=log, stderr=log))
    ours = connect(f'domus+unix:///system?socket={work}/d/sock/virtdomusd-sock')
    peer = connect(f'qemu+unix:///session?socket={work}/lv/rt/libvirt/libvirt-sock')
    return ours, peer


def connect(uri):
    libvirt.registerErrorHandler(lambda *_: None, None)
    for _ in range(200):
        try:
            return libvirt.open(uri)
        except libvirt.libvirtError:
            time.sleep(0.1)
    return libvirt.open(uri)


def measure_start(ctx, doms):
    for d in doms:  # the first start probes QEMU's capabilities; it does not count
        d.create()
        d.destroy()
    times = ([], [])
    for _ in range(max(ctx.rounds, 5)):
        for d, t in zip(doms, times):
            begin = time.monotonic()
            d.create()
            t.append((time.monotonic() - begin) * 1000)
            d.destroy()
    report('start latency', 'ms', *times)


def measure_rpc(ctx, conns, doms):
    for title, calls in (('rpc: GetLibVersion', [c.getLibVersion for c in conns]),
                         ('rpc: DomainGetInfo', [d.info for d in doms])):
        rates = ([], [])
        for _ in range(ctx.rounds):
            for call, r in zip(calls, rates):
                begin = time.monotonic()
                for _ in range(2000):
                    call()
                r.append(2000 / (time.monotonic() - begin))
        report(title, '1/s', *rates, lower_is_better=False)


def measure(ctx, want):
    conns = start_daemons(ctx)
    ours = "<devices><console type='pty'/></devices>"
    qemu = ("<cpu mode='maximum'/><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
            "<controller type='usb' model='none'/><memballoon model='none'/><console type='pty'/></devices>")
    doms = [c.defineXML(domain_xml(ctx, 'bench', 'qemu', extra)) for c, extra in zip(conns, (ours, qemu))]
    if 'start' in want:
        measure_start(ctx, doms)
    if 'rpc' in want:
        measure_rpc(ctx, conns, doms)
    for d in doms:
        d.undefine()
