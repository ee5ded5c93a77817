/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/server.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "libvirt-driver/client.h"

#define SOCKET_NAME "virtdomusd-sock"

struct listener {
        struct list link;
        struct server *server;
        sd_event_source *io, *retry;
        int fd;
        bool read_only;
        char *path; /* to be removed at the end; NULL: not ours */
};

/* --- Accepting --- */

int server_add_client(struct server *s, int fd, bool read_only)
{
        if (s->n_clients >= SERVER_CLIENTS_MAX || (read_only && s->n_ro_clients >= SERVER_RO_CLIENTS_MAX)) {
                log_debug("too many clients (%u), refusing another one", s->n_clients);
                fd_close(fd);
                return -EMFILE;
        }
        return client_new(s, fd, read_only);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *opaque)
{
        struct listener *l = opaque;

        return sd_event_source_set_enabled(l->io, SD_EVENT_ON);
}

/* Out of descriptors or memory: the connection stays in the queue, and asking again at once would only keep
 * the loop busy. */
static void pause_accepting(struct listener *l, int error)
{
        log_warning("cannot accept a connection: %s", strerror(error));
        sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
        sd_event_source_set_time_relative(l->retry, G_USEC_PER_SEC);
        sd_event_source_set_enabled(l->retry, SD_EVENT_ONESHOT);
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
        struct listener *l = opaque;
        int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (conn >= 0)
                server_add_client(l->server, conn, l->read_only);
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                pause_accepting(l, errno);
        return 0;
}

/* --- Listeners --- */

static void listener_free(struct listener *l)
{
        list_remove(&l->link);
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->retry);
        if (l->path)
                unlink(l->path);
        g_free(l->path);
        fd_close(l->fd);
        g_free(l);
}

static bool add_listener(struct server *s, int fd, bool read_only, const char *path, GError **error)
{
        struct listener *l = g_new0(struct listener, 1);
        int r;

        l->server = s;
        l->fd = fd;
        l->read_only = read_only;
        l->path = g_strdup(path);
        list_append(&s->listeners, &l->link);
        /* The timer is there from the start: later there might be no descriptor for it. */
        r = sd_event_add_time(s->loop, &l->retry, CLOCK_MONOTONIC, UINT64_MAX, 0, on_retry, l);
        if (r >= 0)
                r = sd_event_add_io(s->loop, &l->io, fd, EPOLLIN, on_accept, l);
        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot watch a socket: %s", g_strerror(-r));
                listener_free(l);
                return false;
        }
        return true;
}

bool server_add_listener(struct server *s, int fd, GError **error)
{
        struct sockaddr_un a = { 0 };
        socklen_t len = sizeof(a) - 1; /* keeps a terminating zero */

        if (getsockname(fd, (struct sockaddr *)&a, &len) < 0 || a.sun_family != AF_UNIX) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "inherited descriptor %d is no UNIX socket", fd);
                return false;
        }
        fd_set_nonblock(fd, true);
        return add_listener(s, fd, g_str_has_suffix(a.sun_path, "-ro"), NULL, error);
}

static mode_t socket_mode(const struct server *s, const char *path, bool read_only)
{
        struct group *g;

        if (s->session)
                return 0700;
        if (read_only)
                return 0777;
        g = getgrnam("libvirt");
        if (!g || chown(path, (uid_t)-1, g->gr_gid) < 0)
                return 0700;
        return 0770;
}

static int open_socket(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof(a.sun_path))
                return -ENAMETOOLONG;
        memcpy(a.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        unlink(path);
        if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
                int r = -errno;

                fd_close(fd);
                return r;
        }
        return fd;
}

/* Nobody can connect before the mode is right: listen comes last. */
static bool listen_at(struct server *s, const char *dir, const char *name, bool read_only, GError **error)
{
        g_autofree char *path = g_build_filename(dir, name, NULL);
        int fd = open_socket(path);

        if (fd >= 0 && chmod(path, socket_mode(s, path, read_only)) == 0 && listen(fd, SOMAXCONN) == 0)
                return add_listener(s, fd, read_only, path, error);
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot listen on %s: %s", path, g_strerror(fd < 0 ? -fd : errno));
        fd_close(fd);
        return false;
}

bool server_listen(struct server *s, const char *dir, GError **error)
{
        int r = file_make_dirs(dir, s->session ? 0700 : 0755);

        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make %s: %s", dir, g_strerror(-r));
                return false;
        }
        return listen_at(s, dir, SOCKET_NAME, false, error) && listen_at(s, dir, SOCKET_NAME "-ro", true, error);
}

/* --- Server --- */

struct server *server_new(DomusManager *manager, sd_event *loop, bool session)
{
        struct server *s = g_new0(struct server, 1);

        s->manager = manager;
        s->loop = sd_event_ref(loop);
        s->session = session;
        list_init(&s->listeners);
        list_init(&s->clients);
        if (manager) {
                s->event_id = domus_manager_event_add(manager, event_broadcast, s);
                domus_networks_set_event_fn(domus_manager_networks(manager), event_broadcast_network, s);
        }
        if (manager && domus_manager_pools(manager))
                domus_pools_set_listener(domus_manager_pools(manager), event_broadcast_pool, s);
        return s;
}

void server_free(struct server *s)
{
        if (!s)
                return;
        if (s->event_id) {
                domus_manager_event_remove(s->manager, s->event_id);
                domus_networks_set_event_fn(domus_manager_networks(s->manager), NULL, NULL);
        }
        if (s->manager && domus_manager_pools(s->manager))
                domus_pools_set_listener(domus_manager_pools(s->manager), NULL, NULL);
        list_foreach_safe(l, tmp, &s->listeners)
                listener_free(list_entry(l, struct listener, link));
        list_foreach_safe(l, tmp, &s->clients)
                client_free(list_entry(l, struct client, link));
        sd_event_unref(s->loop);
        g_free(s);
}
