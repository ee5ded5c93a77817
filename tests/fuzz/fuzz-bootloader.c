/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest wrote: its disk, and its boot configuration. The first byte chooses: d for a disk, g for grub.cfg, x for extlinux.conf,
 * b for an entry of the Boot Loader Specification, e for GRUB's environment. */
#include "smoke.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootloader/boot.h"
#include "bootloader/json.h"
#include "fuzz-boot-images.h"

static void check_disk(const uint8_t *data, size_t size)
{
        static const struct boot_request requests[] = {
                { .partition = -1 },
                { .partition = -1, .list = true },
                { .partition = -1, .kernel = "/boot/k", .initrd = "/boot/i" },
        };
        const struct boot_output output = { -1, -1 };
        struct source image = { .fd = -1, .mem = data, .size = size };

        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
                struct pool pool = { 0 };
                struct text answer = { .pool = &pool };
                struct trouble trouble = { "" };

                if (boot(&image, &requests[i], &output, &answer, &trouble) < 0 && !*trouble.text)
                        abort();
                pool_finish(&pool);
        }
}

/* A file system whose files are all the same. */
struct text_file {
        const uint8_t *data;
        size_t size;
};

static int open_file(struct fs *fs, const char *path, struct fs_file *file, struct trouble *trouble)
{
        const struct text_file *f = fs->private;

        *file = (struct fs_file){ .fs = fs, .size = f->size };
        return 0;
}

static int read_file(struct fs_file *file, uint64_t offset, void *buf, size_t n, struct trouble *trouble)
{
        const struct text_file *f = file->fs->private;

        memcpy(buf, f->data + offset, n);
        return 0;
}

static void close_file(struct fs_file *file)
{
}

static int list(struct fs *fs, const char *path, void (*each)(const char *name, void *opaque), void *opaque, struct trouble *trouble)
{
        each("one.conf", opaque);
        each("two-2.conf", opaque);
        return 0;
}

static const struct fs_ops text_ops = { .name = "text", .open_file = open_file, .read = read_file, .close_file = close_file, .list = list };

static int read_config(struct config *c, char kind, const char *text, size_t size)
{
        static const char env[] = "load_env\nset default=$saved_entry\nmenuentry $a { linux $b $c \"$d\"; }\n";

        switch (kind) {
        case 'g':
                return grub_read(c, text, size);
        case 'e':
                return grub_read(c, env, sizeof(env) - 1);
        case 'x':
                return extlinux_read(c, text, size);
        default:
                c->path = "/loader/entries/";
                return bls_read(c, NULL, NULL);
        }
}

static void check_menu(const struct menu *m)
{
        struct text t = { .pool = m->pool };
        int at = menu_default(m);

        if (at >= 0 && m->entries[at].submenu)
                abort();
        for (unsigned i = 0; i < m->n; i++) {
                json_string(&t, m->entries[i].title);
                json_string(&t, m->entries[i].args);
                if (m->entries[i].parent >= (int)i || m->entries[i].n_initrds > MENU_INITRDS_MAX)
                        abort();
        }
}

static void check_config(const uint8_t *data, size_t size)
{
        struct pool pool = { 0 };
        struct trouble trouble = { "" };
        struct text_file file = { data + 1, size - 1 };
        struct fs fs = { .ops = &text_ops, .pool = &pool, .private = &file };
        struct menu *menu = pool_alloc(&pool, sizeof(*menu));
        struct config c = { .fs = &fs, .menu = menu, .path = "/boot/grub/grub.cfg", .trouble = &trouble };
        char *text = pool_strndup(&pool, (const char *)data + 1, size - 1);

        menu->pool = &pool;
        if (read_config(&c, (char)*data, text, size - 1) < 0 && !*trouble.text)
                abort();
        check_menu(menu);
        pool_finish(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        if (*data == 'd')
                check_disk(data + 1, size - 1);
        else
                check_config(data, size);
        return 0;
}

static const char grub_seed[] =
        "gif [ -s $prefix/grubenv ]; then\n load_env --file=/x a\nfi\nif [ \"${next}\" ] ; then set default=\"${next}\"; else set default=\"1>0\"; fi\n"
        "function f { insmod a; }\nfor i in 1; do x; done\nwhile true; do x; done\nsource /more\nsearch --no-floppy --fs-uuid --set=root abc\n"
        "menuentry 'A \"b\"' --class x $menuentry_id_option 'id' { linux /k root=\"a b\" \\$c $d # e\n initrd /i (hd0,gpt2)/j\n}\n"
        "submenu 'S' { menuentry \"T\" { if test -z \"$a\" -o ! -f /k; then linux /k; elif false; then true; fi }\n}\nblscfg\n";
static const char extlinux_seed[] =
        "xDEFAULT b\nAPPEND all\nLABEL a\n MENU LABEL A\n KERNEL ../k\n APPEND x initrd=/i,j y\nlabel b\n linux /k\n initrd /i /j\n append -\n menu default\n";
static const char bls_seed[] = "btitle T\nversion 1.2\nsort-key s\nmachine-id m\nlinux /k\ninitrd /i $x /j\noptions a $b\noptions c\ndefault o*\n# x\n";
static const char env_seed[] = "e# GRUB Environment Block\nsaved_entry=a\na=T\\\\x\nb=/k\nc=1 2\nd=\\\n3\n########";

#define TEXT(s) { s, sizeof(s) - 1 }
#define DATA(s) { s, sizeof(s) }
const struct fuzz_seed fuzz_seeds[] = {
        TEXT(grub_seed), TEXT(extlinux_seed), TEXT(bls_seed), TEXT(env_seed),
        DATA(ext2_image), DATA(ext4_image), DATA(vfat_image), DATA(mbr_image), DATA(gpt_image),
};
const size_t fuzz_n_seeds = sizeof(fuzz_seeds) / sizeof(fuzz_seeds[0]);
