/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Persistent definitions on disk: CONFIG/domains/<name>.xml, and CONFIG/autostart/<name>.xml, a link to it.
 * Every write is whole or not at all (base/file.h). */

#include <glib.h>
#include <stdbool.h>

#include "model/domain-def.h"

typedef struct DomusStore DomusStore;

/* Makes the two directories (0700). DOMUS_ERROR_SYSTEM. */
DomusStore *domus_store_new(const char *config_dir, GError **error);
void domus_store_free(DomusStore *s);

/* Writes or replaces the definition of def->name. On failure the old one is untouched. DOMUS_ERROR_SYSTEM. */
bool domus_store_save(DomusStore *s, const DomusDomainDef *def, GError **error);
/* Removes definition and autostart link; a missing one is no error. */
bool domus_store_remove(DomusStore *s, const char *name, GError **error);
/* def carries the new name. Afterwards only the new name exists; on failure only the old one. */
bool domus_store_rename(DomusStore *s, const char *old_name, const DomusDomainDef *def, bool autostart, GError **error);
bool domus_store_set_autostart(DomusStore *s, const char *name, bool on, GError **error);

typedef void (*DomusStoreFn)(DomusDomainDef *def /* taken over */, bool autostart, gpointer opaque);
/* Calls fn for each readable definition, the most recently written first. A broken file stays where it is, is named in the log and
 * skipped; what an interrupted write left behind is removed. Fails only if the directory itself cannot be read. */
bool domus_store_load(DomusStore *s, DomusStoreFn fn, gpointer opaque, GError **error);
