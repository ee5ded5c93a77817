/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What CD drives have beyond blocks (MMC-6): the tray, the disc, the table of contents. A medium is one session with one data track. */
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/virtio/scsi.h"

#define CD_BLOCKS_MAX 405000u /* a disc of 90 minutes; what is larger is a DVD */
#define PROFILE_CD 0x0008
#define PROFILE_DVD 0x0010

#define LEAD_OUT 0xaa
#define DATA_TRACK 0x14 /* Q subchannel: position; digital copy prohibited, data */

static bool has_medium(const struct scsi_unit *unit)
{
        return unit->block && !unit->tray_open;
}

static unsigned profile(const struct scsi_unit *unit)
{
        if (!has_medium(unit))
                return 0;
        return scsi_blocks(unit) > CD_BLOCKS_MAX ? PROFILE_DVD : PROFILE_CD;
}

/* --- The tray ------------------------------------------------------------------------------------------------------------------------------------- */

static void move_tray(struct scsi_unit *unit, bool open)
{
        if (unit->tray_open == open)
                return;
        unit->tray_open = open;
        if (!open && unit->block)
                unit->attention = SCSI_MEDIUM_CHANGED;
        unit->env.event(unit->env.opaque, &unit->plug, PLUG_EVENT_TRAY, open, 0, NULL);
}

#define START 1u
#define LOAD_EJECT 2u

/* START STOP UNIT; disks have no motor. */
static void do_start_stop(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t what = request->cdb[4];

        /* With a power condition it is about something else. */
        if (!unit->cd || (what & 0xf0) || !(what & LOAD_EJECT)) {
                scsi_good(request);
                return;
        }
        if (!(what & START) && unit->locked) {
                scsi_fail(request, SCSI_REMOVAL_PREVENTED);
                return;
        }
        move_tray(unit, !(what & START));
        scsi_good(request);
}

static void do_prevent_allow(struct scsi_unit *unit, struct scsi_request *request)
{
        unit->locked = unit->cd && (request->cdb[4] & 1);
        scsi_good(request);
}

static void do_mechanism_status(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[8] = { 0, unit->tray_open ? 0x10 : 0, 0, 0, 0, 1 };

        scsi_answer(request, data, sizeof(data), be16_load(request->cdb + 8));
}

/* --- Events ----------------------------------------------------------------------------------------------------------------------------------------- */

#define EVENT_POLLED 1u
#define EVENT_MEDIA 4u

static void do_event_status(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[8] = { 0, 2, 0x80 /* no event */, 1 << EVENT_MEDIA };
        size_t n = 4;

        if (!(request->cdb[1] & EVENT_POLLED)) {
                scsi_fail(request, SCSI_INVALID_FIELD);
                return;
        }
        if (request->cdb[4] & 1 << EVENT_MEDIA) {
                data[2] = EVENT_MEDIA;
                data[4] = unit->media_event;
                data[5] = (uint8_t)((unit->tray_open ? 1 : 0) | (has_medium(unit) ? 2 : 0));
                unit->media_event = 0;
                n = 8;
        }
        be16_store(data, (uint16_t)(n - 2));
        scsi_answer(request, data, n, be16_load(request->cdb + 7));
}

/* --- Features ----------------------------------------------------------------------------------------------------------------------------------------- */

static size_t put_feature(uint8_t *to, unsigned code, bool persistent, bool current, const void *data, size_t len)
{
        be16_store(to, (uint16_t)code);
        to[2] = (uint8_t)((persistent ? 2 : 0) | (current ? 1 : 0));
        to[3] = (uint8_t)len;
        memcpy(to + 4, data, len);
        return 4 + len;
}

#define FEATURE_PROFILES 0x0000

static size_t put_profiles(const struct scsi_unit *unit, uint8_t *to)
{
        uint8_t data[8] = { 0, PROFILE_DVD, profile(unit) == PROFILE_DVD, 0, 0, PROFILE_CD, profile(unit) == PROFILE_CD, 0 };

        return put_feature(to, FEATURE_PROFILES, true, true, data, sizeof(data));
}

static size_t put_core(const struct scsi_unit *unit, uint8_t *to)
{
        static const uint8_t data[8] = { 0, 0, 0, 1 /* SCSI */, 1 };

        return put_feature(to, 0x0001, true, true, data, sizeof(data));
}

static size_t put_removable(const struct scsi_unit *unit, uint8_t *to)
{
        static const uint8_t data[4] = { 0x29 }; /* tray, ejects, locks */

        return put_feature(to, 0x0003, true, true, data, sizeof(data));
}

static size_t put_random_readable(const struct scsi_unit *unit, uint8_t *to)
{
        uint8_t data[8] = { 0 };

        be32_store(data, unit->block_size);
        be16_store(data + 4, 1);
        return put_feature(to, 0x0010, false, has_medium(unit), data, sizeof(data));
}

static size_t put_cd_read(const struct scsi_unit *unit, uint8_t *to)
{
        static const uint8_t data[4];

        return put_feature(to, 0x001e, false, profile(unit) == PROFILE_CD, data, sizeof(data));
}

static size_t put_dvd_read(const struct scsi_unit *unit, uint8_t *to)
{
        static const uint8_t data[4];

        return put_feature(to, 0x001f, false, profile(unit) == PROFILE_DVD, data, sizeof(data));
}

static const struct {
        unsigned code;
        size_t (*put)(const struct scsi_unit *unit, uint8_t *to);
} features[] = {
        { FEATURE_PROFILES, put_profiles }, { 0x0001, put_core },    { 0x0003, put_removable },
        { 0x0010, put_random_readable },    { 0x001e, put_cd_read }, { 0x001f, put_dvd_read },
};

enum { FEATURES_ALL, FEATURES_CURRENT, FEATURES_ONE };

static void do_get_configuration(struct scsi_unit *unit, struct scsi_request *request)
{
        unsigned which = request->cdb[1] & 3, first = be16_load(request->cdb + 2);
        uint8_t data[128] = { 0 };
        size_t n = 8;

        for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
                size_t len;

                if (which == FEATURES_ONE ? features[i].code != first : features[i].code < first)
                        continue;
                len = features[i].put(unit, data + n);
                if (which != FEATURES_CURRENT || (data[n + 2] & 1))
                        n += len;
        }
        be32_store(data, (uint32_t)(n - 4));
        be16_store(data + 6, (uint16_t)profile(unit));
        scsi_answer(request, data, n, be16_load(request->cdb + 7));
}

/* --- The disc ------------------------------------------------------------------------------------------------------------------------------------------- */

/* A block's address, as it is or in minutes, seconds and frames. */
static void put_address(uint8_t *to, uint32_t lba, bool msf)
{
        uint32_t frames = lba + 150;

        if (msf) {
                to[0] = 0;
                to[1] = (uint8_t)(frames / 75 / 60);
                to[2] = (uint8_t)(frames / 75 % 60);
                to[3] = (uint8_t)(frames % 75);
        } else {
                be32_store(to, lba);
        }
}

static size_t put_track(uint8_t *to, uint8_t track, uint32_t lba, bool msf)
{
        to[0] = 0;
        to[1] = DATA_TRACK;
        to[2] = track;
        to[3] = 0;
        put_address(to + 4, lba, msf);
        return 8;
}

enum { TOC_TRACKS, TOC_SESSIONS };

static void do_read_toc(struct scsi_unit *unit, struct scsi_request *request)
{
        bool msf = request->cdb[1] & 2;
        unsigned format = request->cdb[2] & 0xf, first = request->cdb[6];
        uint8_t data[20] = { 0, 0, 1, 1 }; /* first and last track, or session */
        size_t n = 4;

        if (format == 0)
                format = request->cdb[9] >> 6; /* where it was before MMC-2 */
        if (format > TOC_SESSIONS || (format == TOC_TRACKS && first > 1 && first != LEAD_OUT)) {
                scsi_fail(request, SCSI_INVALID_FIELD);
                return;
        }
        if (format == TOC_SESSIONS || first <= 1)
                n += put_track(data + n, 1, 0, msf);
        if (format == TOC_TRACKS)
                n += put_track(data + n, LEAD_OUT, (uint32_t)scsi_blocks(unit), msf);
        be16_store(data, (uint16_t)(n - 2));
        scsi_answer(request, data, n, be16_load(request->cdb + 7));
}

static void do_read_disc_information(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[34] = { 0, sizeof(data) - 2, 0x0e /* complete */, 1, 1, 1, 1, 0x20 /* for any use */ };

        if (request->cdb[1] & 7) {
                scsi_fail(request, SCSI_INVALID_FIELD);
                return;
        }
        memset(data + 16, 0xff, 8); /* no lead-in, no lead-out to come */
        scsi_answer(request, data, sizeof(data), be16_load(request->cdb + 7));
}

/* Seeking and speed are nothing to a file. */
static void do_nothing(struct scsi_unit *unit, struct scsi_request *request)
{
        request->transferred = 0;
        scsi_good(request);
}

const struct scsi_command scsi_mmc_commands[] = {
        { 0x1b, do_start_stop, SCSI_ALL },
        { 0x1e, do_prevent_allow, SCSI_ALL },
        { 0x2b, do_nothing, SCSI_CD | SCSI_MEDIUM },
        { 0x43, do_read_toc, SCSI_CD | SCSI_MEDIUM },
        { 0x46, do_get_configuration, SCSI_CD | SCSI_NO_ATTENTION },
        { 0x4a, do_event_status, SCSI_CD | SCSI_NO_ATTENTION },
        { 0x51, do_read_disc_information, SCSI_CD | SCSI_MEDIUM },
        { 0xbb, do_nothing, SCSI_CD },
        { 0xbd, do_mechanism_status, SCSI_CD },
};
const size_t scsi_n_mmc_commands = ARRAY_SIZE(scsi_mmc_commands);
