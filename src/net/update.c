/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virNetworkUpdate: first the new definitions, then what follows from them. */
#include <string.h>

#include "base/log.h"
#include "base/macros.h"
#include "net/networks-private.h"

static const struct {
        unsigned theirs;
        DomusNetworkUpdateCommand ours;
} commands[] = {
        { VIR_NETWORK_UPDATE_COMMAND_MODIFY, DOMUS_UPDATE_MODIFY },
        { VIR_NETWORK_UPDATE_COMMAND_DELETE, DOMUS_UPDATE_DELETE },
        { VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, DOMUS_UPDATE_ADD_LAST },
        { VIR_NETWORK_UPDATE_COMMAND_ADD_FIRST, DOMUS_UPDATE_ADD_FIRST },
};

static const struct {
        unsigned theirs;
        DomusNetworkSection ours;
} sections[] = {
        { VIR_NETWORK_SECTION_IP_DHCP_HOST, DOMUS_SECTION_DHCP_HOST },
        { VIR_NETWORK_SECTION_IP_DHCP_RANGE, DOMUS_SECTION_DHCP_RANGE },
        { VIR_NETWORK_SECTION_FORWARD_INTERFACE, DOMUS_SECTION_FORWARD_INTERFACE },
        { VIR_NETWORK_SECTION_PORTGROUP, DOMUS_SECTION_PORTGROUP },
        { VIR_NETWORK_SECTION_DNS_HOST, DOMUS_SECTION_DNS_HOST },
        { VIR_NETWORK_SECTION_DNS_TXT, DOMUS_SECTION_DNS_TXT },
        { VIR_NETWORK_SECTION_DNS_SRV, DOMUS_SECTION_DNS_SRV },
};

struct change {
        DomusNetworkUpdateCommand command;
        DomusNetworkSection section;
        int parent;
        const char *xml;
};

struct update {
        DomusNetwork *net;
        unsigned command, section, flags; /* virNetworkUpdate* */
        int parent;
        char *xml;
        DomusNetworkDef *old_live, *old_config; /* what was before; NULL if it is not changed */
        DomusNetworkDone done;
        gpointer opaque;
};

static bool translate(const DomusNetwork *net, unsigned command, unsigned section, struct change *ret, GError **error)
{
        unsigned c = 0, s = 0;

        while (c < ARRAY_SIZE(commands) && commands[c].theirs != command)
                c++;
        while (s < ARRAY_SIZE(sections) && sections[s].theirs != section)
                s++;
        if (c == ARRAY_SIZE(commands))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "unrecognized network update command code %u", command);
        else if (s == ARRAY_SIZE(sections))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "can't update section %u of network '%s'", section, net->name);
        else {
                ret->command = commands[c].ours;
                ret->section = sections[s].ours;
                return true;
        }
        return false;
}

static DomusNetworkDef *changed(const DomusNetworkDef *def, const struct change *c, GError **error)
{
        return domus_network_def_update(def, c->command, c->section, c->parent, c->xml, error);
}

/* --- The end of an update --- */

static void update_free(struct update *u)
{
        domus_network_def_free(u->old_live);
        domus_network_def_free(u->old_config);
        domus_network_unref(u->net);
        g_free(u->xml);
        g_free(u);
}

static void take_back_config(struct update *u)
{
        if (!u->old_config)
                return;
        network_replace(u->net, NULL, g_steal_pointer(&u->old_config));
        network_store_save(u->net->owner, u->net->config, NULL);
}

/* Everything as it was. dnsmasq served with the old definition before, so it is started with it again. */
static void roll_back(struct update *u)
{
        DomusNetwork *net = u->net;
        g_autoptr(GError) error = NULL;

        take_back_config(u);
        if (!u->old_live)
                return;
        network_replace(net, g_steal_pointer(&u->old_live), NULL);
        networks_apply_firewall(net->owner, NULL);
        network_save_live(net, NULL);
        if (net->dnsmasq && !dnsmasq_start(net->dnsmasq, net->live, NULL, NULL, &error))
                log_error("network '%s': %s", net->name, error->message);
}

static void answer(struct update *u, const GError *error)
{
        u->done(error ? NULL : u->net, error, u->opaque);
        update_free(u);
}

static void begin(struct update *u);

static void finish(struct update *u, const GError *error)
{
        g_autoptr(DomusNetwork) net = domus_network_ref(u->net);
        struct update *next;

        net->update = NULL;
        if (error)
                roll_back(u);
        answer(u, error);
        next = net->update ? NULL : g_queue_pop_head(net->updates);
        if (next)
                begin(next);
}

void network_update_abort(DomusNetwork *net, const GError *error)
{
        struct update *u = g_steal_pointer(&net->update);

        if (u) {
                take_back_config(u);
                answer(u, error);
        }
        while ((u = g_queue_pop_head(net->updates)))
                answer(u, error);
}

/* --- Its effects --- */

static void on_dnsmasq(const GError *error, void *opaque)
{
        g_autoptr(GError) copy = error ? g_error_copy(error) : NULL;

        finish(opaque, copy);
}

/* Whether dnsmasq has to be started anew, because more has changed than the files that it reads again. */
static bool config_differs(const DomusNetworkDef *a, const DomusNetworkDef *b)
{
        char empty[] = "";
        const struct dnsmasq_files none = { empty, empty, empty, empty, empty, empty };
        g_autofree char *x = dnsmasq_config(a, &none), *y = dnsmasq_config(b, &none);

        return strcmp(x, y) != 0;
}

static void apply_live(struct update *u)
{
        DomusNetwork *net = u->net;
        g_autoptr(GError) error = NULL;

        if (networks_apply_firewall(net->owner, &error) && network_save_live(net, &error) && net->dnsmasq) {
                if (config_differs(u->old_live, net->live)) {
                        if (dnsmasq_start(net->dnsmasq, net->live, on_dnsmasq, u, &error))
                                return; /* on_dnsmasq ends it */
                } else {
                        dnsmasq_reload(net->dnsmasq, net->live, &error);
                }
        }
        finish(u, error);
}

/* --- All of it --- */

/* What guests are connected to has to stay. */
static bool keeps_devices_in_use(const DomusNetwork *net, const DomusNetworkDef *new, GError **error)
{
        for (unsigned i = 0; i < net->ports->len; i++) {
                const DomusNetworkPortDef *port = ((const DomusNetworkPort *)net->ports->pdata[i])->def;

                if (!port->device || (new->devices && g_strv_contains((const char *const *)new->devices, port->device)))
                        continue;
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "interface '%s' of network '%s' is in use by domain '%s'", port->device,
                        net->name, port->owner_name ? port->owner_name : "");
                return false;
        }
        return true;
}

/* The new definitions take their places; on failure nothing is changed. */
static bool change(struct update *u, GError **error)
{
        DomusNetwork *net = u->net;
        struct change c = { .parent = u->parent, .xml = u->xml };
        g_autoptr(DomusNetworkDef) new_live = NULL, new_config = NULL;
        bool live, config;

        if (!translate(net, u->command, u->section, &c, error) || !network_impact(net, u->flags, &live, &config, error) ||
                (live && (!(new_live = changed(net->live, &c, error)) || !keeps_devices_in_use(net, new_live, error))) || (config && !(new_config = changed(net->config, &c, error))) ||
                (config && !network_store_save(net->owner, new_config, error)))
                return false;
        u->old_live = live ? g_steal_pointer(&net->live) : NULL;
        u->old_config = config ? g_steal_pointer(&net->config) : NULL;
        network_replace(net, g_steal_pointer(&new_live), g_steal_pointer(&new_config));
        return true;
}

static void begin(struct update *u)
{
        g_autoptr(GError) error = NULL;

        u->net->update = u;
        if (!change(u, &error) || !u->old_live)
                finish(u, error);
        else
                apply_live(u);
}

void domus_network_update(DomusNetwork *net, unsigned command, unsigned section, int parent_index, const char *xml, unsigned flags,
                          DomusNetworkDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        struct update *u;

        if (net->start_done) {
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network '%s' is being started", net->name);
                done(NULL, error, opaque);
                return;
        }
        u = g_new0(struct update, 1);
        *u = (struct update){
                .net = domus_network_ref(net), .command = command, .section = section, .flags = flags, .parent = parent_index, .xml = g_strdup(xml),
                .done = done, .opaque = opaque,
        };
        if (net->update)
                g_queue_push_tail(net->updates, u);
        else
                begin(u);
}
