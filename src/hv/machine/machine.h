/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One virtual PC: engine, memory, interrupt controllers, devices, vCPU threads. All functions are called on the main
 * loop's thread without the device lock; negative errno on failure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/bus/plug.h"
#include "hv/engine/engine.h"

typedef struct sd_event sd_event;

struct machine;

enum machine_state {
        MACHINE_CREATED,  /* built, not yet started */
        MACHINE_RUNNING,
        MACHINE_PAUSED,
        MACHINE_SHUTOFF,  /* the guest powered off (ACPI S5) or debug-exit */
        MACHINE_CRASHED,  /* triple fault with no reset wanted, or the engine failed */
};

enum machine_event {
        MACHINE_EVENT_SHUTDOWN,   /* guest powered off: vCPUs are stopped, state SHUTOFF */
        MACHINE_EVENT_RESET,      /* guest asked for a reset: vCPUs are stopped; call machine_reset or machine_free */
        MACHINE_EVENT_CRASHED,    /* triple fault or engine error */
        MACHINE_EVENT_DEBUG_EXIT, /* port 0xf4 was written; see machine_exit_code */
};

struct ring;
/* What disks need of the host that a sandbox may not give any more once it is closed. Negative errno. */
int machine_ring_new(struct ring **ret);
/* No machine uses it any more. NULL is allowed. */
void machine_ring_free(struct ring *ring);

struct machine_config {
        const struct engine_ops *engine;
        int kvm_fd;
        unsigned cpus;
        uint64_t memory;      /* bytes */
        int kernel_fd;        /* bzImage, PVH ELF or multiboot image; read at offset 0; -1: none is an error for now */
        int initrd_fd;        /* -1: none */
        const char *cmdline;  /* never NULL */
        const char *uuid;     /* for SMBIOS; may be NULL */
        const char *const *smbios; /* smbios_build's strings; may be NULL */
        bool rtc_localtime;
        bool debug_exit;      /* isa-debug-exit at port 0xf4 */
        bool acpi;
        struct ring *ring;    /* the caller's; NULL: each disk makes what it needs itself */
        unsigned translate_after; /* as in struct engine_config */
        bool translate_hot;       /* the same */
        uint64_t code_cache;      /* the same */
        bool engine_check;        /* check there */
        enum engine_mirror mirror; /* the same */
        /* Called on the main thread, without the device lock. */
        void (*event)(struct machine *m, enum machine_event ev, void *opaque);
        void *opaque;
        /* Bytes the guest sends on serial port n; called with the device lock held; must not block. */
        void (*serial_output)(void *opaque, unsigned n, const uint8_t *buf, size_t len);
        /* Serial port n, after machine_serial_input took less than offered, has room again. Main thread; may be NULL. */
        void (*serial_ready)(void *opaque, unsigned n);
        /* What a plugged device said. PLUG_EVENT_RELEASED: it is gone, with all its descriptors. PLUG_EVENT_IO_ERROR with value: the machine is paused now if it was running.
         * Main thread, without the device lock; may be NULL. */
        void (*plug_event)(struct machine *m, const char *id, enum plug_event event, uint64_t value, uint64_t excess, const char *text, void *opaque);
};

/* Builds the machine and loads the kernel. On failure *ret_error gets a static or machine-independent sentence that names
 * what is wrong ("the kernel is not a bzImage, PVH ELF or multiboot image"). */
int machine_new(sd_event *loop, const struct machine_config *config, struct machine **ret, const char **ret_error);
void machine_free(struct machine *m);

int machine_start(struct machine *m);
int machine_pause(struct machine *m);   /* returns when no vCPU runs; before machine_start: starts paused */
int machine_resume(struct machine *m);
/* Reload the kernel, reset CPUs and devices, run on (or stay paused); a machine that is shut off or crashed runs again. On failure
 * (the kernel file is gone bad) the machine is MACHINE_CRASHED. */
int machine_reset(struct machine *m);
/* A restart in two steps: hold stops the guest, whatever it did (MACHINE_PAUSED); boot resets it with another kernel and leaves it paused. The descriptors are
 * borrowed for the call; initrd_fd -1: none. On failure *ret_error is a static sentence. */
void machine_hold(struct machine *m);
int machine_boot(struct machine *m, int kernel_fd, int initrd_fd, const char *cmdline, const char **ret_error);
/* There will be no machine_reset: the kernel's descriptors may be closed. */
void machine_forget_kernel(struct machine *m);
int machine_power_button(struct machine *m);
int machine_nmi(struct machine *m);
enum machine_state machine_get_state(const struct machine *m);
int machine_exit_code(const struct machine *m); /* (value << 1) | 1 as QEMU's isa-debug-exit has it */

/* Input for serial port n; returns how many bytes were taken (the FIFO may be full: try again after serial_ready). */
size_t machine_serial_input(struct machine *m, unsigned n, const uint8_t *buf, size_t len);

/* A device to plug in; all of it borrowed. What of props was not taken stays there. */
struct machine_new_plug {
        const char *driver, *id;
        int slot;             /* PCI slot; -1: the first free one, or not a PCI device */
        struct props *props;
};

/* Devices that the user chooses (bus/plug.h). On failure *ret_error is a malloced sentence that names the device and what is wrong.
 * Plugs in all of them in that order, or none: a guest that runs is told when they are all there. -EEXIST: an id is taken; -EBUSY: a slot is; -EOPNOTSUPP: a guest without ACPI cannot be
 * told; -ENOENT: a property is unknown. */
int machine_plug(struct machine *m, const struct machine_new_plug *list, size_t n, char **ret_error);
/* Asks the guest to let go of a PCI device; anything else, and what no guest uses, goes at once. PLUG_EVENT_RELEASED follows, or never if the guest does not want to; it can be asked again.
 * -ENODEV: there is none; -EBUSY: another one is connected to it; -EOPNOTSUPP: no ACPI. */
int machine_unplug(struct machine *m, const char *id, char **ret_error);
/* Changes properties. -ENODEV; -ENOENT: a property is unknown or cannot be changed. */
int machine_plug_set(struct machine *m, const char *id, struct props *props, char **ret_error);
/* Calls fn for each figure, with the device lock held. -ENODEV. */
int machine_plug_stats(struct machine *m, const char *id, plug_stat_fn fn, void *opaque);

struct machine_vcpu_stats {
        uint64_t time_ns; /* host CPU time of the vCPU thread */
        int host_cpu;     /* where it ran last, or -1 */
        bool halted;      /* stopped: the machine is paused, shut off or crashed */
        int tid;
};
int machine_vcpu_stats(struct machine *m, unsigned index, struct machine_vcpu_stats *ret);
