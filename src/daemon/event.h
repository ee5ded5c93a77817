/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Who listens to the manager's events. A callback may add and remove listeners, itself too. */

#include "daemon/domain.h"

typedef struct {
        GArray *listeners;
        unsigned last_id;
        unsigned depth; /* emissions under way */
} DomusEvents;

void domus_events_init(DomusEvents *e);
void domus_events_finish(DomusEvents *e);
unsigned domus_events_add(DomusEvents *e, DomusEventFn fn, gpointer opaque);
void domus_events_remove(DomusEvents *e, unsigned id);
void domus_events_emit(DomusEvents *e, const DomusEvent *event);
