/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The codec against bytes written out by hand, and against hostile ones. */
#include <libvirt/libvirt.h>
#include <string.h>

#include "base/bytes.h"
#include "libvirt-driver/facts.h"
#include "libvirt-driver/packet.h"
#include "remote.h"

static const uint8_t domain_bytes[] = {
        0, 0, 0, 5, 'g', 'u', 'e', 's', 't', 0, 0, 0,                    /* name, padded */
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,          /* uuid */
        0xff, 0xff, 0xff, 0xff,                                         /* id */
};

static void test_domain(void)
{
        struct arena arena = { 0 };
        struct remote_domain d = { 0 };
        g_autoptr(GByteArray) out = g_byte_array_new();

        g_assert_true(xdr_decode(&xdr_remote_domain, domain_bytes, sizeof(domain_bytes), &d, &arena));
        g_assert_cmpstr(d.name, ==, "guest");
        g_assert_cmpint(d.uuid[15], ==, 16);
        g_assert_cmpint(d.id, ==, -1);
        g_assert_true(xdr_encode(&xdr_remote_domain, &d, out, PACKET_MAX));
        g_assert_cmpmem(out->data, out->len, domain_bytes, sizeof(domain_bytes));
        arena_clear(&arena);
}

/* Every shorter and every longer message is refused. */
static void test_length(void)
{
        uint8_t buf[sizeof(domain_bytes) + 4] = { 0 };

        memcpy(buf, domain_bytes, sizeof(domain_bytes));
        for (size_t n = 0; n <= sizeof(buf); n++) {
                struct arena arena = { 0 };
                struct remote_domain d = { 0 };

                g_assert_cmpint(xdr_decode(&xdr_remote_domain, buf, n, &d, &arena), ==, n == sizeof(domain_bytes));
                arena_clear(&arena);
        }
}

static bool decode_words(const struct xdr_type *type, void *ret, struct arena *arena, const uint32_t *words, size_t n)
{
        uint8_t buf[256];

        for (size_t i = 0; i < n; i++)
                be32_store(buf + 4 * i, words[i]);
        return xdr_decode(type, buf, 4 * n, ret, arena);
}
#define DECODE(type, ret, ...)                                                                              \
        decode_words(type, ret, &arena, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)

static void test_hostile(void)
{
        struct arena arena = { 0 };
        struct remote_domain_open_console_args console = { 0 };
        struct remote_connect_get_all_domain_stats_args stats = { 0 };
        struct remote_domain_get_info_ret info = { 0 };
        struct remote_domain_pin_vcpu_args pin = { 0 };
        struct remote_auth_list_ret auth = { 0 };

        /* Strings: longer than the message, longer than any may be, with a NUL inside. */
        g_assert_false(DECODE(&xdr_remote_domain_open_console_args, &console, 1000, 0));
        g_assert_false(DECODE(&xdr_remote_domain_open_console_args, &console, 0xffffffff, 0));
        g_assert_false(DECODE(&xdr_remote_domain_open_console_args, &console, 4, 0x61006100, 0, 0, 0, 0, 0, 0, 0));
        /* An optional that is neither there nor not. */
        g_assert_true(DECODE(&xdr_remote_domain_open_console_args, &console, 0, 0, 0, 0, 0, 1, 0, 0));
        g_assert_false(DECODE(&xdr_remote_domain_open_console_args, &console, 0, 0, 0, 0, 0, 1, 2, 0));
        /* Counts beyond the bytes that follow, beyond the limit. */
        g_assert_false(DECODE(&xdr_remote_connect_get_all_domain_stats_args, &stats, 16384, 0, 0));
        g_assert_false(DECODE(&xdr_remote_connect_get_all_domain_stats_args, &stats, 0x80000000, 0, 0));
        g_assert_true(DECODE(&xdr_remote_auth_list_ret, &auth, 1, 0));
        g_assert_false(DECODE(&xdr_remote_auth_list_ret, &auth, 2, 0));
        g_assert_false(DECODE(&xdr_remote_auth_list_ret, &auth, 21, 0));
        /* Bytes: no room for the padding. */
        g_assert_true(DECODE(&xdr_remote_domain_pin_vcpu_args, &pin, 0, 0, 0, 0, 0, 1, 7, 1, 0xff000000));
        g_assert_cmpint(pin.cpumap.n, ==, 1);
        g_assert_cmpint(pin.cpumap.v[0], ==, 0xff);
        g_assert_false(DECODE(&xdr_remote_domain_pin_vcpu_args, &pin, 0, 0, 0, 0, 0, 1, 7, 5, 0xff000000));
        /* A number that its narrow type does not hold. */
        g_assert_true(DECODE(&xdr_remote_domain_get_info_ret, &info, 255, 0, 1, 0, 1, 65535, 0, 0));
        g_assert_false(DECODE(&xdr_remote_domain_get_info_ret, &info, 256, 0, 1, 0, 1, 65535, 0, 0));
        g_assert_false(DECODE(&xdr_remote_domain_get_info_ret, &info, 255, 0, 1, 0, 1, 65536, 0, 0));
        arena_clear(&arena);
}

static void test_typed_params(void)
{
        struct remote_typed_param params[] = {
                { "a", { VIR_TYPED_PARAM_INT, { .i = -1 } } },
                { "b", { VIR_TYPED_PARAM_ULLONG, { .ul = 1ULL << 40 } } },
                { "c", { VIR_TYPED_PARAM_DOUBLE, { .d = 0.5 } } },
                { "d", { VIR_TYPED_PARAM_STRING, { .s = "text" } } },
                { "e", { VIR_TYPED_PARAM_BOOLEAN, { .b = 1 } } },
        };
        struct remote_domain_get_job_stats_ret ret = { .type = 3, .params = { 5, params } }, back = { 0 };
        g_autoptr(GByteArray) out = g_byte_array_new();
        struct arena arena = { 0 };

        g_assert_true(xdr_encode(&xdr_remote_domain_get_job_stats_ret, &ret, out, PACKET_MAX));
        g_assert_true(xdr_decode(&xdr_remote_domain_get_job_stats_ret, out->data, out->len, &back, &arena));
        g_assert_cmpint(back.params.n, ==, 5);
        g_assert_cmpint(back.params.v[0].value.u.i, ==, -1);
        g_assert_cmpuint(back.params.v[1].value.u.ul, ==, 1ULL << 40);
        g_assert_cmpfloat(back.params.v[2].value.u.d, ==, 0.5);
        g_assert_cmpstr(back.params.v[3].value.u.s, ==, "text");
        g_assert_cmpint(back.params.v[4].value.u.b, ==, 1);
        /* An unknown type, either way. */
        out->data[4 + 4 + 8 + 3] = 99;
        g_assert_false(xdr_decode(&xdr_remote_domain_get_job_stats_ret, out->data, out->len, &back, &arena));
        params[0].value.type = 99;
        g_byte_array_set_size(out, 0);
        g_assert_false(xdr_encode(&xdr_remote_domain_get_job_stats_ret, &ret, out, PACKET_MAX));
        arena_clear(&arena);
}

static void test_encode_limits(void)
{
        int32_t types[21] = { 0 };
        struct remote_auth_list_ret auth = { .types = { 21, types } };
        g_autoptr(GByteArray) out = g_byte_array_new();

        g_assert_false(xdr_encode(&xdr_remote_auth_list_ret, &auth, out, PACKET_MAX));
        auth.types.n = 20;
        g_byte_array_set_size(out, 0);
        g_assert_false(xdr_encode(&xdr_remote_auth_list_ret, &auth, out, 80));
        g_byte_array_set_size(out, 0);
        g_assert_true(xdr_encode(&xdr_remote_auth_list_ret, &auth, out, 84));
}

/* The facts' zero value of every result goes out and comes back. */
static void test_all_procedures(void)
{
        for (unsigned i = 0; i < n_remote_procs; i++) {
                const struct remote_proc *p = &remote_procs[i];
                const struct xdr_type *type = p->access == ACCESS_EVENT ? p->args : p->ret;
                g_autoptr(GByteArray) out = g_byte_array_new();
                struct arena arena = { 0 };

                g_assert_cmpuint(p->number, ==, i + 1);
                if (type && !strstr(p->name, "tunable")) {
                        void *v = arena_alloc(&arena, type->size);

                        g_assert_true(xdr_encode(type, v, out, PACKET_MAX));
                        g_assert_cmpuint(out->len, ==, type->wire_min);
                        g_assert_true(xdr_decode(type, out->data, out->len, v, &arena));
                }
                arena_clear(&arena);
        }
        g_assert_cmpuint(n_remote_procs, ==, 453);
        g_assert_cmpuint(n_qemu_procs, ==, 7);
}

static void test_packet(void)
{
        struct packet_header h = { PROGRAM_REMOTE, 1, 42, PACKET_CALL, 7, PACKET_OK }, back;
        GByteArray *p = packet_begin(&h);
        uint8_t word[4];

        packet_end(p);
        g_assert_cmpuint(packet_length(p->data), ==, PACKET_HEADER);
        packet_header_read(p->data, &back);
        g_assert_cmpmem(&h, sizeof(h), &back, sizeof(back));
        g_byte_array_unref(p);

        be32_store(word, 27);
        g_assert_cmpuint(packet_length(word), ==, 0);
        be32_store(word, PACKET_MAX);
        g_assert_cmpuint(packet_length(word), ==, PACKET_MAX);
        be32_store(word, PACKET_MAX + 1);
        g_assert_cmpuint(packet_length(word), ==, 0);
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/xdr/domain", test_domain);
        g_test_add_func("/xdr/length", test_length);
        g_test_add_func("/xdr/hostile", test_hostile);
        g_test_add_func("/xdr/typed-params", test_typed_params);
        g_test_add_func("/xdr/encode-limits", test_encode_limits);
        g_test_add_func("/xdr/all-procedures", test_all_procedures);
        g_test_add_func("/packet", test_packet);
        return g_test_run();
}
