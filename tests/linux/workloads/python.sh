# SPDX-License-Identifier: GPL-2.0-or-later
# Python's own arithmetic, strings, hashes, compressors, processes and threads.
exec python3 "$HERE/python.py"
