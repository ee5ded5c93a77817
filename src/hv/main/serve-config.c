/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/main/serve.h"
#include "vmproto/vmproto.h"

static int read_string(sd_bus_message *m, void *ret)
{
        const char *value;
        int r = sd_bus_message_read_basic(m, 's', &value);

        if (r < 0)
                return r;
        free(*(char **)ret);
        *(char **)ret = strdup(value);
        return *(char **)ret ? 0 : -ENOMEM;
}

static int keep_fd(int fd, int *ret)
{
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        if (copy < 0)
                return -errno;
        fd_close(*ret);
        *ret = copy;
        return 0;
}

/* The message's descriptors go with the message. */
static int read_fd(sd_bus_message *m, void *ret)
{
        int fd, r = sd_bus_message_read_basic(m, 'h', &fd);

        return r < 0 ? r : keep_fd(fd, ret);
}

static int read_u32(sd_bus_message *m, void *ret)
{
        uint32_t value;
        int r = sd_bus_message_read_basic(m, 'u', &value);

        if (r >= 0)
                *(unsigned *)ret = value;
        return r;
}

static int read_u64(sd_bus_message *m, void *ret)
{
        return sd_bus_message_read_basic(m, 't', ret);
}

static int read_bool(sd_bus_message *m, void *ret)
{
        int value, r = sd_bus_message_read_basic(m, 'b', &value);

        if (r >= 0)
                *(bool *)ret = value;
        return r;
}

static void free_strings(char **strings)
{
        for (char **s = strings; s && *s; s++)
                free(*s);
        free(strings);
}

static int read_pairs(sd_bus_message *m, void *ret)
{
        char **strings = NULL;
        size_t n = 0;
        int r = sd_bus_message_read_strv(m, &strings);

        while (strings && strings[n])
                n++;
        if (r >= 0 && n % 2)
                r = -EINVAL;
        free_strings(r < 0 ? strings : *(char ***)ret);
        if (r >= 0)
                *(char ***)ret = strings;
        return r;
}

static int read_action(sd_bus_message *m, void *ret)
{
        const char *word;
        int r = sd_bus_message_read_basic(m, 's', &word);

        return r < 0 ? r : serve_action_parse(word, ret);
}

static int read_version(sd_bus_message *m, void *ret)
{
        uint32_t value;
        int r = sd_bus_message_read_basic(m, 'u', &value);

        return r < 0 ? r : value == VMPROTO_VERSION ? 0 : -EPROTONOSUPPORT;
}

static int read_serial(sd_bus_message *m, void *ret)
{
        struct serve_config *c = container_of(ret, struct serve_config, serials);
        int r = sd_bus_message_enter_container(m, 'a', "(hh)");

        while (r >= 0) {
                int master, slave;

                r = sd_bus_message_read(m, "(hh)", &master, &slave);
                if (r <= 0)
                        break;
                if (c->n_serials == SERVE_SERIALS)
                        return -E2BIG;
                r = keep_fd(master, &c->serials[c->n_serials].master);
                if (r >= 0)
                        r = keep_fd(slave, &c->serials[c->n_serials].slave);
                c->n_serials++;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

#define FIELD(name, type, member, read) { name, type, offsetof(struct serve_config, member), read }

static const struct field {
        const char *name, *type;
        size_t offset;
        int (*read)(sd_bus_message *m, void *ret);
} fields[] = {
        FIELD(VM_CFG_VERSION, "u", name, read_version),
        FIELD(VM_CFG_NAME, "s", name, read_string),
        FIELD(VM_CFG_UUID, "s", uuid, read_string),
        FIELD(VM_CFG_ENGINE, "s", engine, read_string),
        FIELD(VM_CFG_SMBIOS, "as", smbios, read_pairs),
        FIELD(VM_CFG_KVM, "h", kvm_fd, read_fd),
        FIELD(VM_CFG_CPUS, "u", cpus, read_u32),
        FIELD(VM_CFG_MEMORY, "t", memory, read_u64),
        FIELD(VM_CFG_CODE_CACHE, "t", code_cache, read_u64),
        FIELD(VM_CFG_KERNEL, "h", kernel_fd, read_fd),
        FIELD(VM_CFG_INITRD, "h", initrd_fd, read_fd),
        FIELD(VM_CFG_CMDLINE, "s", cmdline, read_string),
        FIELD(VM_CFG_BOOT_LOADER, "b", boot_loader, read_bool),
        FIELD(VM_CFG_ACPI, "b", acpi, read_bool),
        FIELD(VM_CFG_RTC_LOCALTIME, "b", rtc_localtime, read_bool),
        FIELD(VM_CFG_DEBUG_EXIT, "b", debug_exit, read_bool),
        FIELD(VM_CFG_SERIAL, "a(hh)", serials, read_serial),
        FIELD(VM_CFG_DEVICES, "aa{sv}", devices, serve_devices_read),
        FIELD(VM_CFG_ON_POWEROFF, "s", on_poweroff, read_action),
        FIELD(VM_CFG_ON_REBOOT, "s", on_reboot, read_action),
        FIELD(VM_CFG_ON_CRASH, "s", on_crash, read_action),
};

int serve_action_parse(const char *word, enum serve_action *ret)
{
        static const char *const words[] = {
                [SERVE_DESTROY] = "destroy", [SERVE_RESTART] = "restart", [SERVE_PRESERVE] = "preserve"
        };

        for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
                if (strcmp(word, words[i]) != 0)
                        continue;
                *ret = i;
                return 0;
        }
        return -EINVAL;
}

void serve_config_init(struct serve_config *c)
{
        *c = (struct serve_config){
                .kvm_fd = -1, .kernel_fd = -1, .initrd_fd = -1, .acpi = true, .on_reboot = SERVE_RESTART
        };
        for (unsigned i = 0; i < SERVE_SERIALS; i++)
                c->serials[i].master = c->serials[i].slave = -1;
}

void serve_config_finish(struct serve_config *c)
{
        free(c->name);
        free(c->uuid);
        free(c->engine);
        free(c->cmdline);
        free_strings(c->smbios);
        fd_close(c->kvm_fd);
        fd_close(c->kernel_fd);
        fd_close(c->initrd_fd);
        serve_devices_finish(&c->devices);
        for (unsigned i = 0; i < SERVE_SERIALS; i++) {
                fd_close(c->serials[i].master);
                fd_close(c->serials[i].slave);
        }
        serve_config_init(c);
}

static const struct field *field_find(const char *name)
{
        for (unsigned i = 0; i < ARRAY_SIZE(fields); i++)
                if (strcmp(fields[i].name, name) == 0)
                        return &fields[i];
        return NULL;
}

static int read_field(struct serve_config *c, sd_bus_message *m, const char *name, sd_bus_error *error)
{
        const struct field *f = field_find(name);
        int r;

        if (!f)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "unknown field '%s'", name);
        r = sd_bus_message_enter_container(m, 'v', f->type);
        if (r >= 0)
                r = f->read(m, (char *)c + f->offset);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "field '%s': %s", name, strerror(-r));
        return 0;
}

static int read_fields(struct serve_config *c, sd_bus_message *m, bool (*wanted)(const char *name), sd_bus_error *error)
{
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r > 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *name;

                r = sd_bus_message_read_basic(m, 's', &name);
                if (r >= 0 && wanted && !wanted(name))
                        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "field '%s' is out of place", name);
                if (r >= 0)
                        r = read_field(c, m, name, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

static int fail_missing(const char *missing, sd_bus_error *error)
{
        return missing ? sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "field '%s' is missing", missing) : 0;
}

static int check(const struct serve_config *c, sd_bus_error *error)
{
        return fail_missing(!c->name ? VM_CFG_NAME : !c->uuid ? VM_CFG_UUID : !c->engine ? VM_CFG_ENGINE :
                c->cpus == 0 ? VM_CFG_CPUS : c->memory == 0 ? VM_CFG_MEMORY : c->kernel_fd < 0 ? VM_CFG_KERNEL :
                !c->cmdline ? VM_CFG_CMDLINE : NULL, error);
}

int serve_config_read(struct serve_config *c, sd_bus_message *m, sd_bus_error *error)
{
        int r = read_fields(c, m, NULL, error);

        return r < 0 ? r : check(c, error);
}

static bool is_kernel_field(const char *name)
{
        return strcmp(name, VM_CFG_KERNEL) == 0 || strcmp(name, VM_CFG_INITRD) == 0 || strcmp(name, VM_CFG_CMDLINE) == 0;
}

int serve_config_read_kernel(struct serve_config *c, sd_bus_message *m, sd_bus_error *error)
{
        int r;

        c->kernel_fd = fd_close(c->kernel_fd);
        c->initrd_fd = fd_close(c->initrd_fd);
        free(c->cmdline);
        c->cmdline = NULL;
        r = read_fields(c, m, is_kernel_field, error);
        return r < 0 ? r : fail_missing(c->kernel_fd < 0 ? VM_CFG_KERNEL : !c->cmdline ? VM_CFG_CMDLINE : NULL, error);
}
