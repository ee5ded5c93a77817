/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/machine/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/block/ring.h"
#include "hv/dev/acpi-pm.h"
#include "hv/dev/serial.h"
#include "hv/machine/acpi.h"
#include "hv/machine/loader.h"
#include "hv/machine/machine-private.h"
#include "hv/machine/smbios.h"
#include "hv/x86/tsc.h"

void machine_post(struct machine *m, unsigned what)
{
        uint64_t one = 1;

        atomic_fetch_or(&m->posted, what);
        if (write(m->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_error("cannot wake the main loop: %m");
}

/* Time stands still for devices and, by the engine, for the guest's own clocks. */
static void set_paused(struct machine *m, bool paused)
{
        if (m->engine_paused == paused)
                return;
        m->engine_paused = paused;
        if (paused)
                timer_loop_pause(m->timers, true);
        m->engine->pause(m->vm, paused);
        if (!paused)
                timer_loop_pause(m->timers, false);
}

static void stop(struct machine *m, enum machine_state state)
{
        machine_vcpus_stop(m);
        set_paused(m, true);
        m->state = state;
}

static void run(struct machine *m)
{
        m->state = MACHINE_RUNNING;
        set_paused(m, false);
        machine_vcpus_go(m);
}

/* Of several things that happened at once the first in this list counts. */
static const struct {
        unsigned post;
        enum machine_event event;
        enum machine_state state;
} event_rules[] = {
        { MACHINE_POST_DEBUG_EXIT, MACHINE_EVENT_DEBUG_EXIT, MACHINE_SHUTOFF },
        { MACHINE_POST_ERROR, MACHINE_EVENT_CRASHED, MACHINE_CRASHED },
        { MACHINE_POST_SHUTDOWN, MACHINE_EVENT_SHUTDOWN, MACHINE_SHUTOFF },
        { MACHINE_POST_RESET, MACHINE_EVENT_RESET },
        { MACHINE_POST_CRASHED, MACHINE_EVENT_CRASHED, MACHINE_CRASHED },
};

static void handle_guest_events(struct machine *m, unsigned posted)
{
        for (unsigned i = 0; i < ARRAY_SIZE(event_rules); i++) {
                if (!(posted & event_rules[i].post))
                        continue;
                /* A reset does not end a pause. */
                stop(m, event_rules[i].event == MACHINE_EVENT_RESET ? m->state : event_rules[i].state);
                m->config.event(m, event_rules[i].event, m->config.opaque);
                return; /* m may be gone */
        }
}

static int on_posted(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct machine *m = userdata;
        uint64_t count;
        unsigned posted;

        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                log_warning("cannot read the event descriptor: %m");
        posted = atomic_exchange(&m->posted, 0);
        for (unsigned n = 0; n < MACHINE_SERIALS; n++)
                if ((posted & (MACHINE_POST_SERIAL_READY << n)) && m->config.serial_ready)
                        m->config.serial_ready(m->config.opaque, n);
        if (posted & MACHINE_POST_PLUG)
                machine_plugs_dispatch(m);
        handle_guest_events(m, posted);
        return 0;
}

static int on_timer(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct machine *m = userdata;

        timer_loop_dispatch(m->timers);
        return 0;
}

static int on_watch(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        struct machine *m = userdata;

        watch_loop_dispatch(m->watches);
        return 0;
}

static void on_memory_written(void *opaque, uint64_t gpa, uint64_t len)
{
        struct machine *m = opaque;

        m->engine->written(m->vm, gpa, len);
}

/* ACPI tables, kernel and CPU states into zeroed memory. */
static int load(struct machine *m, const char **ret_error)
{
        struct loader_input in = {
                .kernel_fd = m->config.kernel_fd, .initrd_fd = m->config.initrd_fd, .cmdline = m->cmdline
        };
        struct x86_state *state = aligned_alloc(_Alignof(struct x86_state), sizeof(*state));
        int r = 0;

        *ret_error = "out of memory";
        if (!state)
                return -ENOMEM;
        r = guest_write(&m->memory, LOADER_SMBIOS_BASE, m->smbios, LOADER_SMBIOS_SIZE);
        if (r == 0 && m->config.acpi)
                r = acpi_build(&m->memory, m->config.cpus, &in.rsdp);
        if (r < 0) {
                *ret_error = "the tables of the firmware cannot be built";
        } else {
                x86_state_reset(state, 0, true);
                r = loader_load(&m->memory, &in, state, ret_error);
        }
        if (r == 0) {
                r = machine_vcpus_reset(m, state);
                *ret_error = r < 0 ? "the CPU engine refuses the start state" : NULL;
        }
        free(state);
        return r;
}

static int make_sources(struct machine *m, sd_event *loop)
{
        int r;

        m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (m->event_fd < 0)
                return -errno;
        r = sd_event_add_io(loop, &m->event_source, m->event_fd, EPOLLIN, on_posted, m);
        if (r >= 0)
                r = sd_event_add_io(loop, &m->timer_source, timer_loop_fd(m->timers), EPOLLIN, on_timer, m);
        if (r >= 0)
                r = sd_event_add_io(loop, &m->watch_source, watch_loop_fd(m->watches), EPOLLIN, on_watch, m);
        return r < 0 ? r : 0;
}

static int make_engine(struct machine *m)
{
        struct engine_config config = {
                .cpus = m->config.cpus,
                .callbacks = &machine_engine_callbacks,
                .opaque = m,
                .kvm_fd = m->config.kvm_fd,
                .translate_after = m->config.translate_after,
                .translate_hot = m->config.translate_hot,
                .code_cache = m->config.code_cache,
                .check = m->config.engine_check,
                .mirror = m->config.mirror,
        };
        int r = m->engine->vm_new(&config, &m->vm);

        for (unsigned i = 0; r == 0 && i < m->memory.n_regions; i++) {
                struct guest_region *region = &m->memory.regions[i];

                r = m->engine->map(m->vm, i, region->gpa, region->size, region->host, region->readonly);
                if (r == 0 && m->engine->share && !region->readonly && m->memory.memfd >= 0)
                        m->engine->share(m->vm, i, m->memory.memfd, region->offset);
        }
        if (r == 0 && m->engine->written) {
                m->memory.written = on_memory_written;
                m->memory.written_opaque = m;
        }
        return r;
}

static int check_config(const struct machine_config *config, const char **ret_error)
{
        if (config->cpus == 0 || config->cpus > ENGINE_CPUS_MAX)
                *ret_error = "the number of CPUs must be 1 to 64";
        else if (config->memory < MiB(1) || config->memory % 4096)
                *ret_error = "the memory must be a multiple of 4 KiB, at least 1 MiB";
        else if (config->kernel_fd < 0)
                *ret_error = "no kernel is given";
        else
                return 0;
        return -EINVAL;
}

/* Its strings are the caller's and are not kept. */
static int build_smbios(struct machine *m, const char **ret_error)
{
        const char *name;
        size_t len;
        int r;

        *ret_error = "out of memory";
        m->smbios = malloc(LOADER_SMBIOS_SIZE);
        if (!m->smbios)
                return -ENOMEM;
        r = smbios_build(m->config.uuid, m->config.smbios, m->smbios, &len, &name);
        *ret_error = r == -ENOSPC ? "the SMBIOS strings are too long" : "a name of an SMBIOS string, or the UUID, is wrong";
        m->config.uuid = NULL;
        m->config.smbios = NULL;
        return r;
}

/* Each step with the sentence for its failure. */
static int build(struct machine *m, sd_event *loop, const char **ret_error)
{
        int r;

        r = build_smbios(m, ret_error);
        if (r < 0)
                return r;
        *ret_error = "the guest's memory cannot be made";
        r = guest_memory_init(&m->memory, m->config.memory);
        if (r < 0)
                return r;
        *ret_error = "the machine's event sources cannot be made";
        r = timer_loop_new(&m->device_lock, &m->timers);
        if (r == 0)
                r = watch_loop_new(&m->device_lock, &m->watches);
        if (r == 0 && m->config.ring)
                r = ring_attach(m->config.ring, m->watches);
        if (r == 0)
                r = make_sources(m, loop);
        if (r == 0)
                r = bus_new(&m->device_lock, &m->bus);
        if (r < 0)
                return r;
        *ret_error = "the CPU engine cannot be started";
        r = make_engine(m);
        if (r < 0)
                return r;
        *ret_error = "the machine's devices cannot be made";
        r = machine_irqs_new(m);
        if (r == 0)
                r = pci_bus_new(m->bus, &m->irqs, &m->pci);
        if (r == 0)
                r = machine_devices_new(m);
        if (r < 0)
                return r;
        machine_plugs_start(m);
        *ret_error = "the CPUs cannot be made";
        r = machine_vcpus_new(m);
        if (r < 0)
                return r;
        set_paused(m, true);
        return load(m, ret_error);
}

static struct machine *alloc(const struct machine_config *config)
{
        struct machine *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        m->config = *config;
        m->engine = config->engine;
        m->memory.memfd = m->event_fd = -1;
        pthread_mutex_init(&m->device_lock, NULL);
        pthread_mutex_init(&m->gate.lock, NULL);
        pthread_cond_init(&m->gate.changed, NULL);
        machine_irqs_init(m);
        machine_plugs_init(m);
        m->cmdline = strdup(config->cmdline);
        if (!m->cmdline) {
                machine_free(m);
                return NULL;
        }
        m->config.cmdline = m->cmdline;
        return m;
}

int machine_new(sd_event *loop, const struct machine_config *config, struct machine **ret, const char **ret_error)
{
        struct machine *m;
        int r = check_config(config, ret_error);

        if (r < 0)
                return r;
        m = alloc(config);
        if (!m) {
                *ret_error = "out of memory";
                return -ENOMEM;
        }
        m->tsc_khz = tsc_host_khz();
        r = build(m, loop, ret_error);
        if (r < 0) {
                machine_free(m);
                return r;
        }
        *ret_error = NULL;
        *ret = m;
        return 0;
}

void machine_free(struct machine *m)
{
        if (!m)
                return;
        machine_vcpus_free(m);
        sd_event_source_disable_unref(m->event_source);
        sd_event_source_disable_unref(m->timer_source);
        sd_event_source_disable_unref(m->watch_source);
        if (m->bus) {
                machine_plugs_free(m);
                machine_devices_free(m);
                pci_bus_free(m->pci);
                machine_irqs_free(m);
        }
        if (m->vm)
                m->engine->vm_free(m->vm);
        bus_free(m->bus);
        timer_loop_free(m->timers);
        if (m->watches && m->config.ring)
                ring_detach(m->config.ring);
        watch_loop_free(m->watches);
        fd_close(m->event_fd);
        guest_memory_finish(&m->memory);
        pthread_cond_destroy(&m->gate.changed);
        pthread_mutex_destroy(&m->gate.lock);
        pthread_mutex_destroy(&m->device_lock);
        free(m->cmdline);
        free(m->smbios);
        free(m);
}

int machine_start(struct machine *m)
{
        if (m->state != MACHINE_CREATED)
                return -EBUSY;
        run(m);
        return 0;
}

int machine_pause(struct machine *m)
{
        if (m->state != MACHINE_RUNNING && m->state != MACHINE_CREATED)
                return -EBUSY;
        stop(m, MACHINE_PAUSED);
        return 0;
}

int machine_resume(struct machine *m)
{
        if (m->state != MACHINE_PAUSED)
                return -EBUSY;
        machine_plugs_resume(m);
        run(m);
        return 0;
}

/* What the guest asked for before is void then. */
static void halt(struct machine *m)
{
        machine_vcpus_stop(m);
        set_paused(m, true);
        atomic_fetch_and(&m->posted, ~(MACHINE_POST_PLUG - 1u));
}

static int reset(struct machine *m, const char **ret_error)
{
        bool again = m->state != MACHINE_PAUSED && m->state != MACHINE_CREATED;
        int r;

        halt(m);
        pthread_mutex_lock(&m->device_lock);
        /* First: they may still write to memory. */
        machine_plugs_reset(m);
        guest_memory_zero(&m->memory);
        machine_irqs_reset(m);
        machine_devices_reset(m);
        pthread_mutex_unlock(&m->device_lock);
        r = load(m, ret_error);
        if (r < 0) {
                log_error("reset: %s", *ret_error);
                m->state = MACHINE_CRASHED;
                return r;
        }
        if (again)
                run(m);
        return 0;
}

int machine_reset(struct machine *m)
{
        const char *error;

        return reset(m, &error);
}

void machine_hold(struct machine *m)
{
        halt(m);
        m->state = MACHINE_PAUSED;
}

void machine_forget_kernel(struct machine *m)
{
        m->config.kernel_fd = m->config.initrd_fd = -1;
}

int machine_boot(struct machine *m, int kernel_fd, int initrd_fd, const char *cmdline, const char **ret_error)
{
        char *copy = strdup(cmdline);
        int r;

        *ret_error = "out of memory";
        if (!copy)
                return -ENOMEM;
        free(m->cmdline);
        m->config.cmdline = m->cmdline = copy;
        m->config.kernel_fd = kernel_fd;
        m->config.initrd_fd = initrd_fd;
        m->state = MACHINE_PAUSED;
        r = reset(m, ret_error);
        machine_forget_kernel(m);
        return r;
}

int machine_power_button(struct machine *m)
{
        if (m->state != MACHINE_RUNNING && m->state != MACHINE_PAUSED)
                return -EBUSY;
        if (!m->acpi_pm)
                return -EOPNOTSUPP;
        pthread_mutex_lock(&m->device_lock);
        acpi_pm_power_button(m->acpi_pm);
        pthread_mutex_unlock(&m->device_lock);
        return 0;
}

int machine_nmi(struct machine *m)
{
        int r = 0;

        if (m->state != MACHINE_RUNNING)
                return -EBUSY;
        for (unsigned i = 0; r == 0 && i < m->config.cpus; i++)
                r = m->engine->nmi(m->vcpus[i].engine);
        return r;
}

enum machine_state machine_get_state(const struct machine *m)
{
        return m->state;
}

int machine_exit_code(const struct machine *m)
{
        return (int)((m->exit_value << 1 | 1) & 0xff);
}

size_t machine_serial_input(struct machine *m, unsigned n, const uint8_t *buf, size_t len)
{
        size_t taken;

        if (n >= MACHINE_SERIALS || !m->serials[n])
                return 0;
        pthread_mutex_lock(&m->device_lock);
        taken = serial_input(m->serials[n], buf, len);
        pthread_mutex_unlock(&m->device_lock);
        return taken;
}
