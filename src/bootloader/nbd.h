/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* An image at the other end of a connected stream socket, behind an NBD server that offers one export for reading: the least of the protocol that does
 * (github.com/NetworkBlockDevice/nbd, doc/proto.md: fixed newstyle handshake, simple replies). The server is not trusted. */

struct nbd;

/* The handshake; fd is borrowed. *ret_size: bytes of the export. Negative errno: -EPROTO if the server speaks otherwise, -ECONNRESET if it hangs up. */
int nbd_open(struct nbd **ret, int fd, const char *export, uint64_t *ret_size);
/* All n bytes at offset, which the export has, or negative errno. Reads ahead. */
int nbd_read(struct nbd *nbd, uint64_t offset, void *buf, size_t n);
void nbd_free(struct nbd *nbd);
