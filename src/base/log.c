/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static _Atomic int log_fd = STDERR_FILENO;
static _Atomic int log_threshold = -1;

static int threshold(void)
{
        int level = atomic_load_explicit(&log_threshold, memory_order_relaxed);

        if (level < 0) {
                level = getenv("DOMUS_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
                atomic_store_explicit(&log_threshold, level, memory_order_relaxed);
        }
        return level;
}

void log_set_level(enum log_level level)
{
        atomic_store(&log_threshold, (int)level);
}

void log_set_fd(int fd)
{
        atomic_store(&log_fd, fd);
}

void log_line(enum log_level level, const char *fmt, ...)
{
        static const char *const names[] = { "debug", "info", "warning", "error" };
        char line[1024];
        struct timespec ts;
        struct tm tm;
        int saved_errno = errno;
        size_t n;
        va_list ap;

        if ((int)level < threshold())
                return;

        clock_gettime(CLOCK_REALTIME, &ts);
        gmtime_r(&ts.tv_sec, &tm);
        n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
        n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %s: ", ts.tv_nsec / 1000000, names[level]);

        va_start(ap, fmt);
        int r = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
        va_end(ap);
        if (r > 0)
                n += (size_t)r;
        if (n > sizeof(line) - 2)
                n = sizeof(line) - 2;
        line[n++] = '\n';
        if (write(atomic_load(&log_fd), line, n) < 0) {
                /* There is nowhere left to say so. */
        }
        errno = saved_errno;
}
