/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What programs of the host say, and what becomes of it: LVM, sfdisk, iscsiadm. */

#include <string.h>

#include "base/macros.h"
#include "storage/disk.h"
#include "storage/iscsi.h"
#include "storage/logical.h"

static void free_volume(gpointer p)
{
        domus_volume_def_free(p);
}

/* --- LVM --- */

#define LV(name, origin, type, devices, size, total, attr)                                                                             \
        "{\"lv_name\":\"" name "\",\"origin\":\"" origin "\",\"lv_uuid\":\"uuid-" name "\",\"segtype\":\"" type "\",\"stripes\":\"1\"," \
        "\"devices\":\"" devices "\",\"seg_size\":\"" size "\",\"vg_extent_size\":\"4194304\",\"lv_size\":\"" total                     \
        "\",\"lv_attr\":\"" attr "\"}"

static const char lvs[] =
        "{\"report\":[{\"lv\":["
        LV("root", "", "linear", "/dev/sda2(0)", "8388608", "12582912", "-wi-a-----") ","
        LV("root", "", "linear", "/dev/sdb1(5)", "4194304", "12582912", "-wi-a-----") ","
        LV("snap", "root", "linear", "/dev/sda2(9)", "4194304", "12582912", "swi-a-s---") ","
        LV("stripe", "", "striped", "/dev/sda2(20),/dev/sdb1(30)", "16777216", "16777216", "-wi-ao----") ","
        LV("pool", "", "thin-pool", "pool_tdata(0)", "4194304", "4194304", "twi-aotz--") ","
        LV("off", "", "linear", "/dev/sda2(40)", "4194304", "4194304", "-wi-------")
        "]}]}";

static DomusPoolDef *group(void)
{
        return domus_pool_def_parse("<pool type='logical'><name>p</name><source><name>vg</name></source></pool>", 0, NULL);
}

static void test_lvs(void)
{
        g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(free_volume);
        g_autoptr(DomusPoolDef) def = group();
        g_autoptr(GError) error = NULL;
        const DomusVolumeDef *v;

        g_assert_true(logical_parse_lvs(def, lvs, found, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(found->len, ==, 3); /* neither thin pools nor what is not active */
        v = found->pdata[0];
        g_assert_cmpstr(v->name, ==, "root");
        g_assert_cmpstr(v->path, ==, "/dev/vg/root");
        g_assert_cmpstr(v->key, ==, "uuid-root");
        g_assert_cmpuint(v->capacity, ==, 12582912);
        g_assert_cmpuint(v->allocation, ==, 12582912);
        g_assert_cmpuint(v->extents->len, ==, 2);
        g_assert_cmpuint(g_array_index(v->extents, DomusExtent, 1).start, ==, 5 * 4194304);
        g_assert_cmpuint(g_array_index(v->extents, DomusExtent, 1).end, ==, 6 * 4194304);
        v = found->pdata[1];
        g_assert_cmpstr(v->backing_path, ==, "/dev/vg/root");
        g_assert_cmpuint(v->allocation, ==, 4194304);
        v = found->pdata[2];
        g_assert_cmpuint(v->extents->len, ==, 2);
        g_assert_cmpuint(g_array_index(v->extents, DomusExtent, 0).end, ==, 22 * 4194304);
}

static void test_vgs(void)
{
        g_autoptr(GError) error = NULL;
        DomusPoolState state;

        g_assert_true(logical_parse_vgs("{\"report\":[{\"vg\":[{\"vg_size\":\"1000\",\"vg_free\":\"400\"}]}]}", &state, &error));
        g_assert_cmpuint(state.capacity, ==, 1000);
        g_assert_cmpuint(state.allocation, ==, 600);
        g_assert_cmpuint(state.available, ==, 400);
}

static void test_pvs(void)
{
        g_autoptr(GString) out = g_string_new(NULL);
        g_autoptr(GError) error = NULL;

        g_assert_true(logical_parse_pvs("{\"report\":[{\"pv\":[{\"pv_name\":\"/dev/a\",\"vg_name\":\"x\"},{\"pv_name\":\"/dev/b\",\"vg_name\":\"\"},"
                                        "{\"pv_name\":\"/dev/c\",\"vg_name\":\"x\"}]}]}",
                out, &error));
        g_assert_cmpstr(out->str, ==,
                "  <source>\n    <device path='/dev/a'/>\n    <device path='/dev/c'/>\n    <name>x</name>\n    <format type='lvm2'/>\n  </source>\n");
}

static void test_nonsense(void)
{
        static const char *const texts[] = { "", "x", "[]", "{}", "{\"report\":[]}", "{\"report\":[{\"lv\":[{}],\"vg\":[{}]}]}",
                                             "{\"report\":[{\"lv\":[7],\"vg\":[7]}]}", "{\"report\":[{\"lv\":7,\"vg\":7}]}" };
        g_autoptr(DomusPoolDef) def = group();

        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
                g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(free_volume);
                g_autoptr(GError) first = NULL, second = NULL, third = NULL;
                DomusPoolState state;
                DiskTable table;

                g_assert_false(logical_parse_lvs(def, texts[i], found, &first));
                g_assert_error(first, DOMUS_ERROR, DOMUS_ERROR_INTERNAL);
                g_assert_false(logical_parse_vgs(texts[i], &state, &second));
                g_assert_error(second, DOMUS_ERROR, DOMUS_ERROR_INTERNAL);
                g_assert_false(disk_parse_table(texts[i], 1, &table, &third));
                g_assert_error(third, DOMUS_ERROR, DOMUS_ERROR_INTERNAL);
        }
}

/* --- sfdisk --- */

static const char table_json[] =
        "{\"partitiontable\":{\"label\":\"gpt\",\"id\":\"X\",\"device\":\"/dev/nvme0n1\",\"unit\":\"sectors\",\"firstlba\":2048,\"lastlba\":204766,"
        "\"sectorsize\":512,\"partitions\":["
        "{\"node\":\"/dev/nvme0n1p3\",\"start\":61440,\"size\":20480,\"type\":\"0FC63DAF-8483-4772-8E79-3D69D8477DE4\"},"
        "{\"node\":\"/dev/nvme0n1p1\",\"start\":2048,\"size\":20480,\"type\":\"C12A7328-F81F-11D2-BA4B-00A0C93EC93B\"}]}}";

static void test_table(void)
{
        g_autoptr(GError) error = NULL;
        g_autofree char *name = NULL;
        uint64_t start;
        DiskTable t;

        g_assert_true(disk_parse_table(table_json, MiB(100), &t, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(t.label, ==, "gpt");
        g_assert_cmpuint(t.partitions->len, ==, 2);
        g_assert_cmpuint(g_array_index(t.partitions, DiskPartition, 0).start, ==, MiB(1));
        g_assert_cmpuint(disk_free_bytes(&t), ==, MiB(19) + 204767 * 512 - MiB(40));
        g_assert_true(disk_find_gap(&t, MiB(19), &start));
        g_assert_cmpuint(start, ==, MiB(11));
        g_assert_true(disk_find_gap(&t, MiB(20), &start));
        g_assert_cmpuint(start, ==, MiB(40));
        g_assert_false(disk_find_gap(&t, MiB(60), &start));
        g_assert_cmpuint(disk_free_number(&t), ==, 2);
        name = disk_partition_name(t.device, 2);
        g_assert_cmpstr(name, ==, "nvme0n1p2");
        g_assert_cmpstr(disk_partition_format(g_array_index(t.partitions, DiskPartition, 1).type), ==, "linux");
        g_assert_cmpstr(disk_partition_format(g_array_index(t.partitions, DiskPartition, 0).type), ==, "none");
        disk_table_clear(&t);
}

static void test_partition_names(void)
{
        g_autofree char *plain = disk_partition_name("/dev/sda", 12);

        g_assert_cmpstr(plain, ==, "sda12");
        g_assert_cmpuint(disk_partition_number("/dev/sda", "/dev/sda12"), ==, 12);
        g_assert_cmpuint(disk_partition_number("loop0", "loop0p3"), ==, 3);
        g_assert_cmpuint(disk_partition_number("/dev/sda", "/dev/sdb1"), ==, 0);
}

/* --- iscsiadm --- */

static void test_iscsi(void)
{
        static const char sessions[] = "tcp: [1] 10.0.0.1:3260,1 iqn.a (non-flash)\ntcp: [22] 10.0.0.1:3260,1 iqn.ab (non-flash)\n";
        static const char targets[] = "10.0.0.1:3260,1 iqn.a\n[fe80::1]:3260,1 iqn.a\n10.0.0.1:3260,1 iqn.b\n";
        g_autoptr(GString) out = g_string_new(NULL);

        g_assert_cmpint(iscsi_find_session(sessions, "iqn.ab"), ==, 22);
        g_assert_cmpint(iscsi_find_session(sessions, "iqn.b"), ==, -1);
        g_assert_cmpint(iscsi_find_session("", "iqn.a"), ==, -1);
        g_assert_true(iscsi_has_target(targets, "iqn.b"));
        g_assert_cmpuint(iscsi_unit_of("unit:0:0:17"), ==, 17);
        g_assert_cmpuint(iscsi_unit_of("none"), ==, 0);
        g_assert_false(iscsi_has_target(targets, "iqn"));
        iscsi_append_sources(targets, "h", out);
        g_assert_cmpstr(out->str, ==,
                "  <source>\n    <host name='h'/>\n    <device path='iqn.a'/>\n  </source>\n"
                "  <source>\n    <host name='h'/>\n    <device path='iqn.b'/>\n  </source>\n");
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/logical/lvs", test_lvs);
        g_test_add_func("/logical/vgs", test_vgs);
        g_test_add_func("/logical/pvs", test_pvs);
        g_test_add_func("/reports/nonsense", test_nonsense);
        g_test_add_func("/disk/table", test_table);
        g_test_add_func("/disk/names", test_partition_names);
        g_test_add_func("/iscsi/text", test_iscsi);
        return g_test_run();
}
