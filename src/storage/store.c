/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/macros.h"
#include "model/error.h"
#include "run/boot.h"

#define FILE_MAX MiB(4)
#define SUFFIX ".xml"

struct StorageStore {
        char *config, *autostart, *run, *state;
};

static bool make_dir(char **ret, const char *parent, const char *name, GError **error)
{
        int r;

        *ret = g_build_filename(parent, name, NULL);
        r = file_make_dirs(*ret, 0700);
        if (r == 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create directory '%s': %s", *ret, g_strerror(-r));
        return false;
}

StorageStore *storage_store_new(const char *config_dir, const char *run_dir, const char *state_dir, GError **error)
{
        StorageStore *s = g_new0(StorageStore, 1);

        if (make_dir(&s->config, config_dir, "storage", error) && make_dir(&s->autostart, s->config, "autostart", error) &&
            make_dir(&s->run, run_dir, "storage", error) && make_dir(&s->state, state_dir, "storage", error))
                return s;
        storage_store_free(s);
        return NULL;
}

void storage_store_free(StorageStore *s)
{
        if (!s)
                return;
        g_free(s->config);
        g_free(s->autostart);
        g_free(s->run);
        g_free(s->state);
        g_free(s);
}

static char *file_of(const char *dir, const char *name, const char *suffix)
{
        return g_strconcat(dir, "/", name, suffix, NULL);
}

/* --- Definitions --- */

static int save(const char *dir, const DomusPoolDef *def)
{
        g_autofree char *path = file_of(dir, def->name, SUFFIX), *xml = domus_pool_def_format(def, NULL);
        size_t n = strlen(xml);

        return n > FILE_MAX ? -EFBIG : file_replace(path, xml, n, 0600);
}

bool storage_store_save(StorageStore *s, const DomusPoolDef *def, GError **error)
{
        int r = save(s->config, def);

        if (r == 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot save the definition of storage pool '%s' in '%s': %s", def->name, s->config,
                g_strerror(-r));
        return false;
}

static bool remove_file(const char *path, GError **error)
{
        if (unlink(path) == 0 || errno == ENOENT)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot remove '%s': %s", path, g_strerror(errno));
        return false;
}

bool storage_store_remove(StorageStore *s, const char *name, GError **error)
{
        g_autofree char *path = file_of(s->config, name, SUFFIX);

        return storage_store_set_autostart(s, name, false, error) && remove_file(path, error);
}

bool storage_store_set_autostart(StorageStore *s, const char *name, bool on, GError **error)
{
        g_autofree char *path = file_of(s->autostart, name, SUFFIX);
        g_autofree char *target = g_strconcat("../", name, SUFFIX, NULL);

        if (!on)
                return remove_file(path, error);
        if (symlink(target, path) == 0 || errno == EEXIST)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create '%s': %s", path, g_strerror(errno));
        return false;
}

/* --- Running state --- */

void storage_store_set_active(StorageStore *s, const char *name, const DomusPoolDef *def)
{
        g_autofree char *path = file_of(s->run, name, SUFFIX);
        g_autoptr(GError) error = NULL;
        int r = def ? save(s->run, def) : 0;

        if (r < 0)
                log_warning("cannot write '%s': %s", path, g_strerror(-r));
        if (!def && !remove_file(path, &error))
                log_warning("%s", error->message);
}

bool storage_store_first_start(StorageStore *s)
{
        g_autofree char *marker = g_build_filename(s->run, "autostarted", NULL);

        return domus_first_of_boot(marker);
}

/* --- Volumes that stay raw: their names, a line each; a name never holds a control character --- */

static char *raw_file(StorageStore *s, const uint8_t uuid[DOMUS_UUID_LEN])
{
        char text[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(uuid, text);
        return file_of(s->state, text, ".raw");
}

void storage_store_save_raw(StorageStore *s, const uint8_t uuid[DOMUS_UUID_LEN], GHashTable *names)
{
        g_autofree char *path = raw_file(s, uuid);
        g_autoptr(GString) text = g_string_new(NULL);
        GHashTableIter iter;
        gpointer name;
        int r = 0;

        g_hash_table_iter_init(&iter, names);
        while (g_hash_table_iter_next(&iter, &name, NULL))
                g_string_append_printf(text, "%s\n", (const char *)name);
        if (text->len)
                r = file_replace(path, text->str, text->len, 0600);
        else
                unlink(path);
        if (r < 0)
                log_warning("cannot write '%s': %s", path, g_strerror(-r));
}

GHashTable *storage_store_load_raw(StorageStore *s, const uint8_t uuid[DOMUS_UUID_LEN])
{
        GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autofree char *path = raw_file(s, uuid);
        g_auto(GStrv) lines = NULL;
        char *text;

        if (file_read(path, FILE_MAX, &text, NULL) < 0)
                return names;
        lines = g_strsplit(text, "\n", -1);
        free(text);
        for (char **l = lines; *l; l++)
                if (**l)
                        g_hash_table_add(names, g_strdup(*l));
        return names;
}

/* --- Loading --- */

static DomusPoolDef *load_file(const char *path, const char *name)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusPoolDef) def = NULL;
        char *xml;
        int r = file_read(path, FILE_MAX, &xml, NULL);

        if (r < 0) {
                log_error("cannot read '%s': %s", path, g_strerror(-r));
                return NULL;
        }
        def = domus_pool_def_parse(xml, 0, &error);
        free(xml);
        if (!def) {
                log_error("skipping the storage pool '%s': %.*s", path, (int)strcspn(error->message, "\n"), error->message);
                return NULL;
        }
        if (strcmp(def->name, name) != 0) {
                log_error("skipping the storage pool '%s': it is named '%s' inside", path, def->name);
                return NULL;
        }
        return g_steal_pointer(&def);
}

static bool is_autostarted(StorageStore *s, const char *file)
{
        g_autofree char *link = g_build_filename(s->autostart, file, NULL);
        struct stat st;

        return lstat(link, &st) == 0;
}

static void load_dir(StorageStore *s, const char *dir, StorageStoreFn fn, gpointer opaque)
{
        g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
        const char *file;

        while (d && (file = g_dir_read_name(d))) {
                g_autofree char *path = g_build_filename(dir, file, NULL), *name = NULL;
                g_autoptr(DomusPoolDef) def = NULL;

                if (!g_str_has_suffix(file, SUFFIX)) {
                        if (strstr(file, SUFFIX ".")) /* of an interrupted write */
                                unlink(path);
                        continue;
                }
                name = g_strndup(file, strlen(file) - strlen(SUFFIX));
                def = load_file(path, name);
                if (def)
                        fn(def, is_autostarted(s, file), opaque);
        }
}

void storage_store_load(StorageStore *s, StorageStoreFn fn, gpointer opaque)
{
        load_dir(s, s->config, fn, opaque);
}

void storage_store_load_active(StorageStore *s, StorageStoreFn fn, gpointer opaque)
{
        load_dir(s, s->run, fn, opaque);
}
