# SPDX-License-Identifier: GPL-2.0-or-later
# Digests, ciphers and signatures of the same bytes, and a TLS connection.
set -e
python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(5).randbytes(400000))' >data
all=(md5 sha1 sha224 sha256 sha384 sha512 sha512-256 sha3-256 shake256 blake2b512 blake2s256 sm3 rmd160)
[ -z "${QUICK:-}" ] || all=(md5 sha1 sha256 sha512 sha3-256)
for d in "${all[@]}"; do
        openssl dgst -$d data
done
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
all=(aes-128-cbc:16 aes-256-cbc:32 aes-128-ctr:16 aes-256-ctr:32 aes-192-ofb:24 aes-256-cfb:32 aes-128-ecb:16 aria-256-ctr:32
        camellia-256-cbc:32 chacha20:32 des-ede3-cbc:24 sm4-ctr:16)
[ -z "${QUICK:-}" ] || all=(aes-128-cbc:16 aes-256-ctr:32 chacha20:32)
for c in "${all[@]}"; do
        iv=0f0e0d0c0b0a09080706050403020100
        case $c in *ecb*) iv= ;; des*) iv=0f0e0d0c0b0a0908 ;; esac
        openssl enc -${c%:*} -K ${key:0:$((${c#*:} * 2))} ${iv:+-iv $iv} -in data -out enc
        openssl enc -d -${c%:*} -K ${key:0:$((${c#*:} * 2))} ${iv:+-iv $iv} -in enc | cmp - data
        echo "$c $(sha256sum <enc)"
done
openssl enc -aes-256-cbc -pbkdf2 -iter 20000 -S 0102030405060708 -pass pass:secret -in data | openssl dgst -sha256
openssl mac -cipher AES-256-CBC -macopt hexkey:$key -in data CMAC
openssl mac -digest SHA512 -macopt hexkey:$key -in data HMAC
openssl mac -macopt hexkey:$key -in data POLY1305
openssl mac -cipher AES-256-GCM -macopt hexkey:$key -macopt hexiv:0f0e0d0c0b0a090807060504 -in data GMAC
all=('RSA -pkeyopt rsa_keygen_bits:2048' 'EC -pkeyopt ec_paramgen_curve:P-256' 'EC -pkeyopt ec_paramgen_curve:P-521')
[ -z "${QUICK:-}" ] || all=('EC -pkeyopt ec_paramgen_curve:P-256')
for alg in "${all[@]}"; do
        # shellcheck disable=SC2086
        openssl genpkey -algorithm $alg -out key.pem 2>/dev/null
        openssl pkey -in key.pem -pubout -out pub.pem
        openssl dgst -sha384 -sign key.pem -out sig data
        openssl dgst -sha384 -verify pub.pem -signature sig data
        openssl pkey -in key.pem -check -noout
done
openssl genpkey -algorithm X25519 -out a.pem
openssl genpkey -algorithm X25519 -out b.pem
openssl pkey -in a.pem -pubout -out a.pub
openssl pkey -in b.pem -pubout -out b.pub
openssl pkeyutl -derive -inkey a.pem -peerkey b.pub -out ab
openssl pkeyutl -derive -inkey b.pem -peerkey a.pub -out ba
cmp ab ba && echo 'X25519 agrees'
python3 -c "import sys; sys.stdout.buffer.write(bytes.fromhex('302e020100300506032b657004220420$key'))" >ed.der
openssl pkeyutl -sign -rawin -inkey ed.der -keyform DER -in data -out sig && cat sig | openssl dgst -sha256
openssl prime -generate -bits 512 >/dev/null && echo 'prime made'

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt -subj /CN=guest -days 9 2>/dev/null
exec python3 "$HERE/tls.py"
