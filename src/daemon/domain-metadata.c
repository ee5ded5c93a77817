/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Title, description and <metadata> of a domain. */

#include <string.h>

#include "daemon/domain-private.h"

static bool check_title(const char *title, GError **error)
{
        if (!title || !strchr(title, '\n'))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "the domain title can't contain newlines");
        return false;
}

static bool change(DomusDomainDef *def, int type, const char *text, const char *key, const char *uri, GError **error)
{
        switch (type) {
        case VIR_DOMAIN_METADATA_DESCRIPTION:
                return domus_domain_def_set_description(def, text, error);
        case VIR_DOMAIN_METADATA_TITLE:
                return check_title(text, error) && domus_domain_def_set_title(def, text, error);
        case VIR_DOMAIN_METADATA_ELEMENT:
                return domus_domain_def_set_metadata(def, text, key, uri, error);
        default:
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unknown metadata type %d", type);
                return false;
        }
}

/* What was put together must be read again, by the next daemon at the latest: parts that are well-formed by themselves may
 * be nested too deeply as a whole, or carry a namespace that no document can. */
static bool readable(const DomusDomainDef *def, GError **error)
{
        g_autofree char *xml = domus_domain_def_format(def, -1, DOMUS_DEF_SECURE);
        g_autoptr(DomusDomainDef) again = domus_domain_def_parse(xml, DOMUS_DEF_LIVE, error);

        return again;
}

/* Both copies are changed before either is kept. */
bool domus_domain_set_metadata(DomusDomain *d, int type, const char *text, const char *key, const char *uri,
        unsigned flags, GError **error)
{
        g_autoptr(DomusDomainDef) new_live = NULL;
        g_autoptr(DomusDomainDef) new_config = NULL;
        bool live, config;

        if (!domus_domain_resolve_impact(d, flags, &live, &config, error))
                return false;
        new_live = live ? domus_domain_def_copy(d->live) : NULL;
        new_config = config ? domus_domain_def_copy(d->config) : NULL;
        if (live && (!change(new_live, type, text, key, uri, error) || !readable(new_live, error)))
                return false;
        if (config && (!change(new_config, type, text, key, uri, error) || !readable(new_config, error)))
                return false;
        if (config && !domus_domain_save_config(d, g_steal_pointer(&new_config), error))
                return false;
        if (live) {
                domus_domain_def_free(d->live);
                d->live = g_steal_pointer(&new_live);
                domus_domain_save_status(d);
        }
        domus_domain_emit(d, DOMUS_EVENT_METADATA, type, uri);
        return true;
}

static char *get(const DomusDomainDef *def, int type, const char *uri, GError **error)
{
        const char *text;

        if (type == VIR_DOMAIN_METADATA_ELEMENT)
                return domus_domain_def_get_metadata(def, uri, error);
        if (type != VIR_DOMAIN_METADATA_TITLE && type != VIR_DOMAIN_METADATA_DESCRIPTION) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unknown metadata type %d", type);
                return NULL;
        }
        text = type == VIR_DOMAIN_METADATA_TITLE ? def->title : def->description;
        if (!text)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_METADATA, "the requested metadata is not present");
        return g_strdup(text);
}

char *domus_domain_get_metadata(DomusDomain *d, int type, const char *uri, unsigned flags, GError **error)
{
        bool live, config;

        if ((flags & VIR_DOMAIN_AFFECT_LIVE) && (flags & VIR_DOMAIN_AFFECT_CONFIG)) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG,
                        "the flags for the live and the persistent definition exclude each other");
                return NULL;
        }
        if (!domus_domain_resolve_impact(d, flags, &live, &config, error))
                return NULL;
        return get(live ? d->live : d->config, type, uri, error);
}
