/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The contract between virtdomusd and domus-vm: D-Bus messages, peer to peer, on one UNIX stream socket per VM.
 *
 * virtdomusd makes a listening socket VM_SOCKET in the VM's directory below /run/domus/vm, starts
 *     domus-vm serve --control-fd N --log-fd M [--alive-fd O] [--user UID:GID]
 * with the listening socket as N, the domain's log as M, VM_ALIVE as O, and whom to become (numbers), connects, calls GetStatus, Configure, then Start. domus-vm serves
 * one connection after another for as long as it lives: a restarted daemon connects again and calls GetStatus. domus-vm exits by
 * itself after Quit, and, where no daemon is connected, after the guest stopped (the final status is then in the log and the exit code). */

#define VMPROTO_VERSION 1

#define VM_SOCKET "control.sock"
/* A FIFO in the same directory, which domus-vm holds open for writing, and never writes to: who reads it is told that the VM is gone by a hangup. */
#define VM_ALIVE "alive"

#define VM_PATH "/org/domus/VM"
#define VM_INTERFACE "org.domus.VM1"

/* What domus-vm serve exits with. */
#define VM_EXIT_OK 0             /* after Quit or SIGTERM */
#define VM_EXIT_FAILURE 1        /* could not serve; the log says why */
#define VM_EXIT_GUEST_SHUTOFF 10 /* the guest powered off (or reset, where that means its end) */
#define VM_EXIT_GUEST_CRASHED 11

/* Methods: name, in signature, out signature.
 *
 * Configure "a{sv}" -> ""      once, before Start. Fields below. Errors name the wrong field in the message.
 * Start     "b"     -> ""      argument: leave the vCPUs paused
 * Pause     ""      -> ""      replies when no vCPU runs
 * Resume    ""      -> ""
 * Reset     ""      -> ""      hard reset at once
 * SetKernel "a{sv}" -> ""      in state booting: what the guest boots. Fields kernel, initrd, cmdline of Configure. After an error it can be tried again
 * PowerButton ""    -> ""
 * InjectNMI ""      -> ""
 * Quit      ""      -> ""      stop and exit 0, at once
 * SetAction "ss"    -> ""      which: VM_ON_*; action: "destroy", "restart", "preserve"
 * GetStatus ""      -> "a{sv}" VM_STATUS_*
 * GetStats  ""      -> "a{sv}" VM_STATS_*
 *
 * Devices (see below for what a device is):
 * AddDevices "aa{sv}" -> ""    plugs them in, buses before what is plugged into them; a running guest is told when all are there. If one is refused, none is
 * RemoveDevice "s"  -> ""      by id: asks the guest to let go of it, or, where no guest runs or the device has no guest-visible plug, removes it
 *                              at once. The end of the removal is the signal DeviceRemoved; a guest may never get there
 * SetDevice "sa{sv}" -> ""     by id: changes some properties while the VM runs; the others stay. VM_ERROR_NO_DEVICE, VM_ERROR_NO_PROPERTY
 * GetDeviceStats "s" -> "a{sv}" by id: VM_DEVSTAT_*
 */
/* The name of the error when the machine's state does not allow the method; other errors' names mean nothing. */
#define VM_ERROR_WRONG_STATE "org.domus.VM1.Error.WrongState"
/* No device has that id. */
#define VM_ERROR_NO_DEVICE "org.domus.VM1.Error.NoDevice"
/* A device of that driver has no such property, or it cannot be changed while the VM runs. */
#define VM_ERROR_NO_PROPERTY "org.domus.VM1.Error.NoProperty"

#define VM_CONFIGURE "Configure"
#define VM_START "Start"
#define VM_PAUSE "Pause"
#define VM_RESUME "Resume"
#define VM_RESET "Reset"
#define VM_SET_KERNEL "SetKernel"
#define VM_POWER_BUTTON "PowerButton"
#define VM_INJECT_NMI "InjectNMI"
#define VM_QUIT "Quit"
#define VM_SET_ACTION "SetAction"
#define VM_GET_STATUS "GetStatus"
#define VM_GET_STATS "GetStats"
#define VM_ADD_DEVICES "AddDevices"
#define VM_REMOVE_DEVICE "RemoveDevice"
#define VM_SET_DEVICE "SetDevice"
#define VM_GET_DEVICE_STATS "GetDeviceStats"

/* Signals.
 * StateChanged "ss"  state and reason, VM_STATE_* and VM_REASON_*
 * Rebooted     ""    domus-vm has restarted the guest: it reset itself, or it powered off or crashed with action "restart"
 * DeviceRemoved "s"  id: the guest has let go of it and it is gone, its descriptors closed
 * DeviceError  "ss"  id and what failed, VM_DEVERR_*; where werror or rerror stop the guest, StateChanged "paused", "io-error" follows
 * BalloonChanged "t" bytes that the guest has now
 * TrayChanged "sb"   id of a scsi-cd, and whether its tray is open
 * PortOpened "sb"    id of a serialport, and whether a program in the guest has it open
 * ThresholdPassed "stt" id of an image's device, its "threshold", and how far beyond it the write went that was the first to pass it, bytes; it is not watched any more
 */
#define VM_STATE_CHANGED "StateChanged"
#define VM_REBOOTED "Rebooted"
#define VM_DEVICE_REMOVED "DeviceRemoved"
#define VM_DEVICE_ERROR "DeviceError"
#define VM_BALLOON_CHANGED "BalloonChanged"
#define VM_TRAY_CHANGED "TrayChanged"
#define VM_PORT_OPENED "PortOpened"
#define VM_THRESHOLD_PASSED "ThresholdPassed"

#define VM_DEVERR_IO "io-error"       /* the image could not be read or written */
#define VM_DEVERR_NO_SPACE "no-space" /* ENOSPC */
#define VM_DEVERR_GONE "gone"         /* the back end (vhost-user, passt) hung up */

/* Configure fields. */
#define VM_CFG_VERSION "version"      /* u: VMPROTO_VERSION */
#define VM_CFG_NAME "name"            /* s */
#define VM_CFG_UUID "uuid"            /* s */
#define VM_CFG_SMBIOS "smbios"        /* as, optional: name, value, ...: strings of the SMBIOS tables, named "system.serial" and the like, or "oem" */
#define VM_CFG_ENGINE "engine"        /* s: "dbt" or "kvm" */
#define VM_CFG_KVM "kvm"              /* h: /dev/kvm, with engine kvm */
#define VM_CFG_CPUS "cpus"            /* u */
#define VM_CFG_MEMORY "memory"        /* t: bytes */
#define VM_CFG_CODE_CACHE "code-cache" /* t, optional: bytes of the software engine's caches of code, of all vCPUs */
#define VM_CFG_KERNEL "kernel"        /* h */
#define VM_CFG_INITRD "initrd"        /* h, optional */
#define VM_CFG_CMDLINE "cmdline"      /* s */
#define VM_CFG_BOOT_LOADER "boot-loader" /* b, optional: kernel, initrd and cmdline are for one boot; a restart waits for others, in state booting */
#define VM_CFG_ACPI "acpi"            /* b */
#define VM_CFG_RTC_LOCALTIME "rtc-localtime" /* b */
#define VM_CFG_DEBUG_EXIT "debug-exit" /* b */
#define VM_CFG_SERIAL "serial"        /* a(hh): per port a pty's master and, held open so that the master never hangs up, its slave */
#define VM_CFG_DEVICES "devices"      /* aa{sv}: buses before what is plugged into them */
#define VM_CFG_ON_POWEROFF "on-poweroff" /* s: "destroy" or "restart" ("preserve" keeps the process, state shutoff) */
#define VM_CFG_ON_REBOOT "on-reboot"  /* s: "restart" or "destroy" */
#define VM_CFG_ON_CRASH "on-crash"    /* s: "destroy", "restart", "preserve" */

#define VM_ON_POWEROFF VM_CFG_ON_POWEROFF
#define VM_ON_REBOOT VM_CFG_ON_REBOOT
#define VM_ON_CRASH VM_CFG_ON_CRASH

/* --- Devices ---
 *
 * A device is a dictionary: its driver, its id, for PCI devices its slot, and properties. A property that is not given has the default in
 * brackets. An unknown driver or property, a missing one without a default, and a taken id or slot are errors that name it. Descriptors are
 * domus-vm's own once the message is read. */
#define VM_DEV_DRIVER "driver"        /* s: VM_DRIVER_* */
#define VM_DEV_ID "id"                /* s: the alias of the domain XML, unique in the VM */
#define VM_DEV_SLOT "slot"            /* u: 1 to 31, on bus 0, function 0; for the PCI drivers */

/* PCI drivers. */
#define VM_DRIVER_VIRTIO_BLK "virtio-blk"         /* image */
#define VM_DRIVER_VIRTIO_SCSI "virtio-scsi"       /* queues */
#define VM_DRIVER_VIRTIO_NET "virtio-net"
#define VM_DRIVER_VIRTIO_RNG "virtio-rng"
#define VM_DRIVER_VIRTIO_BALLOON "virtio-balloon"
#define VM_DRIVER_VIRTIO_SERIAL "virtio-serial"   /* ports */
/* On another device's bus. */
#define VM_DRIVER_SCSI_DISK "scsi-disk"           /* bus, target, lun, image */
#define VM_DRIVER_SCSI_CD "scsi-cd"               /* the same; always read-only; no image: the drive is empty */
#define VM_DRIVER_SERIALPORT "serialport"         /* bus, nr, name, console, fd, listen */

/* An image: fd or vhost-user, not both. Of virtio-blk, scsi-disk and scsi-cd. SetDevice takes those marked with an asterisk. */
#define VM_PROP_FD "fd"               /* h *(scsi-cd: another medium): the image, a file or a block device, opened with O_DIRECT where cache says so */
#define VM_PROP_VHOST_USER "vhost-user" /* h: connected UNIX stream socket to a vhost-user-blk back end; with virtio-blk only */
#define VM_PROP_REQUESTS "requests"   /* u *(with vhost-user): at most so many are given to the back end at a time [0: as many as there is room for] */
#define VM_PROP_SIZE "size"           /* t *: bytes; 0 or absent: as large as the file. SetDevice with 0: look again after a resize */
#define VM_PROP_EJECT "eject"         /* b *: scsi-cd, SetDevice only: true takes the medium out; with "force" even against the guest's lock */
#define VM_PROP_FORCE "force"         /* b *: see eject and fd of scsi-cd [false] */
#define VM_PROP_READONLY "readonly"   /* b [false] */
#define VM_PROP_SERIAL "serial"       /* s [""]: at most 20 bytes with virtio-blk, 36 with SCSI */
#define VM_PROP_QUEUES "queues"       /* u [1]: request queues, or queue pairs of virtio-net */
#define VM_PROP_CACHE "cache"         /* s [writeback]: "none", "writeback", "writethrough", "directsync", "unsafe" */
#define VM_PROP_IO "io"               /* s [io_uring]: "io_uring", "native", "threads": a hint */
#define VM_PROP_DISCARD "discard"     /* b [false]: pass the guest's discards on */
#define VM_PROP_DETECT_ZEROES "detect-zeroes" /* s [off]: "off", "on", "unmap" */
#define VM_PROP_LOGICAL_BLOCK "logical-block-size"   /* u [512]: bytes, a power of two from 512 to 32768 */
#define VM_PROP_PHYSICAL_BLOCK "physical-block-size" /* u [logical] */
#define VM_PROP_BOOT_INDEX "boot-index" /* u [0: not booted from]: 1 is first. Also of virtio-net */
#define VM_PROP_IOTUNE "iotune"       /* a{st} *: VM_IOTUNE_*; what is not named is unlimited */
#define VM_PROP_THRESHOLD "threshold" /* t * [0: none]: bytes; the first write beyond it is told of */
#define VM_PROP_RERROR "rerror"       /* s [report]: "stop", "report", "ignore" */
#define VM_PROP_WERROR "werror"       /* s [enospc]: "stop", "report", "ignore", "enospc": stop if the space ran out, else report */
#define VM_PROP_BUS "bus"             /* s: id of the controller; scsi-disk, scsi-cd, serialport */
#define VM_PROP_TARGET "target"       /* u [0]: 0 to 255; of SCSI. virtio-balloon: t *, bytes that the guest shall have */
#define VM_PROP_LUN "lun"             /* u [0]: 0 to 16383 */

/* virtio-net */
#define VM_PROP_FDS "fds"             /* ah: one tap queue each, with IFF_VNET_HDR; or */
#define VM_PROP_PASST "passt"         /* h: connected UNIX stream socket, frames with a length of four bytes, big endian, in front */
#define VM_PROP_MAC "mac"             /* s: "52:54:00:12:34:56" */
#define VM_PROP_MTU "mtu"             /* u [0: not offered to the guest] */
#define VM_PROP_LINK "link"           /* b * [true]: up */
#define VM_PROP_OFFLOADS "offloads"   /* b [true]: checksum and segmentation offloads */

/* virtio-rng */
/* VM_PROP_FD                            h: what random bytes are read from */
#define VM_PROP_RATE_BYTES "rate-bytes" /* t * [0: no limit]: per period */
#define VM_PROP_RATE_PERIOD "rate-period" /* u * [1000]: ms */

/* virtio-balloon */
#define VM_PROP_DEFLATE_ON_OOM "deflate-on-oom" /* b [false] */
#define VM_PROP_FREE_PAGE_REPORTING "free-page-reporting" /* b [false] */
#define VM_PROP_STATS_INTERVAL "stats-interval" /* u * [0: no polling]: s */

/* serialport: VM_PROP_BUS and */
#define VM_PROP_NAME "name"           /* s: "org.qemu.guest_agent.0"; "" for a console */
#define VM_PROP_NR "nr"               /* u: port number; 0 is kept for a console */
#define VM_PROP_CONSOLE "console"     /* b [false]: hvcN in the guest */
/* VM_PROP_FD                            h: a connected stream socket, a pty's master, or, with listen, a listening UNIX stream socket */
#define VM_PROP_LISTEN "listen"       /* b [false]: fd is a listening socket; one connection is served after another */
#define VM_PROP_HOLD "hold"           /* h: kept open as long as the port, e.g. a pty's slave */

/* iotune's keys: rates per second, each also with "-max" (the rate in a burst) and "-max-length" (s that a burst may last) behind. */
#define VM_IOTUNE_TOTAL_BYTES "total-bytes-sec"
#define VM_IOTUNE_READ_BYTES "read-bytes-sec"
#define VM_IOTUNE_WRITE_BYTES "write-bytes-sec"
#define VM_IOTUNE_TOTAL_IOPS "total-iops-sec"
#define VM_IOTUNE_READ_IOPS "read-iops-sec"
#define VM_IOTUNE_WRITE_IOPS "write-iops-sec"
#define VM_IOTUNE_MAX "-max"
#define VM_IOTUNE_MAX_LENGTH "-max-length"
#define VM_IOTUNE_SIZE_IOPS "size-iops-sec" /* bytes that count as one operation of a larger request */

/* GetDeviceStats: all t. Of an image's device: */
#define VM_DEVSTAT_RD_REQ "rd-req"
#define VM_DEVSTAT_RD_BYTES "rd-bytes"
#define VM_DEVSTAT_RD_TIME "rd-time"  /* ns, sum over the requests */
#define VM_DEVSTAT_WR_REQ "wr-req"
#define VM_DEVSTAT_WR_BYTES "wr-bytes"
#define VM_DEVSTAT_WR_TIME "wr-time"
#define VM_DEVSTAT_FLUSH_REQ "flush-req"
#define VM_DEVSTAT_FLUSH_TIME "flush-time"
#define VM_DEVSTAT_ERRORS "errors"
#define VM_DEVSTAT_WR_HIGHEST "wr-highest" /* byte behind the last one written */
#define VM_DEVSTAT_SIZE "size"        /* bytes, as the guest sees it */
/* of virtio-net (seen from the guest): */
#define VM_DEVSTAT_RX_BYTES "rx-bytes"
#define VM_DEVSTAT_RX_PACKETS "rx-packets"
#define VM_DEVSTAT_RX_ERRORS "rx-errors"
#define VM_DEVSTAT_RX_DROPPED "rx-dropped"
#define VM_DEVSTAT_TX_BYTES "tx-bytes"
#define VM_DEVSTAT_TX_PACKETS "tx-packets"
#define VM_DEVSTAT_TX_ERRORS "tx-errors"
#define VM_DEVSTAT_TX_DROPPED "tx-dropped"
/* of virtio-balloon; those from the guest only where it has reported them (virtio 1.2, 5.5.6.3), bytes but for faults and times: */
#define VM_DEVSTAT_ACTUAL "actual"    /* bytes that the guest has now */
#define VM_DEVSTAT_SWAP_IN "swap-in"
#define VM_DEVSTAT_SWAP_OUT "swap-out"
#define VM_DEVSTAT_MAJOR_FAULTS "major-faults"
#define VM_DEVSTAT_MINOR_FAULTS "minor-faults"
#define VM_DEVSTAT_FREE_MEMORY "free-memory"
#define VM_DEVSTAT_TOTAL_MEMORY "total-memory"
#define VM_DEVSTAT_AVAILABLE "available-memory"
#define VM_DEVSTAT_DISK_CACHES "disk-caches"
#define VM_DEVSTAT_HUGETLB_ALLOC "hugetlb-allocations"
#define VM_DEVSTAT_HUGETLB_FAIL "hugetlb-failures"
#define VM_DEVSTAT_LAST_UPDATE "last-update" /* s since the epoch */

/* States. */
#define VM_STATE_NEW "new"            /* not configured or not started */
#define VM_STATE_RUNNING "running"
#define VM_STATE_PAUSED "paused"
#define VM_STATE_BOOTING "booting"    /* a restart that waits for SetKernel; Pause and Resume say how it goes on then */
#define VM_STATE_SHUTOFF "shutoff"    /* the process exits soon after, unless preserve */
#define VM_STATE_CRASHED "crashed"

/* Reasons. */
#define VM_REASON_BOOTED "booted"
#define VM_REASON_USER "user"
#define VM_REASON_GUEST "guest"       /* powered off or rebooted by the guest */
#define VM_REASON_PANIC "panic"       /* triple fault */
#define VM_REASON_ERROR "error"       /* the engine failed */
#define VM_REASON_IO_ERROR "io-error" /* paused: a disk failed; Resume tries the failed requests again */

/* GetStatus fields. */
#define VM_STATUS_VERSION "version"   /* u */
#define VM_STATUS_STATE "state"       /* s */
#define VM_STATUS_REASON "reason"     /* s */
#define VM_STATUS_UUID "uuid"         /* s */
#define VM_STATUS_ENGINE "engine"     /* s */
#define VM_STATUS_PID "pid"           /* u */

/* GetStats fields. */
#define VM_STATS_CPU_TIME "cpu-time"  /* t: ns, the whole process */
#define VM_STATS_CPU_USER "cpu-user"  /* t: ns */
#define VM_STATS_CPU_SYSTEM "cpu-system" /* t: ns */
#define VM_STATS_RSS "rss"            /* t: bytes */
#define VM_STATS_VCPUS "vcpus"        /* a(tibu): time ns, last host CPU or -1, halted, thread id */
