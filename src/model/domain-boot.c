/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Booting from a disk: <bootloader>, <bootloader_args>, and which disk it is. */

#include <string.h>

#include "model/domain-def-private.h"
#include "model/domain-device.h"

#define BOOT_LOADER "domus-bootloader"

/* --- The program and its options --- */

/* Those of domus-bootloader(8) that are the user's; the others are the daemon's. */
static const char *const options[] = { "--entry", "--kernel", "--initrd", "--ramdisk", "--args", "--append", "--partition", NULL };

/* Its length without the value, or 0. */
static size_t option_length(const char *word)
{
        for (unsigned i = 0; options[i]; i++) {
                size_t n = strlen(options[i]);

                if (strncmp(word, options[i], n) == 0 && (word[n] == '=' || !word[n]))
                        return n;
        }
        return 0;
}

static bool check_partition(const char *option, const char *value, GError **error)
{
        uint64_t n;

        if (!g_str_has_prefix(option, "--partition") || xml_parse_uint(value, INT32_MAX, &n))
                return true;
        return xml_fail(error, DOMUS_ERROR_XML, "'%s' in <bootloader_args> is not the number of a partition", value);
}

/* One option of words, as one word; *i is left behind it. */
static char *take_option(char **words, unsigned *i, GError **error)
{
        char *word = words[(*i)++];
        size_t n = option_length(word);
        g_autofree char *list = NULL;
        const char *value;

        if (n == 0) {
                list = g_strjoinv(", ", (char **)options);
                xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "'%s' in <bootloader_args> is not supported, only %s", word, list);
                return NULL;
        }
        value = word[n] ? word + n + 1 : words[*i];
        if (!value) {
                xml_fail(error, DOMUS_ERROR_XML, "'%s' in <bootloader_args> has no value", word);
                return NULL;
        }
        *i += !word[n];
        if (!check_partition(word, value, error))
                return NULL;
        return g_strdup_printf("%.*s=%s", (int)n, word, value);
}

/* The words of <bootloader_args>, quoted as for a shell, one option each. */
static char **parse_args(const char *text, GError **error)
{
        g_auto(GStrv) words = NULL;
        g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) local = NULL;
        char *option;

        if (!g_shell_parse_argv(text, NULL, &words, &local) && !g_error_matches(local, G_SHELL_ERROR, G_SHELL_ERROR_EMPTY_STRING)) {
                xml_fail(error, DOMUS_ERROR_XML, "<bootloader_args>: %s", local->message);
                return NULL;
        }
        for (unsigned i = 0; words && words[i];) {
                option = take_option(words, &i, error);
                if (!option)
                        return NULL;
                g_ptr_array_add(list, option);
        }
        g_ptr_array_add(list, NULL);
        return (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
}

static bool check_program(const xmlNode *node, GError **error)
{
        g_autofree char *path = xml_text(node);
        g_autofree char *name = path && *path ? g_path_get_basename(path) : NULL;

        if (!name || strcmp(name, BOOT_LOADER) == 0)
                return true;
        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "boot loader '%s' is not available: the one here is '" BOOT_LOADER "'", path);
}

/* What would not be looked at where the kernel comes from: the element that says so, or NULL. */
static const char *superfluous(const DomusDomainDef *def, const xmlNode *root)
{
        if (def->kernel)
                return xml_child(root, "bootloader") ? "bootloader" : xml_child(root, "bootloader_args") ? "bootloader_args" : NULL;
        return def->initrd ? "initrd" : def->cmdline ? "cmdline" : NULL;
}

bool domain_fill_boot_loader(DomusDomainDef *def, GError **error)
{
        const xmlNode *root = xmlDocGetRootElement(def->doc);
        const xmlNode *node = xml_child(root, "bootloader");
        g_autofree char *args = xml_text(xml_child(root, "bootloader_args"));
        const char *more = superfluous(def, root);

        if (more)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                def->kernel ? "<%s> is not supported together with <kernel> in <os>" :
                                              "<%s> in <os> is not supported without <kernel>: the guest's own boot configuration has it, and "
                                              "<bootloader_args> can change it", more);
        if (!check_program(node, error))
                return false;
        def->bootloader_options = parse_args(args ? args : "", error);
        return def->bootloader_options;
}

/* --- The disk --- */

static bool refuse(const DomusDevice *d, GError **error)
{
        if (d->kind == DOMUS_DEVICE_DISK)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "CD-ROM drive '%s' comes first in the boot order, but only hard disks can be booted from here", d->disk.target);
        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                        "a network interface comes first in the boot order, but only hard disks can be booted from here");
}

/* What a boot from d comes to: *ret, an error, or neither: it is passed over like an empty drive. */
static bool try_device(DomusDevice *d, DomusDevice **ret, GError **error)
{
        if (d->kind == DOMUS_DEVICE_DISK && !d->disk.cdrom)
                *ret = d;
        else if (d->kind == DOMUS_DEVICE_INTERFACE || (d->kind == DOMUS_DEVICE_DISK && (d->disk.path || d->disk.volume || d->disk.protocol)))
                return refuse(d, error);
        return true;
}

static DomusDevice *next_in_order(const DomusDomainDef *def, unsigned after)
{
        DomusDevice *next = NULL;

        for (unsigned i = 0; i < def->devices->len; i++) {
                DomusDevice *d = def->devices->pdata[i];

                if (d->boot_order > after && (!next || d->boot_order < next->boot_order))
                        next = d;
        }
        return next;
}

/* <boot dev='hd'/> means the first disk, the others all of their kind. */
static bool try_kind(const DomusDomainDef *def, const char *dev, DomusDevice **ret, GError **error)
{
        for (unsigned i = 0; i < def->devices->len && !*ret; i++) {
                DomusDevice *d = def->devices->pdata[i];
                const char *kind = d->kind == DOMUS_DEVICE_INTERFACE ? "network" :
                                   d->kind != DOMUS_DEVICE_DISK      ? "" :
                                   d->disk.cdrom                     ? "cdrom" : "hd";

                if (strcmp(kind, dev) == 0 && !try_device(d, ret, error))
                        return false;
        }
        return true;
}

static bool try_os_boot(const DomusDomainDef *def, const xmlNode *boot, DomusDevice **ret, GError **error)
{
        if (!boot)
                return try_kind(def, "hd", ret, error);
        for (; boot && !*ret; boot = xml_next(boot, "boot")) {
                g_autofree char *dev = xml_attr(boot, "dev");

                if (dev && !try_kind(def, dev, ret, error))
                        return false;
        }
        return true;
}

DomusDevice *domus_domain_def_boot_disk(const DomusDomainDef *def, GError **error)
{
        DomusDevice *found = NULL, *d = next_in_order(def, 0);
        bool ok = d || try_os_boot(def, xml_child(xml_child(xmlDocGetRootElement(def->doc), "os"), "boot"), &found, error);

        for (; ok && !found && d; d = next_in_order(def, d->boot_order))
                ok = try_device(d, &found, error);
        if (ok && !found)
                xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                         "the domain has neither <kernel> in <os> nor a hard disk in its boot order to boot from");
        return found;
}
