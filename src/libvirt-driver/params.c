/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/params.h"

#include <libvirt/libvirt.h>
#include <stdarg.h>

void params_init(struct params *p, struct call *call)
{
        p->arena = &call->arena;
        p->array = g_array_new(FALSE, TRUE, sizeof(struct remote_typed_param));
}

void params_clear(struct params *p)
{
        g_clear_pointer(&p->array, g_array_unref);
}

static void add(struct params *p, struct xdr_typed_value value, const char *fmt, va_list ap)
{
        struct remote_typed_param param = { arena_take(p->arena, g_strdup_vprintf(fmt, ap)), value };

        g_array_append_val(p->array, param);
}

#define ADDER(suffix, ctype, vtype, member)                                                                 \
        void params_add_##suffix(struct params *p, ctype value, const char *fmt, ...)                       \
        {                                                                                                   \
                va_list ap;                                                                                 \
                                                                                                            \
                va_start(ap, fmt);                                                                          \
                add(p, (struct xdr_typed_value){ vtype, { .member = value } }, fmt, ap);                    \
                va_end(ap);                                                                                 \
        }

ADDER(int, int32_t, VIR_TYPED_PARAM_INT, i)
ADDER(uint, uint32_t, VIR_TYPED_PARAM_UINT, ui)
ADDER(llong, int64_t, VIR_TYPED_PARAM_LLONG, l)
ADDER(ull, uint64_t, VIR_TYPED_PARAM_ULLONG, ul)
ADDER(bool, int32_t, VIR_TYPED_PARAM_BOOLEAN, b)

void params_add_string(struct params *p, const char *value, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        add(p, (struct xdr_typed_value){ VIR_TYPED_PARAM_STRING, { .s = arena_strdup(p->arena, value) } }, fmt, ap);
        va_end(ap);
}

void params_take(struct params *p, struct call *call, uint32_t *ret_n, struct remote_typed_param **ret_v)
{
        *ret_n = p->array->len;
        *ret_v = arena_take(&call->arena, g_array_free(g_steal_pointer(&p->array), FALSE));
}

int32_t params_take_probed(struct params *p, struct call *call, int32_t room, uint32_t *ret_n, struct remote_typed_param **ret_v)
{
        int32_t all = (int32_t)p->array->len;

        params_take(p, call, ret_n, ret_v);
        if (room <= 0) {
                *ret_n = 0;
                return all;
        }
        *ret_n = MIN(*ret_n, (uint32_t)room);
        return (int32_t)*ret_n;
}

bool params_number(const struct remote_typed_param *param, uint64_t *ret)
{
        const struct xdr_typed_value *v = &param->value;
        int64_t number = 0;

        switch (v->type) {
        case VIR_TYPED_PARAM_INT:
                number = v->u.i;
                break;
        case VIR_TYPED_PARAM_LLONG:
                number = v->u.l;
                break;
        case VIR_TYPED_PARAM_UINT:
                *ret = v->u.ui;
                return true;
        case VIR_TYPED_PARAM_ULLONG:
                *ret = v->u.ul;
                return true;
        default:
                return false;
        }
        *ret = (uint64_t)number;
        return number >= 0;
}
