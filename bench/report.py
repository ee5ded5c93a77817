# SPDX-License-Identifier: GPL-2.0-or-later
"""One line for one figure of both sides."""
import statistics


def report(title, unit, ours, peers, lower_is_better=True):
    a, b = statistics.median(ours), statistics.median(peers)
    ratio = b / a if lower_is_better else a / b
    print(f'{title:24} Domus {a:10.3f} {unit:4} peer {b:10.3f} {unit:4} ratio {ratio:6.2f}   (n={len(ours)}, '
          f'{min(ours):.3f}..{max(ours):.3f} against {min(peers):.3f}..{max(peers):.3f})', flush=True)
