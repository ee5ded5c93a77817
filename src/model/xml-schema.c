/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <libxml/relaxng.h>
#include <unistd.h>

#include "model/xml-rules.h"

#define SCHEMAS "/usr/share/libvirt/schemas/"

static void collect_error(void *opaque, xmlError *e)
{
        GString *out = opaque;

        if (out && out->len < 2000)
                g_string_append_printf(out, "\nline %d: %s", e->line, g_strchomp(e->message));
}

static bool run_schema(xmlRelaxNG *schema, xmlDoc *doc, const char *path, GError **error)
{
        xmlRelaxNGValidCtxt *ctxt = xmlRelaxNGNewValidCtxt(schema);
        g_autoptr(GString) details = g_string_new(NULL);
        int r;

        xmlRelaxNGSetValidStructuredErrors(ctxt, collect_error, details);
        r = xmlRelaxNGValidateDoc(ctxt, doc);
        xmlRelaxNGFreeValidCtxt(ctxt);
        return r == 0 || xml_fail(error, DOMUS_ERROR_XML_INVALID, "Unable to validate doc against %s%s", path, details->str);
}

bool xml_schema_check(xmlDoc *doc, const char *schema, GError **error)
{
        g_autofree char *path = g_strconcat(SCHEMAS, schema, NULL);
        xmlRelaxNGParserCtxt *parser;
        xmlRelaxNG *compiled;
        bool ok = true;

        if (access(path, R_OK) < 0)
                return true;
        parser = xmlRelaxNGNewParserCtxt(path);
        xmlRelaxNGSetParserStructuredErrors(parser, collect_error, NULL);
        compiled = xmlRelaxNGParse(parser);
        if (compiled)
                ok = run_schema(compiled, doc, path, error);
        xmlRelaxNGFree(compiled);
        xmlRelaxNGFreeParserCtxt(parser);
        return ok;
}
