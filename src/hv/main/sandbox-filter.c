/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/macros.h"
#include "hv/main/sandbox.h"

/* What the main loop, the control server, the loaders, the devices and the engines call. */
static const int allowed[] = {
        /* Files that are already open. */
        SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write), SCMP_SYS(writev),
        SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(fstatfs),
        SCMP_SYS(newfstatat), SCMP_SYS(dup), SCMP_SYS(dup3), SCMP_SYS(fallocate),
        SCMP_SYS(ftruncate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(pipe2), SCMP_SYS(fadvise64),
        /* Images: the ring that is there already, see block/ring.h. Another one would be a way around this filter. */
        SCMP_SYS(io_uring_enter),
        /* Memory. */
        SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(brk),
        SCMP_SYS(memfd_create), SCMP_SYS(mincore), SCMP_SYS(membarrier), SCMP_SYS(msync), SCMP_SYS(mlock),
        SCMP_SYS(munlock), SCMP_SYS(pkey_alloc), SCMP_SYS(pkey_free),
        /* Threads and signals. */
        SCMP_SYS(futex), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(gettid),
        SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getcpu),
        SCMP_SYS(set_tid_address),
        SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait),
        SCMP_SYS(rt_sigsuspend), SCMP_SYS(rt_sigpending), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
        SCMP_SYS(arch_prctl), SCMP_SYS(pause),
        /* Time. */
        SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
        SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
        SCMP_SYS(timerfd_gettime), SCMP_SYS(timer_create), SCMP_SYS(timer_settime), SCMP_SYS(timer_delete),
        /* The event loop. */
        SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_create1),
        SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(eventfd2),
        /* The control connection. */
        SCMP_SYS(accept4), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(shutdown),
        SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
        /* Itself. */
        SCMP_SYS(getrandom), SCMP_SYS(getrusage), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
        SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrlimit),
};

/* Without those that direct signals (F_SETOWN, F_SETSIG) at whoever has the same user. */
static const int fcntl_commands[] = {
        F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS, F_GET_SEALS,
};

/* What the console does with its pty, and network cards with their taps. KVM's are let through as a whole: only its own descriptors know
 * them. */
static const unsigned ioctl_requests[] = { TCGETS, TCSETS, TCFLSH, TUNGETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD, TUNSETQUEUE };
#define IOCTL_TYPE_MASK 0xff00u
#define IOCTL_TYPE_KVM 0xae00u

/* Looking for a file is met by libraries with a fallback. */
static const int refused[] = {
        SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(statx), SCMP_SYS(access),
        SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
};

/* Nothing here is ever called by us: whoever does has taken the process over. */
static const int deadly[] = {
        SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
        SCMP_SYS(openat2), SCMP_SYS(open_by_handle_at), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root),
        SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf), SCMP_SYS(init_module), SCMP_SYS(finit_module),
        SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(setuid), SCMP_SYS(setresuid), SCMP_SYS(setgid),
        SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(userfaultfd), SCMP_SYS(perf_event_open),
        SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
};

static int add(scmp_filter_ctx ctx, uint32_t action, const int *calls, unsigned n)
{
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < n; i++)
                r = seccomp_rule_add(ctx, action, calls[i], 0);
        return r;
}

/* Only threads of this process, in its namespaces. The flags of clone3 lie in memory, where no filter sees them: that call stays
 * refused, and the C library falls back to clone. */
static int allow_threads(scmp_filter_ctx ctx)
{
        const uint64_t wanted = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
        const uint64_t mask = wanted | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                              CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE;

        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, mask, wanted));
}

/* The kernel looks at the lower 32 bits of these arguments only, so does the filter. */
static int allow_descriptors(scmp_filter_ctx ctx)
{
        int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                SCMP_A1(SCMP_CMP_MASKED_EQ, IOCTL_TYPE_MASK, IOCTL_TYPE_KVM));

        for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(ioctl_requests); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                        SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, ioctl_requests[i]));
        for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(fcntl_commands); i++)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                        SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)fcntl_commands[i]));
        return r;
}

/* Its own threads may be signalled (abort, pthread_kill), and its own limits read. */
static int allow_self(scmp_filter_ctx ctx)
{
        int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)getpid()));

        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
                        SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, 0), SCMP_A2(SCMP_CMP_EQ, 0));
        if (r >= 0)
                r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
        return r;
}

/* The engine gives memory another key only where data is. */
static int allow_keys(scmp_filter_ctx ctx)
{
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(pkey_mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

int sandbox_filter(void)
{
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        int r;

        if (!ctx)
                return -ENOMEM;
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r >= 0)
                r = add(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
        if (r >= 0)
                r = add(ctx, SCMP_ACT_ERRNO(EACCES), refused, ARRAY_SIZE(refused));
        if (r >= 0)
                r = allow_threads(ctx);
        if (r >= 0)
                r = allow_descriptors(ctx);
        if (r >= 0)
                r = allow_self(ctx);
        if (r >= 0)
                r = allow_keys(ctx);
        if (r >= 0)
                r = add(ctx, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_SIZE(deadly));
        if (r >= 0)
                r = seccomp_load(ctx);
        seccomp_release(ctx);
        if (r < 0)
                log_warning("sandbox: no system call filter: %s", strerror(-r));
        return r < 0 ? r : 0;
}
