/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

#include <stdarg.h>

#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define EXIT_PASSED 0x10
#define EXIT_FAILED 0x11

#define MULTIBOOT_MAGIC 0x2badb002u

const char *guest_cmdline = "";
uint64_t guest_rsdp;
static unsigned checks, failures;
static volatile uint32_t print_lock;

void put_char(char c)
{
        while (!(in8(COM1 + 5) & 0x20))
                pause();
        out8(COM1, (uint8_t)c);
}

void put_string(const char *s)
{
        for (; *s; s++) {
                if (*s == '\n')
                        put_char('\r');
                put_char(*s);
        }
}

static void put_number(uint64_t v, unsigned base)
{
        char buf[24], *p = buf + sizeof(buf);

        *--p = 0;
        do {
                *--p = "0123456789abcdef"[v % base];
                v /= base;
        } while (v);
        put_string(p);
}

static uint64_t get_number(va_list *ap, bool is_long, bool is_signed)
{
        int64_t v = is_long ? va_arg(*ap, int64_t) : va_arg(*ap, int);

        if (is_signed && v < 0) {
                put_char('-');
                return -(uint64_t)v;
        }
        return is_long || is_signed ? (uint64_t)v : (uint32_t)v;
}

static const char *put_one(const char *fmt, va_list *ap)
{
        bool is_long = *fmt == 'l';

        if (is_long)
                fmt++;
        if (*fmt == 's')
                put_string(va_arg(*ap, const char *));
        else if (*fmt == 'c')
                put_char((char)va_arg(*ap, int));
        else
                put_number(get_number(ap, is_long, *fmt == 'd'), *fmt == 'x' ? 16 : 10);
        return fmt + 1;
}

void print(const char *fmt, ...)
{
        va_list ap;

        while (__atomic_exchange_n(&print_lock, 1, __ATOMIC_ACQUIRE))
                pause();
        va_start(ap, fmt);
        while (*fmt) {
                char s[2] = { *fmt, 0 };

                if (*fmt++ == '%')
                        fmt = put_one(fmt, &ap);
                else
                        put_string(s);
        }
        va_end(ap);
        __atomic_store_n(&print_lock, 0, __ATOMIC_RELEASE);
}

void check(bool ok, const char *what)
{
        __atomic_add_fetch(&checks, 1, __ATOMIC_RELAXED);
        if (ok)
                return;
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
        print("FAILED: %s\n", what);
}

void finish(void)
{
        print("%u checks, %u failed\n", checks, failures);
        out32(DEBUG_EXIT, failures ? EXIT_FAILED : EXIT_PASSED);
        for (;;)
                asm volatile("cli; hlt");
}

void fail(const char *why)
{
        failures++;
        print("FAILED: %s\n", why);
        finish();
}

bool has_word(const char *word)
{
        size_t n = strlen(word);

        for (const char *p = guest_cmdline; *p; p++)
                if ((p == guest_cmdline || p[-1] == ' ') && memcmp(p, word, n) == 0 && (p[n] == ' ' || p[n] == 0))
                        return true;
        return false;
}

/* From start.S, with what the loader passed. */
void guest_start(uint32_t magic, uint32_t info);
void guest_start(uint32_t magic, uint32_t info)
{
        if (magic == MULTIBOOT_MAGIC) {
                guest_cmdline = (const char *)(uintptr_t) * (uint32_t *)(uintptr_t)(info + 16);
        } else {
                guest_cmdline = (const char *)*(uintptr_t *)(uintptr_t)(info + 24);
                guest_rsdp = *(uint64_t *)(uintptr_t)(info + 32);
        }
        out8(COM1 + 3, 0x03);
        out8(COM1 + 2, 0x07);
        out8(COM1 + 4, 0x0b);
        out8(0x21, 0xff); /* firmware may have left the 8259s open */
        out8(0xa1, 0xff);
        trap_load(0);
        guest_main();
        finish();
}

void *memset(void *to, int c, size_t n)
{
        void *p = to;

        asm volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
        return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
        void *p = to;

        asm volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(n) : : "memory");
        return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
        const uint8_t *p = a, *q = b;

        for (size_t i = 0; i < n; i++)
                if (p[i] != q[i])
                        return p[i] - q[i];
        return 0;
}

size_t strlen(const char *s)
{
        size_t n = 0;

        while (s[n])
                n++;
        return n;
}
