/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/partition.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"

#define SECTOR 512
#define LOGICAL_MAX 60
#define MBR_TYPE_GPT 0xee

static void add(struct partition_table *t, const struct source *image, unsigned number, uint64_t start, uint64_t size, bool active)
{
        struct partition *p = &t->parts[t->n];

        if (t->n == PARTITIONS_MAX || size == 0 || start >= image->size)
                return;
        p->number = number;
        p->active = active;
        p->bytes = source_part(image, start, size);
        t->n++;
}

/* --- GPT --- */

#define GPT_HEADER_MIN 92
#define GPT_ENTRY_MIN 128
#define GPT_ENTRIES_MAX 1024

struct gpt {
        uint64_t entries;
        uint32_t n, entry_size, entries_crc;
};

/* The CRC-32 of IEEE 802.3, bit by bit: it is used on a few KiB. */
static uint32_t crc32_add(uint32_t crc, const uint8_t *p, size_t n)
{
        while (n--) {
                crc ^= *p++;
                for (int bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        return crc;
}

/* The header in the sector lba; -EINVAL if there is none, -EBADMSG if it is damaged. */
static int gpt_header(const struct source *image, unsigned sector, uint64_t lba, struct gpt *g)
{
        uint8_t h[SECTOR];
        uint32_t size, crc;

        if (lba > UINT64_MAX / sector || source_read(image, lba * sector, h, sizeof(h)) < 0 || memcmp(h, "EFI PART", 8) != 0)
                return -EINVAL;
        size = le32_load(h + 12);
        crc = le32_load(h + 16);
        if (size < GPT_HEADER_MIN || size > sizeof(h) || le64_load(h + 24) != lba)
                return -EBADMSG;
        le32_store(h + 16, 0);
        if (~crc32_add(UINT32_MAX, h, size) != crc)
                return -EBADMSG;
        g->entries = le64_load(h + 72);
        g->n = le32_load(h + 80);
        g->entry_size = le32_load(h + 84);
        g->entries_crc = le32_load(h + 88);
        if (g->entries > UINT64_MAX / sector || g->n > GPT_ENTRIES_MAX || g->entry_size < GPT_ENTRY_MIN || g->entry_size > SECTOR)
                return -EBADMSG;
        g->entries *= sector;
        return 0;
}

static void gpt_entry(struct partition_table *t, const struct source *image, unsigned sector, unsigned number, const uint8_t *e)
{
        static const uint8_t unused[16];
        uint64_t first = le64_load(e + 32), last = le64_load(e + 40);

        if (memcmp(e, unused, sizeof(unused)) == 0 || last < first || first > image->size / sector)
                return;
        if (last > image->size / sector)
                last = image->size / sector;
        add(t, image, number, first * sector, (last - first + 1) * sector, le64_load(e + 48) & 1 << 2);
}

static int gpt_entries(struct partition_table *t, const struct source *image, unsigned sector, const struct gpt *g)
{
        uint32_t crc = UINT32_MAX;
        uint8_t e[SECTOR];

        t->n = 0;
        for (uint32_t i = 0; i < g->n; i++) {
                if (source_read(image, g->entries + (uint64_t)i * g->entry_size, e, g->entry_size) < 0)
                        return -EBADMSG;
                crc = crc32_add(crc, e, g->entry_size);
                gpt_entry(t, image, sector, i + 1, e);
        }
        return ~crc == g->entries_crc ? 0 : -EBADMSG;
}

static int gpt_copy(struct partition_table *t, const struct source *image, unsigned sector, uint64_t lba)
{
        struct gpt g;
        int r = gpt_header(image, sector, lba, &g);

        return r < 0 ? r : gpt_entries(t, image, sector, &g);
}

/* -EINVAL: there is none. */
static int gpt_read(struct partition_table *t, const struct source *image, struct trouble *trouble)
{
        static const unsigned sectors[] = { SECTOR, 4096 };
        bool damaged = false;

        t->kind = "gpt";
        for (unsigned i = 0; i < ARRAY_SIZE(sectors); i++) {
                uint64_t n = image->size / sectors[i];
                int first = gpt_copy(t, image, sectors[i], 1);

                if (first == 0 || (n > 1 && gpt_copy(t, image, sectors[i], n - 1) == 0))
                        return 0;
                damaged |= first == -EBADMSG;
        }
        return damaged ? trouble_say(trouble, -EBADMSG, "both copies of the GUID partition table are damaged") : -EINVAL;
}

/* --- MBR --- */

struct mbr_entry {
        uint8_t status, type;
        uint32_t start, size; /* sectors */
};

static struct mbr_entry mbr_entry(const uint8_t *sector, unsigned i)
{
        const uint8_t *e = sector + 446 + i * 16;

        return (struct mbr_entry){ e[0], e[4], le32_load(e + 8), le32_load(e + 12) };
}

static bool is_extended(uint8_t type)
{
        return type == 0x05 || type == 0x0f || type == 0x85;
}

static bool signed_sector(const struct source *image, uint64_t lba, uint8_t *sector)
{
        return source_read(image, lba * SECTOR, sector, SECTOR) == 0 && sector[510] == 0x55 && sector[511] == 0xaa;
}

/* A file system's boot sector ends in the same two bytes. */
static bool is_mbr(const uint8_t *sector)
{
        bool used = false;

        if (memcmp(sector + 54, "FAT", 3) == 0 || memcmp(sector + 82, "FAT32", 5) == 0 || memcmp(sector + 3, "NTFS", 4) == 0)
                return false;
        for (unsigned i = 0; i < 4; i++) {
                struct mbr_entry e = mbr_entry(sector, i);

                if (e.status & 0x7f)
                        return false;
                used |= e.type && e.start && e.size;
        }
        return used;
}

/* A chain of sectors, each with one logical partition and the way to the next, counted from the first. */
static void logical_read(struct partition_table *t, const struct source *image, uint32_t base)
{
        uint64_t at = base;
        uint8_t sector[SECTOR];

        for (unsigned i = 0; i < LOGICAL_MAX && signed_sector(image, at, sector); i++) {
                struct mbr_entry part = mbr_entry(sector, 0), next = mbr_entry(sector, 1);

                if (part.type && part.start)
                        add(t, image, 5 + i, (at + part.start) * SECTOR, (uint64_t)part.size * SECTOR, part.status & 0x80);
                if (!is_extended(next.type) || next.start == 0)
                        return;
                at = (uint64_t)base + next.start;
        }
}

static void mbr_read(struct partition_table *t, const struct source *image, const uint8_t *sector)
{
        t->kind = "msdos";
        for (unsigned i = 0; i < 4; i++) {
                struct mbr_entry e = mbr_entry(sector, i);

                if (e.type && e.start && !is_extended(e.type))
                        add(t, image, i + 1, (uint64_t)e.start * SECTOR, (uint64_t)e.size * SECTOR, e.status & 0x80);
        }
        for (unsigned i = 0; i < 4; i++) {
                struct mbr_entry e = mbr_entry(sector, i);

                if (is_extended(e.type) && e.start) {
                        logical_read(t, image, e.start);
                        return;
                }
        }
}

int partition_table_read(struct partition_table *t, const struct source *image, struct trouble *trouble)
{
        uint8_t sector[SECTOR];
        int r;

        memset(t, 0, sizeof(*t));
        if (image->size < SECTOR)
                return trouble_say(trouble, -ENODATA, "it has only %llu bytes", (unsigned long long)image->size);
        r = source_read(image, 0, sector, sizeof(sector));
        if (r < 0)
                return trouble_say(trouble, r, "cannot read: %s", strerror(-r));
        r = gpt_read(t, image, trouble);
        if (r != -EINVAL)
                return r;
        t->n = 0;
        if (sector[510] == 0x55 && sector[511] == 0xaa && is_mbr(sector)) {
                mbr_read(t, image, sector);
                return 0;
        }
        t->kind = "none";
        add(t, image, 0, 0, image->size, false);
        return 0;
}
