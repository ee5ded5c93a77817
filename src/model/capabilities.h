/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* libvirt's capabilities and domain capabilities documents (formatcaps.html, formatdomaincaps.html), from plain facts that the daemon
 * gathers: this folder looks at no host. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/domain-def.h"

typedef struct {
        unsigned id;              /* logical CPU number */
        unsigned socket, die, core;
        unsigned node;
        char *siblings;           /* "0-1" */
} DomusHostCpu;

typedef struct {
        unsigned id;
        uint64_t memory_kib;
} DomusHostNode;

typedef struct {
        uint8_t uuid[DOMUS_UUID_LEN];
        char *arch;               /* "x86_64" */
        char *cpu_model;          /* a libvirt model name, e.g. "EPYC-Milan", "qemu64" as the last resort */
        char *cpu_vendor;         /* "Intel", "AMD" */
        char **cpu_features;      /* libvirt feature names beyond the model's; NULL-terminated */
        uint64_t microcode;
        unsigned sockets, dies, cores, threads;
        DomusHostCpu *cpus;
        unsigned n_cpus;
        DomusHostNode *nodes;
        unsigned n_nodes;
        uint64_t page_size_kib;
        bool kvm;                 /* KVM is real here */
        unsigned max_vcpus;
        char *emulator;           /* path of domus-vm */
} DomusHostFacts;

void domus_host_facts_clear(DomusHostFacts *facts);

char *domus_capabilities_format(const DomusHostFacts *facts);
/* Each argument may be NULL: a default is chosen; what was given is echoed exactly. Errors for an arch, machine, emulator or virt type that is not ours. */
char *domus_domain_capabilities_format(const DomusHostFacts *facts, const char *emulator, const char *arch,
                                       const char *machine, const char *virt_type, GError **error);
/* <sysinfo type='smbios'> with what is known of the host; strings may be NULL. */
typedef struct {
        char *bios_vendor, *bios_version, *bios_date;
        char *system_manufacturer, *system_product, *system_version, *system_serial, *system_uuid, *system_family;
} DomusSysinfo;
char *domus_sysinfo_format(const DomusSysinfo *info);
void domus_sysinfo_clear(DomusSysinfo *info);
