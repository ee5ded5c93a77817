/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* Any directory that every system has, to hang the new root on. */
#define NEW_ROOT "/tmp"

static int empty_root(void)
{
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("none", NEW_ROOT, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0555,nr_inodes=1") < 0 ||
                chdir(NEW_ROOT) < 0)
                return -errno;
        /* pivot_root(2): with both names the same, the old root lies on top and is taken off. */
        if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                return -errno;
        return 0;
}

static void isolate(void)
{
        int r;

        if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS) < 0) {
                log_debug("sandbox: no namespaces of its own: %m");
                return;
        }
        r = empty_root();
        if (r < 0)
                log_warning("sandbox: no empty root: %s", strerror(-r));
}

static int drop_user(const struct sandbox_user *user)
{
        if (!user->drop)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
                setresuid(user->uid, user->uid, user->uid) < 0) {
                log_error("sandbox: cannot become user %u, group %u: %m", (unsigned)user->uid, (unsigned)user->gid);
                return -errno;
        }
        return 0;
}

/* While this user may still do so; what runs later could not use them anyhow. */
static void drop_bounding_set(void)
{
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return;
}

static void limit(void)
{
        struct rlimit none = { 0 };

        if (setrlimit(RLIMIT_CORE, &none) < 0)
                log_debug("sandbox: core dumps stay on: %m");
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                log_warning("sandbox: no_new_privs: %m");
}

int sandbox_enter(const struct sandbox_user *user)
{
        int r;

        /* The time zone's file is read now or never. */
        tzset();
        isolate();
        drop_bounding_set();
        r = drop_user(user);
        limit();
        return r;
}
