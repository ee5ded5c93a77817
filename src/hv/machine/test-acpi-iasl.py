#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Has Intel's compiler read our tables: disassembles them, compiles the DSDT again, and looks for what must be there."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def run(*args, cwd):
    p = subprocess.run(args, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return p.returncode, p.stdout


def main():
    if not shutil.which('iasl'):
        print('SKIP: iasl (package acpica-tools) is not installed')
        return 77
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([sys.argv[1], '--dump', d], check=True)
        for table in 'xsdt', 'facp', 'apic', 'dsdt':
            code, out = run('iasl', '-d', table + '.dat', cwd=d)
            if code or re.search(r'(?i)invalid|error|warning|unknown', out):
                print(out)
                return 1
        code, out = run('iasl', '-p', 'again', 'dsdt.dsl', cwd=d)
        print(out)
        # (The compiler remarks that a _CRS could be written by hand in another way; only errors and warnings count.)
        if code or not re.search(r'0 Errors, 0 Warnings', out):
            return 1
        dsl = pathlib.Path(d, 'dsdt.dsl').read_text()
        for text in ('EisaId ("PNP0A03")', 'Name (_S5, Package (0x04)', 'Name (_PRT, Package (0x80)', 'EisaId ("PNP0501")',
                     'Device (CP3F)', 'Device (S01F)', 'Method (_E01', 'Notify (S01F, 0x03)', 'WordBusNumber', 'Interrupt (ResourceConsumer, Level, ActiveHigh, Shared'):
            if text not in dsl:
                print('not in the disassembly:', text)
                return 1
        facp = pathlib.Path(d, 'facp.dsl').read_text()
        for pattern in (r'Control Method Power Button \(V1\) : 0', r'Reset Register Supported \(V2\) : 1',
                        r'Value to cause reset : 06', r'8042 Present on ports 60/64 \(V2\) : 0'):
            if not re.search(pattern, facp):
                print('not in the FADT:', pattern)
                return 1
    return 0


sys.exit(main())
