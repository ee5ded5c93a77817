/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* SCSI logical units (SPC-4, SBC-3, MMC-6) and what their controller is to them. The controller takes commands from the guest and finds the unit; the unit executes them. The device lock is held
 * everywhere. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "hv/block/block.h"
#include "hv/bus/plug.h"

#define SCSI_CDB_MAX 32u
#define SCSI_SENSE_SIZE 18u
#define SCSI_TARGETS 256u
#define SCSI_LUNS 16384u
#define SCSI_SERIAL_MAX 36u

enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02, SCSI_TASK_ABORTED = 0x40 };

/* Sense: key, additional code and qualifier. */
#define SCSI_SENSE(key, asc, ascq) ((uint32_t)(key) << 16 | (uint32_t)(asc) << 8 | (uint32_t)(ascq))
#define SCSI_NO_SENSE 0u
#define SCSI_NOT_PRESENT SCSI_SENSE(2, 0x3a, 0x01)      /* medium not present, tray closed */
#define SCSI_NOT_PRESENT_OPEN SCSI_SENSE(2, 0x3a, 0x02) /* and open */
#define SCSI_READ_ERROR SCSI_SENSE(3, 0x11, 0x00)
#define SCSI_WRITE_ERROR SCSI_SENSE(3, 0x0c, 0x00)
#define SCSI_TARGET_FAILURE SCSI_SENSE(4, 0x44, 0x00)
#define SCSI_INVALID_OPCODE SCSI_SENSE(5, 0x20, 0x00)
#define SCSI_LBA_OUT_OF_RANGE SCSI_SENSE(5, 0x21, 0x00)
#define SCSI_INVALID_FIELD SCSI_SENSE(5, 0x24, 0x00)
#define SCSI_INVALID_LUN SCSI_SENSE(5, 0x25, 0x00)
#define SCSI_INVALID_PARAMETER SCSI_SENSE(5, 0x26, 0x00)
#define SCSI_PARAMETER_LENGTH SCSI_SENSE(5, 0x1a, 0x00)
#define SCSI_SAVING_UNSUPPORTED SCSI_SENSE(5, 0x39, 0x00)
#define SCSI_REMOVAL_PREVENTED SCSI_SENSE(5, 0x53, 0x02)
#define SCSI_MEDIUM_CHANGED SCSI_SENSE(6, 0x28, 0x00)
#define SCSI_CAPACITY_CHANGED SCSI_SENSE(6, 0x2a, 0x09)
#define SCSI_WRITE_PROTECTED SCSI_SENSE(7, 0x27, 0x00)
#define SCSI_SPACE_FAILED SCSI_SENSE(7, 0x27, 0x07)     /* space allocation failed write protect */

struct scsi_unit;

/* A command that a unit executes. Embedded in the controller's own. */
struct scsi_request {
        uint8_t cdb[SCSI_CDB_MAX];
        /* The guest's buffers, which the unit may change: what it sends (out), and where it wants the answer (in). */
        struct iovec *out, *in;
        unsigned n_out, n_in;
        size_t out_len, in_len;
        /* Exactly once, with status, sense and transferred set. */
        void (*done)(struct scsi_request *request);
        enum scsi_status status;
        uint32_t sense;       /* with SCSI_CHECK_CONDITION */
        size_t transferred;   /* bytes of out or in that were used */
        bool overrun;         /* the command needs larger buffers: nothing was done */
        /* The unit's from here. */
        struct scsi_unit *unit;
        struct block_request block;
        uint8_t *buffer;
        size_t buffer_len, at; /* UNMAP: its descriptors, and the next one */
};

/* The controller: what units are plugged into. */
struct scsi_bus {
        struct plug *plug;
        struct list units;
        void (*added)(struct scsi_bus *bus, struct scsi_unit *unit);
        void (*removed)(struct scsi_bus *bus, struct scsi_unit *unit);
        /* A unit attention of that kind is pending: the guest may like to know. */
        void (*changed)(struct scsi_bus *bus, struct scsi_unit *unit, uint32_t sense);
};

struct scsi_unit {
        struct plug plug;
        struct plug_env env;
        struct scsi_bus *bus;
        struct list list; /* of the bus */
        unsigned target, lun;
        struct block *block; /* NULL: a CD drive without medium */
        bool cd;
        unsigned block_size; /* bytes */
        char serial[SCSI_SERIAL_MAX + 1];
        unsigned boot_index;
        unsigned in_flight;
        uint32_t attention;  /* what the next command is told; 0: nothing */
        bool aborting;       /* what ends now was aborted */
        /* CD drives */
        bool tray_open, locked;
        uint8_t media_event; /* MMC's code, once */
};

/* The bus of a plug, or NULL if it is no SCSI controller: virtio-scsi.c. */
struct scsi_bus *scsi_bus_of(struct plug *plug);
struct scsi_unit *scsi_bus_unit(struct scsi_bus *bus, unsigned target, unsigned lun);

/* request: cdb, buffers and done are set. */
void scsi_execute(struct scsi_unit *unit, struct scsi_request *request);
/* Everything in flight is aborted or done afterwards. */
void scsi_abort_all(struct scsi_unit *unit);
/* Back to what it was at power-on; nothing is in flight. */
void scsi_unit_reset(struct scsi_unit *unit);

/* --- For the parts of the unit --- */

typedef void (*scsi_command_fn)(struct scsi_unit *unit, struct scsi_request *request);

struct scsi_command {
        uint8_t opcode;
        scsi_command_fn fn;
        unsigned flags;
};
#define SCSI_DISK 1u           /* for disks */
#define SCSI_CD 2u             /* for CD drives */
#define SCSI_ALL (SCSI_DISK | SCSI_CD)
#define SCSI_MEDIUM 4u         /* needs a medium */
#define SCSI_NO_ATTENTION 8u   /* is not told of unit attentions */

extern const struct scsi_command scsi_common_commands[], scsi_block_commands[], scsi_mmc_commands[];
extern const size_t scsi_n_common_commands, scsi_n_block_commands, scsi_n_mmc_commands;

/* The ends of a command. */
void scsi_good(struct scsi_request *request);
void scsi_fail(struct scsi_request *request, uint32_t sense);
/* Good, with len bytes for the guest, or less: up to limit, the allocation length of the command, and what the guest has room for. */
void scsi_answer(struct scsi_request *request, const void *data, size_t len, size_t limit);
/* Fixed format (SPC-4, 4.5.3), SCSI_SENSE_SIZE bytes. */
void scsi_put_sense(uint8_t *to, uint32_t sense);
/* blocks of the medium; 0 without one */
uint64_t scsi_blocks(const struct scsi_unit *unit);
