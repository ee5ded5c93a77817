/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The steps of domus_domain_def_parse. Private to src/model. */

#include "model/domain-def.h"
#include "model/error.h"
#include "model/xml-dom.h"
#include "model/xml-rules.h"

/* Checks every element, attribute and value below <domain> against the table of what is supported, and removes what only lays out the
 * text (white space, comments) outside <metadata>. */
bool domain_rules_check(xmlNode *root, GError **error);
/* Puts the children of every element in libvirt's order. */
void domain_rules_sort(xmlNode *root);
/* Removes what only a running domain has: id, ttys, aliases that are not the user's ("ua-"). */
void domain_drop_live(xmlNode *root);

/* Fill in what is missing, refuse what contradicts itself, and set the typed view: one function per part of the document. */
bool domain_fill_identity(DomusDomainDef *def, GError **error);
bool domain_fill_resources(DomusDomainDef *def, GError **error);
bool domain_fill_os(DomusDomainDef *def, GError **error);
bool domain_fill_boot_loader(DomusDomainDef *def, GError **error); /* after the kernel; domain-boot.c */
bool domain_fill_sysinfo(DomusDomainDef *def, GError **error); /* domain-sysinfo.c */
bool domain_fill_devices(DomusDomainDef *def, GError **error);

/* Is it the serial port's second name, rather than a virtio console? */
bool domain_console_is_serial(const xmlNode *console);
xmlNode *domain_serial_console(const xmlNode *devices);

bool domain_check_name(const char *name, GError **error);
bool domain_check_title(const char *title, GError **error);
bool domain_check_text(const char *text, const char *what, GError **error);
bool domain_check_metadata(const xmlNode *metadata, GError **error);

/* Against libvirt's domain.rng, where installed. */
bool domain_schema_check(xmlDoc *doc, GError **error);
