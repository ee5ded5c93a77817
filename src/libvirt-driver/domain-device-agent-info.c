/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest agent knows of the guest: domfsinfo, guestinfo. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "libvirt-driver/agent.h"
#include "libvirt-driver/handlers.h"
#include "libvirt-driver/params.h"
#include "model/domain-device.h"

#define LIST_MAX 256 /* of anything that the guest counts */

static guint bounded_length(JsonArray *list)
{
        return list ? MIN(json_array_get_length(list), LIST_MAX) : 0;
}

static gint64 number(JsonObject *object, const char *name, gint64 fallback)
{
        JsonNode *node = json_object_get_member(object, name);

        return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64 ? json_node_get_int(node) : fallback;
}

/* --- The guest's disks and ours --- */

/* By where the guest finds it; NULL if it is none of ours. */
static const DomusDevice *find_disk(const DomusDomainDef *def, JsonObject *disk)
{
        JsonObject *pci = agent_object(disk, "pci-controller");
        gint64 slot = pci ? number(pci, "slot", -1) : -1;
        const DomusDevice *d, *bus;

        for (unsigned i = 0; slot > 0 && (d = domus_domain_def_device(def, DOMUS_DEVICE_DISK, i)); i++) {
                if (d->address.type == DOMUS_ADDRESS_PCI && d->address.slot == slot)
                        return d;
                bus = d->address.type == DOMUS_ADDRESS_DRIVE ? domus_domain_def_controller(def, DOMUS_CONTROLLER_SCSI, d->address.controller) : NULL;
                if (bus && bus->address.slot == slot && d->address.target == number(disk, "target", -1) &&
                        d->address.unit == number(disk, "unit", -1))
                        return d;
        }
        return NULL;
}

/* --- domfsinfo --- */

struct query {
        struct call *call;
        DomusDomain *domain; /* referenced */
        struct params params;
        uint32_t types;      /* still to be asked for */
        bool chosen;         /* by the client: what fails is an error */
};

static void query_end(struct query *q)
{
        domus_domain_unref(q->domain);
        g_free(q);
}

static void put_filesystem(struct call *call, const DomusDomainDef *def, JsonObject *fs, struct remote_domain_fsinfo *ret)
{
        JsonArray *disks = agent_array(fs, "disk");

        *ret = (struct remote_domain_fsinfo){
                .mountpoint = arena_strdup(&call->arena, agent_string_of(json_object_get_member(fs, "mountpoint"))),
                .name = arena_strdup(&call->arena, agent_string_of(json_object_get_member(fs, "name"))),
                .fstype = arena_strdup(&call->arena, agent_string_of(json_object_get_member(fs, "type"))),
        };
        ret->dev_aliases.v = arena_new(&call->arena, const char *, bounded_length(disks) + 1);
        for (guint i = 0; i < bounded_length(disks); i++) {
                JsonObject *disk = agent_element(disks, i);
                const DomusDevice *d = disk ? find_disk(def, disk) : NULL;

                if (d)
                        ret->dev_aliases.v[ret->dev_aliases.n++] = arena_strdup(&call->arena, d->disk.target);
        }
}

static void on_filesystems(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct query *q = opaque;
        struct call *call = q->call;
        JsonArray *list = error ? NULL : agent_array(reply, "return");
        struct remote_domain_get_fsinfo_ret ret = { 0 };

        if (error) {
                call_fail(call, error);
                query_end(q);
                return;
        }
        ret.info.v = arena_new(&call->arena, struct remote_domain_fsinfo, bounded_length(list) + 1);
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *fs = agent_element(list, i);

                if (fs)
                        put_filesystem(call, domus_domain_def(q->domain, false), fs, &ret.info.v[ret.info.n++]);
        }
        ret.ret = ret.info.n;
        query_end(q);
        call_reply(call, &ret);
}

static struct query *query_new(struct call *call, DomusDomain *d)
{
        struct query *q = g_new0(struct query, 1);

        q->call = call;
        q->domain = domus_domain_ref(d);
        return q;
}

static void get_fsinfo(struct call *call, const void *p)
{
        const struct remote_domain_get_fsinfo_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);

        if (d)
                domus_domain_agent_call(d, "guest-get-fsinfo", NULL, on_filesystems, query_new(call, d));
}

/* --- guestinfo: one function per kind, with libvirt's names --- */

static void put_string(struct params *p, JsonObject *from, const char *member, const char *prefix, const char *name)
{
        const char *s = agent_string(from, member);

        if (s)
                params_add_string(p, s, "%s%s", prefix, name);
}

static void put_users(struct query *q, JsonNode *node)
{
        JsonArray *list = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

        params_add_uint(&q->params, bounded_length(list), "user.count");
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *user = agent_element(list, i);
                g_autofree char *prefix = g_strdup_printf("user.%u.", i);

                if (!user)
                        continue;
                put_string(&q->params, user, "user", prefix, "name");
                put_string(&q->params, user, "domain", prefix, "domain");
                params_add_ull(&q->params, (uint64_t)(json_object_get_double_member_with_default(user, "login-time", 0) * 1000), "%slogin-time",
                        prefix);
        }
}

static void put_os(struct query *q, JsonNode *node)
{
        static const char *const members[] = { "id", "name", "pretty-name", "version", "version-id", "machine", "variant", "variant-id",
                                               "kernel-release", "kernel-version" };

        for (size_t i = 0; JSON_NODE_HOLDS_OBJECT(node) && i < ARRAY_SIZE(members); i++)
                put_string(&q->params, json_node_get_object(node), members[i], "os.", members[i]);
}

static void put_timezone(struct query *q, JsonNode *node)
{
        if (!JSON_NODE_HOLDS_OBJECT(node))
                return;
        put_string(&q->params, json_node_get_object(node), "zone", "timezone.", "name");
        params_add_int(&q->params, (int32_t)number(json_node_get_object(node), "offset", 0), "timezone.offset");
}

static void put_hostname(struct query *q, JsonNode *node)
{
        if (JSON_NODE_HOLDS_OBJECT(node))
                put_string(&q->params, json_node_get_object(node), "host-name", "", "hostname");
}

static void put_fs_disks(struct query *q, JsonArray *disks, const char *prefix)
{
        params_add_uint(&q->params, bounded_length(disks), "%sdisk.count", prefix);
        for (guint i = 0; i < bounded_length(disks); i++) {
                JsonObject *disk = agent_element(disks, i);
                const DomusDevice *d = disk ? find_disk(domus_domain_def(q->domain, false), disk) : NULL;
                g_autofree char *own = g_strdup_printf("%sdisk.%u.", prefix, i);

                if (d)
                        params_add_string(&q->params, d->disk.target, "%salias", own);
                if (!disk)
                        continue;
                put_string(&q->params, disk, "serial", own, "serial");
                put_string(&q->params, disk, "dev", own, "device");
        }
}

static void put_filesystems(struct query *q, JsonNode *node)
{
        JsonArray *list = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

        params_add_uint(&q->params, bounded_length(list), "fs.count");
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *fs = agent_element(list, i);
                g_autofree char *prefix = g_strdup_printf("fs.%u.", i);

                if (!fs)
                        continue;
                put_string(&q->params, fs, "name", prefix, "name");
                put_string(&q->params, fs, "mountpoint", prefix, "mountpoint");
                put_string(&q->params, fs, "type", prefix, "fstype");
                if (number(fs, "total-bytes", -1) >= 0)
                        params_add_ull(&q->params, (uint64_t)number(fs, "total-bytes", 0), "%stotal-bytes", prefix);
                if (number(fs, "used-bytes", -1) >= 0)
                        params_add_ull(&q->params, (uint64_t)number(fs, "used-bytes", 0), "%sused-bytes", prefix);
                put_fs_disks(q, agent_array(fs, "disk"), prefix);
        }
}

static void put_disks(struct query *q, JsonNode *node)
{
        JsonArray *list = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

        params_add_uint(&q->params, bounded_length(list), "disk.count");
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *disk = agent_element(list, i), *address = disk ? agent_object(disk, "address") : NULL;
                const DomusDevice *d = address ? find_disk(domus_domain_def(q->domain, false), address) : NULL;
                JsonArray *below = disk ? agent_array(disk, "dependencies") : NULL;
                g_autofree char *prefix = g_strdup_printf("disk.%u.", i);

                if (!disk)
                        continue;
                put_string(&q->params, disk, "name", prefix, "name");
                params_add_bool(&q->params, json_object_get_boolean_member_with_default(disk, "partition", FALSE), "%spartition", prefix);
                if (bounded_length(below))
                        params_add_uint(&q->params, bounded_length(below), "%sdependency.count", prefix);
                for (guint k = 0; k < bounded_length(below); k++)
                        params_add_string(&q->params, agent_string_of(json_array_get_element(below, k)), "%sdependency.%u.name", prefix, k);
                if (d)
                        params_add_string(&q->params, d->disk.target, "%salias", prefix);
                put_string(&q->params, disk, "alias", prefix, "guest_alias");
        }
}

static void put_interface_addresses(struct query *q, JsonArray *list, const char *prefix)
{
        params_add_uint(&q->params, bounded_length(list), "%saddr.count", prefix);
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *address = agent_element(list, i);
                g_autofree char *own = g_strdup_printf("%saddr.%u.", prefix, i);

                if (!address)
                        continue;
                put_string(&q->params, address, "ip-address-type", own, "type");
                put_string(&q->params, address, "ip-address", own, "addr");
                params_add_uint(&q->params, (uint32_t)number(address, "prefix", 0), "%sprefix", own);
        }
}

static void put_interfaces(struct query *q, JsonNode *node)
{
        JsonArray *list = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

        params_add_uint(&q->params, bounded_length(list), "if.count");
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *interface = agent_element(list, i);
                g_autofree char *prefix = g_strdup_printf("if.%u.", i);

                if (!interface)
                        continue;
                put_string(&q->params, interface, "name", prefix, "name");
                put_string(&q->params, interface, "hardware-address", prefix, "hwaddr");
                put_interface_addresses(q, agent_array(interface, "ip-addresses"), prefix);
        }
}

static const struct {
        uint32_t type;
        const char *command;
        void (*put)(struct query *q, JsonNode *node);
} infos[] = {
        { VIR_DOMAIN_GUEST_INFO_USERS, "guest-get-users", put_users },
        { VIR_DOMAIN_GUEST_INFO_OS, "guest-get-osinfo", put_os },
        { VIR_DOMAIN_GUEST_INFO_TIMEZONE, "guest-get-timezone", put_timezone },
        { VIR_DOMAIN_GUEST_INFO_HOSTNAME, "guest-get-host-name", put_hostname },
        { VIR_DOMAIN_GUEST_INFO_FILESYSTEM, "guest-get-fsinfo", put_filesystems },
        { VIR_DOMAIN_GUEST_INFO_DISKS, "guest-get-disks", put_disks },
        { VIR_DOMAIN_GUEST_INFO_INTERFACES, "guest-network-get-interfaces", put_interfaces },
};

static int next_info(const struct query *q)
{
        for (size_t i = 0; i < ARRAY_SIZE(infos); i++)
                if (q->types & infos[i].type)
                        return (int)i;
        return -1;
}

static void ask_next(struct query *q);

/* Old agents do not know all commands: of what a client did not ask for by name, the rest will do. */
static void on_info(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct query *q = opaque;
        int i = next_info(q);
        JsonNode *node = error ? NULL : json_object_get_member(reply, "return");

        if (error && (q->chosen || error->code != DOMUS_ERROR_INTERNAL)) {
                call_fail(q->call, error);
                params_clear(&q->params);
                query_end(q);
                return;
        }
        if (node)
                infos[i].put(q, node);
        q->types &= ~infos[i].type;
        ask_next(q);
}

static void ask_next(struct query *q)
{
        struct remote_domain_get_guest_info_ret ret = { 0 };
        struct call *call = q->call;
        int i = next_info(q);

        if (i >= 0) {
                domus_domain_agent_call(q->domain, infos[i].command, NULL, on_info, q);
                return;
        }
        params_take(&q->params, call, &ret.params.n, &ret.params.v);
        query_end(q);
        call_reply(call, &ret);
}

static void get_guest_info(struct call *call, const void *p)
{
        const struct remote_domain_get_guest_info_args *args = p;
        DomusDomain *d = call_domain(call, &args->dom);
        uint32_t known = 0;
        struct query *q;

        if (!d)
                return;
        for (size_t i = 0; i < ARRAY_SIZE(infos); i++)
                known |= infos[i].type;
        if (args->types & ~known) {
                call_fail_new(call, DOMUS_ERROR_INVALID_ARG, "unsupported guest information types '0x%x'", args->types & ~known);
                return;
        }
        q = query_new(call, d);
        params_init(&q->params, call);
        q->types = args->types ? args->types : known;
        q->chosen = args->types;
        ask_next(q);
}

/* --- domifaddr --source agent --- */

static void put_addresses(struct call *call, JsonArray *list, struct remote_domain_interface *ret)
{
        ret->addrs.v = arena_new(&call->arena, struct remote_domain_ip_addr, bounded_length(list) + 1);
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *a = agent_element(list, i);
                const char *type = a ? agent_string(a, "ip-address-type") : NULL;

                if (!type)
                        continue;
                ret->addrs.v[ret->addrs.n++] = (struct remote_domain_ip_addr){
                        strcmp(type, "ipv6") == 0 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4,
                        arena_strdup(&call->arena, agent_string_of(json_object_get_member(a, "ip-address"))), (uint32_t)number(a, "prefix", 0),
                };
        }
}

void agent_put_interfaces(JsonObject *reply, const GError *error, gpointer opaque)
{
        struct call *call = opaque;
        JsonArray *list = error ? NULL : agent_array(reply, "return");
        struct remote_domain_interface_addresses_ret ret = { 0 };

        if (error) {
                call_fail(call, error);
                return;
        }
        ret.ifaces.v = arena_new(&call->arena, struct remote_domain_interface, bounded_length(list) + 1);
        for (guint i = 0; i < bounded_length(list); i++) {
                JsonObject *interface = agent_element(list, i);
                struct remote_domain_interface *to = &ret.ifaces.v[ret.ifaces.n];
                const char *mac = interface ? agent_string(interface, "hardware-address") : NULL;

                if (!interface)
                        continue;
                to->name = arena_strdup(&call->arena, agent_string_of(json_object_get_member(interface, "name")));
                to->hwaddr = mac ? arena_strdup(&call->arena, mac) : NULL;
                put_addresses(call, agent_array(interface, "ip-addresses"), to);
                ret.ifaces.n++;
        }
        call_reply(call, &ret);
}

static const struct handler rows[] = {
        { REMOTE_PROC_DOMAIN_GET_FSINFO, get_fsinfo },
        { REMOTE_PROC_DOMAIN_GET_GUEST_INFO, get_guest_info },
};

HANDLER_TABLE(domain_device_agent_info_handlers, rows);
