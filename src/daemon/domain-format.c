/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The formats of images whose definition does not say them. They are looked at when the definition arrives and are in it from then on: the first
 * bytes of a raw image are the guest's, and what a guest writes must not decide how the host reads it. */

#include <unistd.h>

#include "daemon/device.h"

static const char *format_in(const DomusDomainDef *def, const char *path)
{
        const DomusDevice *disk = def ? domus_domain_def_disk(def, path) : NULL;

        return disk && g_strcmp0(disk->disk.path, path) == 0 ? disk->disk.format : NULL;
}

/* What is known of the image from before: a client may send a definition without the formats that it once got. */
static const char *known_format(const DomusDomain *d, const char *path)
{
        const char *format = d ? format_in(d->live, path) : NULL;

        return format || !d ? format : format_in(d->config, path);
}

/* What is not there yet will be looked at by the start that finds it. */
bool domus_domain_settle_formats(const DomusManager *m, const DomusDomain *domain, DomusDomainDef *def, GError **error)
{
        const DomusDevice *d;

        for (unsigned i = 0; (d = domus_domain_def_device(def, DOMUS_DEVICE_DISK, i)); i++) {
                g_autofree char *target = g_strdup(d->disk.target), *path = g_strdup(d->disk.path);

                g_autofree char *known = g_strdup(path ? known_format(domain, path) : NULL);

                if (d->disk.format || !path || (!known && (!m->hooks.probe_format || access(path, R_OK) < 0)))
                        continue;
                if (!domus_device_settle_format(m, def, target, path, known, error))
                        return false;
        }
        return true;
}
