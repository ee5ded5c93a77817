/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the system call filter lets through and what not; each attempt in a process of its own. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "hv/bus/check.h"
#include "hv/main/sandbox.h"

static int pty_master, pty_slave;
static pid_t parent;
static void *memory;
#define MEMORY_SIZE 4096

/* The wait status of a process that confines itself, then does fn: exit status 0 if fn returns >= 0, else errno. */
static int confined(long (*fn)(void))
{
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0) {
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || sandbox_filter() < 0)
                        _exit(255);
                _exit(fn() < 0 ? errno : 0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        return status;
}

static bool works(long (*fn)(void))
{
        int status = confined(fn);

        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool fails(long (*fn)(void), int error)
{
        int status = confined(fn);

        return WIFEXITED(status) && WEXITSTATUS(status) == error;
}

static bool kills(long (*fn)(void))
{
        int status = confined(fn);

        return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static void *nothing(void *arg)
{
        return arg;
}

static long make_thread(void)
{
        pthread_t t;

        errno = pthread_create(&t, NULL, nothing, NULL);
        return errno ? -1 : pthread_join(t, NULL);
}

static long signal_self(void)
{
        return syscall(SYS_tgkill, getpid(), gettid(), 0);
}

static long flush_pty(void)
{
        struct termios tio;

        return tcgetattr(pty_slave, &tio) < 0 ? -1 : tcflush(pty_slave, TCIFLUSH);
}

static long copy_fd(void)
{
        return fcntl(0, F_DUPFD_CLOEXEC, 3) < 0 ? -1 : fcntl(0, F_GETFL);
}

static long read_limit(void)
{
        struct rlimit limit;

        return getrlimit(RLIMIT_NOFILE, &limit);
}

/* The call itself: the C library's function is mprotect where the key is -1, as it is on a host without keys. */
static long set_key(int protection, int key)
{
        return syscall(SYS_pkey_mprotect, memory, MEMORY_SIZE, protection, key);
}

static long give_key(void)
{
        int key = pkey_alloc(0, 0);

        if (key < 0)
                return errno == ENOSYS ? -1 : set_key(PROT_READ | PROT_WRITE, -1);
        return set_key(PROT_READ | PROT_WRITE, key) < 0 || set_key(PROT_READ, 0) < 0 ? -1 : pkey_free(key);
}

static long give_key_to_code(void)
{
        return set_key(PROT_READ | PROT_EXEC, -1);
}

static long open_file(void)
{
        return open("/", O_RDONLY);
}

static long make_process(void)
{
        long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

        if (pid == 0)
                _exit(0);
        return pid;
}

static long make_namespace(void)
{
        long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

        if (pid == 0)
                _exit(0);
        return pid;
}

static long clone_by_structure(void)
{
        return syscall(SYS_clone3, NULL, 0);
}

static long signal_parent(void)
{
        return kill(parent, 0);
}

static long signal_parent_thread(void)
{
        return syscall(SYS_tgkill, parent, parent, 0);
}

static long direct_signals(void)
{
        return fcntl(pty_slave, F_SETOWN, parent);
}

static long choose_signal(void)
{
        return fcntl(pty_slave, F_SETSIG, SIGKILL);
}

static long direct_signals_by_ioctl(void)
{
        return ioctl(pty_slave, FIOSETOWN, &parent);
}

static long type_on_terminal(void)
{
        return ioctl(pty_slave, TIOCSTI, "x");
}

static long change_limit(void)
{
        struct rlimit limit = { 0 };

        return setrlimit(RLIMIT_CORE, &limit);
}

static long parents_limit(void)
{
        struct rlimit limit;

        return prlimit(parent, RLIMIT_NOFILE, NULL, &limit);
}

static long make_socket(void)
{
        return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long execute(void)
{
        return execl("/bin/true", "true", NULL);
}

static long trace(void)
{
        return ptrace(PTRACE_SEIZE, parent, 0, 0);
}

static void test_needed(void)
{
        CHECK(works(make_thread));
        CHECK(works(signal_self));
        CHECK(works(flush_pty));
        CHECK(works(copy_fd));
        CHECK(works(read_limit));
        CHECK(works(give_key));
}

static void test_refused(void)
{
        CHECK(fails(open_file, EACCES));
        CHECK(fails(make_process, ENOSYS));
        CHECK(fails(make_namespace, ENOSYS));
        CHECK(fails(clone_by_structure, ENOSYS));
        CHECK(fails(signal_parent, ENOSYS));
        CHECK(fails(signal_parent_thread, ENOSYS));
        CHECK(fails(direct_signals, ENOSYS));
        CHECK(fails(choose_signal, ENOSYS));
        CHECK(fails(direct_signals_by_ioctl, ENOSYS));
        CHECK(fails(type_on_terminal, ENOSYS));
        CHECK(fails(change_limit, ENOSYS));
        CHECK(fails(parents_limit, ENOSYS));
        CHECK(fails(give_key_to_code, ENOSYS));
}

static void test_deadly(void)
{
        CHECK(kills(make_socket));
        CHECK(kills(execute));
        CHECK(kills(trace));
}

int main(void)
{
        parent = getpid();
        CHECK_EQ(openpty(&pty_master, &pty_slave, NULL, NULL, NULL), 0);
        memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED);
        test_needed();
        test_refused();
        test_deadly();
        return 0;
}
