/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of one machine share.
 *
 * Locks: the device lock is taken before the gate's lock, never the other way round. The main thread waits for vCPUs
 * only without the device lock, because they may want it to get out of a device access. */

#include <pthread.h>
#include <stdatomic.h>
#include <sys/rseq.h>
#include <systemd/sd-event.h>

#include "base/list.h"
#include "hv/bus/bus.h"
#include "hv/bus/irq.h"
#include "hv/bus/memory.h"
#include "hv/bus/plug.h"
#include "hv/bus/timer.h"
#include "hv/bus/watch.h"
#include "hv/dev/device.h"
#include "hv/machine/machine.h"
#include "hv/pci/pci.h"
#include "hv/x86/ioapic.h"
#include "hv/x86/pic.h"
#include "hv/x86/pit.h"

#define MACHINE_DEVICES_MAX 16
#define MACHINE_SERIALS 2

struct machine_vcpu {
        struct machine *machine;
        unsigned index;
        struct engine_vcpu *engine;
        pthread_t thread;
        bool has_thread;
        _Atomic int tid;
        /* Where the kernel notes the CPU that the thread runs on (rseq(2)); NULL: not known. */
        const struct rseq *_Atomic rseq;
};

/* Lets the vCPU threads into the engine or keeps them out. */
struct machine_gate {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool open, quit;
        unsigned inside; /* threads in vcpu_run */
};

/* Sources of the events that any thread posts and the main thread handles. */
enum machine_post {
        MACHINE_POST_SHUTDOWN = 1 << 0,
        MACHINE_POST_RESET = 1 << 1,
        MACHINE_POST_CRASHED = 1 << 2,
        MACHINE_POST_ERROR = 1 << 3,
        MACHINE_POST_DEBUG_EXIT = 1 << 4,
        MACHINE_POST_PLUG = 1 << 7,
        MACHINE_POST_SERIAL_READY = 1 << 8, /* << n */
};

struct machine {
        struct machine_config config;
        char *cmdline;
        uint8_t *smbios;  /* LOADER_SMBIOS_SIZE bytes */
        uint64_t tsc_khz;
        enum machine_state state;
        unsigned exit_value;

        pthread_mutex_t device_lock;
        struct guest_memory memory;
        struct timer_loop *timers;
        struct watch_loop *watches;
        struct bus *bus;
        struct pci_bus *pci;

        struct irq_sink irqs;
        unsigned irq_counts[IOAPIC_PINS]; /* devices that raise each GSI now */
        struct pic *pic;
        struct ioapic *ioapic;
        struct pit *pit;

        struct device_env env;
        struct device *devices[MACHINE_DEVICES_MAX]; /* in the order of the table in devices.c, NULL where left out */
        struct device *serials[MACHINE_SERIALS];
        struct device *acpi_pm, *pci_hotplug;
        struct plug_env plug_env;
        struct list plugs; /* struct machine_plug */

        const struct engine_ops *engine;
        struct engine_vm *vm;
        bool engine_paused;
        struct machine_vcpu vcpus[ENGINE_CPUS_MAX];
        struct machine_gate gate;

        int event_fd;
        _Atomic unsigned posted; /* enum machine_post */
        sd_event_source *event_source, *timer_source, *watch_source;
};

/* Any thread: tell the main thread, which stops the vCPUs and acts. */
void machine_post(struct machine *m, unsigned what);

/* --- irqs.c: from devices' lines to interrupt controllers, and from these to the engine --- */
void machine_irqs_init(struct machine *m);
/* PIC, IOAPIC and PIT on the bus. */
int machine_irqs_new(struct machine *m);
void machine_irqs_reset(struct machine *m); /* device lock held */
void machine_irqs_free(struct machine *m);

/* --- devices.c: the table of devices --- */
int machine_devices_new(struct machine *m);
void machine_devices_reset(struct machine *m); /* device lock held */
void machine_devices_free(struct machine *m);

/* --- plugs.c: devices that the user chooses --- */
void machine_plugs_init(struct machine *m);
void machine_plugs_start(struct machine *m);  /* after machine_devices_new */
void machine_plugs_dispatch(struct machine *m); /* MACHINE_POST_PLUG; main thread */
void machine_plugs_ejected(struct machine *m, unsigned slot); /* device lock held */
void machine_plugs_resume(struct machine *m);
void machine_plugs_reset(struct machine *m); /* device lock held */
void machine_plugs_free(struct machine *m);

/* --- vcpus.c: vCPUs and their threads --- */
extern const struct engine_callbacks machine_engine_callbacks;

/* Makes the engine's vCPUs and their threads, which wait at the closed gate. */
int machine_vcpus_new(struct machine *m);
void machine_vcpus_free(struct machine *m);
/* Puts the bootstrap CPU into the given state and the others into the reset state. */
int machine_vcpus_reset(struct machine *m, const struct x86_state *bsp);
void machine_vcpus_go(struct machine *m);
/* Returns when no vCPU is inside the engine; main thread without locks. */
void machine_vcpus_stop(struct machine *m);
/* Any thread, does not wait: no vCPU enters the engine any more, those inside leave soon. */
void machine_vcpus_halt(struct machine *m);
