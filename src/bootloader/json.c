/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The length of the UTF-8 sequence at s, 0 if there is none (RFC 3629: no surrogates, nothing longer than needed). */
static size_t utf8_length(const uint8_t *s)
{
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        size_t n = *s < 0x80 ? 1 : *s >> 5 == 6 ? 2 : *s >> 4 == 14 ? 3 : *s >> 3 == 30 ? 4 : 0;
        uint32_t c = n ? *s & (n == 1 ? 0x7f : 0xff >> (n + 1)) : 0;

        for (size_t i = 1; i < n; i++) {
                if (s[i] >> 6 != 2)
                        return 0;
                c = c << 6 | (s[i] & 0x3f);
        }
        return n && c >= least[n] && c < 0x110000 && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

void json_string(struct text *t, const char *s)
{
        if (!s) {
                text_add_str(t, "null");
                return;
        }
        text_add_str(t, "\"");
        while (*s) {
                size_t n = utf8_length((const uint8_t *)s);
                char escape[8];

                if (n == 0) {
                        text_add_str(t, "\xef\xbf\xbd");
                        n = 1;
                } else if ((uint8_t)*s < 0x20 || *s == 0x7f || *s == '"' || *s == '\\') {
                        snprintf(escape, sizeof(escape), "\\u%04x", (uint8_t)*s);
                        text_add_str(t, escape);
                } else {
                        text_add(t, s, n);
                }
                s += n;
        }
        text_add_str(t, "\"");
}

void json_member(struct text *t, const char *name)
{
        if (t->len && !strchr("{[", t->s[t->len - 1]))
                text_add_str(t, ", ");
        json_string(t, name);
        text_add_str(t, ": ");
}

void json_number(struct text *t, unsigned n)
{
        char digits[12];

        snprintf(digits, sizeof(digits), "%u", n);
        text_add_str(t, digits);
}
