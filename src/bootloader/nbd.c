/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"

#define MAGIC 0x4e42444d41474943ull  /* "NBDMAGIC" */
#define OPTION 0x49484156454f5054ull /* "IHAVEOPT" */
#define FIXED_NEWSTYLE 1u
#define NO_ZEROES 2u
#define OPT_EXPORT_NAME 1u
#define REQUEST 0x25609513u
#define SIMPLE_REPLY 0x67446698u
#define NAME_MAX_BYTES 64
#define WINDOW (128u << 10)

/* Files are read a block at a time, and mostly in order: the window is what the last request got. */
struct nbd {
        int fd;
        uint64_t size;   /* of the export */
        uint64_t start;  /* of the window */
        uint32_t filled; /* bytes in it */
        uint8_t window[WINDOW];
};

static int receive(int fd, void *buf, size_t n)
{
        ssize_t r = fd_read_full(fd, buf, n);

        if (r < 0)
                return (int)r;
        return (size_t)r == n ? 0 : -ECONNRESET;
}

static int choose_export(int fd, const char *export)
{
        size_t n = strlen(export);
        uint8_t out[4 + 16 + NAME_MAX_BYTES];

        if (n > NAME_MAX_BYTES)
                return -ENAMETOOLONG;
        be32_store(out, FIXED_NEWSTYLE | NO_ZEROES);
        be64_store(out + 4, OPTION);
        be32_store(out + 12, OPT_EXPORT_NAME);
        be32_store(out + 16, (uint32_t)n);
        memcpy(out + 20, export, n);
        return fd_write_all(fd, out, 20 + n);
}

static int shake_hands(int fd, const char *export, uint64_t *ret_size)
{
        const unsigned wanted = FIXED_NEWSTYLE | NO_ZEROES;
        uint8_t hello[18], answer[10];
        int r = receive(fd, hello, sizeof(hello));

        if (r < 0)
                return r;
        if (be64_load(hello) != MAGIC || be64_load(hello + 8) != OPTION || (be16_load(hello + 16) & wanted) != wanted)
                return -EPROTO;
        r = choose_export(fd, export);
        if (r == 0)
                r = receive(fd, answer, sizeof(answer));
        if (r < 0)
                return r;
        *ret_size = be64_load(answer);
        return *ret_size > INT64_MAX ? -EPROTO : 0;
}

int nbd_open(struct nbd **ret, int fd, const char *export, uint64_t *ret_size)
{
        struct nbd *nbd = calloc(1, sizeof(*nbd));
        int r;

        if (!nbd)
                return -ENOMEM;
        nbd->fd = fd;
        r = shake_hands(fd, export, &nbd->size);
        if (r < 0) {
                nbd_free(nbd);
                return r;
        }
        *ret_size = nbd->size;
        *ret = nbd;
        return 0;
}

void nbd_free(struct nbd *nbd)
{
        free(nbd);
}

/* One request at a time, numbered by its offset. */
static int read_part(int fd, uint64_t offset, void *buf, uint32_t n)
{
        uint8_t request[28] = { 0 }, reply[16];
        int r;

        be32_store(request, REQUEST); /* flags and type, 0: read */
        be64_store(request + 8, offset);
        be64_store(request + 16, offset);
        be32_store(request + 24, n);
        r = fd_write_all(fd, request, sizeof(request));
        if (r == 0)
                r = receive(fd, reply, sizeof(reply));
        if (r < 0)
                return r;
        if (be32_load(reply) != SIMPLE_REPLY || be64_load(reply + 8) != offset)
                return -EPROTO;
        if (be32_load(reply + 4))
                return -EIO;
        return receive(fd, buf, n);
}

/* The window from offset on, as far as the export goes. */
static int fill(struct nbd *nbd, uint64_t offset)
{
        uint64_t left = offset < nbd->size ? nbd->size - offset : 0;
        uint32_t n = left < WINDOW ? (uint32_t)left : WINDOW;
        int r = n == 0 ? -ENODATA : read_part(nbd->fd, offset, nbd->window, n);

        nbd->start = offset;
        nbd->filled = r < 0 ? 0 : n;
        return r;
}

int nbd_read(struct nbd *nbd, uint64_t offset, void *buf, size_t n)
{
        uint8_t *to = buf;

        while (n > 0) {
                uint64_t at = offset - nbd->start;
                size_t part;
                int r = offset >= nbd->start && at < nbd->filled ? 0 : fill(nbd, offset);

                if (r < 0)
                        return r;
                at = offset - nbd->start;
                part = nbd->filled - at < n ? nbd->filled - (size_t)at : n;
                memcpy(to, nbd->window + at, part);
                to += part;
                offset += part;
                n -= part;
        }
        return 0;
}
