/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/pool-def.h"
#include "model/test-xml.h"
#include "model/volume-def.h"

/* --- Pools --- */

static const char *const pools[] = {
        "<pool type='dir'>\n"
        "  <name>default</name>\n"
        "  <uuid>c1a5e6f0-1111-4222-8333-944455566677</uuid>\n"
        "  <capacity unit='bytes'>0</capacity>\n"
        "  <allocation unit='bytes'>0</allocation>\n"
        "  <available unit='bytes'>0</available>\n"
        "  <source>\n"
        "  </source>\n"
        "  <target>\n"
        "    <path>/srv/a &amp; b</path>\n"
        "    <permissions>\n"
        "      <mode>0711</mode>\n"
        "      <owner>0</owner>\n"
        "      <group>7</group>\n"
        "    </permissions>\n"
        "  </target>\n"
        "</pool>\n",
        "<pool type='netfs'>\n"
        "  <name>nfs</name>\n"
        "  <uuid>c1a5e6f0-1111-4222-8333-944455566677</uuid>\n"
        "  <capacity unit='bytes'>0</capacity>\n"
        "  <allocation unit='bytes'>0</allocation>\n"
        "  <available unit='bytes'>0</available>\n"
        "  <source>\n"
        "    <host name='fe80::1'/>\n"
        "    <dir path='/export'/>\n"
        "    <format type='nfs'/>\n"
        "    <protocol ver='4'/>\n"
        "  </source>\n"
        "  <target>\n"
        "    <path>/mnt/nfs</path>\n"
        "  </target>\n"
        "</pool>\n",
        "<pool type='logical'>\n"
        "  <name>vg</name>\n"
        "  <uuid>c1a5e6f0-1111-4222-8333-944455566677</uuid>\n"
        "  <capacity unit='bytes'>0</capacity>\n"
        "  <allocation unit='bytes'>0</allocation>\n"
        "  <available unit='bytes'>0</available>\n"
        "  <source>\n"
        "    <device path='/dev/sdb'/>\n"
        "    <device path='/dev/sdc'/>\n"
        "    <name>HostVG</name>\n"
        "    <format type='lvm2'/>\n"
        "  </source>\n"
        "  <target>\n"
        "    <path>/dev/HostVG</path>\n"
        "  </target>\n"
        "</pool>\n",
        "<pool type='iscsi'>\n"
        "  <name>san</name>\n"
        "  <uuid>c1a5e6f0-1111-4222-8333-944455566677</uuid>\n"
        "  <capacity unit='bytes'>0</capacity>\n"
        "  <allocation unit='bytes'>0</allocation>\n"
        "  <available unit='bytes'>0</available>\n"
        "  <source>\n"
        "    <host name='san.example' port='3261'/>\n"
        "    <device path='iqn.2001-04.com.example:disk'/>\n"
        "    <initiator>\n"
        "      <iqn name='iqn.2001-04.com.example:us'/>\n"
        "    </initiator>\n"
        "  </source>\n"
        "  <target>\n"
        "    <path>/dev/disk/by-path</path>\n"
        "  </target>\n"
        "</pool>\n",
        "<pool type='iscsi-direct'>\n"
        "  <name>direct</name>\n"
        "  <uuid>c1a5e6f0-1111-4222-8333-944455566688</uuid>\n"
        "  <capacity unit='bytes'>0</capacity>\n"
        "  <allocation unit='bytes'>0</allocation>\n"
        "  <available unit='bytes'>0</available>\n"
        "  <source>\n"
        "    <host name='2001:db8::1' port='3261'/>\n"
        "    <device path='iqn.2001-04.com.example:disk'/>\n"
        "    <initiator>\n"
        "      <iqn name='iqn.2001-04.com.example:us'/>\n"
        "    </initiator>\n"
        "  </source>\n"
        "</pool>\n",
};

static void test_pool_round_trip(void)
{
        for (size_t i = 0; i < G_N_ELEMENTS(pools); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(DomusPoolDef) def = domus_pool_def_parse(pools[i], DOMUS_POOL_DEF_VALIDATE, &error);
                g_autofree char *xml = NULL;

                g_assert_no_error(error);
                xml = domus_pool_def_format(def, NULL);
                g_assert_cmpstr(xml, ==, pools[i]);
        }
}

static void test_pool_fills_in(void)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusPoolDef) def = domus_pool_def_parse("<pool type='dir'><name>a</name><target><path>//srv///b/</path></target></pool>", 0, &error);
        g_autoptr(DomusPoolDef) vg = domus_pool_def_parse("<pool type='logical'><source><name>vg0</name><format type='auto'/></source></pool>", 0, NULL);
        static const uint8_t zero[DOMUS_UUID_LEN];

        g_assert_no_error(error);
        g_assert_cmpstr(def->path, ==, "/srv/b");
        g_assert_cmpint(memcmp(def->uuid, zero, sizeof(zero)), !=, 0);
        g_assert_cmpint(def->perms.mode, ==, -1);
        g_assert_cmpstr(vg->name, ==, "vg0");
        g_assert_cmpstr(vg->path, ==, "/dev/vg0");
        g_assert_cmpstr(vg->format, ==, "lvm2");
}

static void test_pool_refused(void)
{
        static const struct bad_xml bad[] = {
                { "<pool", DOMUS_ERROR_XML, "storage_pool_definition" },
                { "<volume/>", DOMUS_ERROR_XML, "<volume>" },
                { "<pool><name>a</name></pool>", DOMUS_ERROR_XML, "'type'" },
                { "<pool type='rbd'><name>a</name></pool>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "'rbd'" },
                { "<pool type='dir'><target><path>/x</path></target></pool>", DOMUS_ERROR_XML, "name" },
                { "<pool type='dir'><name>a/b</name><target><path>/x</path></target></pool>", DOMUS_ERROR_XML, "'a/b'" },
                { "<pool type='dir'><name>..</name><target><path>/x</path></target></pool>", DOMUS_ERROR_XML, "'..'" },
                { "<pool type='dir'><name>a</name></pool>", DOMUS_ERROR_XML, "target path" },
                { "<pool type='dir'><name>a</name><target><path>x</path></target></pool>", DOMUS_ERROR_XML, "absolute" },
                { "<pool type='dir'><name>a</name><uuid>1</uuid><target><path>/x</path></target></pool>", DOMUS_ERROR_XML, "uuid" },
                { "<pool type='dir'><name>a</name><refresh/></pool>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "<refresh>" },
                { "<pool type='dir'><name>a</name><source><auth type='chap'/></source></pool>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "<auth>" },
                { "<pool type='dir'><name>a</name><name>b</name></pool>", DOMUS_ERROR_XML, "twice" },
                { "<pool type='dir' x='1'><name>a</name></pool>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "'x'" },
                { "<pool type='fs'><name>a</name><target><path>/x</path></target></pool>", DOMUS_ERROR_XML, "source device" },
                { "<pool type='fs'><name>a</name><source><device path='/d'/><format type='zfs'/></source><target><path>/x</path></target></pool>",
                        DOMUS_ERROR_CONFIG_UNSUPPORTED, "'zfs'" },
                { "<pool type='netfs'><name>a</name><source><dir path='/e'/></source><target><path>/x</path></target></pool>", DOMUS_ERROR_XML, "host" },
                { "<pool type='dir'><name>a</name><target><path>/x</path><permissions><mode>999</mode></permissions></target></pool>",
                        DOMUS_ERROR_XML, "'999'" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(DomusPoolDef) def = domus_pool_def_parse(bad[i].xml, 0, &error);

                test_refused(&bad[i], def != NULL, error);
        }
}

static void test_capabilities(void)
{
        const bool available[DOMUS_POOL_TYPES] = { [DOMUS_POOL_DIR] = true };
        g_autofree char *xml = domus_pool_capabilities(available);

        g_assert_nonnull(strstr(xml, "<pool type='dir' supported='yes'>"));
        g_assert_nonnull(strstr(xml, "<pool type='logical' supported='no'>"));
        g_assert_nonnull(strstr(xml, "<value>qcow2</value>"));
}

/* --- Volumes --- */

static const char volume[] =
        "<volume type='file'>\n"
        "  <name>a.qcow2</name>\n"
        "  <capacity unit='bytes'>1073741824</capacity>\n"
        "  <allocation unit='bytes'>4096</allocation>\n"
        "  <target>\n"
        "    <path>/srv/a.qcow2</path>\n"
        "    <format type='qcow2'/>\n"
        "    <permissions>\n"
        "      <mode>0640</mode>\n"
        "      <owner>1</owner>\n"
        "      <group>2</group>\n"
        "    </permissions>\n"
        "    <compat>1.1</compat>\n"
        "    <clusterSize unit='B'>131072</clusterSize>\n"
        "    <features>\n"
        "      <lazy_refcounts/>\n"
        "    </features>\n"
        "  </target>\n"
        "  <backingStore>\n"
        "    <path>/srv/base.img</path>\n"
        "    <format type='raw'/>\n"
        "  </backingStore>\n"
        "</volume>\n";

static void test_volume_round_trip(void)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusVolumeDef) def = domus_volume_def_parse(volume, DOMUS_VOLUME_DEF_VALIDATE, &error);
        g_autoptr(DomusVolumeDef) copy = NULL;
        g_autofree char *xml = NULL;

        g_assert_no_error(error);
        copy = domus_volume_def_copy(def);
        xml = domus_volume_def_format(copy);
        g_assert_cmpstr(xml, ==, volume);
}

static void test_volume_extents(void)
{
        g_autoptr(DomusVolumeDef) def = domus_volume_def_new("lv"), copy = NULL;
        g_autofree char *xml = NULL;

        domus_volume_def_add_extent(def, "/dev/a", 0, 10);
        domus_volume_def_add_extent(def, "/dev/a", 20, 30);
        domus_volume_def_add_extent(def, "/dev/b", 5, 6);
        copy = domus_volume_def_copy(def);
        xml = domus_volume_def_format(copy);
        g_assert_nonnull(strstr(xml, "  <source>\n"
                                     "    <device path='/dev/a'>\n"
                                     "      <extent start='0' end='10'/>\n"
                                     "      <extent start='20' end='30'/>\n"
                                     "    </device>\n"
                                     "    <device path='/dev/b'>\n"
                                     "      <extent start='5' end='6'/>\n"
                                     "    </device>\n"
                                     "  </source>\n"));
}

static void test_volume_sizes(void)
{
        static const struct {
                const char *xml;
                uint64_t capacity, allocation;
        } good[] = {
                { "<volume><name>a</name><capacity>7</capacity></volume>", 7, 7 },
                { "<volume><name>a</name><capacity unit='G'>2</capacity><allocation>0</allocation></volume>", 2ULL << 30, 0 },
                { "<volume><name>a</name><capacity unit='KB'>2</capacity><allocation unit='KiB'>1</allocation></volume>", 2000, 1024 },
                { "<volume><name>a</name><capacity unit='bytes'> 12 </capacity></volume>", 12, 12 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(DomusVolumeDef) def = domus_volume_def_parse(good[i].xml, 0, &error);

                g_assert_no_error(error);
                g_assert_cmpuint(def->capacity, ==, good[i].capacity);
                g_assert_cmpuint(def->allocation, ==, good[i].allocation);
        }
}

static void test_volume_refused(void)
{
        static const struct bad_xml bad[] = {
                { "<volume><capacity>1</capacity></volume>", DOMUS_ERROR_XML, "name" },
                { "<volume><name>a</name></volume>", DOMUS_ERROR_XML, "capacity" },
                { "<volume><name>../a</name><capacity>1</capacity></volume>", DOMUS_ERROR_XML, "'../a'" },
                { "<volume><name>a</name><capacity>-1</capacity></volume>", DOMUS_ERROR_XML, "'-1'" },
                { "<volume><name>a</name><capacity unit='furlong'>1</capacity></volume>", DOMUS_ERROR_XML, "'furlong'" },
                { "<volume><name>a</name><capacity unit='E'>9</capacity></volume>", DOMUS_ERROR_XML, "too large" },
                { "<volume type='netdir'><name>a</name><capacity>1</capacity></volume>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "'netdir'" },
                { "<volume><name>a</name><capacity>1</capacity><target><encryption format='luks'/></target></volume>",
                        DOMUS_ERROR_CONFIG_UNSUPPORTED, "<encryption>" },
                { "<volume><name>a</name><capacity>1</capacity><target><compat>2.0</compat></target></volume>",
                        DOMUS_ERROR_CONFIG_UNSUPPORTED, "'2.0'" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(DomusVolumeDef) def = domus_volume_def_parse(bad[i].xml, 0, &error);

                test_refused(&bad[i], def != NULL, error);
        }
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pool/round-trip", test_pool_round_trip);
        g_test_add_func("/pool/fills-in", test_pool_fills_in);
        g_test_add_func("/pool/refused", test_pool_refused);
        g_test_add_func("/pool/capabilities", test_capabilities);
        g_test_add_func("/volume/round-trip", test_volume_round_trip);
        g_test_add_func("/volume/extents", test_volume_extents);
        g_test_add_func("/volume/sizes", test_volume_sizes);
        g_test_add_func("/volume/refused", test_volume_refused);
        return g_test_run();
}
