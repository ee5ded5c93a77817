/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"
#include "model/domain-rules.h"

/* What <domain> may contain (formatdomain.html): everything else is refused by name. Rows stand in the order in which libvirt writes
 * them. A row means that what the element says is what the guest gets; meanings that a single row cannot express (sums, pairs)
 * are checked by the domain_fill functions. The devices' rules are in their own files (domain-device.h). */

#define UNIT RULE_ATTRS{ { "unit" }, {} }

/* The machine always has kvm-clock and never an HPET; the tick policies of the RTC and the PIT matter only before the guest
 * has found its local APIC timer, and none of their ticks is dropped while it runs. */
static const struct element_rule timers[] = {
        { "timer", RULE_MANY, RULE_ATTRS{ { "name" }, { "present" }, { "tickpolicy" }, {} } },
        {},
};

static const struct element_rule os_children[] = {
        { "type", RULE_TEXT, RULE_ATTRS{ { "arch", "x86_64" }, { "machine", "domus" }, {} }, NULL, "hvm|linux" },
        { "kernel", RULE_TEXT },
        { "initrd", RULE_TEXT },
        { "cmdline", RULE_TEXT },
        /* With <kernel>, what to boot from next is never asked. */
        { "boot", RULE_MANY, RULE_ATTRS{ { "dev", "fd|hd|cdrom|network" }, {} } },
        { "bootmenu", 0, RULE_ATTRS{ { "enable", "no" }, {} } },
        { "bios", 0, RULE_ATTRS{ { "useserial", "no" }, {} } },
        { "smbios", 0, RULE_ATTRS{ { "mode", "emulate|sysinfo" }, {} } },
        {},
};

/* Entries are checked in domain-sysinfo.c. */
static const struct element_rule sysinfo_entries[] = {
        { "entry", RULE_MANY | RULE_TEXT, RULE_ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule oem_strings[] = {
        { "entry", RULE_MANY | RULE_TEXT },
        {},
};

static const struct element_rule sysinfo_children[] = {
        { "bios", 0, NULL, sysinfo_entries },
        { "system", 0, NULL, sysinfo_entries },
        { "baseBoard", 0, NULL, sysinfo_entries },
        { "chassis", 0, NULL, sysinfo_entries },
        { "oemStrings", 0, NULL, oem_strings },
        {},
};

static const struct element_rule tcg_children[] = {
        { "tb-cache", RULE_TEXT, UNIT },
        {},
};

static const struct element_rule feature_children[] = {
        { "acpi" },
        { "apic" },
        { "pae" },
        { "vmport", 0, RULE_ATTRS{ { "state", "off" }, {} } },
        { "tcg", 0, NULL, tcg_children },
        {},
};

static const struct element_rule cpu_children[] = {
        { "topology", 0, RULE_ATTRS{ { "sockets" }, { "dies" }, { "cores" }, { "threads" }, {} } },
        {},
};

static const struct element_rule pm_children[] = {
        { "suspend-to-mem", 0, RULE_ATTRS{ { "enabled", "no" }, {} } },
        { "suspend-to-disk", 0, RULE_ATTRS{ { "enabled", "no" }, {} } },
        {},
};

static const struct element_rule domain_children[] = {
        { "name", RULE_TEXT },
        { "uuid", RULE_TEXT },
        { "title", RULE_TEXT },
        { "description", RULE_TEXT },
        { "metadata", RULE_OPAQUE },
        { "memory", RULE_TEXT, UNIT },
        { "currentMemory", RULE_TEXT, UNIT },
        { "vcpu", RULE_TEXT, RULE_ATTRS{ { "placement", "static" }, { "current" }, {} } },
        { "sysinfo", 0, RULE_ATTRS{ { "type", "smbios" }, {} }, sysinfo_children },
        { "bootloader", RULE_TEXT },
        { "bootloader_args", RULE_TEXT },
        { "os", 0, NULL, os_children },
        { "features", 0, NULL, feature_children },
        { "cpu", 0,
          RULE_ATTRS{ { "mode", "host-passthrough|host-model|maximum" },
                 { "match", "exact" },
                 { "check", "none|partial|full" },
                 { "migratable", "on" },
                 {} },
          cpu_children },
        { "clock", 0, RULE_ATTRS{ { "offset", "utc|localtime" }, {} }, timers },
        { "on_poweroff", RULE_TEXT, NULL, NULL, "destroy|restart|preserve" },
        { "on_reboot", RULE_TEXT, NULL, NULL, "destroy|restart" },
        { "on_crash", RULE_TEXT, NULL, NULL, "destroy|restart|preserve" },
        { "pm", 0, NULL, pm_children },
        { "devices", .child = domain_device_rule },
        { "seclabel", RULE_MANY, RULE_ATTRS{ { "type", "none" }, { "model" }, {} } },
        {},
};

static const struct element_rule domain_rule = {
        "domain", 0, RULE_ATTRS{ { "type", "domus|qemu|kvm" }, { "id" }, {} }, domain_children,
};

bool domain_rules_check(xmlNode *root, GError **error)
{
        return xml_rules_check(&domain_rule, root, error);
}

void domain_rules_sort(xmlNode *root)
{
        xml_rules_sort(&domain_rule, root);
}
