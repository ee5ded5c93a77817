/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Who does what: a procedure gets its handler by one row in the table at the end of its object's file, and
 * a file by one line here and in handlers.c. */

#include "libvirt-driver/call.h"

struct handler {
        uint32_t procedure;
        /* args: the procedure's argument struct, valid until the call is ended; NULL if it has none. */
        void (*run)(struct call *call, const void *args);
        /* Bits that the argument "flags" may have, where there is one; others are refused before run. */
        uint64_t flags;
};

struct handler_table {
        const struct handler *rows;
        unsigned n;
};

#define HANDLER_TABLE(name, rows_) const struct handler_table name = { rows_, ARRAY_SIZE(rows_) }

extern const struct handler_table connect_handlers, node_handlers, event_handlers, domain_life_handlers, domain_query_handlers,
        domain_config_handlers, domain_device_handlers, domain_device_agent_handlers, domain_device_agent_info_handlers, domain_device_agent_vcpu_handlers, domain_device_block_handlers, domain_device_net_handlers,
        domain_stats_handlers, domain_console_handlers, domain_saved_handlers,
        network_handlers, network_port_handlers, storage_pool_handlers, storage_vol_handlers,
        nodedev_handlers, interface_handlers, secret_handlers, nwfilter_handlers;
extern const struct handler_table qemu_handlers; /* of the program of the same name */

/* NULL: nobody does it. */
const struct handler *handler_find(uint32_t program, uint32_t procedure);
