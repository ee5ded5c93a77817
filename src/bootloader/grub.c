/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/grub.h"

#include <errno.h>
#include <string.h>

#include "base/macros.h"

static int run_block(struct grub *g, bool active, const char **keyword);

static bool is(const struct grub_word *w, const char *s)
{
        return w->plain && strcmp(w->s, s) == 0;
}

static int bad(struct grub *g, const char *what)
{
        return trouble_say(g->config->trouble, -EINVAL, "%s: %s", g->config->path, what);
}

/* Runs up to one of the words that end a block, which must be the given one. */
static int run_until(struct grub *g, bool active, const char *wanted)
{
        const char *keyword;
        int r = run_block(g, active, &keyword);

        if (r < 0)
                return r;
        return keyword && strcmp(keyword, wanted) == 0 ? 0 : bad(g, "a block does not end as it should");
}

static int enter(struct grub *g)
{
        return g->depth++ < GRUB_DEPTH_MAX ? 0 : bad(g, "too many blocks within each other");
}

/* --- Keywords --- */

/* The rest of the line that "if" began is the first command of its condition. */
static int run_condition(struct grub *g, bool active, struct grub_line *line)
{
        bool not = line->n > 1 && is(&line->words[1], "!");
        unsigned from = 1 + not;
        int r = 0;

        line->n -= from;
        memmove(line->words, line->words + from, line->n * sizeof(line->words[0]));
        if (active && line->n)
                r = grub_command(g, line);
        if (r >= 0)
                r = run_until(g, active, "then");
        if (not)
                g->status = !g->status;
        return r;
}

static int run_if(struct grub *g, bool active, struct grub_line *line)
{
        bool done = false;
        const char *keyword = NULL;
        int r = run_condition(g, active, line);

        while (r >= 0) {
                bool taken = active && !done && g->status;

                done |= taken;
                r = run_block(g, taken, &keyword);
                if (r < 0 || !keyword || strcmp(keyword, "elif") != 0)
                        break;
                r = run_until(g, active && !done, "then");
        }
        if (r >= 0 && keyword && strcmp(keyword, "else") == 0)
                r = run_block(g, active && !done, &keyword);
        if (r >= 0 && (!keyword || strcmp(keyword, "fi") != 0))
                r = bad(g, "an \"if\" has no end");
        g->status = true;
        return r;
}

static int skip_loop(struct grub *g)
{
        int r = run_until(g, false, "do");

        return r < 0 ? r : run_until(g, false, "done");
}

/* The value of an option of menuentry, or NULL; *i is moved over it. */
static const char *option(const struct grub_line *line, unsigned *i, const char *name)
{
        const char *s = line->words[*i].s;
        size_t n = strlen(name);

        if (strncmp(s, name, n) != 0)
                return NULL;
        if (s[n] == '=')
                return s + n + 1;
        return s[n] == 0 && *i + 1 < line->n ? line->words[++*i].s : NULL;
}

static bool passed_over(const struct grub_line *line, unsigned *i)
{
        static const char *const names[] = { "--class", "--users", "--hotkey", "--source" };

        for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
                if (option(line, i, names[k]))
                        return true;
        return false;
}

static struct menu_entry *new_entry(struct grub *g, const struct grub_line *line)
{
        const char *title = NULL, *id = NULL;
        struct menu_entry *e;

        for (unsigned i = 1; i < line->n; i++) {
                const char *value = option(line, &i, "--id");

                if (value)
                        id = value;
                else if (!passed_over(line, &i) && !title && line->words[i].s[0] != '-')
                        title = line->words[i].s;
        }
        e = menu_add(g->config->menu, title ? title : "", g->parent);
        if (e)
                e->id = id;
        return e;
}

/* A menu entry has variables of its own, and so has a submenu. */
static int run_entry(struct grub *g, const struct grub_line *line)
{
        struct grub_vars saved = g->vars;
        struct menu_entry *e = new_entry(g, line);
        int parent = g->parent, entry = g->entry, at = e ? (int)(e - g->config->menu->entries) : -1, r;

        if (!e)
                return run_until(g, false, "}"); /* the menu is full */
        e->submenu = strcmp(line->words[0].s, "submenu") == 0;
        if (e->submenu)
                g->parent = at;
        else
                g->entry = at;
        r = run_until(g, true, "}");
        g->vars = saved;
        g->parent = parent;
        g->entry = entry;
        g->status = true;
        return r;
}

static int run_line(struct grub *g, bool active, struct grub_line *line)
{
        const struct grub_word *w = &line->words[0];

        if (is(w, "if"))
                return run_if(g, active, line);
        if (is(w, "for") || is(w, "while") || is(w, "until"))
                return skip_loop(g);
        if (line->block && active && (is(w, "menuentry") || is(w, "submenu")))
                return run_entry(g, line);
        if (line->block)
                return run_until(g, false, "}");
        return active ? grub_command(g, line) : 0;
}

/* Up to the end of the file (keyword NULL) or one of the words that end a block. */
static int run_block(struct grub *g, bool active, const char **keyword)
{
        struct grub_line line;
        int r = enter(g);

        *keyword = NULL;
        while (r >= 0) {
                enum grub_end end;

                r = grub_next(g, active, &line, &end);
                if (r < 0 || end == GRUB_END_FILE)
                        break;
                if (end == GRUB_END_KEYWORD) {
                        *keyword = line.words[0].s;
                        break;
                }
                r = run_line(g, active, &line);
        }
        g->depth--;
        return r;
}

static int run_text(struct grub *g, const char *text, size_t n)
{
        const char *at = g->at, *end = g->end, *keyword;
        int r;

        g->at = text;
        g->end = text + n;
        r = run_block(g, true, &keyword);
        if (r >= 0 && keyword)
                r = bad(g, "a block ends that did not begin");
        g->at = at;
        g->end = end;
        return r;
}

int grub_run_file(struct grub *g, const char *path)
{
        char *text;
        size_t n;
        int r;

        if (g->files >= 8)
                return bad(g, "it takes in too many other files");
        g->files++;
        r = fs_read_file(g->config->fs, path, CONFIG_SIZE_MAX, &text, &n, g->config->trouble);
        g->status = r >= 0;
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return run_text(g, text, n);
}

/* --- From outside --- */

static const char *folder(struct pool *pool, const char *path)
{
        struct text t = { .pool = pool };

        text_add_str(&t, "(" GRUB_OWN_DEVICE ")");
        text_add(&t, path, (size_t)(strrchr(path, '/') - path));
        return text_get(&t);
}

int grub_read(struct config *c, const char *text, size_t n)
{
        struct grub *g = pool_alloc(c->menu->pool, sizeof(*g));
        int r;

        *g = (struct grub){ .config = c, .pool = c->menu->pool, .status = true, .parent = -1, .entry = -1 };
        grub_set(g, "root", GRUB_OWN_DEVICE);
        grub_set(g, "prefix", folder(g->pool, c->path));
        grub_set(g, "grub_platform", "pc");
        grub_set(g, "grub_cpu", "i386");
        grub_set(g, "feature_menuentry_id", "y");
        grub_set(g, "feature_platform_search_hint", "y");
        r = run_text(g, text, n);
        c->menu->chosen = grub_get(g, "default");
        return r;
}
