/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The DHCP and DNS server of one network: a dnsmasq(8) of its own, which outlives the daemon. It is watched, and started again when it dies. Private to src/net. */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "model/error.h"
#include "model/network-def.h"

/* --- What it is told --- */

struct dnsmasq_files {
        char *config, *pid, *started; /* started: pid and start time, ours */
        char *dhcp_hosts, *dns_hosts; /* read again on SIGHUP */
        char *leases;
};

/* Does the network need one? */
bool dnsmasq_wanted(const DomusNetworkDef *def);
/* g_free. */
char *dnsmasq_config(const DomusNetworkDef *def, const struct dnsmasq_files *files);
char *dnsmasq_dhcp_hosts(const DomusNetworkDef *def);
char *dnsmasq_dns_hosts(const DomusNetworkDef *def);

/* --- The process --- */

struct dnsmasq;

/* name: the network's, for the log. dir: where all its files are, but the leases. */
struct dnsmasq *dnsmasq_new(sd_event *loop, const char *name, const char *dir, const char *leases);
/* The process goes on. NULL is fine. */
void dnsmasq_free(struct dnsmasq *d);

typedef void (*dnsmasq_done_fn)(const GError *error, void *opaque);
/* def: borrowed for the call. done: once it serves, or with its own words if it does not; not before this returns, and never if it is stopped or freed first. */
bool dnsmasq_start(struct dnsmasq *d, const DomusNetworkDef *def, dnsmasq_done_fn done, void *opaque, GError **error);
/* Finds the one that an earlier daemon started; where there is none any more, it is started again. */
void dnsmasq_adopt(struct dnsmasq *d);
/* Finds it, to be stopped. */
void dnsmasq_find(struct dnsmasq *d);
/* Tells it of changed hosts. */
bool dnsmasq_reload(struct dnsmasq *d, const DomusNetworkDef *def, GError **error);
/* The process is gone when this returns, which takes milliseconds; its leases stay. */
void dnsmasq_stop(struct dnsmasq *d);
/* 0: none. */
pid_t dnsmasq_pid(const struct dnsmasq *d);
