/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What storage reads of others: image headers, the XML of pools and volumes, reports of programs. The first byte says which. */

#include "smoke.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "model/pool-def.h"
#include "model/volume-def.h"
#include "storage/disk.h"
#include "storage/image.h"
#include "storage/iscsi.h"
#include "storage/logical.h"

static void check_outcome(bool ok, const GError *error)
{
        if (ok == !!error)
                g_error("neither or both of a result and an error");
}

static void read_image(const uint8_t *data, size_t size)
{
        g_autoptr(GError) error = NULL;
        int DOMUS_CLOSE_FD fd = memfd_create("image", MFD_CLOEXEC);
        DomusImage image;
        bool ok;

        if (fd < 0 || fd_write_all(fd, data, size) < 0)
                return;
        ok = storage_image_read(fd, "/dir/image", NULL, true, &image, &error);
        check_outcome(ok, error);
        if (ok)
                domus_image_clear(&image);
}

static void read_pool(const char *xml)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusPoolDef) def = domus_pool_def_parse(xml, 0, &error), again = NULL;
        g_autofree char *first = NULL, *second = NULL;

        check_outcome(def, error);
        if (!def)
                return;
        first = domus_pool_def_format(def, NULL);
        again = domus_pool_def_parse(first, 0, &error);
        if (!again)
                g_error("own document refused: %s\n%s", error->message, first);
        second = domus_pool_def_format(again, NULL);
        if (strcmp(first, second) != 0)
                g_error("not the same twice:\n%s\n%s", first, second);
}

static void read_volume(const char *xml)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusVolumeDef) def = domus_volume_def_parse(xml, 0, &error), again = NULL;
        g_autofree char *first = NULL, *second = NULL;

        check_outcome(def, error);
        if (!def)
                return;
        first = domus_volume_def_format(def);
        again = domus_volume_def_parse(first, 0, &error);
        if (!again)
                g_error("own document refused: %s\n%s", error->message, first);
        second = domus_volume_def_format(again);
        if (strcmp(first, second) != 0)
                g_error("not the same twice:\n%s\n%s", first, second);
}

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

static void read_lvs(const char *json)
{
        g_autoptr(DomusPoolDef) def = domus_pool_def_parse("<pool type='logical'><name>vg</name></pool>", 0, NULL);
        g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func(free_volume);
        g_autoptr(GError) error = NULL;
        bool ok = logical_parse_lvs(def, json, volumes, &error);

        check_outcome(ok, error);
}

static void read_table(const char *json)
{
        g_autoptr(GError) error = NULL;
        uint64_t start;
        DiskTable t;
        bool ok = disk_parse_table(json, 1 << 30, &t, &error);

        check_outcome(ok, error);
        if (!ok)
                return;
        disk_free_bytes(&t);
        disk_find_gap(&t, 1 << 20, &start);
        disk_free_number(&t);
        disk_table_clear(&t);
}

static void read_targets(const char *text)
{
        g_autoptr(GString) out = g_string_new(NULL);

        iscsi_find_session(text, "iqn.a");
        iscsi_has_target(text, "iqn.a");
        iscsi_append_sources(text, "h", out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static void (*const readers[])(const char *text) = { read_pool, read_volume, read_lvs, read_table, read_targets };
        g_autofree char *text = NULL;

        if (!size)
                return 0;
        if (data[0] % 8 >= G_N_ELEMENTS(readers)) {
                read_image(data + 1, size - 1);
                return 0;
        }
        text = g_strndup((const char *)data + 1, size - 1);
        readers[data[0] % 8](text);
        return 0;
}

#define SEED(s) { s, sizeof(s) - 1 }
#define ZERO4 "\0\0\0\0"
#define ZERO8 ZERO4 ZERO4

const struct fuzz_seed fuzz_seeds[] = {
        SEED("\0<pool type='fs'><name>a</name><source><device path='/d'/><format type='ext4'/></source><target><path>/x/</path>"
             "<permissions><mode>0711</mode><owner>0</owner></permissions></target></pool>"),
        SEED("\0<pool type='iscsi'><name>&amp;</name><source><host name='h' port='1'/><device path='iqn'/><initiator><iqn name='i'/></initiator>"
             "</source><target><path>/dev/disk</path></target></pool>"),
        SEED("\0<pool type='iscsi-direct'><name>d</name><source><host name='h'/><device path='iqn'/><initiator><iqn name='i'/></initiator></source></pool>"),
        SEED("\1<volume><name>a</name><capacity unit='GiB'>1</capacity><allocation>0</allocation><target><path>/p</path><format type='qcow2'/>"
             "<compat>1.1</compat><clusterSize unit='KiB'>64</clusterSize><features><lazy_refcounts/></features></target>"
             "<backingStore><path>/b</path><format type='raw'/></backingStore></volume>"),
        SEED("\2{\"report\":[{\"lv\":[{\"lv_name\":\"a\",\"origin\":\"\",\"lv_uuid\":\"u\",\"devices\":\"/dev/sda(0),/dev/sdb(1)\","
             "\"seg_size\":\"4096\",\"vg_extent_size\":\"4096\",\"lv_size\":\"4096\",\"lv_attr\":\"-wi-a-----\"}]}]}"),
        SEED("\3{\"partitiontable\":{\"label\":\"gpt\",\"device\":\"/dev/sda\",\"firstlba\":2048,\"lastlba\":204766,\"sectorsize\":512,"
             "\"partitions\":[{\"node\":\"/dev/sda1\",\"start\":2048,\"size\":20480,\"type\":\"83\"}]}}"),
        SEED("\4tcp: [1] 10.0.0.1:3260,1 iqn.a (non-flash)\n10.0.0.1:3260,1 iqn.a\n"),
        /* qcow2: version 3, clusters of 512 bytes, tables behind the header, a backing file and its format. */
        SEED("\7QFI\xfb\0\0\0\3\0\0\0\0\0\0\0\x88\0\0\0\4\0\0\0\x09\0\0\0\0\0\x10\0\0" ZERO4 "\0\0\0\1\0\0\0\0\0\0\0\x98\0\0\0\0\0\0\0\0" ZERO4
             "\0\0\0\0\0\0\0\0\0\0\0\0" ZERO8 ZERO8 ZERO8 "\0\0\0\4\0\0\0\x68\xe2\x79\x2a\xca\0\0\0\3raw\0\0\0\0\0" ZERO8 ZERO8 "base" ZERO8 ZERO8 ZERO8),
        SEED("\7KDMV\0\0\0\1\0\0\0\0\0\1\0\0\0\0\0\0" ZERO8 ZERO8),
        SEED("\7QED\0" ZERO8 ZERO8 ZERO8 ZERO8 ZERO8 ZERO8 ZERO8),
};
const size_t fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);
