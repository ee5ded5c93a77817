#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads made of a Debian userland's own programs; the same output as the programs of load.c.

usage: loads.py [--scale FACTOR] [NAME ...], in a directory with work.py, work.lua and *.c
"""
import argparse
import ctypes
import glob
import hashlib
import os
import resource
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def output(*argv, stdin=subprocess.DEVNULL):
    return subprocess.run(argv, stdin=stdin, stdout=subprocess.PIPE, check=True).stdout


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def text_file(path, mib):
    """Python's library, again and again: something that a compressor finds work in."""
    sources = b''.join(open(f, 'rb').read() for f in sorted(glob.glob('/usr/lib/python3*/*.py')))
    with open(path, 'wb') as f:
        for i in range(-(-mib * (1 << 20) // len(sources))):
            f.write(sources[:mib * (1 << 20) - f.tell()])


def amount(n, scale):
    return max(1, round(n * scale))


# Each load is made for a scale, which may take time that is not measured, and is then called: it returns (operations, checksum).

def sha256sum(scale):
    mib = amount(100, scale)
    text_file('sha256sum.in', mib)

    def run():
        return mib, output('sha256sum', 'sha256sum.in')[:16].decode()
    return run


def gzip(scale):
    mib = amount(10, scale)
    text_file('gzip.in', mib)

    def run():
        subprocess.run('gzip -n <gzip.in >gzip.out', shell=True, check=True)
        return mib, None
    return run, lambda: digest(open('gzip.out', 'rb').read())


def gunzip(scale):
    mib = amount(50, scale)
    text_file('gunzip.in', mib)
    subprocess.run('gzip -1 -n <gunzip.in >gunzip.gz', shell=True, check=True)

    def run():
        subprocess.run('gzip -d <gunzip.gz >gunzip.out', shell=True, check=True)
        return mib, None
    return run, lambda: digest(open('gunzip.out', 'rb').read())


def aes_gcm_digest():
    """Of what libcrypto's AES-256-GCM makes of a MiB, and of the tag. openssl's command line has no such mode."""
    crypto = ctypes.CDLL('libcrypto.so.3')
    for f in ('EVP_CIPHER_CTX_new', 'EVP_aes_256_gcm'):
        getattr(crypto, f).restype = ctypes.c_void_p
    ctx = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    plain = b''.join(i.to_bytes(4, 'little') for i in range(1 << 18))
    sealed, tag, n = ctypes.create_string_buffer(len(plain)), ctypes.create_string_buffer(16), ctypes.c_int()
    good = crypto.EVP_EncryptInit_ex(ctx, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, bytes(range(32)), bytes(range(12)))
    good &= crypto.EVP_EncryptUpdate(ctx, sealed, ctypes.byref(n), plain, len(plain))
    good &= crypto.EVP_EncryptFinal_ex(ctx, tag, ctypes.byref(n))
    good &= crypto.EVP_CIPHER_CTX_ctrl(ctx, 0x10, 16, tag)  # EVP_CTRL_GCM_GET_TAG
    crypto.EVP_CIPHER_CTX_free(ctx)
    return digest(sealed.raw + tag.raw) if good else 'failed'


def aes_gcm(scale):
    def run():
        begin = time.monotonic()
        out = output('openssl', 'speed', '-mr', '-elapsed', '-seconds', '1', '-bytes', '16384', '-evp', 'aes-256-gcm').decode()
        rate = float(next(line for line in out.splitlines() if line.startswith('+F:')).split(':')[-1])
        # As many MiB as in the whole time, so that operations per second is openssl's figure.
        return round(rate * (time.monotonic() - begin) / (1 << 20)), None
    return run, aes_gcm_digest


def python3(scale):
    return lambda: (1, digest(output('/usr/bin/python3', f'{HERE}/work.py', str(amount(100, scale)))))


def luajit(scale):
    return lambda: (1, digest(output('luajit', f'{HERE}/work.lua', str(amount(60, scale)))))


def gcc(scale):
    sources, rounds = sorted(os.path.basename(f) for f in glob.glob(f'{HERE}/*.c')), amount(2, scale)

    def run():
        for _ in range(rounds):
            for f in sources:
                subprocess.run(['gcc', '-O2', '-D_GNU_SOURCE', '-c', f'{HERE}/{f}', '-o', f'{f}.o'], check=True)
        return rounds, None
    return run, lambda: digest(b''.join(open(f'{f}.o', 'rb').read() for f in sources))


LOADS = {'sha256sum': sha256sum, 'gzip': gzip, 'gunzip': gunzip, 'aes-256-gcm': aes_gcm, 'python3': python3, 'luajit': luajit, 'gcc': gcc}


def cpu_seconds():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(name, scale):
    run, check = LOADS[name](scale), None
    if isinstance(run, tuple):
        run, check = run
    print('domus-bench: begin', name, flush=True)
    begin, cpu = time.monotonic(), cpu_seconds()
    operations, checksum = run()
    seconds, cpu = time.monotonic() - begin, cpu_seconds() - cpu
    if check:
        # Who watches the lines sees by this one that the time is over.
        print(f'domus-bench: took {name}', flush=True)
        checksum = check()
    print(f'domus-bench: {name} {seconds:.6f} {cpu:.6f} {operations} {checksum}', flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--scale', type=float, default=1)
    p.add_argument('names', nargs='*')
    args = p.parse_args()
    for name in args.names:
        if name not in LOADS:
            sys.exit(f"no load is called '{name}'; there are: {' '.join(LOADS)}")
    for name in args.names or LOADS:
        try:
            measure(name, args.scale)
        except (subprocess.CalledProcessError, OSError, StopIteration) as e:
            print(f'domus-bench: failed: {name}: {e!r}', flush=True)
    print('domus-bench: end', flush=True)


main()
