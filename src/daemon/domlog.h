/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The log file of a domain: the daemon's remarks, domus-vm's own lines and the guest's console. */

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Opens LOG_DIR/<name>.log for appending (0600), after moving one of more than 2 MiB away to <name>.log.old. Returns a
 * descriptor, and the path in *ret_path (g_free); or -1 and DOMUS_ERROR_SYSTEM. */
int domus_log_open(const char *log_dir, const char *name, char **ret_path, GError **error);
/* Appends a line with a time stamp; failure (a full disk) is nobody's concern. */
void domus_log_note(const char *path, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The last line that was written at or after the offset, printable and without time stamp; NULL if there is none. g_free. */
char *domus_log_last_line(const char *path, off_t from);
/* What follows the last occurrence of prefix in its line, of what was written at or after the offset, printable; NULL if there is none. g_free. */
char *domus_log_find_last(const char *path, off_t from, const char *prefix);
/* The file's size now; 0 if unknown. */
/* The last line that is not blank, not of those who write the time before theirs, and does not begin with one of these (NULL-terminated); g_free. NULL: there is none. */
char *domus_log_last_line_but(const char *path, off_t from, const char *const *prefixes);
off_t domus_log_size(const char *path);
