/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "net/networks-private.h"

#define DEFINITION_MAX (4U << 20)

static char *file_of(const DomusNetworks *n, const char *name)
{
        return g_strdup_printf("%s/%s.xml", n->config_dir, name);
}

static char *link_of(const DomusNetworks *n, const char *name)
{
        return g_strdup_printf("%s/autostart/%s.xml", n->config_dir, name);
}

static bool fail(GError **error, const char *what, const char *path, int e)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot %s '%s': %s", what, path, g_strerror(e));
        return false;
}

bool network_store_save(DomusNetworks *n, const DomusNetworkDef *def, GError **error)
{
        g_autofree char *path = file_of(n, def->name), *xml = domus_network_def_format(def, 0);
        int r = file_replace(path, xml, strlen(xml), 0600);

        return r == 0 || fail(error, "write", path, -r);
}

static bool remove_file(const char *path, GError **error)
{
        return unlink(path) == 0 || errno == ENOENT || fail(error, "remove", path, errno);
}

bool network_store_remove(DomusNetworks *n, const char *name, GError **error)
{
        g_autofree char *path = file_of(n, name), *link = link_of(n, name);

        return remove_file(path, error) && remove_file(link, error);
}

bool network_store_set_autostart(DomusNetworks *n, const char *name, bool on, GError **error)
{
        g_autofree char *path = file_of(n, name), *link = link_of(n, name);

        if (!on)
                return remove_file(link, error);
        return symlink(path, link) == 0 || errno == EEXIST || fail(error, "make", link, errno);
}

/* --- Loading --- */

/* A file that an administrator put there may lack what a definition gets by being defined: a uuid, a bridge, a MAC address. */
static bool complete(DomusNetworks *n, DomusNetworkDef *def, const char *xml, GError **error)
{
        g_autofree char *now = NULL;

        if (!network_settle_bridge(n, def, NULL, error))
                return false;
        now = domus_network_def_format(def, 0);
        return strcmp(now, xml) == 0 || network_store_save(n, def, error);
}

static DomusNetworkDef *read_definition(DomusNetworks *n, const char *name, GError **error)
{
        g_autofree char *path = file_of(n, name);
        g_autoptr(DomusNetworkDef) def = NULL;
        char *xml = NULL;
        int r = file_read(path, DEFINITION_MAX, &xml, NULL);
        bool ok;

        if (r < 0) {
                fail(error, "read", path, -r);
                return NULL;
        }
        def = domus_network_def_parse(xml, 0, error);
        if (def && strcmp(def->name, name) != 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "'%s' defines network '%s'", path, def->name);
                g_clear_pointer(&def, domus_network_def_free);
        }
        ok = def && complete(n, def, xml, error);
        free(xml);
        return ok ? g_steal_pointer(&def) : NULL;
}

static void load_one(DomusNetworks *n, const char *name)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkDef) def = read_definition(n, name, &error);
        g_autofree char *link = link_of(n, name);
        bool same = def && domus_networks_lookup_uuid(n, def->uuid, NULL);
        DomusNetwork *net;

        if (!def || same) {
                log_error("skipping the definition of network '%s': %s", name, def ? "its uuid belongs to another one" : error->message);
                return;
        }
        net = network_new(n, def);
        net->config = g_steal_pointer(&def);
        net->autostart = access(link, F_OK) == 0;
}

static bool make_dir(const char *path, GError **error)
{
        int r = file_make_dirs(path, 0700);

        return r == 0 || fail(error, "make", path, -r);
}

bool network_store_load(DomusNetworks *n, GError **error)
{
        g_autofree char *autostart = g_build_filename(n->config_dir, "autostart", NULL);
        const struct dirent *e;
        DIR *dir;

        if (!make_dir(n->config_dir, error) || !make_dir(autostart, error))
                return false;
        dir = opendir(n->config_dir);
        if (!dir)
                return fail(error, "read", n->config_dir, errno);
        while ((e = readdir(dir))) {
                g_autofree char *name = g_str_has_suffix(e->d_name, ".xml") ? g_strndup(e->d_name, strlen(e->d_name) - 4) : NULL;

                if (name)
                        load_one(n, name);
        }
        closedir(dir);
        return true;
}
