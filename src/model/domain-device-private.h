/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of the device kinds share. A kind is one file and one row in the table of domain-device.c. */

#include "model/domain-def-private.h"
#include "model/domain-device.h"
#include "model/domain-rules.h"

struct device_kind {
        const struct element_rule *rule;
        DomusDeviceKind kind; /* NONE: the element is looked at elsewhere, or means no device; parse is NULL then */
        /* Fills in what is missing in d->node, and the view, but for alias, address and boot order. May set d->kind to NONE. */
        bool (*parse)(DomusDevice *d, GError **error);
        /* The type of the address that d needs; NULL: none. */
        DomusAddressType (*address)(const DomusDevice *d);
        /* libvirt's alias (g_free); n: how many of the same kind come before. */
        char *(*alias)(const DomusDevice *d, unsigned n);
        /* Do both, of this kind, mean one device? wanted has only what a client gave to find a device. */
        bool (*matches)(const DomusDevice *d, const DomusDevice *wanted);
        /* Removes what only a running domain has, besides the alias. May be NULL. */
        void (*drop_live)(xmlNode *node);
};

extern const struct device_kind domain_disk_kind, domain_controller_kind, domain_interface_kind, domain_serial_kind, domain_console_kind,
        domain_channel_kind, domain_audio_kind, domain_video_kind, domain_balloon_kind, domain_rng_kind;

/* --- For the kinds --- */

/* An attribute as a string of d's, or NULL. */
const char *device_attr(DomusDevice *d, const xmlNode *node, const char *name);
const char *device_text(DomusDevice *d, const xmlNode *node);
const char *device_string(DomusDevice *d, const char *s);
/* An absent attribute leaves *ret alone. */
bool device_uint(const xmlNode *node, const char *attr, uint64_t max, uint64_t *ret, GError **error);
bool device_uint32(const xmlNode *node, const char *attr, uint32_t max, unsigned *ret, GError **error);
/* "on", "yes" are true; absent: fallback. */
bool device_bool(const xmlNode *node, const char *attr, bool fallback);
/* The attribute must be there. */
bool device_require(const DomusDevice *d, const xmlNode *node, const char *element, const char *attr, GError **error);
DomusAddressType device_address_pci(const DomusDevice *d);
/* <ip> and <portForward> of an interface, for those of type 'user'. */
bool domain_user_parse(DomusDevice *d, GError **error);

/* --- Steps of reading all devices --- */

/* The view of one element: *ret NULL if it is none of the kinds with a view. */
bool domain_device_parse(xmlNode *node, DomusDevice **ret, GError **error);
void domain_device_free(gpointer device);
const struct device_kind *domain_device_kind_of(const xmlNode *node);
/* Reads def->devices anew from a document that is known to be right. */
void domain_devices_reload(DomusDomainDef *def);
/* Reads the address that the document gives, if any, and checks it by itself. */
bool domain_address_parse(DomusDevice *d, DomusAddressType type, GError **error);
/* Adds missing controllers, gives every device without one an address, and refuses two devices at one address. */
bool domain_assign_addresses(DomusDomainDef *def, GError **error);
/* The views, addresses, and checks across devices, of a document whose elements were checked. */
bool domain_devices_fill(DomusDomainDef *def, GError **error);
void domain_drop_live_of_device(xmlNode *device);
/* Live: gives every device of def its alias. */
void domain_assign_aliases(DomusDomainDef *def);
