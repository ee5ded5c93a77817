/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/trouble.h"

#include <stdarg.h>
#include <stdio.h>

int trouble_say(struct trouble *t, int error, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(t->text, sizeof(t->text), fmt, ap);
        va_end(ap);
        return error;
}
