/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "bootloader/pool.h"

/* Adds a string (RFC 8259), or null for NULL; bytes that are not UTF-8 become U+FFFD. */
void json_string(struct text *t, const char *s);
/* Adds , unless the text ends in an opening bracket or brace, then "name": */
void json_member(struct text *t, const char *name);
void json_number(struct text *t, unsigned n);
