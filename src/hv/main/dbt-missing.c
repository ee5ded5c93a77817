/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/log.h"
#include "hv/engine/engine.h"

/* Stands in while the software engine is not in the build: refuses to make a VM. */
static int vm_new(const struct engine_config *config, struct engine_vm **ret)
{
        log_error("this build has no software engine");
        return -EOPNOTSUPP;
}

const struct engine_ops engine_dbt = { .name = "dbt", .vm_new = vm_new };
