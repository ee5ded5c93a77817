/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

/* Standard input as the guest's keyboard: raw while it is a terminal. */
struct terminal {
        bool raw;
        struct termios saved;
        bool prefix; /* Ctrl-A was typed */
        void (*leave)(void *opaque); /* Ctrl-], or Ctrl-A X */
        void *opaque;
};

void terminal_enter(struct terminal *t);
void terminal_restore(struct terminal *t);
/* For serial_feed: takes the escape keys out; without a terminal everything passes. opaque: the terminal. */
size_t terminal_filter(void *opaque, uint8_t *buf, size_t n);
