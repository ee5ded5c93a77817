/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT12, FAT16 and FAT32 with long names (Microsoft's FAT specification 1.03 of 2000, and ECMA-107). */
#include "bootloader/fs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"

#define DIR_ENTRY 32
#define DIR_ENTRIES_MAX 65536
#define NAME_MAX_BYTES 768 /* 255 UTF-16 units as UTF-8 */
#define LONG_PARTS_MAX 20

enum { ATTR_VOLUME = 0x08, ATTR_DIRECTORY = 0x10, ATTR_LONG = 0x0f };

struct vfat {
        struct fs *fs;
        unsigned bits; /* of an entry of the allocation table */
        uint32_t cluster_size, clusters, root_cluster;
        uint64_t fat, root, root_size, data; /* bytes */
};

/* A position in a file or folder: the cluster that holds at. The root folder of FAT12 and FAT16 is no chain: cluster 0. */
struct chain {
        struct vfat *v;
        uint32_t first, cluster;
        uint64_t at; /* of the cluster's first byte */
};

struct dirent {
        char name[NAME_MAX_BYTES + 1], short_name[13];
        uint8_t attributes;
        uint32_t cluster, size;
};

struct file {
        struct chain chain;
};

static int damaged(struct trouble *trouble)
{
        return trouble_say(trouble, -EIO, "vfat: the allocation table is damaged");
}

/* --- The boot sector --- */

static bool power_of_two(uint32_t n)
{
        return n && !(n & (n - 1));
}

/* The number of clusters alone decides which FAT it is. */
static int vfat_layout(struct vfat *v, const uint8_t *b)
{
        uint32_t sector = le16_load(b + 11), per_cluster = b[13], reserved = le16_load(b + 14), fats = b[16], entries = le16_load(b + 17);
        uint64_t total = le16_load(b + 19) ? le16_load(b + 19) : le32_load(b + 32), fat = le16_load(b + 22), meta;

        if ((b[0] != 0xeb && b[0] != 0xe9) || !power_of_two(sector) || sector < 512 || sector > 4096 || !power_of_two(per_cluster) ||
                reserved == 0 || fats == 0 || fats > 2 || b[21] < 0xf0)
                return -EMEDIUMTYPE;
        if (fat == 0)
                fat = le32_load(b + 36);
        v->fat = (uint64_t)reserved * sector;
        v->root = v->fat + fats * fat * sector;
        v->root_size = (uint64_t)entries * DIR_ENTRY;
        v->data = v->root + (v->root_size + sector - 1) / sector * sector;
        v->cluster_size = sector * per_cluster;
        meta = v->data / sector;
        if (fat == 0 || total <= meta || (total - meta) / per_cluster > 0x0ffffff5)
                return -EMEDIUMTYPE;
        v->clusters = (uint32_t)((total - meta) / per_cluster);
        v->bits = v->clusters < 4085 ? 12 : v->clusters < 65525 ? 16 : 32;
        if ((uint64_t)(v->clusters + 2) * v->bits / 8 > fat * sector || (v->bits == 32) != (entries == 0))
                return -EMEDIUMTYPE;
        v->root_cluster = v->bits == 32 ? le32_load(b + 44) : 0;
        return 0;
}

static int vfat_open(struct fs *fs, struct trouble *trouble)
{
        struct vfat v = { .fs = fs };
        uint8_t b[512];
        const uint8_t *id;

        if (source_read(&fs->bytes, 0, b, sizeof(b)) < 0 || b[510] != 0x55 || b[511] != 0xaa || vfat_layout(&v, b) < 0)
                return -EMEDIUMTYPE;
        id = b + (v.bits == 32 ? 66 : 38);
        if (*id == 0x29) {
                int n = 11;

                snprintf(fs->uuid, sizeof(fs->uuid), "%02X%02X-%02X%02X", id[4], id[3], id[2], id[1]);
                while (n && id[4 + n] == ' ')
                        n--;
                snprintf(fs->label, sizeof(fs->label), "%.*s", n, (const char *)id + 5);
        }
        fs->private = pool_alloc(fs->pool, sizeof(v));
        memcpy(fs->private, &v, sizeof(v));
        return 0;
}

static void vfat_close(struct fs *fs)
{
}

/* --- Chains of clusters --- */

/* The cluster behind another; 0 at the end of the chain. */
static int next_cluster(struct vfat *v, uint32_t cluster, uint32_t *ret)
{
        uint8_t e[4] = { 0 };
        uint32_t next;

        if (source_read(&v->fs->bytes, v->fat + (uint64_t)cluster * v->bits / 8, e, v->bits == 32 ? 4 : 2) < 0)
                return -EIO;
        next = le32_load(e);
        if (v->bits == 12)
                next = (cluster & 1 ? next >> 4 : next) & 0xfff;
        else if (v->bits == 32)
                next &= 0x0fffffff;
        if (next >= (v->bits == 12 ? 0xff8u : v->bits == 16 ? 0xfff8u : 0x0ffffff8u))
                next = 0;
        else if (next < 2 || next - 2 >= v->clusters)
                return -EIO;
        *ret = next;
        return 0;
}

/* Goes on to the cluster that holds offset. A chain that is longer than the disk is a ring. */
static int chain_seek(struct chain *c, uint64_t offset)
{
        if (c->cluster == 0 || offset < c->at) {
                c->cluster = c->first;
                c->at = 0;
        }
        if (c->cluster < 2 || c->cluster - 2 >= c->v->clusters || offset / c->v->cluster_size >= c->v->clusters)
                return -EIO;
        while (offset - c->at >= c->v->cluster_size) {
                uint32_t next;
                int r = next_cluster(c->v, c->cluster, &next);

                if (r < 0)
                        return r;
                if (next == 0)
                        return -ENODATA;
                c->cluster = next;
                c->at += c->v->cluster_size;
        }
        return 0;
}

/* -ENODATA behind the end of the chain. */
static int chain_read(struct chain *c, uint64_t offset, void *buf, size_t n)
{
        while (n) {
                int r = chain_seek(c, offset);
                uint64_t within = offset - c->at, have = c->v->cluster_size - within;
                size_t part = have < n ? (size_t)have : n;

                if (r < 0)
                        return r;
                r = source_read(&c->v->fs->bytes, c->v->data + (uint64_t)(c->cluster - 2) * c->v->cluster_size + within, buf, part);
                if (r < 0)
                        return -EIO;
                buf = (char *)buf + part;
                offset += part;
                n -= part;
        }
        return 0;
}

/* --- Folders --- */

struct dir {
        struct chain chain;
        bool fixed_root;
        uint32_t index;
        /* A long name comes in pieces, the last first, before the short one. */
        uint16_t units[LONG_PARTS_MAX * 13];
        unsigned parts, wanted;
        uint8_t checksum;
};

static void dir_start(struct dir *d, struct vfat *v, uint32_t cluster)
{
        *d = (struct dir){ .chain = { .v = v, .first = cluster ? cluster : v->root_cluster }, .fixed_root = !cluster && v->bits != 32 };
}

static int dir_raw(struct dir *d, uint8_t *e)
{
        struct vfat *v = d->chain.v;
        uint64_t at = (uint64_t)d->index * DIR_ENTRY;

        if (d->index == DIR_ENTRIES_MAX)
                return -ENODATA;
        d->index++;
        if (!d->fixed_root)
                return chain_read(&d->chain, at, e, DIR_ENTRY);
        return at < v->root_size ? source_read(&v->fs->bytes, v->root + at, e, DIR_ENTRY) : -ENODATA;
}

static void long_part(struct dir *d, const uint8_t *e)
{
        static const uint8_t at[13] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
        unsigned n = e[0] & 0x3f;

        if (e[0] & 0x40) {
                memset(d->units, 0, sizeof(d->units));
                d->parts = d->wanted = n <= LONG_PARTS_MAX ? n : 0;
                d->checksum = e[13];
        }
        if (n == 0 || n != d->wanted || e[13] != d->checksum) {
                d->parts = 0;
                return;
        }
        for (unsigned i = 0; i < 13; i++)
                d->units[(n - 1) * 13 + i] = le16_load(e + at[i]);
        d->wanted--;
}

static uint8_t short_checksum(const uint8_t *e)
{
        uint8_t sum = 0;

        for (unsigned i = 0; i < 11; i++)
                sum = (uint8_t)((sum >> 1 | sum << 7) + e[i]);
        return sum;
}

/* UTF-16 to UTF-8; half a pair becomes "?". */
static size_t put_utf8(char *out, uint32_t c)
{
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c >= 0xd800 && c < 0xe000) {
                out[0] = '?';
                return 1;
        }
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
}

static void long_name(const struct dir *d, char *out)
{
        size_t n = 0;

        for (unsigned i = 0; i < d->parts * 13 && i < 255 && d->units[i] && d->units[i] != 0xffff; i++)
                n += put_utf8(out + n, d->units[i]);
        out[n] = 0;
}

static void short_name(const uint8_t *e, char *out)
{
        size_t n = 0;

        for (unsigned i = 0; i < 8 && e[i] != ' '; i++)
                out[n++] = (char)(i == 0 && e[i] == 0x05 ? 0xe5 : e[i]);
        if (e[8] != ' ')
                out[n++] = '.';
        for (unsigned i = 8; i < 11 && e[i] != ' '; i++)
                out[n++] = (char)e[i];
        out[n] = 0;
}

/* The next entry; -ENODATA behind the last. */
static int dir_next(struct dir *d, struct dirent *ret)
{
        uint8_t e[DIR_ENTRY];

        for (;;) {
                int r = dir_raw(d, e);

                if (r < 0)
                        return r;
                if (e[0] == 0)
                        return -ENODATA;
                if (e[0] != 0xe5 && (e[11] & 0x3f) == ATTR_LONG) {
                        long_part(d, e);
                        continue;
                }
                if (e[0] != 0xe5 && !(e[11] & ATTR_VOLUME))
                        break;
                d->parts = 0;
        }
        short_name(e, ret->short_name);
        if (d->parts && d->wanted == 0 && d->checksum == short_checksum(e))
                long_name(d, ret->name);
        else
                strcpy(ret->name, ret->short_name);
        d->parts = 0;
        ret->attributes = e[11];
        ret->cluster = le16_load(e + 26) | (d->chain.v->bits == 32 ? (uint32_t)le16_load(e + 20) << 16 : 0);
        ret->size = le32_load(e + 28);
        return 0;
}

static int dir_find(struct vfat *v, uint32_t cluster, const char *name, size_t n, struct dirent *ret)
{
        struct dir d;
        int r;

        dir_start(&d, v, cluster);
        while ((r = dir_next(&d, ret)) == 0) {
                if ((strlen(ret->name) == n && strncasecmp(ret->name, name, n) == 0) ||
                        (strlen(ret->short_name) == n && strncasecmp(ret->short_name, name, n) == 0))
                        return 0;
        }
        return r == -ENODATA ? -ENOENT : r;
}

static int lookup(struct vfat *v, const char *path, struct dirent *ret, struct trouble *trouble)
{
        *ret = (struct dirent){ .attributes = ATTR_DIRECTORY };
        for (;;) {
                size_t n;
                int r;

                path += strspn(path, "/");
                n = strcspn(path, "/");
                if (n == 0)
                        return 0;
                if (!(ret->attributes & ATTR_DIRECTORY))
                        return -ENOENT;
                r = dir_find(v, ret->cluster, path, n, ret);
                if (r < 0)
                        return r == -ENOENT ? r : damaged(trouble);
                path += n;
        }
}

/* --- Files --- */

static int vfat_open_file(struct fs *fs, const char *path, struct fs_file *file, struct trouble *trouble)
{
        struct vfat *v = fs->private;
        struct dirent e;
        struct file *f;
        int r = lookup(v, path, &e, trouble);

        if (r < 0)
                return r;
        if (e.attributes & ATTR_DIRECTORY)
                return -ENOENT;
        f = pool_alloc(fs->pool, sizeof(*f));
        f->chain = (struct chain){ .v = v, .first = e.cluster };
        *file = (struct fs_file){ .fs = fs, .size = e.size, .private = f };
        return 0;
}

static int vfat_read(struct fs_file *file, uint64_t offset, void *buf, size_t n, struct trouble *trouble)
{
        struct file *f = file->private;

        return n && chain_read(&f->chain, offset, buf, n) < 0 ? damaged(trouble) : 0;
}

static void vfat_close_file(struct fs_file *file)
{
}

static int vfat_list(struct fs *fs, const char *path, void (*each)(const char *name, void *opaque), void *opaque, struct trouble *trouble)
{
        struct dirent e;
        struct dir d;
        int r = lookup(fs->private, path, &e, trouble);

        if (r < 0)
                return r;
        if (!(e.attributes & ATTR_DIRECTORY))
                return -ENOENT;
        dir_start(&d, fs->private, e.cluster);
        for (unsigned n = 0; n < FS_NAMES_MAX; n++) {
                r = dir_next(&d, &e);
                if (r < 0)
                        break;
                each(e.name, opaque);
        }
        return r < 0 && r != -ENODATA ? damaged(trouble) : 0;
}

const struct fs_ops fs_vfat_ops = {
        .name = "vfat",
        .open = vfat_open,
        .open_file = vfat_open_file,
        .read = vfat_read,
        .close_file = vfat_close_file,
        .list = vfat_list,
        .close = vfat_close,
};
