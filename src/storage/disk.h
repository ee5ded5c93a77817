/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A partition table, as sfdisk --json says it, for backend-disk.c and its test. */

#include "storage/backend.h"

typedef struct {
        char *node;          /* "/dev/sda1" */
        char *type;          /* a GUID, or a number in hexadecimal */
        uint64_t start, end; /* bytes; end is behind the last one */
} DiskPartition;

typedef struct {
        char *label;         /* "gpt", "dos" */
        char *device;
        uint64_t first, last; /* bytes that partitions may have; last is behind them */
        GArray *partitions;  /* of DiskPartition, by start */
} DiskTable;

/* size: of the device, in bytes. */
bool disk_parse_table(const char *json, uint64_t size, DiskTable *ret, GError **error);
void disk_table_clear(DiskTable *t);
/* Bytes in no partition, in gaps of a MiB and more. */
uint64_t disk_free_bytes(const DiskTable *t);
/* The first gap of at least bytes, aligned to a MiB; false: there is none. */
bool disk_find_gap(const DiskTable *t, uint64_t bytes, uint64_t *ret_start);
/* The name of a partition by number, "sda1", "nvme0n1p1"; g_free. */
char *disk_partition_name(const char *device, unsigned number);
/* The lowest number that no partition has. */
unsigned disk_free_number(const DiskTable *t);
/* 0: node is no partition of the device. */
unsigned disk_partition_number(const char *device, const char *node);
/* libvirt's word for what a partition's type says. */
const char *disk_partition_format(const char *type);
