/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A range of bytes that the guest wrote: an image, or a part of it. */
struct source {
        int fd;             /* borrowed; used if mem is NULL */
        struct nbd *nbd;    /* borrowed by the parts: fd is a socket to an NBD server */
        const uint8_t *mem; /* borrowed: for tests */
        uint64_t start, size;
};

/* The whole of a file or block device, or of what an NBD server exports as "disk" to a connected socket. Negative errno. */
int source_open(struct source *s, int fd);
void source_close(struct source *s);
/* All n bytes or an error: -ENODATA beyond the end, else negative errno. */
int source_read(const struct source *s, uint64_t offset, void *buf, size_t n);
/* The part of s from start, of size bytes, as far as s has them. */
struct source source_part(const struct source *s, uint64_t start, uint64_t size);
