/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Replaces path by a file with the given bytes and mode so that, even across a crash or a full disk, path holds
 * either the old or the whole new content: temporary file beside it, fsync, rename, fsync of the directory.
 * Returns 0 or negative errno; on failure the old content is untouched and no temporary file stays behind. */
int file_replace(const char *path, const void *data, size_t n, mode_t mode);
/* Reads a whole file of at most max bytes into a fresh NUL-terminated buffer (*ret, free(3) it); its length goes to
 * *ret_len if that is not NULL. -EFBIG if the file is larger. Works on /proc files. */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len);
/* mkdir -p: makes path and its missing parents with the given mode. */
int file_make_dirs(const char *path, mode_t mode);
