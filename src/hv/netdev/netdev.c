/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/netdev/netdev.h"

#include <errno.h>

#include "base/macros.h"
#include "hv/bus/plug.h"

static const struct netdev_backend *const backends[] = { &netdev_tap, &netdev_passt };

static const struct netdev_backend *find(const struct props *props, unsigned *ret_n)
{
        const struct netdev_backend *found = NULL;

        *ret_n = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
                if (!props_has(props, backends[i]->prop))
                        continue;
                found = backends[i];
                (*ret_n)++;
        }
        return found;
}

bool netdev_named(const struct props *props)
{
        unsigned n;

        return find(props, &n);
}

int netdev_new(const struct netdev_env *env, struct props *props, struct netdev **ret, char **ret_error)
{
        unsigned n;
        const struct netdev_backend *backend = find(props, &n);
        int r;

        if (n != 1)
                return plug_fail(ret_error, -EINVAL, "a network card needs one back end, \"fds\" or \"passt\", not %u", n);
        r = backend->open(env, props, ret, ret_error);
        if (r < 0)
                return r;
        (*ret)->backend = backend;
        (*ret)->queues = 1;
        return 0;
}

void netdev_free(struct netdev *nd)
{
        if (nd)
                nd->backend->free(nd);
}

const struct netdev_features *netdev_features(const struct netdev *nd)
{
        return &nd->features;
}

int netdev_set_offloads(struct netdev *nd, unsigned offloads)
{
        if (offloads & ~nd->features.offloads)
                return -EINVAL;
        return nd->backend->set_offloads ? nd->backend->set_offloads(nd, offloads) : 0;
}

int netdev_set_queues(struct netdev *nd, unsigned n)
{
        int r;

        if (n == 0 || n > nd->features.queues)
                return -EINVAL;
        if (n == nd->queues)
                return 0;
        r = nd->backend->set_queues(nd, n);
        if (r == 0)
                nd->queues = n;
        return r;
}

int netdev_send(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov)
{
        return nd->backend->send(nd, n, iov, n_iov);
}

ssize_t netdev_receive(struct netdev *nd, unsigned n, const struct iovec *iov, unsigned n_iov)
{
        return nd->backend->receive(nd, n, iov, n_iov);
}

void netdev_want_readable(struct netdev *nd, unsigned n, bool on)
{
        nd->backend->want_readable(nd, n, on);
}
