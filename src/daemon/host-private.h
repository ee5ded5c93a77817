/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The parts of host.c. */

#include "daemon/host.h"

struct DomusHost {
        char *root; /* before /proc and /sys: "", except in tests */
        char *engine_reason;
        unsigned mhz;
        DomusHostFacts facts;
};

/* Like domus_host_new, with a directory in place of /. */
DomusHost *domus_host_new_at(const char *root, const char *vmm_path, GError **error);

/* Content of a small file below root, white space at its end removed; NULL if it cannot be read. */
char *host_read(const char *root, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* A number in such a file, or fallback. */
unsigned host_read_uint(unsigned fallback, const char *root, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Value in KiB of a line "key: N kB" of a meminfo file's text; false if there is none. */
bool host_meminfo_value(const char *text, const char *key, uint64_t *ret);

/* "0-3,8" as an array of unsigned; an empty one for a malformed list. Numbers above 65535 are malformed. */
GArray *host_parse_list(const char *list);

/* cpus, nodes and counts from /sys/devices/system. */
bool host_read_topology(const char *root, DomusHostFacts *facts, GError **error);

/* Model, vendor and further features of the CPU this runs on, in libvirt's words, if its CPU map is in map_dir; else "qemu64", the
 * model that every x86-64 CPU is at least. */
void host_read_cpu_model(const char *map_dir, DomusHostFacts *facts);
