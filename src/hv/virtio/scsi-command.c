/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds what executes a command, how commands end, and the commands that all units have (SPC-4). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/virtio/scsi.h"

/* --- Ends --------------------------------------------------------------------------------------------------------------------------------------- */

static void end(struct scsi_request *request, enum scsi_status status, uint32_t sense)
{
        request->status = status;
        request->sense = sense;
        free(request->buffer);
        request->buffer = NULL;
        request->unit->in_flight--;
        request->done(request);
}

void scsi_good(struct scsi_request *request)
{
        end(request, SCSI_GOOD, SCSI_NO_SENSE);
}

void scsi_fail(struct scsi_request *request, uint32_t sense)
{
        request->transferred = 0;
        if (request->unit->aborting)
                end(request, SCSI_TASK_ABORTED, SCSI_NO_SENSE);
        else
                end(request, SCSI_CHECK_CONDITION, sense);
}

void scsi_answer(struct scsi_request *request, const void *data, size_t len, size_t limit)
{
        const uint8_t *from = data;

        if (len > limit)
                len = limit;
        for (unsigned i = 0; i < request->n_in && request->transferred < len; i++) {
                size_t part = request->in[i].iov_len, left = len - request->transferred;

                part = part < left ? part : left;
                memcpy(request->in[i].iov_base, from + request->transferred, part);
                request->transferred += part;
        }
        scsi_good(request);
}

void scsi_put_sense(uint8_t *to, uint32_t sense)
{
        memset(to, 0, SCSI_SENSE_SIZE);
        to[0] = 0x70; /* current, fixed format */
        to[2] = (uint8_t)(sense >> 16);
        to[7] = SCSI_SENSE_SIZE - 8;
        to[12] = (uint8_t)(sense >> 8);
        to[13] = (uint8_t)sense;
}

uint64_t scsi_blocks(const struct scsi_unit *unit)
{
        return unit->block ? block_size(unit->block) / unit->block_size : 0;
}

/* --- Dispatch ------------------------------------------------------------------------------------------------------------------------------------- */

static const struct scsi_command *find_in(const struct scsi_command *commands, size_t n, uint8_t opcode, unsigned kind)
{
        for (size_t i = 0; i < n; i++)
                if (commands[i].opcode == opcode && (commands[i].flags & kind))
                        return &commands[i];
        return NULL;
}

static const struct scsi_command *find(const struct scsi_unit *unit, uint8_t opcode)
{
        unsigned kind = unit->cd ? SCSI_CD : SCSI_DISK;
        const struct scsi_command *c = find_in(scsi_block_commands, scsi_n_block_commands, opcode, kind);

        if (!c)
                c = find_in(scsi_common_commands, scsi_n_common_commands, opcode, kind);
        if (!c)
                c = find_in(scsi_mmc_commands, scsi_n_mmc_commands, opcode, kind);
        return c;
}

static uint32_t take_attention(struct scsi_unit *unit)
{
        uint32_t sense = unit->attention;

        unit->attention = 0;
        return sense;
}

void scsi_execute(struct scsi_unit *unit, struct scsi_request *request)
{
        const struct scsi_command *c = find(unit, request->cdb[0]);

        request->unit = unit;
        request->transferred = 0;
        request->overrun = false;
        request->buffer = NULL;
        unit->in_flight++;
        if (!c)
                scsi_fail(request, SCSI_INVALID_OPCODE);
        else if (unit->attention && !(c->flags & SCSI_NO_ATTENTION))
                scsi_fail(request, take_attention(unit));
        else if ((c->flags & SCSI_MEDIUM) && (!unit->block || unit->tray_open))
                scsi_fail(request, unit->tray_open ? SCSI_NOT_PRESENT_OPEN : SCSI_NOT_PRESENT);
        else
                c->fn(unit, request);
}

void scsi_abort_all(struct scsi_unit *unit)
{
        unit->aborting = true;
        if (unit->block)
                block_drain(unit->block);
        unit->aborting = false;
}

/* --- Inquiry --------------------------------------------------------------------------------------------------------------------------------------- */

#define VENDOR "DOMUS   "

static void put_text(uint8_t *to, size_t n, const char *text)
{
        size_t len = strlen(text);

        memset(to, ' ', n);
        memcpy(to, text, len < n ? len : n);
}

static uint8_t device_type(const struct scsi_unit *unit)
{
        return unit->cd ? 5 : 0;
}

static void standard_inquiry(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[36] = { device_type(unit), unit->cd ? 0x80 : 0, 6 /* SPC-4 */, 0x12, sizeof(data) - 5, 0, 0, 0x02 /* command queuing */ };

        put_text(data + 8, 8, VENDOR);
        put_text(data + 16, 16, unit->cd ? "CD-ROM" : "DISK");
        put_text(data + 32, 4, "1.0");
        scsi_answer(request, data, sizeof(data), be16_load(request->cdb + 3));
}

/* Vital product data: each page fills what is behind its four bytes of header and returns the length. */
#define VPD_MAX 256u

static size_t vpd_pages(struct scsi_unit *unit, uint8_t *data);

static size_t vpd_serial(struct scsi_unit *unit, uint8_t *data)
{
        size_t n = strlen(unit->serial);

        memcpy(data, unit->serial, n);
        return n;
}

/* One designator: vendor and serial number, or the unit's own name in the machine. */
static size_t vpd_identification(struct scsi_unit *unit, uint8_t *data)
{
        const char *name = unit->serial[0] ? unit->serial : unit->plug.id ? unit->plug.id : "disk";
        size_t n = strnlen(name, SCSI_SERIAL_MAX);

        data[0] = 2; /* ASCII */
        data[1] = 1; /* of the logical unit, T10 vendor identification */
        data[3] = (uint8_t)(8 + n);
        memcpy(data + 4, VENDOR, 8);
        memcpy(data + 12, name, n);
        return 12 + n;
}

/* SBC-3, 6.5.3. In blocks. */
#define SPACE_MAX GiB(1)
#define UNMAP_DESCRIPTORS 255u

static size_t vpd_limits(struct scsi_unit *unit, uint8_t *data)
{
        uint32_t max = (uint32_t)(SPACE_MAX / unit->block_size), unit_of_space = 4096 / unit->block_size;

        data[0] = 1; /* WRITE SAME of no blocks is not for all */
        be16_store(data + 2, unit->block ? (uint16_t)(block_physical_size(unit->block) / unit->block_size) : 0);
        be64_store(data + 32, max);
        if (unit->block && block_can_discard(unit->block)) {
                be32_store(data + 16, max);
                be32_store(data + 20, UNMAP_DESCRIPTORS);
                be32_store(data + 24, unit_of_space ? unit_of_space : 1);
        }
        return 0x3c;
}

static size_t vpd_characteristics(struct scsi_unit *unit, uint8_t *data)
{
        be16_store(data, 1); /* does not rotate */
        return 0x3c;
}

static size_t vpd_provisioning(struct scsi_unit *unit, uint8_t *data)
{
        bool thin = unit->block && block_can_discard(unit->block);

        data[1] = thin ? 0xe0 : 0; /* UNMAP, WRITE SAME(16) and (10) unmap */
        data[2] = thin ? 2 : 0;
        return 4;
}

static const struct {
        uint8_t page;
        bool disks_only;
        size_t (*fill)(struct scsi_unit *unit, uint8_t *data);
} vpd[] = {
        { 0x00, false, vpd_pages },
        { 0x80, false, vpd_serial },
        { 0x83, false, vpd_identification },
        { 0xb0, true, vpd_limits },
        { 0xb1, true, vpd_characteristics },
        { 0xb2, true, vpd_provisioning },
};

static bool has_page(const struct scsi_unit *unit, unsigned i)
{
        if (vpd[i].page == 0x80 && !unit->serial[0])
                return false;
        return !unit->cd || !vpd[i].disks_only;
}

static size_t vpd_pages(struct scsi_unit *unit, uint8_t *data)
{
        size_t n = 0;

        for (unsigned i = 0; i < ARRAY_SIZE(vpd); i++)
                if (has_page(unit, i))
                        data[n++] = vpd[i].page;
        return n;
}

static void do_inquiry(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[VPD_MAX] = { device_type(unit), request->cdb[2] };

        if (!(request->cdb[1] & 1)) {
                if (request->cdb[2])
                        scsi_fail(request, SCSI_INVALID_FIELD);
                else
                        standard_inquiry(unit, request);
                return;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(vpd); i++)
                if (vpd[i].page == request->cdb[2] && has_page(unit, i)) {
                        size_t n = vpd[i].fill(unit, data + 4);

                        be16_store(data + 2, (uint16_t)n);
                        scsi_answer(request, data, 4 + n, be16_load(request->cdb + 3));
                        return;
                }
        scsi_fail(request, SCSI_INVALID_FIELD);
}

/* --- Mode pages -------------------------------------------------------------------------------------------------------------------------------------- */

#define MODE_MAX 256u
#define MODE_ALL 0x3f
enum { MODE_CURRENT, MODE_CHANGEABLE, MODE_DEFAULT, MODE_SAVED };

/* Each page fills what is behind its two bytes of header and returns the length. values: MODE_*. */
static size_t mode_recovery(struct scsi_unit *unit, uint8_t *data, unsigned values)
{
        if (values != MODE_CHANGEABLE && !unit->cd)
                data[0] = 0x80; /* writes are reallocated */
        return unit->cd ? 6 : 10;
}

#define CACHING_WCE 4u

static size_t mode_caching(struct scsi_unit *unit, uint8_t *data, unsigned values)
{
        if (values == MODE_CHANGEABLE || (unit->block && !block_writes_through(unit->block)))
                data[0] = CACHING_WCE;
        return 18;
}

/* MMC-6 no longer has it, but it is what drivers ask for. */
static size_t mode_capabilities(struct scsi_unit *unit, uint8_t *data, unsigned values)
{
        if (values == MODE_CHANGEABLE)
                return 20;
        data[0] = 0x3b;           /* reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM */
        data[2] = 0x7f;           /* audio, mode 2, sessions */
        data[3] = 0xff;
        data[4] = 0x2d | (unit->locked ? 2 : 0); /* tray, ejects, locks */
        be16_store(data + 6, 50 * 176);          /* kB/s */
        be16_store(data + 8, 2);
        be16_store(data + 10, 2048);             /* buffer, KiB */
        be16_store(data + 12, 16 * 176);
        return 20;
}

static const struct {
        uint8_t page;
        unsigned kinds;
        size_t (*fill)(struct scsi_unit *unit, uint8_t *data, unsigned values);
} mode_pages[] = {
        { 0x01, SCSI_ALL, mode_recovery },
        { 0x08, SCSI_DISK, mode_caching },
        { 0x2a, SCSI_CD, mode_capabilities },
};

/* The length of the pages asked for, 0: there are none. */
static size_t put_pages(struct scsi_unit *unit, uint8_t *data, uint8_t page, unsigned values)
{
        size_t n = 0;

        for (unsigned i = 0; i < ARRAY_SIZE(mode_pages); i++) {
                size_t len;

                if (!(mode_pages[i].kinds & (unit->cd ? SCSI_CD : SCSI_DISK)) || (page != MODE_ALL && page != mode_pages[i].page))
                        continue;
                len = mode_pages[i].fill(unit, data + n + 2, values);
                data[n] = mode_pages[i].page;
                data[n + 1] = (uint8_t)len;
                n += 2 + len;
        }
        return n;
}

static size_t put_block_descriptor(struct scsi_unit *unit, uint8_t *data)
{
        uint64_t blocks = scsi_blocks(unit);

        be32_store(data, blocks > 0xffffff ? 0 : (uint32_t)blocks); /* the first byte is the density */
        be32_store(data + 4, unit->block_size);                     /* and this one is reserved */
        return 8;
}

static void do_mode_sense(struct scsi_unit *unit, struct scsi_request *request)
{
        const uint8_t *cdb = request->cdb;
        bool ten = cdb[0] == 0x5a;
        size_t header = ten ? 8 : 4, n = header, descriptor = 0, pages;
        unsigned values = cdb[2] >> 6;
        uint8_t data[MODE_MAX] = { 0 };

        if (values == MODE_SAVED) {
                scsi_fail(request, SCSI_SAVING_UNSUPPORTED);
                return;
        }
        if (!(cdb[1] & 8) && !unit->cd && unit->block)
                descriptor = put_block_descriptor(unit, data + n);
        n += descriptor;
        pages = put_pages(unit, data + n, cdb[2] & 0x3f, values);
        if (!pages || (cdb[3] && cdb[3] != 0xff)) {
                scsi_fail(request, SCSI_INVALID_FIELD);
                return;
        }
        n += pages;
        data[ten ? 3 : 2] = !unit->cd && unit->block && block_readonly(unit->block) ? 0x80 : 0;
        if (ten) {
                be16_store(data, (uint16_t)(n - 2));
                be16_store(data + 6, (uint16_t)descriptor);
        } else {
                data[0] = (uint8_t)(n - 1);
                data[3] = (uint8_t)descriptor;
        }
        scsi_answer(request, data, n, ten ? be16_load(cdb + 7) : cdb[4]);
}

/* The write cache is all that can be changed. */
static uint32_t select_pages(struct scsi_unit *unit, const uint8_t *data, size_t len, bool ten)
{
        size_t at = ten ? 8 : 4;

        if (len < at)
                return len ? SCSI_PARAMETER_LENGTH : SCSI_NO_SENSE;
        at += ten ? be16_load(data + 6) : data[3];
        while (at + 2 <= len) {
                size_t page_len = data[at + 1];

                if (at + 2 + page_len > len)
                        return SCSI_PARAMETER_LENGTH;
                if ((data[at] & 0x3f) != 0x08 || page_len != 18)
                        return SCSI_INVALID_PARAMETER;
                block_set_write_through(unit->block, !(data[at + 2] & CACHING_WCE));
                at += 2 + page_len;
        }
        return at == len ? SCSI_NO_SENSE : SCSI_PARAMETER_LENGTH;
}

static void do_mode_select(struct scsi_unit *unit, struct scsi_request *request)
{
        bool ten = request->cdb[0] == 0x55;
        size_t len = ten ? be16_load(request->cdb + 7) : request->cdb[4], n = 0;
        uint8_t data[MODE_MAX];
        uint32_t sense;

        if (len > sizeof(data)) {
                scsi_fail(request, SCSI_PARAMETER_LENGTH);
                return;
        }
        for (unsigned i = 0; i < request->n_out && n < len; i++) {
                size_t part = request->out[i].iov_len < len - n ? request->out[i].iov_len : len - n;

                memcpy(data + n, request->out[i].iov_base, part);
                n += part;
        }
        sense = n < len ? SCSI_PARAMETER_LENGTH : select_pages(unit, data, len, ten);
        request->transferred = n;
        if (sense)
                scsi_fail(request, sense);
        else
                scsi_good(request);
}

/* --- The others ----------------------------------------------------------------------------------------------------------------------------------------- */

static void do_test_unit_ready(struct scsi_unit *unit, struct scsi_request *request)
{
        scsi_good(request);
}

static void do_request_sense(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[SCSI_SENSE_SIZE];

        scsi_put_sense(data, take_attention(unit));
        scsi_answer(request, data, sizeof(data), request->cdb[4]);
}

const struct scsi_command scsi_common_commands[] = {
        { 0x00, do_test_unit_ready, SCSI_ALL | SCSI_MEDIUM },
        { 0x03, do_request_sense, SCSI_ALL | SCSI_NO_ATTENTION },
        { 0x12, do_inquiry, SCSI_ALL | SCSI_NO_ATTENTION },
        { 0x15, do_mode_select, SCSI_DISK },
        { 0x1a, do_mode_sense, SCSI_ALL },
        { 0x55, do_mode_select, SCSI_DISK },
        { 0x5a, do_mode_sense, SCSI_ALL },
};
const size_t scsi_n_common_commands = ARRAY_SIZE(scsi_common_commands);
