/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/client.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "libvirt-driver/call.h"
#include "libvirt-driver/stream.h"

#define READ_CHUNK (64U << 10)
#define READS_PER_TURN 16                  /* so that one client does not keep the loop */
#define IN_KEEP (1U << 20)                 /* an input buffer that grew larger is not kept */
#define KEEPALIVE_INTERVAL (5 * G_USEC_PER_SEC)
#define KEEPALIVE_COUNT 5

static uint64_t now_us(void)
{
        return (uint64_t)g_get_monotonic_time();
}

/* --- Output --- */

void client_doom(struct client *c, const char *reason)
{
        if (c->doomed)
                return;
        c->doomed = true;
        log_debug("client %u: closing: %s", c->id, reason);
        client_kick(c);
}

void client_kick(struct client *c)
{
        sd_event_source_set_enabled(c->work, SD_EVENT_ONESHOT);
}

void client_send(struct client *c, GByteArray *packet)
{
        packet_end(packet);
        if (c->doomed) {
                g_byte_array_unref(packet);
                return;
        }
        c->out_bytes += packet->len;
        g_queue_push_tail(&c->out, packet);
        if (c->out_bytes > CLIENT_OUT_MAX)
                client_doom(c, "it does not read what it is sent");
        client_kick(c);
}

static void drop_first_packet(struct client *c)
{
        g_byte_array_unref(g_queue_pop_head(&c->out));
        c->out_sent = 0;
}

/* Sends what the socket takes. */
static int flush(struct client *c)
{
        GByteArray *packet;

        while ((packet = g_queue_peek_head(&c->out))) {
                ssize_t r = send(c->fd, packet->data + c->out_sent, packet->len - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (r < 0 && errno == EINTR)
                        continue;
                if (r < 0)
                        return errno == EAGAIN ? 0 : -errno;
                c->out_sent += (size_t)r;
                c->out_bytes -= (size_t)r;
                if (c->out_sent == packet->len)
                        drop_first_packet(c);
        }
        return 0;
}

/* --- Calls --- */

void client_call_ended(struct client *c, struct call *call)
{
        list_remove(&call->link);
        c->n_calls--;
        if (!g_queue_is_empty(&c->waiting) || c->in->len)
                client_kick(c);
}

static bool may_begin_call(const struct client *c)
{
        return c->n_calls < CLIENT_CALLS_MAX && c->out_bytes < CLIENT_OUT_HIGH && !c->doomed;
}

static bool may_read(const struct client *c)
{
        return c->waiting.length < CLIENT_WAITING_MAX && c->waiting_bytes < CLIENT_WAITING_BYTES &&
               c->out_bytes < CLIENT_OUT_HIGH && c->stream_in_bytes < CLIENT_STREAM_IN_MAX && !c->doomed;
}

static void begin_waiting_calls(struct client *c)
{
        while (may_begin_call(c) && !g_queue_is_empty(&c->waiting)) {
                GByteArray *packet = g_queue_pop_head(&c->waiting);

                c->waiting_bytes -= packet->len;
                call_dispatch(c, packet->data, packet->len);
                g_byte_array_unref(packet);
        }
}

static void take_call(struct client *c, const uint8_t *packet, size_t n)
{
        if (g_queue_is_empty(&c->waiting) && may_begin_call(c)) {
                call_dispatch(c, packet, n);
                return;
        }
        c->waiting_bytes += n;
        g_queue_push_tail(&c->waiting, g_byte_array_append(g_byte_array_new(), packet, (guint)n));
}

/* --- Keepalive --- */

static void send_keepalive(struct client *c, uint32_t procedure)
{
        client_send(c, packet_begin(&(struct packet_header){
                               .program = PROGRAM_KEEPALIVE,
                               .version = PROGRAM_VERSION,
                               .procedure = procedure,
                               .type = PACKET_MESSAGE,
                       }));
}

static void take_keepalive(struct client *c, const struct packet_header *h)
{
        if (h->version == PROGRAM_VERSION && h->type == PACKET_MESSAGE && h->procedure == KEEPALIVE_PING)
                send_keepalive(c, KEEPALIVE_PONG);
}

static int on_keepalive(sd_event_source *s, uint64_t usec, void *opaque)
{
        struct client *c = opaque;
        uint64_t now = now_us();

        /* A client that we do not listen to cannot be called silent. */
        if (!may_read(c)) {
                c->last_received = now;
                c->pings = 0;
        }
        if (now - c->last_received >= KEEPALIVE_INTERVAL) {
                if (c->pings == KEEPALIVE_COUNT)
                        client_doom(c, "no answer to keepalive");
                else
                        send_keepalive(c, KEEPALIVE_PING);
                c->pings++;
        }
        sd_event_source_set_time(s, now + KEEPALIVE_INTERVAL);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int client_start_keepalive(struct client *c)
{
        if (c->keepalive)
                return 0;
        return sd_event_add_time(c->server->loop, &c->keepalive, CLOCK_MONOTONIC, now_us() + KEEPALIVE_INTERVAL, 0,
                on_keepalive, c);
}

/* --- Input --- */

/* One whole packet; false: the connection makes no sense any more. */
static bool take_packet(struct client *c, const uint8_t *packet, size_t n)
{
        struct packet_header h;

        packet_header_read(packet, &h);
        if (h.program == PROGRAM_KEEPALIVE) {
                take_keepalive(c, &h);
                return true;
        }
        switch (h.type) {
        case PACKET_STREAM:
        case PACKET_STREAM_HOLE:
                stream_packet(c, &h, packet + PACKET_HEADER, n - PACKET_HEADER);
                return true;
        case PACKET_CALL_FDS:
        case PACKET_REPLY_FDS:
                /* Descriptors would follow, which we never offered to take. */
                log_warning("client %u: packet of type %u for procedure %u", c->id, h.type, h.procedure);
                return false;
        default:
                take_call(c, packet, n);
                return true;
        }
}

/* As packet_length, by what this client may send. */
static uint32_t length_of(const struct client *c, const uint8_t *word)
{
        uint32_t n = packet_length(word);

        return c->ro_socket && n > CLIENT_RO_PACKET_MAX ? 0 : n;
}

/* Takes the whole packets at the start of the input, as far as may_read goes. */
static void parse_input(struct client *c)
{
        size_t done = 0;

        while (may_read(c) && c->in->len - done >= PACKET_HEADER) {
                const uint8_t *p = c->in->data + done;
                uint32_t n = length_of(c, p);

                if (n == 0) {
                        client_doom(c, "packet of impossible length");
                        break;
                }
                if (c->in->len - done < n)
                        break;
                if (!take_packet(c, p, n)) {
                        client_doom(c, "packet of a type that a client may not send");
                        break;
                }
                done += n;
        }
        if (done == c->in->len && done > IN_KEEP) {
                g_byte_array_unref(c->in);
                c->in = g_byte_array_new();
        } else if (done) {
                g_byte_array_remove_range(c->in, 0, (guint)done);
        }
}

/* An oversized length is noticed before its bytes are waited for. */
static bool length_makes_sense(const struct client *c)
{
        return c->in->len < 4 || length_of(c, c->in->data) != 0;
}

static ssize_t read_chunk(struct client *c)
{
        uint8_t buf[READ_CHUNK];
        ssize_t r = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

        if (r < 0)
                return errno == EINTR || errno == EAGAIN ? -EAGAIN : -errno;
        if (r > 0) {
                g_byte_array_append(c->in, buf, (guint)r);
                c->last_received = now_us();
                c->pings = 0;
        }
        return r;
}

static void read_input(struct client *c)
{
        for (unsigned i = 0; i < READS_PER_TURN && may_read(c); i++) {
                ssize_t r = read_chunk(c);

                if (r == -EAGAIN)
                        return;
                if (r <= 0) {
                        client_doom(c, r < 0 ? g_strerror((int)-r) : "end of file");
                        return;
                }
                parse_input(c);
                if (!length_makes_sense(c))
                        client_doom(c, "packet of impossible length");
        }
}

static void update_io(struct client *c)
{
        uint32_t mask = (may_read(c) ? EPOLLIN : 0) | (g_queue_is_empty(&c->out) ? 0 : EPOLLOUT);

        sd_event_source_set_io_events(c->io, mask);
}

/* Moves on all that can move. Nothing of the client is on the stack above this but the event loop: the one
 * place where it may be freed. */
static void turn(struct client *c)
{
        bool held_up;

        do {
                int r;

                begin_waiting_calls(c);
                parse_input(c);
                held_up = !may_read(c);
                r = flush(c);
                if (r < 0)
                        client_doom(c, g_strerror(-r));
        } while (held_up && may_read(c));
        if (c->doomed) {
                client_free(c);
                return;
        }
        if (c->out_bytes < CLIENT_OUT_STREAM)
                streams_resume(c);
        update_io(c);
        sd_event_source_set_enabled(c->work, SD_EVENT_OFF);
}

static int on_work(sd_event_source *s, void *opaque)
{
        turn(opaque);
        return 0;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *opaque)
{
        struct client *c = opaque;

        if (revents & EPOLLIN)
                read_input(c);
        else if (revents & (EPOLLHUP | EPOLLERR))
                client_doom(c, "hang-up");
        turn(c);
        return 0;
}

/* --- Life --- */

static int add_sources(struct client *c)
{
        int r = sd_event_add_io(c->server->loop, &c->io, c->fd, EPOLLIN, on_io, c);

        if (r < 0)
                return r;
        r = sd_event_add_defer(c->server->loop, &c->work, on_work, c);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(c->work, SD_EVENT_OFF);
}

int client_new(struct server *server, int fd, bool read_only)
{
        struct client *c = g_new0(struct client, 1);
        struct ucred cred = { .uid = (uid_t)-1 };
        socklen_t len = sizeof(cred);
        int r;

        c->server = server;
        c->id = ++server->next_client;
        c->fd = fd;
        c->ro_socket = c->read_only = read_only;
        c->in = g_byte_array_new();
        c->last_received = now_us();
        list_init(&c->calls);
        list_init(&c->streams);
        list_append(&server->clients, &c->link);
        server->n_clients++;
        server->n_ro_clients += read_only;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
                c->uid = cred.uid;
                c->pid = cred.pid;
        }
        r = add_sources(c);
        if (r < 0) {
                client_free(c);
                return r;
        }
        log_debug("client %u: uid %d, process %d%s", c->id, (int)c->uid, (int)c->pid, read_only ? ", read-only" : "");
        return 0;
}

void client_free(struct client *c)
{
        list_foreach_safe(l, tmp, &c->calls)
                call_orphan(list_entry(l, struct call, link));
        streams_free(c);
        client_events_clear(&c->events);
        domus_manager_owner_gone(c->server->manager, c);
        sd_event_source_disable_unref(c->io);
        sd_event_source_disable_unref(c->work);
        sd_event_source_disable_unref(c->keepalive);
        g_queue_clear_full(&c->out, (GDestroyNotify)g_byte_array_unref);
        g_queue_clear_full(&c->waiting, (GDestroyNotify)g_byte_array_unref);
        g_byte_array_unref(c->in);
        g_free(c->uri);
        fd_close(c->fd);
        list_remove(&c->link);
        c->server->n_clients--;
        c->server->n_ro_clients -= c->ro_socket;
        g_free(c);
}
