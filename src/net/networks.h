/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Virtual networks, and the devices that connect virtual machines with them or with bridges of the host. One thread, one sd-event loop. Flags,
 * states and event details use the values of the libvirt public enums (libvirt/libvirt-network.h).
 *
 * What a network has in the kernel outlives the daemon: a restarted one finds its bridges, taps, rules and dnsmasq again from RUN/networks. Without
 * privileges networks can be defined, and nothing else. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "model/bandwidth.h"
#include "model/error.h"
#include "model/network-def.h"
#include "model/network-port.h"

typedef struct DomusNetworks DomusNetworks;
typedef struct DomusNetwork DomusNetwork;

/* Called exactly once, possibly before the function that takes it returns; error is NULL on success and borrowed. */
typedef void (*DomusNetworkDone)(DomusNetwork *network /* NULL on failure */, const GError *error, gpointer opaque);

/* --- All networks of this daemon --- */

typedef struct {
        const char *config_dir; /* networks/NAME.xml and networks/autostart/NAME.xml in it */
        const char *run_dir;    /* networks/UUID/ in it */
        const char *state_dir;  /* networks/UUID.leases in it */
        bool privileged;        /* may change the host's network */
} DomusNetworksConfig;

/* Loads the definitions and finds active networks again. Networks with autostart are started by domus_networks_autostart. */
DomusNetworks *domus_networks_new(sd_event *loop, const DomusNetworksConfig *config, GError **error);
/* Active networks stay. Done callbacks that are due are called with DOMUS_ERROR_OPERATION_ABORTED. NULL is fine. */
void domus_networks_free(DomusNetworks *n);
/* Failures are logged. The bridges are there when this returns; dnsmasq may still be starting. */
void domus_networks_autostart(DomusNetworks *n);

/* Borrowed; NULL with DOMUS_ERROR_NO_NETWORK. Hold a reference across the main loop. */
DomusNetwork *domus_networks_lookup_uuid(DomusNetworks *n, const uint8_t uuid[DOMUS_UUID_LEN], GError **error);
DomusNetwork *domus_networks_lookup_name(DomusNetworks *n, const char *name, GError **error);
/* Array of DomusNetwork*, each referenced; flags: virConnectListAllNetworksFlags, 0: all. Sorted by name. */
GPtrArray *domus_networks_list(DomusNetworks *n, unsigned flags);

/* flags: virNetworkDefineFlags. A network that is active goes on as it is until it is started anew. Borrowed result. */
DomusNetwork *domus_networks_define(DomusNetworks *n, const char *xml, unsigned flags, GError **error);
/* Transient start; flags: virNetworkCreateFlags. */
void domus_networks_create_xml(DomusNetworks *n, const char *xml, unsigned flags, DomusNetworkDone done, gpointer opaque);

/* --- Events --- */

typedef enum {
        DOMUS_NETWORK_EVENT_LIFECYCLE, /* a: virNetworkEventLifecycleType */
        DOMUS_NETWORK_EVENT_METADATA,  /* a: virNetworkMetadataType, text: namespace uri or NULL */
} DomusNetworkEventKind;

typedef struct {
        DomusNetworkEventKind kind;
        DomusNetwork *network; /* still complete, also for UNDEFINED */
        int a;
        const char *text;
} DomusNetworkEvent;

typedef void (*DomusNetworkEventFn)(const DomusNetworkEvent *event, gpointer opaque);
/* One listener: whoever presents the networks. Called synchronously, before the operation's DomusNetworkDone. NULL: none. */
void domus_networks_set_event_fn(DomusNetworks *n, DomusNetworkEventFn fn, gpointer opaque);

/* --- One network --- */

DomusNetwork *domus_network_ref(DomusNetwork *net);
void domus_network_unref(DomusNetwork *net);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusNetwork, domus_network_unref)

const char *domus_network_name(const DomusNetwork *net);
const uint8_t *domus_network_uuid(const DomusNetwork *net);
bool domus_network_is_active(const DomusNetwork *net);
bool domus_network_is_persistent(const DomusNetwork *net);
bool domus_network_get_autostart(const DomusNetwork *net);
bool domus_network_set_autostart(DomusNetwork *net, bool on, GError **error);
/* The live definition while active, else the persistent one; or the persistent one with config = true (NULL if transient). */
const DomusNetworkDef *domus_network_def(const DomusNetwork *net, bool config);
/* flags: virNetworkXMLFlags. */
char *domus_network_xml(DomusNetwork *net, unsigned flags, GError **error);
char *domus_network_bridge_name(DomusNetwork *net, GError **error);

void domus_network_start(DomusNetwork *net, DomusNetworkDone done, gpointer opaque);
/* Taps of running guests stay, unconnected. */
bool domus_network_destroy(DomusNetwork *net, GError **error);
bool domus_network_undefine(DomusNetwork *net, GError **error);
/* command, section, flags: virNetworkUpdate*. */
void domus_network_update(DomusNetwork *net, unsigned command, unsigned section, int parent_index, const char *xml, unsigned flags,
                          DomusNetworkDone done, gpointer opaque);
/* type: virNetworkMetadataType; flags: virNetworkUpdateFlags. */
bool domus_network_set_metadata(DomusNetwork *net, int type, const char *text, const char *key, const char *uri, unsigned flags,
                                GError **error);
char *domus_network_get_metadata(DomusNetwork *net, int type, const char *uri, unsigned flags, GError **error);

/* --- Leases and neighbours --- */

typedef struct {
        char *device;       /* the bridge, or the host's device on which a neighbour is known */
        int64_t expiry;     /* seconds since 1970; 0: never */
        int type;           /* virIPAddrType */
        char *mac;          /* NULL if the lease does not tell */
        char *iaid;         /* DHCPv6 only, else NULL */
        char *address;
        unsigned prefix;
        char *hostname, *client_id; /* NULL if unknown */
} DomusLease;

void domus_lease_free(DomusLease *l);

/* Array of DomusLease*. mac: NULL for all, else only this client's. */
GPtrArray *domus_network_leases(DomusNetwork *net, const uint8_t *mac, GError **error);
/* Of all active networks, or of the one named. Empty if it has none, or is not active. */
GPtrArray *domus_networks_leases_by_mac(DomusNetworks *n, const char *network, const uint8_t *mac, GError **error);
/* What the host's neighbour tables (ARP, NDP) say of this address; prefix is 0, expiry 0. */
GPtrArray *domus_networks_neighbours_by_mac(DomusNetworks *n, const uint8_t *mac, GError **error);

/* --- Ports: who is connected --- */

typedef struct {
        uint8_t uuid[DOMUS_UUID_LEN];
        DomusNetworkPortDef *def; /* with plug and bandwidth as they are */
        unsigned guarantee;       /* its number on the bridge; 0: no floor */
} DomusNetworkPort;

/* flags: virNetworkPortCreateFlags. The port takes part in bandwidth and is listed; the caller connects a device with its plug. */
DomusNetworkPort *domus_network_port_create(DomusNetwork *net, const char *xml, unsigned flags, GError **error);
/* Borrowed; NULL with DOMUS_ERROR_NO_NETWORK_PORT. */
DomusNetworkPort *domus_network_port_lookup(DomusNetwork *net, const uint8_t uuid[DOMUS_UUID_LEN], GError **error);
/* Array of borrowed DomusNetworkPort*. */
GPtrArray *domus_network_ports(DomusNetwork *net);
char *domus_network_port_xml(DomusNetwork *net, DomusNetworkPort *port, GError **error);
bool domus_network_port_delete(DomusNetwork *net, DomusNetworkPort *port, GError **error);
bool domus_network_port_set_bandwidth(DomusNetwork *net, DomusNetworkPort *port, const DomusBandwidth *bandwidth, GError **error);

/* --- Devices for virtual machines --- */

#define DOMUS_TAP_QUEUES_MAX 16

typedef struct {
        const char *network;        /* name, or NULL with bridge or source_device */
        const char *bridge;         /* a bridge of the host */
        const char *portgroup;      /* of the network; NULL: its default one */
        const uint8_t *mac;         /* the guest's */
        const char *target;         /* wanted device name, e.g. "vnet3", or NULL: first free vnetN (macvtapN for macvtap) */
        const uint8_t *domain_uuid;
        const char *domain_name;
        unsigned mtu;               /* 0: the network's */
        unsigned queues;            /* 0, 1: one; at most DOMUS_TAP_QUEUES_MAX */
        bool link_down;             /* the guest's cable is out */
        bool isolated;              /* reaches no other isolated port of the bridge */
        const DomusBandwidth *bandwidth; /* of the interface, or NULL: the portgroup's */
        const char *source_device;  /* <interface type='direct'>: the host's device below a macvtap */
        const char *source_mode;    /* "vepa" (NULL), "bridge", "private", "passthrough" */
        bool ethernet;              /* <interface type='ethernet'>: a tap that is connected to nothing here */
        bool unmanaged;             /* ethernet: target is somebody else's tap or macvtap, which is used as it is */
} DomusTapRequest;

typedef struct {
        char *device;
        char *bridge;    /* NULL for macvtap */
        char *port_uuid; /* NULL if no network is asked for */
        unsigned mtu;
        unsigned n_fds;
        int fds[DOMUS_TAP_QUEUES_MAX];
} DomusTap;

/* Closes the descriptors that are still in it, and frees the strings. A tap device that nobody has open ceases to exist. */
void domus_tap_clear(DomusTap *tap);

/* A tap device with a 12-byte virtio-net header before each frame (IFF_VNET_HDR), IFF_MULTI_QUEUE if queues > 1, one close-on-exec, nonblocking descriptor
 * per queue; connected and up. It exists while a descriptor of it is open; a macvtap exists until release. The network must be active.
 * On failure nothing is left behind. */
bool domus_networks_open_tap(DomusNetworks *n, const DomusTapRequest *request, DomusTap *ret, GError **error);
/* After the VM's process is gone: forgets the port, removes what is left of the device. port_uuid may be NULL. */
bool domus_networks_release_tap(DomusNetworks *n, const char *device, const char *port_uuid, GError **error);
/* The same for one that was opened unmanaged: it loses the limits that it was given, and stays. */
void domus_networks_release_unmanaged_tap(DomusNetworks *n, const char *device);
/* Takes the guest's cable out, or puts it in again, as far as the host is concerned: nothing passes a device that is down. */
bool domus_networks_set_link(DomusNetworks *n, const char *device, bool up, GError **error);
/* Replaces the limits of the interface; empty: none. */
bool domus_networks_set_bandwidth(DomusNetworks *n, const char *device, const DomusBandwidth *bandwidth, GError **error);
/* To another network or bridge while the guest runs; the device keeps its name and descriptors; domus_networks_port_of tells its new port. On failure
 * everything is as before. */
bool domus_networks_move_tap(DomusNetworks *n, const char *device, const DomusTapRequest *request, GError **error);
/* The port that a device of ours has at a network, for the domain's XML; NULL: none. g_free. */
char *domus_networks_port_of(DomusNetworks *n, const char *device);
/* The bridge that a device is a port of; NULL: none. g_free. */
char *domus_networks_bridge_of(const char *device);

typedef struct {
        uint64_t rx_bytes, rx_packets, rx_errs, rx_drop; /* what the guest received */
        uint64_t tx_bytes, tx_packets, tx_errs, tx_drop;
} DomusTapStats;

bool domus_networks_tap_stats(const char *device, DomusTapStats *ret, GError **error);
