#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the guest host: all that is tested there, in one boot.
set -eu
cd "$(dirname "$0")/../.."
tests/guesthost/smoke.sh
# The root file system cannot be exported, nor hold loop devices' files well.
TMPDIR=/var/tmp exec python3 -m pytest -q -p no:cacheprovider --color=no --durations=5 tests/system/test_storage_host.py
