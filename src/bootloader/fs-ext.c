/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ext2, ext3 and ext4, by libext2fs on our own channel. A journal that was not played back is not looked at. */
#include "bootloader/fs.h"

#include <errno.h>
#include <et/com_err.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define SUPERBLOCK 1024
#define MAGIC 0xef53

/* --- The channel: blocks of a source. The library's objects are its own, on the heap. --- */

static struct struct_io_manager manager;

static errcode_t channel_open(const char *name, int flags, io_channel *ret)
{
        io_channel c = calloc(1, sizeof(*c));
        void *source;

        if (!c || sscanf(name, "%p", &source) != 1) {
                free(c);
                return EXT2_ET_NO_MEMORY;
        }
        c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
        c->manager = &manager;
        c->name = strdup(name);
        c->block_size = 1024;
        c->refcount = 1;
        c->private_data = source;
        *ret = c;
        return 0;
}

static errcode_t channel_close(io_channel c)
{
        if (--c->refcount > 0)
                return 0;
        free(c->name);
        free(c);
        return 0;
}

static errcode_t channel_set_blksize(io_channel c, int size)
{
        if (size < 512 || size > 65536)
                return EXT2_ET_CORRUPT_SUPERBLOCK;
        c->block_size = size;
        return 0;
}

/* A negative count is one of bytes. */
static errcode_t channel_read64(io_channel c, unsigned long long block, int count, void *buf)
{
        unsigned long long bs = (unsigned)c->block_size, n = count < 0 ? 0 - (unsigned long long)count : (unsigned)count * bs;

        if (block > UINT64_MAX / bs || source_read(c->private_data, block * bs, buf, n) < 0)
                return EXT2_ET_SHORT_READ;
        return 0;
}

static errcode_t channel_read(io_channel c, unsigned long block, int count, void *buf)
{
        return channel_read64(c, block, count, buf);
}

static errcode_t channel_write64(io_channel c, unsigned long long block, int count, const void *buf)
{
        return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_write(io_channel c, unsigned long block, int count, const void *buf)
{
        return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_flush(io_channel c)
{
        return 0;
}

static struct struct_io_manager manager = {
        .magic = EXT2_ET_MAGIC_IO_MANAGER,
        .name = "domus source",
        .open = channel_open,
        .close = channel_close,
        .set_blksize = channel_set_blksize,
        .read_blk = channel_read,
        .write_blk = channel_write,
        .flush = channel_flush,
        .read_blk64 = channel_read64,
        .write_blk64 = channel_write64,
};

/* --- The file system --- */

static int complain(struct trouble *trouble, const char *what, errcode_t e)
{
        return trouble_say(trouble, -EIO, "%s: %s", what, error_message(e));
}

static void describe(struct fs *fs, const struct ext2_super_block *sb)
{
        const uint8_t *u = sb->s_uuid;

        snprintf(fs->label, sizeof(fs->label), "%.*s", (int)sizeof(sb->s_volume_name), (const char *)sb->s_volume_name);
        snprintf(fs->uuid, sizeof(fs->uuid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
                u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

/* The library allocates what the superblock's numbers ask for: they must fit what is there. The group descriptors lie within the image. */
static int check_size(const struct fs *fs, const uint8_t *sb, struct trouble *trouble)
{
        uint64_t blocks = le32_load(sb + 4), log = le32_load(sb + 24), per_group = le32_load(sb + 32), size;

        if (le32_load(sb + 96) & EXT4_FEATURE_INCOMPAT_64BIT)
                blocks |= (uint64_t)le32_load(sb + 0x150) << 32;
        if (log > 6 || per_group < 8)
                return trouble_say(trouble, -EIO, "ext4: the superblock is damaged");
        size = UINT64_C(1024) << log;
        if (blocks > fs->bytes.size / size && blocks - fs->bytes.size / size > blocks / 64)
                return trouble_say(trouble, -EIO, "ext4: its superblock says %llu blocks of %llu bytes, but only %llu bytes are there",
                        (unsigned long long)blocks, (unsigned long long)size, (unsigned long long)fs->bytes.size);
        if (blocks / per_group > fs->bytes.size / 32)
                return trouble_say(trouble, -EIO, "ext4: the superblock is damaged");
        return 0;
}

static int ext_open(struct fs *fs, struct trouble *trouble)
{
        uint8_t sb[1024];
        char name[32];
        ext2_filsys ext;
        errcode_t e;
        int r;

        if (source_read(&fs->bytes, SUPERBLOCK, sb, sizeof(sb)) < 0 || le16_load(sb + 56) != MAGIC)
                return -EMEDIUMTYPE;
        r = check_size(fs, sb, trouble);
        if (r < 0)
                return r;
        initialize_ext2_error_table();
        snprintf(name, sizeof(name), "%p", (void *)&fs->bytes);
        e = ext2fs_open2(name, NULL, EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP, 0, 0, &manager, &ext);
        if (e)
                return complain(trouble, "ext4", e);
        describe(fs, ext->super);
        fs->private = ext;
        return 0;
}

static void ext_close(struct fs *fs)
{
        ext2_filsys ext = fs->private;

        ext2fs_close_free(&ext);
}

static bool is_missing(errcode_t e)
{
        return e == EXT2_ET_FILE_NOT_FOUND || e == EXT2_ET_NO_DIRECTORY || e == EXT2_ET_SYMLINK_LOOP;
}

static int lookup(struct fs *fs, const char *path, ext2_ino_t *ino, struct ext2_inode *inode, struct trouble *trouble)
{
        errcode_t e = ext2fs_namei_follow(fs->private, EXT2_ROOT_INO, EXT2_ROOT_INO, path, ino);

        if (!e)
                e = ext2fs_read_inode(fs->private, *ino, inode);
        if (e)
                return is_missing(e) ? -ENOENT : complain(trouble, path, e);
        return 0;
}

static int ext_open_file(struct fs *fs, const char *path, struct fs_file *file, struct trouble *trouble)
{
        struct ext2_inode inode;
        ext2_file_t f;
        ext2_ino_t ino;
        errcode_t e;
        int r = lookup(fs, path, &ino, &inode, trouble);

        if (r < 0)
                return r;
        if (!LINUX_S_ISREG(inode.i_mode))
                return -ENOENT;
        e = ext2fs_file_open(fs->private, ino, 0, &f);
        if (e)
                return complain(trouble, path, e);
        *file = (struct fs_file){ .fs = fs, .size = EXT2_I_SIZE(&inode), .private = f };
        return 0;
}

static int ext_read(struct fs_file *file, uint64_t offset, void *buf, size_t n, struct trouble *trouble)
{
        errcode_t e = ext2fs_file_llseek(file->private, offset, EXT2_SEEK_SET, NULL);

        while (!e && n) {
                unsigned want = n < MiB(1) ? (unsigned)n : MiB(1), got = 0;

                e = ext2fs_file_read(file->private, buf, want, &got);
                if (!e && (got == 0 || got > want))
                        return trouble_say(trouble, -EIO, "a file ends early");
                buf = (char *)buf + got;
                n -= got;
        }
        return e ? complain(trouble, "ext4", e) : 0;
}

static void ext_close_file(struct fs_file *file)
{
        ext2fs_file_close(file->private);
}

struct listing {
        void (*each)(const char *name, void *opaque);
        void *opaque;
        unsigned n;
};

static int list_entry(struct ext2_dir_entry *entry, int offset, int block_size, char *buf, void *opaque)
{
        struct listing *l = opaque;
        char name[EXT2_NAME_LEN + 1];
        int n = ext2fs_dirent_name_len(entry);

        memcpy(name, entry->name, (size_t)n);
        name[n] = 0;
        l->each(name, l->opaque);
        return ++l->n < FS_NAMES_MAX ? 0 : DIRENT_ABORT;
}

static int ext_list(struct fs *fs, const char *path, void (*each)(const char *name, void *opaque), void *opaque, struct trouble *trouble)
{
        struct listing l = { each, opaque, 0 };
        struct ext2_inode inode;
        ext2_ino_t ino;
        errcode_t e;
        int r = lookup(fs, path, &ino, &inode, trouble);

        if (r < 0)
                return r;
        if (!LINUX_S_ISDIR(inode.i_mode))
                return -ENOENT;
        e = ext2fs_dir_iterate(fs->private, ino, 0, NULL, list_entry, &l);
        return e ? complain(trouble, path, e) : 0;
}

const struct fs_ops fs_ext_ops = {
        .name = "ext4",
        .open = ext_open,
        .open_file = ext_open_file,
        .read = ext_read,
        .close_file = ext_close_file,
        .list = ext_list,
        .close = ext_close,
};
