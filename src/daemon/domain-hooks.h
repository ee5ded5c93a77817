/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What domains need of storage and networks. The daemon core calls these functions; main.c fills them in (device-host.c), tests may leave them
 * out: a NULL function means that the host has no such thing, and what needs it is refused. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/domain-device.h"

typedef struct {
        char *path, *format;
        bool block;
        char *host, *port, *unit, *initiator; /* path NULL: an iSCSI unit, as in DomusVolumeLocation */
} DomusHookVolume;

#define DOMUS_HOOK_QUEUES_MAX 8

typedef struct {
        char *device, *bridge, *port_uuid; /* bridge and port_uuid may be NULL */
        unsigned mtu, n_fds;
        int fds[DOMUS_HOOK_QUEUES_MAX];
} DomusHookTap;

/* An address of a guest, as virDomainInterfaceAddresses tells it. */
typedef struct {
        char *address;
        int type; /* virIPAddrType */
        unsigned prefix;
} DomusHookAddress;

typedef struct {
        uint64_t rx_bytes, rx_packets, rx_errs, rx_drop, tx_bytes, tx_packets, tx_errs, tx_drop; /* seen from the guest */
} DomusHookTapStats;

typedef struct {
        gpointer opaque;

        /* The caller frees the strings. */
        bool (*resolve_volume)(gpointer opaque, const char *pool, const char *volume, DomusHookVolume *ret, GError **error);
        /* The format that the image's header says, and "raw" for none; g_free. Called once per image, before a guest has written it. */
        char *(*probe_format)(gpointer opaque, const char *path, GError **error);
        /* A guest gets path as raw. */
        void (*note_raw)(gpointer opaque, const char *path);
        /* The files below an image of that format, nearest first: paths, NULL-terminated; g_strfreev. */
        char **(*backing_files)(gpointer opaque, const char *path, const char *format, GError **error);
        /* Bytes that a guest sees of an image of that format. */
        bool (*image_capacity)(gpointer opaque, const char *path, const char *format, uint64_t *ret, GError **error);

        gpointer net_opaque; /* of the functions from here on */

        /* interface: of type network, bridge, direct or ethernet. The descriptors are the caller's. */
        bool (*open_tap)(gpointer opaque, const uint8_t *domain_uuid, const char *domain_name, const DomusInterface *interface,
                         DomusHookTap *ret, GError **error);
        void (*release_tap)(gpointer opaque, const DomusInterface *interface);
        bool (*set_link)(gpointer opaque, const char *device, bool up, GError **error);
        bool (*set_bandwidth)(gpointer opaque, const char *device, const DomusBandwidth *bandwidth, GError **error);
        /* To where interface says; the device stays the same. ret: its new bridge and port, without descriptors. */
        bool (*move_tap)(gpointer opaque, const char *device, const uint8_t *domain_uuid, const char *domain_name,
                         const DomusInterface *interface, DomusHookTap *ret, GError **error);
        bool (*tap_stats)(gpointer opaque, const char *device, DomusHookTapStats *ret, GError **error);
        /* Array of DomusHookAddress *, with a free function. network may be NULL. arp: from the neighbour tables, else from DHCP leases. */
        GPtrArray *(*addresses)(gpointer opaque, const char *network, const uint8_t *mac, bool arp, GError **error);
} DomusDomainHooks;

void domus_hook_volume_clear(DomusHookVolume *v);
/* Closes the descriptors that are left. */
void domus_hook_tap_clear(DomusHookTap *tap);
void domus_hook_address_free(gpointer address);
