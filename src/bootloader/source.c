/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/source.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

int source_open(struct source *s, int fd)
{
        off_t end = lseek(fd, 0, SEEK_END);

        if (end < 0)
                return -errno;
        *s = (struct source){ .fd = fd, .size = (uint64_t)end };
        return 0;
}

int source_read(const struct source *s, uint64_t offset, void *buf, size_t n)
{
        ssize_t r;

        if (offset > s->size || n > s->size - offset)
                return -ENODATA;
        if (s->mem) {
                memcpy(buf, s->mem + s->start + offset, n);
                return 0;
        }
        r = fd_pread_full(s->fd, buf, n, (off_t)(s->start + offset));
        if (r < 0)
                return (int)r;
        return (size_t)r == n ? 0 : -ENODATA;
}

struct source source_part(const struct source *s, uint64_t start, uint64_t size)
{
        struct source part = *s;

        if (start > s->size)
                start = s->size;
        part.start += start;
        part.size = size < s->size - start ? size : s->size - start;
        return part;
}
