/* SPDX-License-Identifier: GPL-2.0-or-later */

/* ELF executables of both classes: just the program headers, checked against the file and the memory. */

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"
#include "hv/machine/loader-private.h"

#define PROGRAM_HEADERS_MAX 256

bool loader_is_elf(const struct loader_image *img)
{
        return img->head_len >= sizeof(Elf32_Ehdr) && memcmp(img->head, ELFMAG, SELFMAG) == 0;
}

static int keep_segment(struct loader *l, struct loader_elf *elf, const struct loader_segment *seg)
{
        if (seg->type != PT_NOTE && (seg->type != PT_LOAD || seg->memsz == 0))
                return 0;
        if (elf->n_seg == LOADER_SEGMENTS_MAX)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF image has too many segments");
        if (seg->type == PT_LOAD && seg->filesz > seg->memsz)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF image has a segment larger in the file than in memory");
        elf->seg[elf->n_seg++] = *seg;
        return 0;
}

static int parse32(struct loader *l, const Elf32_Ehdr *h, struct loader_elf *elf)
{
        elf->entry = h->e_entry;
        for (unsigned i = 0; i < h->e_phnum; i++) {
                Elf32_Phdr p;
                int r = loader_read(l, h->e_phoff + i * sizeof(p), &p, sizeof(p));

                if (r == 0)
                        r = keep_segment(l, elf,
                                &(struct loader_segment){ p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz,
                                        p.p_memsz, p.p_align });
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse64(struct loader *l, const Elf64_Ehdr *h, struct loader_elf *elf)
{
        if (h->e_phoff > l->kernel.size)
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        elf->entry = h->e_entry;
        for (unsigned i = 0; i < h->e_phnum; i++) {
                Elf64_Phdr p;
                int r = loader_read(l, h->e_phoff + i * sizeof(p), &p, sizeof(p));

                if (r == 0)
                        r = keep_segment(l, elf,
                                &(struct loader_segment){ p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz,
                                        p.p_memsz, p.p_align });
                if (r < 0)
                        return r;
        }
        return 0;
}

static int check_table(struct loader *l, unsigned machine, unsigned phentsize, unsigned phnum, size_t want_size)
{
        if (machine != EM_X86_64 && machine != EM_386)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF image is not for x86");
        if (phentsize != want_size || phnum == 0 || phnum > PROGRAM_HEADERS_MAX)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF program header table is malformed");
        return 0;
}

int loader_elf_parse(struct loader *l, struct loader_elf *ret)
{
        Elf32_Ehdr h32;
        Elf64_Ehdr h64;
        int r;

        *ret = (struct loader_elf){ 0 };
        memcpy(&h32, l->kernel.head, sizeof(h32));
        if (h32.e_ident[EI_DATA] != ELFDATA2LSB)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF image is not for x86");
        if (h32.e_ident[EI_CLASS] == ELFCLASS32) {
                r = check_table(l, h32.e_machine, h32.e_phentsize, h32.e_phnum, sizeof(Elf32_Phdr));
                return r < 0 ? r : parse32(l, &h32, ret);
        }
        if (h32.e_ident[EI_CLASS] != ELFCLASS64 || l->kernel.head_len < sizeof(h64))
                return loader_fail(l, -ENOEXEC, "the kernel's ELF header is malformed");
        memcpy(&h64, l->kernel.head, sizeof(h64));
        r = check_table(l, h64.e_machine, h64.e_phentsize, h64.e_phnum, sizeof(Elf64_Phdr));
        return r < 0 ? r : parse64(l, &h64, ret);
}

int loader_elf_copy(struct loader *l, const struct loader_elf *elf, uint64_t *ret_end)
{
        uint64_t copied = 0, end = 0;

        for (unsigned i = 0; i < elf->n_seg; i++) {
                const struct loader_segment *s = &elf->seg[i];
                int r;

                if (s->type != PT_LOAD)
                        continue;
                r = loader_check_range(l, s->paddr, s->memsz);
                if (r < 0)
                        return r;
                /* Segments that share file bytes would let a small file cost much time. */
                copied += s->filesz;
                if (s->filesz > l->kernel.size || copied > l->kernel.size)
                        return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
                r = loader_copy(l, s->offset, s->paddr, s->filesz);
                if (r < 0)
                        return r;
                if (s->paddr + s->memsz > end)
                        end = s->paddr + s->memsz;
        }
        if (end == 0)
                return loader_fail(l, -ENOEXEC, "the kernel's ELF image has nothing to load");
        *ret_end = end;
        return 0;
}

bool loader_elf_contains(const struct loader_elf *elf, uint64_t gpa)
{
        for (unsigned i = 0; i < elf->n_seg; i++)
                if (elf->seg[i].type == PT_LOAD && gpa - elf->seg[i].paddr < elf->seg[i].memsz)
                        return true;
        return false;
}

uint64_t loader_elf_entry(const struct loader_elf *elf)
{
        for (unsigned i = 0; i < elf->n_seg; i++) {
                const struct loader_segment *s = &elf->seg[i];

                if (s->type == PT_LOAD && elf->entry - s->vaddr < s->memsz)
                        return elf->entry - s->vaddr + s->paddr;
        }
        return elf->entry;
}
