/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "storage/image-private.h"

#define HEADER_V2 72
#define HEADER_V3 104
#define L1_BYTES_MAX MiB(32)
#define BACKING_MAX 1023
#define EXTENSION_FORMAT 0xe2792aca
#define EXTENSION_END 0
#define OFFSET_MASK 0x00fffffffffffe00ULL
#define COMPRESSED (1ULL << 62)
/* So much of the L2 tables is looked at. */
#define L2_BYTES_MAX MiB(16)

enum { INCOMPATIBLE_CORRUPT = 1 << 1, INCOMPATIBLE_DATA_FILE = 1 << 2, INCOMPATIBLE_EXTENDED_L2 = 1 << 4, COMPATIBLE_LAZY = 1 << 0 };

struct header {
        uint32_t version, backing_size, cluster_bits, crypt_method, l1_size, refcount_clusters, length;
        uint64_t backing_offset, size, l1_offset, refcount_offset, incompatible, compatible;
};

static bool check_header(const struct image_file *f, const struct header *h, GError **error)
{
        if (h->version < 2 || h->version > 3)
                return image_fail(f, error, "has version %u of the qcow2 format, which is not known", h->version);
        if (h->cluster_bits < 9 || h->cluster_bits > 21)
                return image_fail(f, error, "has a qcow2 header with impossible clusters (2^%u bytes)", h->cluster_bits);
        if (h->l1_size > L1_BYTES_MAX / 8 || h->size > INT64_MAX || h->backing_size > BACKING_MAX ||
            (h->version == 3 && (h->length < HEADER_V3 || h->length > 1U << h->cluster_bits)))
                return image_fail(f, error, "has a qcow2 header with impossible sizes");
        if (h->incompatible & INCOMPATIBLE_DATA_FILE)
                return image_fail(f, error, "keeps its data in another file, which is not supported");
        if (h->incompatible & INCOMPATIBLE_CORRUPT)
                return image_fail(f, error, "is marked corrupt; see qemu-img check -r all");
        return true;
}

static bool read_header(const struct image_file *f, struct header *h, GError **error)
{
        uint8_t b[HEADER_V3] = { 0 };

        if (!image_pread(f, b, HEADER_V2, 0, error))
                return false;
        *h = (struct header){
                .version = be32_load(b + 4),
                .backing_offset = be64_load(b + 8),
                .backing_size = be32_load(b + 16),
                .cluster_bits = be32_load(b + 20),
                .size = be64_load(b + 24),
                .crypt_method = be32_load(b + 32),
                .l1_size = be32_load(b + 36),
                .l1_offset = be64_load(b + 40),
                .refcount_offset = be64_load(b + 48),
                .refcount_clusters = be32_load(b + 56),
                .length = HEADER_V2,
        };
        if (h->version == 3) {
                if (!image_pread(f, b + HEADER_V2, HEADER_V3 - HEADER_V2, HEADER_V2, error))
                        return false;
                h->incompatible = be64_load(b + 72);
                h->compatible = be64_load(b + 80);
                h->length = be32_load(b + 100);
        }
        return check_header(f, h, error);
}

static bool read_text(const struct image_file *f, uint64_t offset, uint32_t n, char **ret, GError **error)
{
        char text[BACKING_MAX + 1] = "";

        if (n > BACKING_MAX)
                return image_fail(f, error, "has a qcow2 header with impossible sizes");
        if (!image_pread(f, text, n, offset, error))
                return false;
        *ret = g_strdup(text);
        return true;
}

/* The format of the backing file is in an extension behind the header. */
static bool read_extensions(const struct image_file *f, const struct header *h, DomusImage *image, GError **error)
{
        uint64_t end = h->backing_offset ? h->backing_offset : 1U << h->cluster_bits;

        for (uint64_t at = h->length; at + 8 <= end;) {
                uint8_t b[8];
                uint32_t n;

                if (!image_pread(f, b, sizeof(b), at, error))
                        return false;
                n = be32_load(b + 4);
                at += 8;
                if (be32_load(b) == EXTENSION_END || n > end - at)
                        return true;
                if (be32_load(b) == EXTENSION_FORMAT && !image->backing_format && !read_text(f, at, n, &image->backing_format, error))
                        return false;
                at += ALIGN_UP((uint64_t)n, 8);
        }
        return true;
}

static bool read_backing(const struct image_file *f, const struct header *h, DomusImage *image, GError **error)
{
        char *name = NULL;

        if (!h->backing_offset || !h->backing_size)
                return true;
        return read_text(f, h->backing_offset, h->backing_size, &name, error) && image_set_backing(f, image, name, error) &&
               read_extensions(f, h, image, error);
}

/* --- That the file has what the tables point at --- */

static bool inside(const struct image_file *f, uint64_t offset, uint64_t n)
{
        return offset <= f->size && n <= f->size - offset;
}

static bool shorter(const struct image_file *f, GError **error)
{
        return image_fail(f, error, "is shorter than its header says");
}

/* Data may end within the last cluster: only a cluster that begins behind the end was lost. */
static bool check_l2(const struct image_file *f, const struct header *h, const uint8_t *table, size_t n, GError **error)
{
        size_t entry = h->incompatible & INCOMPATIBLE_EXTENDED_L2 ? 16 : 8;

        for (size_t i = 0; i < n; i += entry) {
                uint64_t v = be64_load(table + i);

                if (!(v & COMPRESSED) && (v & OFFSET_MASK) >= f->size && (v & OFFSET_MASK))
                        return shorter(f, error);
        }
        return true;
}

static bool check_tables(const struct image_file *f, const struct header *h, const uint8_t *l1, GError **error)
{
        size_t cluster = 1U << h->cluster_bits;
        g_autofree uint8_t *l2 = g_malloc(cluster);
        uint64_t looked_at = 0;

        for (uint32_t i = 0; i < h->l1_size; i++) {
                uint64_t at = be64_load(l1 + 8 * (size_t)i) & OFFSET_MASK;

                if (!at)
                        continue;
                if (!inside(f, at, cluster))
                        return shorter(f, error);
                looked_at += cluster;
                if (f->deep && looked_at <= L2_BYTES_MAX && (!image_pread(f, l2, cluster, at, error) || !check_l2(f, h, l2, cluster, error)))
                        return false;
        }
        return true;
}

static bool check_size(const struct image_file *f, const struct header *h, GError **error)
{
        g_autofree uint8_t *l1 = g_malloc(8 * (size_t)h->l1_size + 1);

        if (!inside(f, h->l1_offset, 8 * (uint64_t)h->l1_size) || !inside(f, h->refcount_offset, (uint64_t)h->refcount_clusters << h->cluster_bits))
                return shorter(f, error);
        return image_pread(f, l1, 8 * (size_t)h->l1_size, h->l1_offset, error) && check_tables(f, h, l1, error);
}

bool image_read_qcow2(const struct image_file *f, DomusImage *ret, GError **error)
{
        struct header h;

        if (!read_header(f, &h, error))
                return false;
        ret->virtual_size = h.size;
        ret->encrypted = h.crypt_method != 0;
        ret->compat = g_strdup(h.version == 2 ? "0.10" : "1.1");
        ret->cluster_size = 1U << h.cluster_bits;
        ret->lazy_refcounts = h.compatible & COMPATIBLE_LAZY;
        ret->extended_l2 = h.incompatible & INCOMPATIBLE_EXTENDED_L2;
        return read_backing(f, &h, ret, error) && check_size(f, &h, error);
}
