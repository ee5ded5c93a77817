/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "smoke.h"

#include <string.h>

#include "model/network-def.h"
#include "model/network-port.h"
#include "net/dnsmasq.h"

/* Whatever is accepted must come out as a document that is accepted again and comes out the same. */
static void check_round_trip(const DomusNetworkDef *def)
{
        g_autofree char *xml = domus_network_def_format(def, 0), *again = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkDef) def2 = domus_network_def_parse(xml, 0, &error), copy = domus_network_def_copy(def);

        if (!def2 || !copy)
                g_error("own document refused: %s\n%s", error ? error->message : "", xml);
        again = domus_network_def_format(def2, 0);
        if (strcmp(xml, again) != 0)
                g_error("not the same twice:\n%s\n%s", xml, again);
}

/* No word of a document makes a line, or an option, of its own in dnsmasq's files. */
static void check_dnsmasq(DomusNetworkDef *def)
{
        static const char *const options[] = { "\ndhcp-script", "\nconf-", "\nuser=", "\nlog-facility", "\nenable-dbus" };
        char e[] = "";
        const struct dnsmasq_files files = { e, e, e, e, e, e };
        g_autofree char *config = NULL, *hosts = NULL, *names = NULL;

        if (!def->bridge)
                domus_network_def_set_bridge(def, "virbr0");
        config = dnsmasq_config(def, &files);
        hosts = dnsmasq_dhcp_hosts(def);
        names = dnsmasq_dns_hosts(def);
        for (unsigned i = 0; i < G_N_ELEMENTS(options); i++)
                if (strstr(config, options[i]) || strstr(hosts, options[i]) || strstr(names, options[i]))
                        g_error("'%s' in dnsmasq's files:\n%s", options[i] + 1, config);
}

static void check_update(const DomusNetworkDef *def, const char *xml, unsigned what)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkDef) next =
                domus_network_def_update(def, (DomusNetworkUpdateCommand)(what % 4), (DomusNetworkSection)(what / 4 % 7), -1, xml, &error);

        if (!next == !error)
                g_error("neither or both of a result and an error");
}

static void check_port(const char *xml)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkPortDef) port = domus_network_port_def_parse(xml, &error), again = NULL;
        g_autofree char *out = NULL;

        if (!port == !error)
                g_error("neither or both of a port and an error");
        if (!port)
                return;
        out = domus_network_port_def_format(port, true);
        again = domus_network_port_def_parse(out, NULL);
        if (!again)
                g_error("own port refused:\n%s", out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char base[] = "<network><name>n</name><forward mode='nat'/><bridge name='b'/><ip address='10.0.0.1' prefix='24'/></network>";
        g_autofree char *xml = g_strndup((const char *)data, size);
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkDef) def = domus_network_def_parse(xml, 0, &error), plain = domus_network_def_parse(base, 0, NULL);

        if (!def == !error)
                g_error("neither or both of a result and an error");
        check_port(xml);
        check_update(plain, xml, (unsigned)size);
        if (!def)
                return 0;
        check_round_trip(def);
        check_dnsmasq(def);
        return 0;
}

#define SEED(s) { s, sizeof(s) - 1 }

const struct fuzz_seed fuzz_seeds[] = {
        SEED("<network ipv6='yes'><name>full</name><uuid>c1d1c1d1-0000-4000-8000-000000000001</uuid><title>A title</title>"
             "<metadata><a:x xmlns:a='urn:a'>y</a:x></metadata>"
             "<ip address='192.168.7.1' prefix='24' localPtr='yes'><tftp root='/srv/tftp'/><dhcp>"
             "<range start='192.168.7.10' end='192.168.7.20'><lease expiry='1' unit='hours'/></range>"
             "<host mac='52:54:00:00:00:01' name='one' ip='192.168.7.5'/><bootp file='pxe' server='192.168.7.1'/></dhcp></ip>"
             "<ip family='ipv6' address='fd00:7::1' prefix='64'><dhcp><range start='fd00:7::100' end='fd00:7::1ff'/></dhcp></ip>"
             "<route address='10.7.0.0' prefix='16' gateway='192.168.7.2' metric='3'/>"
             "<forward mode='nat' dev='eth0'><nat ipv6='yes'><address start='1.2.3.4' end='1.2.3.5'/><port start='5000' end='6000'/>"
             "<portForward proto='tcp' address='1.2.3.4' dev='eth0' target='192.168.7.5'><range start='2022' end='2023' to='22'/></portForward></nat></forward>"
             "<bridge name='virbr7' stp='off' delay='2'/><mac address='52:54:00:77:77:77'/><mtu size='1400'/><domain name='full.example' localOnly='yes'/>"
             "<dns forwardPlainNames='no'><forwarder addr='8.8.8.8'/><txt name='t' value='v &quot;w\\'/>"
             "<srv service='s' protocol='tcp' domain='d' target='t' port='1' priority='2' weight='3'/>"
             "<host ip='192.168.7.9'><hostname>nine</hostname></host></dns>"
             "<bandwidth><inbound average='1000' peak='2000' burst='100'/><outbound average='500'/></bandwidth><port isolated='yes'/>"
             "<portgroup name='slow' default='yes'><bandwidth><inbound average='10'/></bandwidth></portgroup></network>"),
        SEED("<network><name>n</name><forward mode='bridge'><interface dev='eth0'/><interface dev='eth1'/></forward></network>"),
        SEED("<networkport><uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid><owner><name>vm</name>"
             "<uuid>06578fc1-c686-46fa-bc2c-83893b466a6e</uuid></owner><group>slow</group><mac address='52:54:00:7b:35:93'/>"
             "<bandwidth><inbound average='10' floor='5'/></bandwidth><plug type='network' bridge='virbr0'/></networkport>"),
        SEED("<host mac='52:54:00:00:00:02' name='h' ip='10.0.0.6'><lease expiry='5'/></host>"),
        SEED("<range start='10.0.0.30' end='10.0.0.40'/>"),
        SEED("<host ip='10.0.0.3'><hostname>three</hostname></host>"),
        SEED("<srv service='ldap' protocol='tcp' target='t'/>"),
};
const size_t fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);
