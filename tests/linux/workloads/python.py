# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints one line for each of many kinds of work, the same on every machine that computes right."""
import binascii
import bz2
import cmath
import collections
import ctypes
import decimal
import difflib
import fractions
import hashlib
import heapq
import itertools
import json
import lzma
import math
import multiprocessing
import os
import pickle
import queue
import random
import re
import statistics
import struct
import subprocess
import sys
import threading
import unicodedata
import zlib

sys.set_int_max_str_digits(0)
rng = random.Random(20241)
quick = 'QUICK' in os.environ
size = 1 if quick else 5
data = rng.randbytes(60_000 * size)


def digest(text):
    return hashlib.sha256(text if isinstance(text, bytes) else repr(text).encode()).hexdigest()[:16]


def hashes():
    for name in ('md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'sha3_256', 'sha3_512', 'blake2b', 'blake2s'):
        yield name, hashlib.new(name, data).hexdigest()[:24]
    yield 'pbkdf2', hashlib.pbkdf2_hmac('sha512', b'secret', b'salt', 2000).hex()[:32]
    yield 'scrypt', hashlib.scrypt(b'secret', salt=b'salt', n=1024, r=8, p=1).hex()[:32]
    yield 'crc32', zlib.crc32(data), zlib.adler32(data), binascii.crc_hqx(data, 0)


def compressors():
    text = json.dumps([rng.randrange(1000) for _ in range(8000 * size)]).encode()
    for name, module in (('zlib', zlib), ('bz2', bz2), ('lzma', lzma)):
        packed = module.compress(text)
        yield name, len(packed), digest(packed), module.decompress(packed) == text


def floats():
    values = [rng.uniform(-10, 10) * 10 ** rng.randrange(-20, 20) for _ in range(400 * size)]
    yield 'repr', digest([repr(x) for x in values]), digest([(f'{x:.17e}', f'{x:.3g}', x.hex()) for x in values])
    yield 'parse', digest([float(repr(x)) == x for x in values])
    small = [rng.uniform(-5, 5) for _ in range(400 * size)]
    for fn in (math.sin, math.cos, math.tan, math.atan, math.exp, math.sinh, math.tanh, math.erf, math.gamma, math.cbrt, math.asinh):
        yield fn.__name__, digest([fn(x) for x in small])
    positive = [abs(x) + 1e-9 for x in small]
    for fn in (math.sqrt, math.log, math.log2, math.log10, math.lgamma, math.log1p):
        yield fn.__name__, digest([fn(x) for x in positive])
    yield 'pow', digest([a ** b for a, b in zip(positive, small)]), digest([math.fmod(a, b) for a, b in zip(small, positive)])
    yield 'fsum', math.fsum(small), statistics.stdev(small), cmath.exp(1 + 2j), math.hypot(*small[:50])
    yield 'round', digest([(round(x, 3), math.floor(x), math.ceil(x), int(x * 1e6), math.frexp(x), math.modf(x)) for x in small])
    yield 'special', [str(x) for x in (math.inf, -math.inf, math.nan, -0.0, 5e-324, 1.7976931348623157e308, 2.0 ** -1074 / 2)]
    yield 'struct', digest(b''.join(struct.pack('<dfe', x, x, x) for x in small))


def integers():
    yield 'factorial', digest(math.factorial(600 * size)), len(str(3 ** 10000)), digest(str(7 ** (4000 * size)))
    yield 'powmod', pow(0x123456789abcdef, 2 ** 521 - 3, 2 ** 607 - 1) % 10 ** 30, math.gcd(2 ** 300 - 1, 2 ** 180 - 1)
    yield 'division', digest([divmod(rng.getrandbits(512), rng.getrandbits(200) + 1) for _ in range(500)])
    yield 'isqrt', digest([math.isqrt(rng.getrandbits(400)) for _ in range(300)])
    yield 'bits', sum(x.bit_count() for x in range(10000 * size)), digest([x.bit_length() for x in range(5000)])
    sieve = bytearray([1]) * 200_000
    for i in range(2, 448):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, len(sieve), i)))
    yield 'primes', sum(sieve) - 2
    decimal.getcontext().prec = 40 * size
    yield 'decimal', str(decimal.Decimal(2).sqrt())[-30:], str(decimal.Decimal(1).exp())[-30:]
    yield 'fractions', sum((fractions.Fraction(1, n) for n in range(1, 200)), fractions.Fraction(0)).numerator % 10 ** 20


def texts():
    words = [''.join(rng.choices('abcdefgh', k=rng.randrange(2, 9))) for _ in range(4000 * size)]
    text = ' '.join(words)
    yield 're', len(re.findall(r'\b(a[b-d]+|h.*?a)\b', text)), digest(re.sub(r'(\w)(\w)', r'\2\1', text))
    yield 'counter', collections.Counter(text).most_common(4), digest(sorted(words)), digest(sorted(set(words), key=len))
    yield 'unicode', digest(unicodedata.normalize('NFKD', ''.join(map(chr, range(0xa0, 0x400 * size))))), digest(text.encode('utf-16'))
    yield 'difflib', digest(list(difflib.unified_diff(words[:400], words[50:430])))
    table = [{'n': i, 'x': rng.random(), 's': words[i], 'l': list(range(i % 7))} for i in range(400 * size)]
    yield 'json', digest(json.dumps(table)), json.loads(json.dumps(table)) == table
    yield 'pickle', digest(pickle.dumps(table, 4)), pickle.loads(pickle.dumps(table)) == table
    heap = []
    for w in words:
        heapq.heappush(heap, w)
    yield 'heap', digest([heapq.heappop(heap) for _ in range(len(heap))]), digest(list(itertools.permutations('abcdef'))[::7])


def square(x):
    return x * x


def concurrency():
    """Threads with a lock and a queue, processes with pipes; calls through C function pointers."""
    lock, total, q = threading.Lock(), [0], queue.Queue()

    def work(n):
        for i in range(2000):
            with lock:
                total[0] += 1
        q.put(n)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    yield 'threads', total[0], sorted(q.get() for _ in threads)
    with multiprocessing.get_context('fork').Pool(3) as pool:
        yield 'pool', sum(pool.map(square, range(3000)))
    yield 'subprocess', subprocess.run(['sh', '-c', 'for i in 1 2 3; do echo $i | tr 123 abc; done'], capture_output=True).stdout
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    array = (ctypes.c_int * 500)(*(rng.randrange(-10000, 10000) for _ in range(500)))
    ctypes.CDLL(None).qsort(array, len(array), 4, compare(lambda a, b: a[0] - b[0]))
    yield 'qsort', digest(list(array)), list(array) == sorted(array)


for group in (hashes, compressors, floats, integers, texts, concurrency):
    for line in group():
        print(group.__name__, *line)
