/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Decoding by example. In a program the same few thousand instructions come again and again, but for displacements and immediates: a table keeps
 * what dbt_decode made of each, with the bytes in front of the displacement as the key. All that this file knows of the instruction set is how to
 * find where these end (SDM volume 2A, 2.1 to 2.3; volume 2D, appendix A), in 64-bit mode; the rest is in the examples. */

#include <string.h>

#include "hv/engine/dbt/block.h"

/* Bytes that scan may read are DBT_QUICK_MIN. */
#define PREFIXES_MAX 4

/* What scan finds out. */
struct scan {
        uint64_t key;
        unsigned disp; /* bytes */
        bool imm_in_key;
};

/* Rows of 16 opcodes, the lowest in bit 0, of the one-byte map and of map 0F. Left out are prefixes, escapes, what does not exist, and where an
 * immediate or a displacement is not what it is elsewhere: far jumps, enter, ret with an immediate, moffs, int. */
static const uint16_t known[2][16] = {
        { 0x3f3f, 0x3f3f, 0x3f3f, 0x3f3f, 0, 0xffff, 0x0f08, 0xffff, 0x7ffb, 0xfbff, 0xfff0, 0xffff, 0x02cb, 0xff0f, 0x0b0f, 0xffe0 },
        { 0x2000, 0xffff, 0xff00, 0, 0xffff, 0xffff, 0xffff, 0xf0ff, 0xffff, 0xffff, 0xf838, 0xfdff, 0xffff, 0xffff, 0xffff, 0x7fff },
};
/* Which of them have a ModRM byte. */
static const uint16_t has_modrm[2][16] = {
        { 0x0f0f, 0x0f0f, 0x0f0f, 0x0f0f, 0, 0, 0x0a08, 0, 0x7ffb, 0, 0, 0, 0x00c3, 0xff0f, 0, 0xc0c0 },
        { 0x2000, 0xffff, 0xff00, 0, 0xffff, 0xffff, 0xffff, 0xf07f, 0, 0xffff, 0xf838, 0xfdff, 0x00ff, 0xffff, 0xffff, 0x7fff },
};
/* Those for which the immediate byte matters to the handler: shifts, and instructions of which native.c has copies. */
static const uint16_t imm_matters[2][16] = {
        { [0xc] = 0x0003 },
        { [0x7] = 0x000f, [0xa] = 0x1010, [0xb] = 0x0400, [0xc] = 0x0074 },
};

static bool in_map(const uint16_t map[16], unsigned opcode)
{
        return map[opcode >> 4] >> (opcode & 15) & 1;
}

static bool is_prefix(uint8_t byte)
{
        switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x66:
        case 0xf0:
        case 0xf2:
        case 0xf3:
                return true;
        default:
                return false;
        }
}

/* Where the opcode is. */
struct opcode {
        unsigned at, map, byte;
        bool vex;
};

/* False: a map that is not known here. */
static bool find_opcode(const uint8_t *bytes, struct opcode *ret)
{
        unsigned n = 0;

        *ret = (struct opcode){ .map = 0 };
        while (is_prefix(bytes[n]))
                if (++n > PREFIXES_MAX)
                        return false;
        if ((bytes[n] & 0xf0) == 0x40)
                n++;
        if (bytes[n] == 0x0f) {
                ret->map = 1;
                n++;
                if (bytes[n] == 0x38 || bytes[n] == 0x3a)
                        ret->map = bytes[n++] == 0x38 ? 2 : 3;
        } else if (bytes[n] == 0xc4 || bytes[n] == 0xc5) {
                ret->vex = true;
                ret->map = bytes[n] == 0xc4 ? bytes[n + 1] & 31 : 1;
                n += bytes[n] == 0xc4 ? 3 : 2;
        }
        ret->at = n;
        ret->byte = bytes[n];
        if (ret->vex)
                return ret->map >= 1 && ret->map <= 3;
        return ret->map > 1 || in_map(known[ret->map], ret->byte);
}

/* Bytes of the displacement behind ModRM, and of SIB to *ret_sib. */
static unsigned displacement(const uint8_t *modrm, unsigned *ret_sib)
{
        unsigned mod = modrm[0] >> 6, base = modrm[0] & 7;

        *ret_sib = 0;
        if (mod == 3)
                return 0;
        if (base == 4) {
                *ret_sib = 1;
                base = modrm[1] & 7;
        }
        if (mod == 1)
                return 1;
        return mod == 2 || base == 5 ? 4 : 0;
}

static bool scan(const uint8_t *bytes, struct scan *ret)
{
        struct opcode op;
        unsigned n, sib;
        uint64_t key;

        if (!find_opcode(bytes, &op))
                return false;
        n = op.at + 1;
        ret->disp = 0;
        if (op.map > 1 || (op.vex ? op.byte != 0x77 : in_map(has_modrm[op.map], op.byte))) {
                ret->disp = displacement(bytes + n, &sib);
                n += 1 + sib;
        }
        ret->imm_in_key = op.map == 3 || (op.map < 2 && in_map(imm_matters[op.map], op.byte));
        if (n + ret->imm_in_key > sizeof(key))
                return false;
        key = *(const dbt_guest64 *)bytes;
        if (n < sizeof(key))
                key &= (1ULL << n * 8) - 1;
        if (ret->imm_in_key)
                key |= (uint64_t)bytes[n + ret->disp] << n * 8;
        ret->key = key;
        return true;
}

/* Of 1, 2, 4 or 8 bytes. */
static uint64_t number(const uint8_t *p, unsigned n, bool is_signed)
{
        switch (n) {
        case 1:
                return is_signed ? (uint64_t)(int8_t)*p : *p;
        case 2:
                return is_signed ? (uint64_t)(int16_t)*(const dbt_guest16 *)p : *(const dbt_guest16 *)p;
        case 4:
                return is_signed ? (uint64_t)(int32_t)*(const dbt_guest32 *)p : *(const dbt_guest32 *)p;
        default:
                return *(const dbt_guest64 *)p;
        }
}

/* Puts the numbers of the instruction at bytes in those of the example. */
static void adapt(const struct dbt_example *x, const uint8_t *bytes, struct dbt_insn *i)
{
        if (x->disp)
                i->mem.disp = (int32_t)number(bytes + x->disp_at, x->disp, true) + (i->mem.base == DBT_REG_RIP ? i->length : 0);
        if (x->imm)
                i->imm = number(bytes + i->length - x->imm, x->imm, x->is_signed) + (x->relative ? i->length : 0);
}

/* Of a pair, in which what was learned last is in front. */
static struct dbt_example *slot(struct dbt_vcpu *v, uint64_t key)
{
        return &v->decode->examples[dbt_block_hash(key) >> (64 - DBT_EXAMPLES_BITS) & ~1ULL];
}

unsigned dbt_decode_quick(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, struct dbt_insn *ret)
{
        const struct dbt_example *x;
        struct scan s;

        if (!(v->mode & DBT_MODE_CS64) || avail < DBT_QUICK_MIN || !scan(bytes, &s))
                return 0;
        x = slot(v, s.key);
        if (x->key != s.key)
                x++;
        if (x->key != s.key || !x->insn.length)
                return 0;
        *ret = x->insn;
        adapt(x, bytes, ret);
        dbt_native_retain(v, ret);
        return ret->length;
}

void dbt_decode_learn(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, const ZydisDecodedInstruction *z, const struct dbt_insn *i)
{
        struct dbt_example x = { .insn = *i, .disp_at = z->raw.disp.offset, .disp = z->raw.disp.size / 8 }, *old;
        struct dbt_insn again = *i;
        struct scan s;

        if (!(v->mode & DBT_MODE_CS64) || avail < DBT_QUICK_MIN || !scan(bytes, &s) || s.disp != x.disp || z->raw.imm[1].size)
                return;
        if (!s.imm_in_key) {
                x.imm = z->raw.imm[0].size / 8;
                x.is_signed = z->raw.imm[0].is_signed;
                x.relative = z->raw.imm[0].is_relative;
        }
        if (x.imm && i->mem.stub)
                return;
        adapt(&x, bytes, &again);
        if (memcmp(&again, i, sizeof(again)) != 0)
                return;
        x.key = s.key;
        old = slot(v, s.key);
        dbt_native_release(v, &old[1].insn);
        old[1] = old[0];
        old[0] = x;
        dbt_native_retain(v, i);
}

bool dbt_decode_forget(struct dbt_vcpu *v)
{
        struct dbt_decode *d = v->decode;
        bool some = false;

        for (unsigned k = 0; k < DBT_EXAMPLES; k++) {
                some |= d->examples[k].insn.mem.stub;
                dbt_native_release(v, &d->examples[k].insn);
                d->examples[k] = (struct dbt_example){ .key = 0 };
        }
        return some;
}
