#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks every #include "…" below src/ against the dependency direction, and that headers guard themselves."""
import pathlib
import re
import sys

# Folder -> the folders it may include from (itself always allowed). The longest matching key wins.
ALLOWED = {
    'base': [],
    'vmproto': ['base'],
    'bootloader': ['base'],
    'model': ['base'],
    'run': ['base', 'model'],
    'net': ['base', 'model', 'run'],
    'storage': ['base', 'model', 'run'],
    'daemon': ['base', 'model', 'run', 'net', 'storage', 'vmproto'],
    'libvirt-driver': ['base', 'model', 'net', 'storage', 'daemon'],
    'hv/bus': ['base'],
    'hv/x86': ['base', 'hv/bus'],
    'hv/engine': ['base', 'hv/x86'],
    'hv/engine/dbt': ['base', 'hv/x86', 'hv/engine'],
    'hv/pci': ['base', 'hv/bus'],
    'hv/dev': ['base', 'hv/bus', 'hv/pci'],
    'hv/block': ['base', 'hv/bus'],
    'hv/netdev': ['base', 'hv/bus'],
    'hv/display': ['base', 'hv/bus'],
    'hv/virtio': ['base', 'hv/bus', 'hv/pci', 'hv/block', 'hv/netdev', 'hv/display'],
    'hv/migrate': ['base', 'hv/bus', 'hv/x86'],
    'hv/machine': ['base', 'hv/bus', 'hv/x86', 'hv/engine', 'hv/pci', 'hv/dev', 'hv/virtio', 'hv/block', 'hv/netdev',
                   'hv/display', 'hv/migrate'],
    'hv/main': ['base', 'vmproto', 'hv/bus', 'hv/x86', 'hv/engine', 'hv/machine'],
}
# virtdomusd's main file puts the presentations and the core together.
# Tests of hv share bus/check.h.
EXTRA = {'daemon/main.c': ['libvirt-driver'], 'hv/engine/dbt/test-system.c': ['hv/bus'],
         'hv/engine/dbt/test-native.c': ['hv/bus']}
# Libraries that a part may not see.
FORBIDDEN = {
    'hv': ['glib', 'libxml/', 'libvirt/'],
    'base': ['glib', 'libxml/', 'libvirt/', 'systemd/'],
    'bootloader': ['glib', 'libxml/', 'libvirt/', 'systemd/'],
    'model': ['systemd/', 'libvirt/'],
}


def folder_of(path):
    best = max((k for k in ALLOWED if path == k or path.startswith(k + '/')), key=len, default=None)
    return best


def main():
    root = pathlib.Path(sys.argv[1]) / 'src'
    bad = []
    for f in sorted(root.rglob('*.[ch]')):
        rel = f.relative_to(root).as_posix()
        text = f.read_text()
        own = folder_of(rel)
        if own is None:
            bad.append(f'{rel}: in no known folder')
            continue
        if f.name.startswith('util.'):
            bad.append(f'{rel}: no file is called util')
        if f.suffix == '.h' and '#pragma once' not in text:
            bad.append(f'{rel}: no #pragma once')
        if 'SPDX-License-Identifier: GPL-2.0-or-later' not in text[:200]:
            bad.append(f'{rel}: no SPDX line')
        allowed = set(ALLOWED[own]) | {own} | set(EXTRA.get(rel, []))
        for inc in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
            target = folder_of(inc)
            if '/' not in inc:
                continue  # generated header of the same folder
            if target not in allowed:
                bad.append(f'{rel}: may not include "{inc}"')
        for inc in re.findall(r'^\s*#\s*include\s+<([^>]+)>', text, re.M):
            for part, libs in FORBIDDEN.items():
                if (own == part or own.startswith(part + '/')) and any(inc.startswith(x) for x in libs):
                    bad.append(f'{rel}: may not include <{inc}>')
        if own == 'hv/engine' and f.name not in ('kvm.c', 'kvm-state.c', 'probe.c') or own.startswith('hv/') and own != 'hv/engine':
            if '<linux/kvm.h>' in text:
                bad.append(f'{rel}: KVM belongs to engine/kvm.c, kvm-state.c and probe.c')
    print('\n'.join(bad) if bad else 'all includes follow the dependency direction')
    return 1 if bad else 0


sys.exit(main())
