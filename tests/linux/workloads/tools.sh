# SPDX-License-Identifier: GPL-2.0-or-later
# What every system has: sort, digests, compressors, tar, awk, bc, find; a dynamic linker that works all the time.
set -e
count=30000 folder=linux
[ -z "${QUICK:-}" ] || count=2000 folder=asm-generic
python3 -c 'import random, sys; r = random.Random(3); [print(r.randrange(10**9), "".join(r.choices("abcde ", k=30))) for _ in range(int(sys.argv[1]))]' $count >data
sort data | sha256sum
sort -n --parallel=2 data | sha256sum
sort -k2 -u data | wc
for sum in md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum; do
        $sum data
done
for z in 'gzip -n' bzip2 xz 'zstd -q' 'zstd -q -9'; do
        $z -c data >packed
        ${z%% *} -dc packed | cmp - data
        sha256sum packed
done
tar cf - -C /usr/include $folder | tar xf -
find $folder -type f | sort | xargs cat | sha256sum
find $folder -name '*.h' -exec grep -l ioctl {} + | sort | sha256sum
gawk '{ s += log($1 + 1); n[length($2)]++ } END { printf "%.8f", s; for (i = 0; i < 20; i++) printf " %d", n[i]; print "" }' data
gawk 'BEGIN { for (i = 0; i < 20000; i++) x = (x * 69069 + 1) % 4294967296; print x, sprintf("%.15g", exp(1.5) ^ 3) }'
echo 'scale=50; 4*a(1); e(2)' | bc -l
cut -c 3-9 data | tr a-e A-E | rev | paste -s -d, | fold -w 100 | sha256sum
diff <(sort data) <(sort -r data) | sha256sum
sed -E 's/([0-9]+) (.)(.*)/\3\2\1/' data | sha256sum
for i in $(seq $((count / 200))); do
        /bin/echo $i | cat | cat >/dev/null
done
seq 1 $((count / 10)) | xargs -n 20 -P 4 echo | wc -l
i=0
while [ $i -lt $count ]; do
        i=$((i + 1))
        s=$(((s * 131 + i) % 1000003))
done
echo $s
