/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* XDR (RFC 4506), driven by tables: one decoder and one encoder for all of libvirt's messages.
 *
 * In memory an optional is a pointer (NULL: absent), an array is struct { uint32_t n; T *v; }, a string
 * a NUL-terminated const char *. Decoding takes memory from an arena; a count is checked against its limit
 * and against the bytes that are left before anything is allocated for it, so that a message of n bytes
 * never makes more than a small multiple of n. */

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Memory that lives as long as one call --- */

struct arena {
        GSList *blocks; /* newest first */
        size_t left;    /* free bytes at the end of the newest one */
        char *next;
};

/* Zeroed, 8-byte aligned. */
void *arena_alloc(struct arena *a, size_t n);
#define arena_new(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (n)))
char *arena_strdup(struct arena *a, const char *s);
/* Owns p from here on (g_free at the end); returns it. */
void *arena_take(struct arena *a, void *p);
void arena_clear(struct arena *a);

/* --- Tables --- */

enum xdr_base {
        XDR_I8, XDR_U8, XDR_I16, XDR_U16, XDR_I32, XDR_U32, XDR_I64, XDR_U64,
        XDR_STRING, XDR_UUID, XDR_BYTE, XDR_TYPED_VALUE, XDR_STRUCT,
};

enum xdr_shape { XDR_PLAIN, XDR_OPTIONAL, XDR_ARRAY, XDR_FIXED };

struct xdr_field;

struct xdr_type {
        const char *name;
        enum xdr_base base;
        uint32_t size;     /* in memory */
        uint32_t wire_min; /* bytes that the shortest value takes on the wire */
        const struct xdr_field *fields;
        unsigned n_fields;
};

struct xdr_field {
        const char *name;
        const struct xdr_type *type;
        enum xdr_shape shape;
        uint32_t offset; /* in the struct */
        uint32_t limit;  /* elements: the most of an array, the count of a fixed one */
};

/* Values of libvirt's typed parameters; type: virTypedParameterType. */
struct xdr_typed_value {
        int32_t type;
        union {
                int32_t i;
                uint32_t ui;
                int64_t l;
                uint64_t ul;
                double d;
                int32_t b;
                const char *s;
        } u;
};

struct xdr_array {
        uint32_t n;
        void *v;
};

extern const struct xdr_type xdr_i8, xdr_u8, xdr_i16, xdr_u16, xdr_i32, xdr_u32, xdr_i64, xdr_u64;
extern const struct xdr_type xdr_string, xdr_uuid, xdr_opaque, xdr_typed_value;

#define XDR_STRING_MAX (4U << 20)

/* Decodes exactly n bytes as one value of the type into *ret (type->size bytes, zeroed by the caller).
 * type NULL: nothing, n is 0. False if the bytes are not such a value; then *ret is of no use. */
bool xdr_decode(const struct xdr_type *type, const void *data, size_t n, void *ret, struct arena *arena);
/* Appends the value to out. False if a part exceeds its limit or out would grow beyond max bytes; then out
 * holds a part of it. */
bool xdr_encode(const struct xdr_type *type, const void *value, GByteArray *out, size_t max);
