/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The buffer that stubs lie in. Equal stubs are one: an instruction's operand in memory is not part of it, so that few are many. Each is counted by
 * the instructions that use it; the last one frees its place, which goes to the next stub of the same size. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/native.h"

/* What makes two stubs equal begins here. */
#define CONTENT offsetof(struct native_stub, size)

static struct native_stub *writable(struct dbt_native *n, uint32_t place)
{
        return (struct native_stub *)(n->write + (size_t)place * NATIVE_STUB_UNIT);
}

static uint32_t place_of(const struct dbt_native *n, const void *stub)
{
        return (uint32_t)((size_t)((const uint8_t *)stub - n->exec) / NATIVE_STUB_UNIT);
}

static unsigned units(unsigned code_size)
{
        return (unsigned)(ALIGN_UP(sizeof(struct native_stub) + code_size, NATIVE_STUB_UNIT) / NATIVE_STUB_UNIT);
}

/* FNV-1a */
static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t n)
{
        const uint8_t *p = bytes;

        while (n-- > 0)
                hash = (hash ^ *p++) * 16777619u;
        return hash;
}

static uint32_t *bucket_of(struct dbt_native *n, const struct native_stub *s, const uint8_t *code)
{
        uint32_t hash = hash_bytes(2166136261u, (const uint8_t *)s + CONTENT, sizeof(*s) - CONTENT);

        return &n->buckets[hash_bytes(hash, code, s->size) % NATIVE_STUB_BUCKETS];
}

static struct native_stub *find(struct dbt_native *n, uint32_t place, const struct native_stub *s, const uint8_t *code)
{
        while (place) {
                struct native_stub *other = writable(n, place);

                if (memcmp((const uint8_t *)other + CONTENT, (const uint8_t *)s + CONTENT, sizeof(*s) - CONTENT) == 0 &&
                        memcmp(other->code, code, s->size) == 0)
                        return other;
                place = other->next;
        }
        return NULL;
}

/* 0: there is none. */
static uint32_t take_place(struct dbt_native *n, unsigned size)
{
        uint32_t place = n->free[size];

        if (place) {
                n->free[size] = writable(n, place)->next;
        } else if (n->used + size <= NATIVE_BUFFER_SIZE / NATIVE_STUB_UNIT) {
                place = n->used;
                n->used += size;
        }
        return place;
}

const struct native_stub *native_stub_get(struct dbt_native *n, const struct native_stub *stub, const uint8_t *code)
{
        uint32_t *bucket = bucket_of(n, stub, code), place;
        struct native_stub *s = find(n, *bucket, stub, code);

        if (!s) {
                place = take_place(n, units(stub->size));
                if (!place)
                        return NULL;
                s = writable(n, place);
                *s = *stub;
                native_copy(s->code, code, stub->size);
                s->refs = 0;
                s->next = *bucket;
                *bucket = place;
        }
        s->refs++;
        return (const struct native_stub *)(n->exec + ((uint8_t *)s - n->write));
}

void dbt_native_retain(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        if (i->mem.stub)
                writable(v->native, place_of(v->native, i->native))->refs++;
}

void dbt_native_release(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        struct dbt_native *n = v->native;
        struct native_stub *s;
        uint32_t place, *link;

        if (!i->mem.stub)
                return;
        place = place_of(n, i->native);
        s = writable(n, place);
        if (--s->refs)
                return;
        link = bucket_of(n, s, s->code);
        while (*link != place)
                link = &writable(n, *link)->next;
        *link = s->next;
        s->next = n->free[units(s->size)];
        n->free[units(s->size)] = place;
}

/* Free places count only if they are for the largest stub. */
bool dbt_native_full(const struct dbt_vcpu *v)
{
        struct dbt_native *n = v->native;
        uint32_t room = NATIVE_BUFFER_SIZE / NATIVE_STUB_UNIT - n->used, place = n->free[NATIVE_STUB_UNITS_MAX];

        while (place && room < NATIVE_RESERVE) {
                room += NATIVE_STUB_UNITS_MAX;
                place = writable(n, place)->next;
        }
        return room < NATIVE_RESERVE;
}

void dbt_native_flush(struct dbt_vcpu *v)
{
        struct dbt_native *n = v->native;

        n->used = 1; /* place 0 means none */
        memset(n->free, 0, sizeof(n->free));
        memset(n->buckets, 0, sizeof(n->buckets));
}

static int map_buffer(struct dbt_native *n)
{
        int fd = memfd_create("dbt-native", MFD_CLOEXEC), r = 0;

        if (fd < 0)
                return -errno;
        if (ftruncate(fd, NATIVE_BUFFER_SIZE) < 0) {
                r = -errno;
                goto out;
        }
        n->write = mmap(NULL, NATIVE_BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        n->exec = mmap(NULL, NATIVE_BUFFER_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        if (n->write == MAP_FAILED || n->exec == MAP_FAILED)
                r = -ENOMEM;
out:
        close(fd);
        return r;
}

int dbt_native_init(struct dbt_vcpu *v)
{
        struct dbt_native *n = aligned_alloc(64, ALIGN_UP(sizeof(*n), 64));
        int r;

        if (!n)
                return -ENOMEM;
        memset(n, 0, sizeof(*n));
        n->write = n->exec = MAP_FAILED;
        v->native = n;
        dbt_native_flush(v);
        r = map_buffer(n);
        if (r == 0)
                r = native_install_signals(mirror_possible(&v->vm->config));
        if (r < 0)
                dbt_native_finish(v);
        return r;
}

void dbt_native_finish(struct dbt_vcpu *v)
{
        struct dbt_native *n = v->native;

        if (!n)
                return;
        if (n->write != MAP_FAILED)
                munmap(n->write, NATIVE_BUFFER_SIZE);
        if (n->exec != MAP_FAILED)
                munmap(n->exec, NATIVE_BUFFER_SIZE);
        free(n);
        v->native = NULL;
}
