/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/source.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "bootloader/nbd.h"

int source_open(struct source *s, int fd)
{
        struct stat st;
        off_t end;

        *s = (struct source){ .fd = fd };
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISSOCK(st.st_mode))
                return nbd_open(&s->nbd, fd, "disk", &s->size);
        end = lseek(fd, 0, SEEK_END);
        if (end < 0)
                return -errno;
        s->size = (uint64_t)end;
        return 0;
}

void source_close(struct source *s)
{
        nbd_free(s->nbd);
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
        if (s->nbd)
                return nbd_read(s->nbd, s->start + offset, buf, n);
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
