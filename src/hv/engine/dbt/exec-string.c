/* SPDX-License-Identifier: GPL-2.0-or-later */

/* String instructions and port I/O.
 *
 * A repeated instruction keeps its registers up to date after every element, or after every chunk that cannot fault, so that it
 * can be left at any such point: for a fault, or with rip unchanged for a pending request. With a repeat prefix it is therefore
 * a transfer: it sets rip itself. movs and stos go in chunks that lie in one page by the host's own rep instruction, which
 * gives the right result for every overlap. */

#include "hv/engine/dbt/exec.h"

/* aux: enum of the operation; mem.seg: segment of the source; mem.addr_size: of SI, DI and CX. */

static uint64_t index_get(const struct dbt_vcpu *v, const struct dbt_insn *i, unsigned reg)
{
        return dbt_truncate(v->gpr[reg], i->mem.addr_size);
}

/* The string registers have the address size as operand size: ECX is zero-extended, CX keeps what is above. */
static void index_set(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned reg, uint64_t value)
{
        dbt_set_reg(v, reg, value, i->mem.addr_size);
}

static void index_add(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned reg, int64_t delta)
{
        index_set(v, i, reg, v->gpr[reg] + (uint64_t)delta);
}

static int64_t step(const struct dbt_vcpu *v, const struct dbt_insn *i)
{
        return v->rflags & X86_FLAG_DF ? -(int64_t)i->op_size : i->op_size;
}

/* Linear address of n bytes at DS:SI (or what overrides DS) and at ES:DI. */
static uint64_t linear(struct dbt_vcpu *v, unsigned seg, uint64_t off, unsigned n, enum dbt_access access)
{
        if (v->mode & DBT_MODE_CS64)
                return seg == X86_FS || seg == X86_GS ? v->seg[seg].base + off : off;
        if ((v->mode & DBT_MODE_FLAT) && seg < X86_FS && off + n - 1 <= UINT32_MAX)
                return off;
        return dbt_seg_linear(v, (enum x86_sreg)seg, off, n, access);
}

static uint64_t source(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n)
{
        return linear(v, i->mem.seg, index_get(v, i, X86_RSI), n, DBT_READ);
}

static uint64_t destination(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n, enum dbt_access access)
{
        return linear(v, X86_ES, index_get(v, i, X86_RDI), n, access);
}

/* --- One element ----------------------------------------------------------------------------------------------- */

static void one_movs(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint64_t value = dbt_load(v, source(v, i, n), n);

        dbt_store(v, destination(v, i, n, DBT_WRITE), value, n);
        index_add(v, i, X86_RSI, step(v, i));
        index_add(v, i, X86_RDI, step(v, i));
}

static void one_stos(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_store(v, destination(v, i, i->op_size, DBT_WRITE), v->gpr[X86_RAX], i->op_size);
        index_add(v, i, X86_RDI, step(v, i));
}

static void one_lods(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t value = dbt_load(v, source(v, i, i->op_size), i->op_size);

        if (i->op_size == 1)
                dbt_set_reg8(v, X86_RAX * 8, (uint8_t)value);
        else
                dbt_set_reg(v, X86_RAX, value, i->op_size);
        index_add(v, i, X86_RSI, step(v, i));
}

/* Sets the flags of a - b. */
static void compare(struct dbt_vcpu *v, uint64_t a, uint64_t b, unsigned n)
{
        unsigned shift = 64 - n * 8;
        uint32_t f;

        /* In the top bytes carry, overflow, sign and zero come out right; AF and PF need the low byte. */
        __asm__("cmpq %[b], %[a]" DBT_FLAGS_OUT : "=&a"(f) : [a] "r"(a << shift), [b] "r"(b << shift) : "cc");
        dbt_set_flags_masked(v, f, X86_FLAG_CF | X86_FLAG_OF | X86_FLAG_SF | X86_FLAG_ZF);
        __asm__("cmpb %[b], %[a]" DBT_FLAGS_OUT : "=&a"(f) : [a] "q"((uint8_t)a), [b] "q"((uint8_t)b) : "cc");
        dbt_set_flags_masked(v, f, X86_FLAG_AF | X86_FLAG_PF);
}

static void one_cmps(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint64_t a, b;

        if (!v->sys.amd) /* where both fault, Intel's CPUs report the second operand */
                dbt_probe(v, destination(v, i, n, DBT_READ), n, DBT_READ, v->mmu);
        a = dbt_load(v, source(v, i, n), n);
        b = dbt_load(v, destination(v, i, n, DBT_READ), n);
        compare(v, a, b, n);
        index_add(v, i, X86_RSI, step(v, i));
        index_add(v, i, X86_RDI, step(v, i));
}

static void one_scas(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint64_t b = dbt_load(v, destination(v, i, n, DBT_READ), n);

        compare(v, dbt_truncate(v->gpr[X86_RAX], n), b, n);
        index_add(v, i, X86_RDI, step(v, i));
}

/* The port is read only when its value has a place to go. */
static void one_ins(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint16_t port = (uint16_t)v->gpr[X86_RDX];
        uint64_t lin;

        dbt_io_check(v, port, n);
        lin = destination(v, i, n, DBT_WRITE);
        dbt_probe(v, lin, n, DBT_WRITE, v->mmu);
        dbt_store(v, lin, dbt_io_in(v, port, n), n);
        index_add(v, i, X86_RDI, step(v, i));
}

static void one_outs(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        unsigned n = i->op_size;
        uint16_t port = (uint16_t)v->gpr[X86_RDX];

        dbt_io_check(v, port, n);
        dbt_io_out(v, port, n, dbt_load(v, source(v, i, n), n));
        index_add(v, i, X86_RSI, step(v, i));
}

static const dbt_handler one[] = {
        [DBT_MOVS] = one_movs, [DBT_STOS] = one_stos, [DBT_LODS] = one_lods, [DBT_CMPS] = one_cmps,
        [DBT_SCAS] = one_scas, [DBT_INS] = one_ins, [DBT_OUTS] = one_outs,
};

/* --- Chunks ----------------------------------------------------------------------------------------------------- */

/* How many of count elements lie in lin's page, going up. */
static uint64_t elements_in_page(uint64_t lin, uint64_t count, unsigned size)
{
        uint64_t room = (DBT_PAGE_SIZE - (lin & ~DBT_PAGE_MASK)) / size;

        return count < room ? count : room;
}

static void host_movs(void *dst, const void *src, uint64_t count, unsigned size)
{
        switch (size) {
        case 1:
                __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(count) : : "memory");
                break;
        case 2:
                __asm__ volatile("rep movsw" : "+D"(dst), "+S"(src), "+c"(count) : : "memory");
                break;
        case 4:
                __asm__ volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(count) : : "memory");
                break;
        default:
                __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(count) : : "memory");
        }
}

static void host_stos(void *dst, uint64_t value, uint64_t count, unsigned size)
{
        switch (size) {
        case 1:
                __asm__ volatile("rep stosb" : "+D"(dst), "+c"(count) : "a"(value) : "memory");
                break;
        case 2:
                __asm__ volatile("rep stosw" : "+D"(dst), "+c"(count) : "a"(value) : "memory");
                break;
        case 4:
                __asm__ volatile("rep stosl" : "+D"(dst), "+c"(count) : "a"(value) : "memory");
                break;
        default:
                __asm__ volatile("rep stosq" : "+D"(dst), "+c"(count) : "a"(value) : "memory");
        }
}

/* Addresses are the offsets themselves, or differ by a base that is added without a limit. */
static bool flat(const struct dbt_vcpu *v, const struct dbt_insn *i)
{
        if (v->rflags & X86_FLAG_DF)
                return false;
        if (v->mode & DBT_MODE_CS64)
                return i->mem.addr_size == 8;
        return (v->mode & DBT_MODE_FLAT) && i->mem.addr_size == 4 && i->mem.seg < X86_FS;
}

/* Both do up to count elements and return how many they did; 0: the next one has to go alone. */
static uint64_t chunk_movs(struct dbt_vcpu *v, const struct dbt_insn *i, uint64_t count)
{
        uint64_t src = source(v, i, 1), dst = destination(v, i, 1, DBT_WRITE), bytes;
        const void *from;
        void *to;

        count = elements_in_page(dst, elements_in_page(src, count, i->op_size), i->op_size);
        if (!count)
                return 0;
        bytes = count * i->op_size;
        from = dbt_host_ptr(v, src, (unsigned)bytes, DBT_READ, v->mmu);
        to = from ? dbt_host_ptr(v, dst, (unsigned)bytes, DBT_WRITE, v->mmu) : NULL;
        if (!to)
                return 0;
        host_movs(to, from, count, i->op_size);
        index_add(v, i, X86_RSI, (int64_t)bytes);
        index_add(v, i, X86_RDI, (int64_t)bytes);
        return count;
}

static uint64_t chunk_stos(struct dbt_vcpu *v, const struct dbt_insn *i, uint64_t count)
{
        uint64_t dst = destination(v, i, 1, DBT_WRITE), bytes;
        void *to;

        count = elements_in_page(dst, count, i->op_size);
        if (!count)
                return 0;
        bytes = count * i->op_size;
        to = dbt_host_ptr(v, dst, (unsigned)bytes, DBT_WRITE, v->mmu);
        if (!to)
                return 0;
        host_stos(to, v->gpr[X86_RAX], count, i->op_size);
        index_add(v, i, X86_RDI, (int64_t)bytes);
        return count;
}

/* --- Repetition -------------------------------------------------------------------------------------------------- */

static void next(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        v->rip += i->length;
        if (!(v->mode & DBT_MODE_CS64))
                v->rip = (uint32_t)v->rip;
}

static bool interrupted(struct dbt_vcpu *v)
{
        return atomic_load_explicit(&v->request, memory_order_relaxed) || (v->rflags & X86_FLAG_TF);
}

/* In 64-bit mode with 32-bit addresses Intel's CPUs clear the upper halves of RCX and of the
 * RDI they store to even if nothing is repeated. */
static void cut_indexes(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        if (likely(i->mem.addr_size != 4 || !(v->mode & DBT_MODE_CS64)) || v->sys.amd)
                return;
        v->gpr[X86_RCX] = (uint32_t)v->gpr[X86_RCX];
        if (i->aux == DBT_MOVS || i->aux == DBT_STOS)
                v->gpr[X86_RDI] = (uint32_t)v->gpr[X86_RDI];
}

static void rep_chunks(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t count;

        cut_indexes(v, i);

        while ((count = index_get(v, i, X86_RCX))) {
                uint64_t done = 0;

                if (flat(v, i))
                        done = i->aux == DBT_MOVS ? chunk_movs(v, i, count) : chunk_stos(v, i, count);
                if (!done) {
                        one[i->aux](v, i);
                        done = 1;
                }
                index_set(v, i, X86_RCX, count - done);
                if (unlikely(interrupted(v)) && count != done)
                        return;
        }
        next(v, i);
}

static void rep_plain(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t count;

        cut_indexes(v, i);

        while ((count = index_get(v, i, X86_RCX))) {
                one[i->aux](v, i);
                index_set(v, i, X86_RCX, count - 1);
                if (unlikely(interrupted(v)) && count != 1)
                        return;
        }
        next(v, i);
}

/* repe, repne cmps and scas. A fault finds the flags from before the instruction on Intel's CPUs (Intel SDM vol. 2, REP), those of the last
 * comparison on AMD's. */
static void rep_compare(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t count, want = i->flags & DBT_INSN_REP ? X86_FLAG_ZF : 0, before = v->rflags;

        cut_indexes(v, i);
        while ((count = index_get(v, i, X86_RCX))) {
                if (!v->sys.amd)
                        v->rflags = before;
                one[i->aux](v, i);
                index_set(v, i, X86_RCX, count - 1);
                if ((v->rflags & X86_FLAG_ZF) != want)
                        break;
                if (unlikely(interrupted(v)) && count != 1)
                        return;
        }
        next(v, i);
}

bool dbt_setup_string(struct dbt_decoding *d, unsigned op)
{
        struct dbt_insn *i = d->i;

        i->aux = op;
        i->flags &= (uint8_t)~DBT_INSN_MEM;
        if (op == DBT_INS || op == DBT_OUTS)
                i->flags |= DBT_INSN_ENDS_BLOCK;
        if (!(i->flags & (DBT_INSN_REP | DBT_INSN_REPNE))) {
                i->fn = one[op];
                return true;
        }
        i->flags |= DBT_INSN_TRANSFER;
        if (op == DBT_MOVS || op == DBT_STOS)
                i->fn = rep_chunks;
        else
                i->fn = op == DBT_CMPS || op == DBT_SCAS ? rep_compare : rep_plain;
        return true;
}

/* --- in out ------------------------------------------------------------------------------------------------------ */

static uint16_t io_port(const struct dbt_vcpu *v, const struct dbt_insn *i)
{
        return (uint16_t)(i->aux ? v->gpr[X86_RDX] : i->imm & 0xff);
}

static void exec_in(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint16_t port = io_port(v, i);
        uint64_t value;

        dbt_io_check(v, port, i->op_size);
        value = dbt_io_in(v, port, i->op_size);
        if (i->op_size == 1)
                dbt_set_reg8(v, X86_RAX * 8, (uint8_t)value);
        else
                dbt_set_reg(v, X86_RAX, value, i->op_size);
}

static void exec_out(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint16_t port = io_port(v, i);

        dbt_io_check(v, port, i->op_size);
        dbt_io_out(v, port, i->op_size, dbt_truncate(v->gpr[X86_RAX], i->op_size));
}

/* aux: the port is in DX. The block ends, so that what the device raised is seen at once. */
bool dbt_setup_io(struct dbt_decoding *d, unsigned out)
{
        const ZydisDecodedOperand *port = &d->ops[out ? 0 : 1], *data = &d->ops[out ? 1 : 0];

        d->i->aux = port->type == ZYDIS_OPERAND_TYPE_REGISTER;
        d->i->op_size = (uint8_t)(data->size / 8);
        d->i->flags |= DBT_INSN_ENDS_BLOCK;
        d->i->fn = out ? exec_out : exec_in;
        return true;
}
