/* SPDX-License-Identifier: GPL-2.0-or-later */

/* domus-vm attend: runs a program for as long as a VM exists. What serves a VM must outlive the daemon that started it, but not the VM, also if both are killed at once: so its parent is this
 * process, which waits for the end of either. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "hv/main/commands.h"
#include "hv/main/sandbox.h"

/* SIGTERM is sent so often, and then SIGKILL: a program that is the first of a PID namespace misses it until it has a handler. */
#define TERM_MS 100
#define TERM_TIMES 100
#define EXIT_NOT_RUN 127

struct attendant {
        int alive_fd;  /* the reading end of a FIFO whose writing end the VM has */
        int signal_fd; /* SIGTERM, SIGCHLD */
        pid_t child;
        int status;    /* the exit status to be */
        unsigned told; /* how often our whole process group was told to end */
};

static bool parse(struct attendant *a, int argc, char **argv)
{
        char *end;

        if (argc < 5 || strcmp(argv[1], "--alive-fd") != 0 || strcmp(argv[3], "--") != 0)
                return false;
        a->alive_fd = (int)strtol(argv[2], &end, 10);
        return *argv[2] && !*end && a->alive_fd > STDERR_FILENO && fd_set_cloexec(a->alive_fd, true) == 0;
}

static void signals_of_interest(sigset_t *set)
{
        sigemptyset(set);
        sigaddset(set, SIGTERM);
        sigaddset(set, SIGCHLD);
}

/* As this process was started: nothing blocked, nothing ignored. */
static void run_program(char **argv)
{
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], argv);
        fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(EXIT_NOT_RUN);
}

static bool start(struct attendant *a, char **argv)
{
        sigset_t set;

        signals_of_interest(&set);
        sigprocmask(SIG_BLOCK, &set, NULL);
        a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        /* What the program leaves behind is ours, too. */
        if (a->signal_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return false;
        a->child = fork();
        if (a->child == 0)
                run_program(argv);
        /* The program's sockets are its own. */
        sandbox_close_others((int[]){ a->alive_fd, a->signal_fd }, 2);
        return a->child > 0;
}

/* Does anybody live? */
static bool reap(struct attendant *a)
{
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                if (pid == a->child && a->told == 0)
                        a->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return pid == 0;
}

static void end_group(struct attendant *a)
{
        /* SIGKILL is the end of this process, too. */
        kill(0, ++a->told > TERM_TIMES ? SIGKILL : SIGTERM);
}

static void take_signals(struct attendant *a)
{
        struct signalfd_siginfo si;

        while (read(a->signal_fd, &si, sizeof(si)) > 0)
                if (si.ssi_signo == SIGTERM && a->told == 0)
                        end_group(a);
}

static void attend(struct attendant *a)
{
        while (reap(a)) {
                struct pollfd fds[] = { { .fd = a->signal_fd, .events = POLLIN }, { .fd = a->told ? -1 : a->alive_fd } };
                int n = poll(fds, 2, a->told ? TERM_MS : -1);

                if (fds[0].revents)
                        take_signals(a);
                if (n == 0 || fds[1].revents) /* still there, or the VM is gone */
                        end_group(a);
        }
}

int command_attend(int argc, char **argv)
{
        struct attendant a = { .alive_fd = -1 };

        if (!parse(&a, argc, argv)) {
                fputs("usage: domus-vm attend --alive-fd N -- PROGRAM [ARGUMENTS]\n", stderr);
                return EXIT_NOT_RUN;
        }
        if (!start(&a, argv + 4)) {
                fprintf(stderr, "cannot attend to %s: %s\n", argv[4], strerror(errno));
                return EXIT_NOT_RUN;
        }
        attend(&a);
        return a.status;
}
