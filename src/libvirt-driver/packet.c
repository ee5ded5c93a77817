/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/packet.h"

#include "base/bytes.h"

uint32_t packet_length(const uint8_t word[4])
{
        uint32_t n = be32_load(word);

        return n < PACKET_HEADER || n > PACKET_MAX ? 0 : n;
}

void packet_header_read(const uint8_t *p, struct packet_header *ret)
{
        ret->program = be32_load(p + 4);
        ret->version = be32_load(p + 8);
        ret->procedure = be32_load(p + 12);
        ret->type = be32_load(p + 16);
        ret->serial = be32_load(p + 20);
        ret->status = be32_load(p + 24);
}

GByteArray *packet_begin(const struct packet_header *h)
{
        uint8_t b[PACKET_HEADER] = { 0 };

        be32_store(b + 4, h->program);
        be32_store(b + 8, h->version);
        be32_store(b + 12, h->procedure);
        be32_store(b + 16, h->type);
        be32_store(b + 20, h->serial);
        be32_store(b + 24, h->status);
        return g_byte_array_append(g_byte_array_new(), b, sizeof(b));
}

void packet_end(GByteArray *packet)
{
        be32_store(packet->data, packet->len);
}
