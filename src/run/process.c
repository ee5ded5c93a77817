/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "run/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include "base/fd.h"

#define FDS_MAX 34
/* Above all numbers that a child's descriptors get, so that no dup2 takes the source of a later one. */
#define LIFTED_FD 64

static int add_files(posix_spawn_file_actions_t *actions, const int *fds, size_t n_fds, int *lifted)
{
        posix_spawn_file_actions_addchdir_np(actions, "/");
        posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        for (size_t i = 0; i < n_fds; i++) {
                lifted[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, LIFTED_FD);
                if (lifted[i] < 0)
                        return -errno;
                posix_spawn_file_actions_adddup2(actions, lifted[i], STDOUT_FILENO + (int)i);
        }
        posix_spawn_file_actions_addclosefrom_np(actions, STDOUT_FILENO + (int)n_fds);
        return 0;
}

static void set_attributes(posix_spawnattr_t *attr)
{
        sigset_t none, all;

        sigemptyset(&none);
        sigfillset(&all);
        posix_spawnattr_setsigmask(attr, &none);
        posix_spawnattr_setsigdefault(attr, &all);
        posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

int domus_process_spawn(const char *const *argv, const char *const *envp, const int *fds, size_t n_fds, pid_t *ret_pid)
{
        int lifted[FDS_MAX];
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        int r;

        if (n_fds > FDS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n_fds; i++)
                lifted[i] = -1;
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attr);
        set_attributes(&attr);
        r = add_files(&actions, fds, n_fds, lifted);
        if (r == 0)
                r = -posix_spawnp(ret_pid, argv[0], &actions, &attr, (char *const *)argv, (char *const *)envp);
        posix_spawnattr_destroy(&attr);
        posix_spawn_file_actions_destroy(&actions);
        for (size_t i = 0; i < n_fds; i++)
                fd_close(lifted[i]);
        return r;
}
