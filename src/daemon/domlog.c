/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/domlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "model/error.h"

#define SIZE_MAX_AT_START MiB(2)
#define TAIL_SIZE 4096
#define OPEN_FLAGS (O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW)

static void rotate(const char *path)
{
        g_autofree char *old = g_strconcat(path, ".old", NULL);

        if (domus_log_size(path) > (off_t)SIZE_MAX_AT_START && rename(path, old) < 0)
                log_warning("cannot rename '%s': %s", path, g_strerror(errno));
}

int domus_log_open(const char *log_dir, const char *name, char **ret_path, GError **error)
{
        g_autofree char *path = g_strconcat(log_dir, "/", name, ".log", NULL);
        int fd;

        rotate(path);
        fd = open(path, OPEN_FLAGS | O_CREAT, 0600);
        if (fd < 0) {
                int saved = errno;

                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open the log '%s': %s", path,
                        g_strerror(saved));
                return -1;
        }
        *ret_path = g_steal_pointer(&path);
        return fd;
}

void domus_log_note(const char *path, const char *format, ...)
{
        int DOMUS_CLOSE_FD fd = open(path, OPEN_FLAGS);
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
        g_autofree char *text = NULL;
        g_autofree char *line = NULL;
        va_list ap;

        if (fd < 0)
                return;
        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        line = g_strdup_printf("%s.%03dZ %s\n", stamp, g_date_time_get_microsecond(now) / 1000, text);
        if (fd_write_all(fd, line, strlen(line)) < 0)
                log_debug("cannot write to '%s'", path);
}

/* Drops base/log.h's "<time>Z <level>: ". */
static const char *without_stamp(const char *line)
{
        const char *z = strstr(line, "Z error: ");

        return z && z - line < 32 ? z + strlen("Z error: ") : line;
}

static char *printable(char *line)
{
        for (char *p = line; *p; p++) {
                if ((unsigned char)*p < ' ' || (unsigned char)*p >= 127)
                        *p = '?';
        }
        return line;
}

/* The last line of text that is not blank, cut in place. */
static char *last_line(char *text)
{
        char *line;

        g_strchomp(text);
        line = strrchr(text, '\n');
        return printable(line ? line + 1 : text);
}

/* The file's last part, not from before the offset, in a buffer of TAIL_SIZE + 1 bytes. */
static bool read_tail(const char *path, off_t from, char *buf)
{
        int DOMUS_CLOSE_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
        ssize_t n = fd < 0 ? -1 : fd_pread_full(fd, buf, TAIL_SIZE, MAX(from, end - TAIL_SIZE));

        buf[MAX(n, 0)] = 0;
        return n > 0;
}

char *domus_log_last_line(const char *path, off_t from)
{
        char text[TAIL_SIZE + 1];
        char *line;

        if (!read_tail(path, from, text))
                return NULL;
        line = last_line(text);
        return line[0] ? g_strdup(without_stamp(line)) : NULL;
}

char *domus_log_find_last(const char *path, off_t from, const char *prefix)
{
        char text[TAIL_SIZE + 1];
        char *line;

        if (!read_tail(path, from, text))
                return NULL;
        line = g_strrstr(text, prefix);
        if (!line)
                return NULL;
        line[strcspn(line, "\n")] = 0;
        return g_strdup(printable(g_strchomp(line)) + strlen(prefix));
}

static bool is_stamped(const char *line)
{
        const char *z = g_ascii_isdigit(*line) ? strstr(line, "Z ") : NULL;

        return z && z - line < 32;
}

static bool begins_with_any(const char *line, const char *const *prefixes)
{
        for (; *prefixes; prefixes++)
                if (g_str_has_prefix(line, *prefixes))
                        return true;
        return false;
}

char *domus_log_last_line_but(const char *path, off_t from, const char *const *prefixes)
{
        char text[TAIL_SIZE + 1];

        if (!read_tail(path, from, text))
                return NULL;
        for (char *line = last_line(text); line[0]; line = last_line(text)) {
                if (!is_stamped(line) && !begins_with_any(line, prefixes))
                        return g_strdup(line);
                *line = 0;
        }
        return NULL;
}

off_t domus_log_size(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 ? st.st_size : 0;
}
