/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

int sandbox_end_with_caller(void)
{
        return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

/* For builds with sanitizers, whose run-time reads /proc, opens files and traces the process. */
int sandbox_enter(const struct sandbox *s)
{
        return 0;
}
