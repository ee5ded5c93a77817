/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Changes of a domain's definition: undefine, rename, autostart, memory, vCPUs, actions. */

#include <string.h>

#include "base/log.h"
#include "daemon/domain-private.h"
#include "model/domain-device.h"
#include "vmproto/vmproto.h"

#define TRANSIENT_TEXT "transient domains do not have any persistent config"

bool domus_domain_resolve_impact(const DomusDomain *d, unsigned flags, bool *ret_live, bool *ret_config, GError **error)
{
        bool active = domus_domain_is_active(d);
        const char *problem = NULL;

        *ret_live = flags & VIR_DOMAIN_AFFECT_LIVE;
        *ret_config = flags & VIR_DOMAIN_AFFECT_CONFIG;
        if (!*ret_live && !*ret_config) {
                *ret_live = active;
                *ret_config = !active;
        }
        if (*ret_live && !active)
                problem = "domain is not running";
        else if (*ret_config && !d->config)
                problem = TRANSIENT_TEXT;
        if (problem)
                g_set_error_literal(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, problem);
        return !problem;
}

static bool require_persistent(const DomusDomain *d, const char *text, GError **error)
{
        if (d->config && d->manager)
                return true;
        g_set_error_literal(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, text);
        return false;
}

void domus_domain_note_updated(DomusDomain *d)
{
        if (!domus_domain_is_active(d) || d->updated)
                return;
        d->updated = true;
        domus_domain_save_status(d);
}

bool domus_domain_save_config(DomusDomain *d, DomusDomainDef *changed, GError **error)
{
        if (!require_persistent(d, TRANSIENT_TEXT, error) || !domus_store_save(d->manager->store, changed, error)) {
                domus_domain_def_free(changed);
                return false;
        }
        domus_domain_def_free(d->config);
        d->config = changed;
        domus_domain_note_updated(d);
        return true;
}

bool domus_domain_set_autostart(DomusDomain *d, bool on, GError **error)
{
        if (!require_persistent(d, "cannot set autostart for transient domain", error))
                return false;
        if (!domus_store_set_autostart(d->manager->store, d->name, on, error))
                return false;
        d->autostart = on;
        return true;
}

bool domus_domain_undefine(DomusDomain *d, unsigned flags, GError **error)
{
        /* Those speak of things that a domain here never has; so they are done already. */
        const unsigned known = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                               VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM |
                               VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_TPM | VIR_DOMAIN_UNDEFINE_KEEP_TPM;
        g_autoptr(DomusDomain) hold = domus_domain_ref(d);

        if (flags & ~known) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unsupported flags (0x%x)", flags & ~known);
                return false;
        }
        if (!require_persistent(d, "cannot undefine transient domain", error) ||
                !domus_store_remove(d->manager->store, d->name, error))
                return false;
        d->autostart = false;
        d->updated = false;
        domus_domain_def_free(d->last);
        d->last = g_steal_pointer(&d->config);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
        if (!domus_domain_is_active(d))
                domus_manager_drop(d->manager, d);
        return true;
}

/* --- Renaming --- */

static bool check_rename(DomusDomain *d, const char *new_name, GError **error)
{
        DomusDomain *other;

        if (!require_persistent(d, "cannot rename a transient domain", error) || !domus_check_name(new_name, error))
                return false;
        other = domus_manager_lookup_name(d->manager, new_name, NULL);
        if (domus_domain_is_active(d) || d->jobs.current)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "cannot rename active domain");
        else if (other == d)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "can't rename domain to itself");
        else if (other)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "domain with name '%s' already exists",
                        new_name);
        else
                return true;
        return false;
}

bool domus_domain_rename(DomusDomain *d, const char *new_name, GError **error)
{
        g_autoptr(DomusDomainDef) def = NULL;

        if (!check_rename(d, new_name, error))
                return false;
        def = domus_domain_def_copy(d->config);
        if (!domus_domain_def_set_name(def, new_name, error) ||
                !domus_store_rename(d->manager->store, d->name, def, d->autostart, error))
                return false;
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_RENAMED);
        domus_domain_def_free(d->config);
        d->config = g_steal_pointer(&def);
        domus_manager_rename(d->manager, d, new_name);
        domus_domain_emit_lifecycle(d, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_RENAMED);
        return true;
}

/* --- Memory and vCPUs --- */

static bool refuse_live(const char *what, GError **error)
{
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED, "cannot change the %s of a running domain yet", what);
        return false;
}

static bool check_memory(const DomusDomainDef *def, uint64_t kib, bool maximum, GError **error)
{
        const char *problem = NULL;

        if (kib == 0)
                problem = "the memory size must be greater than zero";
        else if (!maximum && kib > def->memory_max)
                problem = "cannot set memory higher than max memory";
        if (problem)
                g_set_error_literal(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, problem);
        return !problem;
}

static bool set_memory_config(DomusDomain *d, uint64_t kib, bool maximum, GError **error)
{
        g_autoptr(DomusDomainDef) def = NULL;
        uint64_t max, current;

        if (!check_memory(d->config, kib, maximum, error))
                return false;
        def = domus_domain_def_copy(d->config);
        max = maximum ? kib : def->memory_max;
        current = maximum ? MIN(def->memory_current, kib) : kib;
        return domus_domain_def_set_memory(def, max, current, error) && domus_domain_save_config(d, g_steal_pointer(&def), error);
}

void domus_domain_set_memory(DomusDomain *d, uint64_t kib, unsigned flags, DomusDone done, gpointer opaque)
{
        bool maximum = flags & VIR_DOMAIN_MEM_MAXIMUM;
        GError *error = NULL;
        bool live, config;

        if (domus_domain_resolve_impact(d, flags, &live, &config, &error) && live && maximum)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID, "cannot resize the maximum memory on an active domain");
        if (!error && live && kib == 0)
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "the memory size must be greater than zero");
        if (!error && live && !domus_domain_def_balloon(d->live))
                g_set_error(&error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID,
                        "the memory of a running domain can be changed by its balloon only, and it has none");
        if (!error && config)
                set_memory_config(d, kib, maximum, &error);
        if (error)
                domus_done_error(done, opaque, error);
        else if (live)
                domus_domain_set_balloon(d, kib, done, opaque);
        else
                done(d, NULL, opaque);
}

static bool check_vcpus(DomusDomain *d, unsigned n, bool maximum, GError **error)
{
        unsigned limit = maximum ? domus_host_facts(d->manager->host)->max_vcpus : d->config->vcpus_max;

        if (n == 0)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "the number of vCPUs must be greater than zero");
        else if (n > limit)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG,
                        maximum ? "requested vcpus is greater than the machine's limit: %u > %u"
                                : "requested vcpus is greater than max allowable vcpus for the persistent domain: %u > %u",
                        n, limit);
        else
                return true;
        return false;
}

bool domus_domain_set_vcpus(DomusDomain *d, unsigned n, unsigned flags, GError **error)
{
        bool maximum = flags & VIR_DOMAIN_VCPU_MAXIMUM;
        g_autoptr(DomusDomainDef) def = NULL;
        bool live, config;

        if (!domus_domain_resolve_impact(d, flags, &live, &config, error))
                return false;
        if (live)
                return refuse_live("number of vCPUs", error);
        if (!check_vcpus(d, n, maximum, error))
                return false;
        def = domus_domain_def_copy(d->config);
        return domus_domain_def_set_vcpus(def, maximum ? n : def->vcpus_max,
                       maximum ? MIN(def->vcpus_current, n) : n, error) &&
               domus_domain_save_config(d, g_steal_pointer(&def), error);
}

/* --- Lifecycle actions --- */

#define ACTIONS_KNOWN (VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART + 1)

/* The XML element, and domus-vm's name for the same. */
static const char *const action_elements[] = {
        [VIR_DOMAIN_LIFECYCLE_POWEROFF] = "on_poweroff",
        [VIR_DOMAIN_LIFECYCLE_REBOOT] = "on_reboot",
        [VIR_DOMAIN_LIFECYCLE_CRASH] = "on_crash",
};
static const char *const vm_actions[] = {
        [VIR_DOMAIN_LIFECYCLE_POWEROFF] = VM_ON_POWEROFF,
        [VIR_DOMAIN_LIFECYCLE_REBOOT] = VM_ON_REBOOT,
        [VIR_DOMAIN_LIFECYCLE_CRASH] = VM_ON_CRASH,
};

static bool action_of(unsigned type, unsigned action, DomusAction *ret, GError **error)
{
        static const DomusAction actions[] = {
                [VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY] = DOMUS_ACTION_DESTROY,
                [VIR_DOMAIN_LIFECYCLE_ACTION_RESTART] = DOMUS_ACTION_RESTART,
                [VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME] = DOMUS_ACTION_RENAME_RESTART,
                [VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE] = DOMUS_ACTION_PRESERVE,
        };

        if (type >= G_N_ELEMENTS(action_elements))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unknown lifecycle type %u", type);
        else if (action >= ACTIONS_KNOWN)
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG, "unknown lifecycle action %u", action);
        else if (action >= G_N_ELEMENTS(actions))
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_UNSUPPORTED,
                        "the coredump actions are not supported yet");
        else {
                *ret = actions[action];
                return true;
        }
        return false;
}

bool domus_domain_set_action(DomusDomain *d, unsigned type, unsigned action, unsigned flags, GError **error)
{
        g_autoptr(DomusDomainDef) def = NULL;
        bool live, config;
        DomusAction a;

        if (!action_of(type, action, &a, error) || !domus_domain_resolve_impact(d, flags, &live, &config, error))
                return false;
        if (config) {
                def = domus_domain_def_copy(d->config);
                if (!domus_domain_def_set_action(def, action_elements[type], a, error) ||
                        !domus_domain_save_config(d, g_steal_pointer(&def), error))
                        return false;
        }
        if (!live)
                return true;
        if (!domus_domain_def_set_action(d->live, action_elements[type], a, error))
                return false;
        domus_domain_send_action(d, vm_actions[type], a);
        domus_domain_save_status(d);
        return true;
}
