/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What LVM's reporting tools say, for backend-logical.c and its test. */

#include "storage/backend.h"

/* The fields that lvs(8) and vgs(8) must be asked for, sizes in bytes without a suffix. */
#define LOGICAL_LV_FIELDS "lv_name,origin,lv_uuid,segtype,stripes,devices,seg_size,vg_extent_size,lv_size,lv_attr"
#define LOGICAL_VG_FIELDS "vg_size,vg_free"
#define LOGICAL_PV_FIELDS "pv_name,vg_name"

/* A row per segment; volumes of what cannot be used as a disk (thin pools, parts of mirrors) are left out. */
bool logical_parse_lvs(const DomusPoolDef *def, const char *json, GPtrArray *volumes, GError **error);
bool logical_parse_vgs(const char *json, DomusPoolState *ret, GError **error);
/* Appends a <source> for each volume group. */
bool logical_parse_pvs(const char *json, GString *out, GError **error);
