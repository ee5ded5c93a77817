/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/runstate.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "model/error.h"

#define GROUP "vm"
#define FILE_NAME "status"

bool domus_run_state_save(const char *dir, const DomusRunState *s, GError **error)
{
        g_autoptr(GKeyFile) keys = g_key_file_new();
        g_autofree char *path = g_build_filename(dir, FILE_NAME, NULL);
        g_autofree char *text = NULL;
        size_t len;
        int r;

        g_key_file_set_integer(keys, GROUP, "id", s->id);
        g_key_file_set_integer(keys, GROUP, "pid", (int)s->pid);
        g_key_file_set_uint64(keys, GROUP, "start-time", s->start_time);
        g_key_file_set_integer(keys, GROUP, "state", s->state);
        g_key_file_set_integer(keys, GROUP, "reason", s->reason);
        g_key_file_set_boolean(keys, GROUP, "started", s->started);
        g_key_file_set_boolean(keys, GROUP, "reboot-wanted", s->reboot_wanted);
        g_key_file_set_boolean(keys, GROUP, "updated", s->updated);
        g_key_file_set_boolean(keys, GROUP, "autodestroy", s->autodestroy);
        g_key_file_set_string_list(keys, GROUP, "ttys", (const char *const *)s->ttys, g_strv_length(s->ttys));
        g_key_file_set_string_list(keys, GROUP, "disks", (const char *const *)s->disks, g_strv_length(s->disks));
        g_key_file_set_string(keys, GROUP, "log", s->log_path);
        g_key_file_set_string(keys, GROUP, "xml", s->xml);
        text = g_key_file_to_data(keys, &len, NULL);
        r = file_replace(path, text, len, 0600);
        if (r == 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot write '%s': %s", path, g_strerror(-r));
        return false;
}

static bool read_keys(GKeyFile *keys, DomusRunState *ret, GError **error)
{
        static const char *const needed[] = { "id", "pid", "start-time", "state", "reason", "started", "log", "xml" };

        for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++) {
                if (!g_key_file_has_key(keys, GROUP, needed[i], error))
                        return false;
        }
        ret->id = g_key_file_get_integer(keys, GROUP, "id", NULL);
        ret->pid = g_key_file_get_integer(keys, GROUP, "pid", NULL);
        ret->start_time = g_key_file_get_uint64(keys, GROUP, "start-time", NULL);
        ret->state = g_key_file_get_integer(keys, GROUP, "state", NULL);
        ret->reason = g_key_file_get_integer(keys, GROUP, "reason", NULL);
        ret->started = g_key_file_get_boolean(keys, GROUP, "started", NULL);
        ret->reboot_wanted = g_key_file_get_boolean(keys, GROUP, "reboot-wanted", NULL);
        ret->updated = g_key_file_get_boolean(keys, GROUP, "updated", NULL);
        ret->autodestroy = g_key_file_get_boolean(keys, GROUP, "autodestroy", NULL);
        ret->ttys = g_key_file_get_string_list(keys, GROUP, "ttys", NULL, NULL);
        if (!ret->ttys)
                ret->ttys = g_new0(char *, 1);
        ret->disks = g_key_file_get_string_list(keys, GROUP, "disks", NULL, NULL);
        if (!ret->disks)
                ret->disks = g_new0(char *, 1);
        ret->log_path = g_key_file_get_string(keys, GROUP, "log", error);
        ret->xml = ret->log_path ? g_key_file_get_string(keys, GROUP, "xml", error) : NULL;
        return ret->xml && ret->id > 0 && ret->pid > 1;
}

bool domus_run_state_load(const char *dir, DomusRunState *ret, GError **error)
{
        g_autoptr(GKeyFile) keys = g_key_file_new();
        g_autofree char *path = g_build_filename(dir, FILE_NAME, NULL);
        g_autoptr(GError) local = NULL;

        *ret = (DomusRunState){ 0 };
        if (g_key_file_load_from_file(keys, path, G_KEY_FILE_NONE, &local) && read_keys(keys, ret, &local))
                return true;
        domus_run_state_clear(ret);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "cannot use '%s': %s", path,
                local ? local->message : "a value is out of range");
        return false;
}

void domus_run_state_clear(DomusRunState *s)
{
        g_free(s->xml);
        g_free(s->log_path);
        g_strfreev(s->ttys);
        g_strfreev(s->disks);
        *s = (DomusRunState){ 0 };
}

static void remove_files(const char *dir)
{
        g_autoptr(GDir) entries = g_dir_open(dir, 0, NULL);

        for (const char *file; entries && (file = g_dir_read_name(entries));) {
                g_autofree char *path = g_build_filename(dir, file, NULL);

                unlink(path);
        }
}

void domus_run_state_remove(const char *dir)
{
        g_autofree char *channels = g_build_filename(dir, "channel", NULL);

        remove_files(channels);
        rmdir(channels);
        remove_files(dir);
        if (rmdir(dir) < 0 && errno != ENOENT)
                log_warning("cannot remove '%s': %s", dir, g_strerror(errno));
}
