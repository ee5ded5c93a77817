/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The host's storage and networks as hooks of the domains. What is handed over here is borrowed, for as long as the hooks are used. */

#include "daemon/domain-hooks.h"
#include "net/networks.h"
#include "storage/pools.h"

/* The hooks for storage; the others are NULL. */
void domus_device_host_storage(DomusPools *pools, DomusDomainHooks *ret);
/* Adds those for networks. */
void domus_device_host_networks(DomusNetworks *networks, DomusDomainHooks *hooks);
