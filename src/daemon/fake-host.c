/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A small host without KVM, for the daemon's tests. */

#include <errno.h>

#include "daemon/host.h"

const DomusHostFacts *domus_host_facts(const DomusHost *h)
{
        static const DomusHostFacts facts = { .max_vcpus = 8 };

        return &facts;
}

const char *domus_host_engine_reason(const DomusHost *h)
{
        return "there is no /dev/kvm in tests";
}

int domus_host_open_kvm(const DomusHost *h)
{
        return -ENOENT;
}

void domus_host_node_info(const DomusHost *h, DomusNodeInfo *ret)
{
        *ret = (DomusNodeInfo){ .memory_kib = 4 << 20, .cpus = 2 };
}
