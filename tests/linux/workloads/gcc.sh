# SPDX-License-Identifier: GPL-2.0-or-later
# The compiler's output, and what a program prints that it has built in many ways; also make and the archiver.
set -e
cp "$HERE/numbers.c" .
all=('-O0' '-O1' '-O2' '-O3 -mavx2 -mfma' '-O2 -msse4.2 -mpopcnt -mbmi2' '-Os -fno-pie -no-pie' '-O2 -static' '-O2 -mfpmath=387 -DX87'
        '-m32 -O2 -msse2 -mfpmath=sse' '-m32 -O0 -DX87' '-m32 -O3 -static -march=i686 -DX87')
[ -z "${QUICK:-}" ] || all=('-O2' '-m32 -O0 -DX87')
for flags in "${all[@]}"; do
        echo "== $flags"
        # shellcheck disable=SC2086
        gcc -ffp-contract=off $flags -S numbers.c -o numbers.s
        sha256sum numbers.s
        # shellcheck disable=SC2086
        gcc -ffp-contract=off $flags numbers.s -o numbers -lm
        ./numbers ${QUICK:+quick}
done
