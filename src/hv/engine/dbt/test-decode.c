/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What decode-quick.c makes of an instruction is what dbt_decode_anew makes of it: over this program's and libc's code, and over random bytes that
 * have more prefixes, ModRM bytes and displacements of each kind. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/test-random.h"

#define ROUNDS 600000
#define BYTES 32

static unsigned quick, valid;

static void check(bool ok, const char *what)
{
        if (ok)
                return;
        fprintf(stderr, "failed: %s\n", what);
        exit(1);
}

static void compare(struct dbt_vcpu *v, const uint8_t *bytes)
{
        struct dbt_insn a, b;
        unsigned got = dbt_decode_quick(v, bytes, BYTES, &a), want;

        if (!got)
                return;
        quick++;
        want = dbt_decode_anew(v, bytes, BYTES, &b);
        if (got == want && memcmp(&a, &b, sizeof(a)) == 0) {
                dbt_native_release(v, &a);
                dbt_native_release(v, &b);
                return;
        }
        for (unsigned k = 0; k < 16; k++)
                fprintf(stderr, "%02x ", bytes[k]);
        fprintf(stderr, ": %u bytes instead of %u, disp %d instead of %d, imm %#llx instead of %#llx\n", got, want, a.mem.disp, b.mem.disp,
                (unsigned long long)a.imm, (unsigned long long)b.imm);
        exit(1);
}

/* Returns the length. */
static unsigned decode_and_compare(struct dbt_vcpu *v, const uint8_t *bytes)
{
        struct dbt_insn i;
        unsigned length;

        if (dbt_native_full(v)) {
                dbt_decode_forget(v);
                dbt_native_flush(v);
        }
        compare(v, bytes);
        length = dbt_decode(v, bytes, BYTES, &i);
        valid += length > 1;
        compare(v, bytes);
        dbt_native_release(v, &i);
        return length;
}

/* What is in memory from code on, be it instructions or not. */
static void test_code(struct dbt_vcpu *v, const uint8_t *code, size_t size)
{
        for (size_t at = 0; at + BYTES <= size;) {
                unsigned length = decode_and_compare(v, code + at);

                at += length ? length : 1;
        }
}

/* A random instruction, and others with the same beginning but other numbers behind. */
static void test_random(struct dbt_vcpu *v)
{
        static const uint8_t prefixes[] = { 0x66, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x2e, 0x67 };
        uint8_t bytes[BYTES];
        unsigned n = 0, fixed;

        for (unsigned k = 0; k < sizeof(bytes); k++)
                bytes[k] = (uint8_t)random32();
        while (n < 5 && random32() % 3 == 0)
                bytes[n++] = prefixes[random32() % sizeof(prefixes)];
        if (random32() % 2)
                bytes[n++] = 0x40 | random32() % 16;
        if (random32() % 3 == 0) {
                bytes[n++] = 0x0f;
        } else if (random32() % 8 == 0) {
                bytes[n++] = 0xc4;
                bytes[n++] = (uint8_t)((random32() & 0xe0) | (1 + random32() % 3));
        } else if (random32() % 8 == 0) {
                bytes[n++] = 0xc5;
        }
        fixed = n + 1 + random32() % 3;
        for (unsigned round = 0; round < 4; round++) {
                decode_and_compare(v, bytes);
                for (unsigned k = fixed; k < sizeof(bytes); k++)
                        bytes[k] = (uint8_t)random32();
        }
}

int main(void)
{
        static const struct engine_callbacks callbacks;
        struct engine_config config = { .cpus = 1, .callbacks = &callbacks, .tsc_khz = 1000000 };
        struct cpuid_table *cpuid = calloc(1, sizeof(*cpuid));
        struct engine_vcpu *vcpu;
        struct engine_vm *vm;
        struct dbt_vcpu *v;
        uint32_t pv;

        check(engine_dbt.vm_new(&config, &vm) == 0, "vm_new");
        check(engine_dbt.cpuid_supported(vm, cpuid, &pv) == 0, "cpuid_supported");
        check(engine_dbt.vcpu_new(vm, 0, cpuid, &vcpu) == 0, "vcpu_new");
        v = (struct dbt_vcpu *)vcpu;
        v->mode = DBT_MODE_CS64 | DBT_MODE_PE;
        test_code(v, (const uint8_t *)(uintptr_t)engine_dbt.vm_new, 200000);
        test_code(v, (const uint8_t *)(uintptr_t)strtod, 200000);
        check(quick > 50000, "most instructions of programs come again");
        for (unsigned k = 0; k < ROUNDS / 4; k++)
                test_random(v);
        printf("%u valid instructions, %u by example\n", valid, quick);
        engine_dbt.vcpu_free(vcpu);
        engine_dbt.vm_free(vm);
        free(cpuid);
        return 0;
}
