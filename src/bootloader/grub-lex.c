/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/grub.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/macros.h"

const char *grub_get(const struct grub *g, const char *name)
{
        for (unsigned i = 0; i < g->vars.n; i++) {
                if (strcmp(g->vars.vars[i].name, name) == 0)
                        return g->vars.vars[i].value;
        }
        return "";
}

void grub_set(struct grub *g, const char *name, const char *value)
{
        struct grub_vars *v = &g->vars;

        for (unsigned i = 0; i < v->n; i++) {
                if (strcmp(v->vars[i].name, name) == 0) {
                        v->vars[i].value = value;
                        return;
                }
        }
        if (v->n == GRUB_VARS_MAX)
                return;
        v->vars[v->n].name = pool_strdup(g->pool, name);
        v->vars[v->n].value = value;
        v->n++;
}

struct lexer {
        struct grub *g;
        struct grub_line *line;
        struct text word;
        const char *begin; /* of the word */
        bool active, started, plain;
};

static int take(struct grub *g, size_t n)
{
        if (n > GRUB_WORK_MAX - g->work)
                return trouble_say(g->config->trouble, -E2BIG, "%s: its variables make it too large", g->config->path);
        g->work += n;
        return 0;
}

static bool is_break(char c)
{
        return strchr(" \t\r\n;|&", c) != NULL; /* NUL among them */
}

static int end_word(struct lexer *l)
{
        struct grub_word *w = &l->line->words[l->line->n];

        if (!l->started)
                return 0;
        if (l->line->n == GRUB_WORDS_MAX)
                return trouble_say(l->g->config->trouble, -E2BIG, "%s: a command has more than %d words", l->g->config->path, GRUB_WORDS_MAX);
        w->s = text_get(&l->word);
        w->plain = l->plain;
        l->line->n++;
        l->word = (struct text){ .pool = l->g->pool };
        l->started = false;
        l->plain = true;
        return 0;
}

static void put(struct lexer *l, const char *s, size_t n, bool plain)
{
        l->started = true;
        l->plain &= plain;
        if (l->active)
                text_add(&l->word, s, n);
        else if (plain && l->word.len < 16)
                text_add(&l->word, s, n); /* enough for keywords */
}

/* The length of a variable's name at s, or 0. */
static size_t name_length(const char *s, const char *end)
{
        size_t n = 0;

        if (s < end && strchr("?*@#", *s) && *s)
                return 1;
        while (s + n < end && (isalnum((unsigned char)s[n]) || s[n] == '_'))
                n++;
        return n;
}

/* Outside quotes the value is taken apart at its blanks. */
static int put_value(struct lexer *l, const char *value, bool quoted)
{
        int r = take(l->g, strlen(value));

        if (r < 0)
                return r;
        if (quoted) {
                put(l, value, strlen(value), false);
                return 0;
        }
        while (*value && r >= 0) {
                size_t blanks = strspn(value, " \t\n"), n = strcspn(value + blanks, " \t\n");

                if (blanks)
                        r = end_word(l);
                if (n && r >= 0)
                        put(l, value + blanks, n, false);
                value += blanks + n;
        }
        return r;
}

/* At a "$". */
static int variable(struct lexer *l, bool quoted)
{
        struct grub *g = l->g;
        bool brace = g->end - g->at > 1 && g->at[1] == '{';
        const char *name = g->at + 1 + brace;
        size_t n = name_length(name, g->end);

        if (n == 0 || (brace && (name + n >= g->end || name[n] != '}'))) {
                put(l, "$", 1, false);
                g->at++;
                return 0;
        }
        g->at = name + n + brace;
        if (*name == '?')
                return put_value(l, g->status ? "0" : "1", quoted);
        return l->active ? put_value(l, grub_get(g, pool_strndup(g->pool, name, n)), quoted) : 0;
}

static void single_quoted(struct lexer *l)
{
        struct grub *g = l->g;
        const char *close = memchr(g->at + 1, '\'', (size_t)(g->end - g->at - 1));

        if (!close)
                close = g->end;
        put(l, g->at + 1, (size_t)(close - g->at - 1), false);
        g->at = close < g->end ? close + 1 : close;
}

static int double_quoted(struct lexer *l)
{
        struct grub *g = l->g;
        int r = 0;

        put(l, "", 0, false);
        for (g->at++; r >= 0 && g->at < g->end && *g->at != '"';) {
                if (*g->at == '$') {
                        r = variable(l, true);
                } else {
                        if (*g->at == '\\' && g->end - g->at > 1 && strchr("\\\"$", g->at[1]))
                                g->at++;
                        put(l, g->at++, 1, false);
                }
        }
        if (g->at < g->end)
                g->at++;
        return r;
}

static void escaped(struct lexer *l)
{
        struct grub *g = l->g;

        g->at++;
        if (g->at < g->end && *g->at == '\n')
                g->at++;
        else if (g->at < g->end)
                put(l, g->at++, 1, false);
}

static bool is_keyword(const struct grub_word *w)
{
        static const char *const words[] = { "then", "elif", "else", "fi", "do", "done", "}" };

        for (unsigned i = 0; w->plain && i < ARRAY_SIZE(words); i++)
                if (strcmp(w->s, words[i]) == 0)
                        return true;
        return false;
}

static bool is_block(const struct grub_line *line)
{
        return line->n > 1 && line->words[line->n - 1].plain && strcmp(line->words[line->n - 1].s, "{") == 0;
}

/* What begins at g->at and is no break. */
static int part(struct lexer *l)
{
        struct grub *g = l->g;

        switch (*g->at) {
        case '\'':
                single_quoted(l);
                return 0;
        case '"':
                return double_quoted(l);
        case '\\':
                escaped(l);
                return 0;
        case '$':
                return variable(l, false);
        default:
                put(l, g->at++, 1, true);
                return 0;
        }
}

/* A closing brace ends the command before it. */
static bool is_closed(struct lexer *l)
{
        const struct grub_word *last;

        if (l->line->n < 2)
                return false;
        last = &l->line->words[l->line->n - 1];
        if (!last->plain || strcmp(last->s, "}") != 0)
                return false;
        l->line->n--;
        l->g->at = l->begin;
        return true;
}

static int read_line(struct lexer *l)
{
        struct grub *g = l->g;
        int r = 0;

        while (r >= 0 && g->at < g->end) {
                if (*g->at == '#' && !l->started) {
                        const char *newline = memchr(g->at, '\n', (size_t)(g->end - g->at));

                        g->at = newline ? newline : g->end;
                        continue;
                }
                if (!is_break(*g->at)) {
                        if (!l->started)
                                l->begin = g->at;
                        r = part(l);
                        continue;
                }
                r = end_word(l);
                if (r < 0)
                        break;
                if (l->line->n == 1 && is_keyword(&l->line->words[0]))
                        return 0;
                if (is_closed(l))
                        return 0;
                if (is_block(l->line)) {
                        l->line->block = true;
                        l->line->n--;
                        return 0;
                }
                if (!strchr(" \t\r", *g->at++) && l->line->n)
                        return 0;
        }
        r = r < 0 ? r : end_word(l);
        if (r >= 0)
                is_closed(l);
        return r;
}

int grub_next(struct grub *g, bool active, struct grub_line *line, enum grub_end *end)
{
        struct lexer l = { .g = g, .line = line, .word = { .pool = g->pool }, .active = active, .plain = true };
        int r = take(g, 1);

        line->n = 0;
        line->block = false;
        if (r >= 0)
                r = read_line(&l);
        if (r < 0)
                return r;
        *end = line->n == 0 ? GRUB_END_FILE : line->n == 1 && is_keyword(&line->words[0]) ? GRUB_END_KEYWORD : GRUB_END_LINE;
        return 0;
}
