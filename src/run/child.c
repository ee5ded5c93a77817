/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/macros.h"
#include "model/error.h"
#include "run/process.h"

#define OUT_MAX (16u << 20)
#define ERR_MAX (64u << 10)

enum { OUT, ERR, N_PIPES };

struct DomusChild {
        char *program;
        pid_t pid;
        bool outlive, exited;
        int status;
        sd_event_source *exit_source;
        struct pipe {
                DomusChild *child;
                int fd; /* -1: at its end */
                GString *text;
                size_t max;
                sd_event_source *source;
        } pipes[N_PIPES];
        DomusChildDone done;
        gpointer opaque;
};

static void finish_pipe(struct pipe *p)
{
        p->source = sd_event_source_disable_unref(p->source);
        p->fd = fd_close(p->fd);
}

static void free_parts(DomusChild *c)
{
        for (unsigned i = 0; i < N_PIPES; i++) {
                finish_pipe(&c->pipes[i]);
                if (c->pipes[i].text)
                        g_string_free(c->pipes[i].text, TRUE);
        }
        sd_event_source_disable_unref(c->exit_source);
        g_free(c->program);
        g_free(c);
}

static char *one_line(const char *text)
{
        char *line = g_strstrip(g_strdup(text));

        return g_strdelimit(line, "\n\r\t", ' ');
}

static GError *make_error(const DomusChild *c)
{
        g_autofree char *said = one_line(c->pipes[ERR].text->str);

        if (c->status == 0)
                return NULL;
        if (*said)
                return g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "%s: %s", c->program, said);
        if (c->status < 0)
                return g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "%s was killed by signal %d", c->program, -c->status);
        return g_error_new(DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "%s exited with status %d", c->program, c->status);
}

static void maybe_done(DomusChild *c)
{
        g_autoptr(GError) error = NULL;
        DomusChildResult result;

        if (!c->exited || c->pipes[OUT].fd >= 0 || c->pipes[ERR].fd >= 0)
                return;
        error = make_error(c);
        result = (DomusChildResult){
                .status = c->status, .out = c->pipes[OUT].text->str, .out_len = c->pipes[OUT].text->len, .err = c->pipes[ERR].text->str
        };
        if (c->done)
                c->done(&result, error, c->opaque);
        free_parts(c);
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
        struct pipe *p = opaque;
        char buf[16384];
        ssize_t n = read(fd, buf, sizeof(buf));

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        if (n > 0) {
                g_string_append_len(p->text, buf, MIN((size_t)n, p->max - p->text->len));
                return 0;
        }
        finish_pipe(p);
        maybe_done(p->child);
        return 0;
}

static int on_exit_of_child(sd_event_source *source, const siginfo_t *info, void *opaque)
{
        DomusChild *c = opaque;

        c->exited = true;
        c->status = info->si_code == CLD_EXITED ? info->si_status : -info->si_status;
        maybe_done(c);
        return 0;
}

static int spawn(const DomusChildConfig *config, const int out[N_PIPES], pid_t *ret)
{
        static const char *const envp[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
        g_autofree int *fds = g_new(int, N_PIPES + config->n_fds);

        for (size_t i = 0; i < N_PIPES + config->n_fds; i++)
                fds[i] = i >= N_PIPES ? config->fds[i - N_PIPES] : config->output_fd > 0 ? config->output_fd : out[i];
        return domus_process_spawn(config->argv, envp, fds, N_PIPES + config->n_fds, ret);
}

/* The reading end stays in c, the writing end is the caller's. */
static int open_pipe(DomusChild *c, sd_event *loop, unsigned n)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        c->pipes[n].fd = ends[0];
        if (fd_set_nonblock(ends[0], true) < 0 ||
                sd_event_add_io(loop, &c->pipes[n].source, ends[0], EPOLLIN, on_output, &c->pipes[n]) < 0) {
                fd_close(ends[1]);
                return -EIO;
        }
        return ends[1];
}

static int start(DomusChild *c, sd_event *loop, const DomusChildConfig *config)
{
        int out[N_PIPES] = { -1, -1 }, r = 0;

        for (unsigned i = 0; i < N_PIPES && r >= 0 && config->output_fd <= 0; i++)
                r = out[i] = open_pipe(c, loop, i);
        if (r >= 0)
                r = spawn(config, out, &c->pid);
        for (unsigned i = 0; i < N_PIPES; i++)
                fd_close(out[i]);
        if (r < 0)
                return r;
        r = sd_event_add_child(loop, &c->exit_source, c->pid, WEXITED, on_exit_of_child, c);
        if (r < 0) {
                kill(c->pid, SIGKILL);
                waitpid(c->pid, NULL, 0);
        }
        return r;
}

DomusChild *domus_child_run(sd_event *loop, const DomusChildConfig *config, DomusChildDone done, gpointer opaque, GError **error)
{
        static const size_t max[] = { [OUT] = OUT_MAX, [ERR] = ERR_MAX };
        DomusChild *c = g_new0(DomusChild, 1);
        int r;

        *c = (DomusChild){ .program = g_path_get_basename(config->argv[0]), .outlive = config->outlive, .done = done, .opaque = opaque };
        for (unsigned i = 0; i < N_PIPES; i++)
                c->pipes[i] = (struct pipe){ .child = c, .fd = -1, .text = g_string_new(NULL), .max = max[i] };
        r = start(c, loop, config);
        if (r < 0) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM, "cannot run %s: %s", config->argv[0], g_strerror(-r));
                free_parts(c);
                return NULL;
        }
        return c;
}

pid_t domus_child_pid(const DomusChild *c)
{
        return c->pid;
}

void domus_child_kill(DomusChild *c, int sig)
{
        if (!c->exited)
                kill(c->pid, sig);
}

void domus_child_free(DomusChild *c)
{
        if (!c)
                return;
        if (!c->exited && !c->outlive) {
                kill(c->pid, SIGKILL);
                waitpid(c->pid, NULL, 0);
        }
        free_parts(c);
}
