/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The seam between a CPU engine and the machine. An engine runs guest code and owns the CPUs with their local APICs;
 * everything beyond them it reaches through the callbacks. All functions return 0 or negative errno. */

#include <stdbool.h>
#include <stdint.h>

#include "hv/x86/cpuid.h"
#include "hv/x86/state.h"

struct engine_vm;
struct engine_vcpu;

/* Called from vCPU threads, several at once, never with a lock of the engine held that another operation below takes. */
struct engine_callbacks {
        /* size: 1, 2 or 4. Reads return the value in the low bytes. */
        uint64_t (*pio_read)(void *opaque, uint16_t port, unsigned size);
        void (*pio_write)(void *opaque, uint16_t port, unsigned size, uint64_t value);
        /* Guest physical accesses outside of all mapped memory. size: 1, 2, 4 or 8. */
        uint64_t (*mmio_read)(void *opaque, uint64_t gpa, unsigned size);
        void (*mmio_write)(void *opaque, uint64_t gpa, unsigned size, uint64_t value);
        /* The guest ended a level-triggered interrupt: the IOAPIC drops Remote IRR and re-evaluates. */
        void (*eoi)(void *opaque, uint8_t vector);
        /* The bootstrap CPU takes an interrupt of the 8259s: acknowledge and return its vector, -1 if it is gone. */
        int (*extint_ack)(void *opaque);
};

/* dbt: may programs of the guest reach their memory by the host's page tables? */
enum engine_mirror {
        ENGINE_MIRROR_AUTO,   /* where the host has protection keys, for programs that run for long */
        ENGINE_MIRROR_NEVER,
        ENGINE_MIRROR_ALWAYS, /* for all programs, at once: for tests */
};

struct engine_config {
        unsigned cpus;    /* 1..ENGINE_CPUS_MAX */
        uint64_t tsc_khz; /* 0: the host's */
        const struct engine_callbacks *callbacks;
        void *opaque;
        /* dbt: runs of a block before it is translated; 0: the engine's choice, ENGINE_NEVER_TRANSLATE. */
        unsigned translate_after;
        bool check;       /* dbt: every translated block is compared with the executor, at the first difference the engine stops. 1 CPU only */
        bool translate_hot; /* dbt: every block is translated as if it ran often, for tests */
        enum engine_mirror mirror;
        bool exact_flags; /* dbt: flags that no instruction reads are kept, too, for tests that look at exceptions' frames */
        /* dbt: bytes of all vCPUs' caches of decoded and translated code together; 0: the engine's choice. Each vCPU gets an equal part, but
         * at least and at most the sizes below. */
        uint64_t code_cache;
        int kvm_fd;       /* /dev/kvm, for the kvm engine; stays the caller's */
};

#define ENGINE_NEVER_TRANSLATE (~0u)
#define ENGINE_CPUS_MAX 64
#define ENGINE_CODE_CACHE_MIN (1u << 20)
#define ENGINE_CODE_CACHE_MAX (512u << 20)

enum engine_exit {
        ENGINE_EXIT_KICK,     /* vcpu_kick was called */
        ENGINE_EXIT_SHUTDOWN, /* triple fault; the vCPU's state is as it was found */
        ENGINE_EXIT_ERROR,    /* the engine cannot go on; it logged why */
};

/* All slots are set. "Stopped" means: no thread is inside vcpu_run. */
struct engine_ops {
        const char *name; /* "dbt", "kvm" */

        int (*vm_new)(const struct engine_config *config, struct engine_vm **ret);
        void (*vm_free)(struct engine_vm *vm); /* after all its vCPUs */

        /* Makes [gpa, gpa+size) guest memory backed by host, which must stay mapped until vm_free or a map of size 0 for the
         * same slot. Page aligned. readonly: guest writes go to mmio_write. Stopped only. */
        int (*map)(struct engine_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host, bool readonly);
        /* The memory of the slot is a part of a file, which is mapped shared: so it can be mapped once more. fd stays the caller's and open until vm_free. Stopped only. NULL: of no use. */
        void (*share)(struct engine_vm *vm, unsigned slot, int fd, uint64_t offset);
        /* Fetches and clears the dirty bitmap of a slot (one bit per 4 KiB page, (size/4096+7)/8 bytes), switching
         * logging on or off. bitmap may be NULL to only switch. */
        int (*dirty_log)(struct engine_vm *vm, unsigned slot, bool enable, uint8_t *bitmap);

        /* Somebody else than a vCPU has written guest memory: what the engine made of the code that was there is dropped, and the pages are dirty. Any thread, also with the
         * device lock held; after the write and before the guest is told of it. NULL: the engine need not know. */
        void (*written)(struct engine_vm *vm, uint64_t gpa, uint64_t len);

        /* The CPUID leaves this engine can run on this host, before cpuid_finish; *ret_pv gets the KVM_PV_* bits. */
        int (*cpuid_supported)(struct engine_vm *vm, struct cpuid_table *ret, uint32_t *ret_pv);
        /* index counts from 0, which is the bootstrap CPU; the APIC id equals it. cpuid is copied. */
        int (*vcpu_new)(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid, struct engine_vcpu **ret);
        void (*vcpu_free)(struct engine_vcpu *vcpu);

        /* Runs the vCPU on the calling thread, always the same one, until an exit (enum engine_exit, >= 0). A halted or
         * SIPI-waiting vCPU sleeps inside. Negative errno only for misuse. */
        int (*vcpu_run)(struct engine_vcpu *vcpu);
        /* Makes the current, or else the next, vcpu_run return ENGINE_EXIT_KICK. Any thread, async-signal-safe. */
        void (*vcpu_kick)(struct engine_vcpu *vcpu);

        int (*vcpu_get_state)(struct engine_vcpu *vcpu, struct x86_state *ret); /* stopped */
        int (*vcpu_set_state)(struct engine_vcpu *vcpu, const struct x86_state *state); /* stopped */

        /* Any thread, also with the device lock held. */
        int (*msi)(struct engine_vm *vm, uint64_t addr, uint32_t data); /* incl. what the IOAPIC sends */
        void (*extint)(struct engine_vm *vm, int level); /* the 8259s' INTR output, wired to LINT0 of CPU 0 */
        int (*nmi)(struct engine_vcpu *vcpu);

        /* Guest time stands still between pause(true) and pause(false): TSC and kvm-clock continue where they were. Stopped. */
        void (*pause)(struct engine_vm *vm, bool paused);
};

extern const struct engine_ops engine_dbt;
extern const struct engine_ops engine_kvm;
