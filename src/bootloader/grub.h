/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* As much of GRUB's script language (GRUB manual 2.06, chapter 6) as the menus of distributions need. Everything before and in a menu entry is run as
 * it is read; loops and functions are passed over, and commands that are not known do nothing and fail. */

#include <stdbool.h>
#include <stdint.h>

#include "bootloader/config.h"

#define GRUB_WORDS_MAX 256
#define GRUB_VARS_MAX 128
#define GRUB_DEPTH_MAX 32
/* Bytes that variables may put into words, and commands, in all. */
#define GRUB_WORK_MAX ((size_t)4 << 20)
/* The device that the configuration is on. */
#define GRUB_OWN_DEVICE "domus"

struct grub_vars {
        unsigned n;
        struct {
                const char *name, *value;
        } vars[GRUB_VARS_MAX];
};

struct grub_word {
        const char *s;
        bool plain; /* nothing in it was quoted or a variable's: it may be a keyword */
};

struct grub_line {
        unsigned n;
        struct grub_word words[GRUB_WORDS_MAX];
        bool block; /* it ended in an opening brace */
};

struct grub {
        struct config *config;
        struct pool *pool;
        const char *at, *end;
        struct grub_vars vars;
        bool status; /* of the last command: true is success */
        unsigned depth, files;
        size_t work;
        int parent, entry; /* in the menu; -1: none */
};

/* --- grub-lex.c --- */

enum grub_end { GRUB_END_FILE, GRUB_END_KEYWORD, GRUB_END_LINE };

/* The next command: words with their variables' values, without them if not active. GRUB_END_KEYWORD: the line is one of the words that end a block, and the
 * only word. */
int grub_next(struct grub *g, bool active, struct grub_line *line, enum grub_end *end);
/* "" if there is none. */
const char *grub_get(const struct grub *g, const char *name);
/* value is the pool's. More variables than there is room for are dropped. */
void grub_set(struct grub *g, const char *name, const char *value);

/* --- grub-command.c --- */

/* Runs one command, which is no keyword. */
int grub_command(struct grub *g, const struct grub_line *line);
/* --- grub.c --- */
int grub_run_file(struct grub *g, const char *path);
