/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands on blocks (SBC-3; CD drives read with some of them). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/macros.h"
#include "hv/block/iov.h"
#include "hv/virtio/scsi.h"

#define FUA 8u
#define NO_DATA 1u   /* WRITE SAME(16): there is no data-out buffer */
#define UNMAP 8u     /* WRITE SAME */
#define PATTERN 65536u
#define SPACE_MAX GiB(1)

/* --- What all have in common ----------------------------------------------------------------------------------------------------------------------- */

static uint32_t sense_of(const struct scsi_request *request, int error)
{
        bool write = request->block.op != BLOCK_READ;

        switch (-error) {
        case ENOSPC:
        case EDQUOT:
                return write ? SCSI_SPACE_FAILED : SCSI_READ_ERROR;
        case EROFS:
                return SCSI_WRITE_PROTECTED;
        case ENOMEM:
                return SCSI_TARGET_FAILURE;
        default:
                return write ? SCSI_WRITE_ERROR : SCSI_READ_ERROR;
        }
}

static void submit(struct scsi_request *request, void (*done)(struct block_request *block, int result))
{
        request->block.done = done;
        block_submit(request->unit->block, &request->block);
}

static struct scsi_request *request_of(struct block_request *block)
{
        return container_of(block, struct scsi_request, block);
}

/* The last step of a command. */
static void on_done(struct block_request *block, int result)
{
        struct scsi_request *request = request_of(block);

        if (result < 0)
                scsi_fail(request, sense_of(request, result));
        else
                scsi_good(request);
}

static void flush(struct scsi_request *request)
{
        request->block = (struct block_request){ .op = BLOCK_FLUSH };
        submit(request, on_done);
}

/* First block and number of blocks of READ, WRITE and their like, by the size of the command (6, 10, 12, 16). */
static void decode(const uint8_t *cdb, uint64_t *lba, uint32_t *n)
{
        switch (cdb[0] >> 5) {
        case 0:
                *lba = be32_load(cdb) & 0x1fffff;
                *n = cdb[4] ? cdb[4] : 256;
                break;
        case 4:
                *lba = be64_load(cdb + 2);
                *n = be32_load(cdb + 10);
                break;
        case 5:
                *lba = be32_load(cdb + 2);
                *n = be32_load(cdb + 6);
                break;
        default:
                *lba = be32_load(cdb + 2);
                *n = be16_load(cdb + 7);
                break;
        }
}

/* Is [lba, lba + n) on the medium? */
static bool fits(const struct scsi_unit *unit, uint64_t lba, uint64_t n)
{
        uint64_t blocks = scsi_blocks(unit);

        return lba <= blocks && n <= blocks - lba;
}

/* --- Reading and writing ----------------------------------------------------------------------------------------------------------------------------- */

/* Cuts the pieces down to len bytes. */
static unsigned cut(struct iovec *iov, unsigned n, size_t len)
{
        unsigned i = 0;

        for (; i < n && len; i++) {
                if (iov[i].iov_len > len)
                        iov[i].iov_len = len;
                len -= iov[i].iov_len;
        }
        return i;
}

static void on_written_fua(struct block_request *block, int result)
{
        struct scsi_request *request = request_of(block);

        if (result < 0)
                scsi_fail(request, sense_of(request, result));
        else
                flush(request);
}

static void transfer(struct scsi_unit *unit, struct scsi_request *request, bool write)
{
        struct iovec *iov = write ? request->out : request->in;
        size_t room = write ? request->out_len : request->in_len;
        unsigned n_iov = write ? request->n_out : request->n_in;
        bool fua = write && request->cdb[0] != 0x0a && (request->cdb[1] & FUA);
        uint64_t lba, len;
        uint32_t n;

        decode(request->cdb, &lba, &n);
        len = (uint64_t)n * unit->block_size;
        if (!fits(unit, lba, n)) {
                scsi_fail(request, SCSI_LBA_OUT_OF_RANGE);
        } else if (write && block_readonly(unit->block)) {
                scsi_fail(request, SCSI_WRITE_PROTECTED);
        } else if (len > room) {
                request->overrun = true;
                scsi_fail(request, SCSI_INVALID_FIELD);
        } else {
                request->transferred = len;
                request->block = (struct block_request){ .op = write ? BLOCK_WRITE : BLOCK_READ,
                        .offset = lba * unit->block_size,
                        .len = len,
                        .iov = iov,
                        .n_iov = cut(iov, n_iov, len) };
                submit(request, fua ? on_written_fua : on_done);
        }
}

static void do_read(struct scsi_unit *unit, struct scsi_request *request)
{
        transfer(unit, request, false);
}

static void do_write(struct scsi_unit *unit, struct scsi_request *request)
{
        transfer(unit, request, true);
}

/* Without comparing bytes there is nothing to be done: the range is looked at. */
static void do_verify(struct scsi_unit *unit, struct scsi_request *request)
{
        uint64_t lba;
        uint32_t n;

        decode(request->cdb, &lba, &n);
        if (request->cdb[1] & 6)
                scsi_fail(request, SCSI_INVALID_FIELD);
        else if (!fits(unit, lba, n))
                scsi_fail(request, SCSI_LBA_OUT_OF_RANGE);
        else
                scsi_good(request);
}

static void do_synchronize(struct scsi_unit *unit, struct scsi_request *request)
{
        flush(request);
}

/* --- Capacity ------------------------------------------------------------------------------------------------------------------------------------------ */

static void do_read_capacity(struct scsi_unit *unit, struct scsi_request *request)
{
        uint64_t last = scsi_blocks(unit) - 1;
        uint8_t data[8];

        be32_store(data, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
        be32_store(data + 4, unit->block_size);
        scsi_answer(request, data, sizeof(data), sizeof(data));
}

/* SERVICE ACTION IN(16): READ CAPACITY(16). */
static void do_service_action(struct scsi_unit *unit, struct scsi_request *request)
{
        uint8_t data[32] = { 0 };

        if ((request->cdb[1] & 0x1f) != 0x10) {
                scsi_fail(request, SCSI_INVALID_FIELD);
                return;
        }
        be64_store(data, scsi_blocks(unit) - 1);
        be32_store(data + 8, unit->block_size);
        data[13] = (uint8_t)(__builtin_ctz(block_physical_size(unit->block)) - __builtin_ctz(block_logical_size(unit->block)));
        data[14] = block_can_discard(unit->block) ? 0x80 : 0;
        scsi_answer(request, data, sizeof(data), be32_load(request->cdb + 10));
}

/* --- Space ----------------------------------------------------------------------------------------------------------------------------------------------- */

#define UNMAP_HEADER 8u
#define UNMAP_DESCRIPTOR 16u
#define UNMAP_DESCRIPTORS 255u

static void on_unmapped(struct block_request *block, int result);

/* The next descriptor, or the end. */
static void unmap_next(struct scsi_request *request)
{
        const uint8_t *d = request->buffer + request->at;
        struct scsi_unit *unit = request->unit;

        if (request->at + UNMAP_DESCRIPTOR > request->buffer_len) {
                scsi_good(request);
                return;
        }
        request->at += UNMAP_DESCRIPTOR;
        request->block = (struct block_request){
                .op = BLOCK_DISCARD, .offset = be64_load(d) * unit->block_size, .len = (uint64_t)be32_load(d + 8) * unit->block_size
        };
        submit(request, on_unmapped);
}

static void on_unmapped(struct block_request *block, int result)
{
        struct scsi_request *request = request_of(block);

        if (result < 0)
                scsi_fail(request, sense_of(request, result));
        else
                unmap_next(request);
}

static uint32_t check_unmap(const struct scsi_unit *unit, const uint8_t *data, size_t len)
{
        size_t n = be16_load(data + 2);

        if (block_readonly(unit->block))
                return SCSI_WRITE_PROTECTED;
        if (be16_load(data) + 2u > len || n + UNMAP_HEADER > len || n % UNMAP_DESCRIPTOR || n / UNMAP_DESCRIPTOR > UNMAP_DESCRIPTORS)
                return SCSI_INVALID_PARAMETER;
        for (size_t at = UNMAP_HEADER; at < UNMAP_HEADER + n; at += UNMAP_DESCRIPTOR)
                if (!fits(unit, be64_load(data + at), be32_load(data + at + 8)))
                        return SCSI_LBA_OUT_OF_RANGE;
        return SCSI_NO_SENSE;
}

static void do_unmap(struct scsi_unit *unit, struct scsi_request *request)
{
        size_t len = be16_load(request->cdb + 7);
        uint32_t sense;

        if (len == 0) {
                scsi_good(request);
                return;
        }
        if (len < UNMAP_HEADER || len > request->out_len) {
                scsi_fail(request, SCSI_PARAMETER_LENGTH);
                return;
        }
        request->buffer = malloc(len);
        if (!request->buffer) {
                scsi_fail(request, SCSI_TARGET_FAILURE);
                return;
        }
        request->transferred = iov_read(request->out, request->n_out, 0, request->buffer, len);
        sense = check_unmap(unit, request->buffer, len);
        request->at = UNMAP_HEADER;
        request->buffer_len = UNMAP_HEADER + be16_load(request->buffer + 2);
        if (sense)
                scsi_fail(request, sense);
        else
                unmap_next(request);
}

static void on_same_written(struct block_request *block, int result);

/* WRITE SAME of a block that is not zero: as many copies as the buffer holds at a time. block.offset and at: the rest. */
static void write_same_next(struct scsi_request *request, uint64_t offset, uint64_t left)
{
        /* The pieces of out are free for this: the block has been read. */
        request->out[0] = (struct iovec){ .iov_base = request->buffer, .iov_len = left < request->buffer_len ? left : request->buffer_len };
        request->at = left - request->out[0].iov_len;
        request->block = (struct block_request){
                .op = BLOCK_WRITE, .offset = offset, .len = request->out[0].iov_len, .iov = request->out, .n_iov = 1
        };
        submit(request, on_same_written);
}

static void on_same_written(struct block_request *block, int result)
{
        struct scsi_request *request = request_of(block);

        if (result < 0)
                scsi_fail(request, sense_of(request, result));
        else if (request->at)
                write_same_next(request, block->offset + block->len, request->at);
        else
                scsi_good(request);
}

/* The buffer with copies of the guest's block; zero: whether that is zero. */
static bool take_pattern(struct scsi_unit *unit, struct scsi_request *request, bool *zero)
{
        request->buffer = malloc(PATTERN);
        if (!request->buffer)
                return false;
        request->buffer_len = PATTERN;
        iov_read(request->out, request->n_out, 0, request->buffer, unit->block_size);
        for (size_t at = unit->block_size; at < PATTERN; at += unit->block_size)
                memcpy(request->buffer + at, request->buffer, unit->block_size);
        *zero = iov_is_zero(&(struct iovec){ .iov_base = request->buffer, .iov_len = unit->block_size }, 1);
        return true;
}

static void write_same(struct scsi_unit *unit, struct scsi_request *request, uint64_t lba, uint64_t n)
{
        uint64_t offset = lba * unit->block_size, len = n * unit->block_size;
        bool zero = true, no_data = request->cdb[0] == 0x93 && (request->cdb[1] & NO_DATA);

        if (!no_data) {
                if (request->out_len < unit->block_size) {
                        request->overrun = true;
                        scsi_fail(request, SCSI_INVALID_FIELD);
                        return;
                }
                if (!take_pattern(unit, request, &zero)) {
                        scsi_fail(request, SCSI_TARGET_FAILURE);
                        return;
                }
                request->transferred = unit->block_size;
        }
        if (!zero) {
                write_same_next(request, offset, len);
                return;
        }
        request->block = (struct block_request){ .op = BLOCK_WRITE_ZEROES, .offset = offset, .len = len, .unmap = request->cdb[1] & UNMAP };
        submit(request, on_done);
}

static void do_write_same(struct scsi_unit *unit, struct scsi_request *request)
{
        uint64_t lba;
        uint32_t n;

        decode(request->cdb, &lba, &n);
        if (n == 0 || (uint64_t)n * unit->block_size > SPACE_MAX)
                scsi_fail(request, SCSI_INVALID_FIELD);
        else if (!fits(unit, lba, n))
                scsi_fail(request, SCSI_LBA_OUT_OF_RANGE);
        else if (block_readonly(unit->block))
                scsi_fail(request, SCSI_WRITE_PROTECTED);
        else
                write_same(unit, request, lba, n);
}

const struct scsi_command scsi_block_commands[] = {
        { 0x08, do_read, SCSI_ALL | SCSI_MEDIUM },
        { 0x0a, do_write, SCSI_DISK | SCSI_MEDIUM },
        { 0x25, do_read_capacity, SCSI_ALL | SCSI_MEDIUM },
        { 0x28, do_read, SCSI_ALL | SCSI_MEDIUM },
        { 0x2a, do_write, SCSI_DISK | SCSI_MEDIUM },
        { 0x2f, do_verify, SCSI_ALL | SCSI_MEDIUM },
        { 0x35, do_synchronize, SCSI_ALL | SCSI_MEDIUM },
        { 0x41, do_write_same, SCSI_DISK | SCSI_MEDIUM },
        { 0x42, do_unmap, SCSI_DISK | SCSI_MEDIUM },
        { 0x88, do_read, SCSI_DISK | SCSI_MEDIUM },
        { 0x8a, do_write, SCSI_DISK | SCSI_MEDIUM },
        { 0x8f, do_verify, SCSI_DISK | SCSI_MEDIUM },
        { 0x91, do_synchronize, SCSI_DISK | SCSI_MEDIUM },
        { 0x93, do_write_same, SCSI_DISK | SCSI_MEDIUM },
        { 0x9e, do_service_action, SCSI_DISK | SCSI_MEDIUM },
        { 0xa8, do_read, SCSI_ALL | SCSI_MEDIUM },
        { 0xaa, do_write, SCSI_DISK | SCSI_MEDIUM },
};
const size_t scsi_n_block_commands = ARRAY_SIZE(scsi_block_commands);
