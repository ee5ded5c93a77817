/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A port of a network (formatnetworkport.html): who is connected, and how. A plain structure; what we do not support is refused by name. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/bandwidth.h"
#include "model/uuid.h"

typedef enum { DOMUS_PLUG_NONE, DOMUS_PLUG_NETWORK /* a bridge of ours */, DOMUS_PLUG_BRIDGE /* one of the host */, DOMUS_PLUG_DIRECT } DomusPlug;

typedef struct {
        uint8_t uuid[DOMUS_UUID_LEN];
        bool has_uuid;
        uint8_t owner_uuid[DOMUS_UUID_LEN];
        char *owner_name;
        char *group;   /* portgroup, or NULL */
        uint8_t mac[6];
        bool isolated;
        DomusBandwidth bandwidth;
        DomusPlug plug;
        char *bridge;  /* BRIDGE, NETWORK */
        char *device;  /* DIRECT: the host's */
        char *mode;    /* DIRECT: macvtap mode */
        char *target;  /* the device that is connected, or NULL; kept in our state files only */
} DomusNetworkPortDef;

DomusNetworkPortDef *domus_network_port_def_parse(const char *xml, GError **error);
void domus_network_port_def_free(DomusNetworkPortDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusNetworkPortDef, domus_network_port_def_free)
/* g_free. with_target: for our state files. */
char *domus_network_port_def_format(const DomusNetworkPortDef *def, bool with_target);
