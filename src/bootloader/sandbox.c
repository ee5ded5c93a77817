/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/macros.h"
#include "bootloader/boot.h"

#define MEMORY_MAX MiB(512)
#define SECONDS_MAX 30

static int complain(const char *what, int error)
{
        fprintf(stderr, "%s: %s\n", what, strerror(error));
        return -error;
}

static void out_of_time(int sig)
{
        static const char message[] = "the image takes too long to read: it is damaged, or made to do so\n";

        if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0) {
                /* There is nowhere left to say so. */
        }
        _exit(1);
}

static int drop_user(const struct sandbox *s)
{
        if (s->drop && (setgroups(0, NULL) < 0 || setresgid(s->gid, s->gid, s->gid) < 0 || setresuid(s->uid, s->uid, s->uid) < 0))
                return complain("cannot change the user", errno);
        return 0;
}

static int limit(void)
{
        const struct {
                int resource;
                struct rlimit value;
        } limits[] = {
                { RLIMIT_AS, { MEMORY_MAX, MEMORY_MAX } },
                { RLIMIT_CPU, { SECONDS_MAX, SECONDS_MAX + 1 } },
                { RLIMIT_FSIZE, { INITRD_SIZE_MAX, INITRD_SIZE_MAX } },
                { RLIMIT_NOFILE, { INITRD_FD + 1, INITRD_FD + 1 } },
                { RLIMIT_CORE, { 0, 0 } },
        };

        if (signal(SIGXCPU, out_of_time) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return complain("signal", errno);
        for (unsigned i = 0; i < ARRAY_SIZE(limits); i++)
                if (setrlimit((__rlimit_resource_t)limits[i].resource, &limits[i].value) < 0)
                        return complain("setrlimit", errno);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return complain("prctl", errno);
        return 0;
}

/* Whatever takes no descriptor and gives no power. */
static const int allowed[] = {
        SCMP_SYS(exit_group), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(madvise), SCMP_SYS(rt_sigreturn), SCMP_SYS(getrandom),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(restart_syscall),
};

static const int writable[] = { STDOUT_FILENO, STDERR_FILENO, KERNEL_FD, INITRD_FD };

static int allow_socket(scmp_filter_ctx ctx)
{
        int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, IMAGE_FD));

        return r < 0 ? r : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(read), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, IMAGE_FD));
}

static int allow_descriptors(scmp_filter_ctx ctx, bool socket)
{
        int r = socket ? allow_socket(ctx) : 0;

        for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(writable); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
                        SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)writable[i]));
        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(pread64), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, IMAGE_FD));
        return r;
}

/* Memory of its own, never executable. */
static int allow_memory(scmp_filter_ctx ctx)
{
        int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));

        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mremap), 0);
        return r;
}

static int filter(bool socket)
{
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
        int r = ctx ? 0 : -ENOMEM;

        for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(allowed); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
        if (r >= 0)
                r = allow_descriptors(ctx, socket);
        if (r >= 0)
                r = allow_memory(ctx);
        if (r >= 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        return r < 0 ? complain("no system call filter", -r) : 0;
}

int sandbox_end_with_caller(void)
{
        return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? complain("prctl", errno) : 0;
}

int sandbox_enter(const struct sandbox *s)
{
        int r;

        close_range(INITRD_FD + 1, ~0u, 0);
        r = drop_user(s);
        if (r >= 0)
                r = sandbox_end_with_caller(); /* another user has to say it again */
        if (r >= 0)
                r = limit();
        return r < 0 ? r : filter(s->socket);
}
