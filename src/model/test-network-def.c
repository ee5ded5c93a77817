/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/network-def.h"
#include "model/network-port.h"
#include "model/test-xml.h"

#define NET(body) "<network><name>n</name>" body "</network>"
#define NAT(body) NET("<forward mode='nat'/>" body)
#define IP4(body) NET("<ip address='192.168.7.1' netmask='255.255.255.0'>" body "</ip>")
#define IP6(body) NET("<ip family='ipv6' address='fd00:7::1' prefix='64'>" body "</ip>")
#define FORWARD(attrs, ranges) \
        NET("<forward mode='nat'><nat><portForward " attrs ">" ranges "</portForward></nat></forward><ip address='10.0.0.1' prefix='24'/>")
#define DNS(body) NET("<dns>" body "</dns>")

static DomusNetworkDef *parse(const char *xml)
{
        g_autoptr(GError) error = NULL;
        DomusNetworkDef *def = domus_network_def_parse(xml, 0, &error);

        g_assert_no_error(error);
        g_assert_nonnull(def);
        return def;
}

static const struct bad_xml bad[] = {
        { "<domain/>", DOMUS_ERROR_XML, "unexpected root element <domain>, expecting <network>" },
        { "<network", DOMUS_ERROR_XML, "(network_definition):1:" },
        { "<network/>", DOMUS_ERROR_XML, "missing name information" },
        { "<network><name>a/b</name></network>", DOMUS_ERROR_XML, "cannot contain '/'" },
        { "<network><name>..</name></network>", DOMUS_ERROR_XML, "must not be '..'" },
        { NET("<uuid>x</uuid>"), DOMUS_ERROR_XML, "malformed uuid" },
        { NET("<vlan><tag id='4'/></vlan>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <vlan> in <network> (line 1) is not supported" },
        { NET("<virtualport type='openvswitch'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<virtualport>" },
        { NET("<forward mode='hostdev'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "value 'hostdev' of attribute 'mode'" },
        { NET("<forward mode='nat'><pf dev='eth0'/></forward>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<pf>" },
        { NET("<d:options xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<d:options>" },
        { NET("<bridge name='b' zone='z'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "attribute 'zone'" },
        { NET("<bridge name='averylongbridgename'/>"), DOMUS_ERROR_XML, "Invalid bridge name" },
        { NET("<bridge name='a/b'/>"), DOMUS_ERROR_XML, "Invalid bridge name" },
        { NET("<bridge name='virbr*'/>"), DOMUS_ERROR_XML, "Invalid bridge name" },
        { NET("<forward mode='route' dev='eth+'/><ip address='10.0.0.1'/>"), DOMUS_ERROR_XML, "Invalid forward interface" },
        { NET("<bridge name='b' delay='31'/>"), DOMUS_ERROR_XML, "Invalid value '31'" },
        { NET("<mac address='01:00:00:00:00:00'/>"), DOMUS_ERROR_XML, "multicast" },
        { NET("<mac address='52:54:00:00:00'/>"), DOMUS_ERROR_XML, "Invalid bridge mac" },
        { NET("<mtu size='1'/>"), DOMUS_ERROR_XML, "68 to 65535" },
        { NAT(""), DOMUS_ERROR_XML, "nat forwarding requested, but no IP address" },
        { NET("<forward mode='route'><nat/></forward><ip address='10.0.0.1'/>"), DOMUS_ERROR_XML, "needs mode='nat'" },
        { NET("<forward mode='nat'><nat><address start='1.1.1.9' end='1.1.1.1'/></nat></forward><ip address='10.0.0.1'/>"), DOMUS_ERROR_XML,
                "Bad ipv4 end address" },
        { NET("<forward mode='nat'><nat><port start='9' end='1'/></nat></forward><ip address='10.0.0.1'/>"), DOMUS_ERROR_XML, "in order" },
        { FORWARD("proto='tcp'", "<range start='1'/>"), DOMUS_ERROR_XML, "needs 'proto' and 'target'" },
        { FORWARD("proto='tcp' target='10.0.0.9'", ""), DOMUS_ERROR_XML, "needs a <range>" },
        { FORWARD("proto='tcp' target='10.0.0.1'", "<range start='1'/>"), DOMUS_ERROR_XML, "no guest's address" },
        { FORWARD("proto='tcp' target='10.1.0.9'", "<range start='1'/>"), DOMUS_ERROR_XML, "no guest's address" },
        { FORWARD("proto='icmp' target='10.0.0.9'", "<range start='1'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "icmp" },
        { FORWARD("proto='udp' target='10.0.0.9'", "<range start='9' end='8'/>"), DOMUS_ERROR_XML, "in order" },
        { FORWARD("proto='udp' target='10.0.0.9'", "<range start='1' end='9' to='65530'/>"), DOMUS_ERROR_XML, "in order" },
        { FORWARD("proto='udp' target='10.0.0.9' address='fd00::1'", "<range start='1'/>"), DOMUS_ERROR_XML, "Invalid address" },
        { NET("<forward mode='open' dev='eth0'/><ip address='10.0.0.1'/>"), DOMUS_ERROR_XML, "mode='open'" },
        { NET("<forward mode='nat' dev='a'><interface dev='b'/></forward>"), DOMUS_ERROR_XML, "must match first interface" },
        { NET("<forward mode='bridge'/>"), DOMUS_ERROR_XML, "needs a bridge name or an interface" },
        { NET("<forward mode='bridge'><interface dev='e'/></forward><bridge name='b'/>"), DOMUS_ERROR_XML, "but not both" },
        { NET("<forward mode='vepa'/>"), DOMUS_ERROR_XML, "needs a bridge name or an interface" },
        { NET("<forward mode='bridge'/><bridge name='b'/><ip address='10.0.0.1'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "Unsupported <ip>" },
        { NET("<forward mode='bridge'/><bridge name='b' stp='on'/>"), DOMUS_ERROR_XML, "delay/stp" },
        { NET("<ip/>"), DOMUS_ERROR_XML, "missing address" },
        { NET("<ip address='300.1.1.1'/>"), DOMUS_ERROR_XML, "Invalid address '300.1.1.1'" },
        { NET("<ip address='fd00::1'/>"), DOMUS_ERROR_XML, "family 'ipv4' specified for ipv6" },
        { NET("<ip address='10.0.0.1' netmask='255.0.255.0'/>"), DOMUS_ERROR_XML, "Invalid netmask" },
        { NET("<ip address='10.0.0.1' prefix='33'/>"), DOMUS_ERROR_XML, "Invalid value '33'" },
        { NET("<ip address='10.0.0.1' prefix='24' netmask='255.255.255.0'/>"), DOMUS_ERROR_XML, "both" },
        { NET("<ip address='224.0.0.1' prefix='24'/>"), DOMUS_ERROR_XML, "multicast" },
        { NET("<ip address='10.0.0.1' prefix='24'/><ip address='10.0.0.2' prefix='16'/>"), DOMUS_ERROR_XML, "two addresses" },
        { IP4("<dhcp><range start='192.168.7.9'/></dhcp>"), DOMUS_ERROR_XML, "Missing 'start' or 'end'" },
        { IP4("<dhcp><range start='192.168.7.9' end='192.168.7.8'/></dhcp>"), DOMUS_ERROR_XML, "reversed" },
        { IP4("<dhcp><range start='192.168.7.9' end='192.168.8.9'/></dhcp>"), DOMUS_ERROR_XML, "not entirely within network 192.168.7.0/24" },
        { IP4("<dhcp><range start='192.168.7.9' end='192.168.7.255'/></dhcp>"), DOMUS_ERROR_XML, "broadcast" },
        { IP4("<dhcp><range start='192.168.7.9' end='192.168.7.10'><lease expiry='1'/></range></dhcp>"), DOMUS_ERROR_XML, "minimum lease time" },
        { IP4("<dhcp><host ip='192.168.7.9'/></dhcp>"), DOMUS_ERROR_XML, "must have mac or name" },
        { IP4("<dhcp><host mac='52:54:00:00:00:01'/></dhcp>"), DOMUS_ERROR_XML, "Missing IP address" },
        { IP4("<dhcp><host mac='52:54:00:00:00:01' ip='10.0.0.1'/></dhcp>"), DOMUS_ERROR_XML, "Invalid IP address '10.0.0.1'" },
        { IP4("<dhcp><host mac='nonsense' ip='192.168.7.9'/></dhcp>"), DOMUS_ERROR_XML, "Cannot parse MAC" },
        { IP4("<dhcp><host mac='52:54:00:00:00:01' name='a,b' ip='192.168.7.9'/></dhcp>"), DOMUS_ERROR_XML, "Invalid name" },
        { IP4("<dhcp><host mac='52:54:00:00:00:01' ip='192.168.7.9'/><host mac='52:54:00:00:00:01' ip='192.168.7.8'/></dhcp>"), DOMUS_ERROR_XML,
                "two dhcp hosts" },
        { IP6("<dhcp><host mac='52:54:00:00:00:01' ip='fd00:7::9'/></dhcp>"), DOMUS_ERROR_XML, "Invalid to specify MAC" },
        { IP4("<tftp root='/a&#10;b'/>"), DOMUS_ERROR_XML, "Invalid root" },
        { NET("<ip address='10.0.0.1' prefix='24'/><route address='10.9.0.1' prefix='24' gateway='10.0.0.2'/>"), DOMUS_ERROR_XML,
                "not a network address" },
        { NET("<ip address='10.0.0.1' prefix='24'/><route address='10.9.0.0' prefix='24' gateway='10.1.0.2'/>"), DOMUS_ERROR_XML, "unreachable" },
        { NET("<domain name='a b'/>"), DOMUS_ERROR_XML, "Invalid domain name" },
        { DNS("<txt name='a' value='b&#10;c'/>"), DOMUS_ERROR_XML, "control character" },
        { DNS("<srv service='x' protocol='icmp'/>"), DOMUS_ERROR_XML, "invalid protocol" },
        { DNS("<host ip='10.0.0.1'/>"), DOMUS_ERROR_XML, "hostname" },
        { DNS("<forwarder/>"), DOMUS_ERROR_XML, "at least one of addr or domain" },
        { NET("<dns enable='no'><txt name='a' value='b'/></dns>"), DOMUS_ERROR_XML, "Extra data" },
        { NET("<portgroup name='a'/><portgroup name='a'/>"), DOMUS_ERROR_XML, "same name (a)" },
        { NET("<portgroup name='a' default='yes'/><portgroup name='b' default='yes'/>"), DOMUS_ERROR_XML, "multiple default" },
        { NET("<bandwidth><inbound average='1' floor='1'/></bandwidth>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "floor" },
};

static void test_bad(void)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(DomusNetworkDef) def = domus_network_def_parse(bad[i].xml, 0, &error);

                test_refused(&bad[i], def != NULL, error);
        }
}

static const char full[] =
        "<network ipv6='yes' connections='7'>"
        "<name>full</name><uuid>c1d1c1d1-0000-4000-8000-000000000001</uuid><title>A title</title>"
        "<metadata><a:x xmlns:a='urn:a'>y</a:x></metadata>"
        "<ip address='192.168.7.1' prefix='24' localPtr='yes'><tftp root='/srv/tftp'/><dhcp>"
        "<range start='192.168.7.10' end='192.168.7.20'><lease expiry='1' unit='hours'/></range>"
        "<host mac='52:54:00:00:00:01' name='one' ip='192.168.7.5'/><bootp file='pxe' server='192.168.7.1'/></dhcp></ip>"
        "<ip family='ipv6' address='fd00:7::1' prefix='64'><dhcp><range start='fd00:7::100' end='fd00:7::1ff'/></dhcp></ip>"
        "<route address='10.7.0.0' prefix='16' gateway='192.168.7.2' metric='3'/>"
        "<forward mode='nat' dev='eth0'><nat ipv6='yes'><address start='1.2.3.4' end='1.2.3.5'/><port start='5000' end='6000'/></nat></forward>"
        "<bridge name='virbr7' stp='off' delay='2'/><mac address='52:54:00:77:77:77'/><mtu size='1400'/>"
        "<domain name='full.example' localOnly='yes'/>"
        "<dns forwardPlainNames='no'><forwarder addr='8.8.8.8'/><txt name='t' value='v w'/>"
        "<srv service='s' protocol='tcp' domain='d' target='t' port='1' priority='2' weight='3'/>"
        "<host ip='192.168.7.9'><hostname>nine</hostname><hostname>neun</hostname></host></dns>"
        "<bandwidth><inbound average='1000' peak='2000' burst='100'/><outbound average='500'/></bandwidth>"
        "<port isolated='yes'/>"
        "<portgroup name='slow' default='yes'><bandwidth><inbound average='10'/></bandwidth></portgroup>"
        "</network>";

static void check_full(const DomusNetworkDef *def)
{
        const DomusNetworkIp *ip4 = def->ips->pdata[0], *ip6 = def->ips->pdata[1];

        g_assert_cmpstr(def->name, ==, "full");
        g_assert_cmpstr(def->title, ==, "A title");
        g_assert_cmpint(def->mode, ==, DOMUS_FORWARD_NAT);
        g_assert_cmpstr(def->devices[0], ==, "eth0");
        g_assert_true(def->nat_ipv6);
        g_assert_cmpstr(def->nat_end, ==, "1.2.3.5");
        g_assert_cmpuint(def->nat_port_end, ==, 6000);
        g_assert_cmpstr(def->bridge, ==, "virbr7");
        g_assert_false(def->stp);
        g_assert_cmpuint(def->delay, ==, 2);
        g_assert_cmpuint(def->mtu, ==, 1400);
        g_assert_cmpuint(def->mac[5], ==, 0x77);
        g_assert_true(def->isolated && def->guest_ipv6 && def->domain_local_only && def->dns && !def->dns_forward_plain);
        g_assert_cmpstr(ip4->network, ==, "192.168.7.0");
        g_assert_cmpuint(((DomusDhcpRange *)ip4->ranges->pdata[0])->lease.seconds, ==, 3600);
        g_assert_cmpstr(ip4->bootp_file, ==, "pxe");
        g_assert_cmpstr(ip6->network, ==, "fd00:7::");
        g_assert_cmpuint(def->routes->len, ==, 1);
        g_assert_cmpstr(((DomusDnsHost *)def->dns_hosts->pdata[0])->names[1], ==, "neun");
        g_assert_cmpuint(domus_network_def_portgroup(def, NULL, NULL)->bandwidth.inbound.average, ==, 10);
}

static void test_full(void)
{
        g_autoptr(DomusNetworkDef) def = parse(full), again = NULL, copy = NULL;
        g_autofree char *xml = domus_network_def_format(def, 0), *xml2 = NULL, *connected = domus_network_def_format(def, 2);

        check_full(def);
        again = parse(xml);
        check_full(again);
        copy = domus_network_def_copy(def);
        check_full(copy);
        xml2 = domus_network_def_format(again, 0);
        g_assert_cmpstr(xml, ==, xml2);
        g_assert_true(g_str_has_prefix(xml, "<network ipv6='yes'>\n  <name>full</name>\n"));
        g_assert_nonnull(strstr(xml, "<interface dev='eth0'/>"));
        g_assert_nonnull(strstr(connected, "connections='2'"));
}

static void test_defaults(void)
{
        g_autoptr(DomusNetworkDef) def = parse(NET("<bridge name='virbr%d'/>")), bridged = parse(NET("<forward mode='bridge'/><bridge name='br0'/>")),
                                   direct = parse(NET("<forward mode='bridge'><interface dev='eth1'/></forward>"));
        g_autofree char *xml = domus_network_def_format(def, 0);

        g_assert_cmpint(def->mode, ==, DOMUS_FORWARD_NONE);
        g_assert_null(def->bridge);
        g_assert_true(def->has_mac && def->stp && def->dns);
        g_assert_nonnull(strstr(xml, "<bridge stp='on' delay='0'/>"));
        g_assert_nonnull(strstr(xml, "<mac address='52:54:00:"));
        domus_network_def_set_bridge(def, "virbr9");
        g_assert_cmpstr(def->bridge, ==, "virbr9");
        g_assert_cmpint(bridged->mode, ==, DOMUS_FORWARD_BRIDGE);
        g_assert_false(bridged->has_mac);
        g_assert_cmpint(direct->mode, ==, DOMUS_FORWARD_DIRECT);
        g_assert_cmpstr(direct->direct_mode, ==, "bridge");
}

/* One step after the other on the same network; message: of the failure, or NULL. */
static const struct {
        DomusNetworkUpdateCommand command;
        DomusNetworkSection section;
        const char *xml, *message;
        const char *there, *gone; /* in the document afterwards */
} steps[] = {
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DHCP_HOST, "<host mac='52:54:00:00:00:02' ip='192.168.7.6'/>", NULL, "192.168.7.6", NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DHCP_HOST, "<host mac='52:54:00:00:00:02' ip='192.168.7.7'/>", "existing dhcp host", NULL, NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DHCP_HOST, "<host mac='52:54:00:00:00:03' ip='192.168.7.6'/>", "two dhcp hosts", NULL, NULL },
        { DOMUS_UPDATE_MODIFY, DOMUS_SECTION_DHCP_HOST, "<host mac='52:54:00:00:00:02' ip='192.168.7.8'/>", NULL, "192.168.7.8", "192.168.7.6" },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_DHCP_HOST, "<host mac='52:54:00:00:00:09'/>", "couldn't locate", NULL, NULL },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_DHCP_HOST, "<host mac='52:54:00:00:00:02'/>", NULL, NULL, "192.168.7.8" },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DHCP_RANGE, "<range start='192.168.7.30' end='192.168.7.40'/>", NULL, "192.168.7.40", NULL },
        { DOMUS_UPDATE_MODIFY, DOMUS_SECTION_DHCP_RANGE, "<range start='192.168.7.30' end='192.168.7.40'/>", "cannot be modified", NULL, NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DHCP_RANGE, "<range start='10.0.0.1' end='10.0.0.9'/>", "not entirely within", NULL, NULL },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_DHCP_RANGE, "<range start='192.168.7.30' end='192.168.7.40'/>", NULL, NULL, "192.168.7.40" },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DHCP_RANGE, "<range start='fd00:7::200' end='fd00:7::2ff'/>", NULL, "fd00:7::2ff", NULL },
        { DOMUS_UPDATE_ADD_FIRST, DOMUS_SECTION_DNS_HOST, "<host ip='192.168.7.3'><hostname>three</hostname></host>", NULL, "three", NULL },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_DNS_HOST, "<host><hostname>three</hostname></host>", NULL, NULL, "three" },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DNS_TXT, "<txt name='more' value='text'/>", NULL, "more", NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DNS_SRV, "<srv service='ldap' protocol='tcp'/>", NULL, "ldap", NULL },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_DNS_SRV, "<srv service='ldap' protocol='tcp'/>", NULL, NULL, "ldap" },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_PORTGROUP, "<portgroup name='fast'/>", NULL, "fast", NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_PORTGROUP, "<portgroup name='third' default='yes'/>", "multiple default", NULL, NULL },
        { DOMUS_UPDATE_MODIFY, DOMUS_SECTION_PORTGROUP, "<portgroup name='fast'><bandwidth><inbound average='77'/></bandwidth></portgroup>", NULL,
                "average='77'", NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_FORWARD_INTERFACE, "<interface dev='eth1'/>", "multiple forwarding", NULL, NULL },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_FORWARD_INTERFACE, "<interface dev='eth0'/>", NULL, NULL, "eth0" },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_FORWARD_INTERFACE, "<interface dev='eth1'/>", NULL, "eth1", NULL },
        { DOMUS_UPDATE_ADD_LAST, DOMUS_SECTION_DNS_TXT, "<host/>", "expecting <txt>", NULL, NULL },
        { DOMUS_UPDATE_DELETE, DOMUS_SECTION_DNS_TXT, "<txt/>", "tells nothing", NULL, NULL },
};

static void test_update(void)
{
        g_autoptr(DomusNetworkDef) def = parse(full);

        for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
                g_autoptr(GError) error = NULL;
                DomusNetworkDef *next = domus_network_def_update(def, steps[i].command, steps[i].section, -1, steps[i].xml, &error);
                g_autofree char *xml = NULL;

                if (steps[i].message) {
                        g_assert_null(next);
                        if (!strstr(error->message, steps[i].message))
                                g_error("step %u: %s", i, error->message);
                        continue;
                }
                g_assert_no_error(error);
                domus_network_def_free(def);
                def = next;
                xml = domus_network_def_format(def, 0);
                g_assert_true(!steps[i].there || strstr(xml, steps[i].there));
                g_assert_true(!steps[i].gone || !strstr(xml, steps[i].gone));
        }
}

static void test_metadata(void)
{
        g_autoptr(DomusNetworkDef) def = parse(full);
        g_autoptr(GError) error = NULL;
        g_autofree char *old = domus_network_def_get_metadata(def, "urn:a", NULL), *xml = NULL;

        g_assert_cmpstr(old, ==, "<x>y</x>");
        g_assert_true(domus_network_def_set_metadata(def, "<z/>", "b", "urn:b", NULL));
        g_assert_true(domus_network_def_set_metadata(def, NULL, NULL, "urn:a", NULL));
        g_assert_null(domus_network_def_get_metadata(def, "urn:a", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK_METADATA);
        g_assert_true(domus_network_def_set_title(def, "", NULL));
        g_assert_true(domus_network_def_set_description(def, "long\nand so on", NULL));
        xml = domus_network_def_format(def, 0);
        g_assert_null(strstr(xml, "<title>"));
        g_assert_nonnull(strstr(xml, "<b:z"));
        domus_network_def_free(g_steal_pointer(&def));
        def = parse(xml);
        g_assert_cmpstr(def->description, ==, "long\nand so on");
}

static void test_port(void)
{
        static const char xml[] = "<networkport><uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid><owner><name>vm</name>"
                                  "<uuid>06578fc1-c686-46fa-bc2c-83893b466a6e</uuid></owner><group>slow</group><mac address='52:54:00:7b:35:93'/>"
                                  "<bandwidth><inbound average='10' floor='5'/></bandwidth><plug type='network' bridge='virbr0'/></networkport>";
        g_autoptr(DomusNetworkPortDef) def = domus_network_port_def_parse(xml, NULL), again = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *out = NULL;

        g_assert_nonnull(def);
        g_assert_cmpstr(def->owner_name, ==, "vm");
        g_assert_cmpint(def->plug, ==, DOMUS_PLUG_NETWORK);
        def->target = g_strdup("vnet4");
        out = domus_network_port_def_format(def, true);
        again = domus_network_port_def_parse(out, NULL);
        g_assert_cmpstr(again->target, ==, "vnet4");
        g_assert_cmpuint(again->bandwidth.inbound.floor, ==, 5);
        g_assert_null(domus_network_port_def_parse("<networkport/>", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_XML);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/network-def/bad", test_bad);
        g_test_add_func("/network-def/full", test_full);
        g_test_add_func("/network-def/defaults", test_defaults);
        g_test_add_func("/network-def/update", test_update);
        g_test_add_func("/network-def/metadata", test_metadata);
        g_test_add_func("/network-def/port", test_port);
        return g_test_run();
}
