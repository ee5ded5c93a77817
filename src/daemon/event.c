/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/event.h"

typedef struct {
        unsigned id; /* 0: removed during an emission */
        DomusEventFn fn;
        gpointer opaque;
} Listener;

void domus_events_init(DomusEvents *e)
{
        e->listeners = g_array_new(FALSE, FALSE, sizeof(Listener));
}

void domus_events_finish(DomusEvents *e)
{
        g_clear_pointer(&e->listeners, g_array_unref);
}

unsigned domus_events_add(DomusEvents *e, DomusEventFn fn, gpointer opaque)
{
        Listener l = { ++e->last_id, fn, opaque };

        g_array_append_val(e->listeners, l);
        return l.id;
}

static void sweep(DomusEvents *e)
{
        for (unsigned i = e->listeners->len; i-- > 0;) {
                if (g_array_index(e->listeners, Listener, i).id == 0)
                        g_array_remove_index(e->listeners, i);
        }
}

void domus_events_remove(DomusEvents *e, unsigned id)
{
        for (unsigned i = 0; i < e->listeners->len; i++) {
                Listener *l = &g_array_index(e->listeners, Listener, i);

                if (l->id == id)
                        l->id = 0;
        }
        if (e->depth == 0)
                sweep(e);
}

void domus_events_emit(DomusEvents *e, const DomusEvent *event)
{
        unsigned n = e->listeners->len; /* those added meanwhile hear the next one */

        e->depth++;
        for (unsigned i = 0; i < n; i++) {
                Listener l = g_array_index(e->listeners, Listener, i);

                if (l.id)
                        l.fn(event, l.opaque);
        }
        if (--e->depth == 0)
                sweep(e);
}
