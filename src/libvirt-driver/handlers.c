/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/handlers.h"

static const struct handler_table *const tables[] = {
        &connect_handlers, &node_handlers, &event_handlers, &domain_life_handlers, &domain_query_handlers, &domain_config_handlers,
        &domain_device_handlers, &domain_device_agent_handlers, &domain_device_agent_info_handlers, &domain_device_agent_vcpu_handlers, &domain_device_block_handlers, &domain_device_net_handlers,
        &domain_stats_handlers, &domain_console_handlers, &domain_saved_handlers,
        &network_handlers, &network_port_handlers, &storage_pool_handlers, &storage_vol_handlers,
        &nodedev_handlers, &interface_handlers, &secret_handlers, &nwfilter_handlers,
};

/* Makes the rows of all tables findable by number. */
static const struct handler **index_tables(void)
{
        const struct handler **by_number = g_new0(const struct handler *, n_remote_procs + 1);

        for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
                for (unsigned i = 0; i < tables[t]->n; i++) {
                        const struct handler *row = &tables[t]->rows[i];

                        g_assert(row->procedure <= n_remote_procs && !by_number[row->procedure]);
                        by_number[row->procedure] = row;
                }
        return by_number;
}

const struct handler *handler_find(uint32_t program, uint32_t procedure)
{
        static const struct handler **by_number;

        for (unsigned i = 0; program == PROGRAM_QEMU && i < qemu_handlers.n; i++)
                if (qemu_handlers.rows[i].procedure == procedure)
                        return &qemu_handlers.rows[i];
        if (program != PROGRAM_REMOTE || procedure > n_remote_procs)
                return NULL;
        if (!by_number)
                by_number = index_tables();
        return by_number[procedure];
}
