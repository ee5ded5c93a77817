/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Writes ACPI Machine Language (ACPI 6.4 chapter 20) and resource templates (section 6.4) into a caller's buffer. Too
 * much output sets overflow and is dropped. Objects that contain others are begun and ended; ends nest. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
        uint8_t *buf;
        size_t len, cap;
        bool overflow;
};

/* Names have exactly four characters ("COM1", "_S5_"); a scope may start with a backslash. */
size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
/* A method without locals that takes args arguments (0..7). */
size_t aml_method(struct aml *a, const char *name, unsigned args);
/* The value of a preceding aml_name, or an element. n: number of elements, up to 255. */
size_t aml_package(struct aml *a, unsigned n);
/* The value of a preceding aml_name: resource descriptors follow until aml_resources_end. */
size_t aml_resources(struct aml *a);
void aml_end(struct aml *a, size_t mark);
void aml_resources_end(struct aml *a, size_t mark);

/* Name(name, the value that is written next). */
void aml_name(struct aml *a, const char *name);
void aml_integer(struct aml *a, uint64_t value);
void aml_string(struct aml *a, const char *s);
/* A reference to a named object, by one name segment. */
void aml_reference(struct aml *a, const char *name);
/* id: three capital letters and four hexadecimal digits, "PNP0A03". */
void aml_eisa_id(struct aml *a, const char *id);

/* Ports as a region, and the beginning of a list of its fields of 32 bits: aml_field for each, aml_end. */
void aml_io_region(struct aml *a, const char *name, uint16_t port, uint8_t len);
size_t aml_fields(struct aml *a, const char *region);
void aml_field(struct aml *a, const char *name);

/* Statements and expressions in methods. Local variable n, 0..7. */
void aml_local(struct aml *a, unsigned n);
void aml_store(struct aml *a);                      /* Store(what is written next, and after that) */
size_t aml_if_bit(struct aml *a, unsigned local, uint32_t mask); /* If (And (LocalN, mask)) { ... aml_end */
void aml_notify(struct aml *a, const char *name, uint8_t value);
void aml_call(struct aml *a, const char *path);     /* of a method without arguments; segments without dots: "\\_SB_PCI0PCNT" */

void aml_io(struct aml *a, uint16_t port, uint8_t len);             /* IO(Decode16, port, port, 1, len) */
void aml_irq(struct aml *a, unsigned irq);                          /* IRQNoFlags() {irq} */
void aml_interrupt(struct aml *a, uint32_t gsi);                    /* consumer, level, active high, shared */
void aml_bus_window(struct aml *a, uint16_t first, uint16_t last);  /* WordBusNumber, producer */
void aml_io_window(struct aml *a, uint16_t first, uint16_t last);   /* WordIO, producer */
void aml_memory_window(struct aml *a, uint32_t first, uint32_t last); /* DWordMemory, producer, non-cacheable, writable */
