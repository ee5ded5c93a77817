/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Domains: the logic behind every presentation. One thread, one sd-event loop. States, reasons and event details use the
 * libvirt public enums' values (libvirt/libvirt-domain.h), which are also our vocabulary.
 *
 * Operations that wait for a VM process take a DomusDone callback, called exactly once, possibly before the function
 * returns; error is NULL on success and borrowed. A domain has one job at a time: a second modifying operation queues behind the first; queries never wait. */

#include <glib.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "daemon/agent.h"
#include "daemon/domain-hooks.h"
#include "daemon/host.h"
#include "model/domain-def.h"
#include "model/error.h"
#include "net/networks.h"
#include "storage/pools.h"

typedef struct DomusManager DomusManager;
typedef struct DomusDomain DomusDomain;

typedef void (*DomusDone)(DomusDomain *domain /* NULL on failure */, const GError *error, gpointer opaque);

/* --- Manager: all domains of this daemon --- */

typedef struct {
        char *config_dir;  /* /etc/domus: <name>.xml in domains/, autostart/ links */
        char *run_dir;     /* /run/domus: vm/<uuid>/ */
        char *state_dir;   /* /var/lib/domus */
        char *log_dir;     /* /var/log/domus: <name>.log */
        char *vmm_path;    /* the domus-vm binary */
        char *bootloader_path; /* and domus-bootloader */
        char *vmm_user;    /* user to run it as when root; NULL: stay */
        bool privileged;
} DomusPaths;

/* hooks: copied; NULL: no storage; networks are the manager's own where they are not given. Loads the definitions, finds running VMs again, then autostarts (once per boot of the daemon's run_dir). */
DomusManager *domus_manager_new(sd_event *loop, const DomusPaths *paths, DomusHost *host, const DomusDomainHooks *hooks, GError **error);
/* VMs go on running. */
void domus_manager_free(DomusManager *m);
sd_event *domus_manager_loop(DomusManager *m);
DomusHost *domus_manager_host(DomusManager *m);
DomusNetworks *domus_manager_networks(DomusManager *m);
/* Where domains find their volumes; borrowed, must outlive the manager. NULL until it is set. */
void domus_manager_set_pools(DomusManager *m, DomusPools *pools);
DomusPools *domus_manager_pools(DomusManager *m);

/* Borrowed; NULL with DOMUS_ERROR_NO_DOMAIN. Hold a reference across the main loop. */
DomusDomain *domus_manager_lookup_uuid(DomusManager *m, const uint8_t uuid[DOMUS_UUID_LEN], GError **error);
DomusDomain *domus_manager_lookup_name(DomusManager *m, const char *name, GError **error);
DomusDomain *domus_manager_lookup_id(DomusManager *m, int id, GError **error);
/* Array of DomusDomain*, each referenced; flags: virConnectListAllDomainsFlags, 0: all. Sorted by name. */
GPtrArray *domus_manager_list(DomusManager *m, unsigned flags);

/* flags: virDomainDefineFlags. Redefines an existing name+uuid pair; a name or uuid that belongs to another domain is DOM_EXIST /
 * OPERATION_FAILED as libvirt has it. Borrowed result. */
DomusDomain *domus_manager_define(DomusManager *m, const char *xml, unsigned flags, GError **error);
/* Transient start (virDomainCreateXML); flags: virDomainCreateFlags. */
void domus_manager_create_xml(DomusManager *m, const char *xml, unsigned flags, DomusDone done, gpointer opaque);

/* --- Events --- */

typedef enum {
        DOMUS_EVENT_LIFECYCLE,  /* a: virDomainEventType, b: its detail */
        DOMUS_EVENT_REBOOT,
        DOMUS_EVENT_METADATA,   /* a: virDomainMetadataType, text: namespace uri or NULL */
        DOMUS_EVENT_DEVICE_ADDED, /* text: alias; of the next three, too */
        DOMUS_EVENT_DEVICE_REMOVED,
        DOMUS_EVENT_DEVICE_REMOVAL_FAILED,
        DOMUS_EVENT_TRAY,       /* a: virDomainEventTrayChangeReason */
        DOMUS_EVENT_IO_ERROR,   /* text: alias, path: the image or "", a: virDomainEventIOErrorAction, reason: "eio", "enospc" */
        DOMUS_EVENT_BALLOON,    /* value: KiB */
        DOMUS_EVENT_AGENT,      /* a: virConnectDomainEventAgentLifecycleState, b: its reason */
        DOMUS_EVENT_BLOCK_THRESHOLD, /* text: target, path: the image, value: the threshold, excess */
} DomusEventKind;

typedef struct {
        DomusEventKind kind;
        DomusDomain *domain;    /* still complete, also for UNDEFINED */
        int a, b;
        const char *text, *path, *reason;
        uint64_t value, excess;
} DomusEvent;

typedef void (*DomusEventFn)(const DomusEvent *event, gpointer opaque);
/* Returns an id > 0 for domus_manager_event_remove. Callbacks run synchronously, before the operation's DomusDone. */
unsigned domus_manager_event_add(DomusManager *m, DomusEventFn fn, gpointer opaque);
void domus_manager_event_remove(DomusManager *m, unsigned id);

/* --- One domain --- */

DomusDomain *domus_domain_ref(DomusDomain *d);
void domus_domain_unref(DomusDomain *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusDomain, domus_domain_unref)

const char *domus_domain_name(const DomusDomain *d);
const uint8_t *domus_domain_uuid(const DomusDomain *d);
int domus_domain_id(const DomusDomain *d);          /* -1: inactive */
bool domus_domain_is_active(const DomusDomain *d);
bool domus_domain_is_persistent(const DomusDomain *d);
bool domus_domain_is_updated(const DomusDomain *d); /* the persistent definition differs from the live one */
bool domus_domain_get_autostart(const DomusDomain *d);
bool domus_domain_set_autostart(DomusDomain *d, bool on, GError **error);
int domus_domain_state(const DomusDomain *d, int *ret_reason); /* virDomainState */
/* The live definition while active, else the persistent one; or the persistent one with config = true (NULL if transient). */
const DomusDomainDef *domus_domain_def(const DomusDomain *d, bool config);
/* flags: virDomainXMLFlags. */
char *domus_domain_xml(DomusDomain *d, unsigned flags, GError **error);

void domus_domain_start(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque);       /* virDomainCreateFlags */
void domus_domain_shutdown(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque);    /* virDomainShutdownFlagValues */
void domus_domain_reboot(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque);      /* virDomainRebootFlagValues */
void domus_domain_reset(DomusDomain *d, DomusDone done, gpointer opaque);
void domus_domain_destroy(DomusDomain *d, unsigned flags, DomusDone done, gpointer opaque);     /* virDomainDestroyFlagsValues */
/* VIR_DOMAIN_START_AUTODESTROY, for the presentation to call in the start's DomusDone: the domain is destroyed by
 * domus_manager_owner_gone(owner), or when the daemon is started anew. owner: any address that is the connection's own. */
void domus_domain_set_autodestroy(DomusDomain *d, const void *owner);
void domus_manager_owner_gone(DomusManager *m, const void *owner);
void domus_domain_suspend(DomusDomain *d, DomusDone done, gpointer opaque);
void domus_domain_resume(DomusDomain *d, DomusDone done, gpointer opaque);
void domus_domain_inject_nmi(DomusDomain *d, DomusDone done, gpointer opaque);
bool domus_domain_undefine(DomusDomain *d, unsigned flags, GError **error);                     /* virDomainUndefineFlagsValues */
bool domus_domain_rename(DomusDomain *d, const char *new_name, GError **error);
/* type: virDomainMetadataType; flags: virDomainModificationImpact. */
bool domus_domain_set_metadata(DomusDomain *d, int type, const char *text, const char *key, const char *uri, unsigned flags,
                               GError **error);
char *domus_domain_get_metadata(DomusDomain *d, int type, const char *uri, unsigned flags, GError **error);
void domus_domain_set_memory(DomusDomain *d, uint64_t kib, unsigned flags, DomusDone done, gpointer opaque); /* virDomainMemoryModFlags */
bool domus_domain_set_vcpus(DomusDomain *d, unsigned n, unsigned flags, GError **error);        /* virDomainVcpuFlags */
bool domus_domain_set_action(DomusDomain *d, unsigned type, unsigned action, unsigned flags, GError **error); /* virDomainLifecycle* */

/* --- Devices; xml: one device element; flags: virDomainDeviceModifyFlags --- */

void domus_domain_attach_device(DomusDomain *d, const char *xml, unsigned flags, DomusDone done, gpointer opaque);
/* Of a running domain: the guest is asked; it may take its time, or not do it. DOMUS_EVENT_DEVICE_REMOVED tells when it has. */
void domus_domain_detach_device(DomusDomain *d, const char *xml, unsigned flags, DomusDone done, gpointer opaque);
void domus_domain_detach_alias(DomusDomain *d, const char *alias, unsigned flags, DomusDone done, gpointer opaque);
void domus_domain_update_device(DomusDomain *d, const char *xml, unsigned flags, DomusDone done, gpointer opaque);

/* disk: target or path. groups: which values of iotune are given; others stay, but those of a group that is given and 0 end the limit. */
enum {
        DOMUS_IOTUNE_BYTES = 1 << 0, DOMUS_IOTUNE_IOPS = 1 << 1, DOMUS_IOTUNE_BYTES_MAX = 1 << 2, DOMUS_IOTUNE_IOPS_MAX = 1 << 3,
        DOMUS_IOTUNE_BYTES_MAX_LENGTH = 1 << 4, DOMUS_IOTUNE_IOPS_MAX_LENGTH = 1 << 5, DOMUS_IOTUNE_SIZE = 1 << 6,
};
void domus_domain_set_iotune(DomusDomain *d, const char *disk, const DomusIotune *iotune, unsigned groups, unsigned flags, DomusDone done,
                             gpointer opaque);
void domus_domain_block_resize(DomusDomain *d, const char *disk, uint64_t bytes, DomusDone done, gpointer opaque);
/* The first write beyond that byte is told by DOMUS_EVENT_BLOCK_THRESHOLD; 0: none is. */
void domus_domain_set_threshold(DomusDomain *d, const char *disk, uint64_t bytes, DomusDone done, gpointer opaque);
/* interface: device name or MAC. */
void domus_domain_set_bandwidth(DomusDomain *d, const char *interface, const DomusBandwidth *bandwidth, unsigned flags, DomusDone done, gpointer opaque);
void domus_domain_set_stats_period(DomusDomain *d, int seconds, unsigned flags, DomusDone done, gpointer opaque);

/* by_alias: alias -> counters by vmproto's names, for domus_device_counter; of devices that did not answer there are none, and error (borrowed) is the
 * last reason. Valid during the call. */
typedef void (*DomusDeviceStatsDone)(GHashTable *by_alias, const GError *error, gpointer opaque);
/* Of the disks, the balloon and the interfaces without a device on the host; alias: of this one alone. done may be called before this returns. */
void domus_domain_device_stats(DomusDomain *d, const char *alias, DomusDeviceStatsDone done, gpointer opaque);
/* False, and *ret as it was, where there is no such counter. */
bool domus_device_counter(GHashTable *by_alias, const char *alias, const char *name, uint64_t *ret);

typedef struct {
        uint64_t capacity, allocation, physical; /* bytes; virDomainBlockInfo */
} DomusDiskInfo;

bool domus_domain_disk_info(DomusDomain *d, const DomusDevice *disk, DomusDiskInfo *ret, GError **error);
/* Of a running domain, on a server that says nothing of it but its size: the VM's counter "size". */
bool domus_domain_disk_is_remote(const DomusDomain *d, const DomusDevice *disk);
/* Of a file or device, NULL: none. */
const char *domus_domain_disk_path(const DomusDomain *d, const DomusDevice *disk);
int domus_domain_disk_error(const DomusDomain *d, const DomusDevice *disk); /* virDomainDiskErrorCode */
/* Seen from the guest; by_alias: as above, for interfaces without a device on the host. */
bool domus_domain_interface_counters(DomusDomain *d, const DomusDevice *interface, GHashTable *by_alias, DomusHookTapStats *ret, GError **error);
/* Array of DomusHookAddress *. */
GPtrArray *domus_domain_interface_addresses(DomusDomain *d, const DomusDevice *interface, bool arp, GError **error);

/* --- The guest agent. Errors: ARGUMENT_UNSUPPORTED: none is configured; AGENT_UNRESPONSIVE; INTERNAL: what it says --- */

/* json: a command as the client wrote it; timeout: s, 0 or less: the domain's. reply may be called before these return. */
void domus_domain_agent_text(DomusDomain *d, const char *json, int timeout, DomusAgentReply reply, gpointer opaque);
/* arguments: taken over; may be NULL. */
void domus_domain_agent_call(DomusDomain *d, const char *name, JsonObject *arguments, DomusAgentReply reply, gpointer opaque);
bool domus_domain_set_agent_timeout(DomusDomain *d, int seconds, GError **error); /* or virDomainAgentResponseTimeoutValues */

typedef struct {
        uint64_t time_ns;
        int host_cpu;
        int state; /* virVcpuState */
        bool halted;
} DomusVcpuStats;

typedef struct {
        uint64_t cpu_time_ns, user_ns, system_ns;
        uint64_t rss;          /* bytes */
        uint64_t memory_kib;   /* current balloon value */
        unsigned n_vcpus;      /* zero while inactive */
        DomusVcpuStats *vcpus;
} DomusDomainStats;

/* Read from /proc by the daemon itself, without waiting for the VM. Zeros while inactive. */
void domus_domain_stats(DomusDomain *d, DomusDomainStats *ret);
void domus_domain_stats_clear(DomusDomainStats *s);

/* A fresh descriptor (blocking mode off, close-on-exec) for the console's byte stream; dev: alias, or NULL for the first. Flags:
 * virDomainConsoleFlags; a console in use is OPERATION_FAILED without FORCE; with it the older user's fd sees end of file. Close it to let go. */
int domus_domain_open_console(DomusDomain *d, const char *dev, unsigned flags, GError **error);
