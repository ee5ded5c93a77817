/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/macros.h"
#include "model/error.h"

#define DEFINITION_MAX MiB(4)
#define SUFFIX ".xml"

struct DomusStore {
        char *domains;
        char *autostart;
};

static bool make_dir(const char *path, GError **error)
{
        int r = file_make_dirs(path, 0700);

        if (r == 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create directory '%s': %s", path,
                g_strerror(-r));
        return false;
}

DomusStore *domus_store_new(const char *config_dir, GError **error)
{
        DomusStore *s = g_new0(DomusStore, 1);

        s->domains = g_build_filename(config_dir, "domains", NULL);
        s->autostart = g_build_filename(config_dir, "autostart", NULL);
        if (!make_dir(s->domains, error) || !make_dir(s->autostart, error)) {
                domus_store_free(s);
                return NULL;
        }
        return s;
}

void domus_store_free(DomusStore *s)
{
        if (!s)
                return;
        g_free(s->domains);
        g_free(s->autostart);
        g_free(s);
}

static char *file_of(const char *dir, const char *name)
{
        return g_strconcat(dir, "/", name, SUFFIX, NULL);
}

bool domus_store_save(DomusStore *s, const DomusDomainDef *def, GError **error)
{
        g_autofree char *path = file_of(s->domains, def->name);
        g_autofree char *xml = domus_domain_def_format(def, -1, DOMUS_DEF_SECURE | DOMUS_DEF_INACTIVE);
        size_t n = strlen(xml);
        int r = n > DEFINITION_MAX ? -EFBIG : file_replace(path, xml, n, 0600);

        if (r == 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot save the definition '%s': %s", path,
                g_strerror(-r));
        return false;
}

static bool remove_file(const char *path, GError **error)
{
        int saved;

        if (unlink(path) == 0 || errno == ENOENT)
                return true;
        saved = errno;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot remove '%s': %s", path, g_strerror(saved));
        return false;
}

bool domus_store_remove(DomusStore *s, const char *name, GError **error)
{
        g_autofree char *path = file_of(s->domains, name);

        return domus_store_set_autostart(s, name, false, error) && remove_file(path, error);
}

bool domus_store_rename(DomusStore *s, const char *old_name, const DomusDomainDef *def, bool autostart, GError **error)
{
        if (!domus_store_save(s, def, error))
                return false;
        if (autostart && !domus_store_set_autostart(s, def->name, true, error))
                goto undo;
        if (!domus_store_remove(s, old_name, error))
                goto undo;
        return true;
undo:
        domus_store_remove(s, def->name, NULL);
        return false;
}

bool domus_store_set_autostart(DomusStore *s, const char *name, bool on, GError **error)
{
        g_autofree char *path = file_of(s->autostart, name);
        g_autofree char *target = g_strconcat("../domains/", name, SUFFIX, NULL);
        int saved;

        if (!on)
                return remove_file(path, error);
        if (symlink(target, path) == 0 || errno == EEXIST)
                return true;
        saved = errno;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create '%s': %s", path, g_strerror(saved));
        return false;
}

/* --- Loading --- */

typedef struct {
        char *file; /* without the directory */
        struct timespec written;
} Entry;

static void entry_clear(gpointer p)
{
        g_free(((Entry *)p)->file);
}

static int newest_first(gconstpointer a, gconstpointer b)
{
        const struct timespec *x = &((const Entry *)a)->written, *y = &((const Entry *)b)->written;

        if (x->tv_sec != y->tv_sec)
                return x->tv_sec < y->tv_sec ? 1 : -1;
        if (x->tv_nsec != y->tv_nsec)
                return x->tv_nsec < y->tv_nsec ? 1 : -1;
        return strcmp(((const Entry *)a)->file, ((const Entry *)b)->file);
}

/* file_replace's temporary names: a definition's name, a dot, six characters. */
static bool is_leftover(const char *file)
{
        size_t n = strlen(file), tail = strlen(SUFFIX ".XXXXXX");

        return n > tail && strncmp(file + n - tail, SUFFIX ".", strlen(SUFFIX ".")) == 0;
}

static void scan_entry(DomusStore *s, const char *file, GArray *entries)
{
        g_autofree char *path = g_build_filename(s->domains, file, NULL);
        struct stat st;

        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        if (g_str_has_suffix(file, SUFFIX)) {
                Entry e = { g_strdup(file), st.st_mtim };

                g_array_append_val(entries, e);
        } else if (is_leftover(file)) {
                log_info("removing '%s', left by an interrupted write", path);
                unlink(path);
        }
}

static GArray *scan(DomusStore *s, GError **error)
{
        g_autoptr(GError) local = NULL;
        g_autoptr(GDir) dir = g_dir_open(s->domains, 0, &local);
        GArray *entries;

        if (!dir) {
                g_set_error_literal(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, local->message);
                return NULL;
        }
        entries = g_array_new(FALSE, FALSE, sizeof(Entry));
        g_array_set_clear_func(entries, entry_clear);
        for (const char *file; (file = g_dir_read_name(dir));)
                scan_entry(s, file, entries);
        g_array_sort(entries, newest_first);
        return entries;
}

static DomusDomainDef *load_file(const char *path, GError **error)
{
        char *xml = NULL;
        DomusDomainDef *def;
        size_t len = 0;
        int r = file_read(path, DEFINITION_MAX, &xml, &len);

        if (r == 0 && strlen(xml) != len)
                r = -EBADMSG;
        if (r < 0) {
                g_set_error_literal(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, g_strerror(-r));
                free(xml);
                return NULL;
        }
        def = domus_domain_def_parse(xml, 0, error);
        free(xml);
        return def;
}

static void load_entry(DomusStore *s, const char *file, DomusStoreFn fn, gpointer opaque)
{
        g_autofree char *path = g_build_filename(s->domains, file, NULL);
        g_autofree char *link = g_build_filename(s->autostart, file, NULL);
        g_autofree char *name = g_strndup(file, strlen(file) - strlen(SUFFIX));
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusDomainDef) def = load_file(path, &error);
        struct stat st;

        if (!def) {
                /* The parser's message goes on with the text around the place. */
                log_error("skipping the definition '%s': %.*s", path, (int)strcspn(error->message, "\n"), error->message);
                return;
        }
        if (strcmp(def->name, name) != 0) {
                log_error("skipping the definition '%s': it names its domain '%s'", path, def->name);
                return;
        }
        fn(g_steal_pointer(&def), lstat(link, &st) == 0, opaque);
}

bool domus_store_load(DomusStore *s, DomusStoreFn fn, gpointer opaque, GError **error)
{
        g_autoptr(GArray) entries = scan(s, error);

        if (!entries)
                return false;
        for (unsigned i = 0; i < entries->len; i++)
                load_entry(s, g_array_index(entries, Entry, i).file, fn, opaque);
        return true;
}
