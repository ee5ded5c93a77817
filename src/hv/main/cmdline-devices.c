/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/main/cmdline-devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "hv/machine/machine.h"

#define FDS_MAX 16
#define TABLE_MAX 32
#define IOTUNE "iotune."

/* What is read of one device's text. */
struct parser {
        struct cmdline_device *device;
        const char *path;
        bool readonly;
        struct prop_entry iotune[TABLE_MAX];
        size_t n_iotune;
};

DOMUS_PRINTF(1, 2) static int complain(const char *format, ...)
{
        va_list args;

        va_start(args, format);
        fputs("domus-vm: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
        return -EINVAL;
}

/* --- Values ----------------------------------------------------------------------------------------------------------------------------- */

static bool parse_number(const char *s, uint64_t *ret)
{
        static const char suffixes[] = "KMGT";
        const char *suffix;
        unsigned shift = 0;
        char *end;

        if (*s < '0' || *s > '9')
                return false;
        errno = 0;
        *ret = strtoull(s, &end, 0);
        suffix = *end ? strchr(suffixes, *end) : NULL;
        if (suffix) {
                shift = 10 * (unsigned)(suffix - suffixes + 1);
                end++;
        }
        if (errno || *end || *ret > UINT64_MAX >> shift)
                return false;
        *ret <<= shift;
        return true;
}

/* Digits alone may be a text, too. */
static bool is_text(const char *key)
{
        static const char *const texts[] = { "serial", "mac", "name", "bus", "cache", "io" };

        for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
                if (strcmp(texts[i], key) == 0)
                        return true;
        return false;
}

static int add_value(struct parser *p, const char *key, const char *value)
{
        struct props *props = &p->device->props;
        bool on = strcmp(value, "on") == 0;
        uint64_t number;

        if (is_text(key))
                return props_add_string(props, key, value);
        if (on || strcmp(value, "off") == 0) {
                if (strcmp(key, "readonly") == 0)
                        p->readonly = on;
                /* What is "off" as a word and as a switch is a word. */
                return strcmp(key, "detect-zeroes") == 0 ? props_add_string(props, key, value) : props_add_bool(props, key, on);
        }
        if (parse_number(value, &number))
                return props_add_number(props, key, number);
        return props_add_string(props, key, value);
}

/* N or N:M...: each becomes ours. */
static int add_fds(struct parser *p, const char *key, const char *value)
{
        int fds[FDS_MAX];
        size_t n = 0;

        do {
                char *end;
                long fd = strtol(value, &end, 10);

                if (end == value || fd < 0 || fd > 65535 || fcntl((int)fd, F_GETFD) < 0 || n == FDS_MAX || (*end && *end != ':'))
                        return complain("%s: not descriptors: %s", key, value);
                fd_set_cloexec((int)fd, true);
                fds[n++] = (int)fd;
                value = *end ? end + 1 : end;
        } while (*value);
        return props_add_fds(&p->device->props, key, fds, n);
}

static int add_tap(struct parser *p, const char *name)
{
        struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
        int fd, size = 12;

        if (strlen(name) >= sizeof(request.ifr_name))
                return complain("tap: the name is too long: %s", name);
        strcpy(request.ifr_name, name);
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return complain("/dev/net/tun: %m");
        if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) < 0) {
                complain("tap %s: %m", name);
                fd_close(fd);
                return -EINVAL;
        }
        return props_add_fds(&p->device->props, "fds", &fd, 1);
}

/* The server's socket, connected. */
static int add_vhost_user(struct parser *p, const char *path)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd;

        if (strlen(path) >= sizeof(addr.sun_path))
                return complain("vhost-user: the path is too long: %s", path);
        strcpy(addr.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
                complain("vhost-user %s: %m", path);
                fd_close(fd);
                return -EINVAL;
        }
        return props_add_fds(&p->device->props, "vhost-user", &fd, 1);
}

static int add_iotune(struct parser *p, const char *key, const char *value)
{
        struct prop_entry *entry = &p->iotune[p->n_iotune];

        if (p->n_iotune == TABLE_MAX || !parse_number(value, &entry->value))
                return complain("%s%s: not a number: %s", IOTUNE, key, value);
        entry->name = (char *)key;
        p->n_iotune++;
        return 0;
}

/* --- Devices ---------------------------------------------------------------------------------------------------------------------------- */

static int set_text(char **text, const char *value)
{
        free(*text);
        *text = strdup(value);
        return *text ? 0 : -ENOMEM;
}

static int parse_pair(struct parser *p, const char *key, const char *value)
{
        uint64_t slot;

        if (strcmp(key, "id") == 0)
                return set_text(&p->device->id, value);
        if (strcmp(key, "slot") == 0) {
                if (!parse_number(value, &slot) || slot > 31)
                        return complain("slot: not a PCI slot: %s", value);
                p->device->slot = (int)slot;
                return 0;
        }
        if (strcmp(key, "path") == 0) {
                p->path = value;
                return 0;
        }
        if (strcmp(key, "fd") == 0 || strcmp(key, "fds") == 0)
                return add_fds(p, key, value);
        if (strcmp(key, "vhost-user") == 0)
                return add_vhost_user(p, value);
        if (strcmp(key, "tap") == 0)
                return add_tap(p, value);
        if (strncmp(key, IOTUNE, strlen(IOTUNE)) == 0)
                return add_iotune(p, key + strlen(IOTUNE), value);
        return add_value(p, key, value);
}

static bool wants_direct(const struct parser *p)
{
        const struct props *props = &p->device->props;

        for (size_t i = 0; i < props->n; i++)
                if (strcmp(props->list[i].name, "cache") == 0 && props->list[i].string)
                        return strcmp(props->list[i].string, "none") == 0 || strcmp(props->list[i].string, "directsync") == 0;
        return false;
}

static int open_path(struct parser *p)
{
        int flags = O_CLOEXEC | (wants_direct(p) ? O_DIRECT : 0), fd = -1;

        if (!p->readonly)
                fd = open(p->path, O_RDWR | flags);
        if (fd < 0 && (p->readonly || errno == EACCES || errno == EROFS || errno == EPERM))
                fd = open(p->path, O_RDONLY | flags);
        return fd < 0 ? complain("%s: %m", p->path) : props_add_fds(&p->device->props, "fd", &fd, 1);
}

/* Cuts text up. */
static int parse_pairs(struct parser *p, char *text)
{
        char *pair;
        int r = 0;

        while (r == 0 && (pair = strsep(&text, ",")) != NULL) {
                char *value = strchr(pair, '=');

                if (!value)
                        return complain("device %s: KEY=VALUE is wanted instead of '%s'", p->device->driver, pair);
                *value++ = 0;
                r = parse_pair(p, pair, value);
                if (r == -EEXIST)
                        complain("device %s: %s is given twice", p->device->driver, pair);
        }
        if (r == 0 && p->path)
                r = open_path(p);
        if (r == 0 && p->n_iotune)
                r = props_add_table(&p->device->props, "iotune", p->iotune, p->n_iotune);
        return r;
}

/* Without an id it gets one that says what it is. */
static int name_device(struct cmdline_devices *devices, struct cmdline_device *device)
{
        char name[64];

        if (device->id)
                return 0;
        snprintf(name, sizeof(name), "%s-%u", device->driver, devices->n);
        return set_text(&device->id, name);
}

static int add_device(struct cmdline_devices *devices, const char *driver, const char *pairs)
{
        struct cmdline_device *list = realloc(devices->list, (devices->n + 1) * sizeof(*list));
        struct parser p = { 0 };
        char *copy;
        int r;

        if (!list)
                return -ENOMEM;
        devices->list = list;
        p.device = &list[devices->n++];
        *p.device = (struct cmdline_device){ .slot = -1, .driver = strdup(driver) };
        copy = strdup(pairs);
        r = !copy || !p.device->driver ? -ENOMEM : *copy ? parse_pairs(&p, copy) : 0;
        free(copy);
        return r < 0 ? r : name_device(devices, p.device);
}

int cmdline_device_add(struct cmdline_devices *devices, const char *text)
{
        const char *comma = strchrnul(text, ',');
        char *driver = strndup(text, (size_t)(comma - text));
        int r = driver ? add_device(devices, driver, *comma ? comma + 1 : comma) : -ENOMEM;

        free(driver);
        return r;
}

int cmdline_disk_add(struct cmdline_devices *devices, const char *text)
{
        char *pairs;
        int r;

        if (asprintf(&pairs, "path=%s", text) < 0)
                return -ENOMEM;
        r = add_device(devices, "virtio-blk", pairs);
        free(pairs);
        return r;
}

int cmdline_net_add(struct cmdline_devices *devices, const char *text)
{
        char *pairs;
        int r;

        if (strncmp(text, "fd=", 3) != 0)
                return add_device(devices, "virtio-net", text);
        if (asprintf(&pairs, "fds=%s", text + 3) < 0)
                return -ENOMEM;
        r = add_device(devices, "virtio-net", pairs);
        free(pairs);
        return r;
}

void cmdline_devices_finish(struct cmdline_devices *devices)
{
        for (unsigned i = 0; i < devices->n; i++) {
                free(devices->list[i].driver);
                free(devices->list[i].id);
                props_finish(&devices->list[i].props);
        }
        free(devices->list);
        *devices = (struct cmdline_devices){ 0 };
}

int cmdline_devices_plug(struct cmdline_devices *devices, struct machine *m)
{
        for (unsigned i = 0; i < devices->n; i++) {
                struct cmdline_device *d = &devices->list[i];
                char *error;
                int r = machine_plug(m, &(struct machine_new_plug){ d->driver, d->id, d->slot, &d->props }, 1, &error);

                if (r < 0) {
                        complain("%s", error);
                        free(error);
                        return r;
                }
        }
        return 0;
}
