/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/sandbox.h"

/* For builds with sanitizers, whose run-time reads /proc, opens files and traces the process. */
int sandbox_enter(const struct sandbox *s)
{
        return 0;
}
