/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/uuid.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

bool domus_uuid_parse(const char *s, uint8_t uuid[DOMUS_UUID_LEN])
{
        unsigned n = 0;

        while (g_ascii_isspace(*s))
                s++;
        while (n < DOMUS_UUID_LEN) {
                if (*s == '-') {
                        s++;
                        continue;
                }
                if (!g_ascii_isxdigit(s[0]) || !g_ascii_isxdigit(s[1]))
                        return false;
                uuid[n++] = (uint8_t)(g_ascii_xdigit_value(s[0]) << 4 | g_ascii_xdigit_value(s[1]));
                s += 2;
        }
        while (g_ascii_isspace(*s))
                s++;
        return *s == 0;
}

void domus_uuid_format(const uint8_t uuid[DOMUS_UUID_LEN], char s[DOMUS_UUID_STRING_LEN])
{
        static const char digits[] = "0123456789abcdef";

        for (unsigned i = 0; i < DOMUS_UUID_LEN; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *s++ = '-';
                *s++ = digits[uuid[i] >> 4];
                *s++ = digits[uuid[i] & 15];
        }
        *s = 0;
}

void domus_uuid_generate(uint8_t uuid[DOMUS_UUID_LEN])
{
        if (getrandom(uuid, DOMUS_UUID_LEN, 0) != DOMUS_UUID_LEN)
                abort();
        uuid[6] = (uuid[6] & 0x0f) | 0x40; /* RFC 4122, version 4 */
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

guint domus_uuid_hash(gconstpointer uuid)
{
        guint h;

        memcpy(&h, uuid, sizeof(h));
        return h;
}

gboolean domus_uuid_equal(gconstpointer a, gconstpointer b)
{
        return memcmp(a, b, DOMUS_UUID_LEN) == 0;
}
