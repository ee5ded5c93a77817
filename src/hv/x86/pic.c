/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/x86/pic.h"

#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"

#define CASCADE_IRQ 2

#define ICW1 0x10
#define ICW1_IC4 0x01
#define ICW1_SINGLE 0x02
#define OCW3 0x08
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10

/* Which initialisation word the data port expects next. */
enum init_step { INIT_DONE, INIT_ICW2, INIT_ICW3, INIT_ICW4 };

struct chip {
        struct pic *pic;
        bool slave;
        uint8_t irr, isr, imr;
        uint8_t lines;       /* input levels */
        uint8_t elcr;        /* 1: level triggered */
        uint8_t elcr_mask;   /* bits of elcr that software may set */
        uint8_t base;        /* vector of input 0 */
        uint8_t top;         /* input with the highest priority */
        enum init_step init;
        bool single, needs_icw4;
        bool read_isr, poll, special_mask, special_nested, aeoi, aeoi_rotate;
};

struct pic {
        struct bus *bus;
        struct chip chips[2];
        pic_output_fn output;
        void *opaque;
        int level;
};

/* How far down from the top priority the most urgent of the inputs in mask is; 8: none. */
static unsigned rank(const struct chip *c, uint8_t mask)
{
        unsigned n = 0;

        while (n < 8 && !(mask & (1u << ((c->top + n) & 7))))
                n++;
        return n;
}

/* The input that the chip requests service for now, or -1. */
static int requested(const struct chip *c)
{
        unsigned wanted = rank(c, c->irr & (uint8_t)~c->imr);
        uint8_t in_service = c->isr;

        if (c->special_mask)
                in_service &= (uint8_t)~c->imr;
        /* In special fully nested mode a slave may interrupt its own handler. */
        if (c->special_nested && !c->slave)
                in_service &= (uint8_t)~(1u << CASCADE_IRQ);
        if (wanted == 8 || wanted >= rank(c, in_service))
                return -1;
        return (int)((c->top + wanted) & 7);
}

static void set_input(struct chip *c, unsigned n, int level)
{
        uint8_t bit = (uint8_t)(1u << n);

        if (level) {
                if ((c->elcr & bit) || !(c->lines & bit))
                        c->irr |= bit;
                c->lines |= bit;
        } else {
                if (c->elcr & bit)
                        c->irr &= (uint8_t)~bit;
                c->lines &= (uint8_t)~bit;
        }
}

static void update(struct pic *pic)
{
        int level;
        int cascade = requested(&pic->chips[1]) >= 0;

        /* The cascade input follows the slave's output; a raised one counts again after each acknowledge. */
        set_input(&pic->chips[0], CASCADE_IRQ, 0);
        pic->chips[0].irr &= (uint8_t)~(1u << CASCADE_IRQ);
        set_input(&pic->chips[0], CASCADE_IRQ, cascade);
        level = requested(&pic->chips[0]) >= 0;
        if (level != pic->level) {
                pic->level = level;
                pic->output(pic->opaque, level);
        }
}

static void acknowledge(struct chip *c, unsigned n)
{
        uint8_t bit = (uint8_t)(1u << n);

        if (!c->aeoi)
                c->isr |= bit;
        else if (c->aeoi_rotate)
                c->top = (n + 1) & 7;
        if (!(c->elcr & bit))
                c->irr &= (uint8_t)~bit;
}

int pic_ack(struct pic *pic)
{
        struct chip *master = &pic->chips[0], *slave = &pic->chips[1];
        int n = requested(master), vector;

        if (n < 0)
                return -1;
        acknowledge(master, (unsigned)n);
        vector = master->base + n;
        if (n == CASCADE_IRQ) {
                int s = requested(slave);

                /* A request that vanished meanwhile is answered as input 7, without an in-service bit. */
                if (s >= 0)
                        acknowledge(slave, (unsigned)s);
                vector = slave->base + (s < 0 ? 7 : s);
        }
        update(pic);
        return vector;
}

void pic_set_irq(struct pic *pic, unsigned irq, int level)
{
        if (irq > 15 || irq == CASCADE_IRQ)
                return;
        set_input(&pic->chips[irq / 8], irq % 8, level);
        update(pic);
}

static void write_icw1(struct chip *c, uint8_t value)
{
        c->irr &= c->elcr;
        c->isr = c->imr = 0;
        c->top = 0;
        c->special_mask = c->read_isr = c->poll = false;
        c->aeoi = c->aeoi_rotate = c->special_nested = false;
        c->single = value & ICW1_SINGLE;
        c->needs_icw4 = value & ICW1_IC4;
        c->init = INIT_ICW2;
}

static void end_of_interrupt(struct chip *c, unsigned n, bool rotate)
{
        c->isr &= (uint8_t)~(1u << n);
        if (rotate)
                c->top = (n + 1) & 7;
}

/* Bits 7..5: R, SL, EOI. */
static void write_ocw2(struct chip *c, uint8_t value)
{
        unsigned n = value & 7, command = value >> 5;
        unsigned current = rank(c, c->isr);

        switch (command) {
        case 0: /* rotate in automatic EOI mode: clear */
        case 4: /* set */
                c->aeoi_rotate = command == 4;
                break;
        case 1: /* non-specific EOI */
        case 5: /* and rotate */
                if (current < 8)
                        end_of_interrupt(c, (c->top + current) & 7, command == 5);
                break;
        case 3: /* specific EOI */
        case 7: /* and rotate */
                end_of_interrupt(c, n, command == 7);
                break;
        case 6: /* set priority */
                c->top = (n + 1) & 7;
                break;
        }
}

static void write_ocw3(struct chip *c, uint8_t value)
{
        if (value & 0x04)
                c->poll = true;
        if (value & 0x02)
                c->read_isr = value & 0x01;
        if (value & 0x40)
                c->special_mask = value & 0x20;
}

static void write_data(struct chip *c, uint8_t value)
{
        switch (c->init) {
        case INIT_DONE:
                c->imr = value;
                break;
        case INIT_ICW2:
                c->base = value & 0xf8;
                c->init = !c->single ? INIT_ICW3 : c->needs_icw4 ? INIT_ICW4 : INIT_DONE;
                break;
        case INIT_ICW3: /* the wiring is fixed */
                c->init = c->needs_icw4 ? INIT_ICW4 : INIT_DONE;
                break;
        case INIT_ICW4:
                c->aeoi = value & ICW4_AEOI;
                c->special_nested = value & ICW4_SFNM;
                c->init = INIT_DONE;
                break;
        }
}

static void chip_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct chip *c = dev;

        if (off == 1)
                write_data(c, (uint8_t)value);
        else if (value & ICW1)
                write_icw1(c, (uint8_t)value);
        else if (value & OCW3)
                write_ocw3(c, (uint8_t)value);
        else
                write_ocw2(c, (uint8_t)value);
        update(c->pic);
}

/* A read in poll mode is an acknowledge cycle of this chip alone. */
static uint8_t poll_read(struct chip *c)
{
        int n = requested(c);

        c->poll = false;
        if (n < 0)
                return 0;
        acknowledge(c, (unsigned)n);
        update(c->pic);
        return (uint8_t)(0x80 | n);
}

static uint64_t chip_read(void *dev, uint64_t off, unsigned size)
{
        struct chip *c = dev;

        if (c->poll)
                return poll_read(c);
        if (off == 1)
                return c->imr;
        return c->read_isr ? c->isr : c->irr;
}

static uint64_t elcr_read(void *dev, uint64_t off, unsigned size)
{
        struct pic *pic = dev;

        return pic->chips[off].elcr;
}

static void elcr_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        struct pic *pic = dev;
        struct chip *c = &pic->chips[off];

        c->elcr = (uint8_t)value & c->elcr_mask;
        /* What is level triggered now requests as long as its line is up. */
        c->irr = (uint8_t)((c->irr & ~c->elcr) | (c->lines & c->elcr));
        update(pic);
}

static const struct bus_ops chip_ops = { .read = chip_read, .write = chip_write, .max_size = 1 };
static const struct bus_ops elcr_ops = { .read = elcr_read, .write = elcr_write, .max_size = 1 };

/* Timer, keyboard, cascade, RTC and FPU inputs are always edge triggered. */
#define ELCR_MASK_MASTER 0xf8
#define ELCR_MASK_SLAVE 0xde

void pic_reset(struct pic *pic)
{
        for (unsigned i = 0; i < 2; i++) {
                uint8_t lines = pic->chips[i].lines;

                pic->chips[i] = (struct chip){
                        .pic = pic, .slave = i == 1, .lines = lines, .elcr_mask = i ? ELCR_MASK_SLAVE : ELCR_MASK_MASTER,
                        /* Nothing is heard before software has set the chip up. */
                        .imr = 0xff,
                };
        }
        update(pic);
}

int pic_new(struct bus *bus, pic_output_fn output, void *opaque, struct pic **ret)
{
        struct pic *pic = calloc(1, sizeof(*pic));
        int r;

        if (!pic)
                return -ENOMEM;
        pic->bus = bus;
        pic->output = output;
        pic->opaque = opaque;
        pic_reset(pic);
        r = bus_map(bus, BUS_PIO, 0x20, 2, &chip_ops, &pic->chips[0], "pic-master");
        if (r == 0)
                r = bus_map(bus, BUS_PIO, 0xa0, 2, &chip_ops, &pic->chips[1], "pic-slave");
        if (r == 0)
                r = bus_map(bus, BUS_PIO, 0x4d0, 2, &elcr_ops, pic, "pic-elcr");
        if (r < 0) {
                pic_free(pic);
                return r;
        }
        *ret = pic;
        return 0;
}

void pic_free(struct pic *pic)
{
        if (!pic)
                return;
        bus_unmap(pic->bus, BUS_PIO, 0x20);
        bus_unmap(pic->bus, BUS_PIO, 0xa0);
        bus_unmap(pic->bus, BUS_PIO, 0x4d0);
        free(pic);
}
