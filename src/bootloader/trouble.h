/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "base/macros.h"

/* What went wrong, in words for the administrator. Functions that take one return negative errno and have filled it then. */
struct trouble {
        char text[512];
};

/* Says it and returns error, a negative errno. */
int trouble_say(struct trouble *t, int error, const char *fmt, ...) DOMUS_PRINTF(3, 4);
