/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a later daemon needs to know of a running VM: a key file RUN/vm/<uuid>/status, replaced as a whole. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
        char *xml;           /* the live definition */
        int id;
        pid_t pid;
        uint64_t start_time; /* domus_vm_start_time */
        int state, reason;   /* virDomainState */
        bool started;        /* false: the start was under way */
        bool reboot_wanted;
        bool updated;        /* the persistent definition was changed meanwhile */
        bool autodestroy;
        char **ttys;         /* NULL-terminated */
        char **disks;        /* alias and path of every disk of type volume, in turn; NULL-terminated */
        char *log_path;
} DomusRunState;

/* DOMUS_ERROR_SYSTEM. */
bool domus_run_state_save(const char *dir, const DomusRunState *s, GError **error);
/* DOMUS_ERROR_INTERNAL: missing or broken. */
bool domus_run_state_load(const char *dir, DomusRunState *ret, GError **error);
void domus_run_state_clear(DomusRunState *s);
/* Removes the directory, the files in it and the sockets in its folder "channel". */
void domus_run_state_remove(const char *dir);
