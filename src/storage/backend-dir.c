/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A folder that is there. */

#include <libvirt/libvirt.h>

#include "storage/file.h"

static bool build(const StorageCancel *c, const DomusPoolDef *def, unsigned flags, GError **error)
{
        if (flags & (VIR_STORAGE_POOL_BUILD_OVERWRITE | VIR_STORAGE_POOL_BUILD_NO_OVERWRITE))
                return storage_fail(error, DOMUS_ERROR_INVALID_ARG, "overwriting is nothing that a pool of type 'dir' knows");
        return storage_dir_make(def, error);
}

static bool start(const StorageCancel *c, const DomusPoolDef *def, GError **error)
{
        DomusPoolState state;

        return storage_dir_measure(c, def, &state, error);
}

const DomusPoolBackend storage_backend_dir = {
        .type = DOMUS_POOL_DIR,
        .build = build,
        .start = start,
        .destroy = storage_dir_remove,
        STORAGE_DIR_VOLUMES,
};
