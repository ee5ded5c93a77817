/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The host's storage as hooks of the domains. */

#include "daemon/domain-hooks.h"
#include "storage/pools.h"

/* pools: borrowed, for as long as the hooks are used. */
void domus_device_host_hooks(DomusPools *pools, DomusDomainHooks *ret);
