/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-def-private.h"
#include "model/domain-device-private.h"
#include "model/xml-values.h"

#include <string.h>

/* Of the software engine's caches; each vCPU has at most 512 MiB. */
#define CODE_CACHE_MIN_KIB (1u << 10)
#define CODE_CACHE_MAX_KIB (32u << 20)
#define MEMORY_LIMIT_KIB (UINT64_C(1) << 30) /* 1 TiB */
#define VCPUS_LIMIT 64

static const char *const virt_types[] = { [DOMUS_VIRT_DOMUS] = "domus", [DOMUS_VIRT_QEMU] = "qemu", [DOMUS_VIRT_KVM] = "kvm" };

static const char *const actions[] = {
        [DOMUS_ACTION_DESTROY] = "destroy",
        [DOMUS_ACTION_RESTART] = "restart",
        [DOMUS_ACTION_PRESERVE] = "preserve",
        [DOMUS_ACTION_RENAME_RESTART] = "rename-restart",
};

const char *domus_action_to_string(DomusAction a)
{
        return (unsigned)a < G_N_ELEMENTS(actions) ? actions[a] : NULL;
}

const char *domus_virt_type_to_string(DomusVirtType t)
{
        return (unsigned)t < G_N_ELEMENTS(virt_types) ? virt_types[t] : NULL;
}

/* Index of s in table, or n. */
static unsigned lookup(const char *const *table, unsigned n, const char *s)
{
        unsigned i = 0;

        while (i < n && (!s || strcmp(table[i], s) != 0))
                i++;
        return i;
}

static xmlNode *root_of(const DomusDomainDef *def)
{
        return xmlDocGetRootElement(def->doc);
}

/* --- Name, uuid, title, description, metadata --- */

bool domain_check_name(const char *name, GError **error)
{
        return xml_check_name("domain", name, error);
}

bool domain_check_title(const char *title, GError **error)
{
        if (strchr(title, '\n'))
                return xml_fail(error, DOMUS_ERROR_XML, "Domain title can't contain newlines");
        return domain_check_text(title, "title", error);
}

bool domain_check_text(const char *text, const char *what, GError **error)
{
        return xml_is_text(text) || xml_fail(error, DOMUS_ERROR_XML, "domain %s must not contain control characters", what);
}

bool domain_fill_identity(DomusDomainDef *def, GError **error)
{
        xmlNode *root = root_of(def);
        g_autofree char *type = xml_attr(root, "type");

        if (!type)
                return xml_fail(error, DOMUS_ERROR_XML, "missing domain type attribute");
        def->virt_type = lookup(virt_types, G_N_ELEMENTS(virt_types), type);
        def->name = xml_text(xml_child(root, "name"));
        if (!def->name)
                return xml_fail(error, DOMUS_ERROR_XML, "missing name information");
        def->title = xml_text_or_null(xml_child(root, "title"));
        def->description = xml_text_or_null(xml_child(root, "description"));
        return domain_check_name(def->name, error) && (!def->title || domain_check_title(def->title, error)) &&
               domain_check_metadata(xml_child(root, "metadata"), error) && xml_fill_uuid(root, def->uuid, error);
}

/* --- Memory and vCPUs --- */

/* KiB, rounded up. */
static bool parse_memory(xmlNode *node, uint64_t *ret, GError **error)
{
        g_autofree char *text = xml_text(node), *unit = xml_attr(node, "unit");
        uint64_t value, scale = xml_unit_bytes(unit ? unit : "KiB");

        if (!scale)
                return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "unknown suffix '%s'", unit);
        if (!xml_parse_uint(text, UINT64_MAX, &value))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '%s' for element <%s>", text, node->name);
        if (value > UINT64_MAX / 2 / scale)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "value '%s' of element <%s> is too large", text,
                                node->name);
        *ret = (value * scale + 1023) / 1024;
        return true;
}

static void put_memory(xmlNode *root, const char *name, uint64_t kib)
{
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, kib);
        xmlNode *node = xml_ensure_child(root, name);

        xml_set_attr(node, "unit", "KiB");
        xml_set_text(node, text);
}

static bool check_memory(uint64_t max, uint64_t current, GError **error)
{
        if (max == 0)
                return xml_fail(error, DOMUS_ERROR_XML, "Memory size must be specified via <memory>, and not be 0");
        if (max > MEMORY_LIMIT_KIB)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "memory of %" G_GUINT64_FORMAT " KiB exceeds the limit of 1 TiB", max);
        if (current > max)
                return xml_fail(error, DOMUS_ERROR_XML,
                                "current memory '%" G_GUINT64_FORMAT "k' exceeds maximum '%" G_GUINT64_FORMAT "k'", current,
                                max);
        return true;
}

bool domus_domain_def_set_memory(DomusDomainDef *def, uint64_t max_kib, uint64_t current_kib, GError **error)
{
        if (!check_memory(max_kib, current_kib, error))
                return false;
        /* Guests get whole MiB, as libvirt's QEMU driver has it. */
        def->memory_max = (max_kib + 1023) & ~UINT64_C(1023);
        def->memory_current = current_kib == 0 || current_kib == max_kib ? def->memory_max : current_kib;
        put_memory(root_of(def), "memory", def->memory_max);
        put_memory(root_of(def), "currentMemory", def->memory_current);
        domain_rules_sort(root_of(def));
        return true;
}

static bool check_vcpus(unsigned max, unsigned current, GError **error)
{
        if (max == 0)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "domain config can't have 0 maximum vCPUs");
        if (max > VCPUS_LIMIT)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "Maximum CPUs greater than specified machine type limit %u", VCPUS_LIMIT);
        if (current == 0)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "domain config can't have 0 current vCPUs");
        if (current > max)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "maxvcpus must not be less than current vcpus (%u < %u)", max, current);
        return true;
}

/* The guest sees one socket with a core per vCPU, so that is the one shape that can be asked for. */
static bool check_topology(xmlNode *root, unsigned max, GError **error)
{
        static const char *const parts[] = { "sockets", "dies", "cores", "threads" };
        xmlNode *topology = xml_child(xml_child(root, "cpu"), "topology");
        uint64_t n[G_N_ELEMENTS(parts)], product = 1;

        if (!topology)
                return true;
        for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
                g_autofree char *value = xml_attr(topology, parts[i]);

                if (!value && strcmp(parts[i], "dies") != 0)
                        return xml_fail(error, DOMUS_ERROR_XML, "missing attribute '%s' of element <topology>", parts[i]);
                if (!xml_parse_uint(value ? value : "1", 4096, &n[i]) || n[i] == 0)
                        return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '%s' for attribute '%s' of element <topology>",
                                        value, parts[i]);
                product *= n[i];
        }
        if (product != max)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "CPU topology doesn't match maximum vcpu count");
        if (n[2] != max)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "CPU topology other than sockets='1' dies='1' cores='%u' threads='1' is not supported", max);
        return true;
}

bool domus_domain_def_set_vcpus(DomusDomainDef *def, unsigned max, unsigned current, GError **error)
{
        g_autofree char *text = g_strdup_printf("%u", max), *now = g_strdup_printf("%u", current);
        xmlNode *node;

        if (!check_vcpus(max, current, error) || !check_topology(root_of(def), max, error))
                return false;
        node = xml_ensure_child(root_of(def), "vcpu");
        def->vcpus_max = max;
        def->vcpus_current = current;
        xml_set_text(node, text);
        xml_set_attr_default(node, "placement", "static");
        if (current == max)
                xmlUnsetProp(node, (const xmlChar *)"current");
        else
                xml_set_attr(node, "current", now);
        domain_rules_sort(root_of(def));
        return true;
}

static bool fill_memory(DomusDomainDef *def, xmlNode *root, GError **error)
{
        xmlNode *memory = xml_child(root, "memory"), *now = xml_child(root, "currentMemory");
        uint64_t max = 0, current = 0;

        if (memory && !parse_memory(memory, &max, error))
                return false;
        if (now && !parse_memory(now, &current, error))
                return false;
        return domus_domain_def_set_memory(def, max, current, error);
}

static bool fill_vcpus(DomusDomainDef *def, xmlNode *root, GError **error)
{
        g_autofree char *text = xml_text(xml_child(root, "vcpu"));
        g_autofree char *now = xml_attr(xml_child(root, "vcpu"), "current");
        uint64_t max = 1, current;

        if (text && !xml_parse_uint(text, UINT32_MAX, &max))
                return xml_fail(error, DOMUS_ERROR_XML, "maximum vcpus count must be an integer");
        current = max;
        if (now && !xml_parse_uint(now, UINT32_MAX, &current))
                return xml_fail(error, DOMUS_ERROR_XML, "current vcpus count must be an integer");
        return domus_domain_def_set_vcpus(def, (unsigned)max, (unsigned)current, error);
}

bool domain_fill_resources(DomusDomainDef *def, GError **error)
{
        xmlNode *root = root_of(def);

        return fill_memory(def, root, error) && fill_vcpus(def, root, error);
}

/* --- What boots, and what happens when it ends --- */

static bool check_path(const char *path, const char *element, GError **error)
{
        if (path && !g_path_is_absolute(path))
                return xml_fail(error, DOMUS_ERROR_XML, "path '%s' of element <%s> must be absolute", path, element);
        return true;
}

static bool fill_kernel(DomusDomainDef *def, xmlNode *os, bool needs_kernel, GError **error)
{
        def->kernel = xml_text_or_null(xml_child(os, "kernel"));
        def->initrd = xml_text_or_null(xml_child(os, "initrd"));
        def->cmdline = xml_text_or_null(xml_child(os, "cmdline"));
        if (!def->kernel && needs_kernel)
                return xml_fail(error, DOMUS_ERROR_NO_KERNEL, "<os> of type linux needs <kernel>, or the domain <bootloader>");
        return check_path(def->kernel, "kernel", error) && check_path(def->initrd, "initrd", error);
}

static bool fill_os_type(DomusDomainDef *def, xmlNode *os, bool *ret_linux, GError **error)
{
        xmlNode *type = xml_child(os, "type");
        g_autofree char *text = xml_text(type);

        if (!text)
                return xml_fail(error, DOMUS_ERROR_XML, "an os <type> must be specified");
        *ret_linux = strcmp(text, "linux") == 0;
        xml_set_text(type, "hvm");
        xml_set_attr_default(type, "arch", "x86_64");
        xml_set_attr_default(type, "machine", "domus");
        def->os_type = g_strdup("hvm");
        def->machine = xml_attr(type, "machine");
        return true;
}

static DomusAction fill_action(xmlNode *root, const char *name, DomusAction fallback)
{
        xmlNode *node = xml_ensure_child(root, name);
        g_autofree char *text = xml_text(node);
        unsigned i = lookup(actions, G_N_ELEMENTS(actions), text);

        if (i < G_N_ELEMENTS(actions))
                return i;
        xml_set_text(node, actions[fallback]);
        return fallback;
}

bool domus_domain_def_set_action(DomusDomainDef *def, const char *which, DomusAction action, GError **error)
{
        struct {
                const char *name;
                DomusAction *value;
        } slots[] = { { "on_poweroff", &def->on_poweroff }, { "on_reboot", &def->on_reboot }, { "on_crash", &def->on_crash } };

        for (unsigned i = 0; i < G_N_ELEMENTS(slots); i++) {
                if (strcmp(slots[i].name, which) != 0)
                        continue;
                if ((unsigned)action > DOMUS_ACTION_PRESERVE ||
                    (action == DOMUS_ACTION_PRESERVE && slots[i].value == &def->on_reboot))
                        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "action '%s' for <%s> is not supported",
                                        domus_action_to_string(action) ? domus_action_to_string(action) : "?", which);
                *slots[i].value = action;
                xml_set_text(xml_ensure_child(root_of(def), which), actions[action]);
                return true;
        }
        return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "unknown lifecycle event '%s'", which);
}

/* A timer is accepted if it says what the machine does anyway. */
static bool check_timer(const xmlNode *timer, GError **error)
{
        static const struct {
                const char *name, *present, *tickpolicy;
        } known[] = {
                { "rtc", "yes", "catchup|delay" },
                { "pit", "yes", "delay|catchup" },
                { "hpet", "no", "" },
                { "kvmclock", "yes", "" },
                { "tsc", "yes", "" },
        };
        g_autofree char *name = xml_attr(timer, "name"), *present = xml_attr(timer, "present");
        g_autofree char *policy = xml_attr(timer, "tickpolicy");

        for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
                if (g_strcmp0(known[i].name, name) != 0)
                        continue;
                if (strcmp(present ? present : "yes", known[i].present) != 0)
                        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                        "timer '%s' (line %ld) with present='%s' is not supported", name,
                                        xmlGetLineNo(timer), present ? present : "yes");
                if (policy && !xml_value_listed(known[i].tickpolicy, policy))
                        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                        "timer '%s' (line %ld) with tickpolicy='%s' is not supported", name,
                                        xmlGetLineNo(timer), policy);
                return true;
        }
        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "timer '%s' (line %ld) is not supported", name ? name : "",
                        xmlGetLineNo(timer));
}

static bool fill_clock(DomusDomainDef *def, xmlNode *root, GError **error)
{
        xmlNode *clock = xml_ensure_child(root, "clock");
        g_autofree char *offset = NULL;

        xml_set_attr_default(clock, "offset", "utc");
        offset = xml_attr(clock, "offset");
        def->rtc_localtime = strcmp(offset, "localtime") == 0;
        for (xmlNode *t = xml_child(clock, "timer"); t; t = xml_next(t, "timer"))
                if (!check_timer(t, error))
                        return false;
        return true;
}

/* libvirt's element for the like of QEMU. */
static bool fill_code_cache(DomusDomainDef *def, xmlNode *features, GError **error)
{
        xmlNode *tcg = xml_child(features, "tcg"), *cache = xml_child(tcg, "tb-cache");

        if (!cache)
                return true;
        if (!parse_memory(cache, &def->code_cache, error))
                return false;
        if (def->code_cache < CODE_CACHE_MIN_KIB || def->code_cache > CODE_CACHE_MAX_KIB)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "a tb-cache of %" G_GUINT64_FORMAT " KiB is not supported: it has %u to %u MiB",
                                def->code_cache, CODE_CACHE_MIN_KIB / 1024, CODE_CACHE_MAX_KIB / 1024);
        put_memory(tcg, "tb-cache", def->code_cache);
        return true;
}

bool domain_fill_os(DomusDomainDef *def, GError **error)
{
        xmlNode *root = root_of(def), *os = xml_child(root, "os"), *features = xml_child(root, "features");
        const xmlNode *loader = xml_child(root, "bootloader");
        bool linux_type = false;

        if (!os && loader) /* the one case where libvirt does without */
                xml_set_text(xml_ensure_child(os = xml_ensure_child(root, "os"), "type"), "linux");
        if (!fill_os_type(def, os, &linux_type, error) || !fill_kernel(def, os, linux_type && !loader, error) ||
            !domain_fill_boot_loader(def, error))
                return false;
        if (!fill_code_cache(def, features, error))
                return false;
        def->acpi = xml_child(features, "acpi");
        def->apic = xml_child(features, "apic");
        def->on_poweroff = fill_action(root, "on_poweroff", DOMUS_ACTION_DESTROY);
        def->on_reboot = fill_action(root, "on_reboot", DOMUS_ACTION_RESTART);
        def->on_crash = fill_action(root, "on_crash", DOMUS_ACTION_DESTROY);
        return fill_clock(def, root, error);
}

/* --- Devices --- */

static xmlNode *fill_target(xmlNode *device, const char *type)
{
        xmlNode *target = xml_ensure_child(device, "target");

        xml_set_attr_default(target, "type", type);
        xml_set_attr_default(target, "port", "0");
        return target;
}

xmlNode *domain_serial_console(const xmlNode *devices)
{
        xmlNode *c = xml_child(devices, "console");

        while (c && !domain_console_is_serial(c))
                c = xml_next(c, "console");
        return c;
}

static bool count_serials(xmlNode *devices, GError **error)
{
        unsigned consoles = 0;

        for (xmlNode *c = xml_child(devices, "console"); c; c = xml_next(c, "console"))
                consoles += domain_console_is_serial(c);
        if (consoles > 1 || xml_count(devices, "serial") > 1)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "more than one element <serial>, or <console> of type serial, in <devices> is not supported");
        return true;
}

static bool check_port(const xmlNode *console, GError **error)
{
        g_autofree char *port = xml_attr(xml_child(console, "target"), "port");

        return g_strcmp0(port, "0") == 0 ||
               xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "port '%s' of a <console> of type serial is not supported, only 0", port);
}

/* <console> is the other name of the first serial port: each brings the other along. */
static bool fill_serial(DomusDomainDef *def, xmlNode *devices, GError **error)
{
        xmlNode *serial, *console = domain_serial_console(devices);

        if (!count_serials(devices, error))
                return false;
        if (!xml_child(devices, "serial") && !console)
                return true;
        serial = xml_ensure_child(devices, "serial");
        xml_set_attr_default(serial, "type", "pty");
        xml_set_attr(xml_ensure_child(fill_target(serial, "isa-serial"), "model"), "name", "isa-serial");
        if (!console)
                console = xmlNewTextChild(devices, NULL, (const xmlChar *)"console", NULL);
        xml_set_attr_default(console, "type", "pty");
        fill_target(console, "serial");
        def->n_serials = 1;
        return check_port(console, error);
}

bool domain_fill_devices(DomusDomainDef *def, GError **error)
{
        xmlNode *devices = xml_ensure_child(root_of(def), "devices");

        def->emulator = xml_text_or_null(xml_child(devices, "emulator"));
        return check_path(def->emulator, "emulator", error) && fill_serial(def, devices, error) && domain_devices_fill(def, error);
}
