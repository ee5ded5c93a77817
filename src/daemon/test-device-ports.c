/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/device-ports.h"
#include "daemon/domlog.h"
#include "model/error.h"

/* A socket on a port of the loopback that the kernel chooses. */
static int listen_somewhere(int type, unsigned *ret_port)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(a);
        int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *)&a, size), ==, 0);
        g_assert_true(type != SOCK_STREAM || listen(fd, 1) == 0);
        g_assert_cmpint(getsockname(fd, (struct sockaddr *)&a, &size), ==, 0);
        *ret_port = ntohs(a.sin_port);
        return fd;
}

G_GNUC_PRINTF(2, 3) static int try(char **ret_message, const char *format, ...)
{
        g_autoptr(GError) error = NULL;
        g_autofree char *forwards = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        forwards = g_strdup_vprintf(format, ap);
        va_end(ap);
        r = domus_ports_try(forwards, "net0", &error);
        g_assert_true((r < 0) == (error != NULL));
        g_free(*ret_message);
        *ret_message = error ? g_strdup(error->message) : NULL;
        return r;
}

static void test_taken(void)
{
        g_autofree char *message = NULL, *wanted = NULL;
        unsigned port, udp;
        int fd = listen_somewhere(SOCK_STREAM, &port), udp_fd = listen_somewhere(SOCK_DGRAM, &udp);

        g_assert_cmpint(try(&message, "tcp 127.0.0.1/%u:80\n", port), ==, -EADDRINUSE);
        wanted = g_strdup_printf("TCP port %u of the host, address 127.0.0.1 cannot be forwarded to interface 'net0': %s", port, g_strerror(EADDRINUSE));
        g_assert_cmpstr(message, ==, wanted);
        /* IPv6's would be free. */
        g_assert_cmpint(try(&message, "tcp %u\n", port), ==, -EADDRINUSE);
        g_assert_cmpint(try(&message, "udp 127.0.0.1/%u\n", udp), ==, -EADDRINUSE);
        g_assert_true(g_str_has_prefix(message, "UDP port"));
        /* One of a range; left out of it; another address. */
        g_assert_cmpint(try(&message, "tcp 127.0.0.1/%u-%u:2000-2001\n", port - 1, port), ==, -EADDRINUSE);
        g_assert_cmpint(try(&message, "tcp 127.0.0.1/%u,~%u\n", port, port), ==, 0);
        g_assert_cmpint(try(&message, "tcp 127.0.0.7/%u\n", port), ==, 0);
        close(fd);
        close(udp_fd);
        g_assert_cmpint(try(&message, "tcp 127.0.0.1/%u\nudp 127.0.0.1/%u\n", port, udp), ==, 0);
}

/* What takes what is free asks for nothing. */
static void test_any(void)
{
        g_autofree char *message = NULL;

        g_assert_cmpint(domus_ports_try(NULL, "net0", NULL), ==, 0);
        g_assert_cmpint(try(&message, "tcp all\nudp 127.0.0.1\ntcp %%lo\n"), ==, 0);
        g_assert_cmpint(try(&message, "tcp 192.0.2.77/2000\n"), ==, -EADDRNOTAVAIL);
}

static void test_complaint(void)
{
        static const char *const noise[] = { "Failed to send ", NULL };
        static const char text[] = "before\nFailed to send 5 bytes\n2026-01-01T00:00:00.000Z info: machine\nFailed to bind, exiting\n\nFailed to send 7 bytes\n"
                                   "2026-01-01T00:00:01.000Z info: machine\n";
        g_autofree char *dir = g_dir_make_tmp("domus-test-XXXXXX", NULL), *path = g_build_filename(dir, "log", NULL), *line = NULL;

        g_assert_cmpint(file_replace(path, text, strlen(text), 0600), ==, 0);
        line = domus_log_last_line_but(path, 0, noise);
        g_assert_cmpstr(line, ==, "Failed to bind, exiting");
        g_assert_null(domus_log_last_line_but(path, (off_t)(strstr(text, "Failed to send 7") - text), noise));
        unlink(path);
        rmdir(dir);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/device-ports/taken", test_taken);
        g_test_add_func("/device-ports/any", test_any);
        g_test_add_func("/device-ports/complaint", test_complaint);
        return g_test_run();
}
