/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the handlers of pools and of volumes share. */

#include "libvirt-driver/handlers.h"
#include "storage/pools.h"

/* Never NULL for a handler that goes on; answers the call itself and returns NULL where the daemon has no storage. */
DomusPools *call_pools(struct call *call);
/* Borrowed; NULL after answering the call with the error. */
DomusPool *call_pool(struct call *call, const struct remote_storage_pool *pool);
DomusVolume *call_volume(struct call *call, const struct remote_storage_vol *vol);
void call_put_pool(struct call *call, struct remote_storage_pool *ret, const DomusPool *p);
void call_put_volume(struct call *call, struct remote_storage_vol *ret, const DomusVolume *v);
