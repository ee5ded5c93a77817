/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Log lines go to one file descriptor (standard error unless log_set_fd was called), one write(2) per line,
 * each with a time stamp and a level. Safe to call from any thread. */

#include "base/macros.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* Lines below level are dropped. The start value is INFO, or DEBUG if DOMUS_DEBUG is set in the environment. */
void log_set_level(enum log_level level);
/* The descriptor stays the caller's and must outlive logging. */
void log_set_fd(int fd);

void log_line(enum log_level level, const char *fmt, ...) DOMUS_PRINTF(2, 3);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
