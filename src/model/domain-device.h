/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The devices of a domain: typed views of the elements of <devices> (formatdomain.html) that a VM gets, besides the serial port.
 *
 * A view belongs to its definition and points into it: it is valid until the definition is changed by a function of this header or freed. Strings
 * are NULL where the document says nothing. A device of a definition always has the address that the guest finds it at. */

#include "model/bandwidth.h"
#include "model/domain-def.h"
#include "model/inet.h"

typedef enum {
        DOMUS_DEVICE_NONE, /* an element that means that something is not there */
        DOMUS_DEVICE_CONTROLLER,
        DOMUS_DEVICE_DISK,
        DOMUS_DEVICE_INTERFACE,
        DOMUS_DEVICE_CHANNEL,
        DOMUS_DEVICE_CONSOLE, /* of type virtio; the one of the serial port is not listed */
        DOMUS_DEVICE_BALLOON,
        DOMUS_DEVICE_RNG,
} DomusDeviceKind;

typedef enum { DOMUS_ADDRESS_NONE, DOMUS_ADDRESS_PCI, DOMUS_ADDRESS_DRIVE, DOMUS_ADDRESS_VIRTIO_SERIAL } DomusAddressType;

typedef struct {
        DomusAddressType type;
        unsigned slot;                     /* PCI: bus 0, function 0 */
        unsigned controller;               /* drive, virtio-serial: its index */
        unsigned target, unit;             /* drive: SCSI target and LUN */
        unsigned port;                     /* virtio-serial */
} DomusAddress;

typedef enum { DOMUS_CONTROLLER_PCI, DOMUS_CONTROLLER_USB_NONE, DOMUS_CONTROLLER_SCSI, DOMUS_CONTROLLER_VIRTIO_SERIAL } DomusControllerType;

typedef struct {
        DomusControllerType type;
        unsigned index;
        unsigned queues; /* scsi: 0: not given */
        unsigned ports;  /* virtio-serial */
} DomusController;

typedef enum { DOMUS_DISK_FILE, DOMUS_DISK_BLOCK, DOMUS_DISK_VOLUME, DOMUS_DISK_NETWORK } DomusDiskType;
typedef enum { DOMUS_DISK_BUS_VIRTIO, DOMUS_DISK_BUS_SCSI } DomusDiskBus;

/* One rate of <iotune>: bytes or operations per second, 0: no limit. */
typedef struct {
        uint64_t rate, max;
        uint64_t max_length; /* s; 0: 1 s */
} DomusRate;

enum { DOMUS_RATE_TOTAL_BYTES, DOMUS_RATE_READ_BYTES, DOMUS_RATE_WRITE_BYTES, DOMUS_RATE_TOTAL_IOPS, DOMUS_RATE_READ_IOPS, DOMUS_RATE_WRITE_IOPS, DOMUS_RATES };

typedef struct {
        DomusRate rates[DOMUS_RATES];
        uint64_t size_iops; /* bytes; 0: a request is an operation */
} DomusIotune;

typedef struct {
        DomusDiskType type;
        bool cdrom;
        const char *path;            /* file, block; NULL: no medium (cdrom) */
        const char *pool, *volume;   /* volume */
        const char *protocol, *name; /* network: "nbd", "iscsi", "http", "https" */
        const char *host, *port, *socket; /* of network; socket: a path instead of host and port */
        const char *initiator;       /* iscsi: our IQN; NULL: any */
        const char *query;           /* http, https: what follows "?" */
        bool unverified;             /* https: the server's certificate is not checked */
        const char *startup_policy;  /* "mandatory", "requisite", "optional" */
        const char *format;          /* "raw", "qcow2", ...; NULL: not known yet */
        const char *cache, *io, *discard, *detect_zeroes, *error_policy, *rerror_policy;
        unsigned queues;             /* 0: not given */
        const char *target;          /* "vda" */
        DomusDiskBus bus;
        bool readonly, shareable;
        const char *serial;
        unsigned logical_block, physical_block; /* 0: not given */
        DomusIotune iotune;
} DomusDisk;

typedef enum { DOMUS_INTERFACE_NETWORK, DOMUS_INTERFACE_BRIDGE, DOMUS_INTERFACE_DIRECT, DOMUS_INTERFACE_USER, DOMUS_INTERFACE_ETHERNET } DomusInterfaceType;

typedef struct {
        DomusInterfaceType type;
        uint8_t mac[6];
        const char *network, *portgroup; /* network */
        const char *bridge;              /* bridge; network, live only: what the network has given */
        const char *dev, *mode;          /* direct: "vepa", "bridge", "private", "passthrough"; user: dev of the host, or NULL */
        const char *target;              /* the tap device's name */
        bool managed;                    /* ethernet: the daemon makes the tap device */
        bool link_down;
        bool isolated;
        unsigned mtu;                    /* 0: not given */
        unsigned queues;                 /* 0: not given */
        DomusBandwidth bandwidth;
        const char *port_uuid;           /* network, live only */
        const char *ip4, *ip6;           /* user: the guest's addresses, or NULL for the host's */
        unsigned ip4_prefix, ip6_prefix; /* 0: not given */
        const char *forwards;            /* user: "tcp SPEC\n" or "udp SPEC\n" for each, SPEC as passt(1) has it; or NULL */
} DomusInterface;

typedef struct {
        const char *path; /* of a listening UNIX socket; NULL: the daemon chooses one */
        const char *name; /* "org.qemu.guest_agent.0" */
        bool pty;         /* type='pty' instead of a UNIX socket; path: live only */
} DomusChannel;

typedef struct {
        const char *model;
        bool deflate_on_oom, free_page_reporting;
        unsigned stats_period; /* s; 0: none */
} DomusBalloon;

typedef struct {
        const char *path;      /* "/dev/urandom" */
        uint64_t rate_bytes;   /* 0: no limit */
        unsigned rate_period;  /* ms */
} DomusRng;

struct DomusDevice {
        DomusDeviceKind kind;
        xmlNode *node;
        const char *alias;     /* NULL before the live copy has aliases */
        DomusAddress address;
        unsigned boot_order;   /* 0: not given */
        union {
                DomusController controller;
                DomusDisk disk;
                DomusInterface interface;
                DomusChannel channel; /* and DOMUS_DEVICE_CONSOLE */
                DomusBalloon balloon;
                DomusRng rng;
        };
        GStringChunk *strings; /* the strings above */
};

/* --- Finding --- */

/* The i-th device of that kind, or NULL. */
DomusDevice *domus_domain_def_device(const DomusDomainDef *def, DomusDeviceKind kind, unsigned i);
DomusDevice *domus_domain_def_device_by_alias(const DomusDomainDef *def, const char *alias);
/* By target ("vda"), or by the path of its file or block device. */
DomusDevice *domus_domain_def_disk(const DomusDomainDef *def, const char *name);
/* By the device's name ("vnet0") or MAC. */
DomusDevice *domus_domain_def_interface(const DomusDomainDef *def, const char *name);
DomusDevice *domus_domain_def_controller(const DomusDomainDef *def, DomusControllerType type, unsigned index);
/* The channel of that name ("org.qemu.guest_agent.0"). */
DomusDevice *domus_domain_def_channel(const DomusDomainDef *def, const char *name);
DomusDevice *domus_domain_def_balloon(const DomusDomainDef *def); /* NULL: none */
/* The disk that a guest without <kernel> boots from: the first in the devices' order, else in that of <os>. NULL with CONFIG_UNSUPPORTED if there is none, or if
 * something else that could be booted comes first. */
DomusDevice *domus_domain_def_boot_disk(const DomusDomainDef *def, GError **error);

/* --- Changing. xml: one device element, as of virDomainAttachDevice. On failure def is as before. --- */

/* Adds the device with what it needs (an address, a controller for it). ret: it; def->devices has what was added before it. NULL on failure. */
DomusDevice *domus_domain_def_attach(DomusDomainDef *def, const char *xml, GError **error);
/* xml with what a definition must have of it filled in (a MAC, say), for use in more than one definition; g_free. */
char *domus_device_normalize(const char *xml, GError **error);
/* The device that xml means: a disk by target, an interface by MAC or else by address, others by all that xml says. */
DomusDevice *domus_domain_def_find(const DomusDomainDef *def, const char *xml, GError **error);
/* Removes a device of def. */
void domus_domain_def_detach(DomusDomainDef *def, DomusDevice *device);
/* Replaces the device that xml means, which keeps its address and alias; other devices than disks and interfaces are meant by either, too. ret: the new one. */
DomusDevice *domus_domain_def_update(DomusDomainDef *def, const char *xml, GError **error);
/* Are their elements the same? */
bool domus_device_equal(const DomusDevice *a, const DomusDevice *b);

/* What becomes known or changes later; they change the document and reread the views. */
void domus_domain_def_set_disk_format(DomusDomainDef *def, DomusDevice *disk, const char *format);
void domus_domain_def_set_iotune(DomusDomainDef *def, DomusDevice *disk, const DomusIotune *iotune);
/* Live copy: what was chosen for the device at its start; NULL leaves things as they are. */
void domus_domain_def_set_interface_live(DomusDomainDef *def, DomusDevice *interface, const char *target, const char *bridge,
        const char *port_uuid);
void domus_domain_def_set_link(DomusDomainDef *def, DomusDevice *interface, bool up);
void domus_domain_def_set_bandwidth(DomusDomainDef *def, DomusDevice *interface, const DomusBandwidth *bandwidth);
void domus_domain_def_set_channel_path(DomusDomainDef *def, DomusDevice *channel, const char *path);
/* Live copy: <target … state='connected'/>. */
void domus_domain_def_set_channel_state(DomusDomainDef *def, DomusDevice *channel, bool connected);
void domus_domain_def_set_stats_period(DomusDomainDef *def, unsigned seconds);

/* A drive without its medium. */
void domus_domain_def_clear_medium(DomusDomainDef *def, DomusDevice *disk);
/* Is it a format that <driver type=…/> may name? */
bool domus_disk_format_known(const char *format);
/* Does that cache mode mean direct I/O? cache may be NULL. */
bool domus_disk_cache_is_direct(const char *cache);

/* total excludes read and write, a burst needs its rate. DOMUS_ERROR_INVALID_ARG. */
bool domus_iotune_check(const DomusIotune *iotune, GError **error);
