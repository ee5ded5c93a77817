/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/engine/probe.h"
#include "hv/main/commands.h"

int command_probe(int argc, char **argv)
{
        int DOMUS_CLOSE_FD fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        struct engine_probe probe;

        engine_probe_kvm(fd < 0 ? -errno : fd, &probe);
        printf("%s %s\n", probe.kvm ? "kvm" : "software", probe.reason);
        return 0;
}

static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
} commands[] = {
        { "run", command_run },
        { "serve", command_serve },
        { "probe", command_probe },
        { "attend", command_attend },
};

/* These reach the event loop through a descriptor; the vCPU threads inherit the mask and are left alone. */
static void block_signals(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                puts("domus-vm " DOMUS_VERSION);
                return 0;
        }
        block_signals();
        for (unsigned i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
                if (strcmp(argv[1], commands[i].name) == 0)
                        return commands[i].run(argc - 1, argv + 1);
        fputs("usage: domus-vm run --kernel FILE [OPTIONS]\n"
              "       domus-vm serve --control-fd N --log-fd M [--alive-fd O] [--user UID:GID]\n"
              "       domus-vm probe\n"
              "       domus-vm attend --alive-fd N -- PROGRAM [ARGUMENTS]\n"
              "       domus-vm --version\n",
                stderr);
        return 1;
}
