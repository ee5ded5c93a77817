#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usage: install.py BUILD-DIR: the daemon looks for its programs beside itself, so that is where it must be installed."""
import json
import pathlib
import sys

installed = json.loads((pathlib.Path(sys.argv[1]) / 'meson-info' / 'intro-installed.json').read_text())
places = {pathlib.Path(to).name: pathlib.Path(to).parent for to in installed.values()}
assert places['virtdomusd'] == places['domus-vm'] == places['domus-bootloader'], places
assert places['virtdomusd'].name == 'sbin', places
for name, part in (('virtdomusd.service', 'systemd/system'), ('virtdomusd.socket', 'systemd/system'),
                   ('virtdomusd-ro.socket', 'systemd/system'), ('virtdomusd.8', 'man/man8'), ('domus-vm.8', 'man/man8'), ('domus-bootloader.8', 'man/man8')):
    assert str(places[name]).endswith(part), (name, places[name])
