/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the files of the daemon core share about managers and domains. */

#include <sys/types.h>

#include "base/list.h"
#include "daemon/agent.h"
#include "daemon/console.h"
#include "daemon/domain-hooks.h"
#include "daemon/domain.h"
#include "daemon/event.h"
#include "daemon/job.h"
#include "daemon/launch.h"
#include "daemon/store.h"
#include "daemon/vmprocess.h"

typedef struct DomusDomainJob DomusDomainJob;
typedef struct DomusBoot DomusBoot; /* domain-boot.c */

struct DomusManager {
        sd_event *loop;
        DomusPaths paths;      /* own copies, absolute */
        bool drop_rights;      /* run domus-vm as this user and group */
        uid_t vmm_uid;
        gid_t vmm_gid;
        DomusHost *host;       /* borrowed */
        DomusPools *pools;     /* borrowed; NULL: none */
        DomusDomainHooks hooks; /* of storage and networks */
        struct list children;  /* programs that serve devices: device-child.c */
        DomusStore *store;
        DomusNetworks *networks;
        GHashTable *by_uuid;   /* 16 bytes of the domain -> DomusDomain, which it holds a reference to */
        GHashTable *by_name;   /* the domain's name -> DomusDomain */
        int next_id;
        DomusEvents events;
        sd_event_source *autostart;
};

struct DomusDomain {
        unsigned refs;
        DomusManager *manager; /* NULL once the manager is gone */
        char *name;
        uint8_t uuid[DOMUS_UUID_LEN];
        DomusDomainDef *config; /* the persistent definition; NULL if transient */
        DomusDomainDef *live;   /* while active */
        DomusDomainDef *last;   /* of a domain that is no longer in the manager */
        bool autostart;
        bool updated;           /* config was changed while active */

        int id;                 /* -1: inactive */
        int state, reason;
        DomusJobQueue jobs;

        /* While active. */
        DomusVm *vm;
        DomusLaunch *launch;    /* until the VM has it */
        DomusBoot *boot;        /* while the boot loader runs */
        GHashTable *taps;       /* aliases of the interfaces whose device was made */
        GHashTable *disk_paths; /* alias -> path of a disk of type volume */
        GHashTable *monitors;   /* alias -> connection to the disk's qemu-storage-daemon: device-qsd-control.c */
        GHashTable *passts;     /* alias -> how the start of the interface's passt goes: device-passt.c */
        GPtrArray *ttys;        /* char *: the ptys' slave paths */
        char *log_path;
        off_t log_start;        /* where this run's lines begin */
        off_t log_devices;      /* where those of the servers of its images do */
        bool started;           /* STARTED was announced */
        bool guest_stopped;     /* the VM said that its guest stopped; its process is about to go */
        bool reboot_wanted;     /* the next power-off restarts the guest */
        int stop_reason;        /* virDomainShutoffReason, and the detail of the STOPPED event, for when the process goes */
        int stop_detail;
        GError *start_error;    /* the start failed; reported when the process is gone */
        DomusDomainJob *stop_waiter; /* the job that waits for the process to go */
        sd_event_source *kill_timer;
        bool may_kill;          /* when kill_timer elapses */
        DomusConsole *console;  /* of serial port 0; NULL while nobody uses it */
        const void *owner;      /* of an autodestroy domain */
        DomusDomainJob *removal_waiter; /* the job that waits for the guest to let go of removal_alias: domain-device.c */
        char *removal_alias;
        sd_event_source *removal_timer;
        GHashTable *disk_errors; /* alias -> virDomainDiskErrorCode, as a pointer */
        DomusAgent *agent;      /* NULL: not in use */
        int agent_timeout;      /* s, or virDomainAgentResponseTimeoutValues */
};

/* domain.c */

/* An inactive domain with def's name and uuid; a copy of def is its last known definition. */
DomusDomain *domus_domain_new(DomusManager *m, const DomusDomainDef *def);
void domus_domain_set_state(DomusDomain *d, int state, int reason);
/* The tables of an active domain, empty. */
void domus_domain_make_tables(DomusDomain *d);
void domus_domain_clear_tables(DomusDomain *d);
/* The definition that a name, uuid or title can always be taken from. */
const DomusDomainDef *domus_domain_any_def(const DomusDomain *d);

/* DOMUS_ERROR_OPERATION_INVALID: not running. */
bool domus_domain_require_active(const DomusDomain *d, GError **error);
/* The manager goes: the domain's queries still work, its operations fail, its VM goes on. */
void domus_domain_detach(DomusDomain *d);

/* What a virDomainModificationImpact means for the domain as it is now. At least one of both is set. DOMUS_ERROR_OPERATION_INVALID. */
bool domus_domain_resolve_impact(const DomusDomain *d, unsigned flags, bool *ret_live, bool *ret_config, GError **error);
/* The persistent definition differs from the live one. */
void domus_domain_note_updated(DomusDomain *d);
/* Saves changed (taken over) as the persistent definition. On failure the old one stays. */
bool domus_domain_save_config(DomusDomain *d, DomusDomainDef *changed, GError **error);

void domus_domain_emit_lifecycle(DomusDomain *d, int type, int detail);
void domus_domain_emit(DomusDomain *d, DomusEventKind kind, int a, const char *text);
void domus_domain_emit_device(DomusDomain *d, DomusEventKind kind, int a, const char *alias, const char *path, const char *reason);
/* reason: virConnectDomainEventAgentLifecycleReason. */
void domus_domain_emit_agent(DomusDomain *d, bool connected, int reason);
/* target: of the disk; path: its image, or NULL; value: bytes. */
void domus_domain_emit_threshold(DomusDomain *d, const char *target, const char *path, uint64_t value, uint64_t excess);
void domus_domain_emit_value(DomusDomain *d, DomusEventKind kind, uint64_t value);

/* manager.c */

/* Removes a domain that is neither persistent nor active; it keeps its last definition for those who hold a reference. */
void domus_manager_drop(DomusManager *m, DomusDomain *d);
void domus_manager_rename(DomusManager *m, DomusDomain *d, const char *new_name);
/* Can it be a domain's name, and so a file's? DOMUS_ERROR_XML. */
bool domus_check_name(const char *name, GError **error);
/* Checks def's name and uuid against the domains there are; *ret: the one they both belong to, or NULL. */
bool domus_manager_match(DomusManager *m, const DomusDomainDef *def, DomusDomain **ret, GError **error);
/* A new domain, in the tables; borrowed. */
DomusDomain *domus_manager_add(DomusManager *m, const DomusDomainDef *def);

/* domain-job.c */

struct DomusDomainJob {
        DomusJob job;
        DomusDomain *domain;  /* referenced */
        unsigned flags;
        bool was_active;      /* when it was submitted */
        DomusDomainDef *def;  /* create_xml: what to start; else NULL */
        gpointer data;        /* the operation's own, freed by data_free */
        GDestroyNotify data_free;
        DomusDone done;
        gpointer opaque;
};

/* Queues run(); a job that waits for the VM can be interrupted: its pending calls fail. def is taken over. */
void domus_domain_submit(DomusDomain *d, void (*run)(DomusJob *job), bool urgent, unsigned flags, DomusDomainDef *def,
                         DomusDone done, gpointer opaque);
/* The same for an operation with data of its own (taken over). */
void domus_domain_submit_data(DomusDomain *d, void (*run)(DomusJob *job), unsigned flags, gpointer data, GDestroyNotify data_free, DomusDone done,
                              gpointer opaque);
/* Finishes the job if the domain does not run. */
bool domus_domain_job_requires_active(DomusDomainJob *job);
/* Ends the job with what a call returned. One that met a VM at its end is told so. */
void domus_domain_job_finish_call(DomusDomainJob *job, const GError *error);
/* error is borrowed; NULL: success. */
void domus_domain_job_finish(DomusDomainJob *job, const GError *error);
void domus_domain_job_fail(DomusDomainJob *job, int code, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Calls done at once with an error; takes it over. */
void domus_done_error(DomusDone done, gpointer opaque, GError *error);

/* domain-device.c, domain-device-update.c */

/* The guest has let go of it, or it was never in its sight. */
void domus_domain_note_device_removed(DomusDomain *d, const char *alias);
/* The job that waits for that, if any, ends: nothing more will come. */
void domus_domain_end_removal(DomusDomain *d);
/* Disks whose format def does not say get it, from domain's definitions (NULL: new) or, where their image is there, by a look at it. */
bool domus_domain_settle_formats(const DomusManager *m, const DomusDomain *domain, DomusDomainDef *def, GError **error);

/* domain-device-run.c: signals of the VM */

#define DOMUS_AGENT_CHANNEL "org.qemu.guest_agent.0"

void domus_domain_note_device_error(DomusDomain *d, const char *alias, const char *what);
void domus_domain_note_balloon(DomusDomain *d, uint64_t bytes);
void domus_domain_note_tray(DomusDomain *d, const char *alias, bool open);
/* excess: bytes, 0 if not known. */
void domus_domain_note_threshold(DomusDomain *d, const char *alias, uint64_t threshold, uint64_t excess);
void domus_domain_note_port(DomusDomain *d, const char *alias, bool open);

/* domain-agent.c */

bool domus_domain_has_agent(const DomusDomain *d);
/* By the guest's own tools; success is that the agent has not refused. */
void domus_domain_agent_shutdown(DomusDomain *d, bool reboot, DomusDone done, gpointer opaque);

/* domain-device-tune.c */

/* The running guest shall have that much memory. */
void domus_domain_set_balloon(DomusDomain *d, uint64_t kib, DomusDone done, gpointer opaque);

/* domain-start.c */

void domus_domain_run_start(DomusJob *job);

/* domain-boot.c. NULL is fine. */
void domus_boot_free(DomusBoot *boot);

/* reconnect.c: finds the VMs of an earlier daemon. */
void domus_manager_reconnect(DomusManager *m);

/* domain-run.c: what a running VM reports, and its end */

extern const DomusVmHandlers domus_domain_vm_handlers;
/* The start is done: state, STARTED event. Harmless if that is known already. */
void domus_domain_announce_start(DomusDomain *d, bool paused);
void domus_domain_note_running(DomusDomain *d);
void domus_domain_note_paused(DomusDomain *d);
void domus_domain_note_state(DomusDomain *d, const char *state, const char *reason);
/* Asks the VM to go, or kills it, and finishes job once it is gone. grace_seconds: after this long it is killed, or, with may_kill false, the
 * job fails and the VM stays. Reason and detail: virDomainShutoffReason, virDomainEventStoppedDetailType. */
void domus_domain_stop(DomusDomain *d, DomusDomainJob *job, int reason, int detail, unsigned grace_seconds, bool may_kill);
/* The same without mercy. */
void domus_domain_kill(DomusDomain *d, DomusDomainJob *job, int reason, int detail);
/* The process is gone: cleans up, sends the events, finishes the job that waits. */
void domus_domain_stopped(DomusDomain *d);
/* Writes the run state, so that the next daemon finds the VM; failure is logged. */
bool domus_domain_write_status(DomusDomain *d, GError **error);
void domus_domain_save_status(DomusDomain *d); /* logs what goes wrong */
/* RUN/vm/<uuid>; g_free. */
char *domus_domain_run_dir(const DomusDomain *d);
/* Tells the VM what to do on VM_ON_*, without waiting. */
void domus_domain_send_action(DomusDomain *d, const char *which, DomusAction action);
