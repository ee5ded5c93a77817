/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/macros.h"
#include "model/listing.h"
#include "net/link.h"
#include "net/networks-private.h"

/* --- Objects and tables --- */

DomusNetwork *network_new(DomusNetworks *n, const DomusNetworkDef *def)
{
        DomusNetwork *net = g_new0(DomusNetwork, 1);
        char uuid[DOMUS_UUID_STRING_LEN];

        net->refs = 1;
        net->owner = n;
        net->name = g_strdup(def->name);
        memcpy(net->uuid, def->uuid, sizeof(net->uuid));
        domus_uuid_format(def->uuid, uuid);
        net->run_dir = g_build_filename(n->run_dir, uuid, NULL);
        net->ports = g_ptr_array_new_with_free_func(network_port_free);
        net->updates = g_queue_new();
        g_hash_table_insert(n->by_uuid, net->uuid, net);
        g_hash_table_insert(n->by_name, net->name, net);
        return net;
}

DomusNetwork *domus_network_ref(DomusNetwork *net)
{
        net->refs++;
        return net;
}

void domus_network_unref(DomusNetwork *net)
{
        if (!net || --net->refs > 0)
                return;
        dnsmasq_free(net->dnsmasq);
        g_ptr_array_unref(net->ports);
        g_queue_free(net->updates); /* each has a reference, so it is empty */
        domus_network_def_free(net->config);
        domus_network_def_free(net->live);
        g_free(net->run_dir);
        g_free(net->name);
        g_free(net);
}

static void unref(gpointer net)
{
        domus_network_unref(net);
}

void network_drop_if_unused(DomusNetwork *net)
{
        DomusNetworks *n = net->owner;

        if (net->config || net->live || !n)
                return;
        network_forget_leases(net);
        net->owner = NULL;
        g_hash_table_remove(n->by_name, net->name);
        g_hash_table_remove(n->by_uuid, net->uuid);
}

DomusNetwork *domus_networks_lookup_uuid(DomusNetworks *n, const uint8_t uuid[DOMUS_UUID_LEN], GError **error)
{
        DomusNetwork *net = g_hash_table_lookup(n->by_uuid, uuid);
        char text[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(uuid, text);
        if (!net)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK, "no network with matching uuid '%s'", text);
        return net;
}

DomusNetwork *domus_networks_lookup_name(DomusNetworks *n, const char *name, GError **error)
{
        DomusNetwork *net = g_hash_table_lookup(n->by_name, name);

        if (!net)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK, "no network with matching name '%s'", name);
        return net;
}

/* --- Listing --- */

static unsigned traits(gconstpointer object)
{
        const DomusNetwork *net = object;

        return (domus_network_is_active(net) ? VIR_CONNECT_LIST_NETWORKS_ACTIVE : VIR_CONNECT_LIST_NETWORKS_INACTIVE) |
               (net->config ? VIR_CONNECT_LIST_NETWORKS_PERSISTENT : VIR_CONNECT_LIST_NETWORKS_TRANSIENT) |
               (net->autostart ? VIR_CONNECT_LIST_NETWORKS_AUTOSTART : VIR_CONNECT_LIST_NETWORKS_NO_AUTOSTART);
}

static gpointer ref(gpointer net)
{
        return domus_network_ref(net);
}

GPtrArray *domus_networks_list(DomusNetworks *n, unsigned flags)
{
        static const unsigned groups[] = {
                VIR_CONNECT_LIST_NETWORKS_ACTIVE | VIR_CONNECT_LIST_NETWORKS_INACTIVE,
                VIR_CONNECT_LIST_NETWORKS_PERSISTENT | VIR_CONNECT_LIST_NETWORKS_TRANSIENT,
                VIR_CONNECT_LIST_NETWORKS_AUTOSTART | VIR_CONNECT_LIST_NETWORKS_NO_AUTOSTART,
        };
        static const DomusListing listing = { groups, ARRAY_SIZE(groups), traits, ref, unref };

        return domus_listing_make(&listing, n->by_name, flags);
}

/* --- Bridge names --- */

static bool claims(const DomusNetworkDef *def, const char *bridge)
{
        return def && def->mode != DOMUS_FORWARD_BRIDGE && g_strcmp0(def->bridge, bridge) == 0;
}

static DomusNetwork *find_claim(DomusNetworks *n, const char *bridge, const DomusNetwork *self)
{
        GHashTableIter iter;
        gpointer p;

        g_hash_table_iter_init(&iter, n->by_uuid);
        while (g_hash_table_iter_next(&iter, NULL, &p)) {
                DomusNetwork *net = p;

                if (net != self && (claims(net->config, bridge) || claims(net->live, bridge)))
                        return net;
        }
        return NULL;
}

static void choose_bridge(DomusNetworks *n, DomusNetworkDef *def, const DomusNetwork *self)
{
        for (unsigned i = 0; !def->bridge; i++) {
                g_autofree char *name = g_strdup_printf("virbr%u", i);

                if (!find_claim(n, name, self) && !link_exists(name))
                        domus_network_def_set_bridge(def, name);
        }
}

bool network_settle_bridge(DomusNetworks *n, DomusNetworkDef *def, const DomusNetwork *self, GError **error)
{
        const DomusNetworkDef *before = self ? (self->config ? self->config : self->live) : NULL;
        DomusNetwork *other;

        if (!network_mode_of(def)->own_bridge)
                return true;
        if (!def->bridge && before && before->bridge && network_mode_of(before)->own_bridge)
                domus_network_def_set_bridge(def, before->bridge);
        choose_bridge(n, def, self);
        other = find_claim(n, def->bridge, self);
        if (!other)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "bridge name '%s' is already in use by network '%s'", def->bridge, other->name);
        return false;
}

/* --- Defining --- */

static bool match(DomusNetworks *n, const DomusNetworkDef *def, DomusNetwork **ret, GError **error)
{
        DomusNetwork *same_uuid = domus_networks_lookup_uuid(n, def->uuid, NULL), *same_name = domus_networks_lookup_name(n, def->name, NULL);
        char text[DOMUS_UUID_STRING_LEN];

        *ret = same_uuid;
        if (same_uuid == same_name)
                return true;
        domus_uuid_format(same_uuid ? same_uuid->uuid : same_name->uuid, text);
        if (same_uuid)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "network '%s' is already defined with uuid %s", same_uuid->name, text);
        else
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "network '%s' already exists with uuid %s", def->name, text);
        return false;
}

DomusNetwork *domus_networks_define(DomusNetworks *n, const char *xml, unsigned flags, GError **error)
{
        g_autoptr(DomusNetworkDef) def =
                domus_network_def_parse(xml, flags & VIR_NETWORK_DEFINE_VALIDATE ? DOMUS_NETWORK_DEF_VALIDATE : 0, error);
        DomusNetwork *net;

        if (!def || !match(n, def, &net, error) || !network_settle_bridge(n, def, net, error) || !network_store_save(n, def, error))
                return NULL;
        if (!net)
                net = network_new(n, def);
        domus_network_def_free(net->config);
        net->config = g_steal_pointer(&def);
        network_emit(net, DOMUS_NETWORK_EVENT_LIFECYCLE, VIR_NETWORK_EVENT_DEFINED, NULL);
        return net;
}

static void fail_done(DomusNetworkDone done, gpointer opaque, GError *error)
{
        done(NULL, error, opaque);
        g_error_free(error);
}

void domus_networks_create_xml(DomusNetworks *n, const char *xml, unsigned flags, DomusNetworkDone done, gpointer opaque)
{
        GError *error = NULL;
        g_autoptr(DomusNetworkDef) def =
                domus_network_def_parse(xml, flags & VIR_NETWORK_CREATE_VALIDATE ? DOMUS_NETWORK_DEF_VALIDATE : 0, &error);
        DomusNetwork *net;

        if (!def || !match(n, def, &net, &error) || !network_settle_bridge(n, def, net, &error)) {
                fail_done(done, opaque, error);
                return;
        }
        if (net && net->live)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network is already active as '%s'", net->name);
        else if (!net)
                net = network_new(n, def);
        if (error) {
                fail_done(done, opaque, error);
                return;
        }
        network_start_with(net, g_steal_pointer(&def), done, opaque);
}

/* --- What all networks want of the firewall --- */

static bool wants_rules(const DomusNetwork *net)
{
        return net->live && network_mode_of(net->live)->rules;
}

bool networks_apply_firewall(DomusNetworks *n, GError **error)
{
        g_autoptr(GPtrArray) list = domus_networks_list(n, 0);
        FirewallRules rules;
        bool any = false, ok;

        firewall_rules_init(&rules);
        for (unsigned i = 0; i < list->len; i++) {
                const DomusNetwork *net = list->pdata[i];

                if (!wants_rules(net))
                        continue;
                any = true;
                network_mode_of(net->live)->rules(net->live, &rules);
        }
        ok = (!any && !n->has_table) || firewall_apply(any ? &rules : NULL, error);
        if (ok)
                n->has_table = any;
        firewall_rules_clear(&rules);
        return ok;
}

/* --- The manager --- */

bool networks_check_privileged(const DomusNetworks *n, GError **error)
{
        if (n->privileged)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "a session daemon cannot change the host's network, use domus:///system");
        return false;
}

void network_emit(DomusNetwork *net, DomusNetworkEventKind kind, int a, const char *text)
{
        const DomusNetworkEvent event = { .kind = kind, .network = net, .a = a, .text = text };
        const DomusNetworks *n = net->owner;

        if (n && n->event_fn)
                n->event_fn(&event, n->event_opaque);
}

void domus_networks_set_event_fn(DomusNetworks *n, DomusNetworkEventFn fn, gpointer opaque)
{
        n->event_fn = fn;
        n->event_opaque = opaque;
}

DomusNetworks *domus_networks_new(sd_event *loop, const DomusNetworksConfig *config, GError **error)
{
        DomusNetworks *n = g_new0(DomusNetworks, 1);

        n->loop = sd_event_ref(loop);
        n->config_dir = g_build_filename(config->config_dir, "networks", NULL);
        n->run_dir = g_build_filename(config->run_dir, "networks", NULL);
        n->state_dir = g_build_filename(config->state_dir, "networks", NULL);
        n->privileged = config->privileged;
        n->by_uuid = g_hash_table_new_full(domus_uuid_hash, domus_uuid_equal, NULL, unref);
        n->by_name = g_hash_table_new(g_str_hash, g_str_equal);
        if (!network_store_load(n, error)) {
                domus_networks_free(n);
                return NULL;
        }
        networks_reconnect(n);
        return n;
}

void domus_networks_free(DomusNetworks *n)
{
        g_autoptr(GPtrArray) list = NULL;

        if (!n)
                return;
        list = domus_networks_list(n, 0);
        for (unsigned i = 0; i < list->len; i++)
                network_detach(list->pdata[i]);
        g_hash_table_unref(n->by_name);
        g_hash_table_unref(n->by_uuid);
        sd_event_unref(n->loop);
        g_free(n->config_dir);
        g_free(n->run_dir);
        g_free(n->state_dir);
        g_free(n);
}

static void report_autostart(DomusNetwork *net, const GError *error, gpointer name)
{
        if (error)
                log_error("cannot autostart network '%s': %s", (char *)name, error->message);
        g_free(name);
}

void domus_networks_autostart(DomusNetworks *n)
{
        g_autoptr(GPtrArray) list = domus_networks_list(n, VIR_CONNECT_LIST_NETWORKS_AUTOSTART | VIR_CONNECT_LIST_NETWORKS_INACTIVE);

        for (unsigned i = 0; i < list->len; i++)
                domus_network_start(list->pdata[i], report_autostart, g_strdup(((DomusNetwork *)list->pdata[i])->name));
}
