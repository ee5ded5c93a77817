/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images in another process, which knows their format: a vhost-user-blk back end such as qemu-storage-daemon's export, at the other end of a UNIX socket. It maps the guest's memory and reads and
 * writes it itself; what is not guest memory goes through room in the ring's memory. When the process ends or breaks the rules, everything fails with EIO. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/block/backend.h"
#include "hv/block/iov.h"
#include "hv/block/vhost-message.h"
#include "hv/block/vring.h"
#include "hv/bus/plug.h"

/* The ring's memory is beyond all guest memory. */
#define VRING_GPA (1ull << 48)
/* As much data as goes in one request; the same for space, unless the back end wants less. */
#define PART_MAX GiB(1)
#define SECTOR 512u

#define F_RO (1ull << 5)
#define F_BLK_SIZE (1ull << 6)
#define F_FLUSH (1ull << 9)
#define F_DISCARD (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)
#define F_INDIRECT (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_NEEDED (F_INDIRECT | F_VERSION_1 | VHOST_F_PROTOCOL_FEATURES)
#define F_KNOWN (F_NEEDED | F_EVENT_IDX | F_RO | F_BLK_SIZE | F_FLUSH | F_DISCARD | F_WRITE_ZEROES)

/* virtio-blk's configuration space, as far as it is used here (5.2.4). */
#define CONFIG_SIZE 60
#define CONFIG_CAPACITY 0
#define CONFIG_BLK_SIZE 20
#define CONFIG_MAX_DISCARD 36
#define CONFIG_MAX_ZEROES 48

#define STATUS_OK 0
#define STATUS_UNSUPP 2
#define UNMAP 1u

struct remote_io {
        struct remote_io *next; /* in a list */
        struct block_request *request;
        uint64_t done, part;    /* bytes */
        bool room;              /* data goes through the slot's room */
        bool writes;            /* zeroes are written */
        bool syncing;           /* a write that is done goes to the disk */
};

struct remote {
        struct block *block;
        int sock, kick_fd, call_fd;
        struct watch sock_watch, call_watch;
        struct vring ring;
        uint64_t features, discard_max, zeroes_max; /* bytes */
        uint64_t offered; /* the size that the server gave last, in bytes */
        bool dead, kick;
        unsigned quiet; /* how many look all the time */
        struct remote_io *spare;
        struct remote_io *held, **held_end; /* wait for a slot */
        struct vring_piece pieces[VRING_PIECES];
};

static void start(struct remote *remote, struct remote_io *io);

/* --- Requests in flight --------------------------------------------------------------------------------------------------------------------- */

static struct remote_io *new_io(struct remote *remote, struct block_request *request)
{
        struct remote_io *io = remote->spare;

        if (io)
                remote->spare = io->next;
        else
                io = malloc(sizeof(*io));
        if (io)
                *io = (struct remote_io){ .request = request };
        return io;
}

static void finish(struct remote *remote, struct remote_io *io, int result)
{
        struct block_request *request = io->request;

        io->next = remote->spare;
        remote->spare = io;
        block_complete(remote->block, request, result);
}

static void hold(struct remote *remote, struct remote_io *io)
{
        if (!remote->held)
                remote->held_end = &remote->held;
        io->next = NULL;
        *remote->held_end = io;
        remote->held_end = &io->next;
}

static void start_held(struct remote *remote)
{
        struct remote_io *io = remote->held;

        remote->held = NULL;
        while (io) {
                struct remote_io *next = io->next;

                start(remote, io);
                io = next;
        }
}

/* The other process is gone, or not to be trusted any more. */
static void die(struct remote *remote, const char *why)
{
        struct remote_io *held = remote->held;

        if (remote->dead)
                return;
        log_error("an image's server %s: the image cannot be used any more", why);
        remote->dead = true;
        remote->block->env.error(remote->block->env.opaque, false, ECONNRESET);
        watch_remove(&remote->sock_watch);
        watch_remove(&remote->call_watch);
        remote->held = NULL;
        for (unsigned i = 0; i < VRING_SLOTS; i++) {
                struct remote_io *io = remote->ring.owners[i];

                if (io) {
                        vring_release(&remote->ring, i);
                        finish(remote, io, -EIO);
                }
        }
        while (held) {
                struct remote_io *next = held->next;

                finish(remote, held, -EIO);
                held = next;
        }
}

/* --- Data ------------------------------------------------------------------------------------------------------------------------------------- */

/* The guest physical address of host memory, if it is guest RAM. */
static bool find_gpa(const struct guest_memory *memory, const struct iovec *iov, uint64_t *ret)
{
        for (unsigned i = 0; memory && i < memory->n_regions; i++) {
                const struct guest_region *region = &memory->regions[i];
                uint64_t off = (uint64_t)(uintptr_t)iov->iov_base - (uint64_t)(uintptr_t)region->host;

                if (region->readonly || off >= region->size || iov->iov_len > region->size - off)
                        continue;
                *ret = region->gpa + off;
                return true;
        }
        return false;
}

/* Fills pieces with the whole of the request's memory, if the other process has all of that. */
static bool map_data(struct remote *remote, const struct block_request *request)
{
        if (request->n_iov > VRING_PIECES || request->len > PART_MAX)
                return false;
        for (unsigned i = 0; i < request->n_iov; i++) {
                struct vring_piece *piece = &remote->pieces[i];

                if (!find_gpa(remote->block->env.memory, &request->iov[i], &piece->gpa))
                        return false;
                piece->len = (uint32_t)request->iov[i].iov_len;
        }
        return true;
}

static void use_room(struct remote *remote, struct remote_io *io, unsigned slot)
{
        struct block_request *request = io->request;
        uint64_t left = request->len - io->done;
        uint8_t *room = vring_room(&remote->ring, slot);

        io->room = true;
        io->part = left < VRING_ROOM ? left : VRING_ROOM;
        if (io->writes)
                memset(room, 0, io->part);
        else if (request->real_op == BLOCK_WRITE)
                iov_read(request->iov, request->n_iov, io->done, room, io->part);
        remote->pieces[0] = (struct vring_piece){ .gpa = vring_room_gpa(&remote->ring, slot), .len = (uint32_t)io->part };
}

static void prepare_data(struct remote *remote, struct remote_io *io, unsigned slot, struct vring_request *r)
{
        const struct block_request *request = io->request;

        r->type = request->real_op == BLOCK_READ ? VRING_READ : VRING_WRITE;
        if (!io->writes && !io->room && map_data(remote, request)) {
                io->part = request->len;
                r->n_pieces = request->n_iov;
        } else {
                use_room(remote, io, slot);
                r->n_pieces = 1;
        }
        r->pieces = remote->pieces;
}

static void prepare_space(struct remote *remote, struct remote_io *io, struct vring_request *r)
{
        const struct block_request *request = io->request;
        bool discard = request->real_op == BLOCK_DISCARD;
        uint64_t left = request->len - io->done, max = discard ? remote->discard_max : remote->zeroes_max;

        io->part = left < max ? left : max;
        r->type = discard ? VRING_DISCARD : VRING_WRITE_ZEROES;
        r->space_sectors = (uint32_t)(io->part / SECTOR);
        r->space_flags = !discard && request->real_unmap ? UNMAP : 0;
}

/* Sends the next part of io, or holds it. */
static void start(struct remote *remote, struct remote_io *io)
{
        struct block_request *request = io->request;
        struct vring_request r = { .sector = (request->offset + io->done) / SECTOR };
        int slot = vring_take(&remote->ring, io);

        if (slot < 0) {
                hold(remote, io);
                return;
        }
        if (request->real_op == BLOCK_FLUSH || io->syncing)
                r.type = VRING_FLUSH;
        else if (request->real_op == BLOCK_READ || request->real_op == BLOCK_WRITE || io->writes)
                prepare_data(remote, io, (unsigned)slot, &r);
        else
                prepare_space(remote, io, &r);
        vring_put(&remote->ring, (unsigned)slot, &r);
        remote->kick = true;
}

/* --- Completions -------------------------------------------------------------------------------------------------------------------------------- */

static void done_all(struct remote *remote, struct remote_io *io)
{
        enum block_op op = io->request->real_op;

        if ((op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES) && remote->block->write_through && !io->syncing) {
                io->syncing = true;
                start(remote, io);
        } else {
                finish(remote, io, 0);
        }
}

static void done_part(struct remote *remote, struct remote_io *io)
{
        io->done += io->part;
        if (io->done >= io->request->len)
                done_all(remote, io);
        else
                start(remote, io);
}

/* Discarding is a hint; zeroes can be written. */
static void done_unsupported(struct remote *remote, struct remote_io *io)
{
        if (io->request->real_op == BLOCK_DISCARD) {
                finish(remote, io, 0);
        } else if (io->request->real_op == BLOCK_WRITE_ZEROES && !io->writes && !io->syncing) {
                io->writes = true;
                start(remote, io);
        } else {
                finish(remote, io, -EIO);
        }
}

static void done_one(struct remote *remote, struct remote_io *io, unsigned slot, uint8_t status)
{
        struct block_request *request = io->request;

        if (status == STATUS_OK && io->room && request->real_op == BLOCK_READ)
                iov_write(request->iov, request->n_iov, io->done, vring_room(&remote->ring, slot), io->part);
        vring_release(&remote->ring, slot);
        if (status == STATUS_UNSUPP)
                done_unsupported(remote, io);
        else if (status != STATUS_OK)
                finish(remote, io, -EIO);
        else if (request->real_op == BLOCK_FLUSH || io->syncing)
                finish(remote, io, 0);
        else
                done_part(remote, io);
}

static void kick(struct remote *remote)
{
        if (remote->kick && !remote->dead && vring_must_kick(&remote->ring) && eventfd_write(remote->kick_fd, 1) < 0)
                log_warning("an image's server cannot be notified: %m");
        remote->kick = false;
}

static void reap(struct remote *remote)
{
        struct remote_io *io;
        uint8_t status;
        unsigned slot;
        bool broken = false;

        while (!remote->dead && (io = vring_next(&remote->ring, &slot, &status, &broken)))
                done_one(remote, io, slot, status);
        if (broken)
                die(remote, "returned a request that it does not have");
        if (!remote->dead && remote->held)
                start_held(remote);
        kick(remote);
}

static void on_call(void *opaque, uint32_t events)
{
        struct remote *remote = opaque;
        eventfd_t count;

        eventfd_read(remote->call_fd, &count);
        reap(remote);
}

static void on_sock(void *opaque, uint32_t events)
{
        struct remote *remote = opaque;

        reap(remote);
        die(remote, "has ended");
}

/* --- The back end --------------------------------------------------------------------------------------------------------------------------------- */

static void remote_submit(struct block *b, struct block_request *request)
{
        struct remote *remote = b->private;
        struct remote_io *io = remote->dead ? NULL : new_io(remote, request);

        if (!io) {
                block_complete(b, request, remote->dead ? -EIO : -ENOMEM);
                return;
        }
        if (request->real_op == BLOCK_FLUSH && !(remote->features & F_FLUSH)) {
                finish(remote, io, 0);
                return;
        }
        io->writes = request->real_op == BLOCK_WRITE_ZEROES && !(remote->features & F_WRITE_ZEROES);
        start(remote, io);
}

static void remote_flush_queue(struct block *b)
{
        kick(b->private);
}

static void remote_wait(struct block *b)
{
        struct remote *remote = b->private;
        struct pollfd p[] = { { remote->call_fd, POLLIN, 0 }, { remote->sock, 0, 0 } };

        kick(remote);
        vring_want_call(&remote->ring, true); /* whoever else looks waits for the caller */
        if (vring_has(&remote->ring)) {
                reap(remote);
                return;
        }
        if (poll(p, 2, -1) < 0)
                return;
        if (p[0].revents)
                on_call(remote, 0);
        if (p[1].revents)
                on_sock(remote, 0);
}

static bool remote_ready(const struct block *b)
{
        const struct remote *remote = b->private;

        return vring_has(&remote->ring);
}

static void remote_quiet(struct block *b, bool on)
{
        struct remote *remote = b->private;

        if (on)
                remote->quiet++;
        else
                remote->quiet--;
        /* First what is there: the other process shall not find that it is waited for and notify. */
        if (!on)
                reap(remote);
        vring_want_call(&remote->ring, remote->quiet == 0);
        if (!on)
                reap(remote);
}

static void close_all(struct remote *remote)
{
        watch_remove(&remote->sock_watch);
        watch_remove(&remote->call_watch);
        while (remote->spare) {
                struct remote_io *io = remote->spare;

                remote->spare = io->next;
                free(io);
        }
        vring_finish(&remote->ring);
        fd_close(remote->sock);
        fd_close(remote->kick_fd);
        fd_close(remote->call_fd);
        free(remote);
}

static void remote_close(struct block *b)
{
        close_all(b->private);
}

static int read_config(struct block *b, struct remote *remote)
{
        uint8_t config[CONFIG_SIZE];
        int r = vhost_get_config(remote->sock, config, sizeof(config));
        uint64_t sectors = le64_load(config + CONFIG_CAPACITY);
        unsigned logical = SECTOR;

        if (r < 0)
                return r;
        if (remote->features & F_BLK_SIZE)
                logical = le32_load(config + CONFIG_BLK_SIZE);
        if (logical < SECTOR || logical > KiB(32) || (logical & (logical - 1)) || sectors > INT64_MAX / SECTOR)
                return -EPROTO;
        if (!b->logical)
                b->logical = logical;
        if (b->logical < logical)
                return -ERANGE;
        if (remote->offered != sectors * SECTOR)
                b->size = ALIGN_DOWN(sectors * SECTOR, b->logical);
        remote->offered = sectors * SECTOR;
        remote->discard_max = le32_load(config + CONFIG_MAX_DISCARD) * (uint64_t)SECTOR;
        remote->zeroes_max = le32_load(config + CONFIG_MAX_ZEROES) * (uint64_t)SECTOR;
        remote->discard_max = ALIGN_DOWN(remote->discard_max < PART_MAX ? remote->discard_max : PART_MAX, b->logical);
        remote->zeroes_max = ALIGN_DOWN(remote->zeroes_max < PART_MAX ? remote->zeroes_max : PART_MAX, b->logical);
        if (!remote->discard_max)
                remote->features &= ~F_DISCARD;
        if (!remote->zeroes_max)
                remote->features &= ~F_WRITE_ZEROES;
        return 0;
}

/* qemu-storage-daemon before 8.1 takes another size, but goes on offering the one that it began with. Who wants a size has made the image that long;
 * were it not so, requests behind its end would fail there. */
static int remote_look(struct block *b, uint64_t wanted)
{
        struct remote *remote = b->private;
        int r = remote->dead ? -EIO : read_config(b, remote);

        if (r == 0 && wanted)
                b->size = ALIGN_DOWN(wanted, b->logical);
        return r;
}

/* --- Opening -------------------------------------------------------------------------------------------------------------------------------------- */

static int negotiate(struct remote *remote)
{
        const uint64_t protocol_needed = VHOST_PROTOCOL_REPLY_ACK | VHOST_PROTOCOL_CONFIG;
        uint64_t features, protocol;
        int r = vhost_set_owner(remote->sock);

        if (r == 0)
                r = vhost_get_u64(remote->sock, VHOST_GET_FEATURES, &features);
        if (r == 0 && (features & F_NEEDED) != F_NEEDED)
                r = -EOPNOTSUPP;
        if (r == 0)
                r = vhost_get_u64(remote->sock, VHOST_GET_PROTOCOL_FEATURES, &protocol);
        if (r == 0 && (protocol & protocol_needed) != protocol_needed)
                r = -EOPNOTSUPP;
        if (r == 0)
                r = vhost_set_u64(remote->sock, VHOST_SET_PROTOCOL_FEATURES, protocol_needed);
        if (r == 0)
                r = vhost_set_u64(remote->sock, VHOST_SET_FEATURES, features & F_KNOWN);
        if (r == 0)
                remote->features = features & F_KNOWN;
        remote->ring.event_idx = remote->features & F_EVENT_IDX;
        return r;
}

/* The guest's RAM and the ring's memory. */
static int share_memory(struct block *b, struct remote *remote)
{
        const struct guest_memory *memory = b->env.memory;
        struct vhost_region regions[VHOST_REGIONS_MAX];
        unsigned n = 0;

        regions[n++] = (struct vhost_region){
                .gpa = remote->ring.gpa, .size = remote->ring.size, .user = (uint64_t)(uintptr_t)remote->ring.memory, .fd = remote->ring.memfd
        };
        for (unsigned i = 0; memory && memory->memfd >= 0 && i < memory->n_regions; i++) {
                const struct guest_region *region = &memory->regions[i];

                if (region->readonly)
                        continue;
                if (n == VHOST_REGIONS_MAX)
                        return -E2BIG;
                regions[n++] = (struct vhost_region){ .gpa = region->gpa,
                        .size = region->size,
                        .user = (uint64_t)(uintptr_t)region->host,
                        .offset = region->offset,
                        .fd = memory->memfd };
        }
        return vhost_set_memory(remote->sock, regions, n);
}

static int start_ring(struct remote *remote)
{
        const struct vhost_vring_addr addr = {
                .desc = (uint64_t)(uintptr_t)vring_desc(&remote->ring),
                .avail = (uint64_t)(uintptr_t)vring_avail(&remote->ring),
                .used = (uint64_t)(uintptr_t)vring_used(&remote->ring),
        };
        int r = vhost_set_vring_num(remote->sock, VRING_SLOTS);

        if (r == 0)
                r = vhost_set_vring_base(remote->sock, 0);
        if (r == 0)
                r = vhost_set_vring_addr(remote->sock, &addr);
        if (r == 0)
                r = vhost_set_vring_fd(remote->sock, VHOST_SET_VRING_CALL, remote->call_fd);
        if (r == 0)
                r = vhost_set_vring_fd(remote->sock, VHOST_SET_VRING_KICK, remote->kick_fd);
        if (r == 0)
                r = vhost_set_vring_enable(remote->sock);
        return r;
}

static int make_own(struct remote *remote)
{
        int r = vring_init(&remote->ring, VRING_GPA);

        if (r < 0)
                return r;
        remote->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        remote->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return remote->kick_fd < 0 || remote->call_fd < 0 ? -errno : 0;
}

static int start_watches(struct block *b, struct remote *remote)
{
        int r = watch_add(b->env.watches, &remote->call_watch, remote->call_fd, EPOLLIN, on_call, remote);

        return r == 0 ? watch_add(b->env.watches, &remote->sock_watch, remote->sock, EPOLLRDHUP, on_sock, remote) : r;
}

/* What the other side offers must be what the user wants. */
static int check_offer(struct block *b, struct remote *remote, char **ret_error)
{
        int r = read_config(b, remote);

        if (r == -ERANGE)
                return plug_fail(ret_error, r, "the image's blocks are larger than the %u bytes of logical-block-size", b->logical);
        if (r < 0)
                return plug_fail(ret_error, r, "the image's server does not say what it has: %s", strerror(-r));
        if ((remote->features & F_RO) && !b->readonly)
                return plug_fail(ret_error, -EROFS, "the image's server offers it for reading only");
        b->can_discard = b->can_discard && !b->readonly && (remote->features & F_DISCARD);
        return 0;
}

static int connect_all(struct block *b, struct remote *remote, char **ret_error)
{
        int r = make_own(remote);

        if (r < 0)
                return plug_fail(ret_error, r, "the ring for the image's server cannot be made: %s", strerror(-r));
        r = negotiate(remote);
        if (r < 0)
                return plug_fail(ret_error, r, "the image's server is not usable: %s", strerror(-r));
        r = check_offer(b, remote, ret_error);
        if (r < 0)
                return r;
        r = share_memory(b, remote);
        if (r == 0)
                r = start_ring(remote);
        if (r == 0)
                r = start_watches(b, remote);
        return r < 0 ? plug_fail(ret_error, r, "the image's server does not take the ring: %s", strerror(-r)) : 0;
}

static int take_requests(struct props *props, unsigned *ret, char **ret_error)
{
        int r = props_take_unsigned(props, "requests", VRING_SLOTS, ret);

        return r == 0 || r == -ENOENT ? 0 : plug_fail(ret_error, -EINVAL, "requests must be at most %u", VRING_SLOTS);
}

static int remote_open(struct block *b, struct props *props, char **ret_error)
{
        struct remote *remote = calloc(1, sizeof(*remote));
        unsigned requests = 0;
        int r;

        if (!remote)
                return plug_fail(ret_error, -ENOMEM, "out of memory");
        remote->block = b;
        remote->sock = remote->kick_fd = remote->call_fd = remote->ring.memfd = -1;
        r = props_take_fd(props, "vhost-user", &remote->sock);
        if (r < 0)
                plug_fail(ret_error, r, "vhost-user must be one descriptor");
        else
                r = take_requests(props, &requests, ret_error);
        if (r == 0)
                r = connect_all(b, remote, ret_error);
        if (r < 0) {
                close_all(remote);
                return r;
        }
        vring_limit(&remote->ring, requests);
        b->vague_errors = true;
        b->private = remote;
        return 0;
}

const struct block_backend block_backend_vhost_user = {
        .prop = "vhost-user",
        .open = remote_open,
        .submit = remote_submit,
        .flush_queue = remote_flush_queue,
        .wait = remote_wait,
        .ready = remote_ready,
        .quiet = remote_quiet,
        .look = remote_look,
        .close = remote_close,
};
