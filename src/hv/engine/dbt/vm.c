/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The software engine as an engine: VM and vCPU objects, memory slots, states, and what makes one vCPU wait for others. */

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/log.h"
#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/check.h"
#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/sys.h"
#include "hv/engine/dbt/tr.h"
#include "hv/x86/tsc.h"

/* Runs of a block before it is translated. */
#define TRANSLATE_AFTER 32
/* Default size of the code cache: for the VM and for each of its vCPUs. */
#define CODE_CACHE_VM MiB(16)
#define CODE_CACHE_VCPU MiB(10)

static struct dbt_vm *vm_of(struct engine_vm *vm)
{
        return (struct dbt_vm *)vm;
}

static struct dbt_vcpu *vcpu_of(struct engine_vcpu *vcpu)
{
        return (struct dbt_vcpu *)vcpu;
}

static uint64_t monotonic_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* --- Exclusive sections --------------------------------------------------------------------------------------------------
 *
 * exclusive_running counts the vCPUs that are inside the guest: between dbt_enter_guest and dbt_leave_guest, and not waiting here. The
 * owner of a section has set exclusive_active and waits until the count is 0; from then on nobody gets in: dbt_enter_guest waits
 * for the section's end. A running vCPU sees DBT_REQ_EXCLUSIVE at the next block and goes out and in again.
 *
 * Deadlock: the owner waits for vCPUs that run guest code, which always come to the end of a block, or to a place where they
 * leave the guest; nothing they wait for on the way needs the owner: code_lock is never held across a wait, and device locks are only
 * taken outside of the guest. A vCPU that wants a section while another one has it counts as outside until that one ends. */

void dbt_exclusive_begin(struct dbt_vcpu *v)
{
        struct dbt_vm *vm = v->vm;
        uint64_t start = monotonic_ns();

        pthread_mutex_lock(&vm->exclusive_lock);
        vm->exclusive_running--;
        while (vm->exclusive_active) {
                pthread_cond_broadcast(&vm->exclusive_cond);
                pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
        }
        vm->exclusive_active = true;
        for (unsigned i = 0; i < vm->n_vcpus && vm->exclusive_running; i++)
                if (vm->vcpus[i] != v)
                        dbt_ask(vm->vcpus[i], DBT_REQ_EXCLUSIVE);
        while (vm->exclusive_running)
                pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
        v->exclusive = true;
        vm->exclusive_count++;
        vm->exclusive_ns += monotonic_ns() - start;
        pthread_mutex_unlock(&vm->exclusive_lock);
}

void dbt_exclusive_end(struct dbt_vcpu *v)
{
        struct dbt_vm *vm = v->vm;

        pthread_mutex_lock(&vm->exclusive_lock);
        v->exclusive = false;
        vm->exclusive_active = false;
        vm->exclusive_running++;
        pthread_cond_broadcast(&vm->exclusive_cond);
        pthread_mutex_unlock(&vm->exclusive_lock);
}

/* Inside its own section a vCPU may call devices (a locked access to MMIO): it stays the section's owner. */
void dbt_leave_guest(struct dbt_vcpu *v)
{
        struct dbt_vm *vm = v->vm;

        if (v->exclusive)
                return;
        pthread_mutex_lock(&vm->exclusive_lock);
        if (!--vm->exclusive_running && vm->exclusive_active)
                pthread_cond_broadcast(&vm->exclusive_cond);
        pthread_mutex_unlock(&vm->exclusive_lock);
}

void dbt_enter_guest(struct dbt_vcpu *v)
{
        struct dbt_vm *vm = v->vm;

        if (v->exclusive)
                return;
        pthread_mutex_lock(&vm->exclusive_lock);
        while (vm->exclusive_active)
                pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
        vm->exclusive_running++;
        atomic_fetch_and(&v->request, ~(uint32_t)DBT_REQ_EXCLUSIVE);
        pthread_mutex_unlock(&vm->exclusive_lock);
}

/* --- LAPIC callbacks ------------------------------------------------------------------------------------------------------- */

static void apic_wake(void *opaque, unsigned index)
{
        struct dbt_vm *vm = opaque;

        if (index < vm->n_vcpus)
                dbt_request(vm->vcpus[index], DBT_REQ_INTR | DBT_REQ_INIT);
}

static void apic_eoi(void *opaque, uint8_t vector)
{
        struct dbt_vm *vm = opaque;

        vm->config.callbacks->eoi(vm->config.opaque, vector);
}

static uint64_t apic_tsc(void *opaque, unsigned index)
{
        struct dbt_vm *vm = opaque;

        return dbt_host_tsc() + (index < vm->n_vcpus ? (uint64_t)vm->vcpus[index]->tsc_offset : 0);
}

static uint64_t apic_now(void *opaque)
{
        struct dbt_vm *vm = opaque;

        return monotonic_ns() + (uint64_t)vm->time_offset_ns;
}

static int make_apics(struct dbt_vm *vm)
{
        const struct lapic_callbacks callbacks = {
                .wake = apic_wake, .eoi = apic_eoi, .tsc = apic_tsc, .now = apic_now, .tsc_khz = vm->tsc_khz,
        };

        return lapic_bus_new(vm->config.cpus, &callbacks, vm, &vm->apics);
}

/* --- The VM ------------------------------------------------------------------------------------------------------------------- */

static void slot_clear(struct dbt_slot *s)
{
        free(s->code_pages);
        free(s->dirty_pages);
        *s = (struct dbt_slot){ .fd = -1 };
}

static void vm_free(struct engine_vm *opaque)
{
        struct dbt_vm *vm = vm_of(opaque);

        if (!vm)
                return;
        for (unsigned i = 0; i < DBT_SLOTS_MAX; i++)
                slot_clear(&vm->slots[i]);
        if (vm->exclusive_count)
                log_debug("%u exclusive sections, waited for %llu us", vm->exclusive_count, (unsigned long long)vm->exclusive_ns / 1000);
        lapic_bus_free(vm->apics);
        pthread_cond_destroy(&vm->exclusive_cond);
        pthread_mutex_destroy(&vm->exclusive_lock);
        pthread_mutex_destroy(&vm->code_lock);
        free(vm);
}

/* For one vCPU. */
static size_t code_cache_size(const struct engine_config *config)
{
        uint64_t all = config->code_cache ? config->code_cache : CODE_CACHE_VM + config->cpus * CODE_CACHE_VCPU;
        uint64_t size = all / config->cpus;

        if (size > ENGINE_CODE_CACHE_MAX)
                return ENGINE_CODE_CACHE_MAX;
        return size < ENGINE_CODE_CACHE_MIN ? ENGINE_CODE_CACHE_MIN : (size_t)size;
}

static int vm_new(const struct engine_config *config, struct engine_vm **ret)
{
        struct dbt_vm *vm;
        int r;

        if (!config->cpus || config->cpus > ENGINE_CPUS_MAX || !config->callbacks || (config->check && config->cpus != 1))
                return -EINVAL;
        vm = calloc(1, sizeof(*vm));
        if (!vm)
                return -ENOMEM;
        vm->config = *config;
        pthread_mutex_init(&vm->exclusive_lock, NULL);
        pthread_mutex_init(&vm->code_lock, NULL);
        pthread_cond_init(&vm->exclusive_cond, NULL);
        /* The guest reads the host's counter, so that its frequency is the host's. */
        vm->tsc_khz = config->tsc_khz ? config->tsc_khz : tsc_host_khz();
        vm->trace = getenv("DOMUS_DBT_TRACE") != NULL;
        vm->translate_after = vm->trace ? ENGINE_NEVER_TRANSLATE : config->translate_after ? config->translate_after : TRANSLATE_AFTER;
        vm->code_cache = code_cache_size(config);
        r = make_apics(vm);
        if (r >= 0)
                r = dbt_timer_install_signal(mirror_possible(config));
        if (r < 0) {
                vm_free((struct engine_vm *)vm);
                return r;
        }
        *ret = (struct engine_vm *)vm;
        return 0;
}

/* Everything that knows of the memory map or the write protection. Stopped only. */
static void forget_mappings(struct dbt_vm *vm)
{
        for (unsigned i = 0; i < vm->n_vcpus; i++) {
                mirror_drop(vm->vcpus[i]);
                dbt_tlb_flush(vm->vcpus[i]);
                dbt_block_flush(vm->vcpus[i]);
        }
}

static size_t bitmap_words(uint64_t size)
{
        return (size_t)((size / DBT_PAGE_SIZE + 63) / 64);
}

static int map(struct engine_vm *opaque, unsigned slot, uint64_t gpa, uint64_t size, void *host, bool readonly)
{
        struct dbt_vm *vm = vm_of(opaque);
        _Atomic uint64_t *code_pages = NULL;
        struct dbt_slot *s;

        if (slot >= DBT_SLOTS_MAX || gpa % DBT_PAGE_SIZE || size % DBT_PAGE_SIZE || gpa + size < gpa)
                return -EINVAL;
        if (size) {
                code_pages = calloc(bitmap_words(size), sizeof(*code_pages));
                if (!code_pages)
                        return -ENOMEM;
        }
        s = &vm->slots[slot];
        slot_clear(s);
        *s = (struct dbt_slot){ .gpa = gpa, .size = size, .host = host, .readonly = readonly, .fd = -1, .code_pages = code_pages };
        if (slot >= vm->n_slots)
                vm->n_slots = slot + 1;
        forget_mappings(vm);
        return 0;
}

static void share(struct engine_vm *opaque, unsigned slot, int fd, uint64_t offset)
{
        struct dbt_vm *vm = vm_of(opaque);

        if (slot >= vm->n_slots || !vm->slots[slot].size)
                return;
        vm->slots[slot].fd = fd;
        vm->slots[slot].offset = offset;
        forget_mappings(vm);
}

/* --- Dirty log: mmu.c gives out direct writes only to pages whose bit is set ----------------------------------------------------- */

static int dirty_switch(struct dbt_slot *s, bool enable)
{
        if (enable && !s->dirty_pages) {
                s->dirty_pages = calloc(bitmap_words(s->size), sizeof(*s->dirty_pages));
                return s->dirty_pages ? 0 : -ENOMEM;
        }
        if (!enable) {
                free(s->dirty_pages);
                s->dirty_pages = NULL;
        }
        return 0;
}

/* Runs while the vCPUs may run: their TLBs lose the permission to write directly before the bits are taken. */
static void dirty_fetch(struct dbt_vm *vm, struct dbt_slot *s, uint8_t *bitmap)
{
        uint64_t pages = s->size / DBT_PAGE_SIZE;

        for (uint64_t w = 0; w < bitmap_words(s->size); w++) {
                uint64_t bits = s->dirty_pages ? atomic_exchange(&s->dirty_pages[w], 0) : 0;

                for (unsigned byte = 0; byte < 8 && w * 64 + byte * 8 < pages; byte++)
                        bitmap[w * 8 + byte] = (uint8_t)(bits >> byte * 8);
        }
}

/* Keeps all vCPUs out of the guest, from a thread that is none. */
static void hold_all(struct dbt_vm *vm)
{
        pthread_mutex_lock(&vm->exclusive_lock);
        while (vm->exclusive_active)
                pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
        vm->exclusive_active = true;
        for (unsigned i = 0; i < vm->n_vcpus; i++)
                dbt_ask(vm->vcpus[i], DBT_REQ_EXCLUSIVE);
        while (vm->exclusive_running)
                pthread_cond_wait(&vm->exclusive_cond, &vm->exclusive_lock);
        pthread_mutex_unlock(&vm->exclusive_lock);
}

static void release_all(struct dbt_vm *vm)
{
        pthread_mutex_lock(&vm->exclusive_lock);
        vm->exclusive_active = false;
        pthread_cond_broadcast(&vm->exclusive_cond);
        pthread_mutex_unlock(&vm->exclusive_lock);
}

static int dirty_log(struct engine_vm *opaque, unsigned slot, bool enable, uint8_t *bitmap)
{
        struct dbt_vm *vm = vm_of(opaque);
        struct dbt_slot *s;
        int r;

        if (slot >= vm->n_slots || !vm->slots[slot].size)
                return -EINVAL;
        s = &vm->slots[slot];
        hold_all(vm);
        if (bitmap)
                dirty_fetch(vm, s, bitmap);
        r = dirty_switch(s, enable);
        for (unsigned i = 0; i < vm->n_vcpus; i++)
                dbt_tlb_flush(vm->vcpus[i]);
        release_all(vm);
        return r;
}

/* A page gets its mark before its bytes are read (block.c), and here the mark is looked at after they were written: with a barrier on both sides either the
 * code is made of the new bytes, or it is dropped. */
static void written(struct engine_vm *opaque, uint64_t gpa, uint64_t len)
{
        struct dbt_vm *vm = vm_of(opaque);

        atomic_thread_fence(memory_order_seq_cst);
        while (len) {
                uint64_t room = DBT_PAGE_SIZE - (gpa & ~DBT_PAGE_MASK), n = len < room ? len : room;
                struct dbt_slot *slot = dbt_slot_find(vm, gpa);

                if (slot)
                        dbt_slot_mark_dirty(slot, gpa);
                if (vm->n_vcpus && dbt_code_page_test(vm, gpa & DBT_PAGE_MASK))
                        dbt_code_written(vm->vcpus[0], gpa, (unsigned)n);
                gpa += n;
                len -= n;
        }
}

/* --- vCPUs ------------------------------------------------------------------------------------------------------------------------ */

static int cpuid_supported(struct engine_vm *vm, struct cpuid_table *ret, uint32_t *ret_pv)
{
        dbt_cpuid_supported(ret, ret_pv);
        return 0;
}

static void vcpu_free(struct engine_vcpu *opaque)
{
        struct dbt_vcpu *v = vcpu_of(opaque);

        if (!v)
                return;
        dbt_timer_free(v);
        if (v->native)
                dbt_native_finish(v);
        dbt_tr_finish(v);
        mirror_finish(v);
        free(v->check);
        dbt_decode_free(v->decode);
        /* They go in any order, but all before the VM runs again. */
        for (unsigned i = 0; i < v->vm->n_vcpus; i++)
                if (v->vm->vcpus[i] == v)
                        v->vm->vcpus[i] = v->vm->vcpus[--v->vm->n_vcpus];
        munmap(v, sizeof(*v));
}

static int vcpu_new(struct engine_vm *opaque, unsigned index, const struct cpuid_table *cpuid, struct engine_vcpu **ret)
{
        struct dbt_vm *vm = vm_of(opaque);
        struct dbt_vcpu *v;
        int r;

        if (index != vm->n_vcpus || index >= vm->config.cpus)
                return -EINVAL;
        v = tr_low_map(sizeof(*v));
        if (v == MAP_FAILED)
                return -ENOMEM;
        v->vm = vm;
        v->index = index;
        v->cpuid = *cpuid;
        v->lapic = lapic_bus_get(vm->apics, index);
        v->translate_after = vm->translate_after;
        mirror_init(v);
        r = dbt_decode_new(v, &v->decode);
        if (r >= 0)
                r = dbt_native_init(v);
        if (r >= 0)
                r = dbt_tr_init(v);
        if (r >= 0 && vm->config.check)
                r = dbt_check_new(v);
        if (r < 0) {
                vcpu_free((struct engine_vcpu *)v);
                return r;
        }
        vm->vcpus[vm->n_vcpus++] = v;
        /* The guest's counters start at 0 together. */
        v->tsc_offset = index ? vm->vcpus[0]->tsc_offset : -(int64_t)dbt_host_tsc();
        dbt_vcpu_reset(v, false);
        *ret = (struct engine_vcpu *)v;
        return 0;
}

static int vcpu_run(struct engine_vcpu *vcpu)
{
        return dbt_vcpu_run(vcpu_of(vcpu));
}

static void vcpu_kick(struct engine_vcpu *vcpu)
{
        dbt_request(vcpu_of(vcpu), DBT_REQ_KICK);
}

/* --- State ------------------------------------------------------------------------------------------------------------------------- */

static int vcpu_get_state(struct engine_vcpu *vcpu, struct x86_state *ret)
{
        dbt_get_state(vcpu_of(vcpu), ret);
        return 0;
}

static int vcpu_set_state(struct engine_vcpu *vcpu, const struct x86_state *state)
{
        struct dbt_vcpu *v = vcpu_of(vcpu);

        dbt_set_state(v, state);
        v->raise_pending = state->exception_pending;
        v->raised.vector = state->exception_vector;
        v->raised.has_error = state->exception_has_error;
        v->raised.error = state->exception_error;
        v->raised.software = false;
        dbt_block_flush(v); /* memory may have been written by others than vCPUs */
        dbt_request(v, DBT_REQ_INTR | DBT_REQ_INIT | DBT_REQ_TIMER);
        return 0;
}

/* --- Interrupts and time ------------------------------------------------------------------------------------------------------------ */

static int msi(struct engine_vm *vm, uint64_t addr, uint32_t data)
{
        return lapic_bus_msi(vm_of(vm)->apics, addr, data);
}

static void extint(struct engine_vm *opaque, int level)
{
        struct dbt_vm *vm = vm_of(opaque);

        atomic_store(&vm->extint_level, level);
        if (level && vm->n_vcpus)
                dbt_request(vm->vcpus[0], DBT_REQ_INTR);
}

static int nmi(struct engine_vcpu *vcpu)
{
        struct dbt_vcpu *v = vcpu_of(vcpu);

        atomic_store(&v->nmi_pending, true);
        dbt_request(v, DBT_REQ_INTR);
        return 0;
}

static void pause_vm(struct engine_vm *opaque, bool paused)
{
        struct dbt_vm *vm = vm_of(opaque);
        uint64_t tsc, ns;

        if (paused == !!vm->pause_tsc)
                return;
        tsc = dbt_host_tsc();
        ns = monotonic_ns();
        if (paused) {
                vm->pause_tsc = tsc;
                vm->pause_ns = ns;
                return;
        }
        for (unsigned i = 0; i < vm->n_vcpus; i++) {
                vm->vcpus[i]->tsc_offset -= (int64_t)(tsc - vm->pause_tsc);
                dbt_request(vm->vcpus[i], DBT_REQ_TIMER);
        }
        vm->time_offset_ns -= (int64_t)(ns - vm->pause_ns);
        vm->pause_tsc = vm->pause_ns = 0;
}

const struct engine_ops engine_dbt = {
        .name = "dbt",
        .vm_new = vm_new,
        .vm_free = vm_free,
        .map = map,
        .share = share,
        .dirty_log = dirty_log,
        .written = written,
        .cpuid_supported = cpuid_supported,
        .vcpu_new = vcpu_new,
        .vcpu_free = vcpu_free,
        .vcpu_run = vcpu_run,
        .vcpu_kick = vcpu_kick,
        .vcpu_get_state = vcpu_get_state,
        .vcpu_set_state = vcpu_set_state,
        .msi = msi,
        .extint = extint,
        .nmi = nmi,
        .pause = pause_vm,
};
