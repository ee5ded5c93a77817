/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pools without a daemon: what domains ask of them, and what survives a restart. */

#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "storage/pools.h"

struct fixture {
        sd_event *loop;
        DomusPools *pools;
        char *dir;
        bool done;
        GError *error;
};

static void open_pools(struct fixture *f)
{
        g_autofree char *config = g_build_filename(f->dir, "config", NULL), *run = g_build_filename(f->dir, "run", NULL),
                        *state = g_build_filename(f->dir, "state", NULL);
        DomusPoolDirs dirs = { .config_dir = config, .run_dir = run, .state_dir = state, .privileged = true };
        g_autoptr(GError) error = NULL;

        f->pools = domus_pools_new(f->loop, &dirs, &error);
        g_assert_no_error(error);
        domus_pools_autostart(f->pools, 10000);
}

static void setup(struct fixture *f, gconstpointer data)
{
        f->dir = g_dir_make_tmp("domus-pools.XXXXXX", NULL);
        g_assert_cmpint(sd_event_new(&f->loop), >=, 0);
        open_pools(f);
}

static void teardown(struct fixture *f, gconstpointer data)
{
        const char *argv[] = { "rm", "-rf", f->dir, NULL };

        domus_pools_free(f->pools);
        sd_event_unref(f->loop);
        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
        g_clear_error(&f->error);
        g_free(f->dir);
}

/* --- Waiting --- */

static void wait_done(struct fixture *f)
{
        while (!f->done)
                g_assert_cmpint(sd_event_run(f->loop, UINT64_MAX), >=, 0);
        f->done = false;
}

static void finish(struct fixture *f, const GError *error)
{
        f->done = true;
        g_clear_error(&f->error);
        f->error = error ? g_error_copy(error) : NULL;
}

static void on_pool(DomusPool *p, const GError *error, gpointer opaque)
{
        finish(opaque, error);
}

static void on_volume(DomusVolume *v, const GError *error, gpointer opaque)
{
        finish(opaque, error);
}

static DomusPool *make_pool(struct fixture *f, const char *name)
{
        g_autofree char *xml = g_strdup_printf("<pool type='dir'><name>%s</name><target><path>%s/%s</path></target></pool>", name, f->dir, name);
        DomusPool *p = domus_pools_define(f->pools, xml, 0, &f->error);

        g_assert_no_error(f->error);
        domus_pool_start(p, VIR_STORAGE_POOL_CREATE_WITH_BUILD, on_pool, f);
        wait_done(f);
        g_assert_no_error(f->error);
        return p;
}

static void make_volume(struct fixture *f, DomusPool *p, const char *name, const char *format)
{
        g_autofree char *xml = g_strdup_printf("<volume><name>%s</name><capacity>65536</capacity><allocation>0</allocation>"
                                               "<target><format type='%s'/></target></volume>",
                name, format);

        domus_pool_create_volume(p, xml, NULL, 0, on_volume, f);
        wait_done(f);
        g_assert_no_error(f->error);
}

static void write_magic(struct fixture *f, const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT, 0600);

        g_assert_cmpint(fd_write_all(fd, "QED\0", 4), ==, 0);
        g_assert_cmpint(ftruncate(fd, 65536), ==, 0);
        fd_close(fd);
}

static char *format_of(struct fixture *f, const char *volume)
{
        DomusPool *p = domus_pools_lookup_name(f->pools, "p", NULL);
        DomusVolume *v;

        domus_pool_refresh(p, on_pool, f);
        wait_done(f);
        g_assert_no_error(f->error);
        v = domus_pool_lookup_volume(p, volume, NULL);
        return v ? g_strdup(domus_volume_def(v)->format) : NULL;
}

/* --- Tests --- */

static void test_resolve(struct fixture *f, gconstpointer data)
{
        DomusPool *p = make_pool(f, "p");
        g_autofree char *path = g_build_filename(f->dir, "p", "raw", NULL);
        DomusVolumeLocation l;

        make_volume(f, p, "raw", "raw");
        g_assert_true(domus_pools_resolve(f->pools, "p", "raw", &l, &f->error));
        g_assert_cmpstr(l.path, ==, path);
        g_assert_cmpstr(l.format, ==, "raw");
        g_assert_false(l.block);
        domus_volume_location_clear(&l);
        g_assert_false(domus_pools_resolve(f->pools, "q", "raw", &l, &f->error));
        g_assert_error(f->error, DOMUS_ERROR, DOMUS_ERROR_NO_STORAGE_POOL);
        g_clear_error(&f->error);
        g_assert_false(domus_pools_resolve(f->pools, "p", "none", &l, &f->error));
        g_assert_error(f->error, DOMUS_ERROR, DOMUS_ERROR_NO_STORAGE_VOL);
        g_clear_error(&f->error);
        domus_pool_stop(p, on_pool, f);
        wait_done(f);
        g_assert_false(domus_pools_resolve(f->pools, "p", "raw", &l, &f->error));
        g_assert_error(f->error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_INVALID);
        g_assert_cmpstr(f->error->message, ==, "storage pool 'p' is not active");
}

/* What a file is, is looked up until a guest has it; then it stays what it was, over restarts too. */
static void test_settled_formats(struct fixture *f, gconstpointer data)
{
        g_autofree char *used = NULL, *noted = NULL, *other = NULL, *path = NULL, *noted_path = NULL, *other_path = NULL;
        DomusVolumeLocation l;

        make_pool(f, "p");
        path = g_build_filename(f->dir, "p", "used", NULL);
        noted_path = g_build_filename(f->dir, "p", "noted", NULL);
        other_path = g_build_filename(f->dir, "p", "other", NULL);
        g_assert_true(g_file_set_contents(path, "a", 1, NULL) && g_file_set_contents(noted_path, "b", 1, NULL) &&
                      g_file_set_contents(other_path, "c", 1, NULL));
        g_free(format_of(f, "used"));
        g_assert_true(domus_pools_resolve(f->pools, "p", "used", &l, NULL));
        domus_volume_location_clear(&l);
        domus_pools_note_raw(f->pools, noted_path);
        domus_pools_note_raw(f->pools, "/no/volume");
        write_magic(f, path);
        write_magic(f, noted_path);
        write_magic(f, other_path);
        domus_pools_free(f->pools);
        open_pools(f);
        used = format_of(f, "used");
        noted = format_of(f, "noted");
        other = format_of(f, "other");
        g_assert_cmpstr(used, ==, "raw");
        g_assert_cmpstr(noted, ==, "raw");
        g_assert_cmpstr(other, ==, "qed");
}

/* Ending while there is work: it is given up, and everybody is told. */
static void test_end(struct fixture *f, gconstpointer data)
{
        DomusPool *p = make_pool(f, "p");

        for (unsigned i = 0; i < 20; i++)
                domus_pool_refresh(p, on_pool, f);
        domus_pool_create_volume(p, "<volume><name>v</name><capacity>1</capacity></volume>", NULL, 0, on_volume, f);
        domus_pools_free(f->pools);
        g_assert_true(f->done);
        open_pools(f);
        g_assert_true(domus_pool_is_active(domus_pools_lookup_name(f->pools, "p", NULL)));
}

int main(int argc, char **argv)
{
        sigset_t set;

        g_test_init(&argc, &argv, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigprocmask(SIG_BLOCK, &set, NULL);
        g_test_add("/pools/resolve", struct fixture, NULL, setup, test_resolve, teardown);
        g_test_add("/pools/settled-formats", struct fixture, NULL, setup, test_settled_formats, teardown);
        g_test_add("/pools/end", struct fixture, NULL, setup, test_end, teardown);
        return g_test_run();
}
