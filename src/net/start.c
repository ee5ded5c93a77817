/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From defined to active and back. In RUN/networks/UUID of an active network are
 *   network.xml   the live definition, written before anything is made
 *   complete      when all is there: without it a later daemon takes down what it finds
 *   ports/        one file per port
 *   dnsmasq.*, dhcp-hosts, dns-hosts */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "net/link.h"
#include "net/networks-private.h"
#include "net/qos.h"

/* --- Files --- */

static char *file_of(const DomusNetwork *net, const char *name)
{
        return g_build_filename(net->run_dir, name, NULL);
}

static bool write_file(const char *path, const char *text, GError **error)
{
        int r = file_replace(path, text, strlen(text), 0600);

        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot write '%s': %s", path, g_strerror(-r));
        return r == 0;
}

bool network_save_live(DomusNetwork *net, GError **error)
{
        g_autofree char *path = file_of(net, "network.xml"), *xml = domus_network_def_format(net->live, 0);

        return write_file(path, xml, error);
}

static bool make_dir(const char *path, mode_t mode, GError **error)
{
        int r = file_make_dirs(path, mode);

        if (r < 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make '%s': %s", path, g_strerror(-r));
        return r == 0;
}

/* dnsmasq, which is not root, reads and writes in both. */
static bool make_dirs(DomusNetwork *net, GError **error)
{
        g_autofree char *ports = file_of(net, "ports");

        return make_dir(net->run_dir, 0755, error) && make_dir(ports, 0755, error) && make_dir(net->owner->state_dir, 0755, error);
}

/* Two levels are all there are. */
static void remove_dir(const char *path, bool deep)
{
        DIR *dir = opendir(path);
        const struct dirent *e;

        while (dir && (e = readdir(dir))) {
                g_autofree char *entry = g_build_filename(path, e->d_name, NULL);

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (unlink(entry) < 0 && errno == EISDIR && deep)
                        remove_dir(entry, false);
        }
        if (dir)
                closedir(dir);
        rmdir(path);
}

/* --- Down --- */

void network_take_down(DomusNetwork *net)
{
        g_autoptr(GError) error = NULL;

        if (net->dnsmasq)
                dnsmasq_stop(net->dnsmasq);
        g_clear_pointer(&net->dnsmasq, dnsmasq_free);
        if (network_mode_of(net->live)->own_bridge)
                virtual_stop(net->live);
        g_ptr_array_set_size(net->ports, 0);
        g_clear_pointer(&net->live, domus_network_def_free);
        if (!networks_apply_firewall(net->owner, &error))
                log_warning("network '%s': %s", net->name, error->message);
        remove_dir(net->run_dir, true);
}

/* --- Up --- */

static void finish_start(DomusNetwork *net, const GError *error)
{
        g_autoptr(DomusNetwork) hold = domus_network_ref(net);
        DomusNetworkDone done = net->start_done;

        net->start_done = NULL;
        if (error) {
                network_take_down(net);
                done(NULL, error, net->start_opaque);
                network_drop_if_unused(net);
                return;
        }
        network_emit(net, DOMUS_NETWORK_EVENT_LIFECYCLE, VIR_NETWORK_EVENT_STARTED, NULL);
        done(net, NULL, net->start_opaque);
}

static bool note_complete(DomusNetwork *net, GError **error)
{
        g_autofree char *path = file_of(net, "complete");

        return write_file(path, "", error);
}

static void on_dnsmasq(const GError *error, void *opaque)
{
        DomusNetwork *net = opaque;
        g_autoptr(GError) own = NULL;

        if (!error)
                note_complete(net, &own);
        finish_start(net, error ? error : own);
}

static void make_dnsmasq(DomusNetwork *net)
{
        g_autofree char *leases = network_lease_path(net);

        net->dnsmasq = dnsmasq_new(net->owner->loop, net->name, net->run_dir, leases);
}

/* All but dnsmasq. On failure nothing is left but files. */
static bool make(DomusNetwork *net, GError **error)
{
        const struct network_mode *mode = network_mode_of(net->live);

        if (mode->check && !mode->check(net->live, error))
                return false;
        if (!make_dirs(net, error) || !network_save_live(net, error))
                return false;
        if (mode->own_bridge && !virtual_start(net->live, mode, error))
                return false;
        if (networks_apply_firewall(net->owner, error))
                return true;
        if (mode->own_bridge)
                virtual_stop(net->live);
        return false;
}

/* What failed has undone itself; the bridge, if there is one of that name, may be somebody else's. */
static void give_up(DomusNetwork *net, const GError *error)
{
        g_autoptr(DomusNetwork) hold = domus_network_ref(net);
        DomusNetworkDone done = net->start_done;

        net->start_done = NULL;
        g_clear_pointer(&net->live, domus_network_def_free);
        networks_apply_firewall(net->owner, NULL);
        remove_dir(net->run_dir, true);
        done(NULL, error, net->start_opaque);
        network_drop_if_unused(net);
}

void network_start_with(DomusNetwork *net, DomusNetworkDef *def, DomusNetworkDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;

        net->live = def;
        net->start_done = done;
        net->start_opaque = opaque;
        if (!networks_check_privileged(net->owner, &error) || !make(net, &error)) {
                give_up(net, error);
                return;
        }
        if (dnsmasq_wanted(def)) {
                make_dnsmasq(net);
                if (dnsmasq_start(net->dnsmasq, def, on_dnsmasq, net, &error))
                        return; /* on_dnsmasq goes on */
        } else {
                note_complete(net, &error);
        }
        finish_start(net, error);
}

void domus_network_start(DomusNetwork *net, DomusNetworkDone done, gpointer opaque)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkDef) def = NULL;

        if (net->start_done)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network '%s' is already being started", net->name);
        else if (net->live)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network is already active");
        else if (!net->config)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network '%s' has no definition", net->name);
        else
                def = domus_network_def_copy(net->config);
        if (!error && network_settle_bridge(net->owner, def, net, &error)) {
                network_start_with(net, g_steal_pointer(&def), done, opaque);
                return;
        }
        done(NULL, error, opaque);
}

bool domus_network_destroy(DomusNetwork *net, GError **error)
{
        g_autoptr(DomusNetwork) hold = domus_network_ref(net);
        g_autoptr(GError) aborted = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "network '%s' was destroyed meanwhile", net->name);

        if (!net->live) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "network '%s' is not active", net->name);
                return false;
        }
        if (net->start_done) {
                finish_start(net, aborted);
                return true;
        }
        network_update_abort(net, aborted);
        network_take_down(net);
        network_emit(net, DOMUS_NETWORK_EVENT_LIFECYCLE, VIR_NETWORK_EVENT_STOPPED, NULL);
        network_drop_if_unused(net);
        return true;
}

void network_detach(DomusNetwork *net)
{
        g_autoptr(GError) error = g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED, "the daemon ends");
        DomusNetworkDone done = net->start_done;

        network_update_abort(net, error);
        net->start_done = NULL;
        if (!done)
                return;
        network_take_down(net);
        done(NULL, error, net->start_opaque);
}

/* --- Again after a restart of the daemon --- */

static DomusNetworkDef *read_live(const char *dir, GError **error)
{
        g_autofree char *path = g_build_filename(dir, "network.xml", NULL);
        DomusNetworkDef *def;
        char *xml = NULL;
        int r = file_read(path, 4U << 20, &xml, NULL);

        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot read '%s': %s", path, g_strerror(-r));
                return NULL;
        }
        def = domus_network_def_parse(xml, 0, error);
        free(xml);
        return def;
}

/* Why the network cannot go on, or NULL. */
static const char *find_flaw(const DomusNetwork *net)
{
        g_autofree char *complete = file_of(net, "complete");

        if (access(complete, F_OK) < 0)
                return "its start was interrupted";
        if (network_mode_of(net->live)->own_bridge && !virtual_is_up(net->live))
                return "its bridge is gone";
        return NULL;
}

static void reconnect_one(DomusNetworks *n, const char *dir)
{
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusNetworkDef) def = read_live(dir, &error);
        DomusNetwork *net = def ? domus_networks_lookup_uuid(n, def->uuid, NULL) : NULL;
        const char *flaw;

        if (!def) {
                log_error("giving up an active network: %s", error->message);
                remove_dir(dir, true);
                return;
        }
        if (!net)
                net = network_new(n, def);
        net->live = g_steal_pointer(&def);
        if (dnsmasq_wanted(net->live))
                make_dnsmasq(net);
        flaw = find_flaw(net);
        if (flaw) {
                log_warning("network '%s' is no longer active: %s", net->name, flaw);
                if (net->dnsmasq)
                        dnsmasq_find(net->dnsmasq);
                network_take_down(net);
                network_drop_if_unused(net);
                return;
        }
        network_ports_load(net);
        if (net->dnsmasq)
                dnsmasq_adopt(net->dnsmasq);
}

void networks_reconnect(DomusNetworks *n)
{
        DIR *dir = n->privileged ? opendir(n->run_dir) : NULL;
        g_autoptr(GError) error = NULL;
        const struct dirent *e;

        if (!dir)
                return;
        while ((e = readdir(dir))) {
                g_autofree char *path = g_build_filename(n->run_dir, e->d_name, NULL);
                uint8_t uuid[DOMUS_UUID_LEN];

                if (!domus_uuid_parse(e->d_name, uuid))
                        continue;
                n->has_table = true;
                reconnect_one(n, path);
        }
        closedir(dir);
        if (!networks_apply_firewall(n, &error))
                log_error("%s", error->message);
}
