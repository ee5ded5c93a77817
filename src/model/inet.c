/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/inet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

unsigned domus_inet_bits(int family)
{
        return family == AF_INET6 ? 128 : 32;
}

bool domus_inet_parse(const char *text, int family, DomusInet *ret)
{
        static const int families[] = { AF_INET, AF_INET6 };

        for (unsigned i = 0; text && i < G_N_ELEMENTS(families); i++) {
                *ret = (DomusInet){ .family = families[i] };
                if ((!family || family == families[i]) && inet_pton(families[i], text, ret->bytes) == 1)
                        return true;
        }
        *ret = (DomusInet){ 0 };
        return false;
}

char *domus_inet_format(const DomusInet *a)
{
        char text[INET6_ADDRSTRLEN] = "";

        inet_ntop(a->family, a->bytes, text, sizeof(text));
        return g_strdup(text);
}

DomusInet domus_inet_mask(const DomusInet *a, unsigned prefix)
{
        DomusInet ret = *a;

        for (unsigned i = 0; i < sizeof(ret.bytes); i++) {
                unsigned kept = prefix > 8 * i ? MIN(prefix - 8 * i, 8) : 0;

                ret.bytes[i] &= (uint8_t)(0xff00 >> kept);
        }
        return ret;
}

bool domus_inet_netmask_prefix(const DomusInet *mask, unsigned *ret)
{
        DomusInet all = { .family = mask->family }, same;

        memset(all.bytes, 0xff, domus_inet_bits(mask->family) / 8);
        for (unsigned prefix = 0; prefix <= domus_inet_bits(mask->family); prefix++) {
                same = domus_inet_mask(&all, prefix);
                if (memcmp(same.bytes, mask->bytes, sizeof(same.bytes)) == 0) {
                        *ret = prefix;
                        return true;
                }
        }
        return false;
}

bool domus_inet_same_network(const DomusInet *a, const DomusInet *b, unsigned prefix)
{
        DomusInet x = domus_inet_mask(a, prefix), y = domus_inet_mask(b, prefix);

        return a->family == b->family && domus_inet_compare(&x, &y) == 0;
}

int domus_inet_compare(const DomusInet *a, const DomusInet *b)
{
        return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool domus_inet_is_multicast(const DomusInet *a)
{
        return a->family == AF_INET6 ? a->bytes[0] == 0xff : (a->bytes[0] & 0xf0) == 0xe0;
}

uint64_t domus_inet_range_size(const DomusInet *start, const DomusInet *end, uint64_t max)
{
        uint64_t size = 0;

        for (unsigned i = 0; i < domus_inet_bits(start->family) / 8; i++) {
                /* never negative in the end, as start is not above end */
                size = size * 256 + end->bytes[i] - start->bytes[i];
                if (size > UINT32_MAX && i + 1 < domus_inet_bits(start->family) / 8)
                        return max;
        }
        return MIN(size + 1, max);
}

void domus_mac_format(const uint8_t mac[6], char s[DOMUS_MAC_STRING_LEN])
{
        snprintf(s, DOMUS_MAC_STRING_LEN, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

bool domus_mac_parse(const char *s, uint8_t mac[6])
{
        for (unsigned i = 0; s && i < 6; i++, s += 3) {
                if (!g_ascii_isxdigit(s[0]) || !g_ascii_isxdigit(s[1]) || s[2] != (i < 5 ? ':' : '\0'))
                        return false;
                mac[i] = (uint8_t)(g_ascii_xdigit_value(s[0]) << 4 | g_ascii_xdigit_value(s[1]));
        }
        return s;
}
