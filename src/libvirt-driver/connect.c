/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection itself: authentication, opening, features, and what it says about the hypervisor. */
#include <libvirt/libvirt.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "libvirt-driver/client.h"
#include "libvirt-driver/handlers.h"

/* Clients judge by this number which machine features they may ask for, as if it were QEMU's: virtinst wants
 * 2.11.0 and up before it uses today's defaults. So it is not our own version, which "virtdomusd --version"
 * says, but that of the interface: 3.0.0 in virConnectGetVersion's coding. */
#define HYPERVISOR_VERSION 3000000

#define HYPERVISOR_TYPE "Domus"

/* libvirt's driver features, by their numbers on the wire (its internal virDrvFeature). */
enum {
        FEATURE_TYPED_PARAM_STRING = 9,
        FEATURE_KEEPALIVE = 10,
        FEATURE_EVENT_CALLBACK = 14,
        FEATURE_CLOSE_CALLBACK = 15,
        FEATURE_NETWORK_UPDATE_ORDER = 16,
};

static void auth_list(struct call *call, const void *args)
{
        int32_t none = 0; /* the socket's permissions have decided already */
        struct remote_auth_list_ret ret = { .types = { 1, &none } };

        call_reply(call, &ret);
}

/* --- Opening --- */

/* The canonical URI that a name stands for; NULL: not one of ours. Query parameters are the client
 * library's business. */
static char *canonical_uri(const struct server *server, const char *name)
{
        static const char *const known[] = { "domus:///system", "domus:///session", "qemu:///system", "qemu:///session" };
        size_t n = name ? strcspn(name, "?#") : 0;

        if (n == 0)
                return g_strdup(server->session ? "domus:///session" : "domus:///system");
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
                if (strlen(known[i]) == n && strncmp(known[i], name, n) == 0)
                        return g_strdup(known[i]);
        return NULL;
}

static void connect_open(struct call *call, const void *p)
{
        const struct remote_connect_open_args *args = p;
        struct client *client = call->client;
        char *uri;

        if (client->open) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "connection already open");
                return;
        }
        uri = canonical_uri(client->server, args->name);
        if (!uri) {
                call_fail_new(call, DOMUS_ERROR_NO_CONNECT, "%s", args->name);
                return;
        }
        g_free(client->uri);
        client->uri = uri;
        client->open = true;
        client->read_only = client->ro_socket || (args->flags & VIR_CONNECT_RO);
        call_reply(call, NULL);
}

static void connect_close(struct call *call, const void *args)
{
        call->client->open = false;
        domus_manager_owner_gone(call_manager(call), call->client);
        client_events_clear(&call->client->events);
        call_reply(call, NULL);
}

static void supports_feature(struct call *call, const void *p)
{
        const struct remote_connect_supports_feature_args *args = p;

        if (!call->client->open && args->feature != FEATURE_KEEPALIVE) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL, "hypervisor connection not open");
                return;
        }
        switch (args->feature) {
        case FEATURE_KEEPALIVE:
                /* By asking, the client says that it answers pings. */
                call_reply_i32(call, client_start_keepalive(call->client) >= 0);
                break;
        case FEATURE_TYPED_PARAM_STRING:
        case FEATURE_EVENT_CALLBACK:
        case FEATURE_CLOSE_CALLBACK:
        case FEATURE_NETWORK_UPDATE_ORDER:
                call_reply_i32(call, 1);
                break;
        default:
                call_reply_i32(call, 0);
        }
}

static void set_close_callback(struct call *call, bool on)
{
        if (call->client->close_callback == on) {
                call_fail_new(call, DOMUS_ERROR_INTERNAL,
                        on ? "A close callback is already registered" : "No close callback is registered");
                return;
        }
        call->client->close_callback = on;
        call_reply(call, NULL);
}

static void register_close_callback(struct call *call, const void *args)
{
        set_close_callback(call, true);
}

static void unregister_close_callback(struct call *call, const void *args)
{
        set_close_callback(call, false);
}

/* A proxy tells on whose behalf it calls. As access is decided by the socket alone, who may use the socket
 * for writing may say so. */
static void set_identity(struct call *call, const void *args)
{
        const struct client *client = call->client;

        if (client->read_only || (client->uid != 0 && client->uid != geteuid()))
                call_fail_new(call, DOMUS_ERROR_ACCESS_DENIED, "only the daemon's own user may set an identity");
        else
                call_reply(call, NULL);
}

/* --- What the hypervisor says of itself --- */

static void get_type(struct call *call, const void *args)
{
        call_reply_string(call, g_strdup(HYPERVISOR_TYPE), NULL);
}

static void reply_version(struct call *call, uint64_t version)
{
        call_reply(call, &version);
}

static void get_version(struct call *call, const void *args)
{
        reply_version(call, HYPERVISOR_VERSION);
}

/* The version of libvirt whose interface this is. */
static void get_lib_version(struct call *call, const void *args)
{
        reply_version(call, LIBVIR_VERSION_NUMBER);
}

static void get_hostname(struct call *call, const void *args)
{
        char name[256];

        if (gethostname(name, sizeof(name)) < 0)
                g_strlcpy(name, "localhost", sizeof(name));
        name[sizeof(name) - 1] = 0;
        call_reply_string(call, g_strdup(name), NULL);
}

static void get_uri(struct call *call, const void *args)
{
        call_reply_string(call, g_strdup(call->client->uri), NULL);
}

/* A UNIX socket does not leave the machine. */
static void is_secure(struct call *call, const void *args)
{
        call_reply_i32(call, 1);
}

static void get_capabilities(struct call *call, const void *args)
{
        call_reply_string(call, domus_capabilities_format(domus_host_facts(call_host(call))), NULL);
}

static void get_domain_capabilities(struct call *call, const void *p)
{
        const struct remote_connect_get_domain_capabilities_args *args = p;
        GError *error = NULL;
        char *xml = domus_domain_capabilities_format(domus_host_facts(call_host(call)), args->emulatorbin, args->arch,
                args->machine, args->virttype, &error);

        call_reply_string(call, xml, error);
}

static void get_max_vcpus(struct call *call, const void *p)
{
        const struct remote_connect_get_max_vcpus_args *args = p;
        const DomusHostFacts *facts = domus_host_facts(call_host(call));
        const char *type = args->type ? args->type : "domus";

        if (strcasecmp(type, "domus") != 0 && strcasecmp(type, "qemu") != 0 &&
                (strcasecmp(type, "kvm") != 0 || !facts->kvm))
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "unknown type '%s'", type);
        else
                call_reply_i32(call, (int32_t)facts->max_vcpus);
}

static void get_sysinfo(struct call *call, const void *args)
{
        GError *error = NULL;
        char *xml = domus_host_sysinfo_xml(call_host(call), &error);

        call_reply_string(call, xml, error);
}

static void get_cpu_model_names(struct call *call, const void *p)
{
        const struct remote_connect_get_cpu_model_names_args *args = p;
        const DomusHostFacts *facts = domus_host_facts(call_host(call));
        const char *model = facts->cpu_model;
        struct remote_connect_get_cpu_model_names_ret ret = { 0 };

        if (g_strcmp0(args->arch, facts->arch) != 0) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "cannot find CPU models for architecture '%s'", args->arch);
                return;
        }
        if (model) {
                ret.ret = 1;
                if (args->need_results) {
                        ret.models.n = 1;
                        ret.models.v = &model;
                }
        }
        call_reply(call, &ret);
}

static const struct handler rows[] = {
        { REMOTE_PROC_AUTH_LIST, auth_list },
        /* Clients send their own internal bits along (of a user's session: start the daemon yourself); libvirtd looks at RO only. */
        { REMOTE_PROC_CONNECT_OPEN, connect_open, UINT32_MAX },
        { REMOTE_PROC_CONNECT_CLOSE, connect_close },
        { REMOTE_PROC_CONNECT_SUPPORTS_FEATURE, supports_feature },
        { REMOTE_PROC_CONNECT_REGISTER_CLOSE_CALLBACK, register_close_callback },
        { REMOTE_PROC_CONNECT_UNREGISTER_CLOSE_CALLBACK, unregister_close_callback },
        { REMOTE_PROC_CONNECT_SET_IDENTITY, set_identity },
        { REMOTE_PROC_CONNECT_GET_TYPE, get_type },
        { REMOTE_PROC_CONNECT_GET_VERSION, get_version },
        { REMOTE_PROC_CONNECT_GET_LIB_VERSION, get_lib_version },
        { REMOTE_PROC_CONNECT_GET_HOSTNAME, get_hostname },
        { REMOTE_PROC_CONNECT_GET_URI, get_uri },
        { REMOTE_PROC_CONNECT_IS_SECURE, is_secure },
        { REMOTE_PROC_CONNECT_GET_CAPABILITIES, get_capabilities },
        { REMOTE_PROC_CONNECT_GET_DOMAIN_CAPABILITIES, get_domain_capabilities },
        { REMOTE_PROC_CONNECT_GET_MAX_VCPUS, get_max_vcpus },
        { REMOTE_PROC_CONNECT_GET_SYSINFO, get_sysinfo },
        { REMOTE_PROC_CONNECT_GET_CPU_MODEL_NAMES, get_cpu_model_names },
};

HANDLER_TABLE(connect_handlers, rows);
