/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/bandwidth.h"
#include "model/error.h"
#include "model/xml-dom.h"

static bool parse(const char *xml, bool allow_floor, DomusBandwidth *b, GError **error)
{
        g_autoptr(xmlDoc) doc = xml_parse(xml, "test", NULL);

        g_assert_nonnull(doc);
        return domus_bandwidth_parse(xmlDocGetRootElement(doc), allow_floor, b, error);
}

static void test_good(void)
{
        DomusBandwidth b, again;
        g_autoptr(xmlDoc) doc = xml_parse("<network/>", "test", NULL);
        xmlNode *node;

        g_assert_true(parse("<bandwidth><inbound average='1000' peak='5000' floor='200' burst='1024'/><outbound average='128'/></bandwidth>", true,
                &b, NULL));
        g_assert_cmpuint(b.inbound.average, ==, 1000);
        g_assert_cmpuint(b.inbound.peak, ==, 5000);
        g_assert_cmpuint(b.inbound.floor, ==, 200);
        g_assert_cmpuint(b.inbound.burst, ==, 1024);
        g_assert_cmpuint(b.outbound.average, ==, 128);
        g_assert_cmpuint(b.outbound.peak, ==, 0);
        node = domus_bandwidth_put(&b, xmlDocGetRootElement(doc));
        g_assert_nonnull(node);
        g_assert_true(domus_bandwidth_parse(node, true, &again, NULL));
        g_assert_true(domus_bandwidth_equal(&b, &again));
}

static void test_empty(void)
{
        DomusBandwidth b;
        g_autoptr(xmlDoc) doc = xml_parse("<network/>", "test", NULL);

        g_assert_true(domus_bandwidth_parse(NULL, false, &b, NULL));
        g_assert_true(domus_bandwidth_is_empty(&b));
        g_assert_null(domus_bandwidth_put(&b, xmlDocGetRootElement(doc)));
        g_assert_true(parse("<bandwidth><inbound average='0'/></bandwidth>", false, &b, NULL));
        g_assert_true(domus_bandwidth_is_empty(&b));
}

static void test_bad(void)
{
        static const struct {
                const char *xml;
                int code;
                const char *message;
        } cases[] = {
                { "<bandwidth><inbound average='x'/></bandwidth>", DOMUS_ERROR_XML, "could not convert bandwidth average value 'x' of <inbound>" },
                { "<bandwidth><inbound average='-1'/></bandwidth>", DOMUS_ERROR_XML, "could not convert bandwidth average value '-1' of <inbound>" },
                { "<bandwidth><inbound average='99999999999999'/></bandwidth>", DOMUS_ERROR_XML,
                        "could not convert bandwidth average value '99999999999999' of <inbound>" },
                { "<bandwidth><outbound peak='1'/></bandwidth>", DOMUS_ERROR_XML, "'peak' and 'burst' of <outbound> require 'average' attribute" },
                { "<bandwidth><outbound average='1' floor='1'/></bandwidth>", DOMUS_ERROR_XML, "attribute 'floor' is not allowed in <outbound>" },
                { "<bandwidth><inbound average='1' floor='1'/></bandwidth>", DOMUS_ERROR_CONFIG_UNSUPPORTED,
                        "attribute 'floor' of element <inbound> is supported for interfaces only" },
                { "<bandwidth><sideways/></bandwidth>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <sideways> in <bandwidth> (line 1) is not supported" },
                { "<bandwidth><inbound average='1'/><inbound average='1'/></bandwidth>", DOMUS_ERROR_XML,
                        "element <inbound> in <bandwidth> is given twice (line 1)" },
                { "<bandwidth><inbound average='1' colour='red'/></bandwidth>", DOMUS_ERROR_CONFIG_UNSUPPORTED,
                        "attribute 'colour' of element <inbound> (line 1) is not supported" },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) error = NULL;
                DomusBandwidth b;

                g_assert_false(parse(cases[i].xml, false, &b, &error));
                g_assert_error(error, DOMUS_ERROR, cases[i].code);
                g_assert_cmpstr(error->message, ==, cases[i].message);
        }
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/bandwidth/good", test_good);
        g_test_add_func("/bandwidth/empty", test_empty);
        g_test_add_func("/bandwidth/bad", test_bad);
        return g_test_run();
}
