/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtdomusd: puts the host, the domains and libvirt's RPC together on one event loop. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/device-host.h"
#include "daemon/domain.h"
#include "libvirt-driver/server.h"
#include "storage/pools.h"

#define VMM_USER "domus"
#define POOLS_START_MS 30000 /* so long the start of domains waits for pools */

struct options {
        bool session;
        DomusPaths paths;
        char *socket_dir;
};

/* --- Command line --- */

static const char help[] =
        "Usage: virtdomusd [--system | --session] [options]\n"
        "Manages virtual machines and serves libvirt's protocol on UNIX sockets, in the foreground.\n"
        "\n"
        "  --system            the host's virtual machines (default for root)\n"
        "  --session           the calling user's virtual machines (default for others)\n"
        "  --config-dir DIR    definitions and autostart marks   (/etc/domus, ~/.config/domus)\n"
        "  --run-dir DIR       running state                     (/run/domus, $XDG_RUNTIME_DIR/domus)\n"
        "  --state-dir DIR     images and saved state            (/var/lib/domus, ~/.local/share/domus)\n"
        "  --log-dir DIR       one log per domain                (/var/log/domus, ~/.cache/domus/log)\n"
        "  --socket-dir DIR    virtdomusd-sock, virtdomusd-sock-ro  (/run/libvirt, $XDG_RUNTIME_DIR/libvirt)\n"
        "  --vmm FILE          the domus-vm program              (beside virtdomusd)\n"
        "  --bootloader FILE   the domus-bootloader program      (beside virtdomusd)\n"
        "  --verbose           log what clients do\n"
        "  --help, --version\n"
        "\n"
        "Sockets from systemd (LISTEN_FDS) replace those in the socket directory. SIGTERM and SIGINT end the daemon; virtual\n"
        "machines go on and are found again.\n";

enum { OPT_SYSTEM = 256, OPT_SESSION, OPT_CONFIG, OPT_RUN, OPT_STATE, OPT_LOG, OPT_SOCKET, OPT_VMM, OPT_BOOTLOADER, OPT_VERBOSE, OPT_HELP,
        OPT_VERSION };

static const struct option long_options[] = {
        { "system", no_argument, NULL, OPT_SYSTEM },
        { "session", no_argument, NULL, OPT_SESSION },
        { "config-dir", required_argument, NULL, OPT_CONFIG },
        { "run-dir", required_argument, NULL, OPT_RUN },
        { "state-dir", required_argument, NULL, OPT_STATE },
        { "log-dir", required_argument, NULL, OPT_LOG },
        { "socket-dir", required_argument, NULL, OPT_SOCKET },
        { "vmm", required_argument, NULL, OPT_VMM },
        { "bootloader", required_argument, NULL, OPT_BOOTLOADER },
        { "verbose", no_argument, NULL, OPT_VERBOSE },
        { "help", no_argument, NULL, OPT_HELP },
        { "version", no_argument, NULL, OPT_VERSION },
        /* What client libraries of libvirt pass when they start a session's daemon themselves: it then
         * ends when idle. Ours stays. */
        { "timeout", required_argument, NULL, 't' },
        { 0 },
};

static void set_path(char **path, const char *value)
{
        g_free(*path);
        *path = g_strdup(value);
}

/* 0: go on; 1: done, with success; -EINVAL. */
static int parse_option(struct options *o, int option)
{
        switch (option) {
        case OPT_SYSTEM:
        case OPT_SESSION:
                o->session = option == OPT_SESSION;
                return 0;
        case OPT_CONFIG:
                set_path(&o->paths.config_dir, optarg);
                return 0;
        case OPT_RUN:
                set_path(&o->paths.run_dir, optarg);
                return 0;
        case OPT_STATE:
                set_path(&o->paths.state_dir, optarg);
                return 0;
        case OPT_LOG:
                set_path(&o->paths.log_dir, optarg);
                return 0;
        case OPT_SOCKET:
                set_path(&o->socket_dir, optarg);
                return 0;
        case OPT_VMM:
                set_path(&o->paths.vmm_path, optarg);
                return 0;
        case OPT_BOOTLOADER:
                set_path(&o->paths.bootloader_path, optarg);
                return 0;
        case OPT_VERBOSE:
                log_set_level(LOG_LEVEL_DEBUG);
                return 0;
        case 't':
                return 0;
        case OPT_HELP:
                fputs(help, stdout);
                return 1;
        case OPT_VERSION:
                puts("virtdomusd (Domus) " DOMUS_VERSION);
                return 1;
        default:
                return -EINVAL;
        }
}

static int parse_options(struct options *o, int argc, char **argv)
{
        int option;

        while ((option = getopt_long(argc, argv, "t:", long_options, NULL)) != -1) {
                int r = parse_option(o, option);

                if (r)
                        return r;
        }
        if (optind < argc) {
                fprintf(stderr, "virtdomusd: unexpected argument '%s'\n", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

/* --- Where things are --- */

static void default_path(char **path, char *value)
{
        if (*path)
                g_free(value);
        else
                *path = value;
}

/* What is installed beside the daemon. */
static char *find_program(const char *name)
{
        g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
        g_autofree char *dir = self ? g_path_get_dirname(self) : NULL;
        g_autofree char *beside = dir ? g_build_filename(dir, name, NULL) : NULL;

        if (beside && access(beside, X_OK) == 0)
                return g_steal_pointer(&beside);
        return g_build_filename(DOMUS_SBINDIR, name, NULL);
}

static void fill_paths(struct options *o)
{
        DomusPaths *p = &o->paths;

        if (o->session) {
                default_path(&p->config_dir, g_build_filename(g_get_user_config_dir(), "domus", NULL));
                default_path(&p->run_dir, g_build_filename(g_get_user_runtime_dir(), "domus", NULL));
                default_path(&p->state_dir, g_build_filename(g_get_user_data_dir(), "domus", NULL));
                default_path(&p->log_dir, g_build_filename(g_get_user_cache_dir(), "domus", "log", NULL));
                default_path(&o->socket_dir, g_build_filename(g_get_user_runtime_dir(), "libvirt", NULL));
        } else {
                default_path(&p->config_dir, g_strdup("/etc/domus"));
                default_path(&p->run_dir, g_strdup("/run/domus"));
                default_path(&p->state_dir, g_strdup("/var/lib/domus"));
                default_path(&p->log_dir, g_strdup("/var/log/domus"));
                default_path(&o->socket_dir, g_strdup("/run/libvirt"));
        }
        default_path(&p->vmm_path, find_program("domus-vm"));
        default_path(&p->bootloader_path, find_program("domus-bootloader"));
        p->privileged = geteuid() == 0;
        if (p->privileged && !o->session)
                set_path(&p->vmm_user, VMM_USER);
}

static void options_clear(struct options *o)
{
        g_free(o->paths.config_dir);
        g_free(o->paths.run_dir);
        g_free(o->paths.state_dir);
        g_free(o->paths.log_dir);
        g_free(o->paths.vmm_path);
        g_free(o->paths.bootloader_path);
        g_free(o->paths.vmm_user);
        g_free(o->socket_dir);
}

/* --- One daemon per run directory --- */

/* The lock is the pid file's, held until the process ends; -1 after saying why not. */
static int take_lock(const char *run_dir)
{
        g_autofree char *path = g_build_filename(run_dir, "virtdomusd.pid", NULL);
        g_autofree char *pid = g_strdup_printf("%d\n", (int)getpid());
        int r = file_make_dirs(run_dir, 0755);
        int fd;

        if (r < 0) {
                log_error("cannot make %s: %s", run_dir, strerror(-r));
                return -1;
        }
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) {
                log_error("cannot open %s: %s", path, strerror(errno));
                return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                log_error("another virtdomusd holds %s", path);
                return fd_close(fd);
        }
        if (ftruncate(fd, 0) < 0 || fd_write_all(fd, pid, strlen(pid)) < 0)
                log_warning("cannot write %s: %s", path, strerror(errno));
        return fd;
}

/* --- The process --- */

static void raise_limits(void)
{
        struct rlimit r, more = { 65536, 65536 };

        if (getrlimit(RLIMIT_NOFILE, &r) < 0)
                return;
        /* Who may raise the hard limit, does; else what there is has to do. */
        if (r.rlim_max < more.rlim_max && setrlimit(RLIMIT_NOFILE, &more) == 0)
                return;
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
}

static int add_signals(sd_event *loop)
{
        static const int ending[] = { SIGTERM, SIGINT };
        sigset_t set;

        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN); /* there is no configuration to read again */
        sigemptyset(&set);
        for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
                sigaddset(&set, ending[i]);
        sigaddset(&set, SIGCHLD); /* sd-event waits for children by their pidfds */
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ARRAY_SIZE(ending); i++) {
                int r = sd_event_add_signal(loop, NULL, ending[i], NULL, NULL); /* ends the loop */

                if (r < 0)
                        return r;
        }
        return 0;
}

/* Sockets from the service manager, else our own. */
static bool listen_for_clients(struct server *server, const char *dir, GError **error)
{
        int n = sd_listen_fds(1);

        if (n <= 0)
                return server_listen(server, dir, error);
        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
                if (!server_add_listener(server, fd, error))
                        return false;
        return true;
}

static int serve(sd_event *loop, const struct options *o, DomusManager *manager)
{
        g_autoptr(GError) error = NULL;
        struct server *server = server_new(manager, loop, o->session);
        int r;

        if (!listen_for_clients(server, o->socket_dir, &error)) {
                log_error("%s", error->message);
                server_free(server);
                return EXIT_FAILURE;
        }
        sd_notify(0, "READY=1");
        log_info("virtdomusd %s is ready", DOMUS_VERSION);
        r = sd_event_loop(loop);
        if (r < 0)
                log_error("event loop: %s", strerror(-r));
        else
                log_info("ending; virtual machines go on");
        sd_notify(0, "STOPPING=1");
        server_free(server);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Pools come before the domains that lie on them. */
static DomusPools *start_pools(sd_event *loop, const DomusPaths *paths, GError **error)
{
        DomusPoolDirs dirs = {
                .config_dir = paths->config_dir, .run_dir = paths->run_dir, .state_dir = paths->state_dir, .privileged = paths->privileged
        };
        DomusPools *pools = domus_pools_new(loop, &dirs, error);

        if (pools)
                domus_pools_autostart(pools, POOLS_START_MS);
        return pools;
}

static int run(sd_event *loop, const struct options *o)
{
        g_autoptr(GError) error = NULL;
        DomusHost *host = domus_host_new(o->paths.vmm_path, &error);
        DomusPools *pools = NULL;
        DomusManager *manager = NULL;
        int status = EXIT_FAILURE;

        if (host) /* has logged which engine it is, and why */
                pools = start_pools(loop, &o->paths, &error);
        if (pools) {
                DomusDomainHooks hooks;

                domus_device_host_storage(pools, &hooks);
                manager = domus_manager_new(loop, &o->paths, host, &hooks, &error);
        }
        if (manager) {
                domus_manager_set_pools(manager, pools);
                status = serve(loop, o, manager);
        } else {
                log_error("%s", error->message);
        }
        domus_manager_free(manager);
        domus_pools_free(pools);
        domus_host_free(host);
        return status;
}

int main(int argc, char **argv)
{
        struct options o = { .session = geteuid() != 0 };
        int r = parse_options(&o, argc, argv);
        int DOMUS_CLOSE_FD lock = -1;
        sd_event *loop = NULL;
        int status = EXIT_FAILURE;

        if (r) {
                options_clear(&o);
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        umask(022);
        fill_paths(&o);
        raise_limits();
        lock = take_lock(o.paths.run_dir);
        if (lock >= 0) {
                r = sd_event_default(&loop);
                if (r >= 0)
                        r = add_signals(loop);
                if (r < 0)
                        log_error("cannot make an event loop: %s", strerror(-r));
                else
                        status = run(loop, &o);
        }
        sd_event_unref(loop);
        options_clear(&o);
        return status;
}
