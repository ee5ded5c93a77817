/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A file system that the pool mounts: of a device (fs) or of a server (netfs). */

#include <errno.h>
#include <libvirt/libvirt.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/block.h"
#include "storage/file.h"

/* --- Mounting --- */

/* The device or export, as mount(8) takes it. */
static char *source_of(const DomusPoolDef *def)
{
        if (def->type == DOMUS_POOL_FS)
                return g_strdup(def->devices->pdata[0]);
        if (strcmp(def->format, "cifs") == 0)
                return g_strdup_printf("//%s/%s", def->host, def->dir[0] == '/' ? def->dir + 1 : def->dir);
        return g_strdup_printf("%s:%s", def->host, def->dir);
}

/* ret_what: what is mounted last at the path (g_free); NULL: nothing. */
static bool find_mount(const char *path, char **ret_what, GError **error)
{
        FILE *f = setmntent("/proc/self/mounts", "re");
        struct mntent *m;

        *ret_what = NULL;
        if (!f)
                return storage_fail_errno(error, errno, "cannot read the mounts");
        while ((m = getmntent(f)))
                if (strcmp(m->mnt_dir, path) == 0) {
                        g_free(*ret_what);
                        *ret_what = g_strdup(m->mnt_fsname);
                }
        endmntent(f);
        return true;
}

static bool same_device(const char *a, const char *b)
{
        g_autofree char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);

        return strcmp(a, b) == 0 || (real_a && real_b && strcmp(real_a, real_b) == 0);
}

static bool check(const StorageCancel *c, const DomusPoolDef *def, bool *ret, GError **error)
{
        g_autofree char *what = NULL, *source = source_of(def);

        if (!find_mount(def->path, &what, error))
                return false;
        *ret = what && (def->type == DOMUS_POOL_FS ? same_device(what, source) : strcmp(what, source) == 0);
        return true;
}

static const char *mount_type(const DomusPoolDef *def)
{
        if (strcmp(def->format, "auto") != 0)
                return def->format;
        return def->type == DOMUS_POOL_NETFS ? "nfs" : "auto";
}

static bool start(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        g_autofree char *source = source_of(def), *what = NULL, *options = NULL;
        const char *argv[] = { "mount", "-t", mount_type(def), "-o", NULL, "--", source, def->path, NULL };
        bool mounted;

        if (!check(c, def, &mounted, error) || !find_mount(def->path, &what, error))
                return false;
        if (mounted)
                return true; /* by the host itself, or by an earlier daemon */
        if (what)
                return storage_fail(error, DOMUS_ERROR_OPERATION_FAILED, "'%s' is mounted at '%s' already, not '%s'", what, def->path, source);
        options = def->protocol_version ? g_strdup_printf("nodev,nosuid,noexec,nfsvers=%s", def->protocol_version)
                                        : g_strdup("nodev,nosuid,noexec");
        argv[4] = options;
        return storage_run(c, argv, NULL, 0, NULL, error);
}

static bool stop(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        const char *argv[] = { "umount", "--", def->path, NULL };
        bool mounted;

        return check(c, def, &mounted, error) && (!mounted || storage_run(c, argv, NULL, 0, NULL, error));
}

/* --- Making --- */

static bool make_file_system(const StorageCancel *c, const DomusPoolDef *def, bool force, GError **error)
{
        g_autofree char *program = g_strconcat("mkfs.", def->format, NULL);
        const char *argv[5] = { program };
        size_t n = 1;

        if (strcmp(def->format, "auto") == 0)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "pool '%s' does not say which file system to make", def->name);
        if (force && g_str_has_prefix(def->format, "ext"))
                argv[n++] = "-F";
        else if (force && (strcmp(def->format, "xfs") == 0 || strcmp(def->format, "btrfs") == 0))
                argv[n++] = "-f";
        argv[n++] = def->devices->pdata[0];
        return storage_run(c, argv, NULL, 0, NULL, error);
}

static bool build(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        bool overwrite = flags & VIR_STORAGE_POOL_BUILD_OVERWRITE;

        if (!storage_dir_make(def, error))
                return false;
        if (def->type != DOMUS_POOL_FS || !(flags & (VIR_STORAGE_POOL_BUILD_OVERWRITE | VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)))
                return true;
        return (overwrite || storage_block_check_empty(c, def, def->devices->pdata[0], error)) && make_file_system(c, def, overwrite, error);
}

/* --- Finding exports --- */

static bool find_exports(const StorageCancel *c, const char *host, GString *out, GError **error)
{
        const char *argv[] = { "showmount", "--no-headers", "--exports", "--", host, NULL };
        g_auto(GStrv) lines = NULL;
        g_autofree char *text = NULL;

        if (!host)
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "hostname must be specified for netfs sources");
        if (!storage_run(c, argv, NULL, 0, &text, error))
                return false;
        lines = g_strsplit(text, "\n", -1);
        for (char **l = lines; *l; l++) {
                DomusPoolSource source = { .host = host, .dir = *l, .format = "nfs" };

                (*l)[strcspn(*l, " \t")] = 0;
                if (**l)
                        domus_pool_source_append(out, &source);
        }
        return true;
}

static const char *const fs_programs[] = { "mount", "umount", "blkid", NULL };
static const char *const netfs_programs[] = { "mount", "umount", "showmount", NULL };

const DomusPoolBackend storage_backend_fs = {
        .type = DOMUS_POOL_FS,
        .programs = fs_programs,
        .needs_privilege = true,
        .check = check,
        .build = build,
        .start = start,
        .stop = stop,
        .destroy = storage_dir_remove,
        STORAGE_DIR_VOLUMES,
};

const DomusPoolBackend storage_backend_netfs = {
        .type = DOMUS_POOL_NETFS,
        .programs = netfs_programs,
        .needs_privilege = true,
        .check = check,
        .build = build,
        .start = start,
        .stop = stop,
        .destroy = storage_dir_remove,
        STORAGE_DIR_VOLUMES,
        .find = find_exports,
};
