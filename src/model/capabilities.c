/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/capabilities.h"

#include "model/xml-dom.h"

void domus_host_facts_clear(DomusHostFacts *facts)
{
        for (unsigned i = 0; i < facts->n_cpus; i++)
                g_free(facts->cpus[i].siblings);
        g_free(facts->cpus);
        g_free(facts->nodes);
        g_free(facts->arch);
        g_free(facts->cpu_model);
        g_free(facts->cpu_vendor);
        g_strfreev(facts->cpu_features);
        g_free(facts->emulator);
        *facts = (DomusHostFacts){};
}

static void format_cpu(GString *out, const DomusHostFacts *f)
{
        xml_append(out, "    <cpu>\n      <arch>%s</arch>\n", f->arch);
        if (f->cpu_model)
                xml_append(out, "      <model>%s</model>\n", f->cpu_model);
        if (f->cpu_vendor)
                xml_append(out, "      <vendor>%s</vendor>\n", f->cpu_vendor);
        if (f->microcode)
                xml_append(out, "      <microcode version='%" G_GUINT64_FORMAT "'/>\n", f->microcode);
        xml_append(out, "      <topology sockets='%u' dies='%u' cores='%u' threads='%u'/>\n", f->sockets, f->dies, f->cores,
                   f->threads);
        for (char **p = f->cpu_features; p && *p; p++)
                xml_append(out, "      <feature name='%s'/>\n", *p);
        xml_append(out, "      <pages unit='KiB' size='%" G_GUINT64_FORMAT "'/>\n    </cpu>\n", f->page_size_kib);
}

static void format_cell_cpus(GString *out, const DomusHostFacts *f, unsigned node)
{
        unsigned n = 0;

        for (unsigned i = 0; i < f->n_cpus; i++)
                n += f->cpus[i].node == node;
        xml_append(out, "          <cpus num='%u'>\n", n);
        for (unsigned i = 0; i < f->n_cpus; i++) {
                const DomusHostCpu *c = &f->cpus[i];

                if (c->node == node)
                        xml_append(out, "            <cpu id='%u' socket_id='%u' die_id='%u' core_id='%u' siblings='%s'/>\n",
                                   c->id, c->socket, c->die, c->core, c->siblings);
        }
        g_string_append(out, "          </cpus>\n");
}

static void format_cells(GString *out, const DomusHostFacts *f)
{
        xml_append(out, "    <topology>\n      <cells num='%u'>\n", f->n_nodes);
        for (unsigned i = 0; i < f->n_nodes; i++) {
                const DomusHostNode *n = &f->nodes[i];

                xml_append(out, "        <cell id='%u'>\n          <memory unit='KiB'>%" G_GUINT64_FORMAT "</memory>\n", n->id,
                           n->memory_kib);
                xml_append(out,
                           "          <pages unit='KiB' size='%" G_GUINT64_FORMAT "'>%" G_GUINT64_FORMAT "</pages>\n",
                           f->page_size_kib, n->memory_kib / f->page_size_kib);
                format_cell_cpus(out, f, n->id);
                g_string_append(out, "        </cell>\n");
        }
        g_string_append(out, "      </cells>\n    </topology>\n");
}

static void format_guest(GString *out, const DomusHostFacts *f)
{
        g_string_append(out, "  <guest>\n    <os_type>hvm</os_type>\n    <arch name='x86_64'>\n"
                             "      <wordsize>64</wordsize>\n");
        xml_append(out, "      <emulator>%s</emulator>\n", f->emulator);
        xml_append(out, "      <machine maxCpus='%u'>domus</machine>\n", f->max_vcpus);
        g_string_append(out, "      <domain type='qemu'/>\n");
        if (f->kvm)
                g_string_append(out, "      <domain type='kvm'/>\n");
        g_string_append(out, "    </arch>\n    <features>\n      <acpi default='on' toggle='yes'/>\n"
                             "      <apic default='on' toggle='no'/>\n    </features>\n  </guest>\n");
}

char *domus_capabilities_format(const DomusHostFacts *facts)
{
        GString *out = g_string_sized_new(2048);
        char uuid[DOMUS_UUID_STRING_LEN];

        domus_uuid_format(facts->uuid, uuid);
        xml_append(out, "<capabilities>\n\n  <host>\n    <uuid>%s</uuid>\n", uuid);
        format_cpu(out, facts);
        g_string_append(out, "    <power_management/>\n    <iommu support='no'/>\n");
        format_cells(out, facts);
        g_string_append(out, "  </host>\n\n");
        format_guest(out, facts);
        g_string_append(out, "\n</capabilities>\n");
        return g_string_free(out, FALSE);
}
