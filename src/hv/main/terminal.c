/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/terminal.h"

#include <unistd.h>

#define CTRL_A 0x01
#define CTRL_CLOSE_BRACKET 0x1d

void terminal_enter(struct terminal *t)
{
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &t->saved) < 0)
                return;
        raw = t->saved;
        cfmakeraw(&raw);
        t->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void terminal_restore(struct terminal *t)
{
        if (!t->raw)
                return;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
        t->raw = false;
}

size_t terminal_filter(void *opaque, uint8_t *buf, size_t n)
{
        struct terminal *t = opaque;
        size_t out = 0;

        if (!t->raw)
                return n;
        for (size_t i = 0; i < n; i++) {
                uint8_t c = buf[i];
                bool prefix = t->prefix;

                t->prefix = false;
                if (c == CTRL_CLOSE_BRACKET || (prefix && (c == 'x' || c == 'X')))
                        t->leave(t->opaque);
                else if (c == CTRL_A && !prefix)
                        t->prefix = true;
                else
                        buf[out++] = c; /* Ctrl-A twice sends one */
        }
        return out;
}
