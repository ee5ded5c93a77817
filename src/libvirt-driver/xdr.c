/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/xdr.h"

#include <libvirt/libvirt.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"

#define ARENA_BLOCK 4096

void *arena_alloc(struct arena *a, size_t n)
{
        n = ALIGN_UP(MAX(n, 1), 8);
        if (n > a->left) {
                size_t block = MAX(n, ARENA_BLOCK);

                a->next = g_malloc0(block);
                a->left = block;
                a->blocks = g_slist_prepend(a->blocks, a->next);
        }
        void *p = a->next;

        a->next += n;
        a->left -= n;
        return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
        size_t n = strlen(s) + 1;

        return memcpy(arena_alloc(a, n), s, n);
}

void *arena_take(struct arena *a, void *p)
{
        /* Allocation goes on in the current block: next and left are not tied to the list's head. */
        a->blocks = g_slist_prepend(a->blocks, p);
        return p;
}

void arena_clear(struct arena *a)
{
        g_slist_free_full(a->blocks, g_free);
        *a = (struct arena){ 0 };
}

#define SCALAR(id, base, type, wire) const struct xdr_type xdr_##id = { #id, base, sizeof(type), wire, NULL, 0 }
SCALAR(i8, XDR_I8, int8_t, 4);
SCALAR(u8, XDR_U8, uint8_t, 4);
SCALAR(i16, XDR_I16, int16_t, 4);
SCALAR(u16, XDR_U16, uint16_t, 4);
SCALAR(i32, XDR_I32, int32_t, 4);
SCALAR(u32, XDR_U32, uint32_t, 4);
SCALAR(i64, XDR_I64, int64_t, 8);
SCALAR(u64, XDR_U64, uint64_t, 8);
SCALAR(string, XDR_STRING, const char *, 4);
SCALAR(uuid, XDR_UUID, uint8_t[16], 16);
SCALAR(opaque, XDR_BYTE, uint8_t, 1);
SCALAR(typed_value, XDR_TYPED_VALUE, struct xdr_typed_value, 8);

/* --- Decoding --- */

struct reader {
        const uint8_t *p;
        size_t left;
        struct arena *arena;
};

static bool get_u32(struct reader *r, uint32_t *ret)
{
        if (r->left < 4)
                return false;
        *ret = be32_load(r->p);
        r->p += 4;
        r->left -= 4;
        return true;
}

static bool get_u64(struct reader *r, uint64_t *ret)
{
        if (r->left < 8)
                return false;
        *ret = be64_load(r->p);
        r->p += 8;
        r->left -= 8;
        return true;
}

/* n bytes and their padding to a multiple of four. */
static const uint8_t *get_bytes(struct reader *r, uint32_t n)
{
        size_t padded = ALIGN_UP((size_t)n, 4);
        const uint8_t *p = r->p;

        if (padded > r->left)
                return NULL;
        r->p += padded;
        r->left -= padded;
        return p;
}

static bool get_string(struct reader *r, const char **ret)
{
        const uint8_t *p;
        uint32_t n;
        char *s;

        if (!get_u32(r, &n) || n > XDR_STRING_MAX || !(p = get_bytes(r, n)) || memchr(p, 0, n))
                return false;
        s = arena_alloc(r->arena, (size_t)n + 1);
        memcpy(s, p, n);
        *ret = s;
        return true;
}

/* Integers narrower than a word: the word must hold a value of the type. */
static bool get_narrow(struct reader *r, enum xdr_base base, void *ret)
{
        static const struct {
                int32_t min, max;
                bool wide;
        } range[] = {
                [XDR_I8] = { INT8_MIN, INT8_MAX, false },
                [XDR_U8] = { 0, UINT8_MAX, false },
                [XDR_I16] = { INT16_MIN, INT16_MAX, true },
                [XDR_U16] = { 0, UINT16_MAX, true },
        };
        uint32_t word;
        int32_t v;

        if (!get_u32(r, &word))
                return false;
        v = (int32_t)word;
        if (v < range[base].min || v > range[base].max)
                return false;
        if (range[base].wide)
                memcpy(ret, &(uint16_t){ (uint16_t)v }, 2);
        else
                memcpy(ret, &(uint8_t){ (uint8_t)v }, 1);
        return true;
}

static bool get_typed_value(struct reader *r, struct xdr_typed_value *ret)
{
        uint32_t type;

        if (!get_u32(r, &type))
                return false;
        ret->type = (int32_t)type;
        switch (type) {
        case VIR_TYPED_PARAM_INT:
        case VIR_TYPED_PARAM_UINT:
        case VIR_TYPED_PARAM_BOOLEAN:
                return get_u32(r, &ret->u.ui);
        case VIR_TYPED_PARAM_LLONG:
        case VIR_TYPED_PARAM_ULLONG:
        case VIR_TYPED_PARAM_DOUBLE: /* IEEE 754 on both sides */
                return get_u64(r, &ret->u.ul);
        case VIR_TYPED_PARAM_STRING:
                return get_string(r, &ret->u.s);
        default:
                return false;
        }
}

static bool get_struct(struct reader *r, const struct xdr_type *type, void *ret);

static bool get_value(struct reader *r, const struct xdr_type *type, void *ret)
{
        const uint8_t *p;

        switch (type->base) {
        case XDR_I8:
        case XDR_U8:
        case XDR_I16:
        case XDR_U16:
                return get_narrow(r, type->base, ret);
        case XDR_I32:
        case XDR_U32:
                return get_u32(r, ret);
        case XDR_I64:
        case XDR_U64:
                return get_u64(r, ret);
        case XDR_STRING:
                return get_string(r, ret);
        case XDR_UUID:
                p = get_bytes(r, 16);
                if (p)
                        memcpy(ret, p, 16);
                return p;
        case XDR_TYPED_VALUE:
                return get_typed_value(r, ret);
        case XDR_STRUCT:
                return get_struct(r, type, ret);
        case XDR_BYTE: /* only as an array */
                break;
        }
        return false;
}

static bool get_array(struct reader *r, const struct xdr_field *f, struct xdr_array *ret)
{
        const struct xdr_type *type = f->type;
        const uint8_t *p;
        uint32_t n;

        if (!get_u32(r, &n) || n > f->limit || (uint64_t)n * type->wire_min > r->left)
                return false;
        if (n == 0)
                return true;
        ret->v = arena_alloc(r->arena, (size_t)n * type->size);
        ret->n = n;
        if (type->base == XDR_BYTE) {
                p = get_bytes(r, n);
                if (p)
                        memcpy(ret->v, p, n);
                return p;
        }
        for (uint32_t i = 0; i < n; i++)
                if (!get_value(r, type, (char *)ret->v + (size_t)i * type->size))
                        return false;
        return true;
}

static bool get_optional(struct reader *r, const struct xdr_type *type, void *ret)
{
        uint32_t present;
        void *value = ret;

        if (!get_u32(r, &present) || present > 1)
                return false;
        if (!present)
                return true; /* the pointer is NULL already */
        if (type->base != XDR_STRING) {
                value = arena_alloc(r->arena, type->size);
                memcpy(ret, &value, sizeof(value));
        }
        return get_value(r, type, value);
}

static bool get_field(struct reader *r, const struct xdr_field *f, char *ret)
{
        switch (f->shape) {
        case XDR_PLAIN:
                return get_value(r, f->type, ret);
        case XDR_OPTIONAL:
                return get_optional(r, f->type, ret);
        case XDR_ARRAY:
                return get_array(r, f, (struct xdr_array *)(void *)ret);
        case XDR_FIXED:
                for (uint32_t i = 0; i < f->limit; i++)
                        if (!get_value(r, f->type, ret + (size_t)i * f->type->size))
                                return false;
                return true;
        }
        return false;
}

static bool get_struct(struct reader *r, const struct xdr_type *type, void *ret)
{
        for (unsigned i = 0; i < type->n_fields; i++)
                if (!get_field(r, &type->fields[i], (char *)ret + type->fields[i].offset))
                        return false;
        return true;
}

bool xdr_decode(const struct xdr_type *type, const void *data, size_t n, void *ret, struct arena *arena)
{
        struct reader r = { data, n, arena };

        if (type && !get_value(&r, type, ret))
                return false;
        return r.left == 0;
}

/* --- Encoding --- */

struct writer {
        GByteArray *out;
        size_t max;
};

static bool put_bytes(struct writer *w, const void *p, size_t n)
{
        static const uint8_t zeros[4];
        size_t padded = ALIGN_UP(n, 4);

        if (padded > w->max || w->out->len > w->max - padded)
                return false;
        if (n)
                g_byte_array_append(w->out, p, (guint)n);
        g_byte_array_append(w->out, zeros, (guint)(padded - n));
        return true;
}

static bool put_u32(struct writer *w, uint32_t v)
{
        uint8_t b[4];

        be32_store(b, v);
        return put_bytes(w, b, sizeof(b));
}

static bool put_u64(struct writer *w, uint64_t v)
{
        uint8_t b[8];

        be64_store(b, v);
        return put_bytes(w, b, sizeof(b));
}

static bool put_string(struct writer *w, const char *s)
{
        size_t n = s ? strlen(s) : 0;

        return n <= XDR_STRING_MAX && put_u32(w, (uint32_t)n) && put_bytes(w, s, n);
}

static bool put_typed_value(struct writer *w, const struct xdr_typed_value *v)
{
        if (!put_u32(w, (uint32_t)v->type))
                return false;
        switch (v->type) {
        case VIR_TYPED_PARAM_INT:
        case VIR_TYPED_PARAM_UINT:
        case VIR_TYPED_PARAM_BOOLEAN:
                return put_u32(w, v->u.ui);
        case VIR_TYPED_PARAM_LLONG:
        case VIR_TYPED_PARAM_ULLONG:
        case VIR_TYPED_PARAM_DOUBLE:
                return put_u64(w, v->u.ul);
        case VIR_TYPED_PARAM_STRING:
                return put_string(w, v->u.s);
        default:
                return false;
        }
}

static bool put_struct(struct writer *w, const struct xdr_type *type, const void *value);

static bool put_value(struct writer *w, const struct xdr_type *type, const void *value)
{
        switch (type->base) {
        case XDR_I8:
                return put_u32(w, (uint32_t) * (const int8_t *)value);
        case XDR_U8:
                return put_u32(w, *(const uint8_t *)value);
        case XDR_I16:
                return put_u32(w, (uint32_t) * (const int16_t *)value);
        case XDR_U16:
                return put_u32(w, *(const uint16_t *)value);
        case XDR_I32:
        case XDR_U32:
                return put_u32(w, *(const uint32_t *)value);
        case XDR_I64:
        case XDR_U64:
                return put_u64(w, *(const uint64_t *)value);
        case XDR_STRING:
                return put_string(w, *(const char *const *)value);
        case XDR_UUID:
                return put_bytes(w, value, 16);
        case XDR_TYPED_VALUE:
                return put_typed_value(w, value);
        case XDR_STRUCT:
                return put_struct(w, type, value);
        case XDR_BYTE: /* only as an array */
                break;
        }
        return false;
}

static bool put_elements(struct writer *w, const struct xdr_type *type, const void *v, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++)
                if (!put_value(w, type, (const char *)v + (size_t)i * type->size))
                        return false;
        return true;
}

static bool put_array(struct writer *w, const struct xdr_field *f, const struct xdr_array *a)
{
        if (a->n > f->limit || !put_u32(w, a->n))
                return false;
        if (f->type->base == XDR_BYTE)
                return put_bytes(w, a->v, a->n);
        return put_elements(w, f->type, a->v, a->n);
}

static bool put_optional(struct writer *w, const struct xdr_type *type, const void *value)
{
        const void *p = *(const void *const *)value;

        if (!put_u32(w, p ? 1 : 0))
                return false;
        if (!p)
                return true;
        return put_value(w, type, type->base == XDR_STRING ? value : p);
}

static bool put_field(struct writer *w, const struct xdr_field *f, const char *value)
{
        switch (f->shape) {
        case XDR_PLAIN:
                return put_value(w, f->type, value);
        case XDR_OPTIONAL:
                return put_optional(w, f->type, value);
        case XDR_ARRAY:
                return put_array(w, f, (const struct xdr_array *)(const void *)value);
        case XDR_FIXED:
                return put_elements(w, f->type, value, f->limit);
        }
        return false;
}

static bool put_struct(struct writer *w, const struct xdr_type *type, const void *value)
{
        for (unsigned i = 0; i < type->n_fields; i++)
                if (!put_field(w, &type->fields[i], (const char *)value + type->fields[i].offset))
                        return false;
        return true;
}

bool xdr_encode(const struct xdr_type *type, const void *value, GByteArray *out, size_t max)
{
        struct writer w = { out, max };

        return !type || put_value(&w, type, value);
}
