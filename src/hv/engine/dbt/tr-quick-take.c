/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Takes instructions apart for tr-quick.c (Intel SDM vol. 2, chapter 2). */

#include "hv/engine/dbt/tr-quick.h"

/* Displacements may have so much less than 32 bits that what tr-quick.c adds to them fits: how far RSP is put off, or where in the page the instruction ends. */
#define DISP_MAX (INT32_MAX - 2 * (int32_t)DBT_PAGE_SIZE)

/* False: one that is not known. */
static bool take_prefixes(struct quick_insn *i, const uint8_t **p)
{
        for (unsigned n = 0;; n++, ++*p) {
                switch (**p) {
                case 0x66:
                        i->op16 = true;
                        break;
                case 0xf2:
                case 0xf3:
                        i->rep = **p;
                        break;
                case 0x2e:
                case 0x3e:
                        break;
                default:
                        return true;
                }
                if (n == 4)
                        return false;
        }
}

/* False: too large a displacement. */
static bool take_memory(struct quick_insn *i, const uint8_t **p, unsigned mod, unsigned rm)
{
        unsigned size = mod == 1 ? 1 : mod == 2 ? 4 : 0;

        i->mem = true;
        i->base = (uint8_t)(rm | (i->rex & 1) << 3);
        i->index = TR_NO_HOME;
        if (rm == 4) {
                unsigned sib = *(*p)++;

                i->scale = (uint8_t)(sib >> 6);
                i->index = (uint8_t)((sib >> 3 & 7) | (i->rex & 2) << 2);
                i->base = (uint8_t)((sib & 7) | (i->rex & 1) << 3);
                if (i->index == X86_RSP)
                        i->index = TR_NO_HOME;
                rm = sib & 7;
                if (mod == 0 && rm == 5) {
                        i->base = TR_NO_HOME;
                        size = 4;
                }
        } else if (mod == 0 && rm == 5) {
                i->rip = true;
                i->base = TR_NO_HOME;
                size = 4;
        }
        i->disp = size == 4 ? (int32_t)*(const dbt_guest32 *)*p : size == 1 ? (int8_t)**p : 0;
        *p += size;
        return i->disp <= DISP_MAX && i->disp >= -DISP_MAX;
}

static bool take_modrm(struct quick_insn *i, const uint8_t **p)
{
        unsigned modrm = *(*p)++, mod = modrm >> 6;

        i->ext = modrm >> 3 & 7;
        i->reg = (uint8_t)(i->ext | (i->rex & 4) << 1);
        i->rm = (uint8_t)((modrm & 7) | (i->rex & 1) << 3);
        return mod == 3 || take_memory(i, p, mod, modrm & 7);
}

static unsigned imm_size(const struct quick_insn *i)
{
        if (i->op.flags & QUICK_IMM8)
                return 1;
        if (!(i->op.flags & QUICK_IMM))
                return 0;
        if (i->op.kind == QUICK_MOV_IMM)
                return quick_op_size(i);
        return quick_op_size(i) == 2 ? 2 : 4;
}

static bool has_right_prefixes(const struct quick_insn *i)
{
        unsigned which = i->rep ? (i->rep == 0xf3 ? QUICK_F3 : QUICK_F2) : i->op16 ? QUICK_66 : QUICK_NP;

        return (i->op.prefixes & which) && !(i->rep && i->op16);
}

/* What the opcode alone does not tell, as there are several instructions. False: not known. */
static bool refine(struct quick_insn *i)
{
        uint16_t *flags = &i->op.flags;

        switch (i->op.kind) {
        case QUICK_LEA:
                return i->mem;
        case QUICK_NOTHING:
                return i->opcode == 0x1e ? !i->mem && i->rm == 2 && i->ext == 7 : i->map0f || !(i->rex & 1);
        case QUICK_GROUP1:
                *flags |= i->ext == 7 ? 0 : QUICK_RM_W;
                *flags |= i->ext == 2 || i->ext == 3 ? QUICK_NEEDS : 0;
                return true;
        case QUICK_GROUP3:
                if (i->ext == 0) { /* test */
                        *flags |= QUICK_SETS | (*flags & QUICK_RM_BYTE ? QUICK_IMM8 : QUICK_IMM);
                } else if (i->ext >= 4) { /* mul, imul, div, idiv */
                        *flags |= QUICK_SETS | (i->ext >= 6 ? QUICK_NEEDS | QUICK_MAY_FAULT : 0);
                        return i->opcode == 0xf7 && quick_op_size(i) >= 4;
                } else { /* not, neg */
                        *flags |= QUICK_RM_W | (i->ext == 3 ? QUICK_SETS : 0);
                        i->op.kind = QUICK_PLAIN;
                        return i->ext != 1;
                }
                i->op.kind = QUICK_PLAIN;
                return true;
        case QUICK_GROUP5:
                if (i->ext <= 1) { /* inc, dec */
                        *flags |= QUICK_RM_W | QUICK_SETS | QUICK_NEEDS;
                        i->op.kind = QUICK_PLAIN;
                        return true;
                }
                return i->opcode == 0xff && !i->op16 && (i->ext == 2 || i->ext == 4 || (i->ext == 6 && i->mem));
        case QUICK_BITS:
                *flags |= i->ext > 4 ? QUICK_RM_W : 0;
                i->op.kind = QUICK_PLAIN;
                return i->ext >= 4;
        case QUICK_SHIFT:
        case QUICK_BY_CL:
                return i->ext != 6;
        case QUICK_PUSH:
        case QUICK_POP:
                return i->rm != X86_RSP;
        default:
                return true;
        }
}

/* Encodings that raise #UD, or are other instructions. */
static bool is_right_form(const struct quick_insn *i)
{
        if (!i->map0f && (i->opcode == 0xc6 || i->opcode == 0xc7) && i->ext)
                return false;
        if (i->mem)
                return !(i->op.flags & QUICK_NO_MEMORY);
        if (!i->map0f)
                return true;
        switch (i->opcode) {
        case 0x12:
        case 0x16:
                return !i->op16;
        case 0x13:
        case 0x17:
                return false;
        case 0x71:
        case 0x72:
                return i->ext == 2 || i->ext == 4 || i->ext == 6;
        case 0x73:
                return (i->ext & 2) != 0;
        default:
                return true;
        }
}

/* AH..BH? */
static bool has_high_byte(const struct quick_insn *i)
{
        if (i->rex)
                return false;
        return ((i->op.flags & QUICK_REG_BYTE) && i->reg >= 4) || ((i->op.flags & QUICK_RM_BYTE) && !i->mem && i->rm >= 4);
}

bool tr_quick_take(const uint8_t *bytes, struct quick_insn *i)
{
        const uint8_t *p = bytes;

        *i = (struct quick_insn){ .bytes = bytes, .base = TR_NO_HOME, .index = TR_NO_HOME };
        if (!take_prefixes(i, &p))
                return false;
        if ((*p & 0xf0) == 0x40)
                i->rex = *p++;
        if (*p == 0x0f) {
                i->map0f = true;
                p++;
        }
        i->opcode = *p++;
        i->op = quick_ops[i->map0f][i->opcode];
        if (!has_right_prefixes(i)) /* none for QUICK_NONE */
                return false;
        i->rm = (uint8_t)((i->opcode & 7) | (i->rex & 1) << 3);
        if ((i->op.flags & QUICK_MODRM) && !take_modrm(i, &p))
                return false;
        if (!refine(i) || has_high_byte(i) || !is_right_form(i))
                return false;
        if (i->map0f && i->opcode == 0x7e && i->op16)
                i->op.flags |= QUICK_RM | QUICK_RM_W | QUICK_RM_NOT_R;
        i->imm = (uint8_t)imm_size(i);
        i->length = (uint8_t)(p - bytes + i->imm);
        return i->length <= ZYDIS_MAX_INSTRUCTION_LENGTH;
}
