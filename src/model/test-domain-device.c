/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/domain-device.h"
#include "model/test-xml.h"

#define DOC(os, devices)                                                                                      \
        "<domain type='qemu'><name>d</name><memory unit='MiB'>64</memory><os><type>hvm</type><kernel>/boot/k</kernel>" os \
        "</os><devices>" devices "</devices></domain>"
#define DEVICES(devices) DOC("", devices)
#define DISK(body) DEVICES("<disk type='file' device='disk'><source file='/i'/><target dev='vda' bus='virtio'/>" body "</disk>")
#define NIC(body) DEVICES("<interface type='network'><source network='default'/>" body "</interface>")

static const struct bad_xml bad[] = {
        { DEVICES("<disk type='file'><source file='/i'/></disk>"), DOMUS_ERROR_XML, "target device name" },
        { DEVICES("<disk type='file'><target dev='vda'/></disk>"), DOMUS_ERROR_XML, "missing attribute 'file'" },
        { DEVICES("<disk type='file'><source file='i'/><target dev='vda'/></disk>"), DOMUS_ERROR_XML, "must be absolute" },
        { DEVICES("<disk type='file' device='lun'><source file='/i'/><target dev='vda'/></disk>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "'lun'" },
        { DEVICES("<disk type='file'><source file='/i'/><target dev='hda' bus='ide'/></disk>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "bus 'ide' of disk 'hda' is not supported: use bus='virtio'" },
        { DEVICES("<disk type='file' device='cdrom'><target dev='vda' bus='virtio'/></disk>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "CD-ROM drive ('vda') on bus 'virtio'" },
        { DEVICES("<disk type='volume'><source pool='p'/><target dev='vda'/></disk>"), DOMUS_ERROR_XML, "'pool' or 'volume'" },
        { DEVICES("<disk type='network'><source protocol='rbd'/><target dev='vda'/></disk>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "rbd" },
        { DEVICES("<disk type='network'><source protocol='iscsi'><host name='h'/></source><target dev='vda'/></disk>"), DOMUS_ERROR_XML, "iSCSI target" },
        { DEVICES("<disk type='network'><source protocol='nbd'><host name='h'/><ssl verify='no'/></source><target dev='vda'/></disk>"),
                DOMUS_ERROR_CONFIG_UNSUPPORTED, "<ssl>" },
        { DEVICES("<disk type='network'><source protocol='iscsi' name='i/1' query='a'><host name='h'/></source><target dev='vda'/></disk>"),
                DOMUS_ERROR_CONFIG_UNSUPPORTED, "'query'" },
        { DISK("<driver iothread='1'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "iothread" },
        { DISK("<driver type='exotic'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "exotic" },
        { DISK("<encryption/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<encryption>" },
        { DISK("<serial>a;b</serial>"), DOMUS_ERROR_XML, "unsafe" },
        { DISK("<serial>123456789012345678901</serial>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "longer than 20" },
        { DISK("<blockio logical_block_size='1000'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "powers of two" },
        { DISK("<iotune><total_bytes_sec>x</total_bytes_sec></iotune>"), DOMUS_ERROR_XML, "Invalid value 'x'" },
        { DISK("<iotune><total_bytes_sec>1</total_bytes_sec><read_bytes_sec>1</read_bytes_sec></iotune>"), DOMUS_ERROR_INVALID_ARG,
          "at the same time" },
        { DISK("<iotune><total_iops_sec_max>1</total_iops_sec_max></iotune>"), DOMUS_ERROR_INVALID_ARG, "total_iops_sec_max" },
        { DISK("<address type='pci' domain='0' bus='1' slot='3' function='0'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "not on domain 0" },
        { DISK("<address type='pci' slot='1'/>"), DOMUS_ERROR_XML, "slot 0x01" },
        { DISK("<address type='drive'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "type 'drive' does not suit" },
        { DISK("<boot order='0'/>"), DOMUS_ERROR_XML, "incorrect boot order" },
        { DOC("<boot dev='hd'/>", "<disk><source file='/i'/><target dev='vda'/><boot order='1'/></disk>"), DOMUS_ERROR_CONFIG_UNSUPPORTED,
          "os/boot" },
        { DEVICES("<disk><source file='/i'/><target dev='vda'/></disk><disk><source file='/j'/><target dev='vda'/></disk>"),
          DOMUS_ERROR_CONFIG_UNSUPPORTED, "the target 'vda'" },
        { DEVICES("<disk><source file='/i'/><target dev='vda'/><address type='pci' slot='0x5'/></disk>"
                  "<rng model='virtio'><backend model='random'/><address type='pci' slot='5'/></rng>"),
          DOMUS_ERROR_XML, "double use of PCI Address 0000:00:05.0" },
        { DEVICES("<interface/>"), DOMUS_ERROR_XML, "missing attribute 'type'" },
        { DEVICES("<interface type='hostdev'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "hostdev" },
        { DEVICES("<interface type='user'><portForward/></interface>"), DOMUS_ERROR_XML, "'proto' of element <portForward>" },
        { DEVICES("<interface type='user'><portForward proto='tcp' address='x'/></interface>"), DOMUS_ERROR_XML, "address 'x'" },
        { DEVICES("<interface type='user'><portForward proto='tcp' dev='a/b'/></interface>"), DOMUS_ERROR_XML, "'a/b'" },
        { DEVICES("<interface type='user'><portForward proto='tcp'><range/></portForward></interface>"), DOMUS_ERROR_XML, "'start'" },
        { DEVICES("<interface type='user'><portForward proto='tcp'><range start='9' end='8'/></portForward></interface>"), DOMUS_ERROR_XML, "in order" },
        { DEVICES("<interface type='user'><portForward proto='tcp'><range start='9' to='70000'/></portForward></interface>"), DOMUS_ERROR_XML, "70000" },
        { DEVICES("<interface type='user'><ip address='10.0.0.300'/></interface>"), DOMUS_ERROR_XML, "10.0.0.300" },
        { DEVICES("<interface type='ethernet'><portForward proto='tcp'/></interface>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<portForward>" },
        { DEVICES("<interface type='network'/>"), DOMUS_ERROR_XML, "missing attribute 'network' of element <source>" },
        { NIC("<model type='e1000'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "value 'e1000' of attribute 'type' of element <model>" },
        { NIC("<mac address='52:54:00'/>"), DOMUS_ERROR_XML, "mac address '52:54:00'" },
        { NIC("<mac address='01:54:00:00:00:00'/>"), DOMUS_ERROR_XML, "multicast" },
        { NIC("<virtualport type='openvswitch'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<virtualport>" },
        { NIC("<target dev='a-name-much-too-long'/>"), DOMUS_ERROR_XML, "cannot be the name" },
        { NIC("<mtu size='4'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "MTU" },
        { DEVICES("<controller type='pci' model='pcie-root'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'pcie-root'" },
        { DEVICES("<controller type='scsi' model='lsilogic'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'lsilogic'" },
        { DEVICES("<controller type='ide'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "'ide'" },
        { DEVICES("<channel type='spicevmc'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "spicevmc" },
        { DEVICES("<channel type='unix'/>"), DOMUS_ERROR_XML, "missing attribute 'type' of element <target>" },
        { DEVICES("<rng model='virtio'><backend model='egd'/></rng>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "egd" },
        { DEVICES("<rng model='virtio'><backend model='random'>/etc/shadow</backend></rng>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "/etc/shadow" },
        { DEVICES("<memballoon model='xen'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "xen" },
        { DEVICES("<vsock><cid auto='yes'/></vsock>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <vsock>" },
        { DEVICES("<input type='tablet' bus='usb'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<input>" },
        { DEVICES("<graphics type='vnc'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<graphics>" },
        { DEVICES("<watchdog model='i6300esb'/>"), DOMUS_ERROR_CONFIG_UNSUPPORTED, "<watchdog>" },
};

static void test_bad(void)
{
        test_refused_domains(bad, G_N_ELEMENTS(bad));
}

/* The devices that virt-install 4.1 gives a guest through a qemu URI with --graphics none and a CD-ROM drive. */
static const char installed[] = DEVICES(
        "<emulator>/usr/libexec/domus-vm</emulator>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/><source file='/i.qcow2'/><target dev='vda' bus='virtio'/></disk>"
        "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
        "<controller type='usb' model='qemu-xhci' ports='15'/>"
        "<interface type='network'><source network='default'/><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>"
        "<console type='pty'/>"
        "<channel type='unix'><source mode='bind'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<memballoon model='virtio'/>"
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>");

static const char installed_out[] =
        "  <devices>\n"
        "    <emulator>/usr/libexec/domus-vm</emulator>\n"
        "    <disk type='file' device='disk'>\n"
        "      <driver name='qemu' type='qcow2' discard='unmap'/>\n"
        "      <source file='/i.qcow2'/>\n"
        "      <target dev='vda' bus='virtio'/>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/>\n"
        "    </disk>\n"
        "    <disk type='file' device='cdrom'>\n"
        "      <target dev='sda' bus='scsi'/>\n"
        "      <readonly/>\n"
        "      <address type='drive' controller='0' bus='0' target='0' unit='0'/>\n"
        "    </disk>\n"
        "    <controller type='usb' model='none' index='0'/>\n"
        "    <controller type='scsi' index='0' model='virtio-scsi'>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>\n"
        "    </controller>\n"
        "    <controller type='virtio-serial' index='0'>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>\n"
        "    </controller>\n"
        "    <interface type='network'>\n"
        "      <mac address='52:54:00:12:34:56'/>\n"
        "      <source network='default'/>\n"
        "      <model type='virtio'/>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>\n"
        "    </interface>\n"
        "    <serial type='pty'>\n"
        "      <target type='isa-serial' port='0'>\n"
        "        <model name='isa-serial'/>\n"
        "      </target>\n"
        "    </serial>\n"
        "    <console type='pty'>\n"
        "      <target type='serial' port='0'/>\n"
        "    </console>\n"
        "    <channel type='unix'>\n"
        "      <source mode='bind'/>\n"
        "      <target type='virtio' name='org.qemu.guest_agent.0'/>\n"
        "      <address type='virtio-serial' controller='0' bus='0' port='1'/>\n"
        "    </channel>\n"
        "    <memballoon model='virtio'>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>\n"
        "    </memballoon>\n"
        "    <rng model='virtio'>\n"
        "      <backend model='random'>/dev/urandom</backend>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x08' function='0x0'/>\n"
        "    </rng>\n"
        "  </devices>\n";

static void test_installed(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(installed), again = NULL, valid = NULL;
        g_autofree char *xml = domus_domain_def_format(def, -1, 0), *xml2 = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_cmpstr(strstr(xml, "  <devices>"), ==, strstr(xml, installed_out));
        again = test_parse_domain(xml);
        xml2 = domus_domain_def_format(again, -1, 0);
        g_assert_cmpstr(xml2, ==, xml);
        valid = domus_domain_def_parse(xml, DOMUS_DEF_VALIDATE, &error);
        g_assert_no_error(error);
}

static void test_views(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DEVICES(
                "<disk type='block'><driver cache='none' io='native' discard='unmap' detect_zeroes='unmap' queues='4' error_policy='stop'/>"
                "<source dev='/dev/vg/lv' startupPolicy='optional'/><target dev='vdb'/><shareable/><serial>S1</serial>"
                "<blockio logical_block_size='4096' physical_block_size='4096'/><iotune><total_iops_sec>100</total_iops_sec>"
                "<total_iops_sec_max>200</total_iops_sec_max><total_iops_sec_max_length>10</total_iops_sec_max_length></iotune>"
                "<boot order='2'/></disk>"
                "<interface type='bridge'><source bridge='br0'/><target dev='tap9'/><driver queues='2'/><mtu size='9000'/>"
                "<link state='down'/><port isolated='yes'/><bandwidth><inbound average='100'/></bandwidth></interface>"
                "<rng model='virtio'><rate bytes='1024' period='2000'/><backend model='random'/></rng>"
                "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='5'/></memballoon>"
                "<console type='pty'><target type='virtio'/></console>"));
        const DomusDevice *d = domus_domain_def_disk(def, "vdb");

        g_assert_true(d == domus_domain_def_disk(def, "/dev/vg/lv"));
        g_assert_cmpint(d->disk.type, ==, DOMUS_DISK_BLOCK);
        g_assert_cmpstr(d->disk.cache, ==, "none");
        g_assert_cmpuint(d->disk.queues, ==, 4);
        g_assert_cmpuint(d->disk.logical_block, ==, 4096);
        g_assert_true(d->disk.shareable);
        g_assert_cmpuint(d->disk.iotune.rates[DOMUS_RATE_TOTAL_IOPS].max_length, ==, 10);
        g_assert_cmpuint(d->boot_order, ==, 2);
        d = domus_domain_def_interface(def, "tap9");
        g_assert_cmpuint(d->interface.mtu, ==, 9000);
        g_assert_cmpuint(d->interface.queues, ==, 2);
        g_assert_true(d->interface.link_down && d->interface.isolated && d->interface.bandwidth.inbound.average == 100);
        g_assert_cmpuint(d->interface.mac[0], ==, 0x52);
        g_assert_true(domus_domain_def_balloon(def)->balloon.deflate_on_oom);
        g_assert_cmpuint(domus_domain_def_balloon(def)->balloon.stats_period, ==, 5);
        g_assert_cmpuint(domus_domain_def_device(def, DOMUS_DEVICE_RNG, 0)->rng.rate_period, ==, 2000);
        g_assert_nonnull(domus_domain_def_device(def, DOMUS_DEVICE_CONSOLE, 0));
        g_assert_cmpuint(def->n_serials, ==, 0);
}

static void test_port_forwards(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DEVICES(
                "<interface type='user'><backend type='passt'/><ip family='ipv4' address='172.17.2.4' prefix='24'/><ip family='ipv6' address='fd00::4'/>"
                "<portForward proto='tcp' address='127.0.0.1' dev='lo'><range start='2022' to='22'/><range start='20' end='30'/>"
                "<range start='25' exclude='yes'/><range start='40' end='41' to='50'/></portForward>"
                "<portForward proto='udp'><range start='53'/></portForward><portForward proto='tcp' address='::1'/><portForward proto='udp'/></interface>"));
        const DomusInterface *i = &domus_domain_def_device(def, DOMUS_DEVICE_INTERFACE, 0)->interface;

        g_assert_cmpstr(i->forwards, ==, "tcp 127.0.0.1%lo/2022:22,20-30,~25,40-41:50-51\nudp 53\ntcp ::1\nudp all\n");
        g_assert_cmpstr(i->ip4, ==, "172.17.2.4");
        g_assert_cmpuint(i->ip4_prefix, ==, 24);
        g_assert_cmpstr(i->ip6, ==, "fd00::4");
        g_assert_cmpuint(i->ip6_prefix, ==, 0);
}

static void test_aliases(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(installed), kept = NULL;
        static const char *const expected[] = { "virtio-disk0", "scsi0-0-0-0", "usb", "scsi0", "virtio-serial0", "net0", "channel0", "balloon0", "rng0" };
        g_autofree char *before = domus_domain_def_format(def, -1, 0), *live = NULL, *inactive = NULL, *kept_xml = NULL;

        domus_domain_def_assign_aliases(def);
        for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++)
                g_assert_nonnull(domus_domain_def_device_by_alias(def, expected[i]));
        domus_domain_def_set_interface_live(def, domus_domain_def_device(def, DOMUS_DEVICE_INTERFACE, 0), "vnet3", "virbr0",
                                            "11111111-2222-4333-8444-555555555555");
        domus_domain_def_set_channel_path(def, domus_domain_def_channel(def, "org.qemu.guest_agent.0"),
                                          "/run/domus/vm/u/channel/org.qemu.guest_agent.0");
        domus_domain_def_set_channel_state(def, domus_domain_def_channel(def, "org.qemu.guest_agent.0"), true);
        live = domus_domain_def_format(def, 3, 0);
        g_assert_nonnull(strstr(live, "<target dev='vnet3'/>"));
        inactive = domus_domain_def_format(def, 3, DOMUS_DEF_INACTIVE);
        g_assert_cmpstr(inactive, ==, before);
        kept = domus_domain_def_parse(live, DOMUS_DEF_LIVE, NULL);
        kept_xml = domus_domain_def_format(kept, 3, 0);
        g_assert_cmpstr(kept_xml, ==, live);
}

static DomusDevice *attach(DomusDomainDef *def, const char *xml)
{
        g_autoptr(GError) error = NULL;
        DomusDevice *d = domus_domain_def_attach(def, xml, &error);

        g_assert_no_error(error);
        return d;
}

static void test_attach(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DEVICES("<disk><source file='/i'/><target dev='vda'/></disk>"));
        g_autofree char *before = domus_domain_def_format(def, -1, 0), *after = NULL;
        g_autoptr(GError) error = NULL;
        DomusDevice *d;

        domus_domain_def_assign_aliases(def);
        g_assert_null(domus_domain_def_attach(def, "<disk><source file='/j'/><target dev='vda'/></disk>", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED);
        g_clear_error(&error);
        d = attach(def, "<disk type='file'><source file='/j'/><target dev='sda' bus='scsi'/></disk>");
        g_assert_cmpuint(d->address.unit, ==, 0);
        domus_domain_def_assign_aliases(def);
        g_assert_nonnull(domus_domain_def_device_by_alias(def, "scsi0-0-0-0"));
        g_assert_cmpuint(domus_domain_def_device_by_alias(def, "scsi0")->address.slot, ==, 4);
        d = attach(def, "<interface type='network'><source network='default'/></interface>");
        g_assert_cmpuint(d->address.slot, ==, 5);
        d = domus_domain_def_find(def, "<interface type='network'><source network='default'/></interface>", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(d->address.slot, ==, 5);
        domus_domain_def_detach(def, d);
        g_assert_null(domus_domain_def_find(def, "<disk><source file='/x'/><target dev='vdz'/></disk>", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_DEVICE_MISSING);
        g_clear_error(&error);
        domus_domain_def_detach(def, domus_domain_def_disk(def, "sda"));
        domus_domain_def_detach(def, domus_domain_def_controller(def, DOMUS_CONTROLLER_SCSI, 0));
        after = domus_domain_def_format(def, -1, DOMUS_DEF_INACTIVE);
        g_assert_cmpstr(after, ==, before);
        g_assert_null(domus_domain_def_attach(def, "<graphics type='vnc'/>", &error));
        g_assert_error(error, DOMUS_ERROR, DOMUS_ERROR_CONFIG_UNSUPPORTED);
}

static void test_update(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(installed);
        DomusIotune tune = { .rates[DOMUS_RATE_READ_BYTES] = { .rate = 1000 } };
        g_autoptr(GError) error = NULL;
        DomusDevice *d;

        d = domus_domain_def_update(def, "<disk type='file' device='cdrom'><source file='/c.iso'/><target dev='sda' bus='scsi'/></disk>", &error);
        g_assert_no_error(error);
        g_assert_cmpstr(d->disk.path, ==, "/c.iso");
        g_assert_cmpint(d->address.type, ==, DOMUS_ADDRESS_DRIVE);
        d = domus_domain_def_update(def, "<interface type='network'><mac address='52:54:00:12:34:56'/><source network='other'/>"
                                         "<link state='down'/></interface>",
                                    &error);
        g_assert_no_error(error);
        g_assert_cmpuint(d->address.slot, ==, 3);
        g_assert_true(d->interface.link_down);
        domus_domain_def_set_iotune(def, domus_domain_def_disk(def, "vda"), &tune);
        g_assert_cmpuint(domus_domain_def_disk(def, "vda")->disk.iotune.rates[DOMUS_RATE_READ_BYTES].rate, ==, 1000);
        domus_domain_def_set_disk_format(def, domus_domain_def_disk(def, "sda"), "raw");
        g_assert_cmpstr(domus_domain_def_disk(def, "sda")->disk.format, ==, "raw");
        domus_domain_def_set_bandwidth(def, domus_domain_def_device(def, DOMUS_DEVICE_INTERFACE, 0), &(DomusBandwidth){ .outbound.average = 5 });
        g_assert_cmpuint(domus_domain_def_device(def, DOMUS_DEVICE_INTERFACE, 0)->interface.bandwidth.outbound.average, ==, 5);
}

/* As many as fit: 3 to 31. */
static void test_full(void)
{
        g_autoptr(DomusDomainDef) def = test_parse_domain(DEVICES(""));
        g_autoptr(GError) error = NULL;

        for (unsigned i = 3; i <= 31; i++)
                g_assert_cmpuint(attach(def, "<rng model='virtio'><backend model='random'/></rng>")->address.slot, ==, i);
        g_assert_null(domus_domain_def_attach(def, "<rng model='virtio'><backend model='random'/></rng>", &error));
        g_assert_nonnull(strstr(error->message, "no PCI slot is left"));
}

#define VDA(more) "<disk><source file='/a'/><target dev='vda'/>" more "</disk>"
#define VDB(more) "<disk><source file='/b'/><target dev='vdb'/>" more "</disk>"
#define EMPTY(more) "<disk device='cdrom'><target dev='sda' bus='scsi'/>" more "</disk>"
#define DISC "<disk device='cdrom'><source file='/c'/><target dev='sdb' bus='scsi'/></disk>"
#define NETWORK(more) "<interface type='network'><source network='default'/>" more "</interface>"

/* target: of the disk; or a part of the message. */
static const struct {
        const char *boot, *devices, *target, *message;
} boots[] = {
        { "", EMPTY("") VDB("") VDA(""), "vdb", NULL },
        { "", DISC VDA(""), "vda", NULL },
        { "", VDA("") VDB("<boot order='1'/>"), "vdb", NULL },
        { "", VDA("<boot order='7'/>") VDB("<boot order='3'/>"), "vdb", NULL },
        { "", VDA("<boot order='2'/>") EMPTY("<boot order='1'/>"), "vda", NULL },
        { "", VDA("<boot order='2'/>") NETWORK("<boot order='1'/>"), NULL, "network interface comes first" },
        { "<boot dev='hd'/>", NETWORK("") DISC VDA("") VDB(""), "vda", NULL },
        { "<boot dev='fd'/><boot dev='cdrom'/><boot dev='hd'/>", EMPTY("") VDA(""), "vda", NULL },
        { "<boot dev='cdrom'/><boot dev='hd'/>", EMPTY("") DISC VDA(""), NULL, "CD-ROM drive 'sdb' comes first" },
        { "<boot dev='network'/><boot dev='hd'/>", NETWORK("") VDA(""), NULL, "network interface comes first" },
        { "<boot dev='cdrom'/>", VDA(""), NULL, "neither <kernel> in <os> nor a hard disk" },
        { "", EMPTY(""), NULL, "neither <kernel> in <os> nor a hard disk" },
};

static void test_boot_disk(void)
{
        for (unsigned i = 0; i < G_N_ELEMENTS(boots); i++) {
                g_autofree char *xml = g_strdup_printf("<domain type='qemu'><name>d</name><memory>65536</memory><os><type>hvm</type>%s</os>"
                                                       "<devices>%s</devices></domain>", boots[i].boot, boots[i].devices);
                g_autoptr(DomusDomainDef) def = test_parse_domain(xml);
                g_autoptr(GError) error = NULL;
                const DomusDevice *d = domus_domain_def_boot_disk(def, &error);

                g_test_message("%s%s -> %s", boots[i].boot, boots[i].devices, d ? d->disk.target : error->message);
                g_assert_cmpstr(d ? d->disk.target : NULL, ==, boots[i].target);
                g_assert_true(d || strstr(error->message, boots[i].message));
        }
}

int main(int argc, char **argv)
{
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/domain-device/bad", test_bad);
        g_test_add_func("/domain-device/installed", test_installed);
        g_test_add_func("/domain-device/views", test_views);
        g_test_add_func("/domain-device/port-forwards", test_port_forwards);
        g_test_add_func("/domain-device/aliases", test_aliases);
        g_test_add_func("/domain-device/attach", test_attach);
        g_test_add_func("/domain-device/update", test_update);
        g_test_add_func("/domain-device/full", test_full);
        g_test_add_func("/domain-device/boot-disk", test_boot_disk);
        return g_test_run();
}
