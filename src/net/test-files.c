/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq's files: what we write and what we read. */
#include <string.h>

#include "net/dnsmasq.h"
#include "net/lease.h"
#include "net/networks.h"

static DomusNetworkDef *parse(const char *xml)
{
        g_autoptr(GError) error = NULL;
        DomusNetworkDef *def = domus_network_def_parse(xml, 0, &error);

        g_assert_no_error(error);
        return def;
}

static void expect(const char *text, const char *part)
{
        if (!strstr(text, part))
                g_error("no '%s' in:\n%s", part, text);
}

static void test_config(void)
{
        static const char *const lines[] = {
                "\ninterface=virbr7\n", "\nbind-dynamic\n", "\ndomain=example\nexpand-hosts\n", "\nlocal=/example/\n", "\ndomain-needed\nlocal=//\n",
                "\nserver=/corp/10.1.1.1\n", "\nserver=9.9.9.9\nno-resolv\n", "\nlocal=/7.168.192.in-addr.arpa/\n",
                "\ntxt-record=t,\"a, \\\"b\\\" # c\\\\\"\n", "\nsrv-host=_s._tcp.d,t,1,2,3\n", "\ndhcp-range=192.168.7.10,192.168.7.20,3600\n",
                "\ndhcp-range=fd00:7::100,fd00:7::1ff,64\n", "\ndhcp-lease-max=2315\n", "\nenable-tftp\ntftp-root=\"/srv/tftp\"\n",
                "\ndhcp-boot=\"pxe\",,192.168.7.1\n", "\ndhcp-option=option:mtu,1400\n", "\nenable-ra\n", "\ndhcp-leasefile=L\n", "\naddn-hosts=N\n",
        };
        g_autoptr(DomusNetworkDef) def = parse(
                "<network><name>n</name><forward mode='nat'/><bridge name='virbr7'/><mtu size='1400'/><domain name='example' localOnly='yes'/>"
                "<dns forwardPlainNames='no'><forwarder domain='corp' addr='10.1.1.1'/><forwarder addr='9.9.9.9'/>"
                "<txt name='t' value='a, \"b\" # c\\'/><srv service='s' protocol='tcp' domain='d' target='t' port='1' priority='2' weight='3'/>"
                "<host ip='192.168.7.9'><hostname>nine</hostname><hostname>neun</hostname></host></dns>"
                "<ip address='192.168.7.1' prefix='24' localPtr='yes'><tftp root='/srv/tftp'/><dhcp>"
                "<range start='192.168.7.10' end='192.168.7.20'><lease expiry='1' unit='hours'/></range>"
                "<host mac='52:54:00:00:00:01' name='one' ip='192.168.7.5'><lease expiry='0'/></host><bootp file='pxe' server='192.168.7.1'/></dhcp></ip>"
                "<ip family='ipv6' address='fd00:7::1' prefix='64'><dhcp><range start='fd00:7::100' end='fd00:7::1ff'/></dhcp></ip></network>");
        char c[] = "C", p[] = "P", s[] = "S", d[] = "D", n[] = "N", l[] = "L";
        const struct dnsmasq_files files = { c, p, s, d, n, l };
        g_autofree char *config = dnsmasq_config(def, &files), *dhcp = dnsmasq_dhcp_hosts(def), *dns = dnsmasq_dns_hosts(def);

        for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
                expect(config, lines[i]);
        g_assert_cmpstr(dhcp, ==, "52:54:00:00:00:01,one,192.168.7.5,infinite\n");
        g_assert_cmpstr(dns, ==, "192.168.7.9\tnine\tneun\n");
}

static void test_isolated(void)
{
        g_autoptr(DomusNetworkDef) def = parse("<network><name>n</name><bridge name='b'/><dns enable='no'/><ip address='10.0.0.1' prefix='24'><dhcp>"
                                               "<host name='x' ip='10.0.0.2'/></dhcp></ip></network>");
        g_autoptr(DomusNetworkDef) bare = parse("<network><name>n</name><bridge name='b'/></network>");
        char e[] = "";
        const struct dnsmasq_files files = { e, e, e, e, e, e };
        g_autofree char *config = dnsmasq_config(def, &files);

        expect(config, "\nport=0\n");
        expect(config, "\ndhcp-range=10.0.0.0,static\n");
        expect(config, "\ndhcp-option=option:router\n");
        g_assert_true(dnsmasq_wanted(def));
        g_assert_false(dnsmasq_wanted(bare));
}

static void test_leases(void)
{
        static const char text[] = "2000 52:54:00:aa:bb:cc 192.168.7.10 guest 01:52:54:00:aa:bb:cc\n"
                                   "10 52:54:00:aa:bb:cd 192.168.7.11 late *\n"
                                   "0 52:54:00:aa:bb:ce 192.168.7.12 * *\n"
                                   "rubbish\n"
                                   "duid 00:01:00:01:2c:0a:1b:2c:52:54:00:01:02:03\n"
                                   "2000 11189196 fd00:7::123 six 00:01:00:01:2c:0a:1b:2c:52:54:00:aa:bb:cc\n"
                                   "2000 7 fd00:7::124 * 00:03:00:01:52:54:00:aa:bb:cf\n";
        g_autoptr(GPtrArray) list = lease_array();
        const DomusLease *l;

        lease_parse_file(text, 1000, list);
        g_assert_cmpuint(list->len, ==, 4);
        l = list->pdata[0];
        g_assert_cmpstr(l->mac, ==, "52:54:00:aa:bb:cc");
        g_assert_cmpstr(l->hostname, ==, "guest");
        g_assert_cmpint(l->expiry, ==, 2000);
        g_assert_cmpint(l->type, ==, 0);
        l = list->pdata[1];
        g_assert_null(l->hostname);
        g_assert_null(l->client_id);
        g_assert_cmpint(l->expiry, ==, 0);
        l = list->pdata[2];
        g_assert_cmpstr(l->mac, ==, "52:54:00:aa:bb:cc");
        g_assert_cmpstr(l->iaid, ==, "11189196");
        g_assert_cmpint(l->type, ==, 1);
        l = list->pdata[3];
        g_assert_cmpstr(l->mac, ==, "52:54:00:aa:bb:cf");
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-files/config", test_config);
        g_test_add_func("/net-files/isolated", test_isolated);
        g_test_add_func("/net-files/leases", test_leases);
        return g_test_run();
}
