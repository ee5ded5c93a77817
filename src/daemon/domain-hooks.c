/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/domain-hooks.h"

#include "base/fd.h"

void domus_hook_volume_clear(DomusHookVolume *v)
{
        g_free(v->path);
        g_free(v->format);
        g_free(v->host);
        g_free(v->port);
        g_free(v->unit);
        g_free(v->initiator);
        *v = (DomusHookVolume){ 0 };
}

void domus_hook_tap_clear(DomusHookTap *tap)
{
        for (unsigned i = 0; i < tap->n_fds; i++)
                fd_close(tap->fds[i]);
        g_free(tap->device);
        g_free(tap->bridge);
        g_free(tap->port_uuid);
        *tap = (DomusHookTap){ 0 };
}

void domus_hook_address_free(gpointer p)
{
        DomusHookAddress *a = p;

        g_free(a->address);
        g_free(a);
}
