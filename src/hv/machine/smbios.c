/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/machine/smbios.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"

#define ENTRY_SIZE 0x1fu
#define TABLES_AT 32u
#define SYSTEM_UUID 8u
#define BOARD_CHASSIS 11u
#define OEM_COUNT 4u
#define OEM_MAX 255u

enum { TYPE_BIOS = 0, TYPE_SYSTEM = 1, TYPE_BOARD = 2, TYPE_CHASSIS = 3, TYPE_OEM = 11, TYPE_END = 127 };

/* What is the same in every machine, from offset 4 on; zeros behind it. */
static const struct structure {
        uint8_t type, size; /* bytes before the strings */
        uint8_t fixed[28];
} structures[] = {
        /* from 0xe800 on; characteristics are not supported; this is a virtual machine; no embedded controller */
        { TYPE_BIOS, 0x18, { [2] = 0x00, [3] = 0xe8, [6] = 0x08, [15] = 0x10, [18] = 0xff, [19] = 0xff } },
        { TYPE_SYSTEM, 0x1b, { [20] = 6 } },                                /* woken up by the power switch */
        { TYPE_BOARD, 0x0f, { [5] = 1, [9] = 0x0a } },                      /* hosting; a motherboard */
        { TYPE_CHASSIS, 0x16, { [1] = 1, [5] = 3, [6] = 3, [7] = 3, [8] = 2 } }, /* of another kind; all is well */
        { TYPE_OEM, 5, { 0 } },
        { TYPE_END, 4, { 0 } },
};

/* Where the number of a string stands; preset: what it is if nobody says. */
static const struct string_field {
        const char *name;
        uint8_t type, offset;
        const char *preset;
} fields[] = {
        { "bios.vendor", TYPE_BIOS, 4, "Domus" },
        { "bios.version", TYPE_BIOS, 5, DOMUS_VERSION },
        { "bios.date", TYPE_BIOS, 8, "01/01/2020" },
        { "system.manufacturer", TYPE_SYSTEM, 4, "Domus" },
        { "system.product", TYPE_SYSTEM, 5, "Domus virtual machine" },
        { "system.version", TYPE_SYSTEM, 6, DOMUS_VERSION },
        { "system.serial", TYPE_SYSTEM, 7, NULL },
        { "system.sku", TYPE_SYSTEM, 25, NULL },
        { "system.family", TYPE_SYSTEM, 26, NULL },
        { "baseBoard.manufacturer", TYPE_BOARD, 4, "Domus" },
        { "baseBoard.product", TYPE_BOARD, 5, "Domus virtual machine" },
        { "baseBoard.version", TYPE_BOARD, 6, NULL },
        { "baseBoard.serial", TYPE_BOARD, 7, NULL },
        { "baseBoard.asset", TYPE_BOARD, 8, NULL },
        { "baseBoard.location", TYPE_BOARD, 10, NULL },
        { "chassis.manufacturer", TYPE_CHASSIS, 4, "Domus" },
        { "chassis.version", TYPE_CHASSIS, 6, NULL },
        { "chassis.serial", TYPE_CHASSIS, 7, NULL },
        { "chassis.asset", TYPE_CHASSIS, 8, NULL },
        { "chassis.sku", TYPE_CHASSIS, 21, NULL },
};

#define OEM "oem"

struct builder {
        uint8_t *image;
        size_t len;
        unsigned count, largest;
};

static uint8_t checksum(const uint8_t *p, size_t n)
{
        uint8_t sum = 0;

        while (n--)
                sum = (uint8_t)(sum + *p++);
        return (uint8_t)-sum;
}

/* The value that was given last, or NULL. */
static const char *given(const char *const *strings, const char *name)
{
        const char *value = NULL;

        for (size_t i = 0; strings && strings[i]; i += 2)
                if (strcmp(strings[i], name) == 0)
                        value = strings[i + 1];
        return value;
}

static bool known(const char *name)
{
        for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
                if (strcmp(fields[i].name, name) == 0)
                        return true;
        return strcmp(name, OEM) == 0;
}

static int append(struct builder *b, const void *bytes, size_t n)
{
        if (n > LOADER_SMBIOS_SIZE - b->len)
                return -ENOSPC;
        memcpy(b->image + b->len, bytes, n);
        b->len += n;
        return 0;
}

/* An empty string would end the structure's, so it is as if it were not there. */
static int append_string(struct builder *b, const char *s, uint8_t *number, unsigned *n)
{
        if (!s || !*s)
                return 0;
        *number = (uint8_t)++*n;
        return append(b, s, strlen(s) + 1);
}

static int append_oem(struct builder *b, const char *const *strings, size_t at, unsigned *n)
{
        uint8_t number;
        int r = 0;

        for (size_t i = 0; r == 0 && strings && strings[i]; i += 2) {
                if (strcmp(strings[i], OEM) == 0)
                        r = *n == OEM_MAX ? -ENOSPC : append_string(b, strings[i + 1], &number, n);
        }
        b->image[at + OEM_COUNT] = (uint8_t)*n;
        return r;
}

static int append_strings(struct builder *b, const struct structure *s, const char *const *strings, size_t at)
{
        unsigned n = 0;
        int r = 0;

        for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(fields); i++) {
                const char *value = fields[i].type == s->type ? given(strings, fields[i].name) : NULL;

                if (fields[i].type == s->type)
                        r = append_string(b, value ? value : fields[i].preset, b->image + at + fields[i].offset, &n);
        }
        if (r == 0 && s->type == TYPE_OEM)
                r = append_oem(b, strings, at, &n);
        return r == 0 ? append(b, "\0", n > 0 ? 1 : 2) : r;
}

/* The first three parts of a uuid are little-endian numbers (7.2.1). */
static int put_uuid(uint8_t *to, const char *uuid)
{
        static const uint8_t order[] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

        for (unsigned i = 0; i < 16; i++) {
                unsigned value = 0;

                if (*uuid == '-')
                        uuid++;
                for (unsigned digit = 0; digit < 2; digit++, uuid++) {
                        const char *hex = "0123456789abcdef", *found = *uuid ? strchr(hex, *uuid | 0x20) : NULL;

                        if (!found)
                                return -EINVAL;
                        value = value << 4 | (unsigned)(found - hex);
                }
                to[order[i]] = (uint8_t)value;
        }
        return *uuid ? -EINVAL : 0;
}

/* A handle is the structure's type. */
static int append_structure(struct builder *b, const struct structure *s, const char *uuid, const char *const *strings)
{
        uint8_t head[4 + sizeof(s->fixed)] = { s->type, s->size };
        size_t at = b->len;
        int r = 0;

        le16_store(head + 2, s->type);
        memcpy(head + 4, s->fixed, sizeof(s->fixed));
        if (s->type == TYPE_SYSTEM && uuid)
                r = put_uuid(head + SYSTEM_UUID, uuid);
        if (s->type == TYPE_BOARD)
                le16_store(head + BOARD_CHASSIS, TYPE_CHASSIS);
        if (r == 0)
                r = append(b, head, s->size);
        if (r == 0)
                r = append_strings(b, s, strings, at);
        b->count++;
        if (b->len - at > b->largest)
                b->largest = (unsigned)(b->len - at);
        return r;
}

/* 5.2.1 */
static void fill_entry(uint8_t *p, const struct builder *b)
{
        memcpy(p, "_SM_", 4);
        p[5] = ENTRY_SIZE;
        p[6] = 2;
        p[7] = 8;
        le16_store(p + 8, (uint16_t)b->largest);
        memcpy(p + 16, "_DMI_", 5);
        le16_store(p + 22, (uint16_t)(b->len - TABLES_AT));
        le32_store(p + 24, (uint32_t)LOADER_SMBIOS_BASE + TABLES_AT);
        le16_store(p + 28, (uint16_t)b->count);
        p[30] = 0x28;
        p[21] = checksum(p + 16, 15);
        p[4] = checksum(p, ENTRY_SIZE);
}

int smbios_build(const char *uuid, const char *const *strings, uint8_t image[LOADER_SMBIOS_SIZE], size_t *ret_len, const char **ret_name)
{
        struct builder b = { .image = image, .len = TABLES_AT };
        int r = 0;

        *ret_name = NULL;
        for (size_t i = 0; strings && strings[i]; i += 2) {
                if (known(strings[i]))
                        continue;
                *ret_name = strings[i];
                return -EINVAL;
        }
        memset(image, 0, LOADER_SMBIOS_SIZE);
        for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(structures); i++)
                if (structures[i].type != TYPE_OEM || given(strings, OEM))
                        r = append_structure(&b, &structures[i], uuid, strings);
        fill_entry(image, &b);
        *ret_len = b.len;
        return r;
}
