/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* libvirt's RPC server: listening sockets and their connections, on the manager's event loop. */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "base/list.h"
#include "daemon/domain.h"

#define SERVER_CLIENTS_MAX 1000
#define SERVER_RO_CLIENTS_MAX 500 /* of them on the read-only socket, which is open to everybody */

struct server {
        DomusManager *manager;
        sd_event *loop;
        bool session;            /* names the URI that "" opens */
        struct list listeners, clients;
        unsigned n_clients, n_ro_clients, next_client;
        unsigned event_id;       /* our registration with the manager; 0: none */
};

/* manager is borrowed and must outlive the server. */
struct server *server_new(DomusManager *manager, sd_event *loop, bool session);
void server_free(struct server *s);

/* Listens on dir/virtdomusd-sock and dir/virtdomusd-sock-ro, replacing what a dead daemon left. The first
 * is open to its owner and, for the system's daemon, to group libvirt if there is one; the second to
 * everybody (the session's to its owner alone, as is dir). */
bool server_listen(struct server *s, const char *dir, GError **error);
/* Takes a socket that is listening already; a name that ends in "-ro" makes read-only connections. */
bool server_add_listener(struct server *s, int fd, GError **error);
/* Serves one connected socket; owns fd. Negative errno. */
int server_add_client(struct server *s, int fd, bool read_only);
