/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/plug.h"

#include <stdarg.h>
#include <stdio.h>

int plug_fail(char **ret, int r, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        if (vasprintf(ret, format, args) < 0)
                *ret = NULL;
        va_end(args);
        return r;
}
