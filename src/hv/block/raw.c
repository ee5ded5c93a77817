/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images in regular files and on block devices. Each request is a row of operations of an io_uring: usually one; more after short transfers, through a bounce
 * buffer, and where a way to zero space is missing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/block/backend.h"
#include "hv/block/iov.h"
#include "hv/block/lone.h"
#include "hv/block/ring.h"
#include "hv/bus/plug.h"

#define SECTOR 512u
/* What buffers of our own are aligned to, and the largest alignment that direct I/O may want. */
#define ALIGN_MAX 4096u
/* Bounce buffers and writes of zeroes go in parts of this size. */
#define PART MiB(1)
#define ZEROES 65536u
/* How often an operation that was interrupted is tried again. */
#define TRIES 100

/* One of them per request in flight. */
struct raw_io {
        struct ring_op op;
        struct raw *raw;
        struct raw_io *next; /* in the list of spare ones */
        struct block_request *request;
        uint64_t done;       /* bytes */
        struct iovec *iov;   /* the part that goes now, where it is not the request's own */
        uint8_t *bounce;     /* PART bytes or the request's length, for direct I/O that is not aligned */
        size_t part;         /* bytes in the current operation, with bounce or zeroes */
        unsigned tries;
        int mode;            /* WRITE_ZEROES, DISCARD: for fallocate; WRITES: by writing */
        bool syncing;        /* a write that is done goes to the disk */
};

#define WRITES (-1)

struct raw {
        struct block *block;
        int fd;
        bool regular;
        uint64_t bytes; /* the file's real size: less than the image's if its last sector is not whole */
        unsigned align; /* of memory, for direct I/O; 1: no direct I/O */
        bool no_punch, no_zero_range;
        struct ring *ring, *own_ring; /* the machine's, or one of its own */
        struct raw_io *spare;
        uint8_t *zeroes; /* ZEROES bytes, made when needed */
        struct lone lone;
        struct raw_io *lone_io; /* whose write that is; NULL: there is none */
};

static void on_done(struct ring_op *op, int result);
static void on_room(struct ring_op *op);

/* --- Requests in flight --- */

static struct raw_io *new_io(struct raw *raw, struct block_request *request)
{
        struct raw_io *io = raw->spare;

        if (io)
                raw->spare = io->next;
        else
                io = malloc(sizeof(*io));
        if (io)
                *io = (struct raw_io){ .op = { .done = on_done, .start = on_room }, .raw = raw, .request = request };
        return io;
}

static void finish(struct raw *raw, struct raw_io *io, int result)
{
        struct block_request *request = io->request;

        free(io->iov);
        free(io->bounce);
        io->next = raw->spare;
        raw->spare = io;
        block_complete(raw->block, request, result);
}

/* --- Operations --- */

/* The memory for the rest of a read or write: the request's own, a slice of it, or a bounce buffer. Returns the number of pieces; negative errno. */
static int prepare(struct raw *raw, struct raw_io *io, const struct iovec **ret)
{
        struct block_request *request = io->request;
        uint64_t left = request->len - io->done;

        if (!io->bounce && io->done == 0) {
                *ret = request->iov;
                return (int)request->n_iov;
        }
        if (!io->iov)
                io->iov = malloc((request->n_iov ? request->n_iov : 1) * sizeof(*io->iov));
        if (!io->iov)
                return -ENOMEM;
        *ret = io->iov;
        if (!io->bounce)
                return (int)iov_slice(request->iov, request->n_iov, io->done, left, io->iov);
        io->part = left < PART ? left : PART;
        if (request->real_op == BLOCK_WRITE)
                iov_read(request->iov, request->n_iov, io->done, io->bounce, io->part);
        io->iov[0] = (struct iovec){ .iov_base = io->bounce, .iov_len = io->part };
        return 1;
}

static void prep_rw(struct raw *raw, struct raw_io *io, struct io_uring_sqe *sqe, const struct iovec *iov, unsigned n)
{
        struct block_request *request = io->request;
        uint64_t offset = request->offset + io->done;

        if (request->real_op == BLOCK_READ) {
                if (n == 1 && iov->iov_len <= INT32_MAX)
                        io_uring_prep_read(sqe, raw->fd, iov->iov_base, (unsigned)iov->iov_len, offset);
                else
                        io_uring_prep_readv(sqe, raw->fd, iov, n, offset);
                return;
        }
        if (n == 1 && iov->iov_len <= INT32_MAX)
                io_uring_prep_write(sqe, raw->fd, iov->iov_base, (unsigned)iov->iov_len, offset);
        else
                io_uring_prep_writev(sqe, raw->fd, iov, n, offset);
        if (raw->block->write_through)
                sqe->rw_flags = RWF_DSYNC;
}

/* The next part of the space to be zeroed, as pieces that all show the same zeroes. */
static int prepare_zeroes(struct raw *raw, struct raw_io *io, const struct iovec **ret)
{
        uint64_t left = io->request->len - io->done;
        unsigned n = 0;

        if (!raw->zeroes) {
                raw->zeroes = aligned_alloc(ALIGN_MAX, ZEROES);
                if (!raw->zeroes)
                        return -ENOMEM;
                memset(raw->zeroes, 0, ZEROES);
        }
        if (!io->iov)
                io->iov = malloc(PART / ZEROES * sizeof(*io->iov));
        if (!io->iov)
                return -ENOMEM;
        for (io->part = 0; n < PART / ZEROES && left; n++) {
                size_t len = left < ZEROES ? left : ZEROES;

                io->iov[n] = (struct iovec){ .iov_base = raw->zeroes, .iov_len = len };
                io->part += len;
                left -= len;
        }
        *ret = io->iov;
        return (int)n;
}

static bool is_fallocate(const struct raw_io *io)
{
        return (io->request->real_op == BLOCK_DISCARD || io->request->real_op == BLOCK_WRITE_ZEROES) && io->mode != WRITES;
}

static int prep_data(struct raw *raw, struct raw_io *io, struct io_uring_sqe *sqe)
{
        bool zeroes = io->request->real_op == BLOCK_WRITE_ZEROES;
        const struct iovec *iov;
        int n = zeroes ? prepare_zeroes(raw, io, &iov) : prepare(raw, io, &iov);

        if (n < 0)
                return n;
        prep_rw(raw, io, sqe, iov, (unsigned)n);
        return 0;
}

/* Sends the next operation of io, or holds it. */
static void start(struct raw *raw, struct raw_io *io)
{
        struct block_request *request = io->request;
        struct io_uring_sqe *sqe = ring_get(raw->ring);
        int r = 0;

        if (!sqe) {
                ring_hold(raw->ring, &io->op);
                return;
        }
        if (request->real_op == BLOCK_FLUSH || io->syncing)
                io_uring_prep_fsync(sqe, raw->fd, IORING_FSYNC_DATASYNC);
        else if (is_fallocate(io))
                io_uring_prep_fallocate(sqe, raw->fd, io->mode, (off_t)request->offset, (off_t)request->len);
        else
                r = prep_data(raw, io, sqe);
        if (r < 0)
                io_uring_prep_nop(sqe);
        io_uring_sqe_set_data(sqe, r < 0 ? NULL : &io->op);
        /* Second tries may sleep. */
        if (io->tries)
                sqe->flags |= IOSQE_ASYNC;
        if (r < 0)
                finish(raw, io, r);
}

/* --- Zeroing and discarding --- */

/* The best way that is left (fallocate(2)). Block devices understand the same calls. False: there is none. */
static bool choose_mode(struct raw *raw, struct raw_io *io)
{
        struct block_request *request = io->request;

        if ((request->real_op == BLOCK_DISCARD || request->real_unmap) && !raw->no_punch)
                io->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        else if (request->real_op == BLOCK_DISCARD)
                return false;
        else if (!raw->no_zero_range)
                io->mode = FALLOC_FL_ZERO_RANGE | (raw->regular ? 0 : FALLOC_FL_KEEP_SIZE);
        else
                io->mode = WRITES;
        return true;
}

static bool is_unsupported(int result)
{
        return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV || result == -EINVAL || result == -ENOTTY;
}

static void start_space(struct raw *raw, struct raw_io *io)
{
        /* Discarding is a hint. */
        if (choose_mode(raw, io))
                start(raw, io);
        else
                finish(raw, io, 0);
}

/* The file or device cannot do what mode says. */
static void forget_mode(struct raw *raw, int mode)
{
        if (mode & FALLOC_FL_PUNCH_HOLE)
                raw->no_punch = true;
        else
                raw->no_zero_range = true;
}

/* --- Completions --- */

static void done_all(struct raw *raw, struct raw_io *io)
{
        struct block_request *request = io->request;

        if (request->real_op == BLOCK_WRITE_ZEROES && raw->block->write_through && !io->syncing) {
                io->syncing = true;
                start(raw, io);
                return;
        }
        finish(raw, io, 0);
}

/* Is what could not be read the rest of an incomplete last sector? */
static bool is_tail(const struct raw *raw, const struct raw_io *io)
{
        return io->request->real_op == BLOCK_READ && io->request->offset + io->done >= raw->bytes && raw->bytes != raw->block->size;
}

static void done_data(struct raw *raw, struct raw_io *io, size_t n)
{
        struct block_request *request = io->request;

        if (io->bounce && request->real_op == BLOCK_READ)
                iov_write(request->iov, request->n_iov, io->done, io->bounce, n);
        io->done += n;
        if (io->done >= request->len) {
                done_all(raw, io);
        } else if (is_tail(raw, io)) {
                iov_zero(request->iov, request->n_iov, io->done, request->len - io->done);
                finish(raw, io, 0);
        } else if (n == 0) {
                /* The file has become shorter. */
                finish(raw, io, -EIO);
        } else {
                start(raw, io);
        }
}

static void done_one(struct raw *raw, struct raw_io *io, int result)
{
        if ((result == -EAGAIN || result == -EINTR) && io->tries++ < TRIES) {
                start(raw, io);
        } else if (result < 0 && is_fallocate(io) && !io->syncing && is_unsupported(result)) {
                forget_mode(raw, io->mode);
                start_space(raw, io);
        } else if (result < 0) {
                finish(raw, io, result);
        } else if (io->request->real_op == BLOCK_FLUSH || io->syncing) {
                finish(raw, io, 0);
        } else if (is_fallocate(io)) {
                done_all(raw, io);
        } else {
                done_data(raw, io, (size_t)result);
        }
}

static void on_done(struct ring_op *op, int result)
{
        struct raw_io *io = container_of(op, struct raw_io, op);

        done_one(io->raw, io, result);
}

static void on_room(struct ring_op *op)
{
        struct raw_io *io = container_of(op, struct raw_io, op);

        start(io->raw, io);
}

/* --- A write by who waits for it --- */

static bool suits_lone(const struct raw *raw, const struct block_request *request)
{
        const struct block *b = raw->block;

        return request->real_op == BLOCK_WRITE && b->in_flight == 1 && !b->write_through && raw->align == 1 &&
               lone_suits(&raw->lone, request->offset, request->len, timer_now(b->env.timers));
}

static void hold_lone(struct raw *raw, struct raw_io *io)
{
        raw->lone_io = io;
        lone_hold(&raw->lone, raw->fd, io->request->iov, io->request->n_iov, io->request->offset);
}

/* It goes by the ring, as all others. */
static void release_lone(struct raw *raw, bool kept)
{
        struct raw_io *io = raw->lone_io;

        if (!lone_take_back(&raw->lone, kept))
                return;
        raw->lone_io = NULL;
        start(raw, io);
}

static void complete_lone(struct raw *raw)
{
        struct raw_io *io = raw->lone_io;
        int result;

        if (!lone_take_result(&raw->lone, timer_now(raw->block->env.timers), &result))
                return;
        raw->lone_io = NULL;
        done_one(raw, io, result);
}

static bool raw_keep(struct block *b)
{
        struct raw *raw = b->private;

        return lone_keep(&raw->lone);
}

static bool raw_begin(struct block *b)
{
        struct raw *raw = b->private;

        return lone_begin(&raw->lone);
}

static void raw_work(struct block *b)
{
        struct raw *raw = b->private;

        lone_run(&raw->lone, b->env.timers);
}

static void raw_worked(struct block *b)
{
        struct raw *raw = b->private;

        complete_lone(raw);
        ring_submit(raw->ring);
}

/* --- The back end --- */

static bool wants_bounce(const struct raw *raw, const struct block_request *request)
{
        return raw->align > 1 && !iov_is_aligned(request->iov, request->n_iov, raw->align);
}

static void raw_submit(struct block *b, struct block_request *request)
{
        struct raw *raw = b->private;
        struct raw_io *io = new_io(raw, request);
        bool data = request->real_op == BLOCK_READ || request->real_op == BLOCK_WRITE;

        if (!io) {
                block_complete(b, request, -ENOMEM);
                return;
        }
        if (data && wants_bounce(raw, request)) {
                io->bounce = aligned_alloc(ALIGN_MAX, ALIGN_UP(request->len < PART ? request->len : PART, ALIGN_MAX));
                if (!io->bounce) {
                        finish(raw, io, -ENOMEM);
                        return;
                }
        }
        release_lone(raw, false);
        if (suits_lone(raw, request))
                hold_lone(raw, io);
        else if (data || request->real_op == BLOCK_FLUSH)
                start(raw, io);
        else
                start_space(raw, io);
}

static void raw_flush_queue(struct block *b)
{
        struct raw *raw = b->private;

        release_lone(raw, false);
        ring_submit(raw->ring);
}

static void raw_wait(struct block *b)
{
        struct raw *raw = b->private;

        release_lone(raw, true);
        if (raw->lone_io) {
                lone_wait(&raw->lone);
                complete_lone(raw);
                return;
        }
        ring_wait(raw->ring);
}

static bool raw_ready(const struct block *b)
{
        const struct raw *raw = b->private;

        return ring_ready(raw->ring);
}

static void raw_quiet(struct block *b, bool on)
{
        struct raw *raw = b->private;

        ring_quiet(raw->ring, on);
}

/* An incomplete last sector counts as a whole one. */
static int measure(struct block *b, struct raw *raw)
{
        off_t end = lseek(raw->fd, 0, SEEK_END);

        if (end < 0)
                return -errno;
        raw->bytes = (uint64_t)end;
        b->size = raw->regular ? ALIGN_UP(raw->bytes, b->logical) : ALIGN_DOWN(raw->bytes, b->logical);
        return 0;
}

static int raw_look(struct block *b, uint64_t wanted)
{
        struct raw *raw = b->private;
        int r = measure(b, raw);

        if (r < 0 || !wanted || wanted == b->size)
                return r;
        if (wanted % b->logical)
                return -EINVAL;
        if (b->readonly)
                return -EROFS;
        if (!raw->regular)
                return -ENOSPC;
        while (b->in_flight)
                raw_wait(b);
        if (ftruncate(raw->fd, (off_t)wanted) < 0)
                return -errno;
        return measure(b, raw);
}

static void raw_close(struct block *b)
{
        struct raw *raw = b->private;

        if (raw->own_ring)
                ring_detach(raw->own_ring);
        ring_free(raw->own_ring);
        while (raw->spare) {
                struct raw_io *io = raw->spare;

                raw->spare = io->next;
                free(io);
        }
        fd_close(raw->fd);
        free(raw->zeroes);
        free(raw);
}

/* The block size that direct I/O on the descriptor wants: found by trying, as nothing else tells it of every kind of file. */
static unsigned probe_align(int fd)
{
        uint8_t *buf = aligned_alloc(ALIGN_MAX, ALIGN_MAX);
        unsigned align = SECTOR;

        while (buf && align < ALIGN_MAX && pread(fd, buf, align, 0) < 0 && errno == EINVAL)
                align *= 2;
        free(buf);
        return align;
}

/* Direct I/O needs the guest's blocks to be multiples of the host's. */
static int set_direct(struct block *b, struct raw *raw, int flags, char **ret_error)
{
        if (b->direct && !(flags & O_DIRECT)) {
                if (fcntl(raw->fd, F_SETFL, flags | O_DIRECT) < 0)
                        return plug_fail(ret_error, -errno, "the image has no direct I/O, which its cache mode asks for: %s", strerror(errno));
                flags |= O_DIRECT;
        }
        raw->align = 1;
        if (!(flags & O_DIRECT))
                return 0;
        raw->align = probe_align(raw->fd);
        if (raw->align <= b->logical)
                return 0;
        log_warning("an image needs blocks of %u bytes for direct I/O, and the guest's have %u: it is used through the page cache", raw->align, b->logical);
        raw->align = 1;
        if (fcntl(raw->fd, F_SETFL, flags & ~O_DIRECT) < 0)
                return plug_fail(ret_error, -errno, "direct I/O cannot be switched off: %s", strerror(errno));
        return 0;
}

static int check_file(struct block *b, struct raw *raw, char **ret_error)
{
        int flags = fcntl(raw->fd, F_GETFL);
        struct stat st;
        int r;

        if (flags < 0 || fstat(raw->fd, &st) < 0)
                return plug_fail(ret_error, -errno, "the image's descriptor cannot be used: %s", strerror(errno));
        raw->regular = S_ISREG(st.st_mode);
        raw->lone.possible = lone_probe(raw->fd, raw->regular);
        if (!raw->regular && !S_ISBLK(st.st_mode))
                return plug_fail(ret_error, -EINVAL, "the image is neither a regular file nor a block device");
        if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
                return plug_fail(ret_error, -EINVAL, "the image is not open for reading");
        if ((flags & O_ACCMODE) == O_RDONLY && !b->readonly)
                return plug_fail(ret_error, -EINVAL, "the image is not open for writing, and the disk is not read-only");
        if (!b->logical)
                b->logical = SECTOR;
        if (b->readonly)
                b->can_discard = false;
        r = measure(b, raw);
        if (r < 0)
                return plug_fail(ret_error, r, "the image's size cannot be found out: %s", strerror(-r));
        return set_direct(b, raw, flags, ret_error);
}

static int find_ring(struct block *b, struct raw *raw)
{
        int r;

        raw->ring = b->env.ring;
        if (raw->ring)
                return 0;
        r = ring_new(&raw->own_ring);
        if (r == 0)
                r = ring_attach(raw->own_ring, b->env.watches);
        raw->ring = raw->own_ring;
        return r;
}

static int raw_open(struct block *b, struct props *props, char **ret_error)
{
        struct raw *raw = calloc(1, sizeof(*raw));
        int r;

        if (!raw)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        raw->block = b;
        raw->fd = -1;
        r = props_take_fd(props, "fd", &raw->fd);
        if (r < 0)
                plug_fail(ret_error, r, "fd must be one descriptor");
        else
                r = check_file(b, raw, ret_error);
        if (r == 0) {
                r = find_ring(b, raw);
                if (r < 0)
                        plug_fail(ret_error, r, "no io_uring can be made: %s", strerror(-r));
        }
        if (r < 0) {
                ring_free(raw->own_ring);
                fd_close(raw->fd);
                free(raw);
                return r;
        }
        b->private = raw;
        return 0;
}

const struct block_backend block_backend_raw = {
        .prop = "fd",
        .open = raw_open,
        .submit = raw_submit,
        .flush_queue = raw_flush_queue,
        .wait = raw_wait,
        .ready = raw_ready,
        .quiet = raw_quiet,
        .keep = raw_keep,
        .begin = raw_begin,
        .work = raw_work,
        .worked = raw_worked,
        .look = raw_look,
        .close = raw_close,
};
