/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "daemon/device-props.h"
#include "model/domain-device.h"
#include "model/error.h"
#include "vmproto/vmproto.h"

/* --- Checks --- */

static bool unsupported(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool unsupported(GError **error, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        if (error)
                *error = g_error_new_valist(DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, format, ap);
        va_end(ap);
        return false;
}

static bool choose_engine(DomusLaunch *l, const DomusDomainDef *def, const DomusHost *host, GError **error)
{
        bool kvm = domus_host_facts(host)->kvm;

        if (def->virt_type == DOMUS_VIRT_KVM && !kvm)
                return unsupported(error, "domain type 'kvm' cannot run on this host: %s", domus_host_engine_reason(host));
        l->engine = kvm && def->virt_type != DOMUS_VIRT_QEMU ? "kvm" : "dbt";
        return true;
}

/* Clients copy the path from our capabilities; after an update it may be another, but the program is the same. */
static bool check_emulator(const DomusDomainDef *def, const char *vmm_path, GError **error)
{
        g_autofree char *ours = g_path_get_basename(vmm_path);
        g_autofree char *wanted = def->emulator ? g_path_get_basename(def->emulator) : NULL;

        if (!wanted || strcmp(wanted, ours) == 0)
                return true;
        return unsupported(error, "emulator '%s' is not available: the one here is '%s'", def->emulator, vmm_path);
}

static bool check_size(const DomusDomainDef *def, const DomusHost *host, GError **error)
{
        unsigned limit = domus_host_facts(host)->max_vcpus;
        DomusNodeInfo node;

        domus_host_node_info(host, &node);
        if (def->memory_current > node.memory_kib)
                return unsupported(error, "the domain needs %" G_GUINT64_FORMAT " KiB of memory, but the host has %" G_GUINT64_FORMAT,
                        def->memory_current, node.memory_kib);
        if (def->vcpus_max > limit)
                return unsupported(error, "the domain has %u vCPUs, but at most %u are possible here", def->vcpus_max, limit);
        return true;
}

/* --- Files --- */

/* Nonblocking only so that a FIFO cannot hold us; regular files do not care. */
static int open_image(const char *path, const char *what, GError **error)
{
        int DOMUS_CLOSE_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;
        int saved = 0;

        if (fd < 0 || fstat(fd, &st) < 0)
                saved = errno;
        else if (S_ISDIR(st.st_mode))
                saved = EISDIR;
        if (saved) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open %s '%s': %s", what, path,
                        g_strerror(saved));
                return -1;
        }
        if (!S_ISREG(st.st_mode)) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "%s '%s' is not a regular file", what, path);
                return -1;
        }
        return fd_steal(&fd);
}

static bool open_images(DomusLaunch *l, const DomusDomainDef *def, GError **error)
{
        l->boot_loader = !def->kernel;
        if (l->boot_loader)
                return domus_domain_def_boot_disk(def, error);
        l->kernel_fd = open_image(def->kernel, "kernel", error);
        if (l->kernel_fd < 0)
                return false;
        if (!def->initrd)
                return true;
        l->initrd_fd = open_image(def->initrd, "initrd", error);
        return l->initrd_fd >= 0;
}

static bool open_kvm(DomusLaunch *l, const DomusHost *host, GError **error)
{
        if (strcmp(l->engine, "kvm") != 0)
                return true;
        l->kvm_fd = domus_host_open_kvm(host);
        if (l->kvm_fd >= 0)
                return true;
        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot open '/dev/kvm': %s", g_strerror(-l->kvm_fd));
        return false;
}

/* The slave is raw from the start, so that nothing is echoed before the first user. */
int domus_pty_open(DomusPty *ret)
{
        char path[64];
        struct termios tio;

        if (openpty(&ret->master, &ret->slave, path, NULL, NULL) < 0)
                return -errno;
        ret->path = g_strdup(path);
        if (tcgetattr(ret->slave, &tio) < 0)
                return -errno;
        cfmakeraw(&tio);
        if (tcsetattr(ret->slave, TCSANOW, &tio) < 0)
                return -errno;
        fd_set_cloexec(ret->master, true);
        fd_set_cloexec(ret->slave, true);
        return fd_set_nonblock(ret->master, true);
}

void domus_pty_clear(DomusPty *pty)
{
        pty->master = fd_close(pty->master);
        pty->slave = fd_close(pty->slave);
        g_clear_pointer(&pty->path, g_free);
}

static void pty_clear(gpointer pty)
{
        domus_pty_clear(pty);
}

static bool open_ptys(DomusLaunch *l, unsigned n, GError **error)
{
        for (unsigned i = 0; i < n; i++) {
                DomusPty pty = { -1, -1, NULL };
                int r = domus_pty_open(&pty);

                g_array_append_val(l->ptys, pty);
                if (r < 0) {
                        g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot make a pty for serial port %u: %s", i,
                                g_strerror(-r));
                        return false;
                }
        }
        return true;
}

DomusLaunch *domus_launch_new(const DomusDomainDef *def, const DomusHost *host, const char *vmm_path, GError **error)
{
        g_autoptr(DomusLaunch) l = g_new0(DomusLaunch, 1);

        l->kvm_fd = l->kernel_fd = l->initrd_fd = l->alive_fd = -1;
        l->ptys = g_array_new(FALSE, FALSE, sizeof(DomusPty));
        g_array_set_clear_func(l->ptys, pty_clear);
        if (!choose_engine(l, def, host, error) || !check_emulator(def, vmm_path, error) ||
                !check_size(def, host, error) || !open_images(l, def, error) || !open_kvm(l, host, error) ||
                !open_ptys(l, def->n_serials, error))
                return NULL;
        return g_steal_pointer(&l);
}

void domus_launch_free(DomusLaunch *l)
{
        if (!l)
                return;
        fd_close(l->kvm_fd);
        fd_close(l->kernel_fd);
        fd_close(l->initrd_fd);
        fd_close(l->alive_fd);
        g_free(l->cmdline);
        g_array_unref(l->ptys);
        if (l->devices)
                g_ptr_array_unref(l->devices);
        g_free(l);
}

/* --- The Configure message --- */

/* libvirt's rules: preserve on reboot means destroy, rename-restart means restart. */
const char *domus_launch_action(const char *which, DomusAction action)
{
        if (action == DOMUS_ACTION_RESTART || action == DOMUS_ACTION_RENAME_RESTART)
                return "restart";
        if (action == DOMUS_ACTION_PRESERVE && strcmp(which, VM_ON_REBOOT) != 0)
                return "preserve";
        return "destroy";
}

static int append_ptys(sd_bus_message *m, const GArray *ptys)
{
        int r = sd_bus_message_open_container(m, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", VM_CFG_SERIAL);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(hh)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(hh)");
        for (unsigned i = 0; r >= 0 && i < ptys->len; i++) {
                const DomusPty *pty = &g_array_index(ptys, DomusPty, i);

                r = sd_bus_message_append(m, "(hh)", pty->master, pty->slave);
        }
        for (unsigned i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_files(sd_bus_message *m, const DomusLaunch *l)
{
        int r = sd_bus_message_append(m, "{sv}", VM_CFG_KERNEL, "h", l->kernel_fd);

        if (r >= 0 && l->initrd_fd >= 0)
                r = sd_bus_message_append(m, "{sv}", VM_CFG_INITRD, "h", l->initrd_fd);
        if (r >= 0 && l->boot_loader)
                r = sd_bus_message_append(m, "{sv}", VM_CFG_BOOT_LOADER, "b", 1);
        if (r >= 0 && l->kvm_fd >= 0)
                r = sd_bus_message_append(m, "{sv}", VM_CFG_KVM, "h", l->kvm_fd);
        return r;
}

static int append_devices(sd_bus_message *m, const GPtrArray *devices)
{
        int r = sd_bus_message_open_container(m, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", VM_CFG_DEVICES);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "aa{sv}");
        if (r >= 0)
                r = domus_vm_devices_append(devices, m);
        for (unsigned i = 0; r >= 0 && i < 2; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

/* Bytes. What a balloon takes away must be there first; without one the guest gets its current memory as all it has, in whole MiB as <memory> is. */
static uint64_t boot_memory(const DomusDomainDef *def)
{
        return ALIGN_UP((domus_domain_def_balloon(def) ? def->memory_max : def->memory_current) * 1024, MiB(1));
}

static int append_smbios(sd_bus_message *m, char **strings)
{
        int r = sd_bus_message_open_container(m, 'e', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", VM_CFG_SMBIOS);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_append_strv(m, strings);
        for (unsigned i = 0; r >= 0 && i < 2; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_values(sd_bus_message *m, const DomusLaunch *l, const DomusDomainDef *def)
{
        const char *cmdline = l->boot_loader ? l->cmdline : def->cmdline;
        char uuid[DOMUS_UUID_STRING_LEN];
        int r;

        domus_uuid_format(def->uuid, uuid);
        r = sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}", VM_CFG_VERSION, "u", (uint32_t)VMPROTO_VERSION,
                VM_CFG_NAME, "s", def->name, VM_CFG_UUID, "s", uuid, VM_CFG_ENGINE, "s", l->engine, VM_CFG_CPUS, "u",
                (uint32_t)def->vcpus_current, VM_CFG_MEMORY, "t", boot_memory(def), VM_CFG_CMDLINE,
                "s", cmdline ? cmdline : "");
        if (r >= 0 && def->code_cache)
                r = sd_bus_message_append(m, "{sv}", VM_CFG_CODE_CACHE, "t", def->code_cache * 1024);
        if (r < 0)
                return r;
        return sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}", VM_CFG_ACPI, "b", (int)def->acpi,
                VM_CFG_RTC_LOCALTIME, "b", (int)def->rtc_localtime, VM_CFG_DEBUG_EXIT, "b", 0, VM_CFG_ON_POWEROFF, "s",
                domus_launch_action(VM_ON_POWEROFF, def->on_poweroff), VM_CFG_ON_REBOOT, "s",
                domus_launch_action(VM_ON_REBOOT, def->on_reboot), VM_CFG_ON_CRASH, "s",
                domus_launch_action(VM_ON_CRASH, def->on_crash));
}

int domus_launch_append(const DomusLaunch *l, const DomusDomainDef *def, sd_bus_message *m)
{
        int r;

        if (!m)
                return -ENOTCONN;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_values(m, l, def);
        if (r >= 0)
                r = append_files(m, l);
        if (r >= 0 && def->smbios[0])
                r = append_smbios(m, def->smbios);
        if (r >= 0)
                r = append_ptys(m, l->ptys);
        if (r >= 0 && l->devices && l->devices->len > 0)
                r = append_devices(m, l->devices);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r;
}
