/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a domain is: its libvirt domain XML (formatdomain.html), kept as the user's document, and a typed view of what we use.
 *
 * The document stays the source of truth: parsing fills in what is missing (uuid, memory unit, currentMemory, vcpu, on_*,
 * clock, emulator, console/serial pairs, aliases on the live copy) in the DOM, so that formatting is a dump of it. An element or value that we
 * do not support is DOMUS_ERROR_CONFIG_UNSUPPORTED with its name; it is never ignored. <metadata> is kept byte for byte. */

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/uuid.h"

typedef enum { DOMUS_VIRT_DOMUS, DOMUS_VIRT_QEMU, DOMUS_VIRT_KVM } DomusVirtType; /* domus: best engine; qemu: software; kvm: KVM */

typedef enum { DOMUS_ACTION_DESTROY, DOMUS_ACTION_RESTART, DOMUS_ACTION_PRESERVE, DOMUS_ACTION_RENAME_RESTART } DomusAction;

typedef struct DomusDevice DomusDevice; /* domain-device.h */

typedef struct {
        xmlDoc *doc;              /* owned; root is <domain> */

        char *name;
        uint8_t uuid[DOMUS_UUID_LEN];
        DomusVirtType virt_type;
        char *title, *description; /* NULL if absent */
        uint64_t memory_max;      /* KiB: <memory> */
        uint64_t memory_current;  /* KiB: <currentMemory> */
        unsigned vcpus_max, vcpus_current;
        char *os_type;            /* "hvm" ("linux" on input becomes hvm with a kernel) */
        char *machine;            /* canonical name, "domus" */
        char *kernel, *initrd, *cmdline; /* NULL if absent. Without a kernel the boot loader finds it on a disk: domus_domain_def_boot_disk() */
        char **bootloader_options; /* domus-bootloader's, one word each; {NULL} if there are none */
        char **smbios;            /* name, value, ..., NULL: "system.serial" and the like, "oem" */
        char *emulator;           /* NULL if absent */
        uint64_t code_cache;      /* KiB: <features><tcg><tb-cache>, of all vCPUs; 0: the engine's choice. For the software engine */
        bool acpi, apic;
        bool rtc_localtime;
        DomusAction on_poweroff, on_reboot, on_crash;
        unsigned n_serials;       /* <serial>/<console> of type pty: 0 or 1 for now */
        GPtrArray *devices;       /* DomusDevice *, in the document's order */
} DomusDomainDef;

typedef enum {
        DOMUS_DEF_VALIDATE = 1 << 0, /* also check against the RELAX NG schema if installed, else structurally; DOMUS_ERROR_XML_INVALID */
        DOMUS_DEF_LIVE = 1 << 1,     /* keep live-only nodes (id is dropped, aliases and ttys stay): for the daemon's own state files, not for users' XML */
} DomusDefParseFlags;

typedef enum {
        DOMUS_DEF_SECURE = 1 << 0,   /* keep passwords */
        DOMUS_DEF_INACTIVE = 1 << 1, /* drop id, aliases, tty paths and other live-only nodes */
} DomusDefFormatFlags;

/* NULL on error. xml: NUL-terminated, at most 4 MiB. Entities and network access are off. */
DomusDomainDef *domus_domain_def_parse(const char *xml, unsigned flags, GError **error);
DomusDomainDef *domus_domain_def_copy(const DomusDomainDef *def);
void domus_domain_def_free(DomusDomainDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusDomainDef, domus_domain_def_free)

/* g_free the result. id: the running domain's number, or -1. */
char *domus_domain_def_format(const DomusDomainDef *def, int id, unsigned flags);

/* Changes of single things, in DOM and typed view. title/description NULL or "" remove. */
bool domus_domain_def_set_name(DomusDomainDef *def, const char *name, GError **error);
bool domus_domain_def_set_title(DomusDomainDef *def, const char *title, GError **error);
bool domus_domain_def_set_description(DomusDomainDef *def, const char *description, GError **error);
/* <metadata> element of the given namespace: xml NULL removes; key is the prefix. */
bool domus_domain_def_set_metadata(DomusDomainDef *def, const char *xml, const char *key, const char *uri, GError **error);
char *domus_domain_def_get_metadata(const DomusDomainDef *def, const char *uri, GError **error);
bool domus_domain_def_set_memory(DomusDomainDef *def, uint64_t max_kib, uint64_t current_kib, GError **error);
bool domus_domain_def_set_vcpus(DomusDomainDef *def, unsigned max, unsigned current, GError **error);
bool domus_domain_def_set_action(DomusDomainDef *def, const char *which /* "on_poweroff" ... */, DomusAction action, GError **error);
/* Live copy only: the pty of serial port n, as <source path=…/> and tty=… . */
void domus_domain_def_set_tty(DomusDomainDef *def, unsigned n, const char *path);
/* Live copy only: <alias name='serial0'/> and the like for every device. */
void domus_domain_def_assign_aliases(DomusDomainDef *def);

const char *domus_action_to_string(DomusAction a);
const char *domus_virt_type_to_string(DomusVirtType t);

