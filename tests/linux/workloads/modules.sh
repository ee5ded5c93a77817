# SPDX-License-Identifier: GPL-2.0-or-later
# usage: modules [quick]
# The kernel's own tests, in the guest: BPF's JIT (quick: the first 400 tests), static keys, copies from and to user
# memory, all of its cryptography, RAID 6, checksums; file systems on a loop device. The log is for the runner to read.
failed=0
has() { modinfo "$1" >/dev/null 2>&1; }
if has test_bpf; then
        echo 1 >/proc/sys/net/core/bpf_jit_enable
        # shellcheck disable=SC2086
        modprobe test_bpf ${QUICK:+test_suite=test_bpf test_range=0,399} || failed=1
        rmmod test_bpf
        dmesg | grep -a -o 'test_bpf: .*Summary.*'
        dmesg | grep -a 'test_bpf:.*FAIL' | grep -v 'Summary.* 0 FAILED' && failed=1
fi
for module in test_static_keys test_user_copy; do
        if has $module; then
                modprobe $module || failed=1
                rmmod $module || failed=1
                echo "$module passed"
        fi
done
modprobe raid6_pq || failed=1

# Each algorithm is tested when it is registered; tcrypt instantiates all of them, and then refuses to stay, as it is meant to.
for path in /lib/modules/$(uname -r)/kernel/{crypto,arch/x86/crypto,lib/crypto}/*.ko; do
        module=$(basename "$path" .ko)
        [ "$module" = tcrypt ] || modprobe -q "$module" || true # what the processor lacks
done
modprobe tcrypt 2>/dev/null
# -2 (ENOENT): the kernel lacks it.
dmesg | grep -a 'alg: .*\(fail\|wrong\|mismatch\|unexpected\)' | grep -v -e 'allocate transform .*: -2$' -e '(rc=-2)$' && failed=1
echo "algorithms: $(grep -c '^selftest *: passed' /proc/crypto) passed, $(grep '^selftest' /proc/crypto | grep -vc passed) not"
[ "$(grep '^selftest' /proc/crypto | grep -vc passed)" = 0 ] || { grep -B 3 -A 3 '^selftest *: [^p]' /proc/crypto; failed=1; }

for fs in ext4; do
        [ -z "${QUICK:-}" ] || break
        has $fs || continue
        modprobe loop
        truncate -s 300M image
        mkfs.$fs -q image && mkdir -p at && mount -o loop image at || { failed=1; continue; }
        cp -a /usr/include /usr/lib/python3.11 at/
        sync
        umount at && mount -o loop image at
        diff -r /usr/include at/include && diff -r /usr/lib/python3.11 at/python3.11 && echo "$fs keeps its files" || failed=1
        rm -rf at/include
        umount at
        fsck.$fs -f -n image >/dev/null || failed=1
        rm image
done
exit $failed
