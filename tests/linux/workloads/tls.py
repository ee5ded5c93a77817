# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS over the loopback device, with tls.crt and tls.key of the current folder: what is sent comes back in capitals."""
import hashlib
import os
import random
import socket
import ssl
import threading

DATA = random.Random(8).randbytes(300_000).hex().encode()


def context(side, version, ciphers):
    c = ssl.SSLContext(side)
    c.minimum_version = c.maximum_version = version
    if ciphers:
        c.set_ciphers(ciphers)
    return c


def serve(listener, ctx):
    with ctx.wrap_socket(listener.accept()[0], server_side=True) as s:
        left = len(DATA)
        while left:
            part = s.recv(16384)
            left -= len(part)
            s.sendall(part.upper())


def talk(version, ciphers):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        ctx = context(ssl.PROTOCOL_TLS_SERVER, version, ciphers)
        ctx.load_cert_chain('tls.crt', 'tls.key')
        t = threading.Thread(target=serve, args=(listener, ctx))
        t.start()
        ctx = context(ssl.PROTOCOL_TLS_CLIENT, version, ciphers)
        ctx.check_hostname = False
        ctx.load_verify_locations('tls.crt')
        with ctx.wrap_socket(socket.create_connection(listener.getsockname())) as s:
            # An SSL object is for one thread at a time: what is sent fits into the socket's buffers, and then its answer is read.
            back = b''
            while len(back) < len(DATA):
                part = DATA[len(back):len(back) + 50_000]
                s.sendall(part)
                end = len(back) + len(part)
                while len(back) < end:
                    back += s.recv(65536)
            print(s.version(), s.cipher()[0], back == DATA.upper(), hashlib.sha256(back).hexdigest()[:16])
        t.join()


talk(ssl.TLSVersion.TLSv1_3, None)
for name in () if 'QUICK' in os.environ else ('ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-ECDSA-AES256-SHA384'):
    talk(ssl.TLSVersion.TLSv1_2, name)
