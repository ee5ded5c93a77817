/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/block/lone.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <time.h>

#include "base/macros.h"

#define PAGE 4096u
#define LEN_MAX MiB(1)
#define SLOW 1000000u        /* ns */
#define AWAY_MIN 10000000u   /* ns */
#define AWAY_MAX 2000000000u /* ns */
#define FORGET 32u           /* a quick write takes this part of away */
#define NAP 20000            /* ns */

/* Where the page cache is all that a write meets: no server, no other process. */
static bool is_local(int fd)
{
        struct statfs fs;

        if (fstatfs(fd, &fs) < 0)
                return false;
        switch ((unsigned)fs.f_type) {
        case EXT4_SUPER_MAGIC: /* ext2 and ext3 as well */
        case XFS_SUPER_MAGIC:
        case BTRFS_SUPER_MAGIC:
        case F2FS_SUPER_MAGIC:
        case TMPFS_MAGIC:
                return true;
        default:
                return false;
        }
}

bool lone_probe(int fd, bool regular)
{
        return !regular || is_local(fd);
}

bool lone_suits(const struct lone *lone, uint64_t offset, uint64_t len, uint64_t now)
{
        return lone->possible && atomic_load(&lone->state) == LONE_NONE && (offset | len) % PAGE == 0 && len <= LEN_MAX && now >= lone->away_until;
}

void lone_hold(struct lone *lone, int fd, const struct iovec *iov, unsigned n_iov, uint64_t offset)
{
        lone->fd = fd;
        lone->iov = iov;
        lone->n_iov = n_iov;
        lone->offset = offset;
        atomic_store(&lone->state, LONE_HELD);
}

static bool change(struct lone *lone, int from, int to)
{
        return atomic_compare_exchange_strong(&lone->state, &from, to);
}

bool lone_keep(struct lone *lone)
{
        return change(lone, LONE_HELD, LONE_KEPT);
}

bool lone_take_back(struct lone *lone, bool kept)
{
        return change(lone, LONE_HELD, LONE_NONE) || (kept && change(lone, LONE_KEPT, LONE_NONE));
}

bool lone_begin(struct lone *lone)
{
        return change(lone, LONE_KEPT, LONE_RUNNING);
}

void lone_run(struct lone *lone, const struct timer_loop *clock)
{
        uint64_t start = timer_now(clock);
        ssize_t n = pwritev(lone->fd, lone->iov, (int)lone->n_iov, (off_t)lone->offset);

        lone->result = n < 0 ? -errno : (int)n;
        lone->took = timer_now(clock) - start;
        atomic_store(&lone->state, LONE_DONE);
}

void lone_wait(const struct lone *lone)
{
        const struct timespec nap = { .tv_nsec = NAP };

        while (atomic_load(&lone->state) == LONE_RUNNING)
                nanosleep(&nap, NULL);
}

static void learn(struct lone *lone, uint64_t now)
{
        if (lone->took < SLOW) {
                lone->away -= lone->away / FORGET;
                return;
        }
        lone->away = lone->away < AWAY_MIN / 2 ? AWAY_MIN : lone->away < AWAY_MAX / 2 ? lone->away * 2 : AWAY_MAX;
        lone->away_until = now + lone->away;
}

bool lone_take_result(struct lone *lone, uint64_t now, int *ret)
{
        if (!change(lone, LONE_DONE, LONE_NONE))
                return false;
        learn(lone, now);
        *ret = lone->result;
        return true;
}
