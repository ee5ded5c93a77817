#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the guest host: LVM, iSCSI, NFS and VLANs work, and so do our programs.
set -eu
. "$(dirname "$0")/services"
start=$(date +%s%N)
passed() {
        now=$(date +%s%N)
        echo "passed: $1 ($(((now - start) / 1000000)) ms)"
        start=$now
}

work=$(mktemp -d /var/tmp/smoke.XXXXXX)
cd "$work"

truncate -s 64M pv
loop=$(losetup -f --show pv)
vgcreate -q smoke "$loop" >/dev/null
lvcreate -q -n volume -L 8M smoke >/dev/null
mkfs.ext4 -q /dev/smoke/volume
[ "$(lvs --noheadings -o lv_size --units m smoke/volume | tr -d ' ')" = 8.00m ]
lvcreate -q -s -n copy -L 8M smoke/volume >/dev/null
vgremove -q -f smoke >/dev/null
losetup -d "$loop"
passed "LVM: a group on a loop device, a volume, a snapshot"

start_iscsi
truncate -s 32M lun
tgtadm --lld iscsi --mode target --op new --tid 1 --targetname iqn.2024-01.org.domus:smoke
tgtadm --lld iscsi --mode logicalunit --op new --tid 1 --lun 1 --backing-store "$work/lun"
tgtadm --lld iscsi --mode target --op bind --tid 1 --initiator-address ALL
iscsiadm -m discovery -t sendtargets -p 127.0.0.1 | grep -q iqn.2024-01.org.domus:smoke
iscsiadm -m node -T iqn.2024-01.org.domus:smoke -p 127.0.0.1 --login >/dev/null
udevadm settle
disk=$(ls /dev/disk/by-path/ip-127.0.0.1:3260-iscsi-iqn.2024-01.org.domus:smoke-lun-1)
dd if=/bin/busybox of="$disk" bs=4096 count=64 oflag=direct status=none
cmp -n 262144 lun /bin/busybox
iscsiadm -m node -T iqn.2024-01.org.domus:smoke -p 127.0.0.1 --logout >/dev/null
passed "iSCSI: discovery, login, writing, logout"

mkdir exported mounted
start_nfs "$work/exported"
for version in 4.2 3; do
        mount -t nfs -o "vers=$version,timeo=50,retry=1" "127.0.0.1:$work/exported" mounted
        echo "by NFS $version" >mounted/file
        grep -qx "by NFS $version" exported/file
        umount mounted
done
passed "NFS: 4.2 and 3"

ip link add d0 type dummy
ip link add link d0 name d0.7 type vlan id 7
ip link del d0
passed "VLAN"

/domus/build/src/hv/main/domus-vm probe >/dev/null
/domus/build/src/daemon/virtdomusd --help >/dev/null
python3 -c 'import libvirt, pytest'
virsh --version >/dev/null
passed "programs: domus-vm, virtdomusd, virsh, pytest"
