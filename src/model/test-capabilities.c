/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <libxml/relaxng.h>
#include <string.h>
#include <unistd.h>

#include "model/capabilities.h"
#include "model/error.h"
#include "model/xml-dom.h"

static char model[] = "EPYC-Milan", vendor[] = "AMD", arch[] = "x86_64", vmm[] = "/usr/libexec/domus-vm", s0[] = "0-1";
static char aes[] = "aes<";
static char *features[] = { aes, NULL };
static DomusHostCpu cpus[] = { { 0, 0, 0, 0, 0, s0 }, { 1, 0, 0, 0, 0, s0 } };
static DomusHostNode nodes[] = { { 0, 4096 } };

static DomusHostFacts facts(bool kvm)
{
        return (DomusHostFacts){
                .arch = arch, .cpu_model = model, .cpu_vendor = vendor, .cpu_features = features, .sockets = 1, .dies = 1,
                .cores = 1, .threads = 2, .cpus = cpus, .n_cpus = 2, .nodes = nodes, .n_nodes = 1, .page_size_kib = 4,
                .kvm = kvm, .max_vcpus = 64, .emulator = vmm,
        };
}

/* Valid by libvirt's own schema, where that is installed. */
static void check_schema(const char *xml, const char *schema)
{
        g_autofree char *path = g_strdup_printf("/usr/share/libvirt/schemas/%s", schema);
        g_autoptr(GError) error = NULL;
        g_autoptr(xmlDoc) doc = xml_parse(xml, "test", &error);
        xmlRelaxNGParserCtxt *parser;
        xmlRelaxNGValidCtxt *valid;
        xmlRelaxNG *rng;

        g_assert_no_error(error);
        if (access(path, R_OK) < 0)
                return;
        parser = xmlRelaxNGNewParserCtxt(path);
        rng = xmlRelaxNGParse(parser);
        valid = xmlRelaxNGNewValidCtxt(rng);
        g_assert_cmpint(xmlRelaxNGValidateDoc(valid, doc), ==, 0);
        xmlRelaxNGFreeValidCtxt(valid);
        xmlRelaxNGFree(rng);
        xmlRelaxNGFreeParserCtxt(parser);
}

static void test_capabilities(void)
{
        DomusHostFacts soft = facts(false), hard = facts(true);
        g_autofree char *a = domus_capabilities_format(&soft), *b = domus_capabilities_format(&hard);

        g_assert_nonnull(strstr(a, "<feature name='aes&lt;'/>"));
        g_assert_nonnull(strstr(a, "<cpu id='1' socket_id='0' die_id='0' core_id='0' siblings='0-1'/>"));
        g_assert_nonnull(strstr(a, "<machine maxCpus='64'>domus</machine>\n      <domain type='qemu'/>\n    </arch>"));
        g_assert_nonnull(strstr(b, "<domain type='kvm'/>"));
        features[0] = model; /* a name that the schema allows */
        g_free(a);
        a = domus_capabilities_format(&soft);
        features[0] = aes;
        check_schema(a, "capability.rng");
}

static void test_domain_capabilities(void)
{
        DomusHostFacts f = facts(false);
        g_autofree char *all = domus_domain_capabilities_format(&f, NULL, NULL, NULL, NULL, NULL);
        g_autofree char *ours = domus_domain_capabilities_format(&f, vmm, "x86_64", "domus", "domus", NULL);

        g_assert_nonnull(all);
        g_assert_nonnull(ours);
        g_assert_nonnull(strstr(all, "<path>/usr/libexec/domus-vm</path>\n  <domain>qemu</domain>\n  <machine>domus</machine>\n"
                                     "  <arch>x86_64</arch>\n  <vcpu max='64'/>"));
        g_assert_nonnull(strstr(ours, "<domain>domus</domain>"));
        check_schema(all, "domaincaps.rng");
}

static void test_domain_capabilities_bad(void)
{
        DomusHostFacts f = facts(false);
        static const struct {
                const char *emulator, *arch, *machine, *type;
        } t[] = { { "/bin/sh" }, { NULL, "aarch64" }, { NULL, NULL, "q35" }, { NULL, NULL, NULL, "kvm" }, { NULL, NULL, NULL, "xen" } };

        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_null(domus_domain_capabilities_format(&f, t[i].emulator, t[i].arch, t[i].machine, t[i].type, &error));
                g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_INVALID_ARG);
        }
}

static void test_sysinfo(void)
{
        DomusSysinfo info = { .bios_vendor = vendor, .system_product = aes }, none = {};
        g_autofree char *xml = domus_sysinfo_format(&info), *empty = domus_sysinfo_format(&none);

        g_assert_cmpstr(xml, ==, "<sysinfo type='smbios'>\n  <bios>\n    <entry name='vendor'>AMD</entry>\n  </bios>\n"
                                 "  <system>\n    <entry name='product'>aes&lt;</entry>\n  </system>\n</sysinfo>\n");
        g_assert_cmpstr(empty, ==, "<sysinfo type='smbios'>\n</sysinfo>\n");
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/capabilities/host", test_capabilities);
        g_test_add_func("/capabilities/domain", test_domain_capabilities);
        g_test_add_func("/capabilities/domain-bad", test_domain_capabilities_bad);
        g_test_add_func("/capabilities/sysinfo", test_sysinfo);
        return g_test_run();
}
