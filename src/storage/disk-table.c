/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/macros.h"
#include "storage/disk.h"
#include "storage/json.h"

#define DEFAULT_SECTOR 512
#define NUMBER_MAX 128

static void clear_partition(gpointer p)
{
        g_free(((DiskPartition *)p)->node);
        g_free(((DiskPartition *)p)->type);
}

void disk_table_clear(DiskTable *t)
{
        g_free(t->label);
        g_free(t->device);
        g_clear_pointer(&t->partitions, g_array_unref);
}

static int by_start(gconstpointer a, gconstpointer b)
{
        const DiskPartition *x = a, *y = b;

        return x->start < y->start ? -1 : x->start > y->start;
}

static void add_partition(DiskTable *t, JsonObject *o, uint64_t sector)
{
        DiskPartition p = {
                .node = g_strdup(storage_json_string(o, "node")),
                .type = g_strdup(storage_json_string(o, "type")),
                .start = storage_json_number(o, "start") * sector,
        };

        p.end = p.start + storage_json_number(o, "size") * sector;
        g_array_append_val(t->partitions, p);
}

bool disk_parse_table(const char *json, uint64_t size, DiskTable *ret, GError **error)
{
        g_autoptr(JsonNode) root = storage_json_parse("sfdisk", json, error);
        JsonObject *table = root ? storage_json_object(json_node_get_object(root), "partitiontable") : NULL;
        JsonArray *list = storage_json_array(table, "partitions");
        uint64_t sector = storage_json_number(table, "sectorsize"), last = storage_json_number(table, "lastlba");

        if (!root)
                return false;
        if (!storage_json_string(table, "label") || !storage_json_string(table, "device"))
                return storage_fail(error, DOMUS_ERROR_INTERNAL, "sfdisk gives no partition table");
        sector = sector ? sector : DEFAULT_SECTOR;
        *ret = (DiskTable){
                .label = g_strdup(storage_json_string(table, "label")),
                .device = g_strdup(storage_json_string(table, "device")),
                .first = MAX(MiB(1), storage_json_number(table, "firstlba") * sector),
                .last = last ? (last + 1) * sector : size,
                .partitions = g_array_new(FALSE, FALSE, sizeof(DiskPartition)),
        };
        g_array_set_clear_func(ret->partitions, clear_partition);
        for (guint i = 0; list && i < json_array_get_length(list); i++)
                if (storage_json_string(storage_json_element(list, i), "node"))
                        add_partition(ret, storage_json_element(list, i), sector);
        g_array_sort(ret->partitions, by_start);
        return true;
}

/* --- Gaps --- */

/* Gap i is in front of partition i, the last one behind all. False: there are no more. */
static bool get_gap(const DiskTable *t, guint i, uint64_t *ret_start, uint64_t *ret_end)
{
        uint64_t start = t->first;

        if (i > t->partitions->len)
                return false;
        /* A partition may lie within another, extended one. */
        for (guint j = 0; j < i; j++)
                start = MAX(start, g_array_index(t->partitions, DiskPartition, j).end);
        *ret_start = ALIGN_UP(start, MiB(1));
        *ret_end = i < t->partitions->len ? g_array_index(t->partitions, DiskPartition, i).start : t->last;
        return true;
}

uint64_t disk_free_bytes(const DiskTable *t)
{
        uint64_t sum = 0, start, end;

        for (guint i = 0; get_gap(t, i, &start, &end); i++)
                if (end > start && end - start >= MiB(1))
                        sum += end - start;
        return sum;
}

bool disk_find_gap(const DiskTable *t, uint64_t bytes, uint64_t *ret_start)
{
        uint64_t start, end;

        for (guint i = 0; get_gap(t, i, &start, &end); i++)
                if (end > start && end - start >= bytes) {
                        *ret_start = start;
                        return true;
                }
        return false;
}

/* --- Names --- */

char *disk_partition_name(const char *device, unsigned number)
{
        g_autofree char *base = g_path_get_basename(device);
        bool digit = g_ascii_isdigit(base[strlen(base) - 1]);

        return g_strdup_printf("%s%s%u", base, digit ? "p" : "", number);
}

unsigned disk_partition_number(const char *device, const char *node)
{
        size_t n = strlen(device);

        if (strncmp(device, node, n) != 0)
                return 0;
        return (unsigned)strtoul(node + n + (node[n] == 'p'), NULL, 10);
}

unsigned disk_free_number(const DiskTable *t)
{
        unsigned number = 1;

        for (guint i = 0; i < t->partitions->len && number < NUMBER_MAX; i++) {
                /* Not in the order of numbers: begin again after each hit. */
                if (disk_partition_number(t->device, g_array_index(t->partitions, DiskPartition, i).node) == number) {
                        number++;
                        i = (guint)-1;
                }
        }
        return number;
}

const char *disk_partition_format(const char *type)
{
        static const struct {
                const char *type, *format;
        } known[] = {
                { "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "linux" },
                { "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "linux-swap" },
                { "E6D6D379-F507-44C2-A23C-238F2A3DF928", "linux-lvm" },
                { "A19D880F-05FC-4D3B-A006-743F0F84911E", "linux-raid" },
                { "83", "linux" },  { "82", "linux-swap" }, { "8e", "linux-lvm" }, { "fd", "linux-raid" }, { "5", "extended" }, { "f", "extended" },
                { "6", "fat16" },   { "e", "fat16" },       { "b", "fat32" },      { "c", "fat32" },
        };

        for (size_t i = 0; type && i < G_N_ELEMENTS(known); i++)
                if (g_ascii_strcasecmp(known[i].type, type) == 0)
                        return known[i].format;
        return "none";
}
