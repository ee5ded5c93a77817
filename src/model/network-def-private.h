/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The steps of domus_network_def_parse. Private to src/model. */

#include "model/error.h"
#include "model/network-def.h"
#include "model/xml-dom.h"
#include "model/xml-rules.h"

extern const struct element_rule network_rule;

/* Fill in what is missing, refuse what contradicts itself, and set the typed view: one function per part of the document. */
bool network_fill_link(DomusNetworkDef *def, GError **error);       /* forward, bridge, mac, mtu, bandwidth, port, portgroups */
bool network_fill_addresses(DomusNetworkDef *def, GError **error);  /* ip with dhcp and tftp, route */
bool network_fill_port_forwards(DomusNetworkDef *def, GError **error); /* after the addresses */
bool network_fill_dns(DomusNetworkDef *def, GError **error);        /* domain, dns */

void network_ip_free(gpointer ip);
void network_route_free(gpointer route);
void network_forwarder_free(gpointer forwarder);
void network_txt_free(gpointer txt);
void network_srv_free(gpointer srv);
void network_host_free(gpointer host);
void network_portgroup_free(gpointer portgroup);
void network_port_forward_free(gpointer forward);

/* Takes the document. */
DomusNetworkDef *network_def_from_doc(xmlDoc *doc, GError **error);

/* A word for dnsmasq's configuration and for host names: letters, digits, '.', '-', '_'; at most 255. */
bool network_check_word(const char *text, const char *what, GError **error);
/* Attribute yes|no (the rules have checked that); fallback if it is absent. */
bool network_yes_no(const xmlNode *node, const char *name, bool fallback);
bool network_uint_attr(const xmlNode *node, const char *name, uint64_t max, uint64_t fallback, uint64_t *ret, GError **error);
bool network_check_device(const char *name, const char *what, GError **error);
