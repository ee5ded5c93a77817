/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "hv/machine/machine-private.h"

static uint64_t pio_read(void *opaque, uint16_t port, unsigned size)
{
        struct machine *m = opaque;

        return bus_read(m->bus, BUS_PIO, port, size);
}

static void pio_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
        struct machine *m = opaque;

        bus_write(m->bus, BUS_PIO, port, size, value);
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
        struct machine *m = opaque;

        return bus_read(m->bus, BUS_MMIO, gpa, size);
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value)
{
        struct machine *m = opaque;

        bus_write(m->bus, BUS_MMIO, gpa, size, value);
}

static void eoi(void *opaque, uint8_t vector)
{
        struct machine *m = opaque;

        pthread_mutex_lock(&m->device_lock);
        ioapic_eoi(m->ioapic, vector);
        pthread_mutex_unlock(&m->device_lock);
}

static int extint_ack(void *opaque)
{
        struct machine *m = opaque;
        int vector;

        pthread_mutex_lock(&m->device_lock);
        vector = pic_ack(m->pic);
        pthread_mutex_unlock(&m->device_lock);
        return vector;
}

const struct engine_callbacks machine_engine_callbacks = {
        .pio_read = pio_read,
        .pio_write = pio_write,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .eoi = eoi,
        .extint_ack = extint_ack,
};

/* Waits until vCPUs may run; false: the thread shall end. */
static bool gate_enter(struct machine_gate *g)
{
        bool ok;

        pthread_mutex_lock(&g->lock);
        while (!g->open && !g->quit)
                pthread_cond_wait(&g->changed, &g->lock);
        ok = !g->quit;
        if (ok)
                g->inside++;
        pthread_mutex_unlock(&g->lock);
        return ok;
}

/* close: nobody enters any more. */
static void gate_leave(struct machine_gate *g, bool close)
{
        pthread_mutex_lock(&g->lock);
        if (close)
                g->open = false;
        if (--g->inside == 0)
                pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
}

static void kick_all(struct machine *m)
{
        for (unsigned i = 0; i < m->config.cpus; i++)
                if (m->vcpus[i].engine)
                        m->engine->vcpu_kick(m->vcpus[i].engine);
}

void machine_vcpus_halt(struct machine *m)
{
        pthread_mutex_lock(&m->gate.lock);
        m->gate.open = false;
        pthread_mutex_unlock(&m->gate.lock);
        kick_all(m);
}

void machine_vcpus_stop(struct machine *m)
{
        machine_vcpus_halt(m);
        pthread_mutex_lock(&m->gate.lock);
        while (m->gate.inside > 0)
                pthread_cond_wait(&m->gate.changed, &m->gate.lock);
        pthread_mutex_unlock(&m->gate.lock);
}

void machine_vcpus_go(struct machine *m)
{
        pthread_mutex_lock(&m->gate.lock);
        m->gate.open = true;
        pthread_cond_broadcast(&m->gate.changed);
        pthread_mutex_unlock(&m->gate.lock);
}

/* The thread's area that the kernel keeps up to date with the CPU it runs on, if the C library registered one. */
static const struct rseq *own_rseq(void)
{
        if (__rseq_size == 0)
                return NULL;
        return (const struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void *vcpu_thread(void *arg)
{
        struct machine_vcpu *v = arg;
        struct machine *m = v->machine;
        char name[16];

        /* By itself: for another thread this would be a file in /proc, which the sandbox has taken away. */
        snprintf(name, sizeof(name), "vcpu%u", v->index);
        pthread_setname_np(pthread_self(), name);
        atomic_store(&v->tid, gettid());
        atomic_store(&v->rseq, own_rseq());
        while (gate_enter(&m->gate)) {
                int r = m->engine->vcpu_run(v->engine);

                gate_leave(&m->gate, r != ENGINE_EXIT_KICK);
                if (r == ENGINE_EXIT_KICK)
                        continue;
                if (r == ENGINE_EXIT_SHUTDOWN)
                        log_info("CPU %u: triple fault", v->index);
                else
                        log_error("CPU %u: the %s engine stopped with %d", v->index, m->engine->name, r);
                kick_all(m);
                machine_post(m, r == ENGINE_EXIT_SHUTDOWN ? MACHINE_POST_CRASHED : MACHINE_POST_ERROR);
        }
        atomic_store(&v->rseq, NULL);
        return NULL;
}

static int start_thread(struct machine_vcpu *v)
{
        int r = pthread_create(&v->thread, NULL, vcpu_thread, v);

        if (r != 0)
                return -r;
        v->has_thread = true;
        return 0;
}

static int vcpu_new(struct machine *m, unsigned index)
{
        struct machine_vcpu *v = &m->vcpus[index];
        struct cpuid_topology topo = { .cpus = m->config.cpus, .index = index };
        struct cpuid_table *table = calloc(1, sizeof(*table));
        uint32_t pv = 0;
        int r;

        if (!table)
                return -ENOMEM;
        v->machine = m;
        v->index = index;
        r = m->engine->cpuid_supported(m->vm, table, &pv);
        if (r == 0) {
                cpuid_finish(table, &topo, pv, (uint32_t)m->tsc_khz);
                r = m->engine->vcpu_new(m->vm, index, table, &v->engine);
        }
        free(table);
        return r;
}

int machine_vcpus_new(struct machine *m)
{
        int r = 0;

        for (unsigned i = 0; r == 0 && i < m->config.cpus; i++)
                r = vcpu_new(m, i);
        for (unsigned i = 0; r == 0 && i < m->config.cpus; i++)
                r = start_thread(&m->vcpus[i]);
        return r;
}

void machine_vcpus_free(struct machine *m)
{
        pthread_mutex_lock(&m->gate.lock);
        m->gate.quit = true;
        pthread_cond_broadcast(&m->gate.changed);
        pthread_mutex_unlock(&m->gate.lock);
        kick_all(m);
        for (unsigned i = 0; i < m->config.cpus; i++)
                if (m->vcpus[i].has_thread)
                        pthread_join(m->vcpus[i].thread, NULL);
        for (unsigned i = 0; i < m->config.cpus; i++)
                if (m->vcpus[i].engine)
                        m->engine->vcpu_free(m->vcpus[i].engine);
}

int machine_vcpus_reset(struct machine *m, const struct x86_state *bsp)
{
        struct x86_state *other = aligned_alloc(_Alignof(struct x86_state), sizeof(*other));
        int r;

        if (!other)
                return -ENOMEM;
        r = m->engine->vcpu_set_state(m->vcpus[0].engine, bsp);
        for (unsigned i = 1; r == 0 && i < m->config.cpus; i++) {
                x86_state_reset(other, i, false);
                r = m->engine->vcpu_set_state(m->vcpus[i].engine, other);
        }
        free(other);
        return r;
}

static uint64_t thread_time(pthread_t thread)
{
        struct timespec ts;
        clockid_t clock;

        if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &ts) < 0)
                return 0;
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int machine_vcpu_stats(struct machine *m, unsigned index, struct machine_vcpu_stats *ret)
{
        struct machine_vcpu *v;
        const struct rseq *rseq;

        if (index >= m->config.cpus)
                return -EINVAL;
        v = &m->vcpus[index];
        rseq = atomic_load(&v->rseq);
        *ret = (struct machine_vcpu_stats){
                .time_ns = thread_time(v->thread),
                .host_cpu = rseq ? (int)*(volatile uint32_t *)&rseq->cpu_id : -1,
                .halted = m->state != MACHINE_RUNNING,
                .tid = atomic_load(&v->tid),
        };
        return 0;
}
