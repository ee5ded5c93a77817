/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/backend.h"

#include <stdarg.h>

static const DomusPoolBackend *const backends[DOMUS_POOL_TYPES] = {
        [DOMUS_POOL_DIR] = &storage_backend_dir,         [DOMUS_POOL_FS] = &storage_backend_fs,
        [DOMUS_POOL_NETFS] = &storage_backend_netfs,     [DOMUS_POOL_LOGICAL] = &storage_backend_logical,
        [DOMUS_POOL_DISK] = &storage_backend_disk,       [DOMUS_POOL_ISCSI] = &storage_backend_iscsi,
        [DOMUS_POOL_ISCSI_DIRECT] = &storage_backend_iscsi_direct,
};

const DomusPoolBackend *storage_backend(DomusPoolType type)
{
        return backends[type];
}

/* Our own path may lack the system directories, which children have. */
static bool program_exists(const char *name)
{
        static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin" };

        for (size_t i = 0; i < G_N_ELEMENTS(dirs); i++) {
                g_autofree char *path = g_build_filename(dirs[i], name, NULL);

                if (g_file_test(path, G_FILE_TEST_IS_EXECUTABLE))
                        return true;
        }
        return false;
}

bool storage_backend_usable(const DomusPoolBackend *b, bool privileged, GError **error)
{
        const char *type = domus_pool_type_to_string(b->type);

        if (b->needs_privilege && !privileged)
                return storage_fail(error, DOMUS_ERROR_OPERATION_DENIED, "a pool of type '%s' needs the system's daemon", type);
        for (const char *const *p = b->programs; p && *p; p++)
                if (!program_exists(*p))
                        return storage_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "a pool of type '%s' needs the program '%s', which is not installed", type, *p);
        return true;
}

void storage_scan_clear(DomusPoolScan *scan)
{
        g_clear_pointer(&scan->volumes, g_ptr_array_unref);
}

bool storage_fail(GError **error, DomusError code, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        if (error)
                *error = g_error_new_valist(DOMUS_ERROR, code, fmt, ap);
        va_end(ap);
        return false;
}

bool storage_fail_errno(GError **error, int errnum, const char *fmt, ...)
{
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        text = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        return storage_fail(error, DOMUS_ERROR_SYSTEM, "%s: %s", text, g_strerror(errnum));
}
