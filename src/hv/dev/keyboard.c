/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "base/macros.h"
#include "hv/dev/reset.h"

#define PORT_DATA 0x60
#define PORT_COMMAND 0x64

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCKED 0x10

#define COMMAND_READ_MODE 0x20
#define COMMAND_WRITE_MODE 0x60
#define COMMAND_DISABLE_AUX 0xa7
#define COMMAND_ENABLE_AUX 0xa8
#define COMMAND_TEST_AUX 0xa9
#define COMMAND_SELF_TEST 0xaa
#define COMMAND_TEST_KEYBOARD 0xab
#define COMMAND_DISABLE_KEYBOARD 0xad
#define COMMAND_ENABLE_KEYBOARD 0xae
#define COMMAND_READ_OUTPUT_PORT 0xd0
#define COMMAND_WRITE_OUTPUT_PORT 0xd1
#define COMMAND_PULSE 0xf0 /* ..0xff: the low bits select lines, 0 pulses */

#define MODE_SYSTEM 0x04
#define MODE_KEYBOARD_OFF 0x10
#define MODE_AUX_OFF 0x20

#define OUTPUT_RESET 0x01 /* active low */
#define OUTPUT_A20 0x02

#define SELF_TEST_OK 0x55
#define INTERFACE_CLOCK_LOW 0x01 /* what the interface tests say when nothing is plugged in */

struct keyboard_controller {
        struct device device;
        const struct device_env *env;
        uint8_t mode, output_port, out, last_command;
        bool out_full;
        bool last_was_command;
};

static void answer(struct keyboard_controller *k, uint8_t value)
{
        k->out = value;
        k->out_full = true;
}

static void set_output_port(struct keyboard_controller *k, uint8_t value)
{
        k->output_port = value | OUTPUT_A20;
        if (!(value & OUTPUT_RESET)) {
                k->output_port |= OUTPUT_RESET;
                k->env->event(k->env->opaque, DEVICE_EVENT_RESET, 0);
        }
}

static void command(struct keyboard_controller *k, uint8_t value)
{
        k->last_command = value;
        k->last_was_command = true;
        switch (value) {
        case COMMAND_READ_MODE:
                answer(k, k->mode);
                break;
        case COMMAND_DISABLE_AUX:
                k->mode |= MODE_AUX_OFF;
                break;
        case COMMAND_ENABLE_AUX:
                k->mode &= (uint8_t)~MODE_AUX_OFF;
                break;
        case COMMAND_TEST_AUX:
        case COMMAND_TEST_KEYBOARD:
                answer(k, INTERFACE_CLOCK_LOW);
                break;
        case COMMAND_SELF_TEST:
                k->mode |= MODE_SYSTEM;
                answer(k, SELF_TEST_OK);
                break;
        case COMMAND_DISABLE_KEYBOARD:
                k->mode |= MODE_KEYBOARD_OFF;
                break;
        case COMMAND_ENABLE_KEYBOARD:
                k->mode &= (uint8_t)~MODE_KEYBOARD_OFF;
                break;
        case COMMAND_READ_OUTPUT_PORT:
                answer(k, k->output_port);
                break;
        default:
                if (value >= COMMAND_PULSE && !(value & OUTPUT_RESET))
                        k->env->event(k->env->opaque, DEVICE_EVENT_RESET, 0);
        }
}

static void data(struct keyboard_controller *k, uint8_t value)
{
        uint8_t last = k->last_command;

        k->last_command = 0;
        k->last_was_command = false;
        if (last == COMMAND_WRITE_MODE)
                k->mode = value;
        else if (last == COMMAND_WRITE_OUTPUT_PORT)
                set_output_port(k, value);
        /* Anything else is for the keyboard, which is not there. */
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
        struct keyboard_controller *k = dev;

        k->out_full = false;
        return k->out;
}

static void data_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        data(dev, (uint8_t)value);
}

static uint64_t status_read(void *dev, uint64_t off, unsigned size)
{
        struct keyboard_controller *k = dev;

        return STATUS_UNLOCKED | (k->out_full ? STATUS_OUTPUT_FULL : 0) | (k->mode & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
               (k->last_was_command ? STATUS_COMMAND : 0);
}

static void command_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
        command(dev, (uint8_t)value);
}

static const struct bus_ops data_ops = { .read = data_read, .write = data_write, .max_size = 1 };
static const struct bus_ops command_ops = { .read = status_read, .write = command_write, .max_size = 1 };

static void keyboard_reset(struct device *dev)
{
        struct keyboard_controller *k = container_of(dev, struct keyboard_controller, device);

        /* As firmware leaves it: self-tested, both interfaces off. */
        k->mode = MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_AUX_OFF;
        k->output_port = OUTPUT_RESET | OUTPUT_A20;
        k->out = k->last_command = 0;
        k->out_full = k->last_was_command = false;
}

static void keyboard_free(struct device *dev)
{
        struct keyboard_controller *k = container_of(dev, struct keyboard_controller, device);

        bus_unmap(k->env->bus, BUS_PIO, PORT_DATA);
        bus_unmap(k->env->bus, BUS_PIO, PORT_COMMAND);
        free(k);
}

static const struct device_ops device_ops = { .reset = keyboard_reset, .free = keyboard_free };

int keyboard_controller_new(const struct device_env *env, struct device **ret)
{
        struct keyboard_controller *k = calloc(1, sizeof(*k));
        int r;

        if (!k)
                return -ENOMEM;
        k->device.ops = &device_ops;
        k->env = env;
        keyboard_reset(&k->device);
        r = bus_map(env->bus, BUS_PIO, PORT_DATA, 1, &data_ops, k, "i8042-data");
        if (r == 0)
                r = bus_map(env->bus, BUS_PIO, PORT_COMMAND, 1, &command_ops, k, "i8042-command");
        if (r < 0) {
                keyboard_free(&k->device);
                return r;
        }
        *ret = &k->device;
        return 0;
}
