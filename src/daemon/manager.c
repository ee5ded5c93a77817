/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/macros.h"
#include "daemon/device.h"
#include "daemon/device-host.h"
#include "daemon/vmspawn.h"
#include "model/listing.h"
#include "run/boot.h"

/* --- Tables --- */

static void domain_unref(gpointer d)
{
        domus_domain_unref(d);
}

DomusDomain *domus_manager_add(DomusManager *m, const DomusDomainDef *def)
{
        DomusDomain *d = domus_domain_new(m, def);

        g_hash_table_insert(m->by_uuid, d->uuid, d);
        g_hash_table_insert(m->by_name, d->name, d);
        return d;
}

void domus_manager_drop(DomusManager *m, DomusDomain *d)
{
        g_hash_table_remove(m->by_name, d->name);
        g_hash_table_remove(m->by_uuid, d->uuid);
}

void domus_manager_rename(DomusManager *m, DomusDomain *d, const char *new_name)
{
        g_hash_table_remove(m->by_name, d->name);
        g_free(d->name);
        d->name = g_strdup(new_name);
        g_hash_table_insert(m->by_name, d->name, d);
}

DomusDomain *domus_manager_lookup_uuid(DomusManager *m, const uint8_t uuid[DOMUS_UUID_LEN], GError **error)
{
        DomusDomain *d = g_hash_table_lookup(m->by_uuid, uuid);
        char text[DOMUS_UUID_STRING_LEN];

        if (d)
                return d;
        domus_uuid_format(uuid, text);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_DOMAIN, "no domain with matching uuid '%s'", text);
        return NULL;
}

DomusDomain *domus_manager_lookup_name(DomusManager *m, const char *name, GError **error)
{
        DomusDomain *d = g_hash_table_lookup(m->by_name, name);

        if (!d)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_DOMAIN, "no domain with matching name '%s'", name);
        return d;
}

DomusDomain *domus_manager_lookup_id(DomusManager *m, int id, GError **error)
{
        GHashTableIter iter;
        gpointer d;

        g_hash_table_iter_init(&iter, m->by_uuid);
        while (id > 0 && g_hash_table_iter_next(&iter, NULL, &d)) {
                if (((DomusDomain *)d)->id == id)
                        return d;
        }
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_DOMAIN, "no domain with matching id %d", id);
        return NULL;
}

bool domus_manager_match(DomusManager *m, const DomusDomainDef *def, DomusDomain **ret, GError **error)
{
        DomusDomain *same_uuid = domus_manager_lookup_uuid(m, def->uuid, NULL);
        DomusDomain *same_name = domus_manager_lookup_name(m, def->name, NULL);
        char text[DOMUS_UUID_STRING_LEN];

        *ret = same_uuid;
        if (same_uuid == same_name)
                return true;
        if (same_uuid) {
                domus_uuid_format(same_uuid->uuid, text);
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED,
                        "domain '%s' is already defined with uuid %s", same_uuid->name, text);
                return false;
        }
        domus_uuid_format(same_name->uuid, text);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "domain '%s' already exists with uuid %s", def->name,
                text);
        return false;
}

/* --- Listing --- */

static unsigned state_bit(const DomusDomain *d)
{
        switch (d->state) {
        case VIR_DOMAIN_RUNNING:
                return VIR_CONNECT_LIST_DOMAINS_RUNNING;
        case VIR_DOMAIN_PAUSED:
                return VIR_CONNECT_LIST_DOMAINS_PAUSED;
        case VIR_DOMAIN_SHUTOFF:
                return VIR_CONNECT_LIST_DOMAINS_SHUTOFF;
        default:
                return VIR_CONNECT_LIST_DOMAINS_OTHER;
        }
}

/* What holds for the domain, as list flags. There are no saved images, snapshots and checkpoints yet. */
static unsigned traits(gconstpointer object)
{
        const DomusDomain *d = object;

        return (domus_domain_is_active(d) ? VIR_CONNECT_LIST_DOMAINS_ACTIVE : VIR_CONNECT_LIST_DOMAINS_INACTIVE) |
               (d->config ? VIR_CONNECT_LIST_DOMAINS_PERSISTENT : VIR_CONNECT_LIST_DOMAINS_TRANSIENT) |
               (d->autostart ? VIR_CONNECT_LIST_DOMAINS_AUTOSTART : VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART) |
               state_bit(d) | VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT |
               VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT;
}

static gpointer domain_ref(gpointer d)
{
        return domus_domain_ref(d);
}

GPtrArray *domus_manager_list(DomusManager *m, unsigned flags)
{
        static const unsigned groups[] = {
                VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_INACTIVE,
                VIR_CONNECT_LIST_DOMAINS_PERSISTENT | VIR_CONNECT_LIST_DOMAINS_TRANSIENT,
                VIR_CONNECT_LIST_DOMAINS_RUNNING | VIR_CONNECT_LIST_DOMAINS_PAUSED | VIR_CONNECT_LIST_DOMAINS_SHUTOFF |
                        VIR_CONNECT_LIST_DOMAINS_OTHER,
                VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE,
                VIR_CONNECT_LIST_DOMAINS_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART,
                VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT | VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT,
                VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT | VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT,
        };
        static const DomusListing listing = { groups, ARRAY_SIZE(groups), traits, domain_ref, domain_unref };

        return domus_listing_make(&listing, m->by_name, flags);
}

/* --- Defining and creating --- */

/* The name is also the name of files. */
bool domus_check_name(const char *name, GError **error)
{
        const char *problem = NULL;

        if (!name[0])
                problem = "is empty";
        else if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                problem = "cannot be a file's name";
        else if (strlen(name) > 240)
                problem = "is longer than 240 bytes";
        for (const char *p = name; *p; p++) {
                if ((unsigned char)*p < ' ' || *p == 127)
                        problem = "contains a control character";
        }
        if (problem)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_XML, "the domain name '%s' %s", name, problem);
        return !problem;
}

static DomusDomainDef *parse(const char *xml, bool validate, GError **error)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(xml, validate ? DOMUS_DEF_VALIDATE : 0, error);

        if (!def || !domus_check_name(def->name, error))
                return NULL;
        return g_steal_pointer(&def);
}

static bool check_flags(unsigned flags, unsigned known, GError **error)
{
        if (!(flags & ~known))
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known);
        return false;
}

DomusDomain *domus_manager_define(DomusManager *m, const char *xml, unsigned flags, GError **error)
{
        g_autoptr(DomusDomainDef) def = NULL;
        DomusDomain *d;
        bool added;

        if (!check_flags(flags, VIR_DOMAIN_DEFINE_VALIDATE, error))
                return NULL;
        def = parse(xml, flags & VIR_DOMAIN_DEFINE_VALIDATE, error);
        if (!def || !domus_manager_match(m, def, &d, error) || !domus_domain_settle_formats(m, d, def, error) || !domus_store_save(m->store, def, error))
                return NULL;
        if (!d)
                d = domus_manager_add(m, def);
        added = !d->config;
        domus_domain_def_free(d->config);
        d->config = g_steal_pointer(&def);
        domus_domain_note_updated(d);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_DEFINED,
                added ? VIR_DOMAIN_EVENT_DEFINED_ADDED : VIR_DOMAIN_EVENT_DEFINED_UPDATED);
        return d;
}

static bool check_create(DomusManager *m, const DomusDomainDef *def, DomusDomain **ret, GError **error)
{
        if (!domus_manager_match(m, def, ret, error))
                return false;
        if (!*ret)
                return true;
        if (domus_domain_is_active(*ret))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "domain '%s' is already active", def->name);
        else if (!(*ret)->config)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "domain '%s' is already being started",
                        def->name);
        else
                return true;
        return false;
}

void domus_manager_create_xml(DomusManager *m, const char *xml, unsigned flags, DomusDone done, gpointer opaque)
{
        g_autoptr(DomusDomainDef) def = NULL;
        GError *error = NULL;
        DomusDomain *d;

        if (!check_flags(flags,
                    VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | VIR_DOMAIN_START_VALIDATE |
                            VIR_DOMAIN_START_RESET_NVRAM,
                    &error) ||
                !(def = parse(xml, flags & VIR_DOMAIN_START_VALIDATE, &error)) ||
                !check_create(m, def, &d, &error)) {
                domus_done_error(done, opaque, error);
                return;
        }
        if (!d)
                d = domus_manager_add(m, def);
        domus_domain_submit(d, domus_domain_run_start, false, flags, g_steal_pointer(&def), done, opaque);
}

/* --- The daemon's start --- */

static void add_loaded(DomusDomainDef *def, bool autostart, gpointer opaque)
{
        DomusManager *m = opaque;
        g_autoptr(GError) error = NULL;
        DomusDomain *d;

        if (!domus_check_name(def->name, &error) || !domus_manager_match(m, def, &d, &error)) {
                log_error("skipping the definition of '%s': %s", def->name, error->message);
                domus_domain_def_free(def);
                return;
        }
        d = domus_manager_add(m, def);
        d->config = def;
        d->autostart = autostart;
}

static void report_autostart(DomusDomain *d, const GError *error, gpointer name)
{
        if (error)
                log_error("cannot autostart domain '%s': %s", (char *)name, error->message);
        g_free(name);
}

static int on_autostart(sd_event_source *source, void *userdata)
{
        DomusManager *m = userdata;
        g_autoptr(GPtrArray) list = NULL;

        domus_networks_autostart(m->networks); /* domains may be on them */
        list = domus_manager_list(m, VIR_CONNECT_LIST_DOMAINS_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_INACTIVE);

        for (unsigned i = 0; i < list->len; i++) {
                DomusDomain *d = list->pdata[i];

                domus_domain_start(d, 0, report_autostart, g_strdup(d->name));
        }
        return 0;
}

/* Once per boot: a daemon that comes back does not start what was stopped meanwhile. */
static void schedule_autostart(DomusManager *m)
{
        g_autofree char *marker = g_build_filename(m->paths.run_dir, "autostarted", NULL);

        if (domus_first_of_boot(marker))
                sd_event_add_defer(m->loop, &m->autostart, on_autostart, m);
}

/* Never as root: a host without either user has the customary number of nobody. */
static void find_vmm_user(DomusManager *m)
{
        struct passwd *pw;

        if (!m->paths.privileged || !m->paths.vmm_user)
                return;
        m->drop_rights = true;
        pw = getpwnam(m->paths.vmm_user);
        if (!pw) {
                log_warning("there is no user '%s': VMs run as 'nobody'", m->paths.vmm_user);
                m->drop_rights = true;
        pw = getpwnam("nobody");
        }
        m->vmm_uid = pw ? pw->pw_uid : 65534;
        m->vmm_gid = pw ? pw->pw_gid : 65534;
}

static bool make_dir(const char *path, mode_t mode, GError **error)
{
        int r = file_make_dirs(path, mode);

        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot create directory '%s': %s", path,
                        g_strerror(-r));
        return r == 0;
}

static char *absolute(const char *path)
{
        return path ? g_canonicalize_filename(path, NULL) : NULL;
}

static void copy_paths(DomusPaths *to, const DomusPaths *from)
{
        *to = (DomusPaths){
                .config_dir = absolute(from->config_dir), .run_dir = absolute(from->run_dir),
                .state_dir = absolute(from->state_dir),   .log_dir = absolute(from->log_dir),
                .vmm_path = absolute(from->vmm_path),     .vmm_user = g_strdup(from->vmm_user),
                .bootloader_path = absolute(from->bootloader_path),
                .privileged = from->privileged,
        };
}

static bool make_networks(DomusManager *m, GError **error)
{
        const DomusNetworksConfig config = {
                .config_dir = m->paths.config_dir,
                .run_dir = m->paths.run_dir,
                .state_dir = m->paths.state_dir,
                .privileged = m->drop_rights, /* the system's daemon, as root */
        };

        m->networks = domus_networks_new(m->loop, &config, error);
        if (m->networks && !m->hooks.open_tap)
                domus_device_host_networks(m->networks, &m->hooks);
        return m->networks != NULL;
}

static bool prepare(DomusManager *m, GError **error)
{
        g_autofree char *vm_dir = g_build_filename(m->paths.run_dir, "vm", NULL);

        if (!make_dir(m->paths.run_dir, 0755, error) || !make_dir(vm_dir, 0700, error) ||
                !make_dir(m->paths.log_dir, 0700, error))
                return false;
        m->store = domus_store_new(m->paths.config_dir, error);
        return m->store && make_networks(m, error) && domus_store_load(m->store, add_loaded, m, error);
}

DomusManager *domus_manager_new(sd_event *loop, const DomusPaths *paths, DomusHost *host, const DomusDomainHooks *hooks, GError **error)
{
        DomusManager *m = g_new0(DomusManager, 1);

        m->loop = sd_event_ref(loop);
        m->host = host;
        m->next_id = 1;
        list_init(&m->children);
        if (hooks)
                m->hooks = *hooks;
        m->by_uuid = g_hash_table_new_full(domus_uuid_hash, domus_uuid_equal, NULL, domain_unref);
        m->by_name = g_hash_table_new(g_str_hash, g_str_equal);
        copy_paths(&m->paths, paths);
        domus_events_init(&m->events);
        find_vmm_user(m);
        if (!prepare(m, error)) {
                domus_manager_free(m);
                return NULL;
        }
        domus_manager_reconnect(m);
        schedule_autostart(m);
        return m;
}

static void clear_paths(DomusPaths *p)
{
        g_free(p->config_dir);
        g_free(p->run_dir);
        g_free(p->state_dir);
        g_free(p->log_dir);
        g_free(p->vmm_path);
        g_free(p->bootloader_path);
        g_free(p->vmm_user);
}

void domus_manager_free(DomusManager *m)
{
        g_autoptr(GPtrArray) list = NULL;

        if (!m)
                return;
        sd_event_source_disable_unref(m->autostart);
        domus_devices_forget_children(m);
        list = domus_manager_list(m, 0);
        for (unsigned i = 0; i < list->len; i++)
                domus_domain_detach(list->pdata[i]);
        g_hash_table_unref(m->by_name);
        g_hash_table_unref(m->by_uuid);
        domus_networks_free(m->networks);
        domus_store_free(m->store);
        domus_events_finish(&m->events);
        sd_event_unref(m->loop);
        clear_paths(&m->paths);
        g_free(m);
}

sd_event *domus_manager_loop(DomusManager *m)
{
        return m->loop;
}

void domus_manager_set_pools(DomusManager *m, DomusPools *pools)
{
        m->pools = pools;
}

DomusPools *domus_manager_pools(DomusManager *m)
{
        return m->pools;
}

DomusHost *domus_manager_host(DomusManager *m)
{
        return m->host;
}

DomusNetworks *domus_manager_networks(DomusManager *m)
{
        return m->networks;
}

unsigned domus_manager_event_add(DomusManager *m, DomusEventFn fn, gpointer opaque)
{
        return domus_events_add(&m->events, fn, opaque);
}

void domus_manager_event_remove(DomusManager *m, unsigned id)
{
        domus_events_remove(&m->events, id);
}
