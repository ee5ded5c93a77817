/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "daemon/device.h"
#include "daemon/domain-private.h"

/* --- Life --- */

DomusDomain *domus_domain_new(DomusManager *m, const DomusDomainDef *def)
{
        DomusDomain *d = g_new0(DomusDomain, 1);

        d->refs = 1;
        d->manager = m;
        d->name = g_strdup(def->name);
        memcpy(d->uuid, def->uuid, DOMUS_UUID_LEN);
        d->last = domus_domain_def_copy(def);
        d->id = -1;
        d->state = VIR_DOMAIN_SHUTOFF;
        d->reason = VIR_DOMAIN_SHUTOFF_UNKNOWN;
        domus_job_queue_init(&d->jobs);
        return d;
}

void domus_domain_make_tables(DomusDomain *d)
{
        d->disk_paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        d->monitors = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, domus_qsd_monitor_free);
        d->passts = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, domus_passt_free);
        d->taps = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        d->disk_errors = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

void domus_domain_clear_tables(DomusDomain *d)
{
        g_clear_pointer(&d->disk_paths, g_hash_table_unref);
        g_clear_pointer(&d->monitors, g_hash_table_unref);
        g_clear_pointer(&d->passts, g_hash_table_unref);
        g_clear_pointer(&d->taps, g_hash_table_unref);
        g_clear_pointer(&d->disk_errors, g_hash_table_unref);
}

static void domain_free(DomusDomain *d)
{
        domus_domain_detach(d);
        domus_domain_def_free(d->config);
        domus_domain_def_free(d->live);
        domus_domain_def_free(d->last);
        g_clear_pointer(&d->ttys, g_ptr_array_unref);
        domus_domain_clear_tables(d);
        g_clear_error(&d->start_error);
        g_free(d->log_path);
        g_free(d->removal_alias);
        g_free(d->name);
        g_free(d);
}

DomusDomain *domus_domain_ref(DomusDomain *d)
{
        d->refs++;
        return d;
}

void domus_domain_unref(DomusDomain *d)
{
        if (d && --d->refs == 0)
                domain_free(d);
}

void domus_domain_detach(DomusDomain *d)
{
        domus_job_queue_close(&d->jobs);
        g_clear_pointer(&d->agent, domus_agent_free);
        g_clear_pointer(&d->boot, domus_boot_free);
        d->stop_waiter = d->removal_waiter = NULL;
        d->removal_timer = sd_event_source_disable_unref(d->removal_timer);
        g_clear_pointer(&d->console, domus_console_free);
        d->kill_timer = sd_event_source_disable_unref(d->kill_timer);
        g_clear_pointer(&d->vm, domus_vm_free);
        d->manager = NULL;
}

/* --- Queries --- */

const char *domus_domain_name(const DomusDomain *d)
{
        return d->name;
}

const uint8_t *domus_domain_uuid(const DomusDomain *d)
{
        return d->uuid;
}

int domus_domain_id(const DomusDomain *d)
{
        return d->id;
}

bool domus_domain_is_active(const DomusDomain *d)
{
        return d->id >= 0;
}

bool domus_domain_is_persistent(const DomusDomain *d)
{
        return d->config;
}

bool domus_domain_is_updated(const DomusDomain *d)
{
        return d->updated;
}

bool domus_domain_get_autostart(const DomusDomain *d)
{
        return d->autostart;
}

int domus_domain_state(const DomusDomain *d, int *ret_reason)
{
        if (ret_reason)
                *ret_reason = d->reason;
        return d->state;
}

const DomusDomainDef *domus_domain_any_def(const DomusDomain *d)
{
        if (d->live)
                return d->live;
        return d->config ? d->config : d->last;
}

const DomusDomainDef *domus_domain_def(const DomusDomain *d, bool config)
{
        return config ? d->config : domus_domain_any_def(d);
}

char *domus_domain_xml(DomusDomain *d, unsigned flags, GError **error)
{
        bool inactive = flags & VIR_DOMAIN_XML_INACTIVE;
        const unsigned known = VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_UPDATE_CPU |
                               VIR_DOMAIN_XML_MIGRATABLE;
        const DomusDomainDef *def = inactive && d->config ? d->config : domus_domain_any_def(d);

        if (flags & ~known) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known);
                return NULL;
        }
        if (def != d->live)
                inactive = true;
        return domus_domain_def_format(def, inactive ? -1 : d->id,
                (flags & VIR_DOMAIN_XML_SECURE ? DOMUS_DEF_SECURE : 0) | (inactive ? DOMUS_DEF_INACTIVE : 0));
}

bool domus_domain_require_active(const DomusDomain *d, GError **error)
{
        if (domus_domain_is_active(d) && d->manager)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "domain is not running");
        return false;
}

/* --- State and events --- */

void domus_domain_set_state(DomusDomain *d, int state, int reason)
{
        d->state = state;
        d->reason = reason;
}

static void emit(DomusDomain *d, DomusEvent event)
{
        event.domain = d;
        if (d->manager)
                domus_events_emit(&d->manager->events, &event);
}

void domus_domain_emit_lifecycle(DomusDomain *d, int type, int detail)
{
        emit(d, (DomusEvent){ .kind = DOMUS_EVENT_LIFECYCLE, .a = type, .b = detail });
}

void domus_domain_emit_device(DomusDomain *d, DomusEventKind kind, int a, const char *alias, const char *path, const char *reason)
{
        emit(d, (DomusEvent){ .kind = kind, .a = a, .text = alias, .path = path, .reason = reason });
}

void domus_domain_emit_agent(DomusDomain *d, bool connected, int reason)
{
        emit(d, (DomusEvent){ .kind = DOMUS_EVENT_AGENT, .b = reason,
                        .a = connected ? VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED :
                                         VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED });
}

void domus_domain_emit_threshold(DomusDomain *d, const char *target, const char *path, uint64_t value, uint64_t excess)
{
        emit(d, (DomusEvent){ .kind = DOMUS_EVENT_BLOCK_THRESHOLD, .text = target, .path = path, .value = value, .excess = excess });
}

void domus_domain_emit_value(DomusDomain *d, DomusEventKind kind, uint64_t value)
{
        emit(d, (DomusEvent){ .kind = kind, .value = value });
}

void domus_domain_emit(DomusDomain *d, DomusEventKind kind, int a, const char *text)
{
        emit(d, (DomusEvent){ .kind = kind, .a = a, .text = text });
}
