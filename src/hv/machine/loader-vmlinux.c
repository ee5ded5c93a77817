/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The kernel inside a bzImage, put where it runs and started at its own 64-bit entry.
 *
 * Left alone, a bzImage begins with unpacking itself inside the guest, which is a good part of the boot in the software
 * engine. The host does the same natively, in less than half the time: it unpacks the payload into guest memory, relocates it, and starts
 * it with the state and the boot parameters that it would have got from its decompressor (Linux arch/x86/boot/compressed/misc.c, kaslr.c and
 * head_64.S; arch/x86/kernel/head_64.S). Address space randomization stays: both addresses are drawn here, by the rules of the kernel's own
 * kaslr.c. One thing is left out: the decompressor would turn on five-level page tables on a CPU that has them. The kernel runs with four then.
 *
 * A payload that is unusual in any way is left to the guest; so are kernels before 5.5 (boot protocol 2.15), some of which tie randomization to
 * their command line. What has been written to guest memory by then is cleared again.
 *
 * The payload is an ELF executable for physical addresses from the preferred address on, with the list of its relocations behind it. */

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/machine/loader-private.h"

/* The header and the program headers; the kernel's code begins at 4 KiB in the file or later. */
#define HEAD_SIZE 4096u
#define RELOCATIONS_MAX MiB(32)

/* Linux Documentation/arch/x86/x86_64/mm.rst: kernel text mapping; its size is that of a kernel with KASLR. */
#define KERNEL_MAP 0xffffffff80000000ULL
#define KERNEL_MAP_SIZE GiB(1)
#define KERNEL_ALIGN_MIN MiB(2)

struct vmlinux {
        struct loader *l;
        const struct loader_payload *p;
        uint64_t size; /* of what is unpacked, as the payload says */
        uint64_t done; /* of it */
        uint8_t head[HEAD_SIZE];
        struct loader_elf elf; /* empty until the head is complete */
        uint64_t elf_end;      /* in what is unpacked; the relocations follow */
        uint64_t place;        /* guest physical, of what is linked at p->load */
        uint64_t delta;        /* of virtual addresses from those that it is linked for */
        bool randomized;
        uint8_t *relocs;
        size_t relocs_size;
};

/* Where the segment goes. Its range is known to be in guest RAM. */
static uint8_t *segment_ptr(struct vmlinux *v, const struct loader_segment *s)
{
        return guest_memory_ptr(v->l->mem, v->place + (s->paddr - v->p->load), s->filesz);
}

/* --- the ELF header ---------------------------------------------------------------------------------------------- */

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
        return a_size && b_size && a < b + b_size && b < a + a_size;
}

static int check_segment(struct vmlinux *v, const struct loader_segment *s)
{
        uint64_t need = v->p->need;

        if (s->filesz > s->memsz || s->offset > v->size || s->filesz > v->size - s->offset)
                return loader_fail(v->l, -ENOEXEC, "a segment of its payload is malformed");
        if (s->paddr < v->p->load || s->paddr - v->p->load > need || s->memsz > need - (s->paddr - v->p->load))
                return loader_fail(v->l, -ENOEXEC, "a segment of its payload is outside of the kernel's memory");
        for (unsigned i = 0; i < v->elf.n_seg; i++) {
                const struct loader_segment *o = &v->elf.seg[i];

                /* Overlapping segments would let a small payload cost much time. */
                if (ranges_overlap(s->paddr, s->memsz, o->paddr, o->memsz) ||
                        ranges_overlap(s->offset, s->filesz, o->offset, o->filesz))
                        return loader_fail(v->l, -ENOEXEC, "the segments of its payload overlap");
        }
        return 0;
}

static int add_segment(struct vmlinux *v, const Elf64_Phdr *p)
{
        struct loader_segment s = { p->p_type, p->p_offset, p->p_vaddr, p->p_paddr, p->p_filesz, p->p_memsz, p->p_align };
        int r;

        if (p->p_type != PT_LOAD || p->p_memsz == 0)
                return 0;
        if (v->elf.n_seg == LOADER_SEGMENTS_MAX)
                return loader_fail(v->l, -ENOEXEC, "its payload has too many segments");
        r = check_segment(v, &s);
        if (r < 0)
                return r;
        v->elf.seg[v->elf.n_seg++] = s;
        if (s.offset + s.filesz > v->elf_end)
                v->elf_end = s.offset + s.filesz;
        return 0;
}

static int parse_head(struct vmlinux *v)
{
        Elf64_Ehdr h;
        int r = 0;

        memcpy(&h, v->head, sizeof(h));
        if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
                h.e_type != ET_EXEC || h.e_machine != EM_X86_64)
                return loader_fail(v->l, -ENOEXEC, "its payload is not a 64-bit x86 ELF executable");
        if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phoff > HEAD_SIZE ||
                h.e_phnum > (HEAD_SIZE - h.e_phoff) / sizeof(Elf64_Phdr))
                return loader_fail(v->l, -ENOEXEC, "the program headers of its payload are not where they should be");
        if (h.e_shoff > v->size || (uint64_t)h.e_shnum * h.e_shentsize > v->size - h.e_shoff)
                return loader_fail(v->l, -ENOEXEC, "the section headers of its payload are outside of it");
        v->elf.entry = h.e_entry;
        v->elf_end = h.e_shoff + (uint64_t)h.e_shnum * h.e_shentsize;
        for (unsigned i = 0; r == 0 && i < h.e_phnum; i++) {
                Elf64_Phdr p;

                memcpy(&p, v->head + h.e_phoff + i * sizeof(p), sizeof(p));
                r = add_segment(v, &p);
        }
        if (r == 0 && !loader_elf_contains(&v->elf, h.e_entry))
                r = loader_fail(v->l, -ENOEXEC, "the entry of its payload is not a physical address inside of it");
        return r;
}

/* --- where to ---------------------------------------------------------------------------------------------------- */

/* Is the word on the command line, between white space? */
static bool has_word(const char *cmdline, const char *word)
{
        size_t n = strlen(word);

        for (const char *p = strstr(cmdline, word); p; p = strstr(p + 1, word))
                if ((p == cmdline || (unsigned char)p[-1] <= ' ') && (unsigned char)p[n] <= ' ')
                        return true;
        return false;
}

/* Does the command line take memory away, or want gigabytes of it in one piece? The kernel's own choice avoids those; ours is the preferred
 * address then. */
static bool plans_memory(const char *cmdline)
{
        return strstr(cmdline, "mem=") || strstr(cmdline, "memmap=") || strstr(cmdline, "hugepages");
}

static uint64_t count_slots(uint64_t from, uint64_t to, uint64_t need, uint64_t align)
{
        return to < from || to - from < need ? 0 : (to - from - need) / align + 1;
}

/* Below the initrd or above it. At the preferred address there is room, see find_place in loader-bzimage.c. */
static uint64_t choose_place(struct vmlinux *v, uint64_t need, uint64_t random)
{
        uint64_t align = v->p->align, end = v->l->low_end, below, above, high;

        if (v->l->initrd_size == 0)
                return v->p->load + random % count_slots(v->p->load, end, need, align) * align;
        high = ALIGN_UP(v->l->initrd + v->l->initrd_size, align);
        below = count_slots(v->p->load, v->l->initrd, need, align);
        above = count_slots(high, end, need, align);
        random %= below + above;
        return random < below ? v->p->load + random * align : high + (random - below) * align;
}

static int draw(struct vmlinux *v, uint64_t random[2])
{
        if (v->l->in->random) {
                memcpy(random, v->l->in->random, 2 * sizeof(*random));
                return 0;
        }
        if (getrandom(random, 2 * sizeof(*random), GRND_NONBLOCK) != 2 * sizeof(*random))
                return loader_fail(v->l, -EAGAIN, "there are no random numbers");
        return 0;
}

static int choose(struct vmlinux *v)
{
        const char *cmdline = v->l->in->cmdline;
        uint64_t align = v->p->align, need = v->p->need, slots, random[2];
        int r;

        v->place = v->p->load;
        if (v->relocs_size == 0 || has_word(cmdline, "nokaslr"))
                return 0;
        slots = count_slots(v->p->load, KERNEL_MAP_SIZE, need, align);
        if (slots == 0)
                return loader_fail(v->l, -ENOEXEC, "it is larger than the room for the kernel's text");
        r = draw(v, random);
        if (r < 0)
                return r;
        if (!plans_memory(cmdline))
                v->place = choose_place(v, need, random[0]);
        v->delta = random[1] % slots * align;
        v->randomized = true;
        return 0;
}

static int prepare_relocations(struct vmlinux *v)
{
        uint64_t n = v->size - v->elf_end;

        if (n == 0)
                return 0;
        if (n > RELOCATIONS_MAX || n % 4 || !v->p->relocatable)
                return loader_fail(v->l, -ENOEXEC, "there is something unknown behind the ELF image in its payload");
        v->relocs = loader_map_buffer(v->l, n);
        if (!v->relocs)
                return -ENOMEM;
        v->relocs_size = n;
        return 0;
}

/* --- the unpacked bytes ------------------------------------------------------------------------------------------ */

/* Copies what [off, off + n) has of [from, from + size) to the same part of to. */
static void copy_part(uint8_t *to, uint64_t from, uint64_t size, uint64_t off, const uint8_t *data, size_t n)
{
        uint64_t start = off > from ? off : from, end = off + n < from + size ? off + n : from + size;

        if (start < end)
                memcpy(to + (start - from), data + (start - off), end - start);
}

static void place_bytes(struct vmlinux *v, uint64_t off, const uint8_t *data, size_t n)
{
        for (unsigned i = 0; i < v->elf.n_seg; i++) {
                const struct loader_segment *s = &v->elf.seg[i];

                if (s->filesz)
                        copy_part(segment_ptr(v, s), s->offset, s->filesz, off, data, n);
        }
        if (v->relocs)
                copy_part(v->relocs, v->elf_end, v->relocs_size, off, data, n);
}

static int finish_head(struct vmlinux *v)
{
        int r = parse_head(v);

        if (r == 0)
                r = prepare_relocations(v);
        if (r == 0)
                r = choose(v);
        if (r == 0)
                r = loader_check_range(v->l, v->place, v->p->need);
        if (r == 0 && !guest_memory_ptr(v->l->mem, v->place, v->p->need))
                r = loader_fail(v->l, -ENOSPC, "its place is not in one piece of memory");
        if (r < 0) {
                v->elf.n_seg = 0; /* nothing of it has been written */
                return r;
        }
        place_bytes(v, 0, v->head, HEAD_SIZE);
        return 0;
}

static int sink(void *opaque, const uint8_t *data, size_t n)
{
        struct vmlinux *v = opaque;

        if (v->done < HEAD_SIZE) {
                size_t part = n < HEAD_SIZE - v->done ? n : HEAD_SIZE - v->done;

                memcpy(v->head + v->done, data, part);
                v->done += part;
                data += part;
                n -= part;
                if (v->done == HEAD_SIZE) {
                        int r = finish_head(v);

                        if (r < 0)
                                return r;
                }
        }
        place_bytes(v, v->done, data, n);
        v->done += n;
        return 0;
}

/* Takes everything back: guest memory is all zeros before the kernel is loaded. */
static void clear(struct vmlinux *v)
{
        for (unsigned i = 0; i < v->elf.n_seg; i++) {
                const struct loader_segment *s = &v->elf.seg[i];
                uint64_t n = v->done > s->offset ? v->done - s->offset : 0;

                if (n > s->filesz)
                        n = s->filesz;
                if (n)
                        memset(segment_ptr(v, s), 0, n);
        }
}

/* --- relocations ------------------------------------------------------------------------------------------------- */

/* Each list holds the addresses that the words to be relocated are linked at, lower 32 bits, ascending, behind a 0. In the file: 64-bit words;
 * before Linux 6.15, 32-bit words that hold the distance from here to a per-CPU variable at a fixed address; 32-bit words. */
struct relocation_kind {
        unsigned size;     /* of the word, bytes */
        bool inverse;      /* the delta is subtracted */
        unsigned top_bits; /* bits 31 and 30 of the word, in every kernel with few exceptions */
};

static const struct relocation_kind word64 = { 8, false, 2 }, inverse32 = { 4, true, 1 }, word32 = { 4, false, 2 };
static const struct relocation_kind *const kinds3[] = { &word64, &inverse32, &word32 }, *const kinds2[] = { &word64, &word32 };

/* The word linked at that address, NULL if it is not wholly inside a segment's bytes. */
static uint8_t *find_word(struct vmlinux *v, uint32_t address, unsigned size)
{
        uint64_t paddr = (uint64_t)(int64_t)(int32_t)address - KERNEL_MAP;

        for (unsigned i = 0; i < v->elf.n_seg; i++) {
                const struct loader_segment *s = &v->elf.seg[i];

                if (paddr >= s->paddr && s->filesz >= size && paddr - s->paddr <= s->filesz - size)
                        return segment_ptr(v, s) + (paddr - s->paddr);
        }
        return NULL;
}

/* Adds the delta; does the word look like what such a word is before? */
static bool relocate_word(uint8_t *word, const struct relocation_kind *kind, uint64_t delta)
{
        uint64_t value;

        if (kind->size == 8) {
                value = le64_load(word);
                le64_store(word, value + delta);
                return value >> 32 == KERNEL_MAP >> 32 && (uint32_t)value >> 30 == kind->top_bits;
        }
        value = le32_load(word);
        le32_store(word, (uint32_t)(kind->inverse ? value - delta : value + delta));
        return value >> 30 == kind->top_bits;
}

/* n relocations from list on. Stock kernels have about 20 words in a list of 100,000 that look otherwise: offsets of symbols, and zeros. */
static int relocate_list(struct vmlinux *v, const uint8_t *list, size_t n, const struct relocation_kind *kind)
{
        uint32_t last = 0;
        size_t odd = 0;

        for (size_t i = 0; i < n; i++) {
                uint32_t address = le32_load(list + 4 * i);
                uint8_t *word = address > last ? find_word(v, address, kind->size) : NULL;

                if (!word)
                        return loader_fail(v->l, -ENOEXEC, "a relocation in its payload is not in order or outside of it");
                odd += !relocate_word(word, kind, v->delta);
                last = address;
        }
        if (odd > 64 + n / 64)
                return loader_fail(v->l, -ENOEXEC, "the relocations in its payload are not the known ones");
        return 0;
}

static unsigned count_zeros(const uint8_t *words, size_t n)
{
        unsigned zeros = 0;

        for (size_t i = 0; i < n; i++)
                zeros += le32_load(words + 4 * i) == 0;
        return zeros;
}

/* Words up to the next 0, or to the end. */
static size_t list_length(const uint8_t *words, size_t n)
{
        size_t i = 0;

        while (i < n && le32_load(words + 4 * i) != 0)
                i++;
        return i;
}

static int relocate(struct vmlinux *v)
{
        size_t n = v->relocs_size / 4, at = 0;
        unsigned lists = count_zeros(v->relocs, n);
        int r = 0;

        if (le32_load(v->relocs) != 0 || (lists != 2 && lists != 3))
                return loader_fail(v->l, -ENOEXEC, "its payload does not have two or three lists of relocations");
        for (unsigned i = 0; r == 0 && i < lists; i++) {
                size_t length = list_length(v->relocs + 4 * (at + 1), n - at - 1);

                r = relocate_list(v, v->relocs + 4 * (at + 1), length, lists == 3 ? kinds3[i] : kinds2[i]);
                at += 1 + length;
        }
        return r;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static int check_payload(struct loader *l, const struct loader_payload *p)
{
        if (p->align < KERNEL_ALIGN_MIN || p->align & (p->align - 1) || p->load & (p->align - 1))
                return loader_fail(l, -ENOEXEC, "its alignment is unusual");
        return 0;
}

int loader_load_vmlinux(struct loader *l, const struct loader_payload *p, struct loader_vmlinux *ret)
{
        struct vmlinux v = { .l = l, .p = p };
        int r;

        r = check_payload(l, p);
        if (r == 0)
                r = loader_unpacked_size(l, p->off, p->size, &v.size);
        if (r == 0 && v.size > p->need)
                r = loader_fail(l, -ENOEXEC, "its payload is larger than the memory in which it would be unpacked");
        if (r == 0)
                r = loader_unpack(l, p->off, p->size, v.size, sink, &v);
        if (r == 0 && v.elf.n_seg == 0)
                r = loader_fail(l, -ENOEXEC, "its payload is too small");
        if (r == 0 && v.randomized)
                r = relocate(&v);
        if (r < 0)
                clear(&v);
        else
                *ret = (struct loader_vmlinux){ .entry = v.place + (v.elf.entry - p->load), .randomized = v.randomized };
        loader_unmap_buffer(v.relocs, v.relocs_size);
        return r;
}
