/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Lists of libvirt's typed parameters: made for replies, read from calls. */

#include <glib.h>

#include "libvirt-driver/call.h"

struct params {
        struct arena *arena;
        GArray *array; /* of struct remote_typed_param; the strings are the arena's */
};

/* The same layout as the generated structs have for their lists. */
struct params_wire {
        uint32_t n;
        struct remote_typed_param *v;
};

void params_init(struct params *p, struct call *call);
void params_clear(struct params *p);

void params_add_int(struct params *p, int32_t value, const char *fmt, ...) DOMUS_PRINTF(3, 4);
void params_add_uint(struct params *p, uint32_t value, const char *fmt, ...) DOMUS_PRINTF(3, 4);
void params_add_llong(struct params *p, int64_t value, const char *fmt, ...) DOMUS_PRINTF(3, 4);
void params_add_ull(struct params *p, uint64_t value, const char *fmt, ...) DOMUS_PRINTF(3, 4);
void params_add_bool(struct params *p, int32_t value, const char *fmt, ...) DOMUS_PRINTF(3, 4);
/* value is copied. */
void params_add_string(struct params *p, const char *value, const char *fmt, ...) DOMUS_PRINTF(3, 4);

/* Gives the list to the call's arena. */
void params_take(struct params *p, struct call *call, uint32_t *ret_n, struct remote_typed_param **ret_v);
/* As params_take, by libvirt's rule for getters: a caller with room for none asks how many there are. Returns that number. */
int32_t params_take_probed(struct params *p, struct call *call, int32_t room, uint32_t *ret_n, struct remote_typed_param **ret_v);

/* The number that a client's parameter holds, whatever its integer type; false if it is none, or negative. */
bool params_number(const struct remote_typed_param *param, uint64_t *ret);
