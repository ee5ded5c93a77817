/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a VM's process uses, from proc(5). vCPU threads carry the names "vcpu0", "vcpu1", … */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/domain-private.h"

typedef struct {
        char name[32];
        char state;
        uint64_t user, system; /* clock ticks */
        uint64_t rss;          /* pages */
        int cpu;
} ProcStat;

/* Fields of the stat files, counted as proc(5) does; 3 is the first after the name. */
enum { FIELD_STATE = 3, FIELD_UTIME = 14, FIELD_STIME = 15, FIELD_RSS = 24, FIELD_PROCESSOR = 39, FIELDS };

static bool split_stat(char *text, ProcStat *ret)
{
        char *open = strchr(text, '('), *close = strrchr(text, ')');
        char *fields[FIELDS] = { 0 };
        char *save = NULL;
        unsigned n = FIELD_STATE;

        if (!open || !close || close < open)
                return false;
        *close = 0;
        g_strlcpy(ret->name, open + 1, sizeof(ret->name));
        for (char *f = strtok_r(close + 1, " ", &save); f && n < FIELDS; f = strtok_r(NULL, " ", &save))
                fields[n++] = f;
        if (n < FIELDS)
                return false;
        ret->state = fields[FIELD_STATE][0];
        ret->user = strtoull(fields[FIELD_UTIME], NULL, 10);
        ret->system = strtoull(fields[FIELD_STIME], NULL, 10);
        ret->rss = strtoull(fields[FIELD_RSS], NULL, 10);
        ret->cpu = atoi(fields[FIELD_PROCESSOR]);
        return true;
}

static bool read_stat(const char *path, ProcStat *ret)
{
        char *text = NULL;
        bool ok = file_read(path, 4096, &text, NULL) == 0 && split_stat(text, ret);

        free(text);
        return ok;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
        return ticks * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* schedstat's first number is the thread's CPU time in ns, finer than stat's ticks. */
static uint64_t thread_time(const char *task_dir, const ProcStat *st)
{
        g_autofree char *path = g_strconcat(task_dir, "/schedstat", NULL);
        uint64_t ns = 0;
        char *text = NULL;

        if (file_read(path, 256, &text, NULL) == 0)
                ns = strtoull(text, NULL, 10);
        free(text);
        return ns ? ns : ticks_to_ns(st->user + st->system);
}

static void read_task(const char *tasks, const char *tid, DomusDomainStats *ret)
{
        g_autofree char *dir = g_build_filename(tasks, tid, NULL);
        g_autofree char *path = g_strconcat(dir, "/stat", NULL);
        DomusVcpuStats *v;
        ProcStat st;
        unsigned n;
        char end;

        if (!read_stat(path, &st) || sscanf(st.name, "vcpu%u%c", &n, &end) != 1 || n >= ret->n_vcpus)
                return;
        v = &ret->vcpus[n];
        v->time_ns = thread_time(dir, &st);
        v->host_cpu = st.cpu;
        v->halted = st.state != 'R';
}

static void read_tasks(pid_t pid, DomusDomainStats *ret)
{
        g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)pid);
        g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);

        for (const char *tid; dir && (tid = g_dir_read_name(dir));)
                read_task(tasks, tid, ret);
}

static void make_vcpus(const DomusDomain *d, DomusDomainStats *ret)
{
        ret->n_vcpus = d->live->vcpus_current;
        ret->vcpus = g_new0(DomusVcpuStats, ret->n_vcpus);
        for (unsigned i = 0; i < ret->n_vcpus; i++) {
                ret->vcpus[i].host_cpu = -1;
                ret->vcpus[i].state = VIR_VCPU_RUNNING;
        }
}

void domus_domain_stats(DomusDomain *d, DomusDomainStats *ret)
{
        g_autofree char *path = NULL;
        ProcStat st;

        *ret = (DomusDomainStats){ 0 };
        if (!d->vm)
                return;
        make_vcpus(d, ret);
        ret->memory_kib = d->live->memory_current;
        path = g_strdup_printf("/proc/%d/stat", (int)domus_vm_pid(d->vm));
        if (!read_stat(path, &st))
                return;
        ret->user_ns = ticks_to_ns(st.user);
        ret->system_ns = ticks_to_ns(st.system);
        ret->cpu_time_ns = ret->user_ns + ret->system_ns;
        ret->rss = st.rss * (uint64_t)sysconf(_SC_PAGESIZE);
        read_tasks(domus_vm_pid(d->vm), ret);
}

void domus_domain_stats_clear(DomusDomainStats *s)
{
        g_free(s->vcpus);
        *s = (DomusDomainStats){ 0 };
}
