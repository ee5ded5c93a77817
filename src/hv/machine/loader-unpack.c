/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The payload of a bzImage, unpacked as a stream: the packed bytes are read in pieces, what comes out goes to a sink in pieces. The
 * formats are those of Linux's scripts/Makefile.lib: every payload but gzip's has the unpacked size behind it, and gzip's ends with it.
 *
 * Images are anybody's. No decoder gets more memory than a stock kernel needs, nothing is taken beyond the size that the payload states, and the
 * work is bounded by that size and the payload's. */

#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/machine/loader-private.h"

#define UNPACKED_MAX MiB(512)
#define TRAILER_SIZE 4u
#define PIECE_SIZE KiB(256)

/* The legacy frame of the lz4 program: magic, then blocks, each a 32-bit size and its data. */
#define LZ4_MAGIC_SIZE 4u
#define LZ4_UNPACKED_MAX MiB(8)
#define LZ4_PACKED_MAX LZ4_COMPRESSBOUND(LZ4_UNPACKED_MAX)

/* xz -9e and zstd -22 look back 128 MiB at most in kernels; memory for that is only touched as far as the kernel is long. */
#define XZ_MEMORY_MAX MiB(192)
#define ZSTD_WINDOW_LOG_MAX 27

struct unpack {
        struct loader *l;
        uint64_t pos, end; /* of the packed bytes in the image */
        uint64_t left;     /* unpacked bytes that have not come yet */
        loader_sink_fn *sink;
        void *opaque;
};

static int fail_malformed(struct unpack *u)
{
        return loader_fail(u->l, -ENOEXEC, "its payload is damaged");
}

/* Buffers are mapped rather than allocated, because the C library would keep large ones for later. */
void *loader_map_buffer(struct loader *l, size_t n)
{
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p != MAP_FAILED)
                return p;
        loader_fail(l, -ENOMEM, "out of memory");
        return NULL;
}

void loader_unmap_buffer(void *p, size_t n)
{
        if (p)
                munmap(p, n);
}

static int take(struct unpack *u, void *buf, size_t n)
{
        int r;

        if (n > u->end - u->pos)
                return loader_fail(u->l, -ENOEXEC, "its payload is truncated");
        r = loader_read(u->l, u->pos, buf, n);
        u->pos += n;
        return r;
}

static int give(struct unpack *u, const uint8_t *data, size_t n)
{
        if (n > u->left)
                return loader_fail(u->l, -ENOEXEC, "its payload is larger than it says");
        u->left -= n;
        return n ? u->sink(u->opaque, data, n) : 0;
}

static int unpack_lz4_block(struct unpack *u, uint8_t *packed, uint8_t *unpacked)
{
        uint8_t size[4];
        uint32_t n;
        int r;

        r = take(u, size, sizeof(size));
        if (r < 0)
                return r;
        n = le32_load(size);
        if (n == 0 || n > LZ4_PACKED_MAX)
                return fail_malformed(u);
        r = take(u, packed, n);
        if (r < 0)
                return r;
        r = LZ4_decompress_safe((const char *)packed, (char *)unpacked, (int)n, (int)LZ4_UNPACKED_MAX);
        /* An empty block would be a way to spend time. */
        return r > 0 ? give(u, unpacked, (size_t)r) : fail_malformed(u);
}

static int unpack_lz4(struct unpack *u)
{
        uint8_t *buf = loader_map_buffer(u->l, LZ4_UNPACKED_MAX + LZ4_PACKED_MAX);
        int r = buf ? 0 : -ENOMEM;

        u->pos += LZ4_MAGIC_SIZE;
        while (r == 0 && u->pos < u->end)
                r = unpack_lz4_block(u, buf + LZ4_UNPACKED_MAX, buf);
        loader_unmap_buffer(buf, LZ4_UNPACKED_MAX + LZ4_PACKED_MAX);
        return r;
}

/* What a stream decoder gets: bytes to take and room to fill. It moves the pointers behind what it has taken and filled. */
struct piece {
        const uint8_t *in;
        size_t in_len;
        uint8_t *out;
        size_t out_len;
};

/* 1: the stream has ended; 0: it goes on, or waits for more; -1: it is damaged, or wants too much memory. */
typedef int step_fn(void *decoder, struct piece *p);

static int refill(struct unpack *u, struct piece *p, uint8_t *in)
{
        uint64_t left = u->end - u->pos;

        if (p->in_len > 0 || left == 0)
                return 0;
        p->in = in;
        p->in_len = left < PIECE_SIZE ? left : PIECE_SIZE;
        return take(u, in, p->in_len);
}

static int unpack_piece(struct unpack *u, struct piece *p, step_fn *step, void *decoder)
{
        size_t had = p->in_len;
        uint8_t *out = p->out;
        int r, ended;

        p->out_len = PIECE_SIZE;
        ended = step(decoder, p);
        if (ended < 0)
                return fail_malformed(u);
        r = give(u, out, PIECE_SIZE - p->out_len);
        if (r == 0 && !ended && p->in_len == had && p->out_len == PIECE_SIZE)
                r = loader_fail(u->l, -ENOEXEC, "its payload is truncated");
        p->out = out;
        return r < 0 ? r : ended;
}

static int unpack_stream(struct unpack *u, step_fn *step, void *decoder)
{
        uint8_t *buf = loader_map_buffer(u->l, 2 * PIECE_SIZE);
        struct piece p = { .out = buf };
        int r = buf ? 0 : -ENOMEM;

        while (r == 0) {
                r = refill(u, &p, buf + PIECE_SIZE);
                if (r == 0)
                        r = unpack_piece(u, &p, step, decoder);
        }
        loader_unmap_buffer(buf, 2 * PIECE_SIZE);
        return r < 0 ? r : 0;
}

static int step_gzip(void *decoder, struct piece *p)
{
        z_stream *z = decoder;
        int r;

        z->next_in = (Bytef *)p->in;
        z->avail_in = (uInt)p->in_len;
        z->next_out = p->out;
        z->avail_out = (uInt)p->out_len;
        r = inflate(z, Z_NO_FLUSH);
        p->in = z->next_in;
        p->in_len = z->avail_in;
        p->out_len = z->avail_out;
        if (r == Z_STREAM_END)
                return 1;
        return r == Z_OK || r == Z_BUF_ERROR ? 0 : -1;
}

static int unpack_gzip(struct unpack *u)
{
        z_stream z = { 0 };
        int r;

        if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) /* 16: with gzip's header */
                return loader_fail(u->l, -ENOMEM, "out of memory");
        r = unpack_stream(u, step_gzip, &z);
        inflateEnd(&z);
        return r;
}

static int step_xz(void *decoder, struct piece *p)
{
        lzma_stream *x = decoder;
        lzma_ret r;

        x->next_in = p->in;
        x->avail_in = p->in_len;
        x->next_out = p->out;
        x->avail_out = p->out_len;
        r = lzma_code(x, LZMA_RUN);
        p->in = x->next_in;
        p->in_len = x->avail_in;
        p->out_len = x->avail_out;
        if (r == LZMA_STREAM_END)
                return 1;
        return r == LZMA_OK || r == LZMA_BUF_ERROR ? 0 : -1;
}

static int unpack_xz(struct unpack *u)
{
        lzma_stream x = LZMA_STREAM_INIT;
        int r;

        if (lzma_stream_decoder(&x, XZ_MEMORY_MAX, 0) != LZMA_OK)
                return loader_fail(u->l, -ENOMEM, "out of memory");
        r = unpack_stream(u, step_xz, &x);
        lzma_end(&x);
        return r;
}

static int step_zstd(void *decoder, struct piece *p)
{
        ZSTD_inBuffer in = { .src = p->in, .size = p->in_len };
        ZSTD_outBuffer out = { .dst = p->out, .size = p->out_len };
        size_t r = ZSTD_decompressStream(decoder, &out, &in);

        p->in += in.pos;
        p->in_len -= in.pos;
        p->out_len -= out.pos;
        return ZSTD_isError(r) ? -1 : r == 0;
}

static int unpack_zstd(struct unpack *u)
{
        ZSTD_DStream *z = ZSTD_createDStream();
        int r;

        if (!z || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
                r = loader_fail(u->l, -ENOMEM, "out of memory");
        else
                r = unpack_stream(u, step_zstd, z);
        ZSTD_freeDStream(z);
        return r;
}

static const struct format {
        uint8_t magic[6];
        unsigned magic_len;
        unsigned trailer; /* bytes behind the packed ones that are not the format's */
        int (*unpack)(struct unpack *u);
} formats[] = {
        { { 0x02, 0x21, 0x4c, 0x18 }, LZ4_MAGIC_SIZE, TRAILER_SIZE, unpack_lz4 },
        { { 0x1f, 0x8b }, 2, 0, unpack_gzip },
        { { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6, TRAILER_SIZE, unpack_xz },
        { { 0x28, 0xb5, 0x2f, 0xfd }, 4, TRAILER_SIZE, unpack_zstd },
};

static const struct format *find_format(const uint8_t *magic)
{
        for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
                if (memcmp(magic, formats[i].magic, formats[i].magic_len) == 0)
                        return &formats[i];
        return NULL;
}

int loader_unpacked_size(struct loader *l, uint64_t off, uint64_t size, uint64_t *ret)
{
        uint8_t trailer[TRAILER_SIZE];
        int r;

        if (size < sizeof(formats[0].magic) + TRAILER_SIZE)
                return loader_fail(l, -ENOEXEC, "it has no payload");
        r = loader_read(l, off + size - TRAILER_SIZE, trailer, TRAILER_SIZE);
        if (r < 0)
                return r;
        *ret = le32_load(trailer);
        if (*ret > UNPACKED_MAX)
                return loader_fail(l, -ENOEXEC, "its payload is too large");
        return 0;
}

int loader_unpack(struct loader *l, uint64_t off, uint64_t size, uint64_t unpacked, loader_sink_fn *sink, void *opaque)
{
        struct unpack u = { .l = l, .pos = off, .end = off + size, .left = unpacked, .sink = sink, .opaque = opaque };
        uint8_t magic[sizeof(formats[0].magic)];
        const struct format *format;
        int r;

        r = loader_read(l, off, magic, sizeof(magic));
        if (r < 0)
                return r;
        format = find_format(magic);
        if (!format)
                return loader_fail(l, -ENOEXEC, "its payload is packed in a way that is not known here");
        u.end -= format->trailer;
        r = format->unpack(&u);
        if (r == 0 && u.left > 0)
                r = loader_fail(l, -ENOEXEC, "its payload is smaller than it says");
        return r;
}
