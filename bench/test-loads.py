#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the comparison of loads notices what must not be quoted."""
import loads

GOOD = ['domus-bench: begin a', 'domus-bench: a 1.000000 0.900000 10 00000000000000aa', 'domus-bench: begin b',
        'noise', 'domus-bench: took b', 'domus-bench: b 2.000000 1.800000 20 00000000000000bb', 'domus-bench: end', 'domus-bench: failed: late']
TIMES = [10, 11, 20, 21, 22, 30, 31, 32]


class Side:
    def __init__(self, name, lines, times=TIMES):
        self.name, self.lines, self.times = name, lines, times

    def run(self, complain):
        return loads.parse(zip(self.times, self.lines), complain)


def compare(lines, times=TIMES, cpu_time=False):
    c = loads.Comparison([Side('native', GOOD), Side('guest', lines, times)], cpu_time)
    c.measure(2, lambda text: None)
    return c


def expect(c, *words):
    """Each complaint starts with the next of the words, in each of the two rounds."""
    assert [text.split(':')[0] for text in c.complaints] == list(words), c.complaints


def change(old, new):
    return [line.replace(old, new) for line in GOOD]


def main():
    c = compare(change('1.000000', '1.020000'))
    expect(c)
    assert c.names() == ['a', 'b'] and c.results['guest']['b'][0].host_seconds == 2
    assert abs(c.ratios('guest', 'native', 'a')[0] - 1.02) < 1e-9
    assert abs(compare(GOOD, cpu_time=True).median('native', 'b') - 0.09) < 1e-9
    expect(compare(change('bb', 'bc')), 'WRONG RESULT', 'WRONG RESULT')
    expect(compare(GOOD[:2] + GOOD[6:]), 'MISSING')
    expect(compare(GOOD[:6] + ['domus-bench: failed: c', GOOD[6]]), 'FAILED', 'FAILED')
    expect(compare(change('2.000000', '1.000000')), 'CLOCK', 'CLOCK')
    assert compare(GOOD[6:]).ratios('guest', 'native', 'a') is None
    print('loads: wrong, missing, failed results and slow clocks are noticed')


main()
