/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/autodestroy.h"

#include <string.h>

#include "base/log.h"
#include "libvirt-driver/client.h"

/* The id tells this run of the domain from later ones. */
struct tied {
        uint8_t uuid[DOMUS_UUID_LEN];
        int id;
};

static void on_destroyed(DomusDomain *domain, const GError *error, gpointer opaque)
{
        if (error)
                log_warning("cannot destroy a domain at its client's end: %s", error->message);
}

void autodestroy_add(struct client *client, DomusDomain *domain)
{
        struct tied t = { .id = domus_domain_id(domain) };

        if (!client) {
                domus_domain_destroy(domain, 0, on_destroyed, NULL);
                return;
        }
        memcpy(t.uuid, domus_domain_uuid(domain), sizeof(t.uuid));
        if (!client->autodestroy)
                client->autodestroy = g_array_new(FALSE, FALSE, sizeof(struct tied));
        g_array_append_val(client->autodestroy, t);
}

void autodestroy_run(DomusManager *manager, GArray *list)
{
        for (guint i = 0; list && i < list->len; i++) {
                const struct tied *t = &g_array_index(list, struct tied, i);
                DomusDomain *d = domus_manager_lookup_uuid(manager, t->uuid, NULL);

                if (d && domus_domain_is_active(d) && domus_domain_id(d) == t->id)
                        domus_domain_destroy(d, 0, on_destroyed, NULL);
        }
        g_clear_pointer(&list, g_array_unref);
}
