/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Plays the daemon for one domus-vm serve: test-serve DOMUS-VM ENGINE GUEST-ECHO [KVM-DEVICE]. Exit 77: skipped. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "hv/bus/check.h"
#include "vmproto/vmproto.h"

static const char *binary, *engine, *guest;
static char dir[] = "/tmp/test-serve-XXXXXX";
static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static pid_t pid;
static sd_bus *bus;
static int master, slave, console;
static char state[32], reason[32];
static unsigned reboots;
static bool boot_loader;
static char log_path[64];

static void start_process(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM, 0), log;

        unlink(addr.sun_path);
        CHECK_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        CHECK_EQ(listen(fd, 4), 0);
        log = open(log_path, O_RDWR | O_CREAT | O_APPEND, 0600);
        pid = fork();
        if (pid == 0) {
                char control_arg[16], log_arg[16];

                snprintf(control_arg, sizeof(control_arg), "%d", fd);
                snprintf(log_arg, sizeof(log_arg), "%d", log);
                execl(binary, binary, "serve", "--control-fd", control_arg, "--log-fd", log_arg,
                        geteuid() == 0 ? "--user" : NULL, "65534:65534", NULL);
                _exit(127);
        }
        close(fd);
        close(log);
}

static int on_state(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *s, *r;

        CHECK(sd_bus_message_read(m, "ss", &s, &r) >= 0);
        snprintf(state, sizeof(state), "%s", s);
        snprintf(reason, sizeof(reason), "%s", r);
        return 0;
}

static int on_rebooted(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        reboots++;
        return 0;
}

static void connect_bus(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK_EQ(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        CHECK(sd_bus_new(&bus) >= 0);
        CHECK(sd_bus_set_fd(bus, fd, fd) >= 0);
        CHECK(sd_bus_negotiate_fds(bus, 1) >= 0);
        CHECK(sd_bus_match_signal(bus, NULL, NULL, VM_PATH, VM_INTERFACE, VM_STATE_CHANGED, on_state, NULL) >= 0);
        CHECK(sd_bus_match_signal(bus, NULL, NULL, VM_PATH, VM_INTERFACE, VM_REBOOTED, on_rebooted, NULL) >= 0);
        CHECK(sd_bus_start(bus) >= 0);
}

static void pump(int ms)
{
        while (sd_bus_process(bus, NULL) > 0)
                ;
        sd_bus_wait(bus, (uint64_t)ms * 1000);
        while (sd_bus_process(bus, NULL) > 0)
                ;
}

static int call(const char *method)
{
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call_method(bus, NULL, VM_PATH, VM_INTERFACE, method, &error, NULL, NULL);

        sd_bus_error_free(&error);
        return r;
}

static void wait_state(const char *wanted)
{
        for (unsigned i = 0; i < 100 && strcmp(state, wanted) != 0; i++)
                pump(100);
        CHECK(strcmp(state, wanted) == 0);
}

/* Reads the console until text comes; what came after it is kept for the next time. */
static void expect(const char *text)
{
        static char buf[8192];
        static size_t n;
        char *found;

        while (!(found = strstr(buf, text))) {
                struct pollfd p = { .fd = console, .events = POLLIN };
                ssize_t got;

                CHECK_EQ(poll(&p, 1, 10000), 1);
                CHECK(n < sizeof(buf) - 1);
                got = read(console, buf + n, sizeof(buf) - 1 - n);
                CHECK(got > 0);
                n += (size_t)got;
                buf[n] = 0;
        }
        found += strlen(text);
        n -= (size_t)(found - buf);
        memmove(buf, found, n + 1);
}

static void say(const char *text)
{
        CHECK_EQ(write(console, text, strlen(text)), (ssize_t)strlen(text));
}

static int configure(const char *cmdline, const char *on_crash, const char *kernel)
{
        sd_bus_message *m = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int kernel_fd = open(kernel, O_RDONLY), kvm_fd = open("/dev/kvm", O_RDWR), r;

        CHECK(kernel_fd >= 0);
        CHECK(sd_bus_message_new_method_call(bus, &m, NULL, VM_PATH, VM_INTERFACE, VM_CONFIGURE) >= 0);
        CHECK(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
        CHECK(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}{sv}", VM_CFG_VERSION, "u", VMPROTO_VERSION,
                      VM_CFG_NAME, "s", "test", VM_CFG_UUID, "s", "c7a5fdbd-edaf-9455-926a-d65c16db1809", VM_CFG_ENGINE,
                      "s", engine, VM_CFG_CPUS, "u", 1, VM_CFG_MEMORY, "t", UINT64_C(64) << 20, VM_CFG_CMDLINE, "s",
                      cmdline, VM_CFG_KERNEL, "h", kernel_fd, VM_CFG_ON_CRASH, "s", on_crash, VM_CFG_SERIAL, "a(hh)", 1,
                      master, slave) >= 0);
        if (boot_loader)
                CHECK(sd_bus_message_append(m, "{sv}", VM_CFG_BOOT_LOADER, "b", 1) >= 0);
        if (strcmp(engine, "kvm") == 0)
                CHECK(sd_bus_message_append(m, "{sv}", VM_CFG_KVM, "h", kvm_fd) >= 0);
        CHECK(sd_bus_message_close_container(m) >= 0);
        r = sd_bus_call(bus, m, 0, &error, NULL);
        if (r < 0)
                fprintf(stderr, "Configure: %s\n", error.message);
        sd_bus_error_free(&error);
        sd_bus_message_unref(m);
        close(kernel_fd);
        if (kvm_fd >= 0)
                close(kvm_fd);
        return r;
}

/* more: another field, of type s, or NULL */
static int set_kernel(const char *kernel, const char *more)
{
        sd_bus_message *m = NULL;
        int fd = open(kernel, O_RDONLY), r;

        CHECK(fd >= 0);
        CHECK(sd_bus_message_new_method_call(bus, &m, NULL, VM_PATH, VM_INTERFACE, VM_SET_KERNEL) >= 0);
        CHECK(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
        CHECK(sd_bus_message_append(m, "{sv}{sv}", VM_CFG_KERNEL, "h", fd, VM_CFG_CMDLINE, "s", "y") >= 0);
        if (more)
                CHECK(sd_bus_message_append(m, "{sv}", more, "s", "z") >= 0);
        CHECK(sd_bus_message_close_container(m) >= 0);
        r = sd_bus_call(bus, m, 0, NULL, NULL);
        sd_bus_message_unref(m);
        close(fd);
        return r;
}

static void begin(const char *on_crash, bool paused)
{
        struct termios raw;

        start_process();
        connect_bus();
        CHECK_EQ(openpty(&master, &slave, NULL, NULL, NULL), 0);
        CHECK_EQ(tcgetattr(slave, &raw), 0);
        cfmakeraw(&raw);
        CHECK_EQ(tcsetattr(slave, TCSANOW, &raw), 0);
        console = dup(slave);
        CHECK(call(VM_PAUSE) < 0); /* not configured */
        CHECK(configure("", "destroy", "/etc/passwd") < 0);
        CHECK(configure("x", on_crash, guest) >= 0);
        CHECK(configure("", on_crash, guest) < 0); /* once */
        close(master);
        close(slave);
        state[0] = 0;
        CHECK(sd_bus_call_method(bus, NULL, VM_PATH, VM_INTERFACE, VM_START, NULL, NULL, "b", (int)paused) >= 0);
        wait_state(paused ? VM_STATE_PAUSED : VM_STATE_RUNNING);
}

static void end(int wanted)
{
        int status;

        for (unsigned i = 0; i < 100; i++) {
                if (waitpid(pid, &status, WNOHANG) == pid) {
                        CHECK(WIFEXITED(status));
                        CHECK_EQ(WEXITSTATUS(status), wanted);
                        bus = sd_bus_close_unref(bus);
                        close(console);
                        return;
                }
                sd_bus_process(bus, NULL);
                poll(NULL, 0, 50);
        }
        CHECK(!"the process does not end");
}

static void test_life(void)
{
        begin("destroy", true);
        CHECK(call(VM_RESUME) >= 0);
        expect("ready> ");
        say("one\n");
        expect("echo: one");
        CHECK(call(VM_PAUSE) >= 0);
        CHECK(call(VM_PAUSE) < 0);
        wait_state(VM_STATE_PAUSED);
        CHECK(call(VM_GET_STATUS) >= 0);
        CHECK(call(VM_GET_STATS) >= 0);
        CHECK(call("NoSuchMethod") < 0);
        CHECK(call(VM_RESUME) >= 0);
        /* A daemon that comes again. */
        bus = sd_bus_close_unref(bus);
        say("two\n");
        expect("echo: two");
        connect_bus();
        CHECK(call(VM_GET_STATUS) >= 0);
        say("reboot\n");
        expect("rebooting");
        expect("ready> ");
        for (unsigned i = 0; i < 100 && reboots == 0; i++)
                pump(100);
        CHECK_EQ(reboots, 1);
        CHECK(call(VM_RESET) >= 0);
        expect("ready> ");
        CHECK(call(VM_POWER_BUTTON) >= 0);
        wait_state(VM_STATE_SHUTOFF);
        CHECK(strcmp(reason, VM_REASON_GUEST) == 0);
        end(VM_EXIT_GUEST_SHUTOFF);
}

static void test_crash(void)
{
        begin("destroy", false);
        expect("ready> ");
        say("crash\n");
        wait_state(VM_STATE_CRASHED);
        end(VM_EXIT_GUEST_CRASHED);
}

static void test_preserve_and_quit(void)
{
        begin("preserve", false);
        expect("ready> ");
        say("crash\n");
        wait_state(VM_STATE_CRASHED);
        pump(300);
        CHECK(call(VM_GET_STATUS) >= 0);
        CHECK(call(VM_QUIT) >= 0);
        end(VM_EXIT_OK);
}

/* A multiboot kernel that does nothing but write 6 to port 0xcf9. */
static void write_resetter(const char *path)
{
        static const uint32_t kernel[] = {
                0x1badb002, 0x00010000, 0u - 0x1badb002 - 0x00010000, 0x100000, 0x100000, 0, 0, 0x100020,
                0x0cf9ba66, 0xebee06b0, 0xfe,
        };
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        CHECK(fd >= 0);
        CHECK_EQ(write(fd, kernel, sizeof(kernel)), sizeof(kernel));
        close(fd);
}

/* A guest that only restarts itself is slowed down, and its process answers meanwhile. */
static void test_restarts(void)
{
        const char *echo = guest;
        char path[64];

        snprintf(path, sizeof(path), "%s/resetter", dir);
        write_resetter(path);
        guest = path;
        reboots = 0;
        begin("destroy", false);
        for (unsigned i = 0; i < 200 && reboots < 11; i++) {
                pump(50);
                CHECK(call(VM_GET_STATUS) >= 0);
        }
        CHECK(reboots >= 11);
        pump(100);
        CHECK(reboots <= 13);
        CHECK(call(VM_PAUSE) >= 0);
        CHECK(call(VM_QUIT) >= 0);
        end(VM_EXIT_OK);
        unlink(path);
        guest = echo;
}

/* Whoever finds the kernel on a disk is asked again at each restart. */
static void test_boot_loader(void)
{
        boot_loader = true;
        reboots = 0;
        begin("restart", false);
        expect("ready> ");
        CHECK(set_kernel(guest, NULL) < 0);
        say("reboot\n");
        wait_state(VM_STATE_BOOTING);
        CHECK_EQ(reboots, 1);
        CHECK(call(VM_POWER_BUTTON) < 0);
        CHECK(set_kernel("/etc/passwd", NULL) < 0);
        CHECK(set_kernel(guest, VM_CFG_NAME) < 0);
        CHECK(set_kernel(guest, NULL) >= 0);
        wait_state(VM_STATE_RUNNING);
        expect("ready> ");
        /* A pause while it waits, and a daemon that goes. */
        CHECK(call(VM_RESET) >= 0);
        wait_state(VM_STATE_BOOTING);
        CHECK(call(VM_RESET) >= 0);
        CHECK(call(VM_PAUSE) >= 0);
        bus = sd_bus_close_unref(bus);
        connect_bus();
        CHECK(set_kernel(guest, NULL) >= 0);
        wait_state(VM_STATE_PAUSED);
        CHECK(call(VM_RESUME) >= 0);
        expect("ready> ");
        say("crash\n");
        wait_state(VM_STATE_BOOTING);
        CHECK(set_kernel(guest, NULL) >= 0);
        expect("ready> ");
        CHECK(call(VM_QUIT) >= 0);
        end(VM_EXIT_OK);
        boot_loader = false;
}

int main(int argc, char **argv)
{
        CHECK_EQ(argc, 4);
        binary = argv[1];
        engine = argv[2];
        guest = argv[3];
        if (strcmp(engine, "kvm") == 0 && access("/dev/kvm", R_OK | W_OK) < 0) {
                fprintf(stderr, "skipped: no /dev/kvm\n");
                return 77;
        }
        CHECK(mkdtemp(dir));
        chmod(dir, 0755);
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" VM_SOCKET, dir);
        snprintf(log_path, sizeof(log_path), "%s/log", dir);
        test_life();
        test_crash();
        test_preserve_and_quit();
        test_restarts();
        test_boot_loader();
        unlink(addr.sun_path);
        unlink(log_path);
        rmdir(dir);
        return 0;
}
