/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/machine/aml.h"

#include <string.h>

#define OP_ZERO 0x00
#define OP_ONE 0x01
#define OP_NAME 0x08
#define OP_BYTE 0x0a
#define OP_WORD 0x0b
#define OP_DWORD 0x0c
#define OP_STRING 0x0d
#define OP_QWORD 0x0e
#define OP_SCOPE 0x10
#define OP_BUFFER 0x11
#define OP_PACKAGE 0x12
#define OP_METHOD 0x14
#define OP_ROOT '\\'
#define OP_MULTI_NAME 0x2f
#define OP_EXT 0x5b
#define OP_EXT_REGION 0x80
#define OP_EXT_FIELD 0x81
#define OP_EXT_DEVICE 0x82
#define OP_LOCAL0 0x60
#define OP_STORE 0x70
#define OP_AND 0x7b
#define OP_NOTIFY 0x86
#define OP_IF 0xa0

#define FIELD_DWORD_NO_LOCK_ZEROS 0x43 /* access by dwords, no lock, bits beside a written field are zeros */

#define RES_IRQ_NO_FLAGS 0x22
#define RES_IO 0x47
#define RES_END 0x79
#define RES_DWORD_SPACE 0x87
#define RES_WORD_SPACE 0x88
#define RES_INTERRUPT 0x89

#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
/* General flags of an address space descriptor: minimum and maximum are fixed; positive decode; producer. */
#define SPACE_FIXED 0x0c

static void put(struct aml *a, uint64_t value, unsigned bytes)
{
        if (bytes > a->cap - a->len) {
                a->overflow = true;
                return;
        }
        for (unsigned i = 0; i < bytes; i++)
                a->buf[a->len++] = (uint8_t)(value >> 8 * i);
}

static void put_name(struct aml *a, const char *name)
{
        while (*name)
                put(a, (uint8_t)*name++, 1);
}

/* PkgLength counts itself. It is inserted when the object ends, in the shortest form (section 20.2.4). */
void aml_end(struct aml *a, size_t mark)
{
        size_t body = a->len - mark;
        unsigned extra = body + 1 < 0x40 ? 0 : body + 2 < 0x1000 ? 1 : body + 3 < 0x100000 ? 2 : 3;
        size_t length = body + 1 + extra;

        if (a->overflow || a->cap - a->len < 1 + extra) {
                a->overflow = true;
                return;
        }
        memmove(a->buf + mark + 1 + extra, a->buf + mark, body);
        a->len += 1 + extra;
        if (extra == 0) {
                a->buf[mark] = (uint8_t)length;
                return;
        }
        a->buf[mark] = (uint8_t)(extra << 6 | (length & 0xf));
        for (unsigned i = 0; i < extra; i++)
                a->buf[mark + 1 + i] = (uint8_t)(length >> (4 + 8 * i));
}

size_t aml_scope(struct aml *a, const char *name)
{
        size_t mark;

        put(a, OP_SCOPE, 1);
        mark = a->len;
        put_name(a, name);
        return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
        size_t mark;

        put(a, OP_EXT, 1);
        put(a, OP_EXT_DEVICE, 1);
        mark = a->len;
        put_name(a, name);
        return mark;
}

size_t aml_method(struct aml *a, const char *name, unsigned args)
{
        size_t mark;

        put(a, OP_METHOD, 1);
        mark = a->len;
        put_name(a, name);
        put(a, args & 7, 1);
        return mark;
}

size_t aml_package(struct aml *a, unsigned n)
{
        size_t mark;

        put(a, OP_PACKAGE, 1);
        mark = a->len;
        put(a, n, 1);
        return mark;
}

/* BufferSize has a fixed form (WordConst) so that it can be filled in at the end. */
size_t aml_resources(struct aml *a)
{
        size_t mark;

        put(a, OP_BUFFER, 1);
        mark = a->len;
        put(a, OP_WORD, 1);
        put(a, 0, 2);
        return mark;
}

void aml_resources_end(struct aml *a, size_t mark)
{
        size_t size;

        put(a, RES_END, 1);
        put(a, 0, 1); /* checksum 0: not checked */
        if (a->overflow)
                return;
        size = a->len - (mark + 3);
        a->buf[mark + 1] = (uint8_t)size;
        a->buf[mark + 2] = (uint8_t)(size >> 8);
        aml_end(a, mark);
}

void aml_name(struct aml *a, const char *name)
{
        put(a, OP_NAME, 1);
        put_name(a, name);
}

void aml_integer(struct aml *a, uint64_t value)
{
        if (value <= 1) {
                put(a, value ? OP_ONE : OP_ZERO, 1);
        } else if (value <= UINT8_MAX) {
                put(a, OP_BYTE, 1);
                put(a, value, 1);
        } else if (value <= UINT16_MAX) {
                put(a, OP_WORD, 1);
                put(a, value, 2);
        } else if (value <= UINT32_MAX) {
                put(a, OP_DWORD, 1);
                put(a, value, 4);
        } else {
                put(a, OP_QWORD, 1);
                put(a, value, 8);
        }
}

void aml_string(struct aml *a, const char *s)
{
        put(a, OP_STRING, 1);
        put_name(a, s);
        put(a, 0, 1);
}

void aml_reference(struct aml *a, const char *name)
{
        put_name(a, name);
}

void aml_io_region(struct aml *a, const char *name, uint16_t port, uint8_t len)
{
        put(a, OP_EXT, 1);
        put(a, OP_EXT_REGION, 1);
        put_name(a, name);
        put(a, SPACE_IO, 1);
        aml_integer(a, port);
        aml_integer(a, len);
}

size_t aml_fields(struct aml *a, const char *region)
{
        size_t mark;

        put(a, OP_EXT, 1);
        put(a, OP_EXT_FIELD, 1);
        mark = a->len;
        put_name(a, region);
        put(a, FIELD_DWORD_NO_LOCK_ZEROS, 1);
        return mark;
}

void aml_field(struct aml *a, const char *name)
{
        put_name(a, name);
        put(a, 32, 1); /* bits, as a PkgLength */
}

void aml_local(struct aml *a, unsigned n)
{
        put(a, OP_LOCAL0 + n, 1);
}

void aml_store(struct aml *a)
{
        put(a, OP_STORE, 1);
}

size_t aml_if_bit(struct aml *a, unsigned local, uint32_t mask)
{
        size_t mark;

        put(a, OP_IF, 1);
        mark = a->len;
        put(a, OP_AND, 1);
        aml_local(a, local);
        aml_integer(a, mask);
        put(a, 0, 1); /* the result is stored nowhere */
        return mark;
}

void aml_notify(struct aml *a, const char *name, uint8_t value)
{
        put(a, OP_NOTIFY, 1);
        put_name(a, name);
        aml_integer(a, value);
}

void aml_call(struct aml *a, const char *path)
{
        put(a, OP_ROOT, 1);
        put(a, OP_MULTI_NAME, 1);
        put(a, strlen(path + 1) / 4, 1);
        put_name(a, path + 1);
}

static unsigned hex_digit(char c)
{
        return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Section 19.3.4: five bits per letter and four nibbles, stored most significant byte first. */
void aml_eisa_id(struct aml *a, const char *id)
{
        uint32_t v = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 | (uint32_t)(id[2] - 0x40) << 16;

        for (unsigned i = 0; i < 4; i++)
                v |= hex_digit(id[3 + i]) << (12 - 4 * i);
        put(a, OP_DWORD, 1);
        put(a, __builtin_bswap32(v), 4);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
        put(a, RES_IO, 1);
        put(a, 1, 1); /* decodes 16 bits */
        put(a, port, 2);
        put(a, port, 2);
        put(a, 1, 1);
        put(a, len, 1);
}

void aml_irq(struct aml *a, unsigned irq)
{
        put(a, RES_IRQ_NO_FLAGS, 1);
        put(a, 1u << irq, 2);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
        put(a, RES_INTERRUPT, 1);
        put(a, 6, 2);
        put(a, 0x09, 1); /* consumer, shared; level and active high are zeros */
        put(a, 1, 1);
        put(a, gsi, 4);
}

static void address_space(struct aml *a, unsigned width, unsigned type, unsigned type_flags, uint64_t first, uint64_t last)
{
        put(a, width == 2 ? RES_WORD_SPACE : RES_DWORD_SPACE, 1);
        put(a, 3 + 5 * width, 2);
        put(a, type, 1);
        put(a, SPACE_FIXED, 1);
        put(a, type_flags, 1);
        put(a, 0, width); /* granularity */
        put(a, first, width);
        put(a, last, width);
        put(a, 0, width); /* translation */
        put(a, last - first + 1, width);
}

void aml_bus_window(struct aml *a, uint16_t first, uint16_t last)
{
        address_space(a, 2, SPACE_BUS, 0, first, last);
}

void aml_io_window(struct aml *a, uint16_t first, uint16_t last)
{
        address_space(a, 2, SPACE_IO, 3, first, last); /* the entire range, ISA and not */
}

void aml_memory_window(struct aml *a, uint32_t first, uint32_t last)
{
        address_space(a, 4, SPACE_MEMORY, 1, first, last); /* read and write, not cacheable */
}
