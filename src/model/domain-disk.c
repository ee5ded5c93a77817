/* SPDX-License-Identifier: GPL-2.0-or-later */

/* <disk> (formatdomain.html#hard-drives-floppy-disks-cdroms). */

#include <string.h>

#include "model/domain-device-private.h"

/* Each also with "_max" and "_max_length". */
static const char *const rate_names[DOMUS_RATES] = {
        [DOMUS_RATE_TOTAL_BYTES] = "total_bytes_sec", [DOMUS_RATE_READ_BYTES] = "read_bytes_sec",
        [DOMUS_RATE_WRITE_BYTES] = "write_bytes_sec", [DOMUS_RATE_TOTAL_IOPS] = "total_iops_sec",
        [DOMUS_RATE_READ_IOPS] = "read_iops_sec",     [DOMUS_RATE_WRITE_IOPS] = "write_iops_sec",
};

/* --- What it may contain --- */

#define FORMATS "raw|qcow2|qcow|qed|vmdk|vdi|vpc|vhdx|parallels|dmg"
#define RATE(name) { name "_sec", RULE_TEXT }, { name "_sec_max", RULE_TEXT }, { name "_sec_max_length", RULE_TEXT }

static const struct element_rule iotune_rules[] = {
        RATE("total_bytes"), RATE("read_bytes"), RATE("write_bytes"), RATE("total_iops"), RATE("read_iops"), RATE("write_iops"),
        { "size_iops_sec", RULE_TEXT },
        {},
};

static const struct element_rule initiator_rules[] = {
        { "iqn", 0, RULE_ATTRS{ { "name" }, {} } },
        {},
};

static const struct element_rule source_rules[] = {
        { "host", 0, RULE_ATTRS{ { "name" }, { "port" }, { "transport", "tcp|unix" }, { "socket" }, {} } },
        { "ssl", 0, RULE_ATTRS{ { "verify", "yes|no" }, {} } },
        { "initiator", 0, NULL, initiator_rules },
        {},
};

#define SOURCE_ATTRS                                                                                          \
        RULE_ATTRS{ { "file" }, { "dev" }, { "pool" }, { "volume" }, { "protocol", "nbd|iscsi|http|https" },  \
                { "name" }, { "query" }, { "startupPolicy", "mandatory|requisite|optional" }, { "index" }, {} }

static const struct element_rule disk_rules[] = {
        { "driver", 0,
          RULE_ATTRS{ { "name", "qemu|domus" },
                      { "type", FORMATS },
                      { "cache", "default|none|writethrough|writeback|directsync|unsafe" },
                      { "error_policy", "stop|report|ignore|enospace" },
                      { "rerror_policy", "stop|report|ignore" },
                      { "io", "threads|native|io_uring" },
                      { "discard", "ignore|unmap" },
                      { "detect_zeroes", "off|on|unmap" },
                      { "queues" },
                      {} } },
        { "source", 0, SOURCE_ATTRS, source_rules },
        { "backingStore", RULE_OPAQUE },
        { "blockio", 0, RULE_ATTRS{ { "logical_block_size" }, { "physical_block_size" }, {} } },
        { "target", 0,
          RULE_ATTRS{ { "dev" }, { "bus", "virtio|scsi|sata|ide|usb" }, { "tray", "open|closed" }, { "removable", "off" }, {} } },
        { "iotune", 0, NULL, iotune_rules },
        { "readonly" },
        { "shareable" },
        { "serial", RULE_TEXT },
        RULE_BOOT,
        RULE_ALIAS,
        { "address", 0,
          RULE_ATTRS{ { "type", "pci|drive" },
                      { "domain" },
                      { "bus" },
                      { "slot" },
                      { "function" },
                      { "multifunction", "off" },
                      { "controller" },
                      { "target" },
                      { "unit" },
                      {} } },
        {},
};

static const struct element_rule rule = {
        "disk", RULE_MANY,
        RULE_ATTRS{ { "type", "file|block|volume|network" },
                    { "device", "disk|cdrom" },
                    { "model", "virtio|virtio-non-transitional" },
                    { "snapshot", "no|internal|external" },
                    {} },
        disk_rules,
};

/* --- Source --- */

/* What only some protocols have. */
static bool parse_protocol(DomusDevice *d, xmlNode *source, GError **error)
{
        DomusDisk *disk = &d->disk;
        bool iscsi = strcmp(disk->protocol, "iscsi") == 0, http = g_str_has_prefix(disk->protocol, "http");
        const char *other = xml_child(source, "initiator") && !iscsi                                ? "<initiator>" :
                            xml_child(source, "ssl") && strcmp(disk->protocol, "https") != 0        ? "<ssl>" :
                            disk->query && !http                                                    ? "'query'" :
                                                                                                      NULL;
        g_autofree char *verify = xml_attr(xml_child(source, "ssl"), "verify");

        if (other)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "%s is not supported with protocol '%s' (line %ld)", other, disk->protocol,
                                xmlGetLineNo(d->node));
        if (iscsi && (!disk->name || !*disk->name))
                return xml_fail(error, DOMUS_ERROR_XML, "missing name of the iSCSI target (line %ld)", xmlGetLineNo(d->node));
        disk->unverified = g_strcmp0(verify, "no") == 0;
        return true;
}

static bool parse_network(DomusDevice *d, xmlNode *source, GError **error)
{
        DomusDisk *disk = &d->disk;
        xmlNode *host = xml_child(source, "host");

        disk->protocol = device_attr(d, source, "protocol");
        disk->name = device_attr(d, source, "name");
        disk->host = device_attr(d, host, "name");
        disk->port = device_attr(d, host, "port");
        disk->socket = device_attr(d, host, "socket");
        disk->query = device_attr(d, source, "query");
        disk->initiator = device_attr(d, xml_child(xml_child(source, "initiator"), "iqn"), "name");
        if (!disk->protocol)
                return xml_fail(error, DOMUS_ERROR_XML, "missing network source protocol type");
        if (!disk->host && !disk->socket)
                return xml_fail(error, DOMUS_ERROR_XML, "missing <host> for the network disk (line %ld)", xmlGetLineNo(d->node));
        if (disk->socket && strcmp(disk->protocol, "nbd") != 0)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "transport 'unix' is supported only with protocol 'nbd'");
        return parse_protocol(d, source, error);
}

static bool parse_path(DomusDevice *d, xmlNode *source, GError **error)
{
        const char *attr = d->disk.type == DOMUS_DISK_FILE ? "file" : "dev";

        d->disk.path = device_attr(d, source, attr);
        if (d->disk.path && !*d->disk.path) /* as virt-manager writes an empty drive */
                d->disk.path = NULL;
        if (d->disk.path && !g_path_is_absolute(d->disk.path))
                return xml_fail(error, DOMUS_ERROR_XML, "path '%s' of a disk's <source> must be absolute", d->disk.path);
        if (!d->disk.path && !d->disk.cdrom)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute '%s' in the <source> of the disk (line %ld)", attr,
                                xmlGetLineNo(d->node));
        return true;
}

static bool parse_source(DomusDevice *d, GError **error)
{
        static const char *const types[] = {
                [DOMUS_DISK_FILE] = "file", [DOMUS_DISK_BLOCK] = "block", [DOMUS_DISK_VOLUME] = "volume", [DOMUS_DISK_NETWORK] = "network",
        };
        xmlNode *source = xml_child(d->node, "source");
        g_autofree char *type = NULL;

        xml_set_attr_default(d->node, "type", "file");
        type = xml_attr(d->node, "type");
        while (strcmp(types[d->disk.type], type) != 0)
                d->disk.type++;
        d->disk.startup_policy = device_attr(d, source, "startupPolicy");
        if (!source && d->disk.cdrom)
                return true;
        if (d->disk.type == DOMUS_DISK_NETWORK)
                return parse_network(d, source, error);
        if (d->disk.type != DOMUS_DISK_VOLUME)
                return parse_path(d, source, error);
        d->disk.pool = device_attr(d, source, "pool");
        d->disk.volume = device_attr(d, source, "volume");
        if (!d->disk.pool || !d->disk.volume)
                return xml_fail(error, DOMUS_ERROR_XML, "missing attribute 'pool' or 'volume' in the <source> of the disk (line %ld)",
                                xmlGetLineNo(d->node));
        return true;
}

/* --- Target --- */

static const char *default_bus(const char *dev)
{
        static const struct {
                const char *prefix, *bus;
        } known[] = { { "vd", "virtio" }, { "sd", "scsi" }, { "hd", "ide" } };

        for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
                if (g_str_has_prefix(dev, known[i].prefix))
                        return known[i].bus;
        return "virtio";
}

/* There is no IDE, SATA or USB. A CD-ROM drive is moved to the SCSI bus, and the document then says so: who reads discs finds them there as
 * well. A disk is not moved: its guest may be able to boot from that bus only. */
static bool parse_bus(DomusDevice *d, xmlNode *target, GError **error)
{
        g_autofree char *bus = NULL;

        xml_set_attr_default(target, "bus", default_bus(d->disk.target));
        bus = xml_attr(target, "bus");
        if (strcmp(bus, "virtio") == 0 && d->disk.cdrom)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "a CD-ROM drive ('%s') on bus 'virtio' is not supported: use bus='scsi'", d->disk.target);
        if (strcmp(bus, "virtio") == 0) {
                d->disk.bus = DOMUS_DISK_BUS_VIRTIO;
                return true;
        }
        if (strcmp(bus, "scsi") != 0 && !d->disk.cdrom)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "bus '%s' of disk '%s' is not supported: use bus='virtio' or bus='scsi'", bus, d->disk.target);
        if (strcmp(bus, "scsi") != 0) {
                xml_remove(xml_child(d->node, "address")); /* of a controller that is not there */
                xml_set_attr(target, "bus", "scsi");
        }
        d->disk.bus = DOMUS_DISK_BUS_SCSI;
        return true;
}

static bool parse_target(DomusDevice *d, GError **error)
{
        xmlNode *target = xml_child(d->node, "target");

        d->disk.target = device_attr(d, target, "dev");
        if (!d->disk.target || !*d->disk.target || strlen(d->disk.target) > 32 || strpbrk(d->disk.target, "/ \t\r\n"))
                return xml_fail(error, DOMUS_ERROR_XML, "missing or malformed target device name of the disk (line %ld)",
                                xmlGetLineNo(d->node));
        return parse_bus(d, target, error);
}

/* --- Limits --- */

static bool parse_number(const xmlNode *iotune, const char *name, uint64_t *ret, GError **error)
{
        g_autofree char *text = xml_text(xml_child(iotune, name));

        if (text && !xml_parse_uint(text, INT64_MAX, ret))
                return xml_fail(error, DOMUS_ERROR_XML, "Invalid value '%s' for element <%s>", text, name);
        return true;
}

static bool parse_rate(const xmlNode *iotune, const char *name, DomusRate *ret, GError **error)
{
        g_autofree char *max = g_strconcat(name, "_max", NULL);
        g_autofree char *length = g_strconcat(name, "_max_length", NULL);

        if (!parse_number(iotune, name, &ret->rate, error) || !parse_number(iotune, max, &ret->max, error) ||
            !parse_number(iotune, length, &ret->max_length, error))
                return false;
        return true;
}

bool domus_iotune_check(const DomusIotune *t, GError **error)
{
        for (unsigned i = 0; i < DOMUS_RATES; i++) {
                const DomusRate *r = &t->rates[i];

                if (r->max && (!r->rate || r->max < r->rate))
                        return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "%s_max needs %s and must not be below it", rate_names[i],
                                        rate_names[i]);
                if (r->max_length && !r->max)
                        return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "%s_max_length needs %s_max", rate_names[i], rate_names[i]);
        }
        for (unsigned i = 0; i < DOMUS_RATES; i += 3)
                if (t->rates[i].rate && (t->rates[i + 1].rate || t->rates[i + 2].rate))
                        return xml_fail(error, DOMUS_ERROR_INVALID_ARG, "total and read/write %s cannot be set at the same time",
                                        i ? "iops_sec" : "bytes_sec");
        return true;
}

static bool parse_iotune(DomusDevice *d, GError **error)
{
        const xmlNode *iotune = xml_child(d->node, "iotune");
        DomusIotune *t = &d->disk.iotune;

        if (!iotune)
                return true;
        for (unsigned i = 0; i < DOMUS_RATES; i++)
                if (!parse_rate(iotune, rate_names[i], &t->rates[i], error))
                        return false;
        return parse_number(iotune, "size_iops_sec", &t->size_iops, error) && domus_iotune_check(t, error);
}

static void put_number(xmlNode *iotune, const char *name, const char *suffix, uint64_t value)
{
        g_autofree char *full = g_strconcat(name, suffix, NULL);
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);

        if (value)
                xml_set_text(xml_ensure_child(iotune, full), text);
        else
                xml_remove(xml_child(iotune, full));
}

void domus_domain_def_set_iotune(DomusDomainDef *def, DomusDevice *d, const DomusIotune *t)
{
        xmlNode *iotune = xml_ensure_child(d->node, "iotune");

        for (unsigned i = 0; i < DOMUS_RATES; i++) {
                put_number(iotune, rate_names[i], "", t->rates[i].rate);
                put_number(iotune, rate_names[i], "_max", t->rates[i].max);
                put_number(iotune, rate_names[i], "_max_length", t->rates[i].max_length);
        }
        put_number(iotune, "size_iops_sec", "", t->size_iops);
        if (!xml_first_element(iotune))
                xml_remove(iotune);
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
}

/* --- Driver and the rest --- */

static bool is_block_size(unsigned n)
{
        return n == 0 || (n >= 512 && n <= 32768 && (n & (n - 1)) == 0);
}

static bool parse_blockio(DomusDevice *d, GError **error)
{
        const xmlNode *blockio = xml_child(d->node, "blockio");

        if (!device_uint32(blockio, "logical_block_size", 1 << 20, &d->disk.logical_block, error) ||
            !device_uint32(blockio, "physical_block_size", 1 << 20, &d->disk.physical_block, error))
                return false;
        if (!is_block_size(d->disk.logical_block) || !is_block_size(d->disk.physical_block))
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "the block sizes of disk '%s' must be powers of two from 512 to 32768", d->disk.target);
        return true;
}

static bool parse_driver(DomusDevice *d, GError **error)
{
        const xmlNode *driver = xml_child(d->node, "driver");
        DomusDisk *disk = &d->disk;

        disk->format = device_attr(d, driver, "type");
        disk->cache = device_attr(d, driver, "cache");
        disk->io = device_attr(d, driver, "io");
        disk->discard = device_attr(d, driver, "discard");
        disk->detect_zeroes = device_attr(d, driver, "detect_zeroes");
        disk->error_policy = device_attr(d, driver, "error_policy");
        disk->rerror_policy = device_attr(d, driver, "rerror_policy");
        if (!device_uint32(driver, "queues", 64, &disk->queues, error))
                return false;
        if (disk->queues && disk->bus != DOMUS_DISK_BUS_VIRTIO)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED,
                                "attribute 'queues' of disk '%s' is supported only with bus='virtio'", disk->target);
        return true;
}

static bool parse_serial(DomusDevice *d, GError **error)
{
        size_t max = d->disk.bus == DOMUS_DISK_BUS_VIRTIO ? 20 : 36;

        d->disk.serial = device_text(d, xml_child(d->node, "serial"));
        if (d->disk.serial && strspn(d->disk.serial, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. +") !=
                                      strlen(d->disk.serial))
                return xml_fail(error, DOMUS_ERROR_XML, "driver serial '%s' contains unsafe characters", d->disk.serial);
        if (d->disk.serial && strlen(d->disk.serial) > max)
                return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "the serial of disk '%s' is longer than %zu bytes",
                                d->disk.target, max);
        return true;
}

static void parse_access(DomusDevice *d)
{
        if (d->disk.cdrom)
                xml_ensure_child(d->node, "readonly");
        d->disk.readonly = xml_child(d->node, "readonly");
        d->disk.shareable = xml_child(d->node, "shareable");
}

static bool parse(DomusDevice *d, GError **error)
{
        g_autofree char *device = NULL;

        xml_set_attr_default(d->node, "device", "disk");
        device = xml_attr(d->node, "device");
        d->disk.cdrom = strcmp(device, "cdrom") == 0;
        parse_access(d);
        return parse_target(d, error) && parse_source(d, error) && parse_driver(d, error) && parse_blockio(d, error) &&
               parse_serial(d, error) && parse_iotune(d, error);
}

/* --- As a device --- */

static DomusAddressType address(const DomusDevice *d)
{
        return d->disk.bus == DOMUS_DISK_BUS_VIRTIO ? DOMUS_ADDRESS_PCI : DOMUS_ADDRESS_DRIVE;
}

/* libvirt numbers virtio disks by their target: vda is virtio-disk0. */
static char *alias(const DomusDevice *d, unsigned n)
{
        unsigned index = 0;
        const char *p = d->disk.target;

        if (d->disk.bus == DOMUS_DISK_BUS_SCSI)
                return g_strdup_printf("scsi%u-0-%u-%u", d->address.controller, d->address.target, d->address.unit);
        if (!g_str_has_prefix(p, "vd") || strlen(p) > 5 || !p[2])
                return g_strdup_printf("virtio-disk%u", 100000 + n);
        for (p += 2; *p >= 'a' && *p <= 'z'; p++)
                index = index * 26 + (unsigned)(*p - 'a') + 1;
        return g_strdup_printf("virtio-disk%u", *p ? 100000 + n : index - 1);
}

static bool matches(const DomusDevice *d, const DomusDevice *wanted)
{
        return strcmp(d->disk.target, wanted->disk.target) == 0;
}

static void drop_live(xmlNode *node)
{
        xmlNode *source = xml_child(node, "source");

        xml_remove(xml_child(node, "backingStore"));
        xmlUnsetProp(source, (const xmlChar *)"index");
        xmlUnsetProp(xml_child(node, "target"), (const xmlChar *)"tray");
}

const struct device_kind domain_disk_kind = { &rule, DOMUS_DEVICE_DISK, parse, address, alias, matches, drop_live };

/* --- Changes --- */

void domus_domain_def_set_disk_format(DomusDomainDef *def, DomusDevice *d, const char *format)
{
        xmlNode *driver = xml_ensure_child(d->node, "driver");

        xml_set_attr_default(driver, "name", "qemu");
        xml_set_attr(driver, "type", format);
        domain_rules_sort(xmlDocGetRootElement(def->doc));
        domain_devices_reload(def);
}

DomusDevice *domus_domain_def_disk(const DomusDomainDef *def, const char *name)
{
        DomusDevice *d;

        for (unsigned i = 0; (d = domus_domain_def_device(def, DOMUS_DEVICE_DISK, i)); i++)
                if (strcmp(d->disk.target, name) == 0 || g_strcmp0(d->disk.path, name) == 0)
                        return d;
        return NULL;
}

void domus_domain_def_clear_medium(DomusDomainDef *def, DomusDevice *d)
{
        xml_remove(xml_child(d->node, "source"));
        domain_devices_reload(def);
}

bool domus_disk_format_known(const char *format)
{
        return xml_value_listed(FORMATS, format);
}

bool domus_disk_cache_is_direct(const char *cache)
{
        return cache && xml_value_listed("none|directsync", cache);
}
