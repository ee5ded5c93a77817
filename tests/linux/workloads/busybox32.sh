# SPDX-License-Identifier: GPL-2.0-or-later
# A 32-bit static busybox: digests, compressors, awk, sed, sort, bc.
set -e
b=/opt/i386/bin/busybox
size=600000 count=40000
[ -z "${QUICK:-}" ] || size=60000 count=2000
head -c $size /usr/bin/perl >data
for sum in md5sum sha1sum sha256sum sha512sum sha3sum crc32; do
        $b $sum data
done
for z in gzip bzip2; do
        $b $z -c <data >packed
        $z -dc packed | cmp - data
        $z -9c data | $b $z -dc | cmp - data
        $b sha256sum packed
done
xz -c data | $b xz -dc | cmp - data
$b tar cf tar -C /usr/include asm-generic linux/can
$b tar tf tar | $b sort | sha256sum
$b seq 1 $count | $b awk '{ s += $1 * 0.37; h = (h * 31 + $1) % 65521; a[$1 % 97] += $1 } END { printf "%.9f %d", s, h; for (i = 0; i < 97; i++) printf " %d", a[i]; print "" }'
$b seq 1 $count | $b awk '{ print ($1 * 7919) % 30011 }' >n
$b sort -n n | sha256sum
$b sort -r n | $b uniq -c | $b tail -n 3
$b sed 's/\([0-9]\)\([0-9]\)/\2-\1/g;y/123/abc/' n | sha256sum
$b grep -c -E '^(1.*9|2[0-5]+)$' n
echo 'scale=30; 4*a(1); e(1); 2^200; sqrt(2)' | $b bc -l
echo '3 200 ^ 7 / p' | $b dc
$b od -x data | sha256sum
$b xxd data | sha256sum
$b base64 data | sha256sum
$b factor 1000000007 600851475143 1234567890123
$b expr 12345678 '*' 87654321 / 97
$b ash -c 'i=0; while [ $i -lt '$((count / 2))' ]; do i=$((i + 1)); s=$(((s * 33 + i) % 1000003)); done; echo $s'
for i in 1 2 3 4 5 6 7 8 9 10; do $b ash -c "$b echo $i | $b cat"; done
