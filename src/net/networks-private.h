/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of src/net share of networks. */

#include <libvirt/libvirt.h>

#include "net/dnsmasq.h"
#include "net/mode.h"
#include "net/networks.h"

struct DomusNetworks {
        sd_event *loop;
        char *config_dir, *run_dir, *state_dir; /* the networks' own */
        bool privileged;
        GHashTable *by_uuid, *by_name; /* the former holds the reference */
        bool has_table;                /* ours may be in the kernel's firewall */
        DomusNetworkEventFn event_fn;
        gpointer event_opaque;
};

struct DomusNetwork {
        unsigned refs;
        DomusNetworks *owner; /* NULL once it is no longer among them */
        char *name;
        uint8_t uuid[DOMUS_UUID_LEN];
        DomusNetworkDef *config, *live; /* one may be NULL; live: it is active, or starting */
        bool autostart;
        char *run_dir;             /* of its files while it is active */
        struct dnsmasq *dnsmasq;   /* while it is active, if it has one */
        GPtrArray *ports;          /* of DomusNetworkPort*, owned */
        DomusNetworkDone start_done; /* while it is starting */
        gpointer start_opaque;
        struct update *update;     /* waits for dnsmasq; NULL: none */
        GQueue *updates;           /* of struct update: those after it */
};

/* --- networks.c --- */

DomusNetwork *network_new(DomusNetworks *n, const DomusNetworkDef *def);
/* It is gone from the tables, unless it still is active or defined. */
void network_drop_if_unused(DomusNetwork *net);
void network_emit(DomusNetwork *net, DomusNetworkEventKind kind, int a, const char *text);
/* A bridge name for a network that has none, and none that another one claims. */
bool network_settle_bridge(DomusNetworks *n, DomusNetworkDef *def, const DomusNetwork *self, GError **error);
/* The kernel's firewall as the active networks want it. */
bool networks_apply_firewall(DomusNetworks *n, GError **error);
bool networks_check_privileged(const DomusNetworks *n, GError **error);

/* --- lease.c --- */

/* g_free. */
char *network_lease_path(const DomusNetwork *net);
void network_forget_leases(const DomusNetwork *net);

/* --- network.c --- */

/* Which definitions a change with these flags (virNetworkUpdateFlags) is for. */
bool network_impact(const DomusNetwork *net, unsigned flags, bool *ret_live, bool *ret_config, GError **error);
/* Takes the definitions; NULL: that one stays. */
void network_replace(DomusNetwork *net, DomusNetworkDef *live, DomusNetworkDef *config);

/* --- update.c --- */

/* Ends what waits for dnsmasq, and what waits for that, with error; their changes of the persistent definition are taken back. */
void network_update_abort(DomusNetwork *net, const GError *error);

/* --- store.c: definitions on disk --- */

/* CONFIG/NAME.xml, written as a whole or not at all. DOMUS_ERROR_SYSTEM. */
bool network_store_save(DomusNetworks *n, const DomusNetworkDef *def, GError **error);
/* With the autostart link. */
bool network_store_remove(DomusNetworks *n, const char *name, GError **error);
bool network_store_set_autostart(DomusNetworks *n, const char *name, bool on, GError **error);
/* Makes the folders; broken files are named in the log and stay. */
bool network_store_load(DomusNetworks *n, GError **error);

/* --- start.c: what an active network has --- */

/* Takes def, which has its bridge's name settled; net is not active. */
void network_start_with(DomusNetwork *net, DomusNetworkDef *def, DomusNetworkDone done, gpointer opaque);
/* The daemon ends: a start under way is given up. */
void network_detach(DomusNetwork *net);
/* Finds the networks that an earlier daemon has left active. */
void networks_reconnect(DomusNetworks *n);
/* Takes everything down that belongs to the live network, and forgets it. Events and callbacks are the caller's. */
void network_take_down(DomusNetwork *net);
/* The live definition anew in RUN. */
bool network_save_live(DomusNetwork *net, GError **error);

/* --- virtual.c: bridges of our own --- */

/* Makes the bridge with its addresses; on failure nothing is left. */
bool virtual_start(const DomusNetworkDef *def, const struct network_mode *mode, GError **error);
/* Is it there? A bridge of the name with another MAC address is not ours. */
bool virtual_is_up(const DomusNetworkDef *def);
void virtual_stop(const DomusNetworkDef *def);

/* --- port.c --- */

void network_port_free(gpointer port);
/* Takes def in any case, and fills it in from portgroup and network. */
DomusNetworkPort *network_port_add(DomusNetwork *net, DomusNetworkPortDef *def, GError **error);
void network_port_remove(DomusNetwork *net, DomusNetworkPort *port);
bool network_port_save(DomusNetwork *net, DomusNetworkPort *port, GError **error);
void network_ports_load(DomusNetwork *net);
/* The port that a device is connected to, among all networks. */
DomusNetworkPort *networks_find_port(DomusNetworks *n, const char *device, DomusNetwork **ret);
