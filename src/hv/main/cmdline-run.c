/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/engine/probe.h"
#include "hv/machine/machine.h"
#include "hv/main/cmdline-devices.h"
#include "hv/main/commands.h"
#include "hv/main/serial-feed.h"
#include "hv/main/signals.h"
#include "hv/main/terminal.h"

struct run {
        struct machine_config config;
        const char *kernel, *initrd, *engine;
        bool no_reboot;
        struct cmdline_devices devices;
        sd_event *loop;
        struct signals *signals;
        struct machine *machine;
        struct serial_feed *feed;
        struct terminal terminal;
        const char *last_words; /* said after the terminal is itself again */
};

static int usage(void)
{
        fputs("usage: domus-vm run --kernel FILE [--initrd FILE] [--append TEXT] [--memory SIZE] [--cpus N]\n"
              "                    [--disk FILE[,KEY=VALUE...]] [--net tap=NAME|fd=N[,KEY=VALUE...]] [--device DRIVER[,KEY=VALUE...]]\n"
              "                    [--engine dbt|kvm|auto] [--translate-after N|hot|never] [--code-cache SIZE] [--engine-check]\n"
              "                    [--mirror auto|always|never] [--debug-exit] [--no-reboot]\n",
                stderr);
        return -EINVAL;
}

static int complain(const char *what, const char *why)
{
        fprintf(stderr, "domus-vm: %s: %s\n", what, why);
        return -EINVAL;
}

/* A number with suffix K, M, G or T; MiB without one. 0: not a size. */
static uint64_t parse_size(const char *s)
{
        static const char suffixes[] = "KMGT";
        char *end;
        unsigned shift = 20;
        unsigned long long n;
        const char *suffix;

        if (*s < '0' || *s > '9')
                return 0;
        errno = 0;
        n = strtoull(s, &end, 10);
        suffix = *end ? strchr(suffixes, *end & ~0x20) : NULL;
        if (suffix) {
                shift = 10 * (unsigned)(suffix - suffixes + 1);
                end++;
        }
        return errno || *end || n > UINT64_MAX >> shift ? 0 : (uint64_t)n << shift;
}

static int parse_cpus(const char *s, unsigned *ret)
{
        char *end;
        long n = strtol(s, &end, 10);

        if (end == s || *end || n < 1 || n > ENGINE_CPUS_MAX)
                return complain(s, "the number of CPUs must be 1 to 64");
        *ret = (unsigned)n;
        return 0;
}

/* For tests of the software engine: runs of a piece of code before it is translated. */
static int parse_translate(const char *s, struct machine_config *ret)
{
        char *end;
        unsigned long n = strtoul(s, &end, 10);

        ret->translate_hot = strcmp(s, "hot") == 0;
        ret->translate_after = ret->translate_hot ? 1 : ENGINE_NEVER_TRANSLATE;
        if (ret->translate_hot || strcmp(s, "never") == 0)
                return 0;
        if (end == s || *end || n < 1 || n > 1000000)
                return complain(s, "--translate-after takes a number from 1, 'hot' or 'never'");
        ret->translate_after = (unsigned)n;
        return 0;
}

/* For tests of the software engine. */
static int parse_mirror(const char *s, enum engine_mirror *ret)
{
        static const char *const names[] = {
                [ENGINE_MIRROR_AUTO] = "auto", [ENGINE_MIRROR_NEVER] = "never", [ENGINE_MIRROR_ALWAYS] = "always",
        };

        for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
                if (strcmp(s, names[i]) == 0) {
                        *ret = (enum engine_mirror)i;
                        return 0;
                }
        }
        return complain(s, "--mirror takes auto, always or never");
}

static int parse_option(struct run *run, int option)
{
        switch (option) {
        case 'k':
                run->kernel = optarg;
                return 0;
        case 'i':
                run->initrd = optarg;
                return 0;
        case 'a':
                run->config.cmdline = optarg;
                return 0;
        case 'm':
                run->config.memory = parse_size(optarg);
                return run->config.memory ? 0 : complain(optarg, "not a size; 512M or 2G would be");
        case 'c':
                return parse_cpus(optarg, &run->config.cpus);
        case 'e':
                run->engine = optarg;
                return 0;
        case 't':
                return parse_translate(optarg, &run->config);
        case 's':
                run->config.code_cache = parse_size(optarg);
                return run->config.code_cache >= ENGINE_CODE_CACHE_MIN ? 0 : complain(optarg, "not a size of at least 1M");
        case 'x':
                run->config.engine_check = true;
                return 0;
        case 'M':
                return parse_mirror(optarg, &run->config.mirror);
        case 'D':
                return cmdline_device_add(&run->devices, optarg);
        case 'b':
                return cmdline_disk_add(&run->devices, optarg);
        case 'N':
                return cmdline_net_add(&run->devices, optarg);
        case 'd':
                run->config.debug_exit = true;
                return 0;
        case 'n':
                run->no_reboot = true;
                return 0;
        default:
                return usage();
        }
}

static int parse(struct run *run, int argc, char **argv)
{
        static const struct option options[] = {
                { "kernel", required_argument, NULL, 'k' },  { "initrd", required_argument, NULL, 'i' },
                { "append", required_argument, NULL, 'a' },  { "memory", required_argument, NULL, 'm' },
                { "cpus", required_argument, NULL, 'c' },    { "engine", required_argument, NULL, 'e' },
                { "debug-exit", no_argument, NULL, 'd' },    { "no-reboot", no_argument, NULL, 'n' },
                { "translate-after", required_argument, NULL, 't' },
                { "engine-check", no_argument, NULL, 'x' },
                { "mirror", required_argument, NULL, 'M' },
                { "device", required_argument, NULL, 'D' },
                { "disk", required_argument, NULL, 'b' },
                { "net", required_argument, NULL, 'N' },
                { "code-cache", required_argument, NULL, 's' }, { NULL, 0, NULL, 0 },
        };
        int c, r = 0;

        while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1)
                r = parse_option(run, c);
        if (r == 0 && run->config.engine_check && run->config.cpus != 1)
                r = complain("--engine-check", "only with one CPU");
        if (r == 0 && (optind != argc || !run->kernel))
                r = usage();
        return r;
}

static int open_file(const char *path, int *ret)
{
        *ret = open(path, O_RDONLY | O_CLOEXEC);
        return *ret < 0 ? complain(path, strerror(errno)) : 0;
}

static int choose_engine(struct run *run)
{
        bool auto_engine = strcmp(run->engine, "auto") == 0, kvm = strcmp(run->engine, "kvm") == 0;
        struct engine_probe probe;

        run->config.engine = &engine_dbt;
        if (!auto_engine && !kvm)
                return strcmp(run->engine, "dbt") == 0 ? 0 : complain(run->engine, "the engines are dbt, kvm and auto");
        run->config.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (kvm && run->config.kvm_fd < 0)
                return complain("/dev/kvm", strerror(errno));
        if (auto_engine) {
                engine_probe_kvm(run->config.kvm_fd < 0 ? -errno : run->config.kvm_fd, &probe);
                log_debug("engine %s: %s", probe.kvm ? "kvm" : "dbt", probe.reason);
                kvm = probe.kvm;
        }
        if (kvm)
                run->config.engine = &engine_kvm;
        return 0;
}

static void leave(void *opaque)
{
        struct run *run = opaque;

        sd_event_exit(run->loop, 0);
}

static void reboot(struct run *run)
{
        if (run->no_reboot)
                sd_event_exit(run->loop, 0);
        else if (machine_reset(run->machine) < 0)
                sd_event_exit(run->loop, 1);
}

static void on_event(struct machine *m, enum machine_event event, void *opaque)
{
        struct run *run = opaque;

        switch (event) {
        case MACHINE_EVENT_SHUTDOWN:
                sd_event_exit(run->loop, 0);
                break;
        case MACHINE_EVENT_RESET:
                reboot(run);
                break;
        case MACHINE_EVENT_DEBUG_EXIT:
                sd_event_exit(run->loop, machine_exit_code(m));
                break;
        case MACHINE_EVENT_CRASHED:
                run->last_words = "the guest crashed (triple fault or engine error, see above)";
                sd_event_exit(run->loop, 1);
                break;
        }
}

static void on_plug_event(struct machine *m, const char *id, enum plug_event event, uint64_t value, uint64_t excess, const char *text, void *opaque)
{
        if (event != PLUG_EVENT_IO_ERROR)
                return;
        log_error("device '%s': I/O failed: %s", id, text);
        /* Nobody is there who could make room and let it go on. */
        if (value)
                sd_event_exit(((struct run *)opaque)->loop, 1);
}

/* Straight to standard output: here the terminal may hold the guest up, and nothing is lost. */
static void on_output(void *opaque, unsigned n, const uint8_t *buf, size_t len)
{
        /* On a vCPU's thread: the way to the main loop is a signal. */
        if (n == 0 && fd_write_all(STDOUT_FILENO, buf, len) == -EPIPE)
                kill(getpid(), SIGTERM);
}

static void on_serial_ready(void *opaque, unsigned n)
{
        struct run *run = opaque;

        if (n == 0)
                serial_feed_ready(run->feed);
}

static int on_signal(void *opaque, int signal)
{
        struct run *run = opaque;

        return sd_event_exit(run->loop, 128 + signal);
}

static int watch_signals(struct run *run)
{
        static const int which[] = { SIGTERM, SIGINT, SIGHUP };

        return signals_new(run->loop, which, ARRAY_SIZE(which), on_signal, run, &run->signals);
}

/* The exit status. */
static int run_machine(struct run *run)
{
        struct serial_feed_handler keys = { .filter = terminal_filter, .opaque = &run->terminal };
        const char *error;
        int r;

        r = machine_new(run->loop, &run->config, &run->machine, &error);
        if (r < 0) {
                complain(error, strerror(-r));
                return 1;
        }
        if (cmdline_devices_plug(&run->devices, run->machine) < 0)
                return 1;
        run->terminal.leave = leave;
        run->terminal.opaque = run;
        r = serial_feed_new(run->loop, STDIN_FILENO, run->machine, 0, &keys, &run->feed);
        if (r < 0)
                log_debug("no serial input from standard input: error %d", -r);
        r = watch_signals(run);
        if (r < 0) {
                complain("signals", strerror(-r));
                return 1;
        }
        terminal_enter(&run->terminal);
        machine_start(run->machine);
        r = sd_event_loop(run->loop);
        terminal_restore(&run->terminal);
        return r < 0 ? 1 : r;
}

static int prepare(struct run *run, int argc, char **argv)
{
        int r = parse(run, argc, argv);

        if (r == 0)
                r = open_file(run->kernel, &run->config.kernel_fd);
        if (r == 0 && run->initrd)
                r = open_file(run->initrd, &run->config.initrd_fd);
        if (r == 0)
                r = choose_engine(run);
        if (r == 0 && sd_event_new(&run->loop) < 0)
                r = complain("event loop", "cannot be made");
        return r;
}

int command_run(int argc, char **argv)
{
        struct run run = {
                .engine = "auto",
                .config = {
                        .kvm_fd = -1, .kernel_fd = -1, .initrd_fd = -1, .cpus = 1, .memory = MiB(512), .cmdline = "",
                        .acpi = true, .event = on_event, .serial_output = on_output, .serial_ready = on_serial_ready, .plug_event = on_plug_event,
                        .opaque = &run,
                },
        };
        int status = 1;

        if (prepare(&run, argc, argv) == 0)
                status = run_machine(&run);
        if (run.last_words)
                complain("stopped", run.last_words);
        serial_feed_free(run.feed);
        machine_free(run.machine);
        cmdline_devices_finish(&run.devices);
        signals_free(run.signals);
        sd_event_unref(run.loop);
        fd_close(run.config.kernel_fd);
        fd_close(run.config.initrd_fd);
        fd_close(run.config.kvm_fd);
        return status;
}
