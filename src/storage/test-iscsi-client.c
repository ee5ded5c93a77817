/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Portals that are none. The rest needs a target: tests/system/test_disk_servers.py. */

#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "model/error.h"
#include "storage/iscsi-client.h"

#define INITIATOR "iqn.2024-01.org.domus:test"
#define TARGET "iqn.2024-01.org.domus:none"

/* A socket at a port of the loopback device, and the port's name: g_free. */
static int make_portal(char **ret_portal)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *)&address, len), ==, 0);
        g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &len), ==, 0);
        *ret_portal = g_strdup_printf("127.0.0.1:%u", ntohs(address.sin_port));
        return fd;
}

/* Nobody listens. */
static void test_refused(void)
{
        g_autofree char *portal = NULL;
        int DOMUS_CLOSE_FD fd = make_portal(&portal);
        g_autoptr(GError) error = NULL;

        g_assert_null(iscsi_client_new(NULL, portal, INITIATOR, TARGET, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED);
        g_assert_nonnull(strstr(error->message, portal));
}

/* Somebody listens and says nothing; the daemon is to end. */
static void test_cancelled(void)
{
        g_autofree char *portal = NULL;
        int DOMUS_CLOSE_FD fd = make_portal(&portal);
        int DOMUS_CLOSE_FD event = eventfd(1, EFD_CLOEXEC);
        StorageCancel cancel = { .fd = event };
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(listen(fd, 1), ==, 0);
        g_assert_null(iscsi_client_new(&cancel, portal, INITIATOR, NULL, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_ABORTED);
}

/* Somebody answers what is no iSCSI. */
static gpointer answer(gpointer data)
{
        int DOMUS_CLOSE_FD fd = accept(GPOINTER_TO_INT(data), NULL, NULL);
        char nonsense[256];

        memset(nonsense, 'x', sizeof(nonsense));
        fd_write_all(fd, nonsense, sizeof(nonsense));
        while (read(fd, nonsense, sizeof(nonsense)) > 0)
                ;
        return NULL;
}

static void test_nonsense(void)
{
        g_autofree char *portal = NULL;
        int DOMUS_CLOSE_FD fd = make_portal(&portal);
        g_autoptr(GError) error = NULL;
        GThread *thread;

        g_assert_cmpint(listen(fd, 1), ==, 0);
        thread = g_thread_new("portal", answer, GINT_TO_POINTER(fd));
        g_assert_null(iscsi_client_new(NULL, portal, INITIATOR, TARGET, &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED);
        g_thread_join(thread);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/iscsi-client/refused", test_refused);
        g_test_add_func("/iscsi-client/cancelled", test_cancelled);
        g_test_add_func("/iscsi-client/nonsense", test_nonsense);
        return g_test_run();
}
