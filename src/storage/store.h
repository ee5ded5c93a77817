/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The files behind the pools: definitions and autostart marks, what is active, which volumes stay raw. */

#include <glib.h>
#include <stdbool.h>

#include "model/pool-def.h"

typedef struct StorageStore StorageStore;

StorageStore *storage_store_new(const char *config_dir, const char *run_dir, const char *state_dir, GError **error);
void storage_store_free(StorageStore *s);

bool storage_store_save(StorageStore *s, const DomusPoolDef *def, GError **error);
bool storage_store_remove(StorageStore *s, const char *name, GError **error);
bool storage_store_set_autostart(StorageStore *s, const char *name, bool on, GError **error);

/* What is active: def is kept so that a restarted daemon finds it. NULL def: not active any more. Failures are logged. */
void storage_store_set_active(StorageStore *s, const char *name, const DomusPoolDef *def);
/* True once per boot. */
bool storage_store_first_start(StorageStore *s);

/* names: a set. Empty: the file goes. */
void storage_store_save_raw(StorageStore *s, const uint8_t uuid[DOMUS_UUID_LEN], GHashTable *names);
GHashTable *storage_store_load_raw(StorageStore *s, const uint8_t uuid[DOMUS_UUID_LEN]);

/* def is borrowed. */
typedef void (*StorageStoreFn)(DomusPoolDef *def, bool autostart, gpointer opaque);
void storage_store_load(StorageStore *s, StorageStoreFn fn, gpointer opaque);
void storage_store_load_active(StorageStore *s, StorageStoreFn fn, gpointer opaque);
