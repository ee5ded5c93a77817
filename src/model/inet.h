/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* IP and MAC addresses as text and as bytes. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
        int family; /* AF_INET, AF_INET6; 0: none */
        uint8_t bytes[16];
} DomusInet;

unsigned domus_inet_bits(int family); /* 32 or 128 */
/* family 0: either. */
bool domus_inet_parse(const char *text, int family, DomusInet *ret);
/* g_free. */
char *domus_inet_format(const DomusInet *a);
/* Clears all bits after the first prefix ones. */
DomusInet domus_inet_mask(const DomusInet *a, unsigned prefix);
/* Prefix length of a netmask like 255.255.255.0; false if it is none. */
bool domus_inet_netmask_prefix(const DomusInet *mask, unsigned *ret);
/* Same family, and the first prefix bits agree. */
bool domus_inet_same_network(const DomusInet *a, const DomusInet *b, unsigned prefix);
/* As of memcmp(3); both of one family. */
int domus_inet_compare(const DomusInet *a, const DomusInet *b);
bool domus_inet_is_multicast(const DomusInet *a);
/* Addresses from start to end, at most max. */
uint64_t domus_inet_range_size(const DomusInet *start, const DomusInet *end, uint64_t max);

#define DOMUS_MAC_STRING_LEN 18

void domus_mac_format(const uint8_t mac[6], char s[DOMUS_MAC_STRING_LEN]);
/* Six times two digits, parted by colons. s may be NULL. */
bool domus_mac_parse(const char *s, uint8_t mac[6]);
