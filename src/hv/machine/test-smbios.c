/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Builds the tables and walks them the way a guest does. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "hv/bus/check.h"
#include "hv/machine/smbios.h"

#define UUID "c7a5fdbd-edaf-9455-926a-d65c16db1809"

static uint8_t image[LOADER_SMBIOS_SIZE];

static unsigned sum(const uint8_t *p, size_t n)
{
        unsigned s = 0;

        while (n--)
                s += *p++;
        return s & 0xff;
}

/* Behind the strings, which end with an empty one. */
static const uint8_t *next(const uint8_t *p)
{
        p += p[1];
        while (p[0] || p[1])
                p++;
        return p + 2;
}

static const uint8_t *find(unsigned type)
{
        const uint8_t *p = image + 32, *end = p + le16_load(image + 22);

        CHECK(le32_load(image + 24) == LOADER_SMBIOS_BASE + 32);
        for (unsigned i = 0; i < le16_load(image + 28); i++, p = next(p)) {
                CHECK(p < end && p + p[1] <= end && next(p) <= end && next(p) - p <= le16_load(image + 8));
                CHECK(le16_load(p + 2) == p[0]);
                if (p[0] == type)
                        return p;
        }
        CHECK(p == end);
        return NULL;
}

static const char *string(const uint8_t *p, unsigned offset)
{
        const char *s = (const char *)p + p[1];

        CHECK(offset < p[1]);
        for (unsigned i = 1; i < p[offset]; i++)
                s += strlen(s) + 1;
        return p[offset] ? s : "";
}

static void build(const char *const *strings)
{
        const char *name;
        size_t len;

        CHECK(smbios_build(UUID, strings, image, &len, &name) == 0);
        CHECK(len < sizeof(image));
        CHECK(memcmp(image, "_SM_", 4) == 0 && memcmp(image + 16, "_DMI_", 5) == 0);
        CHECK(sum(image, image[5]) == 0 && sum(image + 16, 15) == 0);
        CHECK(find(127) && find(127)[1] == 4);
}

static void test_presets(void)
{
        static const uint8_t uuid[] = { 0xbd, 0xfd, 0xa5, 0xc7, 0xaf, 0xed, 0x55, 0x94, 0x92, 0x6a, 0xd6, 0x5c, 0x16, 0xdb, 0x18, 0x09 };

        build(NULL);
        CHECK(strcmp(string(find(0), 4), "Domus") == 0);
        CHECK(strcmp(string(find(1), 5), "Domus virtual machine") == 0);
        CHECK(find(1)[7] == 0);
        CHECK(memcmp(find(1) + 8, uuid, 16) == 0);
        CHECK(!find(11));
}

static void test_given(void)
{
        static const char *const strings[] = { "system.serial", "ds=nocloud", "oem", "one", "system.manufacturer", "", "oem", "two", "chassis.sku", "s", NULL };

        build(strings);
        CHECK(strcmp(string(find(1), 7), "ds=nocloud") == 0);
        CHECK(find(1)[4] == 0);
        CHECK(strcmp(string(find(3), 21), "s") == 0);
        CHECK(find(11)[4] == 2);
        CHECK(strcmp((const char *)find(11) + 5, "one") == 0 && strcmp((const char *)find(11) + 9, "two") == 0);
}

static void test_bad(void)
{
        static char lengthy[5000];
        const char *unknown[] = { "system.colour", "blue", NULL }, *too_long[] = { "oem", lengthy, NULL }, *name;
        size_t len;

        memset(lengthy, 'x', sizeof(lengthy) - 1);
        CHECK(smbios_build(UUID, unknown, image, &len, &name) == -EINVAL && strcmp(name, "system.colour") == 0);
        CHECK(smbios_build(UUID, too_long, image, &len, &name) == -ENOSPC);
        CHECK(smbios_build("c7a5", NULL, image, &len, &name) == -EINVAL);
        CHECK(smbios_build(UUID "0", NULL, image, &len, &name) == -EINVAL);
}

int main(void)
{
        test_presets();
        test_given();
        test_bad();
        return 0;
}
