/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "smoke.h"

#include <string.h>

#include "model/domain-def.h"

/* Whatever is accepted must come out as a document that is accepted again and comes out the same. */
static void check_round_trip(const DomusDomainDef *def)
{
        g_autofree char *xml = domus_domain_def_format(def, -1, 0), *again = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusDomainDef) def2 = domus_domain_def_parse(xml, 0, &error);

        if (!def2)
                g_error("own document refused: %s\n%s", error->message, xml);
        again = domus_domain_def_format(def2, -1, 0);
        if (strcmp(xml, again) != 0)
                g_error("not the same twice:\n%s\n%s", xml, again);
}

static void check_live(DomusDomainDef *def)
{
        g_autofree char *got = NULL, *xml = NULL;

        domus_domain_def_assign_aliases(def);
        domus_domain_def_set_tty(def, 0, "/dev/pts/1");
        domus_domain_def_set_metadata(def, "<m><n/></m>", "p", "urn:p", NULL);
        got = domus_domain_def_get_metadata(def, "urn:p", NULL);
        if (!got)
                g_error("metadata got lost");
        xml = domus_domain_def_format(def, 1, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        g_autofree char *xml = g_strndup((const char *)data, size);
        g_autoptr(GError) error = NULL;
        g_autoptr(DomusDomainDef) def = domus_domain_def_parse(xml, 0, &error);

        if (!def == !error)
                g_error("neither or both of a result and an error");
        if (!def)
                return 0;
        check_round_trip(def);
        check_live(def);
        return 0;
}

#define SEED(s) { s, sizeof(s) - 1 }

const struct fuzz_seed fuzz_seeds[] = {
        SEED("<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory>"
             "<os><type>hvm</type><kernel>/k</kernel></os><devices><console type='pty'/></devices></domain>"),
        SEED("<?xml version='1.0'?>\n<domain type='domus' id='3'>\n  <name>a &amp; b</name>\n"
             "  <uuid>2781e22a-90f8-4156-b243-aea456a90866</uuid>\n  <title>t</title>\n  <description>d &#xe9;</description>\n"
             "  <metadata><a:b xmlns:a='urn:a'> <a:c x='1'/><![CDATA[<>]]></a:b><d xmlns='urn:d'>e</d></metadata>\n"
             "  <memory unit='KiB'>65536</memory>\n  <currentMemory unit='KiB'>65536</currentMemory>\n"
             "  <vcpu placement='static' current='1'>2</vcpu>\n  <os>\n    <type arch='x86_64' machine='domus'>hvm</type>\n"
             "    <kernel>/k</kernel>\n    <initrd>/i</initrd>\n    <cmdline>console=ttyS0 a='b'</cmdline>\n    <boot dev='hd'/>\n"
             "  </os>\n  <features><acpi/><apic/></features>\n  <cpu mode='maximum'>"
             "<topology sockets='1' dies='1' cores='2' threads='1'/></cpu>\n"
             "  <clock offset='localtime'><timer name='hpet' present='no'/></clock>\n  <on_poweroff>restart</on_poweroff>\n"
             "  <on_reboot>destroy</on_reboot>\n  <on_crash>preserve</on_crash>\n  <devices>\n"
             "    <emulator>/usr/libexec/domus-vm</emulator>\n    <controller type='pci' model='pci-root'/>\n"
             "    <serial type='pty'><source path='/dev/pts/1'/><target type='isa-serial' port='0'/>"
             "<alias name='ua-x'/></serial>\n    <console type='pty' tty='/dev/pts/1'><alias name='serial0'/></console>\n"
             "    <audio id='1' type='none'/><video><model type='none'/></video><memballoon model='none'/>\n  </devices>\n"
             "  <seclabel type='none'/>\n</domain>\n"),
        SEED("<domain type='domus'><name>d</name><memory>65536</memory><bootloader/>"
             "<bootloader_args>--entry '1>0' --append=\"a b\" --partition 2</bootloader_args><os><type>linux</type><smbios mode='sysinfo'/>"
             "<boot dev='cdrom'/><boot dev='hd'/></os><sysinfo type='smbios'><system><entry name='serial'>s</entry></system>"
             "<oemStrings><entry>o</entry></oemStrings></sysinfo></domain>"),
        SEED("<!DOCTYPE d [<!ENTITY a 'b'>]><domain type='qemu'><name>&a;</name></domain>"),
};
const size_t fuzz_n_seeds = G_N_ELEMENTS(fuzz_seeds);
