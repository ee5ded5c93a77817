/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "run/boot.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"

#define STAMP_MAX 256
/* Of the fields behind the command's name in /proc/PID/stat, proc(5): starttime is field 22, the first of these is 3. */
#define START_FIELD 19

/* When process 1 started, in clock ticks since boot; NULL: not known. */
static char *init_start(void)
{
        g_auto(GStrv) fields = NULL;
        char *text, *behind, *ret = NULL;

        if (file_read("/proc/1/stat", 4096, &text, NULL) < 0)
                return NULL;
        behind = strrchr(text, ')');
        fields = behind ? g_strsplit(behind + 2, " ", -1) : NULL;
        if (fields && g_strv_length(fields) > START_FIELD)
                ret = g_strdup(fields[START_FIELD]);
        free(text);
        return ret;
}

static char *make_stamp(void)
{
        g_autofree char *start = init_start();
        char *boot_id = NULL, *stamp;

        if (file_read("/proc/sys/kernel/random/boot_id", STAMP_MAX, &boot_id, NULL) < 0)
                boot_id = NULL;
        stamp = g_strdup_printf("%.36s %s\n", boot_id ? boot_id : "", start ? start : "0");
        free(boot_id);
        return stamp;
}

bool domus_first_of_boot(const char *marker)
{
        g_autofree char *stamp = make_stamp();
        char *old = NULL;
        int r = file_read(marker, STAMP_MAX, &old, NULL);
        bool same = r == 0 && strcmp(old, stamp) == 0;

        free(old);
        if (same)
                return false;
        r = file_replace(marker, stamp, strlen(stamp), 0600);
        if (r < 0)
                log_error("cannot write '%s', so nothing is autostarted: %s", marker, g_strerror(-r));
        return r == 0;
}
