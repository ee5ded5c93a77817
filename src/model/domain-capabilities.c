/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/capabilities.h"

#include <string.h>

#include "model/domain-def-private.h"
#include "model/xml-dom.h"

static bool check(const DomusHostFacts *f, const char *emulator, const char *arch, const char *machine, const char *type,
                  GError **error)
{
        if (strcmp(arch, "x86_64") != 0)
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "unable to find any emulator to serve '%s' architecture", arch);
        if (strcmp(emulator, f->emulator) != 0)
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "emulator '%s' is not the one of this host, '%s'", emulator,
                                f->emulator);
        if (strcmp(machine, "domus") != 0)
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "the machine '%s' is not supported by emulator '%s'", machine,
                                f->emulator);
        if (strcmp(type, "kvm") == 0 && !f->kvm)
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "KVM is not supported by '%s' on this host", f->emulator);
        if (!xml_value_listed("domus|qemu|kvm", type))
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "unknown virttype: %s", type);
        return true;
}

static void format_cpu_modes(GString *out, const DomusHostFacts *f)
{
        static const struct {
                const char *mode, *migratable;
        } modes[] = { { "host-passthrough", "hostPassthroughMigratable" }, { "maximum", "maximumMigratable" } };

        g_string_append(out, "  <cpu>\n");
        for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++)
                xml_append(out,
                           "    <mode name='%s' supported='yes'>\n      <enum name='%s'>\n        <value>on</value>\n"
                           "      </enum>\n    </mode>\n",
                           modes[i].mode, modes[i].migratable);
        if (f->cpu_model) {
                xml_append(out, "    <mode name='host-model' supported='yes'>\n      <model fallback='allow'>%s</model>\n",
                           f->cpu_model);
                if (f->cpu_vendor)
                        xml_append(out, "      <vendor>%s</vendor>\n", f->cpu_vendor);
                g_string_append(out, "    </mode>\n");
        } else {
                g_string_append(out, "    <mode name='host-model' supported='no'/>\n");
        }
        g_string_append(out, "    <mode name='custom' supported='no'/>\n  </cpu>\n");
}

static void format_unsupported(GString *out, const char *const *names)
{
        for (; *names; names++)
                xml_append(out, "    <%s supported='no'/>\n", *names);
}

struct device_enum {
        const char *name, *values; /* "a|b" */
};

static void format_enum(GString *out, const struct device_enum *e)
{
        g_auto(GStrv) values = g_strsplit(e->values, "|", -1);

        xml_append(out, "      <enum name='%s'>\n", e->name);
        for (char **v = values; *v; v++)
                xml_append(out, "        <value>%s</value>\n", *v);
        g_string_append(out, "      </enum>\n");
}

/* What the devices' tables of the domain definition accept. */
static void format_devices(GString *out)
{
        static const struct {
                const char *name;
                struct device_enum enums[4];
        } devices[] = {
                { "disk",
                  { { "diskDevice", "disk|cdrom" }, { "bus", "virtio|scsi" }, { "model", "virtio|virtio-non-transitional" }, {} } },
                { "graphics" },
                { "video", { { "modelType", "none" }, {} } },
                { "hostdev" },
                { "rng", { { "model", "virtio|virtio-non-transitional" }, { "backendModel", "random|builtin" }, {} } },
                { "filesystem" },
                { "tpm" },
                { "redirdev" },
                { "channel", { { "type", "pty|unix" }, {} } },
        };

        g_string_append(out, "  <devices>\n");
        for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
                if (!devices[i].enums[0].name) {
                        xml_append(out, "    <%s supported='no'/>\n", devices[i].name);
                        continue;
                }
                xml_append(out, "    <%s supported='yes'>\n", devices[i].name);
                for (const struct device_enum *e = devices[i].enums; e->name; e++)
                        format_enum(out, e);
                xml_append(out, "    </%s>\n", devices[i].name);
        }
        g_string_append(out, "  </devices>\n");
}

static void format_features(GString *out)
{
        static const char *const none[] = { "gic", "vmcoreinfo", "genid", "backingStoreInput", "backup", "sev", NULL };

        g_string_append(out, "  <features>\n");
        format_unsupported(out, none);
        g_string_append(out, "  </features>\n");
}

char *domus_domain_capabilities_format(const DomusHostFacts *facts, const char *emulator, const char *arch,
                                       const char *machine, const char *virt_type, GError **error)
{
        GString *out;

        emulator = emulator ? emulator : facts->emulator;
        arch = arch ? arch : "x86_64";
        machine = machine ? machine : "domus";
        virt_type = virt_type ? virt_type : facts->kvm ? "kvm" : "qemu";
        if (!check(facts, emulator, arch, machine, virt_type, error))
                return NULL;
        out = g_string_sized_new(2048);
        xml_append(out, "<domainCapabilities>\n  <path>%s</path>\n  <domain>%s</domain>\n", emulator, virt_type);
        xml_append(out, "  <machine>%s</machine>\n  <arch>%s</arch>\n  <vcpu max='%u'/>\n", machine, arch, facts->max_vcpus);
        g_string_append(out, "  <iothreads supported='no'/>\n  <os supported='yes'>\n    <enum name='firmware'/>\n"
                             "    <loader supported='no'/>\n  </os>\n");
        format_cpu_modes(out, facts);
        g_string_append(out, "  <memoryBacking supported='no'/>\n");
        format_devices(out);
        format_features(out);
        g_string_append(out, "</domainCapabilities>\n");
        return g_string_free(out, FALSE);
}
