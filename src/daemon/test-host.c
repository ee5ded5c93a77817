/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/host-private.h"

/* A made-up host: two sockets of two threads, a node each. */
static const struct {
        const char *path, *text;
} files[] = {
        { "/proc/meminfo", "MemTotal:       4000 kB\nMemFree:        1000 kB\nBuffers: 30 kB\nCached: 200 kB\nSwapCached: 9 kB\n" },
        { "/proc/stat", "cpu  10 2 30 400 5 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 2 0 0 0 0 0 0 0 0 0\n" },
        { "/proc/cpuinfo", "processor\t: 0\nmicrocode\t: 0x10\ncpu MHz\t\t: 2596.124\n" },
        { "/etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n" },
        { "/sys/devices/system/cpu/online", "0-3\n" },
        { "/sys/devices/system/cpu/present", "0-5\n" },
        { "/sys/devices/system/node/online", "0-1\n" },
        { "/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:  3000 kB\nNode 0 MemFree:  600 kB\n" },
        { "/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:  1000 kB\nNode 1 MemFree:  400 kB\n" },
        { "/sys/devices/system/node/node0/cpulist", "0-1\n" },
        { "/sys/devices/system/node/node1/cpulist", "2-3\n" },
        { "/sys/class/dmi/id/sys_vendor", "Acme & Co\n" },
};

static void put(const char *root, const char *path, const char *text, mode_t mode)
{
        g_autofree char *full = g_strconcat(root, path, NULL), *dir = g_path_get_dirname(full);

        g_assert_cmpint(file_make_dirs(dir, 0755), ==, 0);
        g_assert_true(g_file_set_contents(full, text, -1, NULL));
        g_assert_cmpint(chmod(full, mode), ==, 0);
}

static char *make_root(void)
{
        char *root = g_dir_make_tmp("domus-host-XXXXXX", NULL);

        for (unsigned i = 0; i < G_N_ELEMENTS(files); i++)
                put(root, files[i].path, files[i].text, 0644);
        for (unsigned cpu = 0; cpu < 4; cpu++) {
                static const char *const names[] = { "physical_package_id", "core_id", "thread_siblings_list" };
                const char *values[] = { cpu < 2 ? "0\n" : "1\n", "0\n", cpu < 2 ? "0-1\n" : "2-3\n" };

                for (unsigned i = 0; i < 3; i++) {
                        g_autofree char *path = g_strdup_printf("/sys/devices/system/cpu/cpu%u/topology/%s", cpu, names[i]);

                        put(root, path, values[i], 0644);
                }
        }
        return root;
}

static void remove_tree(const char *path)
{
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                remove_tree(child);
        }
        g_remove(path);
}

static DomusHost *make_host(char **ret_root, const char *probe)
{
        g_autofree char *vmm = NULL;
        g_autoptr(GError) error = NULL;
        DomusHost *h;

        *ret_root = make_root();
        vmm = g_strconcat(*ret_root, "/domus-vm", NULL);
        if (probe)
                put(*ret_root, "/domus-vm", probe, 0755);
        h = domus_host_new_at(*ret_root, vmm, &error);
        g_assert_no_error(error);
        return h;
}

static uint64_t stat_of(GArray *stats, const char *field)
{
        for (unsigned i = 0; i < stats->len; i++)
                if (strcmp(g_array_index(stats, DomusNodeStat, i).field, field) == 0)
                        return g_array_index(stats, DomusNodeStat, i).value;
        return UINT64_MAX;
}

static void test_facts(void)
{
        g_autofree char *root = NULL;
        DomusHost *h = make_host(&root, "#!/bin/sh\necho kvm loop took 1 ms\n");
        const DomusHostFacts *f = domus_host_facts(h);
        char uuid[DOMUS_UUID_STRING_LEN];
        DomusNodeInfo info;

        domus_uuid_format(f->uuid, uuid);
        g_assert_cmpstr(uuid, ==, "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4");
        g_assert_true(f->kvm);
        g_assert_cmpstr(domus_host_engine_reason(h), ==, "loop took 1 ms");
        g_assert_cmpuint(f->n_cpus, ==, 4);
        g_assert_cmpuint(f->cpus[3].node, ==, 1);
        g_assert_cmpuint(f->cpus[3].socket, ==, 1);
        g_assert_cmpstr(f->cpus[1].siblings, ==, "0-1");
        g_assert_cmpuint(f->nodes[0].memory_kib, ==, 3000);
        g_assert_cmpuint(f->microcode, ==, 16);
        g_assert_nonnull(f->cpu_model);
        domus_host_node_info(h, &info);
        g_assert_cmpstr(info.model, ==, "x86_64");
        g_assert_cmpuint(info.mhz, ==, 2596);
        g_assert_cmpuint(info.memory_kib, ==, 4000);
        g_assert_cmpuint(info.nodes * info.sockets * info.cores * info.threads, ==, info.cpus);
        g_assert_cmpuint(info.threads, ==, 2);
        domus_host_free(h);
        remove_tree(root);
}

static void test_stats(void)
{
        g_autofree char *root = NULL, *sysinfo = NULL;
        DomusHost *h = make_host(&root, NULL);
        g_autoptr(GArray) all = domus_host_cpu_stats(h, -1, NULL), one = domus_host_cpu_stats(h, 1, NULL);
        g_autoptr(GArray) memory = domus_host_memory_stats(h, -1, NULL), cell = domus_host_memory_stats(h, 1, NULL);
        g_autofree uint8_t *map = NULL;
        uint64_t tick = UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK), free_bytes;
        unsigned ncpus, online;

        g_assert_cmpuint(stat_of(all, "user"), ==, 12 * tick);
        g_assert_cmpuint(stat_of(all, "kernel"), ==, 43 * tick);
        g_assert_cmpuint(stat_of(all, "idle"), ==, 400 * tick);
        g_assert_cmpuint(stat_of(one, "user"), ==, 2 * tick);
        g_assert_null(domus_host_cpu_stats(h, 9, NULL));
        g_assert_cmpuint(stat_of(memory, "cached"), ==, 200);
        g_assert_cmpuint(stat_of(cell, "free"), ==, 400);
        g_assert_cmpuint(cell->len, ==, 2);
        g_assert_null(domus_host_memory_stats(h, 2, NULL));
        g_assert_cmpuint(domus_host_free_memory(h), ==, 1000 * 1024);
        g_assert_true(domus_host_cell_free_memory(h, 0, &free_bytes, NULL));
        g_assert_cmpuint(free_bytes, ==, 600 * 1024);
        g_assert_false(domus_host_cell_free_memory(h, 2, &free_bytes, NULL));
        map = domus_host_cpu_map(h, &ncpus, &online);
        g_assert_cmpuint(ncpus, ==, 6);
        g_assert_cmpuint(online, ==, 4);
        g_assert_cmpuint(map[0], ==, 0x0f);
        sysinfo = domus_host_sysinfo_xml(h, NULL);
        g_assert_nonnull(strstr(sysinfo, "<entry name='manufacturer'>Acme &amp; Co</entry>"));
        domus_host_free(h);
        remove_tree(root);
}

static void test_probe(void)
{
        static const struct {
                const char *script, *reason;
        } t[] = {
                { "#!/bin/sh\necho software no /dev/kvm\n", "no /dev/kvm" },
                { "#!/bin/sh\nexit 3\n", "gave no answer" },
                { "#!/bin/sh\nexec sleep 20\n", "longer than" },
                { NULL, "cannot run" },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                g_autofree char *root = NULL;
                gint64 start = g_get_monotonic_time();
                DomusHost *h = make_host(&root, t[i].script);

                g_assert_false(domus_host_facts(h)->kvm);
                g_assert_nonnull(strstr(domus_host_engine_reason(h), t[i].reason));
                g_assert_cmpint(g_get_monotonic_time() - start, <, 10 * G_USEC_PER_SEC);
                domus_host_free(h);
                remove_tree(root);
        }
}

static void test_lists(void)
{
        static const struct {
                const char *list;
                unsigned n;
        } t[] = { { "0", 1 }, { "0-3,8\n", 5 }, { "", 0 }, { "3-1", 0 }, { "a", 0 }, { "0-99999999", 0 }, { "1,", 0 }, { NULL, 0 } };

        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                g_autoptr(GArray) a = host_parse_list(t[i].list);

                g_assert_cmpuint(a->len, ==, t[i].n);
        }
}

static void test_cpu_model(void)
{
        DomusHostFacts with = {}, without = {};

        host_read_cpu_model("/usr/share/libvirt/cpu_map", &with);
        host_read_cpu_model("/nonexistent", &without);
        g_assert_nonnull(with.cpu_model);
        g_test_message("this CPU: %s of %s", with.cpu_model, with.cpu_vendor ? with.cpu_vendor : "?");
        g_assert_cmpstr(without.cpu_model, ==, "qemu64");
        domus_host_facts_clear(&with);
        domus_host_facts_clear(&without);
}

/* The machine the test runs on has facts of its own. */
static void test_here(void)
{
        g_autoptr(GError) error = NULL;
        DomusHost *h = domus_host_new("/nonexistent/domus-vm", &error);
        DomusNodeInfo info;

        g_assert_no_error(error);
        domus_host_node_info(h, &info);
        g_assert_cmpuint(info.cpus, >, 0);
        g_assert_cmpuint(info.memory_kib, >, 0);
        g_assert_cmpuint(info.nodes * info.sockets * info.cores * info.threads, ==, info.cpus);
        domus_host_free(h);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/host/facts", test_facts);
        g_test_add_func("/host/stats", test_stats);
        g_test_add_func("/host/probe", test_probe);
        g_test_add_func("/host/lists", test_lists);
        g_test_add_func("/host/cpu-model", test_cpu_model);
        g_test_add_func("/host/here", test_here);
        return g_test_run();
}
