/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a storage pool is: libvirt's pool XML (formatstorage.html, "Storage pool XML").
 *
 * All of a document is in the typed view, because everything else is refused by name (CONFIG_UNSUPPORTED); so it is written from there. A
 * definition never changes once parsed and is shared by reference, also between threads. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/domain-def.h"
#include "model/volume-def.h"

typedef enum {
        DOMUS_POOL_DIR,
        DOMUS_POOL_FS,
        DOMUS_POOL_NETFS,
        DOMUS_POOL_LOGICAL,
        DOMUS_POOL_DISK,
        DOMUS_POOL_ISCSI,
        DOMUS_POOL_ISCSI_DIRECT,
        DOMUS_POOL_TYPES,
} DomusPoolType;

typedef struct {
        DomusPoolType type;
        char *name;
        uint8_t uuid[DOMUS_UUID_LEN];
        bool cow_known, cow;     /* <features><cow state=…/>, dir and fs: copy-on-write attribute of the folder */
        /* Source; NULL, empty, 0: not given. */
        char *host;
        unsigned port;
        char *dir;
        GPtrArray *devices;      /* of char *: paths; iscsi, iscsi-direct: the target's IQN */
        char *source_name;       /* logical: the volume group, always there */
        char *initiator;         /* iscsi: our IQN; iscsi-direct: always there */
        char *format;            /* always there for types that have formats; else NULL */
        char *protocol_version;  /* netfs: NFS version */
        char *vendor, *product;
        /* Target. */
        char *path;              /* without trailing and double slashes; NULL only for iscsi-direct */
        DomusPermissions perms;
} DomusPoolDef;

/* What only a pool in use has. */
typedef struct {
        uint64_t capacity, allocation, available; /* bytes */
        DomusPermissions perms;  /* of the target; mode -1: not known */
} DomusPoolState;

typedef enum {
        DOMUS_POOL_DEF_VALIDATE = 1 << 0, /* also against libvirt's schema, where installed */
} DomusPoolDefParseFlags;

DomusPoolDef *domus_pool_def_parse(const char *xml, unsigned flags, GError **error);
DomusPoolDef *domus_pool_def_ref(DomusPoolDef *def);
void domus_pool_def_unref(DomusPoolDef *def);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomusPoolDef, domus_pool_def_unref)

/* g_free the result. state: NULL for what is stored. */
char *domus_pool_def_format(const DomusPoolDef *def, const DomusPoolState *state);

const char *domus_pool_type_to_string(DomusPoolType type);
/* False: no such type, or not one of ours. */
bool domus_pool_type_from_string(const char *s, DomusPoolType *ret);

/* What a type's documents may say, for parsing and for the capabilities. NULL-terminated lists; NULL: none. */
typedef struct {
        const char *name;
        const char *const *formats;        /* the first is the default */
        const char *const *volume_formats; /* the first is the default */
        unsigned needs;                    /* POOL_NEEDS_* of pool-def.c */
} DomusPoolTypeInfo;

const DomusPoolTypeInfo *domus_pool_type_info(DomusPoolType type);
/* The <storagepoolCapabilities> document; g_free. available: by type, whether what it needs of the host is there. */
char *domus_pool_capabilities(const bool available[DOMUS_POOL_TYPES]);

/* A source that find-storage-pool-sources found; all but name may be NULL. */
typedef struct {
        const char *host, *dir, *name, *format;
        const char *const *devices; /* NULL-terminated */
} DomusPoolSource;
/* Into a <sources> document, begun and ended by the caller. */
void domus_pool_source_append(GString *out, const DomusPoolSource *source);
/* The <source> that a client sends with find-storage-pool-sources: host (g_free) and format. NULL spec is fine. */
bool domus_pool_source_parse(const char *xml, char **ret_host, char **ret_format, GError **error);
