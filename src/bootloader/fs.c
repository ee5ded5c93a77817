/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/fs.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"

static const struct fs_ops *const known[] = { &fs_ext_ops, &fs_vfat_ops };

/* What else is met on guests' disks, by what stands where. */
static const struct {
        const char *name;
        uint32_t offset;
        const char *magic;
} unsupported[] = {
        { "xfs", 0, "XFSB" },
        { "btrfs", 0x10040, "_BHRfS_M" },
        { "a LUKS container", 0, "LUKS\xba\xbe" },
        { "an LVM physical volume", 512, "LABELONE" },
        { "an LVM physical volume", 0, "LABELONE" },
        { "ntfs", 3, "NTFS    " },
        { "exfat", 3, "EXFAT   " },
        { "iso9660", 0x8001, "CD001" },
        { "squashfs", 0, "hsqs" },
        { "f2fs", 0x400, "\x10\x20\xf5\xf2" },
        { "a RAID member", 0x1000, "\xfc\x4e\x2b\xa9" },
        { "swap", 4086, "SWAPSPACE2" },
        { "a qcow2 image", 0, "QFI\xfb" },
};

static bool has(const struct source *s, uint32_t offset, const char *magic)
{
        char buf[16];
        size_t n = strlen(magic);

        return n <= sizeof(buf) && source_read(s, offset, buf, n) == 0 && memcmp(buf, magic, n) == 0;
}

int fs_open(struct fs *fs, const struct source *bytes, struct pool *pool, struct trouble *trouble)
{
        for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
                int r;

                *fs = (struct fs){ .ops = known[i], .bytes = *bytes, .pool = pool };
                r = known[i]->open(fs, trouble);
                if (r != -EMEDIUMTYPE)
                        return r;
        }
        fs->ops = NULL;
        for (unsigned i = 0; i < ARRAY_SIZE(unsupported); i++) {
                if (has(bytes, unsupported[i].offset, unsupported[i].magic))
                        return trouble_say(trouble, -EMEDIUMTYPE, "%s, which is not supported", unsupported[i].name);
        }
        return trouble_say(trouble, -EMEDIUMTYPE, "no known file system");
}

void fs_close(struct fs *fs)
{
        if (fs->ops)
                fs->ops->close(fs);
        fs->ops = NULL;
}

int fs_read_file(struct fs *fs, const char *path, size_t max, char **ret, size_t *ret_len, struct trouble *trouble)
{
        struct fs_file file;
        int r = fs->ops->open_file(fs, path, &file, trouble);

        if (r < 0)
                return r;
        if (file.size > max) {
                r = trouble_say(trouble, -EFBIG, "%s has %llu bytes, more than %zu", path, (unsigned long long)file.size, max);
        } else {
                *ret = pool_alloc(fs->pool, (size_t)file.size + 1);
                *ret_len = (size_t)file.size;
                r = fs->ops->read(&file, 0, *ret, (size_t)file.size, trouble);
        }
        fs->ops->close_file(&file);
        return r;
}
