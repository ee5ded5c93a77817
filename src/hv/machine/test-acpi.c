/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Builds the tables and walks them the way a guest does. "test-acpi --dump DIR" writes them to files for iasl. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/bus/check.h"
#include "hv/bus/memory.h"
#include "hv/machine/acpi.h"
#include "hv/machine/aml.h"
#include "hv/machine/loader.h"

static const uint8_t *at(const struct guest_memory *mem, uint64_t gpa, uint64_t n)
{
        CHECK(gpa >= LOADER_ACPI_BASE && gpa + n <= LOADER_ACPI_BASE + LOADER_ACPI_SIZE);
        return guest_memory_ptr(mem, gpa, n);
}

static unsigned sum(const uint8_t *p, size_t n)
{
        unsigned s = 0;

        while (n--)
                s += *p++;
        return s & 0xff;
}

static const uint8_t *table(const struct guest_memory *mem, uint64_t gpa, const char *signature)
{
        const uint8_t *t = at(mem, gpa, 36);
        uint32_t n = le32_load(t + 4);

        CHECK(n >= 36);
        at(mem, gpa, n);
        CHECK(memcmp(t, signature, 4) == 0);
        CHECK(sum(t, n) == 0);
        return t;
}

static void check_madt(const uint8_t *t, unsigned cpus)
{
        uint32_t n = le32_load(t + 4), pos = 44;
        unsigned count[5] = { 0 };

        CHECK(le32_load(t + 36) == 0xfee00000);
        while (pos < n) {
                CHECK(t[pos] < 5 && t[pos + 1] >= 6 && pos + t[pos + 1] <= n);
                if (t[pos] == 0) {
                        CHECK(t[pos + 2] == count[0] && t[pos + 3] == count[0]);
                        CHECK(le32_load(t + pos + 4) == 1);
                }
                if (t[pos] == 2 && t[pos + 3] == 9)
                        CHECK(le32_load(t + pos + 4) == 9 && le16_load(t + pos + 8) == 0xd);
                if (t[pos] == 2 && t[pos + 3] == 0)
                        CHECK(le32_load(t + pos + 4) == 2);
                count[t[pos]]++;
                pos += t[pos + 1];
        }
        CHECK(pos == n);
        CHECK(count[0] == cpus && count[1] == 1 && count[2] == 2 && count[4] == 1);
}

static void check_fadt(const struct guest_memory *mem, const uint8_t *t)
{
        const uint8_t *facs = at(mem, le32_load(t + 36), 64);

        CHECK(le32_load(t + 4) == 276);
        CHECK(le32_load(t + 36) % 64 == 0 && memcmp(facs, "FACS", 4) == 0 && le32_load(facs + 4) == 64);
        CHECK(le32_load(t + 40) == le64_load(t + 140));
        table(mem, le64_load(t + 140), "DSDT");
        CHECK(le32_load(t + 56) == 0x600 && le64_load(t + 152) == 0x600);
        CHECK(le32_load(t + 112) & 1u << 10);
        CHECK(!(le32_load(t + 112) & 1u << 4));
        CHECK(le64_load(t + 120) == 0xcf9 && t[128] == 6);
        CHECK(!(le16_load(t + 109) & 2));
}

static void check_tables(unsigned cpus)
{
        struct guest_memory mem;
        const uint8_t *rsdp, *xsdt, *rsdt;
        uint64_t addr;

        CHECK(guest_memory_init(&mem, MiB(2)) == 0);
        CHECK(acpi_build(&mem, cpus, &addr) == 0);
        CHECK(addr % 16 == 0);
        rsdp = at(&mem, addr, 36);
        CHECK(memcmp(rsdp, "RSD PTR ", 8) == 0 && sum(rsdp, 20) == 0 && sum(rsdp, 36) == 0);
        xsdt = table(&mem, le64_load(rsdp + 24), "XSDT");
        rsdt = table(&mem, le32_load(rsdp + 16), "RSDT");
        CHECK(le32_load(xsdt + 4) == 36 + 16 && le32_load(rsdt + 4) == 36 + 8);
        CHECK(le64_load(xsdt + 36) == le32_load(rsdt + 36) && le64_load(xsdt + 44) == le32_load(rsdt + 40));
        check_fadt(&mem, table(&mem, le64_load(xsdt + 36), "FACP"));
        check_madt(table(&mem, le64_load(xsdt + 44), "APIC"), cpus);
        guest_memory_finish(&mem);
}

/* The length in front of an object, section 20.2.4; *ret_n gets how many bytes it takes. */
static size_t pkg_length(const uint8_t *p, unsigned *ret_n)
{
        unsigned extra = p[0] >> 6;
        size_t v = extra ? p[0] & 0xf : p[0] & 0x3f;

        for (unsigned i = 0; i < extra; i++)
                v |= (size_t)p[1 + i] << (4 + 8 * i);
        *ret_n = 1 + extra;
        return v;
}

static void check_lengths(void)
{
        uint8_t *buf = malloc(MiB(2));

        for (size_t body = 0; body < 5000; body += body < 100 || (body > 4080 && body < 4110) ? 1 : 37) {
                struct aml a = { .buf = buf, .cap = MiB(2) };
                size_t mark = aml_scope(&a, "\\");
                unsigned n;

                for (size_t i = 0; i < body; i++)
                        aml_integer(&a, 0);
                aml_end(&a, mark);
                CHECK(!a.overflow && pkg_length(buf + 1, &n) == a.len - 1 && a.len == 1 + n + 1 + body);
        }
        free(buf);
}

static void check_overflow(void)
{
        uint8_t buf[40];
        struct aml a = { .buf = buf, .cap = sizeof(buf) };
        size_t mark = aml_scope(&a, "\\_SB_");

        for (unsigned i = 0; i < 20; i++)
                aml_integer(&a, 0x1234567890ULL);
        aml_end(&a, mark);
        CHECK(a.overflow && a.len <= sizeof(buf));
}

static void check_eisa_id(void)
{
        static const uint8_t want[] = { 0x0c, 0x41, 0xd0, 0x0a, 0x03 };
        uint8_t buf[16];
        struct aml a = { .buf = buf, .cap = sizeof(buf) };

        aml_eisa_id(&a, "PNP0A03");
        CHECK(a.len == sizeof(want) && memcmp(buf, want, sizeof(want)) == 0);
}

static void dump(const char *dir, const char *name, const uint8_t *t)
{
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
        f = fopen(path, "w");
        CHECK(f && fwrite(t, 1, le32_load(t + 4), f) == le32_load(t + 4));
        fclose(f);
}

static void dump_all(const char *dir)
{
        struct guest_memory mem;
        const uint8_t *xsdt, *fadt;
        uint64_t addr;

        CHECK(guest_memory_init(&mem, MiB(2)) == 0 && acpi_build(&mem, 64, &addr) == 0);
        xsdt = table(&mem, le64_load(at(&mem, addr, 36) + 24), "XSDT");
        fadt = table(&mem, le64_load(xsdt + 36), "FACP");
        dump(dir, "xsdt", xsdt);
        dump(dir, "facp", fadt);
        dump(dir, "apic", table(&mem, le64_load(xsdt + 44), "APIC"));
        dump(dir, "dsdt", table(&mem, le64_load(fadt + 140), "DSDT"));
        guest_memory_finish(&mem);
}

int main(int argc, char **argv)
{
        if (argc == 3 && strcmp(argv[1], "--dump") == 0) {
                dump_all(argv[2]);
                return 0;
        }
        check_eisa_id();
        check_lengths();
        check_overflow();
        check_tables(1);
        check_tables(4);
        check_tables(254);
        return 0;
}
