/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Protection keys (Intel SDM vol. 3, 4.6.2; AMD APM vol. 2, 5.6.7): PKRU says what code of DBT_MODE_MIRROR reaches, see mirror.c. */

#include "hv/engine/dbt/tr.h"

static const uint8_t regs[] = { TR_RAX, TR_RCX, TR_RDX };

static void with_keys(struct tr_emit *e, unsigned opcode)
{
        for (unsigned k = 0; k < ARRAY_SIZE(regs); k++)
                tr_with_field(e, opcode, true, regs[k], offsetof(struct dbt_vcpu, tr_keys) + k * sizeof(uint64_t));
}

static void put_zero(struct tr_emit *e, unsigned reg)
{
        tr_put(e, 0xb8 | reg); /* mov r32, imm32, which keeps the flags */
        tr_put32(e, 0);
}

static void wrpkru(struct tr_emit *e)
{
        put_zero(e, TR_RCX);
        put_zero(e, TR_RDX);
        TR_CODE(e, 0x0f, 0x01, 0xef);
        with_keys(e, 0x8b);
}

void tr_open(struct tr_emit *e)
{
        with_keys(e, 0x89);
        put_zero(e, TR_RAX);
        wrpkru(e);
}

void tr_close(struct tr_emit *e)
{
        with_keys(e, 0x89);
        tr_with_field(e, 0x8b, false, TR_RAX, offsetof(struct dbt_vcpu, tr_pkru));
        wrpkru(e);
}
