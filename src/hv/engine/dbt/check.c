/* SPDX-License-Identifier: GPL-2.0-or-later */

/* --engine-check: each translated block runs twice from the same state, and the VM stops at the first difference.
 *
 * The executor goes first. While it does, no TLB entry allows a write, so that every one takes the slow path of mmu.c and is
 * noted with the bytes it replaces. Then memory and registers are put back, writes are allowed again, and the translation runs, alone: the budget makes
 * it come back before the next block. What cannot be done twice (devices, the clock, code that changes itself, instructions that change
 * the mode or the mapping) is only done by the executor. One vCPU only; devices may still write memory at any time, so a difference counts
 * when it is there again and again.
 *
 * Flags that the architecture leaves undefined may differ, and those that are dead at a fault, as tr.h says, unless vm->config.exact_flags. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/check.h"
#include "hv/engine/dbt/exec.h"
#include "hv/engine/dbt/tr.h"

#define ATTEMPTS 6
#define ARITHMETIC (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)

/* Mostly of few bytes, where rep movsb would be slow. */
static void copy(void *dst, const void *src, size_t n)
{
        uint8_t *to = dst;
        const uint8_t *from = src;
        size_t k = 0;

        for (; k + 8 <= n; k += 8)
                *(volatile dbt_guest64 *)(to + k) = *(const dbt_guest64 *)(from + k);
        for (; k < n; k++)
                *(volatile uint8_t *)(to + k) = from[k];
}

/* Not libc's, which may use vector registers that are the guest's. */
static bool same(const void *a, const void *b, size_t n)
{
        const uint8_t *p = a, *q = b;
        size_t k = 0;

        for (; k + 8 <= n; k += 8) {
                uint64_t x, y;

                __builtin_memcpy(&x, p + k, 8);
                __builtin_memcpy(&y, q + k, 8);
                if (x != y)
                        return false;
        }
        for (; k < n; k++)
                if (p[k] != q[k])
                        return false;
        return true;
}

/* --- What can be done twice ------------------------------------------------------------------------------------------ */

static bool repeatable(const ZydisDecodedInstruction *z)
{
        switch (z->meta.category) {
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_IO:
        case ZYDIS_CATEGORY_IOSTRINGOP:
        case ZYDIS_CATEGORY_INTERRUPT:
        case ZYDIS_CATEGORY_SYSCALL:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_RDRAND:
        case ZYDIS_CATEGORY_RDSEED:
                return false;
        default:
                return z->mnemonic != ZYDIS_MNEMONIC_PAUSE && z->mnemonic != ZYDIS_MNEMONIC_CPUID && z->mnemonic != ZYDIS_MNEMONIC_RDTSC &&
                       z->mnemonic != ZYDIS_MNEMONIC_RDTSCP;
        }
}

static void init_decoder(const struct dbt_vcpu *v, ZydisDecoder *decoder)
{
        if (v->mode & DBT_MODE_CS64)
                ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        else
                ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
}

/* Looks at the block's instructions, once. */
static bool comparable(struct dbt_vcpu *v, struct dbt_block *b)
{
        const uint8_t *bytes = dbt_block_bytes(b);
        ZydisDecodedInstruction z;
        ZydisDecoder decoder;

        if (b->check)
                return b->check == DBT_CHECK_BOTH;
        b->check = DBT_CHECK_ALONE;
        if (b->ends)
                return false;
        dbt_fpu_save(v);
        init_decoder(v, &decoder);
        for (unsigned at = 0; at < b->size; at += z.length)
                if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes + at, b->size - at, &z)) || !repeatable(&z))
                        return false;
        b->check = DBT_CHECK_BOTH;
        return true;
}

/* --- State ------------------------------------------------------------------------------------------------------------- */

static void save(struct dbt_vcpu *v, struct check_state *s)
{
        s->fpu_live = v->fpu_live;
        s->has_fpu = v->check->vectors;
        if (s->has_fpu) {
                dbt_fpu_save(v);
                copy(&s->fpu, &v->fpu, sizeof(s->fpu));
        }
        copy(s->regs, v->regs, sizeof(s->regs));
        copy(s->seg, v->seg, sizeof(s->seg));
        s->rflags = v->rflags;
        s->cr2 = v->cr2;
}

static void restore(struct dbt_vcpu *v, const struct check_state *s)
{
        copy(v->regs, s->regs, sizeof(s->regs));
        copy(v->seg, s->seg, sizeof(s->seg));
        v->rflags = s->rflags;
        v->cr2 = s->cr2;
        if (!s->has_fpu)
                return;
        dbt_fpu_save(v);
        copy(&v->fpu, &s->fpu, sizeof(s->fpu));
        if (s->fpu_live)
                dbt_fpu_load(v);
}

static void forbid_writes(struct dbt_vcpu *v)
{
        struct dbt_check *c = v->check;

        for (unsigned k = 0; k < c->n_grants; k++)
                dbt_tlb_forbid_write(v, c->grant[k].mmu, c->grant[k].slot);
        c->n_grants = 0;
}

/* --- Memory ------------------------------------------------------------------------------------------------------------- */

static void note_after(struct dbt_check *c)
{
        for (unsigned k = 0; k < c->n_writes; k++)
                copy(c->after + c->write[k].at, c->write[k].host, c->write[k].n);
}

static void undo(struct dbt_check *c)
{
        for (unsigned k = c->n_writes; k-- > 0;)
                copy(c->write[k].host, c->old + c->write[k].at, c->write[k].n);
}

static uint8_t *line_of(uint8_t *host)
{
        return (uint8_t *)((uintptr_t)host & ~(uintptr_t)(CHECK_LINE - 1));
}

/* The line as it is now, or where it was noted already; NULL: too many. */
static struct check_line *note_line(struct dbt_check *c, uint8_t *line)
{
        struct check_line *l;

        for (unsigned k = c->n_lines; k-- > 0;)
                if (c->line[k].host == line)
                        return &c->line[k];
        if (c->n_lines == CHECK_LINES)
                return NULL;
        l = &c->line[c->n_lines++];
        l->host = line;
        copy(l->before, line, CHECK_LINE);
        copy(l->expected, line, CHECK_LINE);
        return l;
}

/* The lines with writes in them as they are now and as they should become. False: too many. */
static bool note_lines(struct dbt_check *c)
{
        c->n_lines = 0;
        for (unsigned k = 0; k < c->n_writes; k++) {
                const struct check_write *w = &c->write[k];

                for (unsigned done = 0, n; done < w->n; done += n) {
                        uint8_t *host = w->host + done, *line = line_of(host);
                        struct check_line *l = note_line(c, line);

                        n = (unsigned)(line + CHECK_LINE - host);
                        if (n > w->n - done)
                                n = w->n - done;
                        if (!l)
                                return false;
                        copy(l->expected + (host - line), c->after + w->at + done, n);
                }
        }
        return true;
}

static bool same_memory(const struct dbt_check *c)
{
        for (unsigned k = 0; k < c->n_lines; k++)
                if (!same(c->line[k].host, c->line[k].expected, CHECK_LINE))
                        return false;
        return true;
}

/* Only what differs: a device may write to other bytes of the line. */
static void undo_lines(struct dbt_check *c)
{
        for (unsigned p = 0; p < c->n_lines; p++)
                for (unsigned k = 0; k < CHECK_LINE; k++)
                        if (c->line[p].host[k] != c->line[p].before[k])
                                c->line[p].host[k] = c->line[p].before[k];
}

/* So that the translation finds in the TLB what it would find without all this. */
static void allow_writes(struct dbt_vcpu *v)
{
        struct dbt_check *c = v->check;

        for (unsigned k = 0; k < c->n_writes; k++)
                dbt_probe(v, c->write[k].lin, 1, DBT_WRITE, c->write[k].mmu);
}

/* --- Running ------------------------------------------------------------------------------------------------------------- */

/* From the instruction at that offset on. */
static void execute(struct dbt_vcpu *v, const struct dbt_block *b, unsigned at)
{
        while (at < b->size) {
                const struct dbt_insn *i = dbt_tr_insn(v, b, at);
                uint64_t behind = v->rip + i->length;

                if (__atomic_load_n(&b->dead, __ATOMIC_RELAXED))
                        siglongjmp(v->unwind, DBT_UNWIND_RESTART);
                at += i->length;
                i->fn(v, i);
                if (!(i->flags & DBT_INSN_TRANSFER))
                        v->rip = behind;
                else if (v->rip != behind)
                        return;
        }
}

/* A translation may leave in the middle of the block: the executor does the rest. */
static void execute_rest(struct dbt_vcpu *v, const struct dbt_block *b)
{
        uint64_t at = v->rip - v->check->before.regs[X86_NGPRS + 1];

        if (v->rip == v->check->executed.regs[X86_NGPRS + 1] && !v->check->executed.raised)
                return;
        for (unsigned k = 0; k < b->size && k <= at; k += dbt_tr_insn(v, b, k)->length)
                if (k && k == at) {
                        execute(v, b, k);
                        return;
                }
}

static struct dbt_block *next_block(struct dbt_vcpu *v, bool ends)
{
        return ends ? NULL : dbt_block_lookup(v);
}

static struct dbt_block *run_alone(struct dbt_vcpu *v, const struct dbt_block *b)
{
        bool ends = b->ends;

        v->check->n_alone++;
        execute(v, b, 0);
        return next_block(v, ends);
}

static void note_raised(struct dbt_vcpu *v, struct check_state *s, int why)
{
        save(v, s);
        s->raised = why == DBT_UNWIND_RAISED;
        s->vector = s->raised ? v->raised.vector : 0;
        s->error = s->raised && v->raised.has_error ? v->raised.error : 0;
}

/* Requests would end repeated instructions early, and keep translations from being entered. What comes meanwhile makes for another attempt. */
static void hold_requests(struct dbt_vcpu *v)
{
        v->check->requests |= atomic_exchange(&v->request, 0);
}

static void release_requests(struct dbt_vcpu *v)
{
        dbt_ask(v, v->check->requests);
        v->check->requests = 0;
}

/* Both return why they were unwound, 0 if they were not. v->unwind is the caller's again. */
static __attribute__((noinline)) int run_executor(struct dbt_vcpu *v, const struct dbt_block *b)
{
        struct dbt_check *c = v->check;
        sigjmp_buf outer;
        int why;

        copy(&outer, &v->unwind, sizeof(outer));
        why = sigsetjmp(v->unwind, 0);
        if (!why) {
                c->recording = true;
                hold_requests(v);
                execute(v, b, 0);
        }
        c = v->check;
        c->recording = false;
        copy(&v->unwind, &outer, sizeof(outer));
        return why;
}

static __attribute__((noinline)) int run_translation(struct dbt_vcpu *v, const struct dbt_block *b)
{
        sigjmp_buf outer;
        int why;

        copy(&outer, &v->unwind, sizeof(outer));
        why = sigsetjmp(v->unwind, 0);
        if (!why) {
                v->tr_budget = 1;
                hold_requests(v);
                dbt_tr_run(v, b);
                execute_rest(v, b);
        }
        v->tr_budget = TR_BUDGET;
        copy(&v->unwind, &outer, sizeof(outer));
        return why;
}

/* --- Comparing -------------------------------------------------------------------------------------------------------------- */

/* What the instruction leaves undefined, and what was before it and stays. */
static uint32_t undefined_after(const ZydisDecodedInstruction *z, uint32_t before)
{
        const ZydisAccessedFlags *f = z->cpu_flags;
        uint32_t defined = (uint32_t)(f->modified | f->set_0 | f->set_1);

        switch (z->meta.category) {
        case ZYDIS_CATEGORY_SHIFT: /* a count of zero leaves them as they were */
        case ZYDIS_CATEGORY_ROTATE:
        case ZYDIS_CATEGORY_STRINGOP:
                defined = 0;
                break;
        default:
                break;
        }
        return (before & ~defined) | (uint32_t)f->undefined;
}

/* Flags that need not agree. */
static uint64_t loose_flags(const struct dbt_vcpu *v, const struct dbt_block *b)
{
        const struct dbt_check *c = v->check;
        uint32_t undefined = 0;
        ZydisDecodedInstruction z;
        ZydisDecoder decoder;

        if (c->executed.raised && !v->vm->config.exact_flags)
                return ARITHMETIC;
        if (!((c->executed.rflags ^ c->translated.rflags) & ARITHMETIC))
                return 0;
        init_decoder(v, &decoder);
        for (unsigned at = 0; at < b->size; at += z.length) {
                if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, dbt_block_bytes(b) + at, b->size - at, &z)))
                        break;
                undefined = undefined_after(&z, undefined);
        }
        return undefined;
}

static bool same_state(const struct dbt_vcpu *v, const struct dbt_block *block)
{
        const struct check_state *a = &v->check->executed, *b = &v->check->translated;

        return same(a->regs, b->regs, sizeof(a->regs)) && !((a->rflags ^ b->rflags) & ~loose_flags(v, block)) &&
               same(a->seg, b->seg, sizeof(a->seg)) && (!a->has_fpu || same(&a->fpu, &b->fpu, sizeof(a->fpu))) && a->cr2 == b->cr2 &&
               a->raised == b->raised && a->vector == b->vector && a->error == b->error;
}

static void report_block(const struct dbt_vcpu *v, const struct dbt_block *b)
{
        const uint8_t *bytes = dbt_block_bytes(b);
        ZydisDisassembledInstruction z;

        for (unsigned at = 0; at < b->size; at += z.info.length) {
                uint64_t rip = v->check->before.regs[X86_NGPRS + 1] + at;
                char hex[2 * ZYDIS_MAX_INSTRUCTION_LENGTH + 1] = "";

                if (!ZYAN_SUCCESS(ZydisDisassembleIntel(v->mode & DBT_MODE_CS64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
                            rip, bytes + at, b->size - at, &z)))
                        return;
                for (unsigned k = 0; k < z.info.length; k++)
                        snprintf(hex + 2 * k, 3, "%02x", bytes[at + k]);
                log_error("  %#llx %-30s %s", (unsigned long long)rip, hex, z.text);
        }
}

static void report_value(const char *what, uint64_t before, uint64_t executed, uint64_t translated)
{
        if (executed != translated)
                log_error("  %s: before %#llx, executor %#llx, translation %#llx", what, (unsigned long long)before, (unsigned long long)executed,
                        (unsigned long long)translated);
}

static void report_registers(const struct dbt_vcpu *v, uint64_t loose)
{
        static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                "r14", "r15", "zero", "rip" };
        const struct check_state *b = &v->check->before, *e = &v->check->executed, *t = &v->check->translated;

        for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
                report_value(names[k], b->regs[k], e->regs[k], t->regs[k]);
        report_value("rflags", b->rflags, e->rflags & ~loose, t->rflags & ~loose);
        report_value("cr2", b->cr2, e->cr2, t->cr2);
        report_value("exception", 0, e->raised ? e->vector : ~0u, t->raised ? t->vector : ~0u);
        report_value("error code", 0, e->error, t->error);
        for (unsigned k = 0; k < X86_NSREGS; k++)
                report_value("segment base", b->seg[k].base, e->seg[k].base, t->seg[k].base);
        for (unsigned k = 0; e->has_fpu && k + 8 <= sizeof(e->fpu.xsave); k += 8) {
                uint64_t q[3];
                char what[32];

                copy(&q[0], b->fpu.xsave + k, 8);
                copy(&q[1], e->fpu.xsave + k, 8);
                copy(&q[2], t->fpu.xsave + k, 8);
                snprintf(what, sizeof(what), "xsave area + %u", k);
                report_value(what, q[0], q[1], q[2]);
        }
}

static uint64_t linear_of(const struct dbt_check *c, const uint8_t *host)
{
        for (unsigned k = 0; k < c->n_writes; k++)
                if (((uintptr_t)c->write[k].host & DBT_PAGE_MASK) == ((uintptr_t)host & DBT_PAGE_MASK))
                        return (c->write[k].lin & DBT_PAGE_MASK) | ((uintptr_t)host & ~DBT_PAGE_MASK);
        return 0;
}

static void report_memory(const struct dbt_check *c)
{
        for (unsigned p = 0; p < c->n_lines; p++) {
                for (unsigned k = 0; k < CHECK_LINE; k += 8) {
                        char what[40];
                        uint64_t q[3];

                        copy(&q[0], c->line[p].before + k, 8);
                        copy(&q[1], c->line[p].expected + k, 8);
                        copy(&q[2], c->line[p].host + k, 8);
                        snprintf(what, sizeof(what), "memory at %#llx", (unsigned long long)linear_of(c, c->line[p].host + k));
                        report_value(what, q[0], q[1], q[2]);
                }
        }
}

static _Noreturn void report(struct dbt_vcpu *v, const struct dbt_block *b)
{
        const struct check_state *s = &v->check->before;

        dbt_fpu_save(v);
        log_error("vCPU %u: after %llu blocks executor and translation differ in the one at %#llx (mode %#x):", v->index,
                (unsigned long long)v->check->n_checked, (unsigned long long)s->regs[X86_NGPRS + 1], v->mode);
        report_block(v, b);
        for (unsigned k = 0; k < X86_NGPRS; k += 4)
                log_error("  before: %#llx %#llx %#llx %#llx", (unsigned long long)s->regs[k], (unsigned long long)s->regs[k + 1],
                        (unsigned long long)s->regs[k + 2], (unsigned long long)s->regs[k + 3]);
        report_registers(v, loose_flags(v, b));
        report_memory(v->check);
        siglongjmp(v->unwind, DBT_UNWIND_ERROR);
}

static bool has_vectors(struct dbt_vcpu *v, const struct dbt_block *b)
{
        const struct dbt_insn *i;

        for (unsigned at = 0; at < b->size; at += i->length) {
                i = dbt_tr_insn(v, b, at);
                if (i->flags & DBT_INSN_VECTOR)
                        return true;
        }
        return false;
}

/* --- One block --------------------------------------------------------------------------------------------------------------- */

enum outcome { SAME, DIFFERENT, ONCE };

/* From c->before, which is the state now. ret_why: how the last of the two runs ended. */
static enum outcome run_both(struct dbt_vcpu *v, const struct dbt_block *b, int *ret_why)
{
        struct dbt_check *c = v->check;
        int why;

        c->n_writes = c->n_bytes = 0;
        c->once = false;
        forbid_writes(v);
        *ret_why = run_executor(v, b);
        if (c->once || b->dead || (*ret_why && *ret_why != DBT_UNWIND_RAISED))
                return ONCE;
        if (v->exclusive)
                dbt_exclusive_end(v);
        note_raised(v, &c->executed, *ret_why);
        note_after(c);
        undo(c);
        if (!note_lines(c)) {
                for (unsigned k = 0; k < c->n_writes; k++)
                        copy(c->write[k].host, c->after + c->write[k].at, c->write[k].n);
                return ONCE;
        }
        restore(v, &c->before);
        allow_writes(v);
        why = run_translation(v, b);
        if (v->exclusive)
                dbt_exclusive_end(v);
        note_raised(v, &c->translated, why);
        return why == *ret_why && same_state(v, b) && same_memory(c) ? SAME : DIFFERENT;
}

struct dbt_block *dbt_check_block(struct dbt_vcpu *v, struct dbt_block *b)
{
        struct dbt_check *c = v->check;
        enum outcome o = DIFFERENT;
        int why = 0;

        if (!comparable(v, b))
                return run_alone(v, b);
        c->vectors = v->fpu_live || has_vectors(v, b);
        save(v, &c->before);
        restore(v, &c->before);
        for (unsigned k = 0; k < ATTEMPTS; k++) {
                o = run_both(v, b, &why);
                if (o != DIFFERENT)
                        break;
                if (k + 1 == ATTEMPTS)
                        report(v, b);
                undo_lines(c);
                restore(v, &c->before);
        }
        release_requests(v);
        c->n_checked += o == SAME;
        if (why)
                siglongjmp(v->unwind, why);
        if (o == SAME && c->executed.fpu_live && !v->fpu_live)
                dbt_fpu_load(v);
        return next_block(v, b->ends);
}

int dbt_check_new(struct dbt_vcpu *v)
{
        v->check = calloc(1, sizeof(*v->check));
        return v->check ? 0 : -ENOMEM;
}
