/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The probe always answers, says why, and is quick; whatever this machine's /dev/kvm is. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hv/engine/probe.h"

#define CHECK(cond)                                                                                         \
        do {                                                                                                \
                if (!(cond)) {                                                                              \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                          \
                        exit(1);                                                                            \
                }                                                                                           \
        } while (0)

static double seconds(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(void)
{
        struct engine_probe p;
        sigset_t before, after;
        double start;
        int fd;

        engine_probe_kvm(-ENOENT, &p);
        CHECK(!p.kvm && strstr(p.reason, "No such file"));
        engine_probe_kvm(-EACCES, &p);
        CHECK(!p.kvm && strstr(p.reason, "Permission denied"));

        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        engine_probe_kvm(fd, &p);
        CHECK(!p.kvm && strstr(p.reason, "not the KVM interface"));
        close(fd);

        fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        pthread_sigmask(SIG_SETMASK, NULL, &before);
        start = seconds();
        engine_probe_kvm(fd < 0 ? -errno : fd, &p);
        printf("%s: %s (%.1f ms)\n", p.kvm ? "hardware" : "software", p.reason, (seconds() - start) * 1e3);
        CHECK(p.reason[0]);
        CHECK(seconds() - start < 1); /* 150 ms where the machine is idle */
        pthread_sigmask(SIG_SETMASK, NULL, &after);
        for (int sig = 1; sig <= SIGRTMAX; sig++)
                CHECK(sigismember(&before, sig) == sigismember(&after, sig));
        if (fd >= 0)
                close(fd);
        return 0;
}
