/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A guest to talk to. It says "ready> ", answers each line on COM1 with "echo: LINE", sleeps in between, and powers off
 * when the ACPI power button is pressed. Commands: poweroff (ACPI S5), reboot (port 0xcf9), crash (triple fault), spin. The
 * word "nobutton" on the command line makes it ignore the button, as a hung system would. */
#include "guest.h"

#define COM1 0x3f8
#define COM1_IRQ 4
#define SCI_IRQ 9
#define IRQ_BASE 0x30
#define LINE_MAX 200

#define FADT_SMI_CMD 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1_EVENT 56
#define FADT_PM1_CONTROL 64
#define PM1_POWER_BUTTON 0x100
#define PM1_SLEEP_ENABLE 0x2000

static uint16_t pm1_event, pm1_control;
static volatile bool button;
static char line[LINE_MAX + 1];
static unsigned line_len;
static uint8_t queue[256];
static volatile uint8_t queue_head, queue_tail;

static void on_serial(struct frame *f)
{
        while (in8(COM1 + 5) & 1) {
                uint8_t c = in8(COM1);

                if ((uint8_t)(queue_head + 1) != queue_tail)
                        queue[queue_head++] = c;
        }
        pic_eoi(COM1_IRQ);
}

static void on_sci(struct frame *f)
{
        uint16_t status = in16(pm1_event);

        out16(pm1_event, status);
        if (status & PM1_POWER_BUTTON)
                button = true;
        pic_eoi(SCI_IRQ);
}

static void power_off(void)
{
        put_string("powering off\n");
        out16(pm1_control, PM1_SLEEP_ENABLE); /* SLP_TYP 0 is S5, as _S5 says */
        for (;;)
                asm volatile("cli; hlt");
}

static void reboot(void)
{
        put_string("rebooting\n");
        out8(0xcf9, 0x02);
        out8(0xcf9, 0x06);
        for (;;)
                asm volatile("cli; hlt");
}

static void crash(void)
{
        struct __attribute__((packed)) {
                uint16_t limit;
                uint64_t base;
        } none = { 0, 0 };

        put_string("crashing\n");
        asm volatile("lidt %0; ud2" : : "m"(none));
}

static void run_line(void)
{
        if (memcmp(line, "poweroff", 9) == 0)
                power_off();
        else if (memcmp(line, "reboot", 7) == 0)
                reboot();
        else if (memcmp(line, "crash", 6) == 0)
                crash();
        else if (memcmp(line, "spin", 5) == 0)
                for (;;)
                        pause();
        print("echo: %s\nready> ", line);
}

static void take_char(char c)
{
        if (c == '\r' || c == '\n') {
                line[line_len] = 0;
                if (line_len)
                        run_line();
                line_len = 0;
                return;
        }
        if (line_len < LINE_MAX)
                line[line_len++] = c;
}

static void setup_acpi(void)
{
        const uint8_t *fadt = acpi_table("FACP");

        if (!fadt)
                fail("no FADT");
        pm1_event = *(const uint16_t *)(fadt + FADT_PM1_EVENT);
        pm1_control = *(const uint16_t *)(fadt + FADT_PM1_CONTROL);
        out8(*(const uint16_t *)(fadt + FADT_SMI_CMD), fadt[FADT_ACPI_ENABLE]);
        for (unsigned i = 0; i < 1000 && !(in16(pm1_control) & 1); i++)
                pause();
        out16(pm1_event, 0xffff);
        out16(pm1_event + 2, PM1_POWER_BUTTON);
}

static void setup_irqs(void)
{
        irq_set_handler(IRQ_BASE + COM1_IRQ, on_serial);
        irq_set_handler(IRQ_BASE + SCI_IRQ, on_sci);
        apic_enable(false);
        apic_write(APIC_LVT_LINT0, 0x700); /* the 8259s */
        pic_init(IRQ_BASE, (uint16_t) ~(1u << COM1_IRQ | 1u << 2 | 1u << SCI_IRQ));
        out8(COM1 + 1, 1);
}

void guest_main(void)
{
        setup_acpi();
        setup_irqs();
        print("echo guest, command line: %s\nready> ", guest_cmdline);
        for (;;) {
                while (queue_tail != queue_head)
                        take_char((char)queue[queue_tail++]);
                if (button && !has_word("nobutton"))
                        power_off();
                wait_irq();
        }
}
