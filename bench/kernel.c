/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Kernel-heavy loads: what they cost is system calls, faults and switches. The program keeps itself to one CPU, because what a
 * second one brings is another question. The environment may name a tmpfs directory (BENCH_TMP) and the program that
 * fork-exec runs (BENCH_EXIT).
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

#define PAGE 4096
/* What a child that ended well returned. */
#define CHILD_STATUS 7

static const char *environment(const char *name, const char *otherwise)
{
        const char *value = getenv(name);

        return value ? value : otherwise;
}

static pid_t start_child(void)
{
        pid_t pid = fork();

        if (pid < 0)
                load_fail("fork");
        return pid;
}

static uint64_t child_status(pid_t pid)
{
        int status;

        if (waitpid(pid, &status, 0) != pid)
                load_fail("waitpid");
        return WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 1000 + (uint64_t)status;
}

/* --- System calls -------------------------------------------------------------------------------------------------------- */

static uint64_t run_syscall(unsigned n)
{
        uint64_t sum = 0;
        long parent = getppid();

        while (n-- > 0)
                sum += syscall(SYS_getppid) == parent;
        return sum;
}

/* --- A byte to and fro between two processes ----------------------------------------------------------------------------- */

static void echo_bytes(int in, int out)
{
        uint8_t b;

        while (read(in, &b, 1) == 1) {
                b = (uint8_t)(b * 3 + 1);
                if (write(out, &b, 1) != 1)
                        break;
        }
        _exit(CHILD_STATUS);
}

static uint64_t run_pipe(unsigned n)
{
        int to[2], fro[2];
        uint8_t b = 1;
        uint64_t sum = 0;
        pid_t pid;

        if (pipe(to) < 0 || pipe(fro) < 0)
                load_fail("pipe");
        pid = start_child();
        if (pid == 0) {
                close(to[1]);
                echo_bytes(to[0], fro[1]);
        }
        close(to[0]);
        close(fro[1]);
        while (n-- > 0) {
                if (write(to[1], &b, 1) != 1 || read(fro[0], &b, 1) != 1)
                        load_fail("pipe");
                sum = sum * 31 + b;
        }
        close(to[1]);
        close(fro[0]);
        return sum * 31 + child_status(pid);
}

/* --- Switches between two processes that wait for each other ------------------------------------------------------------- */

/* The turn goes 0, 1, 2 …; who = 0 has the even ones. Returns at the turn that is the other's and the last. */
static void take_turns(_Atomic uint32_t *turn, uint32_t who, uint32_t last)
{
        for (;;) {
                uint32_t now = *turn;

                if (now == last)
                        return;
                if ((now & 1) != who) {
                        syscall(SYS_futex, turn, FUTEX_WAIT, now, NULL, NULL, 0);
                        continue;
                }
                *turn = now + 1;
                syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
        }
}

static uint64_t run_switch(unsigned n)
{
        void *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        _Atomic uint32_t *turn = shared;
        uint64_t sum;
        pid_t pid;

        if (shared == MAP_FAILED)
                load_fail("mmap");
        pid = start_child();
        if (pid == 0) {
                take_turns(turn, 1, n);
                _exit(CHILD_STATUS);
        }
        take_turns(turn, 0, n);
        sum = child_status(pid) * 31 + *turn;
        munmap(shared, PAGE);
        return sum;
}

/* --- Processes ----------------------------------------------------------------------------------------------------------- */

static uint64_t run_fork(unsigned n)
{
        uint64_t sum = 0;

        while (n-- > 0) {
                pid_t pid = start_child();

                if (pid == 0)
                        _exit(CHILD_STATUS);
                sum = sum * 31 + child_status(pid);
        }
        return sum;
}

static uint64_t run_fork_exec(unsigned n)
{
        const char *program = environment("BENCH_EXIT", "/bin/bench-exit");
        uint64_t sum = 0;

        while (n-- > 0) {
                pid_t pid = start_child();

                if (pid == 0) {
                        execl(program, program, (char *)NULL);
                        _exit(127);
                }
                if (child_status(pid) != CHILD_STATUS) {
                        errno = ENOEXEC;
                        load_fail(program);
                }
                sum = sum * 31 + CHILD_STATUS;
        }
        return sum;
}

/* --- Page faults --------------------------------------------------------------------------------------------------------- */

#define FAULT_PAGES 64

/* n pages are touched, in mappings of FAULT_PAGES. The rest of a page must be zero. */
static uint64_t run_fault(unsigned n)
{
        uint64_t sum = 0;

        for (; n >= FAULT_PAGES; n -= FAULT_PAGES) {
                volatile uint8_t *p = mmap(NULL, FAULT_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        load_fail("mmap");
                for (unsigned i = 0; i < FAULT_PAGES; i++) {
                        p[i * PAGE] = (uint8_t)(i + 1);
                        sum = sum * 31 + p[i * PAGE] + p[i * PAGE + PAGE - 1];
                }
                munmap((void *)p, FAULT_PAGES * PAGE);
        }
        return sum;
}

/* --- Files in a tmpfs ---------------------------------------------------------------------------------------------------- */

static uint64_t run_file(unsigned n)
{
        char path[256], text[64];
        uint64_t sum = 0;
        struct stat st;

        for (unsigned i = 0; i < n; i++) {
                size_t len = (size_t)snprintf(text, sizeof(text), "file number %u", i);
                int fd;

                snprintf(path, sizeof(path), "%s/domus-bench.%u", environment("BENCH_TMP", "/tmp"), i % 100);
                fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd < 0 || write(fd, text, len) != (ssize_t)len || fstat(fd, &st) < 0 || close(fd) < 0 || unlink(path) < 0)
                        load_fail(path);
                sum = sum * 31 + (uint64_t)st.st_size;
        }
        return sum;
}

/* --- Signals ------------------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t signals;

static void on_signal(int number)
{
        signals++;
}

static uint64_t run_signal(unsigned n)
{
        struct sigaction act = { .sa_handler = on_signal }, old;

        signals = 0;
        if (sigaction(SIGUSR1, &act, &old) < 0)
                load_fail("sigaction");
        for (unsigned i = 0; i < n; i++)
                raise(SIGUSR1);
        sigaction(SIGUSR1, &old, NULL);
        return (uint64_t)signals;
}

/* --- Bytes through a pipe, which the kernel copies ----------------------------------------------------------------------- */

#define COPY_BYTES 32768

static uint64_t run_copy(unsigned n)
{
        static uint8_t in[COPY_BYTES], out[COPY_BYTES];
        uint64_t seed = 5, sum = 0;
        int fd[2];

        for (size_t i = 0; i < COPY_BYTES; i++)
                out[i] = (uint8_t)load_random(&seed);
        if (pipe(fd) < 0)
                load_fail("pipe");
        for (unsigned i = 0; i < n; i++) {
                out[i % COPY_BYTES]++;
                if (write(fd[1], out, COPY_BYTES) != COPY_BYTES || read(fd[0], in, COPY_BYTES) != COPY_BYTES)
                        load_fail("pipe");
                sum = sum * 31 + in[i % COPY_BYTES];
        }
        close(fd[0]);
        close(fd[1]);
        return load_sum(sum, in, COPY_BYTES);
}

static const struct load loads[] = {
        { "syscall", run_syscall, 1000, NULL, NULL },
        { "pipe", run_pipe, 1000, NULL, NULL },
        { "switch", run_switch, 1000, NULL, NULL },
        { "fork", run_fork, 10, NULL, NULL },
        { "fork-exec", run_fork_exec, 10, NULL, NULL },
        { "fault", run_fault, FAULT_PAGES * 4, NULL, NULL },
        { "file", run_file, 20, NULL, NULL },
        { "signal", run_signal, 200, NULL, NULL },
        { "copy", run_copy, 50, NULL, NULL },
};

int main(int argc, char **argv)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(0, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                load_fail("sched_setaffinity");
        return load_main(loads, NELEMENTS(loads), LOAD_TIME, argc, argv);
}
