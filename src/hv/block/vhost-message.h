/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Messages of the vhost-user protocol (QEMU's documentation, "Vhost-user Protocol"), as its front end sends them over a connected UNIX stream socket. A function sends and waits for the reply, at
 * most a few seconds. 0 or negative errno: -EPROTO: the answer was wrong; -ETIMEDOUT: there was none. */

#include <stddef.h>
#include <stdint.h>

#include "hv/bus/memory.h"

#define VHOST_F_PROTOCOL_FEATURES (1ull << 30)

#define VHOST_PROTOCOL_REPLY_ACK (1ull << 3)
#define VHOST_PROTOCOL_CONFIG (1ull << 9)

enum vhost_request {
        VHOST_GET_FEATURES = 1,
        VHOST_SET_FEATURES = 2,
        VHOST_SET_OWNER = 3,
        VHOST_SET_MEM_TABLE = 5,
        VHOST_SET_VRING_NUM = 8,
        VHOST_SET_VRING_ADDR = 9,
        VHOST_SET_VRING_BASE = 10,
        VHOST_SET_VRING_KICK = 12,
        VHOST_SET_VRING_CALL = 13,
        VHOST_GET_PROTOCOL_FEATURES = 15,
        VHOST_SET_PROTOCOL_FEATURES = 16,
        VHOST_SET_VRING_ENABLE = 18,
        VHOST_GET_CONFIG = 24,
};

struct vhost_region {
        uint64_t gpa, size, user, offset; /* guest physical, bytes, our own address, in the descriptor */
        int fd;                           /* borrowed */
};
#define VHOST_REGIONS_MAX 8

struct vhost_vring_addr {
        uint64_t desc, used, avail; /* our own addresses */
};

int vhost_get_u64(int sock, enum vhost_request request, uint64_t *ret);
int vhost_set_u64(int sock, enum vhost_request request, uint64_t value);
int vhost_set_owner(int sock);
int vhost_get_config(int sock, void *buf, size_t size);
/* The ones below need VHOST_PROTOCOL_REPLY_ACK: they wait until the back end says that it has done it. All are about the ring 0. */
int vhost_set_memory(int sock, const struct vhost_region *regions, unsigned n);
int vhost_set_vring_num(int sock, unsigned entries);
int vhost_set_vring_base(int sock, unsigned index);
int vhost_set_vring_addr(int sock, const struct vhost_vring_addr *addr);
int vhost_set_vring_fd(int sock, enum vhost_request request, int fd);
int vhost_set_vring_enable(int sock);
