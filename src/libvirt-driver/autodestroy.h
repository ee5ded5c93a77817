/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Domains that a client started with VIR_DOMAIN_START_AUTODESTROY: they are destroyed when its connection ends. */

#include <glib.h>

#include "daemon/domain.h"

struct client;

/* Ties the running domain to the client's connection; client NULL: it has ended already. */
void autodestroy_add(struct client *client, DomusDomain *domain);
/* The connection ends. Takes the list (NULL: nothing to do). */
void autodestroy_run(DomusManager *manager, GArray *list);
