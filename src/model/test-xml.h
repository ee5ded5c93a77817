/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the tests of documents share. */

#include <string.h>

#include "model/domain-def.h"
#include "model/error.h"

struct bad_xml {
        const char *xml;
        int code;
        const char *message; /* a part of it */
};

static inline void test_refused(const struct bad_xml *bad, bool accepted, const GError *error)
{
        if (accepted)
                g_error("accepted: %s", bad->xml);
        if (!g_error_matches(error, DOMUS_ERROR, bad->code) || !strstr(error->message, bad->message))
                g_error("%s: %s (%d)", bad->xml, error->message, error->code);
}

static inline DomusDomainDef *test_parse_domain(const char *xml)
{
        g_autoptr(GError) error = NULL;
        DomusDomainDef *def = domus_domain_def_parse(xml, 0, &error);

        g_assert_no_error(error);
        g_assert_nonnull(def);
        return def;
}

static inline void test_refused_domains(const struct bad_xml *bad, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(DomusDomainDef) def = domus_domain_def_parse(bad[i].xml, 0, &error);

                test_refused(&bad[i], def != NULL, error);
        }
}
