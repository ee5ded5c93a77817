/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Facts about the host, from /proc and /sys. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/capabilities.h"
#include "model/error.h"

typedef struct DomusHost DomusHost;

/* Runs the KVM probe (in a short-lived child: domus-vm probe) and reads the topology. vmm_path: domus-vm. Never fails for lack of KVM. */
DomusHost *domus_host_new(const char *vmm_path, GError **error);
void domus_host_free(DomusHost *h);

const DomusHostFacts *domus_host_facts(const DomusHost *h);
const char *domus_host_engine_reason(const DomusHost *h); /* one line: why kvm or software */
/* Re-opened for each VM; negative errno. */
int domus_host_open_kvm(const DomusHost *h);

typedef struct {
        char model[32];
        uint64_t memory_kib;
        unsigned cpus, mhz, nodes, sockets, cores, threads;
} DomusNodeInfo;
void domus_host_node_info(const DomusHost *h, DomusNodeInfo *ret);

/* Name/value pairs as virNodeGetCPUStats / virNodeGetMemoryStats name them ("user", "kernel", "idle", "iowait"; "total", "free", ...).
 * cpu: -1 all; cell: -1 all. */
typedef struct {
        const char *field;
        uint64_t value;
} DomusNodeStat;
GArray *domus_host_cpu_stats(const DomusHost *h, int cpu, GError **error);
GArray *domus_host_memory_stats(const DomusHost *h, int cell, GError **error);
uint64_t domus_host_free_memory(const DomusHost *h);          /* bytes */
bool domus_host_cell_free_memory(const DomusHost *h, unsigned cell, uint64_t *ret, GError **error); /* bytes */
/* Bitmap of online CPUs, little endian bits, as virNodeGetCPUMap has it; *ret_ncpus: number of present CPUs, the bits that count; *ret_online:
 * its population count. g_free. */
uint8_t *domus_host_cpu_map(const DomusHost *h, unsigned *ret_ncpus, unsigned *ret_online);
char *domus_host_sysinfo_xml(const DomusHost *h, GError **error);
