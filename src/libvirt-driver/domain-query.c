/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding domains, and what they are. */
#include <libvirt/libvirt.h>

#include "libvirt-driver/client.h"
#include "libvirt-driver/handlers.h"

/* --- Lookup --- */

static void reply_lookup(struct call *call, DomusDomain *d, GError *error)
{
        call_done_domain(d, error, call);
        g_clear_error(&error);
}

static void lookup_by_id(struct call *call, const void *p)
{
        const struct remote_domain_lookup_by_id_args *args = p;
        GError *error = NULL;
        DomusDomain *d = domus_manager_lookup_id(call_manager(call), args->id, &error);

        reply_lookup(call, d, error);
}

static void lookup_by_name(struct call *call, const void *p)
{
        const struct remote_domain_lookup_by_name_args *args = p;
        GError *error = NULL;
        DomusDomain *d = domus_manager_lookup_name(call_manager(call), args->name, &error);

        reply_lookup(call, d, error);
}

static void lookup_by_uuid(struct call *call, const void *p)
{
        const struct remote_domain_lookup_by_uuid_args *args = p;
        GError *error = NULL;
        DomusDomain *d = domus_manager_lookup_uuid(call_manager(call), args->uuid, &error);

        reply_lookup(call, d, error);
}

/* --- Lists --- */

#define LIST_FLAGS (VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT * 2 - 1)

static void list_all(struct call *call, const void *p)
{
        const struct remote_connect_list_all_domains_args *args = p;
        g_autoptr(GPtrArray) list = domus_manager_list(call_manager(call), args->flags);
        struct remote_connect_list_all_domains_ret ret = { .ret = list->len };

        if (args->need_results) {
                ret.domains.n = list->len;
                ret.domains.v = arena_new(&call->arena, struct remote_domain, list->len);
                for (guint i = 0; i < list->len; i++)
                        call_put_domain(call, &ret.domains.v[i], list->pdata[i]);
        }
        call_reply(call, &ret);
}

static void count(struct call *call, unsigned flags)
{
        g_autoptr(GPtrArray) list = domus_manager_list(call_manager(call), flags);

        call_reply_i32(call, (int32_t)list->len);
}

static void num_of_domains(struct call *call, const void *args)
{
        count(call, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
}

static void num_of_defined_domains(struct call *call, const void *args)
{
        count(call, VIR_CONNECT_LIST_DOMAINS_INACTIVE);
}

/* Also answers the call where it fails. */
static bool valid_max(struct call *call, int32_t max)
{
        if (max >= 0 && max <= REMOTE_DOMAIN_LIST_MAX)
                return true;
        call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "%d is no count of domains", max);
        return false;
}

static void list_ids(struct call *call, const void *p)
{
        const struct remote_connect_list_domains_args *args = p;
        g_autoptr(GPtrArray) list = domus_manager_list(call_manager(call), VIR_CONNECT_LIST_DOMAINS_ACTIVE);
        struct remote_connect_list_domains_ret ret = { 0 };

        if (!valid_max(call, args->maxids))
                return;
        ret.ids.n = MIN(list->len, (guint)args->maxids);
        ret.ids.v = arena_new(&call->arena, int32_t, ret.ids.n);
        for (guint i = 0; i < ret.ids.n; i++)
                ret.ids.v[i] = domus_domain_id(list->pdata[i]);
        call_reply(call, &ret);
}

static void list_names(struct call *call, const void *p)
{
        const struct remote_connect_list_defined_domains_args *args = p;
        g_autoptr(GPtrArray) list = domus_manager_list(call_manager(call), VIR_CONNECT_LIST_DOMAINS_INACTIVE);
        struct remote_connect_list_defined_domains_ret ret = { 0 };

        if (!valid_max(call, args->maxnames))
                return;
        ret.names.n = MIN(list->len, (guint)args->maxnames);
        ret.names.v = arena_new(&call->arena, const char *, ret.names.n);
        for (guint i = 0; i < ret.names.n; i++)
                ret.names.v[i] = arena_strdup(&call->arena, domus_domain_name(list->pdata[i]));
        call_reply(call, &ret);
}

/* --- One domain --- */

static void get_xml_desc(struct call *call, const void *p)
{
        const struct remote_domain_get_xml_desc_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        GError *error = NULL;

        if (!d)
                return;
        if (call->client->read_only && (args->flags & (VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE)))
                call_fail_new(call, DOMUS_ERROR_OPERATION_DENIED, "virDomainGetXMLDesc with secure flag");
        else {
                char *xml = domus_domain_xml(d, args->flags, &error);

                call_reply_string(call, xml, error);
        }
}

static void get_info(struct call *call, const void *p)
{
        const struct remote_domain_get_info_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        struct remote_domain_get_info_ret ret = { 0 };
        DomusDomainStats stats = { 0 };
        const DomusDomainDef *def;

        if (!d)
                return;
        def = domus_domain_def(d, false);
        domus_domain_stats(d, &stats);
        ret.state = (uint8_t)domus_domain_state(d, NULL);
        ret.max_mem = def->memory_max;
        ret.memory = domus_domain_is_active(d) ? stats.memory_kib : def->memory_current;
        ret.nr_virt_cpu = (uint16_t)(stats.n_vcpus ? stats.n_vcpus : def->vcpus_current);
        ret.cpu_time = stats.cpu_time_ns;
        domus_domain_stats_clear(&stats);
        call_reply(call, &ret);
}

static void get_state(struct call *call, const void *p)
{
        const struct remote_domain_get_state_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        struct remote_domain_get_state_ret ret;
        int reason;

        if (!d)
                return;
        ret.state = domus_domain_state(d, &reason);
        ret.reason = reason;
        call_reply(call, &ret);
}

static void get_control_info(struct call *call, const void *p)
{
        const struct remote_domain_get_control_info_args *args = p;

        if (call_active_domain(call, &args->dom))
                call_reply_empty(call, args); /* VIR_DOMAIN_CONTROL_OK: nothing we do waits for the guest */
}

static void get_os_type(struct call *call, const void *p)
{
        const struct remote_domain_get_os_type_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply_string(call, g_strdup(domus_domain_def(d, false)->os_type), NULL);
}

static void is_active(struct call *call, const void *p)
{
        const struct remote_domain_is_active_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply_i32(call, domus_domain_is_active(d));
}

static void is_persistent(struct call *call, const void *p)
{
        const struct remote_domain_is_persistent_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply_i32(call, domus_domain_is_persistent(d));
}

static void is_updated(struct call *call, const void *p)
{
        const struct remote_domain_is_updated_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply_i32(call, domus_domain_is_updated(d));
}

static void get_autostart(struct call *call, const void *p)
{
        const struct remote_domain_get_autostart_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply_i32(call, domus_domain_get_autostart(d));
}

static void get_max_memory(struct call *call, const void *p)
{
        const struct remote_domain_get_max_memory_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                call_reply(call, &domus_domain_def(d, false)->memory_max);
}

/* For every domain; labels come from a security module, and there is none. The string is there, empty,
 * with its NUL. */
static void get_security_label(struct call *call, const void *p)
{
        const struct remote_domain_get_security_label_args *args = p;
        int8_t nul = 0;
        struct remote_domain_get_security_label_ret ret = { .label = { 1, &nul } };

        if (call_domain(call, &args->dom))
                call_reply(call, &ret);
}

/* For procedures of which a domain has nothing: disk errors, messages, labels. */
static void empty_of_domain(struct call *call, const void *args)
{
        if (call_domain(call, args))
                call_reply_empty(call, args);
}

#define XML_FLAGS (VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_UPDATE_CPU | VIR_DOMAIN_XML_MIGRATABLE)

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_LOOKUP_BY_ID, lookup_by_id },
        { REMOTE_PROC_DOMAIN_LOOKUP_BY_NAME, lookup_by_name },
        { REMOTE_PROC_DOMAIN_LOOKUP_BY_UUID, lookup_by_uuid },
        { REMOTE_PROC_CONNECT_LIST_ALL_DOMAINS, list_all, LIST_FLAGS },
        { REMOTE_PROC_CONNECT_NUM_OF_DOMAINS, num_of_domains },
        { REMOTE_PROC_CONNECT_NUM_OF_DEFINED_DOMAINS, num_of_defined_domains },
        { REMOTE_PROC_CONNECT_LIST_DOMAINS, list_ids },
        { REMOTE_PROC_CONNECT_LIST_DEFINED_DOMAINS, list_names },
        { REMOTE_PROC_DOMAIN_GET_XML_DESC, get_xml_desc, XML_FLAGS },
        { REMOTE_PROC_DOMAIN_GET_INFO, get_info },
        { REMOTE_PROC_DOMAIN_GET_STATE, get_state },
        { REMOTE_PROC_DOMAIN_GET_CONTROL_INFO, get_control_info },
        { REMOTE_PROC_DOMAIN_GET_OS_TYPE, get_os_type },
        { REMOTE_PROC_DOMAIN_IS_ACTIVE, is_active },
        { REMOTE_PROC_DOMAIN_IS_PERSISTENT, is_persistent },
        { REMOTE_PROC_DOMAIN_IS_UPDATED, is_updated },
        { REMOTE_PROC_DOMAIN_GET_AUTOSTART, get_autostart },
        { REMOTE_PROC_DOMAIN_GET_MAX_MEMORY, get_max_memory },
        { REMOTE_PROC_DOMAIN_GET_SECURITY_LABEL, get_security_label },
        { REMOTE_PROC_DOMAIN_GET_SECURITY_LABEL_LIST, empty_of_domain },
        { REMOTE_PROC_DOMAIN_GET_MESSAGES, empty_of_domain, VIR_DOMAIN_MESSAGE_DEPRECATION | VIR_DOMAIN_MESSAGE_TAINTING },
};

HANDLER_TABLE(domain_query_handlers, rows);
