/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"
#include "model/error.h"
#include "storage/image-private.h"

#define GUESS_BYTES 512
#define ISO_OFFSET 32769

bool image_fail(const struct image_file *f, GError **error, const char *fmt, ...)
{
        g_autofree char *problem = NULL;
        va_list ap;

        va_start(ap, fmt);
        problem = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "the image '%s' %s", f->path, problem);
        return false;
}

bool image_pread(const struct image_file *f, void *buf, size_t n, uint64_t offset, GError **error)
{
        ssize_t r = offset > INT64_MAX ? 0 : fd_pread_full(f->fd, buf, n, (off_t)offset);

        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot read the image '%s': %s", f->path, g_strerror((int)-r));
                return false;
        }
        return (size_t)r == n || image_fail(f, error, "is shorter than its header says");
}

/* "nbd://host", "json:{...}": letters and a colon before any slash. */
static bool is_protocol(const char *name)
{
        size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

        return n && name[n] == ':';
}

bool image_set_backing(const struct image_file *f, DomusImage *image, char *name, GError **error)
{
        g_autofree char *given = name, *dir = NULL;
        const char *path = g_str_has_prefix(name, "file:") ? name + strlen("file:") : name;

        if (is_protocol(path))
                return image_fail(f, error, "has a backing file '%s' that is not a file of this host", path);
        if (path[0] == '/') {
                image->backing_path = g_strdup(path);
                return true;
        }
        dir = g_path_get_dirname(f->path);
        image->backing_path = g_build_filename(dir, path, NULL);
        return true;
}

/* --- Formats with a size at a fixed place --- */

static bool read_raw(const struct image_file *f, DomusImage *ret, GError **error)
{
        ret->virtual_size = f->size;
        return true;
}

static bool read_u64(const struct image_file *f, uint64_t at, bool big, uint64_t *ret, GError **error)
{
        uint8_t b[8];

        if (!image_pread(f, b, sizeof(b), at, error))
                return false;
        *ret = big ? be64_load(b) : le64_load(b);
        return true;
}

static bool has_backing(const struct image_file *f, GError **error)
{
        return image_fail(f, error, "has a backing file, which is supported for qcow2 only");
}

static bool read_qcow(const struct image_file *f, DomusImage *ret, GError **error)
{
        uint64_t backing;

        return read_u64(f, 8, true, &backing, error) && (!backing || has_backing(f, error)) &&
               read_u64(f, 24, true, &ret->virtual_size, error);
}

#define QED_F_BACKING 1

static bool read_qed(const struct image_file *f, DomusImage *ret, GError **error)
{
        uint64_t features;

        return read_u64(f, 16, false, &features, error) && (!(features & QED_F_BACKING) || has_backing(f, error)) &&
               read_u64(f, 48, false, &ret->virtual_size, error);
}

static bool read_vdi(const struct image_file *f, DomusImage *ret, GError **error)
{
        return read_u64(f, 0x170, false, &ret->virtual_size, error);
}

static bool read_vpc(const struct image_file *f, DomusImage *ret, GError **error)
{
        return read_u64(f, 48, true, &ret->virtual_size, error);
}

static bool read_vmdk(const struct image_file *f, DomusImage *ret, GError **error)
{
        uint64_t sectors;

        if (!read_u64(f, 12, false, &sectors, error))
                return false;
        if (sectors > (uint64_t)INT64_MAX / 512)
                return image_fail(f, error, "has a vmdk header with impossible sizes");
        ret->virtual_size = sectors * 512;
        return true;
}

/* Its payload begins behind the header: sectors at 104 in version 1, bytes in the JSON of version 2, which is left to qemu. */
static bool read_luks(const struct image_file *f, DomusImage *ret, GError **error)
{
        ret->encrypted = true;
        ret->virtual_size = f->size;
        return true;
}

/* A region table leads to the size; the size of the file is the best that is known without it. */
static bool read_vhdx(const struct image_file *f, DomusImage *ret, GError **error)
{
        ret->virtual_size = f->size;
        return true;
}

static const struct format {
        const char *name;
        const char *magic;
        size_t magic_len;
        uint64_t offset;
        bool (*read)(const struct image_file *f, DomusImage *ret, GError **error);
} formats[] = {
        { "qcow", "QFI\xfb\0\0\0\1", 8, 0, read_qcow },
        { "qcow2", "QFI\xfb", 4, 0, image_read_qcow2 },
        { "qed", "QED\0", 4, 0, read_qed },
        { "vmdk", "KDMV", 4, 0, read_vmdk },
        { "vdi", "\x7f\x10\xda\xbe", 4, 0x40, read_vdi },
        { "vpc", "conectix", 8, 0, read_vpc },
        { "vhdx", "vhdxfile", 8, 0, read_vhdx },
        { "luks", "LUKS\xba\xbe", 6, 0, read_luks },
        { "iso", "CD001", 5, ISO_OFFSET, read_raw },
        { "raw", NULL, 0, 0, read_raw },
};

static const struct format *find_format(const char *name)
{
        for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
                if (strcmp(formats[i].name, name) == 0)
                        return &formats[i];
        return NULL;
}

bool storage_image_format_known(const char *format)
{
        return find_format(format) && strcmp(format, "iso") != 0;
}

static bool has_magic(int fd, const struct format *format)
{
        char b[16];

        return format->magic && fd_pread_full(fd, b, format->magic_len, (off_t)format->offset) == (ssize_t)format->magic_len &&
               memcmp(b, format->magic, format->magic_len) == 0;
}

int storage_image_guess(int fd, const char **ret)
{
        char first;

        *ret = "raw";
        if (pread(fd, &first, 1, 0) < 0)
                return -errno;
        for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
                if (has_magic(fd, &formats[i])) {
                        *ret = formats[i].name;
                        break;
                }
        }
        return 0;
}

/* --- One image --- */

static bool stat_image(struct image_file *f, DomusImage *ret, GError **error)
{
        struct stat st;
        off_t end;

        if (fstat(f->fd, &st) < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot stat '%s': %s", f->path, g_strerror(errno));
                return false;
        }
        if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
                return image_fail(f, error, "is neither a file nor a block device");
        ret->block = S_ISBLK(st.st_mode);
        end = ret->block ? lseek(f->fd, 0, SEEK_END) : st.st_size;
        f->size = ret->physical = end > 0 ? (uint64_t)end : 0;
        ret->allocation = ret->block ? ret->physical : (uint64_t)st.st_blocks * 512;
        return true;
}

bool storage_image_read(int fd, const char *path, const char *format, bool deep, DomusImage *ret, GError **error)
{
        struct image_file f = { .fd = fd, .path = path, .deep = deep };
        const struct format *row;
        int r = 0;

        *ret = (DomusImage){ 0 };
        if (!stat_image(&f, ret, error))
                return false;
        if (!format)
                r = storage_image_guess(fd, &format);
        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot read the image '%s': %s", path, g_strerror(-r));
                return false;
        }
        row = find_format(format);
        if (!row)
                return image_fail(&f, error, "cannot have the format '%s', which is not known", format);
        if (row->magic && !has_magic(fd, row))
                return image_fail(&f, error, "is not in %s format", format);
        ret->format = g_strdup(format);
        if (row->read(&f, ret, error))
                return true;
        domus_image_clear(ret);
        return false;
}

void domus_image_clear(DomusImage *image)
{
        g_free(image->format);
        g_free(image->compat);
        g_free(image->backing_path);
        g_free(image->backing_format);
        g_clear_pointer(&image->chain, g_ptr_array_unref);
        *image = (DomusImage){ 0 };
}

/* --- The chain --- */

static void free_layer(gpointer p)
{
        DomusImageLayer *layer = p;

        g_free(layer->path);
        g_free(layer->format);
        g_free(layer);
}

static bool open_and_read(const char *path, const char *format, DomusImage *ret, struct stat *st, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        if (fd < 0 || fstat(fd, st) < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open the image '%s': %s", path, g_strerror(errno));
                return false;
        }
        return storage_image_read(fd, path, format, true, ret, error);
}

/* Files are told apart by device and inode: paths may lie. */
static bool seen_before(GArray *seen, const struct stat *st)
{
        struct {
                dev_t dev;
                ino_t ino;
        } id = { st->st_dev, st->st_ino };

        for (guint i = 0; i < seen->len; i++)
                if (memcmp(seen->data + i * sizeof(id), &id, sizeof(id)) == 0)
                        return true;
        g_array_append_vals(seen, &id, 1);
        return false;
}

static GArray *seen_new(void)
{
        return g_array_new(FALSE, FALSE, sizeof(dev_t) + sizeof(ino_t));
}

/* On the way down: the image at path is what upper names as its backing file, in format if it says so. */
struct walk {
        const char *top;
        GPtrArray *chain;
        GArray *seen;
        char *upper, *path, *format;
};

static bool walk_fail(const struct walk *w, GError **error, const char *image, const char *fmt, ...) G_GNUC_PRINTF(4, 5);

static bool walk_fail(const struct walk *w, GError **error, const char *image, const char *fmt, ...)
{
        g_autofree char *problem = NULL;
        va_list ap;

        va_start(ap, fmt);
        problem = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "the image '%s' %s", image, problem);
        return false;
}

/* A CD's file system is data like any other; the word is for people. */
static const char *plain_format(const char *format)
{
        return strcmp(format, "iso") == 0 ? "raw" : format;
}

/* An image that does not say what is below it gets raw data, or the user's word: other formats could have been written there by a guest. */
static bool check_layer(const struct walk *w, const DomusImage *lower, const struct stat *st, GError **error)
{
        if (!w->format && strcmp(plain_format(lower->format), "raw") != 0)
                return walk_fail(w, error, w->upper, "does not say which format its backing file '%s' has; see qemu-img rebase -u -F", w->path);
        if (seen_before(w->seen, st))
                return walk_fail(w, error, w->top, "has a backing chain that is a cycle: '%s' lies below itself", w->path);
        return true;
}

static void take_layer(struct walk *w, DomusImage *lower)
{
        DomusImageLayer *layer = g_new0(DomusImageLayer, 1);

        layer->path = g_strdup(w->path);
        layer->format = g_strdup(plain_format(lower->format));
        g_ptr_array_add(w->chain, layer);
        g_free(w->upper);
        w->upper = w->path;
        w->path = g_steal_pointer(&lower->backing_path);
        g_free(w->format);
        w->format = g_steal_pointer(&lower->backing_format);
}

static bool step_down(struct walk *w, GError **error)
{
        DomusImage lower;
        struct stat st;
        bool ok;

        if (w->chain->len >= DOMUS_IMAGE_CHAIN_MAX)
                return walk_fail(w, error, w->top, "has a backing chain of more than %u images", DOMUS_IMAGE_CHAIN_MAX);
        if (!open_and_read(w->path, w->format, &lower, &st, error)) {
                g_prefix_error(error, "backing file of '%s': ", w->upper);
                return false;
        }
        ok = check_layer(w, &lower, &st, error);
        if (ok)
                take_layer(w, &lower);
        domus_image_clear(&lower);
        return ok;
}

static bool read_below(const char *top, DomusImage *image, GArray *seen, GError **error)
{
        struct walk w = {
                .top = top, .chain = image->chain, .seen = seen, .upper = g_strdup(top), .path = g_strdup(image->backing_path),
                .format = g_strdup(image->backing_format)
        };
        bool ok = true;

        while (ok && w.path)
                ok = step_down(&w, error);
        g_free(w.upper);
        g_free(w.path);
        g_free(w.format);
        return ok;
}

bool domus_image_probe(const char *path, const char *format, DomusImage *ret, GError **error)
{
        g_autoptr(GArray) seen = seen_new();
        struct stat st;

        if (!open_and_read(path, format, ret, &st, error))
                return false;
        format = plain_format(ret->format);
        if (strcmp(format, ret->format) != 0) {
                g_free(ret->format);
                ret->format = g_strdup(format);
        }
        ret->chain = g_ptr_array_new_with_free_func(free_layer);
        seen_before(seen, &st);
        if (read_below(path, ret, seen, error))
                return true;
        domus_image_clear(ret);
        return false;
}
