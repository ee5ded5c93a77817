/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Linux bzImage: Documentation/arch/x86/boot.rst and zero-page.rst of the kernel. The kernel in it is started if it can be unpacked here, see
 * loader-vmlinux.c; else the image, by its 64-bit entry point, which unpacks itself. */

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/machine/loader-private.h"

/* Offsets in the image and, for the setup header, equally in the zero page. */
#define HDR_START 0x1f1u
#define HDR_SETUP_SECTS 0x1f1u
#define HDR_SYSSIZE 0x1f4u
#define HDR_BOOT_FLAG 0x1feu
#define HDR_JUMP_OFFSET 0x201u /* the header ends at 0x202 + this byte */
#define HDR_MAGIC 0x202u
#define HDR_VERSION 0x206u
#define HDR_TYPE_OF_LOADER 0x210u
#define HDR_LOADFLAGS 0x211u
#define HDR_CODE32_START 0x214u
#define HDR_RAMDISK_IMAGE 0x218u
#define HDR_RAMDISK_SIZE 0x21cu
#define HDR_CMD_LINE_PTR 0x228u
#define HDR_INITRD_ADDR_MAX 0x22cu
#define HDR_KERNEL_ALIGNMENT 0x230u
#define HDR_RELOCATABLE 0x234u
#define HDR_XLOADFLAGS 0x236u
#define HDR_CMDLINE_SIZE 0x238u
#define HDR_PAYLOAD_OFFSET 0x248u
#define HDR_PAYLOAD_LENGTH 0x24cu
#define HDR_SETUP_DATA 0x250u
#define HDR_PREF_ADDRESS 0x258u
#define HDR_INIT_SIZE 0x260u
#define HDR_END_2_12 0x268u /* what protocol 2.12 has at least */

#define ZP_ACPI_RSDP 0x070u
#define ZP_E820_ENTRIES 0x1e8u
#define ZP_HDR_MAX 0x290u
#define ZP_E820_TABLE 0x2d0u

#define LOADFLAGS_LOADED_HIGH 0x01u
#define LOADFLAGS_KASLR 0x02u
#define LOADFLAGS_KEEP_SEGMENTS 0x40u
#define XLF_KERNEL_64 0x1u
#define ENTRY64_OFFSET 0x200u
#define LOADER_TYPE_UNDEFINED 0xffu
#define VERSION_UNPACKED 0x020fu /* Linux 5.5, see loader-vmlinux.c */

#define INITRD_CEILING GUEST_LOW_RAM_END

struct bzimage {
        const uint8_t *head;
        uint64_t code_off, code_size; /* the protected-mode part in the file */
        uint64_t load;                /* where it goes */
        uint64_t end;                 /* of what the kernel uses before it knows its memory */
        bool randomized;              /* it runs elsewhere than it is linked for */
};

bool loader_is_bzimage(const struct loader_image *img)
{
        return img->head_len >= HDR_VERSION + 2 && le16_load(img->head + HDR_BOOT_FLAG) == 0xaa55 &&
                memcmp(img->head + HDR_MAGIC, "HdrS", 4) == 0;
}

static int check_header(struct loader *l)
{
        const uint8_t *h = l->kernel.head;

        if (le16_load(h + HDR_VERSION) < 0x020c)
                return loader_fail(l, -ENOEXEC,
                        "the kernel is too old: it lacks the 64-bit entry of boot protocol 2.12 (Linux 3.8)");
        if (l->kernel.head_len < HDR_END_2_12 || HDR_MAGIC + h[HDR_JUMP_OFFSET] < HDR_END_2_12)
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        if (!(h[HDR_LOADFLAGS] & LOADFLAGS_LOADED_HIGH))
                return loader_fail(l, -ENOEXEC, "the kernel is a zImage, which is not supported; a bzImage is needed");
        if (!(le16_load(h + HDR_XLOADFLAGS) & XLF_KERNEL_64))
                return loader_fail(l, -ENOEXEC, "the kernel is a 32-bit kernel; only 64-bit Linux kernels can be started");
        return 0;
}

/* Finds the protected-mode part. The size in the header is in units of 16 bytes, rounded up; signed kernels carry a signature
 * behind it. */
static int find_code(struct loader *l, struct bzimage *bz)
{
        unsigned setup_sects = bz->head[HDR_SETUP_SECTS] ? bz->head[HDR_SETUP_SECTS] : 4;
        uint64_t size = (uint64_t)le32_load(bz->head + HDR_SYSSIZE) * 16, left;

        bz->code_off = (setup_sects + 1) * 512ULL;
        if (bz->code_off >= l->kernel.size)
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        left = l->kernel.size - bz->code_off;
        if (size < 1024 || size > ALIGN_UP(left, 16))
                return loader_fail(l, -ENOEXEC, "the kernel image is truncated");
        bz->code_size = size < left ? size : left;
        return 0;
}

/* Where the kernel will run: the runtime_start formula of boot.rst, init_size. Nothing is gained by loading it lower. */
static int find_place(struct loader *l, struct bzimage *bz)
{
        uint64_t align = le32_load(bz->head + HDR_KERNEL_ALIGNMENT);
        uint64_t need = le32_load(bz->head + HDR_INIT_SIZE);
        int r;

        bz->load = le64_load(bz->head + HDR_PREF_ADDRESS);
        if (bz->head[HDR_RELOCATABLE]) {
                if (align < 4096 || align > GiB(1) || (align & (align - 1)))
                        return loader_fail(l, -ENOEXEC, "the kernel's header asks for an impossible alignment");
                if (bz->load < LOADER_KERNEL_MIN)
                        bz->load = LOADER_KERNEL_MIN;
                if (bz->load > GUEST_LOW_RAM_END)
                        return loader_fail(l, -ENOEXEC, "the kernel's header asks for an impossible load address");
                bz->load = ALIGN_UP(bz->load, align);
        }
        if (need < bz->code_size)
                need = bz->code_size;
        r = loader_check_range(l, bz->load, need);
        if (r < 0)
                return r;
        bz->end = bz->load + need;
        return 0;
}

static unsigned write_e820(struct loader *l, uint8_t *table)
{
        struct loader_map_entry map[LOADER_MAP_MAX];
        unsigned n = loader_memory_map(l->mem, map);

        for (unsigned i = 0; i < n; i++, table += 20) {
                le64_store(table, map[i].addr);
                le64_store(table + 8, map[i].size);
                le32_store(table + 16, map[i].type);
        }
        return n;
}

static void write_zero_page(struct loader *l, const struct bzimage *bz)
{
        uint8_t zp[4096] = { 0 };
        size_t header_end = HDR_MAGIC + bz->head[HDR_JUMP_OFFSET];

        if (header_end > ZP_HDR_MAX)
                header_end = ZP_HDR_MAX;
        if (header_end > l->kernel.head_len)
                header_end = l->kernel.head_len;
        memcpy(zp + HDR_START, bz->head + HDR_START, header_end - HDR_START);
        zp[HDR_TYPE_OF_LOADER] = LOADER_TYPE_UNDEFINED;
        zp[HDR_LOADFLAGS] &= (uint8_t)~(LOADFLAGS_KEEP_SEGMENTS | LOADFLAGS_KASLR);
        if (bz->randomized)
                zp[HDR_LOADFLAGS] |= LOADFLAGS_KASLR;
        le32_store(zp + HDR_CODE32_START, (uint32_t)bz->load);
        le32_store(zp + HDR_RAMDISK_IMAGE, (uint32_t)l->initrd);
        le32_store(zp + HDR_RAMDISK_SIZE, (uint32_t)l->initrd_size);
        le32_store(zp + HDR_CMD_LINE_PTR, LOADER_CMDLINE);
        le64_store(zp + HDR_SETUP_DATA, 0);
        le64_store(zp + ZP_ACPI_RSDP, l->in->rsdp);
        zp[ZP_E820_ENTRIES] = (uint8_t)write_e820(l, zp + ZP_E820_TABLE);
        guest_write(l->mem, LOADER_ZERO_PAGE, zp, sizeof(zp));
}

/* The payload's place in the image, if the header is of a kernel whose payload is known well enough. */
static int find_payload(struct loader *l, const struct bzimage *bz, struct loader_payload *ret)
{
        uint64_t off = le32_load(bz->head + HDR_PAYLOAD_OFFSET), size = le32_load(bz->head + HDR_PAYLOAD_LENGTH);

        if (le16_load(bz->head + HDR_VERSION) < VERSION_UNPACKED)
                return loader_fail(l, -ENOEXEC, "it is older than Linux 5.5");
        if (off > bz->code_size || size > bz->code_size - off)
                return loader_fail(l, -ENOEXEC, "its payload is outside of it");
        *ret = (struct loader_payload){ .off = bz->code_off + off, .size = size, .load = bz->load, .need = bz->end - bz->load,
                .align = le32_load(bz->head + HDR_KERNEL_ALIGNMENT), .relocatable = bz->head[HDR_RELOCATABLE] };
        if (bz->load != le64_load(bz->head + HDR_PREF_ADDRESS))
                return loader_fail(l, -ENOEXEC, "its preferred address is unusual");
        return 0;
}

/* Puts the kernel into memory, unpacked or to unpack itself; *ret_entry is where it starts. */
static int load_code(struct loader *l, struct bzimage *bz, uint64_t *ret_entry)
{
        struct loader_payload payload;
        struct loader_vmlinux vmlinux;

        if (find_payload(l, bz, &payload) == 0 && loader_load_vmlinux(l, &payload, &vmlinux) == 0) {
                bz->randomized = vmlinux.randomized;
                *ret_entry = vmlinux.entry;
                return 0;
        }
        log_debug("loader: the kernel has to unpack itself: %s", l->error);
        *ret_entry = bz->load + ENTRY64_OFFSET;
        return loader_copy(l, bz->code_off, bz->load, bz->code_size);
}

int loader_load_bzimage(struct loader *l)
{
        struct bzimage bz = { .head = l->kernel.head };
        uint64_t entry;
        int r;

        r = check_header(l);
        if (r < 0)
                return r;
        r = find_code(l, &bz);
        if (r < 0)
                return r;
        r = find_place(l, &bz);
        if (r < 0)
                return r;
        r = loader_place_cmdline(l, "", le32_load(bz.head + HDR_CMDLINE_SIZE));
        if (r < 0)
                return r;
        r = loader_place_initrd(l, bz.end, (uint64_t)le32_load(bz.head + HDR_INITRD_ADDR_MAX) + 1);
        if (r < 0)
                return r;
        r = load_code(l, &bz, &entry);
        if (r < 0)
                return r;
        write_zero_page(l, &bz);
        loader_state_long(l, entry);
        l->state->gpr[X86_RSI] = LOADER_ZERO_PAGE;
        return 0;
}
