/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/test-xml.h"

#define SYSINFO(body) \
        "<domain type='qemu'><name>d</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><memory>65536</memory>" \
        "<sysinfo type='smbios'>" body "</sysinfo><os><type>hvm</type><smbios mode='sysinfo'/></os></domain>"
#define OS "<os><type arch='x86_64' machine='domus'>hvm</type><kernel>/boot/k</kernel></os>"
#define DOC(body) "<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory>" OS body "</domain>"
#define NAME(n) "<domain type='qemu'>" n "<memory unit='MiB'>64</memory>" OS "</domain>"
#define MEMORY(m) "<domain type='qemu'><name>d</name>" m OS "</domain>"
#define BOOT(os) "<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory>" os "</domain>"

static const struct bad_xml bad[] = {
        { "", DOMUS_ERROR_XML, "(domain_definition):1:" },
        { "<domain>\n<name>x</nam>\n</domain>", DOMUS_ERROR_XML, "(domain_definition):2: Opening and ending tag mismatch" },
        { "<domain", DOMUS_ERROR_XML, "(domain_definition):1:" },
        { "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain/>", DOMUS_ERROR_XML, "document type declaration" },
        { "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>", DOMUS_ERROR_XML, "document type declaration" },
        { "<domain type='qemu'><name>&unknown;</name></domain>", DOMUS_ERROR_XML, "unknown" },
        { "<network/>", DOMUS_ERROR_XML, "unexpected root element <network>, expecting <domain>" },
        { "<domain xmlns='urn:x'/>", DOMUS_ERROR_XML, "unexpected root element" },
        { "<domain/>", DOMUS_ERROR_XML, "missing domain type attribute" },
        { "<domain type='xen'/>", DOMUS_ERROR_CONFIG_UNSUPPORTED, "value 'xen' of attribute 'type'" },
        { NAME(""), DOMUS_ERROR_XML, "missing name information" },
        { NAME("<name/>"), DOMUS_ERROR_XML, "empty" },
        { NAME("<name> </name>"), DOMUS_ERROR_XML, "other than a space" },
        { NAME("<name>a/b</name>"), DOMUS_ERROR_XML, "name a/b cannot contain '/'" },
        { NAME("<name>a\nb</name>"), DOMUS_ERROR_XML, "line breaks" },
        { NAME("<name>..</name>"), DOMUS_ERROR_XML, "must not be '..'" },
        { NAME("<name>a</name><name>b</name>"), DOMUS_ERROR_XML, "element <name> in <domain> is given twice" },
        { DOC("<uuid>nonsense</uuid>"), DOMUS_ERROR_XML, "malformed uuid" },
        { DOC("<title>a\nb</title>"), DOMUS_ERROR_XML, "newlines" },
        { DOC("text"), DOMUS_ERROR_XML, "unexpected text in <domain>" },
        { DOC("<metadata><x/></metadata>"), DOMUS_ERROR_XML, "no namespace" },
        { DOC("<metadata><a:x xmlns:a='u'/><b:y xmlns:b='u'/></metadata>"), DOMUS_ERROR_XML, "two elements of namespace 'u'" },
        { DOC("<genid/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <genid> in <domain> (line 1) is not supported" },
        { DOC("<q:commandline xmlns:q='urn:q'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<q:commandline>" },
        { MEMORY(""), DOMUS_ERROR_XML, "Memory size must be specified" },
        { MEMORY("<memory>0</memory>"), DOMUS_ERROR_XML, "Memory size must be specified" },
        { MEMORY("<memory>-1</memory>"), DOMUS_ERROR_XML, "Invalid value '-1'" },
        { MEMORY("<memory>lots</memory>"), DOMUS_ERROR_XML, "Invalid value 'lots'" },
        { MEMORY("<memory unit='parsec'>1</memory>"), DOMUS_ERROR_INVALID_ARG, "parsec" },
        { MEMORY("<memory unit='TiB'>2</memory>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "limit of 1 TiB" },
        { MEMORY("<memory unit='EiB'>99</memory>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "too large" },
        { MEMORY("<memory>18446744073709551616</memory>"), DOMUS_ERROR_XML, "Invalid value" },
        { MEMORY("<memory>4096</memory><currentMemory>8192</currentMemory>"), DOMUS_ERROR_XML, "exceeds maximum" },
        { DOC("<vcpu>0</vcpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "0 maximum vCPUs" },
        { DOC("<vcpu current='0'>2</vcpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "0 current vCPUs" },
        { DOC("<vcpu current='3'>2</vcpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "(2 < 3)" },
        { DOC("<vcpu>65</vcpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "limit 64" },
        { DOC("<vcpu>two</vcpu>"), DOMUS_ERROR_XML, "must be an integer" },
        { DOC("<vcpu cpuset='0'>1</vcpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "attribute 'cpuset' of element <vcpu>" },
        { DOC("<vcpu>4</vcpu><cpu><topology sockets='1' cores='2' threads='1'/></cpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "topology doesn't match" },
        { DOC("<vcpu>4</vcpu><cpu><topology sockets='2' cores='2' threads='1'/></cpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "sockets='1' dies='1' cores='4'" },
        { DOC("<cpu mode='custom'><model>qemu64</model></cpu>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "value 'custom'" },
        { BOOT(""), DOMUS_ERROR_XML, "os <type> must be specified" },
        { BOOT("<os><type>hvm</type><cmdline>a</cmdline></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<cmdline> in <os> is not supported without <kernel>" },
        { DOC("<bootloader>/usr/sbin/domus-bootloader</bootloader>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<bootloader> is not supported together with <kernel>" },
        { DOC("<bootloader_args>--entry 1</bootloader_args>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<bootloader_args> is not supported together" },
        { BOOT("<bootloader>/usr/bin/pygrub</bootloader>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "boot loader '/usr/bin/pygrub' is not available" },
        { BOOT("<bootloader/><bootloader_args>--entry</bootloader_args>"), DOMUS_ERROR_XML, "'--entry' in <bootloader_args> has no value" },
        { BOOT("<bootloader/><bootloader_args>--list</bootloader_args>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'--list' in <bootloader_args> is not supported, only --entry, " },
        { BOOT("<bootloader/><bootloader_args>--partition x</bootloader_args>"), DOMUS_ERROR_XML, "'x' in <bootloader_args>" },
        { BOOT("<bootloader/><bootloader_args>--append 'a</bootloader_args>"), DOMUS_ERROR_XML, "<bootloader_args>: " },
        { BOOT("<os><type>linux</type></os>"), DOMUS_ERROR_NO_KERNEL, "needs <kernel>, or the domain <bootloader>" },
        { BOOT("<os><type>xen</type></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "value 'xen' of element <type>" },
        { BOOT("<os><type arch='i686'>hvm</type></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "i686" },
        { BOOT("<os><type machine='q35'>hvm</type></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "q35" },
        { BOOT("<os firmware='efi'><type>hvm</type></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'firmware' of element <os>" },
        { BOOT("<os><type>hvm</type><loader>/x</loader></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<loader>" },
        { BOOT("<os><type>hvm</type><kernel>k</kernel></os>"), DOMUS_ERROR_XML, "must be absolute" },
        { BOOT("<os><type>hvm</type><smbios mode='host'/></os>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'host'" },
        { BOOT("<os><type>hvm</type><smbios mode='sysinfo'/></os>"), DOMUS_ERROR_XML, "sysinfo are not available" },
        { DOC("<sysinfo type='smbios'/>"), DOMUS_ERROR_XML, "needs <smbios mode='sysinfo'/>" },
        { SYSINFO("<system><entry name='colour'>x</entry></system>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "entry 'colour' in <system>" },
        { SYSINFO("<system><entry name='uuid'>c7a5fdbd-edaf-9455-926a-d65c16db1800</entry></system>"), DOMUS_ERROR_XML, "UUID mismatch" },
        { SYSINFO("<bios><entry name='vendor'>\303\274</entry></bios>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "ASCII characters only" },
        { SYSINFO("<memory_device/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<memory_device>" },
        { DOC("<features><tcg><tb-cache unit='KiB'>1023</tb-cache></tcg></features>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "a tb-cache of 1023 KiB" },
        { DOC("<features><tcg><tb-cache unit='GiB'>33</tb-cache></tcg></features>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "it has 1 to 32768 MiB" },
        { DOC("<features><tcg><tb-cache>some</tb-cache></tcg></features>"), DOMUS_ERROR_XML, "Invalid value 'some' for element <tb-cache>" },
        { DOC("<features><hyperv/></features>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<hyperv>" },
        { DOC("<on_crash>coredump-destroy</on_crash>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "coredump-destroy" },
        { DOC("<on_reboot>preserve</on_reboot>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "preserve" },
        { DOC("<clock offset='variable'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "variable" },
        { DOC("<clock offset='utc'><timer name='hpet'/></clock>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "timer 'hpet'" },
        { DOC("<clock offset='utc'><timer name='hypervclock' present='yes'/></clock>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "timer 'hypervclock'" },
        { DOC("<pm><suspend-to-mem enabled='yes'/></pm>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<suspend-to-mem>" },
        { DOC("<iothreads>1</iothreads>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<iothreads>" },
        { DOC("<devices><filesystem/></devices>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <filesystem> in <devices>" },
        { DOC("<devices><serial type='file'/></devices>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "value 'file'" },
        { DOC("<devices><serial type='pty'/><serial type='pty'/></devices>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "more than one" },
        { DOC("<devices><console type='pty'><target type='xen'/></console></devices>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'xen'" },
        { DOC("<devices><memballoon/></devices>"), DOMUS_ERROR_XML, "<memballoon>" },
        { DOC("<devices><video/></devices>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<video>" },
        { DOC("<devices><emulator>domus-vm</emulator></devices>"), DOMUS_ERROR_XML, "must be absolute" },
};

static void test_bad(void)
{
        test_refused_domains(bad, G_N_ELEMENTS(bad));
}

static void test_minimal(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DOC(""));
        g_autofree char *xml = domus_domain_def_format(def, -1, 0);

        g_assert_cmpstr(def->name, ==, "d");
        g_assert_cmpuint(def->memory_max, ==, 65536);
        g_assert_cmpuint(def->memory_current, ==, 65536);
        g_assert_cmpuint(def->vcpus_max, ==, 1);
        g_assert_cmpint(def->on_poweroff, ==, DOMUS_ACTION_DESTROY);
        g_assert_cmpint(def->on_reboot, ==, DOMUS_ACTION_RESTART);
        g_assert_cmpint(def->on_crash, ==, DOMUS_ACTION_DESTROY);
        g_assert_false(def->rtc_localtime);
        g_assert_cmpuint(def->n_serials, ==, 0);
        g_assert_nonnull(strstr(xml, "  <currentMemory unit='KiB'>65536</currentMemory>\n"));
        g_assert_nonnull(strstr(xml, "  <vcpu placement='static'>1</vcpu>\n"));
        g_assert_nonnull(strstr(xml, "  <clock offset='utc'/>\n"));
        g_assert_nonnull(strstr(xml, "  <devices/>\n"));
}

/* What virt-install 4.1 writes for domus:///system and, with the devices that do not exist switched off, for a qemu URI. */
static const char virt_install[] =
        "<?xml version='1.0' encoding='UTF-8'?>\n<domain type=\"kvm\">\n  <name>vt &amp; co</name>\n"
        "  <uuid>2781E22A-90f8-4156-b243-aea456a90866</uuid>\n  <metadata>\n"
        "    <libosinfo:libosinfo xmlns:libosinfo=\"http://libosinfo.org/xmlns/libvirt/domain/1.0\">\n"
        "      <libosinfo:os id=\"http://libosinfo.org/linux/2020\"/>\n    </libosinfo:libosinfo>\n  </metadata>\n"
        "  <memory>262145</memory>\n  <currentMemory>131072</currentMemory>\n  <vcpu>2</vcpu>\n  <os>\n"
        "    <type arch=\"x86_64\" machine=\"domus\">hvm</type>\n    <kernel>/tmp/k</kernel>\n    <initrd>/tmp/i</initrd>\n"
        "    <cmdline>console=ttyS0 a=\"b\"</cmdline>\n    <boot dev=\"hd\"/>\n  </os>\n"
        "  <features><acpi/><apic/><vmport state=\"off\"/></features>\n  <cpu mode=\"host-passthrough\" migratable=\"on\"/>\n"
        "  <clock offset=\"utc\"><timer name=\"rtc\" tickpolicy=\"catchup\"/><timer name=\"pit\" tickpolicy=\"delay\"/>"
        "<timer name=\"hpet\" present=\"no\"/></clock>\n  <on_reboot>destroy</on_reboot>\n"
        "  <pm><suspend-to-mem enabled=\"no\"/><suspend-to-disk enabled=\"no\"/></pm>\n  <devices>\n"
        "    <!-- comment -->\n    <console type=\"pty\"/>\n    <controller type=\"usb\" model=\"none\"/>\n"
        "    <memballoon model=\"none\"/>\n    <emulator>/usr/libexec/domus-vm</emulator>\n  </devices>\n</domain>\n";

static const char virt_install_out[] =
        "<domain type='kvm'>\n  <name>vt &amp; co</name>\n  <uuid>2781e22a-90f8-4156-b243-aea456a90866</uuid>\n  <metadata>\n"
        "    <libosinfo:libosinfo xmlns:libosinfo=\"http://libosinfo.org/xmlns/libvirt/domain/1.0\">\n"
        "      <libosinfo:os id=\"http://libosinfo.org/linux/2020\"/>\n    </libosinfo:libosinfo>\n  </metadata>\n"
        "  <memory unit='KiB'>263168</memory>\n  <currentMemory unit='KiB'>131072</currentMemory>\n"
        "  <vcpu placement='static'>2</vcpu>\n  <os>\n    <type arch='x86_64' machine='domus'>hvm</type>\n"
        "    <kernel>/tmp/k</kernel>\n    <initrd>/tmp/i</initrd>\n    <cmdline>console=ttyS0 a=&quot;b&quot;</cmdline>\n"
        "    <boot dev='hd'/>\n  </os>\n  <features>\n    <acpi/>\n    <apic/>\n    <vmport state='off'/>\n  </features>\n"
        "  <cpu mode='host-passthrough' migratable='on'/>\n  <clock offset='utc'>\n"
        "    <timer name='rtc' tickpolicy='catchup'/>\n    <timer name='pit' tickpolicy='delay'/>\n"
        "    <timer name='hpet' present='no'/>\n  </clock>\n  <on_poweroff>destroy</on_poweroff>\n"
        "  <on_reboot>destroy</on_reboot>\n  <on_crash>destroy</on_crash>\n  <pm>\n    <suspend-to-mem enabled='no'/>\n"
        "    <suspend-to-disk enabled='no'/>\n  </pm>\n  <devices>\n    <emulator>/usr/libexec/domus-vm</emulator>\n"
        "    <controller type='usb' model='none' index='0'/>\n    <serial type='pty'>\n"
        "      <target type='isa-serial' port='0'>\n        <model name='isa-serial'/>\n      </target>\n    </serial>\n"
        "    <console type='pty'>\n      <target type='serial' port='0'/>\n    </console>\n    <memballoon model='none'/>\n"
        "  </devices>\n</domain>\n";

static void test_virt_install(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(virt_install), again = NULL, copy = NULL;
        g_autofree char *xml = domus_domain_def_format(def, -1, 0), *xml2 = NULL, *xml3 = NULL;

        g_assert_cmpstr(xml, ==, virt_install_out);
        g_assert_true(def->acpi && def->apic);
        g_assert_cmpstr(def->name, ==, "vt & co");
        g_assert_cmpstr(def->cmdline, ==, "console=ttyS0 a=\"b\"");
        g_assert_cmpuint(def->n_serials, ==, 1);
        again = test_parse_domain(xml);
        xml2 = domus_domain_def_format(again, -1, 0);
        g_assert_cmpstr(xml2, ==, xml);
        copy = domus_domain_def_copy(def);
        g_clear_pointer(&def, domus_domain_def_free);
        xml3 = domus_domain_def_format(copy, -1, 0);
        g_assert_cmpstr(xml3, ==, xml);
}

static void test_live(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DOC("<devices><serial type='pty'/></devices>")), kept = NULL, user = NULL;
        g_autofree char *before = domus_domain_def_format(def, -1, 0), *live = NULL, *inactive = NULL, *kept_xml = NULL,
                        *user_xml = NULL;

        domus_domain_def_assign_aliases(def);
        domus_domain_def_set_tty(def, 0, "/dev/pts/7");
        live = domus_domain_def_format(def, 3, 0);
        inactive = domus_domain_def_format(def, 3, DOMUS_DEF_INACTIVE);
        g_assert_cmpstr(inactive, ==, before);
        g_assert_true(g_str_has_prefix(live, "<domain type='qemu' id='3'>"));
        g_assert_nonnull(strstr(live, "<console type='pty' tty='/dev/pts/7'>\n      <source path='/dev/pts/7'/>\n"
                                      "      <target type='serial' port='0'/>\n      <alias name='serial0'/>\n"));
        kept = domus_domain_def_parse(live, DOMUS_DEF_LIVE, NULL);
        kept_xml = domus_domain_def_format(kept, 3, 0);
        g_assert_cmpstr(kept_xml, ==, live);
        user = test_parse_domain(live);
        user_xml = domus_domain_def_format(user, -1, 0);
        g_assert_cmpstr(user_xml, ==, before);
}

static void test_metadata(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DOC(""));
        g_autoptr(GError) error = NULL;
        g_autofree char *got = NULL, *xml = NULL, *xml2 = NULL;
        g_autoptr(DomusDomainDef) again = NULL;

        g_assert_null(domus_domain_def_get_metadata(def, "urn:a", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_NO_METADATA);
        g_clear_error(&error);
        g_assert_true(domus_domain_def_set_metadata(def, "<a x='1'> <b>t &amp; u</b><![CDATA[<]]></a>", "p", "urn:a", &error));
        g_assert_true(domus_domain_def_set_metadata(def, "<c/>", "q", "urn:c", &error));
        got = domus_domain_def_get_metadata(def, "urn:a", &error);
        g_assert_cmpstr(got, ==, "<a x=\"1\"> <b>t &amp; u</b><![CDATA[<]]></a>");
        xml = domus_domain_def_format(def, -1, 0);
        g_assert_nonnull(strstr(xml, "<p:a xmlns:p=\"urn:a\" x=\"1\"> <p:b>t &amp; u</p:b><![CDATA[<]]></p:a>\n"));
        again = test_parse_domain(xml);
        xml2 = domus_domain_def_format(again, -1, 0);
        g_assert_cmpstr(xml2, ==, xml);
        g_assert_false(domus_domain_def_set_metadata(def, "<a", "p", "urn:a", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_XML);
        g_clear_error(&error);
        g_assert_false(domus_domain_def_set_metadata(def, "<a/>", "1 bad", "urn:a", &error));
        g_clear_error(&error);
        g_assert_true(domus_domain_def_set_metadata(def, NULL, NULL, "urn:a", &error));
        g_assert_true(domus_domain_def_set_metadata(def, NULL, NULL, "urn:c", &error));
        g_free(xml);
        xml = domus_domain_def_format(def, -1, 0);
        g_assert_null(strstr(xml, "metadata"));
}

static void test_edit(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DOC("<vcpu>2</vcpu>"));
        g_autoptr(GError) error = NULL;
        g_autofree char *xml = NULL;

        g_assert_true(domus_domain_def_set_name(def, "new", &error));
        g_assert_false(domus_domain_def_set_name(def, "a/b", NULL));
        g_assert_false(domus_domain_def_set_name(def, "a\xc2\x9b" "b", NULL)); /* CSI */
        g_assert_false(domus_domain_def_set_title(def, "a\x1b[31m", NULL));
        g_assert_false(domus_domain_def_set_title(def, "a\xff", NULL));
        g_assert_false(domus_domain_def_set_description(def, "a\x01", NULL));
        g_assert_true(domus_domain_def_set_title(def, "T <1>", &error));
        g_assert_false(domus_domain_def_set_title(def, "a\nb", NULL));
        g_assert_true(domus_domain_def_set_description(def, "line\nline", &error));
        g_assert_true(domus_domain_def_set_memory(def, 131072, 65536, &error));
        g_assert_true(domus_domain_def_set_vcpus(def, 4, 2, &error));
        g_assert_false(domus_domain_def_set_vcpus(def, 0, 0, NULL));
        g_assert_true(domus_domain_def_set_action(def, "on_crash", DOMUS_ACTION_PRESERVE, &error));
        g_assert_false(domus_domain_def_set_action(def, "on_reboot", DOMUS_ACTION_PRESERVE, NULL));
        g_assert_no_error(error);
        xml = domus_domain_def_format(def, -1, 0);
        g_assert_true(g_str_has_prefix(xml, "<domain type='qemu'>\n  <name>new</name>\n  <uuid>"));
        g_assert_nonnull(strstr(xml, "</uuid>\n  <title>T &lt;1&gt;</title>\n  <description>line\nline</description>\n  <memory"));
        g_assert_nonnull(strstr(xml, "<vcpu placement='static' current='2'>4</vcpu>"));
        g_assert_nonnull(strstr(xml, "<on_crash>preserve</on_crash>"));
        g_assert_true(domus_domain_def_set_title(def, NULL, &error));
        g_assert_null(def->title);
}

static void test_validate(void)
{
        g_autoptr(DomusDomainDef) good = domus_domain_def_parse(virt_install, DOMUS_DEF_VALIDATE, NULL), ours = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_nonnull(good);
        ours = domus_domain_def_parse("<domain type='domus'><name>d</name><memory>65536</memory>" OS "</domain>",
                                      DOMUS_DEF_VALIDATE, &error);
        g_assert_no_error(error);
        g_assert_null(domus_domain_def_parse(DOC("<nonsense/>"), DOMUS_DEF_VALIDATE, &error));
        g_assert_true(g_error_matches(error, DOMUS_ERROR, DOMUS_ERROR_XML_INVALID) ||
                      g_error_matches(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED)); /* without the schema */
}

static void expect_options(const char *body, const char *expected)
{
        g_autofree char *xml = g_strdup_printf("<domain type='domus'><name>d</name><memory>65536</memory>%s</domain>", body);
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(xml, DOMUS_DEF_VALIDATE, &error), copy = NULL;
        g_autofree char *options = NULL;

        g_assert_no_error(error);
        copy = domus_domain_def_copy(def);
        g_clear_pointer(&def, domus_domain_def_free);
        g_assert_null(copy->kernel);
        options = g_strjoinv("|", copy->bootloader_options);
        g_assert_cmpstr(options, ==, expected);
}

static void test_boot_loader(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(BOOT("<bootloader>/sbin/domus-bootloader</bootloader><bootloader_args>--entry 1</bootloader_args>"));
        g_autofree char *xml = domus_domain_def_format(def, -1, 0);

        g_assert_nonnull(strstr(xml, "  <bootloader>/sbin/domus-bootloader</bootloader>\n  <bootloader_args>--entry 1</bootloader_args>\n"
                                     "  <os>\n    <type arch='x86_64' machine='domus'>hvm</type>\n  </os>\n"));
        expect_options("<os><type>hvm</type></os>", "");
        expect_options("<os><type arch='x86_64'>hvm</type><boot dev='hd'/></os>", "");
        expect_options("<bootloader>domus-bootloader</bootloader><os><type>linux</type></os>", "");
        expect_options("<bootloader/><bootloader_args>--entry='1>0'  --append \"a='b c'\" --partition 2</bootloader_args>",
                       "--entry=1>0|--append=a='b c'|--partition=2");
}

static void test_sysinfo(void)
{
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(SYSINFO("<system><entry name='serial'>ds=nocloud</entry>"
                "<entry name='uuid'>c7a5fdbd-edaf-9455-926a-d65c16db1809</entry></system><oemStrings><entry>one</entry><entry>two</entry></oemStrings>"),
                DOMUS_DEF_VALIDATE, NULL);
        g_autofree char *all = g_strjoinv("|", def->smbios), *xml = domus_domain_def_format(def, -1, 0);

        g_assert_cmpstr(all, ==, "system.serial|ds=nocloud|oem|one|oem|two");
        g_assert_nonnull(strstr(xml, "  <sysinfo type='smbios'>\n    <system>\n      <entry name='serial'>ds=nocloud</entry>\n"));
        g_assert_nonnull(strstr(xml, "    <smbios mode='sysinfo'/>\n  </os>\n"));
}

static void test_code_cache(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DOC("<features><acpi/><tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>"));
        g_autofree char *xml = domus_domain_def_format(def, -1, 0);

        g_assert_cmpuint(def->code_cache, ==, 65536);
        g_assert_nonnull(strstr(xml, "    <tcg>\n      <tb-cache unit='KiB'>65536</tb-cache>\n    </tcg>\n"));
}

static void test_units(void)
{
        static const struct {
                const char *unit;
                unsigned value;
                uint64_t kib;
        } t[] = {
                { "b", 1048576, 1024 }, { "KB", 1048, 1024 }, { "KiB", 1024, 1024 }, { "k", 1025, 2048 },
                { "MB", 100, 98304 }, { "M", 3, 3072 }, { "GiB", 1, 1048576 }, { "GB", 1, 976896 }, { "g", 1, 1048576 },
                { "TiB", 1, 1 << 30 },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                g_autofree char *memory = g_strdup_printf(MEMORY("<memory unit='%s'>%u</memory>"), t[i].unit, t[i].value);
                g_autoptr(DomusDomainDef) def = test_parse_domain(memory);

                g_assert_cmpuint(def->memory_max, ==, t[i].kib);
        }
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/domain-def/minimal", test_minimal);
        g_test_add_func("/domain-def/virt-install", test_virt_install);
        g_test_add_func("/domain-def/bad", test_bad);
        g_test_add_func("/domain-def/live", test_live);
        g_test_add_func("/domain-def/metadata", test_metadata);
        g_test_add_func("/domain-def/edit", test_edit);
        g_test_add_func("/domain-def/units", test_units);
        g_test_add_func("/domain-def/code-cache", test_code_cache);
        g_test_add_func("/domain-def/boot-loader", test_boot_loader);
        g_test_add_func("/domain-def/sysinfo", test_sysinfo);
        g_test_add_func("/domain-def/validate", test_validate);
        return g_test_run();
}
