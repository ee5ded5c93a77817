/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a virtual network is: its libvirt network XML (formatnetwork.html), kept as the user's document, and a typed view of what we use.
 *
 * The document stays the source of truth: parsing fills in what is missing (uuid, forward mode, bridge attributes, mac, portgroup's default) in the DOM, so
 * that formatting is a dump of it. An element or value that we do not support is DOMUS_ERROR_CONFIG_UNSUPPORTED with its name. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/bandwidth.h"
#include "model/uuid.h"

typedef enum {
        DOMUS_FORWARD_NONE, /* isolated: no <forward> */
        DOMUS_FORWARD_NAT,
        DOMUS_FORWARD_ROUTE,
        DOMUS_FORWARD_OPEN,
        DOMUS_FORWARD_BRIDGE, /* <bridge> is a bridge of the host */
        DOMUS_FORWARD_DIRECT, /* macvtap on the host's devices */
} DomusForwardMode;

typedef struct {
        uint64_t seconds; /* 0: unlimited */
        bool given;
} DomusLeaseTime;

typedef struct {
        char *start, *end;
        DomusLeaseTime lease;
} DomusDhcpRange;

typedef struct {
        char *mac, *id, *name, *ip; /* NULL if absent */
        DomusLeaseTime lease;
} DomusDhcpHost;

typedef struct {
        int family;        /* AF_INET, AF_INET6 */
        char *address;     /* of the host on this network */
        unsigned prefix;
        char *network;     /* first address of the network */
        bool local_ptr;
        bool dhcp;
        GPtrArray *ranges; /* DomusDhcpRange* */
        GPtrArray *hosts;  /* DomusDhcpHost* */
        char *tftp_root, *bootp_file, *bootp_server;
} DomusNetworkIp;

typedef struct {
        int family;
        char *address; /* masked */
        unsigned prefix;
        char *gateway;
        unsigned metric; /* 0: the kernel's */
} DomusNetworkRoute;

typedef struct {
        char *domain, *address; /* one may be NULL */
} DomusDnsForwarder;

typedef struct {
        char *name, *value;
} DomusDnsTxt;

typedef struct {
        char *service, *protocol, *domain, *target; /* the last two may be NULL */
        unsigned port, priority, weight;
} DomusDnsSrv;

typedef struct {
        char *ip;
        char **names;
} DomusDnsHost;

typedef struct {
        char *name;
        bool is_default;
        bool isolated, isolated_given;
        DomusBandwidth bandwidth;
} DomusPortgroup;

/* One <range> of a <portForward> (Domus's own element of <nat>, after that of interfaces in formatdomain.html): who connects to these ports of the host is
 * connected with the guest's. */
typedef struct {
        int family;
        char *protocol;       /* "tcp", "udp" */
        char *address;        /* the host's; NULL: any */
        char *device;         /* that the packets come in by; NULL: any but the network's own */
        char *target;         /* the guest's address */
        unsigned start, end;  /* the host's ports */
        unsigned to;          /* the guest's port for start */
} DomusPortForward;

typedef struct {
        xmlDoc *doc; /* owned; root is <network> */

        char *name;
        uint8_t uuid[DOMUS_UUID_LEN];
        char *title, *description; /* NULL if absent */

        DomusForwardMode mode;
        char *direct_mode;         /* DIRECT: "bridge", "vepa", "private", "passthrough" */
        char **devices;            /* forward devices, or NULL */
        bool nat_ipv6;
        char *nat_start, *nat_end; /* source addresses of NAT, or NULL */
        unsigned nat_port_start, nat_port_end; /* 0: not given */

        char *bridge;              /* NULL: to be chosen at start; never for BRIDGE */
        bool stp;
        unsigned delay;            /* seconds */
        bool has_mac;
        uint8_t mac[6];            /* of the bridge */
        unsigned mtu;              /* 0: the kernel's */
        bool guest_ipv6;           /* ipv6='yes': IPv6 between guests without an address of the host */
        bool isolated;             /* <port isolated='yes'/> */
        DomusBandwidth bandwidth;

        char *domain;
        bool domain_local_only;
        bool dns, dns_forward_plain;
        GPtrArray *forwarders, *txts, *srvs, *dns_hosts;
        GPtrArray *ips, *routes, *portgroups, *port_forwards;
} DomusNetworkDef;

typedef enum {
        DOMUS_NETWORK_DEF_VALIDATE = 1 << 0, /* also check against the RELAX NG schema, if installed */
} DomusNetworkDefParseFlags;

/* NULL on error. */
DomusNetworkDef *domus_network_def_parse(const char *xml, unsigned flags, GError **error);
DomusNetworkDef *domus_network_def_copy(const DomusNetworkDef *def);
void domus_network_def_free(DomusNetworkDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusNetworkDef, domus_network_def_free)

/* g_free the result. connections: connected ports, 0: none, or not to be told. */
char *domus_network_def_format(const DomusNetworkDef *def, unsigned connections);

/* Live copy, or a definition that is to keep its name: <bridge name=…>. */
void domus_network_def_set_bridge(DomusNetworkDef *def, const char *bridge);

/* NULL: the default portgroup. NULL with an error if name is given and there is none such; NULL without one if there is no default. */
const DomusPortgroup *domus_network_def_portgroup(const DomusNetworkDef *def, const char *name, GError **error);

/* virNetworkUpdate: what is to be done with which part, for domus_network_def_update. */
typedef enum { DOMUS_UPDATE_ADD_FIRST, DOMUS_UPDATE_ADD_LAST, DOMUS_UPDATE_MODIFY, DOMUS_UPDATE_DELETE } DomusNetworkUpdateCommand;

typedef enum {
        DOMUS_SECTION_DHCP_RANGE,
        DOMUS_SECTION_DHCP_HOST,
        DOMUS_SECTION_DNS_HOST,
        DOMUS_SECTION_DNS_TXT,
        DOMUS_SECTION_DNS_SRV,
        DOMUS_SECTION_FORWARD_INTERFACE,
        DOMUS_SECTION_PORTGROUP,
} DomusNetworkSection;

/* A changed copy; NULL on error. parent: index of the <ip> element, or -1: the one that fits. */
DomusNetworkDef *domus_network_def_update(const DomusNetworkDef *def, DomusNetworkUpdateCommand command, DomusNetworkSection section, int parent,
                                          const char *xml, GError **error);

/* Title and description NULL or "" remove. */
bool domus_network_def_set_title(DomusNetworkDef *def, const char *title, GError **error);
bool domus_network_def_set_description(DomusNetworkDef *def, const char *description, GError **error);
/* <metadata> element of the given namespace: xml NULL removes; key is the prefix. */
bool domus_network_def_set_metadata(DomusNetworkDef *def, const char *xml, const char *key, const char *uri, GError **error);
/* DOMUS_ERROR_NO_NETWORK_METADATA. */
char *domus_network_def_get_metadata(const DomusNetworkDef *def, const char *uri, GError **error);
