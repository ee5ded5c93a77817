/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/host-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"

#define CPU_MAP_DIR "/usr/share/libvirt/cpu_map"
#define PROBE_TIMEOUT_MS 1000
#define MAX_VCPUS 64

extern char **environ;

static char *read_v(const char *root, const char *fmt, va_list ap)
{
        g_autofree char *path = g_strdup_vprintf(fmt, ap), *full = g_strconcat(root, path, NULL), *ret = NULL;
        char *text;

        if (file_read(full, 1 << 20, &text, NULL) < 0)
                return NULL;
        ret = g_strdup(text);
        free(text);
        if (!g_utf8_validate(ret, -1, NULL))
                return NULL;
        return g_strchomp(g_steal_pointer(&ret));
}

char *host_read(const char *root, const char *fmt, ...)
{
        va_list ap;
        char *ret;

        va_start(ap, fmt);
        ret = read_v(root, fmt, ap);
        va_end(ap);
        return ret;
}

unsigned host_read_uint(unsigned fallback, const char *root, const char *fmt, ...)
{
        g_autofree char *text = NULL;
        va_list ap;
        guint64 v;

        va_start(ap, fmt);
        text = read_v(root, fmt, ap);
        va_end(ap);
        return text && g_ascii_string_to_unsigned(text, 10, 0, UINT_MAX, &v, NULL) ? (unsigned)v : fallback;
}

/* --- The KVM probe --- */

static int spawn_probe(const char *vmm, int out, pid_t *ret_pid)
{
        char *argv[] = { (char *)vmm, (char[]){ "probe" }, NULL };
        posix_spawn_file_actions_t actions;
        int r;

        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, out, 1);
        r = posix_spawn(ret_pid, vmm, &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        return -r;
}

/* Reads until end of file, or the deadline: then false. */
static bool read_until(int fd, int64_t deadline, char *buf, size_t size)
{
        size_t n = 0;

        for (;;) {
                int64_t left = (deadline - g_get_monotonic_time()) / 1000;
                struct pollfd p = { .fd = fd, .events = POLLIN };
                ssize_t r;

                buf[n] = 0;
                if (left <= 0 || (poll(&p, 1, (int)left) == 0))
                        return false;
                r = read(fd, buf + n, size - 1 - n);
                if (r < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (r <= 0 || n + (size_t)r == size - 1)
                        return true;
                n += (size_t)r;
        }
}

static char *run_probe(const char *vmm)
{
        DOMUS_CLOSE_FD int in = -1;
        char buf[512];
        int fds[2], r;
        bool done;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return g_strdup_printf("software cannot probe: %s", g_strerror(errno));
        in = fds[0];
        r = spawn_probe(vmm, fds[1], &pid);
        fd_close(fds[1]);
        if (r < 0)
                return g_strdup_printf("software cannot run %s: %s", vmm, g_strerror(-r));
        done = read_until(in, g_get_monotonic_time() + PROBE_TIMEOUT_MS * 1000, buf, sizeof(buf));
        if (!done)
                kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        if (!done)
                return g_strdup_printf("software the probe took longer than %d ms", PROBE_TIMEOUT_MS);
        return g_strdup(buf);
}

/* Answer of "domus-vm probe": one line, "kvm REASON" or "software REASON". */
static void probe(DomusHost *h)
{
        g_autofree char *answer = run_probe(h->facts.emulator);
        char *nl = strchr(answer, '\n'), *space;

        if (nl)
                *nl = 0;
        if (!g_utf8_validate(answer, -1, NULL))
                *answer = 0;
        space = strchr(answer, ' ');
        h->facts.kvm = g_str_has_prefix(answer, "kvm ");
        if (h->facts.kvm || g_str_has_prefix(answer, "software "))
                h->engine_reason = g_strdup(space + 1);
        else
                h->engine_reason = g_strdup_printf("%s gave no answer", h->facts.emulator);
        log_info("engine: %s: %s", h->facts.kvm ? "KVM" : "software", h->engine_reason);
}

/* --- Identity and clock --- */

static void read_uuid(DomusHost *h)
{
        g_autofree char *dmi = host_read(h->root, "/sys/class/dmi/id/product_uuid");
        g_autofree char *machine_id = host_read(h->root, "/etc/machine-id");

        if ((dmi && domus_uuid_parse(dmi, h->facts.uuid)) || (machine_id && domus_uuid_parse(machine_id, h->facts.uuid)))
                return;
        domus_uuid_generate(h->facts.uuid);
}

static void read_cpuinfo(DomusHost *h)
{
        g_autofree char *text = host_read(h->root, "/proc/cpuinfo");
        const char *mhz = text ? strstr(text, "cpu MHz") : NULL, *microcode = text ? strstr(text, "microcode") : NULL;

        mhz = mhz ? strchr(mhz, ':') : NULL;
        microcode = microcode ? strchr(microcode, ':') : NULL;
        if (mhz)
                h->mhz = (unsigned)g_ascii_strtod(mhz + 1, NULL);
        if (microcode)
                h->facts.microcode = g_ascii_strtoull(microcode + 1, NULL, 0);
}

DomusHost *domus_host_new_at(const char *root, const char *vmm_path, GError **error)
{
        DomusHost *h = g_new0(DomusHost, 1);

        h->root = g_strdup(root);
        h->facts.arch = g_strdup("x86_64");
        h->facts.emulator = g_strdup(vmm_path);
        h->facts.max_vcpus = MAX_VCPUS;
        h->facts.page_size_kib = (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
        if (!host_read_topology(root, &h->facts, error)) {
                domus_host_free(h);
                return NULL;
        }
        read_uuid(h);
        read_cpuinfo(h);
        host_read_cpu_model(CPU_MAP_DIR, &h->facts);
        probe(h);
        return h;
}

DomusHost *domus_host_new(const char *vmm_path, GError **error)
{
        return domus_host_new_at("", vmm_path, error);
}

void domus_host_free(DomusHost *h)
{
        if (!h)
                return;
        domus_host_facts_clear(&h->facts);
        g_free(h->engine_reason);
        g_free(h->root);
        g_free(h);
}

const DomusHostFacts *domus_host_facts(const DomusHost *h)
{
        return &h->facts;
}

const char *domus_host_engine_reason(const DomusHost *h)
{
        return h->engine_reason;
}

int domus_host_open_kvm(const DomusHost *h)
{
        int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

void domus_host_node_info(const DomusHost *h, DomusNodeInfo *ret)
{
        const DomusHostFacts *f = &h->facts;
        g_autofree char *text = host_read(h->root, "/proc/meminfo");

        *ret = (DomusNodeInfo){
                .cpus = f->n_cpus,
                .mhz = h->mhz,
                .nodes = f->n_nodes,
                .sockets = f->sockets,
                .cores = f->dies * f->cores, /* the structure has no dies */
                .threads = f->threads,
        };
        if (f->n_nodes * f->sockets * f->dies * f->cores * f->threads != f->n_cpus)
                ret->nodes = 1;
        g_strlcpy(ret->model, f->arch, sizeof(ret->model));
        if (text)
                host_meminfo_value(text, "MemTotal", &ret->memory_kib);
}

char *domus_host_sysinfo_xml(const DomusHost *h, GError **error)
{
        DomusSysinfo info = {};
        struct {
                char **field;
                const char *file;
        } t[] = {
                { &info.bios_vendor, "bios_vendor" },
                { &info.bios_version, "bios_version" },
                { &info.bios_date, "bios_date" },
                { &info.system_manufacturer, "sys_vendor" },
                { &info.system_product, "product_name" },
                { &info.system_version, "product_version" },
                { &info.system_serial, "product_serial" },
                { &info.system_uuid, "product_uuid" },
                { &info.system_family, "product_family" },
        };
        bool any = false;
        char *xml = NULL;

        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                *t[i].field = host_read(h->root, "/sys/class/dmi/id/%s", t[i].file);
                any = any || *t[i].field;
        }
        if (any)
                xml = domus_sysinfo_format(&info);
        else
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED, "Host SMBIOS information is not available");
        domus_sysinfo_clear(&info);
        return xml;
}
