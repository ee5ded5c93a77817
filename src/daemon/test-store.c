/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/store.h"
#include "model/error.h"

#define XML(name, memory)                                                                                      \
        "<domain type='qemu'><name>" name "</name><uuid>00000000-0000-4000-8000-000000000001</uuid>"           \
        "<memory unit='MiB'>" memory "</memory><os><type arch='x86_64'>hvm</type><kernel>/k</kernel></os></domain>"

typedef struct {
        char *dir;
        DomusStore *store;
        GPtrArray *loaded; /* DomusDomainDef */
        unsigned autostarted;
} Fixture;

static void def_free(gpointer p)
{
        domus_domain_def_free(p);
}

static void setup(Fixture *f, gconstpointer unused)
{
        f->dir = g_dir_make_tmp("domus-store-XXXXXX", NULL);
        f->store = domus_store_new(f->dir, NULL);
        f->loaded = g_ptr_array_new_with_free_func(def_free);
        g_assert_nonnull(f->store);
}

static void teardown(Fixture *f, gconstpointer unused)
{
        g_autofree char *command = g_strdup_printf("rm -rf '%s'", f->dir);

        g_ptr_array_unref(f->loaded);
        domus_store_free(f->store);
        g_assert_cmpint(system(command), ==, 0);
        g_free(f->dir);
}

static void save(Fixture *f, const char *xml)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(xml, 0, NULL);

        g_assert_nonnull(def);
        g_assert_true(domus_store_save(f->store, def, NULL));
}

static char *path_of(Fixture *f, const char *file)
{
        return g_build_filename(f->dir, "domains", file, NULL);
}

static void put(Fixture *f, const char *file, const char *text)
{
        g_autofree char *path = path_of(f, file);

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void take(DomusDomainDef *def, bool autostart, gpointer opaque)
{
        Fixture *f = opaque;

        g_ptr_array_add(f->loaded, def);
        f->autostarted += autostart;
}

static void load(Fixture *f)
{
        g_ptr_array_set_size(f->loaded, 0);
        f->autostarted = 0;
        g_assert_true(domus_store_load(f->store, take, f, NULL));
}

static const DomusDomainDef *only(Fixture *f)
{
        g_assert_cmpuint(f->loaded->len, ==, 1);
        return f->loaded->pdata[0];
}

static void test_round_trip(Fixture *f, gconstpointer unused)
{
        save(f, XML("a", "64"));
        save(f, XML("a", "128"));
        g_assert_true(domus_store_set_autostart(f->store, "a", true, NULL));
        g_assert_true(domus_store_set_autostart(f->store, "a", true, NULL));
        load(f);
        g_assert_cmpstr(only(f)->name, ==, "a");
        g_assert_cmpuint(only(f)->memory_max, ==, 128 * 1024);
        g_assert_cmpuint(f->autostarted, ==, 1);
        g_assert_true(domus_store_remove(f->store, "a", NULL));
        g_assert_true(domus_store_remove(f->store, "a", NULL));
        load(f);
        g_assert_cmpuint(f->loaded->len, ==, 0);
}

static void test_mode(Fixture *f, gconstpointer unused)
{
        g_autofree char *path = path_of(f, "a.xml");
        struct stat st;

        save(f, XML("a", "64"));
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_mode & 07777, ==, 0600);
}

static void test_broken(Fixture *f, gconstpointer unused)
{
        g_autofree char *half = path_of(f, "half.xml");
        g_autofree char *left = path_of(f, "a.xml.Ab12Cd");

        save(f, XML("a", "64"));
        put(f, "half.xml", "<domain type='qemu'><name>half</na");
        put(f, "empty.xml", "");
        put(f, "other.xml", XML("not-other", "64"));
        put(f, "note.txt", "hello");
        put(f, "a.xml.Ab12Cd", "<dom");
        load(f);
        g_assert_cmpstr(only(f)->name, ==, "a");
        g_assert_true(g_file_test(half, G_FILE_TEST_EXISTS));
        g_assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
}

static void test_rename(Fixture *f, gconstpointer unused)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(XML("b", "64"), 0, NULL);

        save(f, XML("a", "64"));
        g_assert_true(domus_store_set_autostart(f->store, "a", true, NULL));
        g_assert_true(domus_store_rename(f->store, "a", def, true, NULL));
        load(f);
        g_assert_cmpstr(only(f)->name, ==, "b");
        g_assert_cmpuint(f->autostarted, ==, 1);
}

/* A file size limit of a few bytes is what a full disk looks like to the writer. */
static void test_full_disk(Fixture *f, gconstpointer unused)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(XML("a", "128"), 0, NULL);
        g_autofree char *domains = g_build_filename(f->dir, "domains", NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GDir) dir = NULL;
        struct rlimit old, tiny;

        save(f, XML("a", "64"));
        getrlimit(RLIMIT_FSIZE, &old);
        tiny = (struct rlimit){ 16, old.rlim_max };
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &tiny);
        g_assert_false(domus_store_save(f->store, def, &error));
        setrlimit(RLIMIT_FSIZE, &old);
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_SYSTEM);
        g_assert_nonnull(strstr(error->message, "a.xml"));
        load(f);
        g_assert_cmpuint(only(f)->memory_max, ==, 64 * 1024);
        dir = g_dir_open(domains, 0, NULL);
        g_assert_cmpstr(g_dir_read_name(dir), ==, "a.xml");
        g_assert_null(g_dir_read_name(dir));
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add("/store/round-trip", Fixture, NULL, setup, test_round_trip, teardown);
        g_test_add("/store/mode", Fixture, NULL, setup, test_mode, teardown);
        g_test_add("/store/broken-files", Fixture, NULL, setup, test_broken, teardown);
        g_test_add("/store/rename", Fixture, NULL, setup, test_rename, teardown);
        g_test_add("/store/full-disk", Fixture, NULL, setup, test_full_disk, teardown);
        return g_test_run();
}
