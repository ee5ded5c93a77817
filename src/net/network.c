/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "net/networks-private.h"

const char *domus_network_name(const DomusNetwork *net)
{
        return net->name;
}

const uint8_t *domus_network_uuid(const DomusNetwork *net)
{
        return net->uuid;
}

bool domus_network_is_active(const DomusNetwork *net)
{
        return net->live && !net->start_done;
}

bool domus_network_is_persistent(const DomusNetwork *net)
{
        return net->config != NULL;
}

bool domus_network_get_autostart(const DomusNetwork *net)
{
        return net->autostart;
}

const DomusNetworkDef *domus_network_def(const DomusNetwork *net, bool config)
{
        return config || !net->live ? net->config : net->live;
}

static bool check_persistent(const DomusNetwork *net, const char *what, GError **error)
{
        if (net->config)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "cannot %s for transient network", what);
        return false;
}

bool domus_network_set_autostart(DomusNetwork *net, bool on, GError **error)
{
        if (!check_persistent(net, "set autostart", error) || !network_store_set_autostart(net->owner, net->name, on, error))
                return false;
        net->autostart = on;
        return true;
}

char *domus_network_xml(DomusNetwork *net, unsigned flags, GError **error)
{
        bool config = flags & VIR_NETWORK_XML_INACTIVE;
        const DomusNetworkDef *def = domus_network_def(net, config);

        if (!def) {
                check_persistent(net, "get the inactive definition", error);
                return NULL;
        }
        return domus_network_def_format(def, config ? 0 : net->ports->len);
}

char *domus_network_bridge_name(DomusNetwork *net, GError **error)
{
        const DomusNetworkDef *def = domus_network_def(net, false);

        if (!def->bridge)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INTERNAL, "network '%s' does not have a bridge name.", net->name);
        return g_strdup(def->bridge);
}

/* An active network goes on as a transient one. */
bool domus_network_undefine(DomusNetwork *net, GError **error)
{
        g_autoptr(DomusNetwork) hold = domus_network_ref(net);

        if (!check_persistent(net, "undefine", error) || !network_store_remove(net->owner, net->name, error))
                return false;
        g_clear_pointer(&net->config, domus_network_def_free);
        net->autostart = false;
        network_emit(net, DOMUS_NETWORK_EVENT_LIFECYCLE, VIR_NETWORK_EVENT_UNDEFINED, NULL);
        network_drop_if_unused(net);
        return true;
}

/* --- Metadata --- */

static bool change_metadata(DomusNetworkDef *def, int type, const char *text, const char *key, const char *uri, GError **error)
{
        switch (type) {
        case 0: /* VIR_NETWORK_METADATA_DESCRIPTION, of libvirt 9.7 */
                return domus_network_def_set_description(def, text, error);
        case 1: /* VIR_NETWORK_METADATA_TITLE */
                return domus_network_def_set_title(def, text, error);
        case 2: /* VIR_NETWORK_METADATA_ELEMENT */
                return domus_network_def_set_metadata(def, text, key, uri, error);
        default:
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unknown metadata type %d", type);
                return false;
        }
}

bool network_impact(const DomusNetwork *net, unsigned flags, bool *ret_live, bool *ret_config, GError **error)
{
        *ret_live = flags & VIR_NETWORK_UPDATE_AFFECT_LIVE;
        *ret_config = flags & VIR_NETWORK_UPDATE_AFFECT_CONFIG;
        if (!*ret_live && !*ret_config) {
                *ret_live = net->live != NULL;
                *ret_config = !net->live;
        }
        if (*ret_live && !net->live) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network is not running");
                return false;
        }
        return !*ret_config || check_persistent(net, "change the persistent definition", error);
}

bool domus_network_set_metadata(DomusNetwork *net, int type, const char *text, const char *key, const char *uri, unsigned flags, GError **error)
{
        g_autoptr(DomusNetworkDef) new_config = NULL, new_live = NULL;
        bool live, config;

        if (!network_impact(net, flags, &live, &config, error))
                return false;
        new_config = config ? domus_network_def_copy(net->config) : NULL;
        new_live = live ? domus_network_def_copy(net->live) : NULL;
        if ((config && !change_metadata(new_config, type, text, key, uri, error)) ||
                (live && !change_metadata(new_live, type, text, key, uri, error)) ||
                (config && !network_store_save(net->owner, new_config, error)))
                return false;
        network_replace(net, g_steal_pointer(&new_live), g_steal_pointer(&new_config));
        if (live && !network_save_live(net, error))
                return false;
        network_emit(net, DOMUS_NETWORK_EVENT_METADATA, type, uri);
        return true;
}

void network_replace(DomusNetwork *net, DomusNetworkDef *live, DomusNetworkDef *config)
{
        if (live) {
                domus_network_def_free(net->live);
                net->live = live;
        }
        if (config) {
                domus_network_def_free(net->config);
                net->config = config;
        }
}

char *domus_network_get_metadata(DomusNetwork *net, int type, const char *uri, unsigned flags, GError **error)
{
        const DomusNetworkDef *def;
        const char *text;
        bool live, config;

        if (!network_impact(net, flags, &live, &config, error))
                return NULL;
        def = domus_network_def(net, config);
        if (type == 2)
                return domus_network_def_get_metadata(def, uri, error);
        text = type == 0 ? def->description : def->title;
        if (!text)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_NETWORK_METADATA, "Requested metadata element is not present");
        return g_strdup(text);
}
