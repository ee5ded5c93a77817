/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The contract between virtdomusd and domus-vm: D-Bus messages, peer to peer, on one UNIX stream socket per VM.
 *
 * virtdomusd makes a listening socket VM_SOCKET in the VM's directory below /run/domus/vm, starts
 *     domus-vm serve --control-fd N --log-fd M [--user UID:GID]
 * with the listening socket as N and the domain's log as M, and whom to become (numbers), connects, calls GetStatus, Configure, then Start. domus-vm serves
 * one connection after another for as long as it lives: a restarted daemon connects again and calls GetStatus. domus-vm exits by
 * itself after Quit, and, where no daemon is connected, after the guest stopped (the final status is then in the log and the exit code). */

#define VMPROTO_VERSION 1

#define VM_SOCKET "control.sock"

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
 * PowerButton ""    -> ""
 * InjectNMI ""      -> ""
 * Quit      ""      -> ""      stop and exit 0, at once
 * SetAction "ss"    -> ""      which: VM_ON_*; action: "destroy", "restart", "preserve"
 * GetStatus ""      -> "a{sv}" VM_STATUS_*
 * GetStats  ""      -> "a{sv}" VM_STATS_*
 */
/* The name of the error when the machine's state does not allow the method; other errors' names mean nothing. */
#define VM_ERROR_WRONG_STATE "org.domus.VM1.Error.WrongState"

#define VM_CONFIGURE "Configure"
#define VM_START "Start"
#define VM_PAUSE "Pause"
#define VM_RESUME "Resume"
#define VM_RESET "Reset"
#define VM_POWER_BUTTON "PowerButton"
#define VM_INJECT_NMI "InjectNMI"
#define VM_QUIT "Quit"
#define VM_SET_ACTION "SetAction"
#define VM_GET_STATUS "GetStatus"
#define VM_GET_STATS "GetStats"

/* Signals.
 * StateChanged "ss"  state and reason, VM_STATE_* and VM_REASON_*
 * Rebooted     ""    domus-vm has restarted the guest: it reset itself, or it powered off or crashed with action "restart"
 */
#define VM_STATE_CHANGED "StateChanged"
#define VM_REBOOTED "Rebooted"

/* Configure fields. */
#define VM_CFG_VERSION "version"      /* u: VMPROTO_VERSION */
#define VM_CFG_NAME "name"            /* s */
#define VM_CFG_UUID "uuid"            /* s */
#define VM_CFG_ENGINE "engine"        /* s: "dbt" or "kvm" */
#define VM_CFG_KVM "kvm"              /* h: /dev/kvm, with engine kvm */
#define VM_CFG_CPUS "cpus"            /* u */
#define VM_CFG_MEMORY "memory"        /* t: bytes */
#define VM_CFG_KERNEL "kernel"        /* h */
#define VM_CFG_INITRD "initrd"        /* h, optional */
#define VM_CFG_CMDLINE "cmdline"      /* s */
#define VM_CFG_ACPI "acpi"            /* b */
#define VM_CFG_RTC_LOCALTIME "rtc-localtime" /* b */
#define VM_CFG_DEBUG_EXIT "debug-exit" /* b */
#define VM_CFG_SERIAL "serial"        /* a(hh): per port a pty's master and, held open so that the master never hangs up, its slave */
#define VM_CFG_ON_POWEROFF "on-poweroff" /* s: "destroy" or "restart" ("preserve" keeps the process, state shutoff) */
#define VM_CFG_ON_REBOOT "on-reboot"  /* s: "restart" or "destroy" */
#define VM_CFG_ON_CRASH "on-crash"    /* s: "destroy", "restart", "preserve" */

#define VM_ON_POWEROFF VM_CFG_ON_POWEROFF
#define VM_ON_REBOOT VM_CFG_ON_REBOOT
#define VM_ON_CRASH VM_CFG_ON_CRASH

/* States. */
#define VM_STATE_NEW "new"            /* not configured or not started */
#define VM_STATE_RUNNING "running"
#define VM_STATE_PAUSED "paused"
#define VM_STATE_SHUTOFF "shutoff"    /* the process exits soon after, unless preserve */
#define VM_STATE_CRASHED "crashed"

/* Reasons. */
#define VM_REASON_BOOTED "booted"
#define VM_REASON_USER "user"
#define VM_REASON_GUEST "guest"       /* powered off or rebooted by the guest */
#define VM_REASON_PANIC "panic"       /* triple fault */
#define VM_REASON_ERROR "error"       /* the engine failed */

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
