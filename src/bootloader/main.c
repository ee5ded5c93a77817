/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "bootloader/boot.h"
#include "bootloader/sandbox.h"

static const char usage[] =
        "usage: domus-bootloader [OPTION...] 3<IMAGE 4<>KERNEL 5<>INITRD\n"
        "Finds the kernel that the guest on a disk would boot, without running anything of the guest.\n"
        "\n"
        "Descriptor 3 is the image: raw bytes, readable, seekable (a file or a block device), or a stream socket connected to an\n"
        "NBD server that exports them as \"disk\". 4 and 5 are writable, empty, at their start, such as memfds; they get the kernel and the initrds (one\n"
        "behind the other; nothing if there is none). Standard output gets one JSON object:\n"
        "  {\"config\": PATH or null, \"partition\": N, \"entry\": \"1>0\", \"title\": T, \"id\": I or null, \"kernel\": PATH,\n"
        "   \"initrds\": [PATH...], \"cmdline\": ARGUMENTS}\n"
        "without partition and entry if --kernel is given. Exit status 0; else 1, a line for people on standard error, nothing on\n"
        "standard output, and whatever 4 and 5 then hold is not to be used. It opens no path, and drops all rights first; it\n"
        "needs at most 512 MiB and 30 s of processor time.\n"
        "\n"
        "  --entry ENTRY       instead of the default: a number from 0, title or id, with > behind a submenu's (\"1>2\")\n"
        "  --kernel PATH       this kernel of the guest's, whatever its configuration says\n"
        "  --initrd PATH       this initrd; \"\" for none (also --ramdisk)\n"
        "  --args ARGUMENTS    the whole command line\n"
        "  --append ARGUMENTS  more for the command line\n"
        "  --partition N       looks at this partition only; 0: an image without a partition table\n"
        "  --list              writes no files; the object is {\"config\": PATH, \"partition\": N, \"default\": \"1>0\",\n"
        "                      \"entries\": [as above...]}. 4 and 5 need not be open\n"
        "  --name NAME         what to call the image in messages\n"
        "  --user UID:GID      become this user before the image is looked at\n";

struct options {
        struct boot_request request;
        struct sandbox sandbox;
        const char *name;
};

enum { OPT_ENTRY = 1, OPT_KERNEL, OPT_INITRD, OPT_ARGS, OPT_APPEND, OPT_PARTITION, OPT_LIST, OPT_NAME, OPT_USER, OPT_HELP };

static const struct option long_options[] = {
        { "entry", required_argument, NULL, OPT_ENTRY }, { "kernel", required_argument, NULL, OPT_KERNEL },
        { "initrd", required_argument, NULL, OPT_INITRD }, { "ramdisk", required_argument, NULL, OPT_INITRD },
        { "args", required_argument, NULL, OPT_ARGS }, { "append", required_argument, NULL, OPT_APPEND },
        { "partition", required_argument, NULL, OPT_PARTITION }, { "list", no_argument, NULL, OPT_LIST },
        { "name", required_argument, NULL, OPT_NAME }, { "user", required_argument, NULL, OPT_USER },
        { "help", no_argument, NULL, OPT_HELP }, { 0 },
};

/* Digits alone, up to max; end is what follows. */
static bool parse_number(const char *s, unsigned long max, unsigned long *ret, const char **end)
{
        char *rest;

        if (*s < '0' || *s > '9')
                return false;
        errno = 0;
        *ret = strtoul(s, &rest, 10);
        *end = rest;
        return errno == 0 && *ret <= max;
}

static bool parse_user(const char *s, struct sandbox *sandbox)
{
        unsigned long uid, gid;

        if (!parse_number(s, UINT32_MAX - 1, &uid, &s) || *s != ':' || !parse_number(s + 1, UINT32_MAX - 1, &gid, &s) || *s)
                return false;
        *sandbox = (struct sandbox){ .drop = true, .uid = (uid_t)uid, .gid = (gid_t)gid };
        return true;
}

static bool parse_partition(const char *s, int *ret)
{
        unsigned long n;

        if (!parse_number(s, INT32_MAX, &n, &s) || *s)
                return false;
        *ret = (int)n;
        return true;
}

static bool parse_option(struct options *o, int option)
{
        const char **strings[] = {
                [OPT_ENTRY] = &o->request.entry, [OPT_KERNEL] = &o->request.kernel, [OPT_INITRD] = &o->request.initrd,
                [OPT_ARGS] = &o->request.args, [OPT_APPEND] = &o->request.append, [OPT_NAME] = &o->name,
        };

        switch (option) {
        case OPT_PARTITION:
                return parse_partition(optarg, &o->request.partition);
        case OPT_USER:
                return parse_user(optarg, &o->sandbox);
        case OPT_LIST:
                o->request.list = true;
                return true;
        case OPT_HELP:
                fputs(usage, stdout);
                exit(0);
        case '?':
                return false;
        default:
                *strings[option] = optarg;
                return true;
        }
}

static bool parse_options(struct options *o, int argc, char **argv)
{
        int option;

        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
                if (!parse_option(o, option))
                        return false;
        return optind == argc;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

/* The guest's words are in it: nothing that a terminal would obey. */
static void say(const char *name, const char *text)
{
        char line[1024];
        int n = snprintf(line, sizeof(line), "disk '%s': %s\n", name, text);

        n = n < (int)sizeof(line) ? n : (int)sizeof(line) - 1;
        for (int i = 0; i < n - 1; i++)
                if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
                        line[i] = '?';
        fd_write_all(STDERR_FILENO, line, (size_t)n);
}

static int run(const struct options *o, const struct source *image)
{
        struct pool pool = { 0 };
        struct text answer = { .pool = &pool };
        struct boot_output output = { KERNEL_FD, INITRD_FD };
        struct trouble trouble = { "failed" };
        int r = boot(image, &o->request, &output, &answer, &trouble);

        if (r < 0)
                say(o->name, trouble.text);
        else
                r = fd_write_all(STDOUT_FILENO, text_get(&answer), answer.len);
        pool_finish(&pool);
        return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
        struct options o = { .request = { .partition = -1 }, .name = "image" };
        struct source image;
        int r;

        if (!parse_options(&o, argc, argv)) {
                fputs(usage, stderr);
                return 2;
        }
        if (!is_open(IMAGE_FD) || (!o.request.list && (!is_open(KERNEL_FD) || !is_open(INITRD_FD)))) {
                fputs("descriptors 3 (image), 4 (for the kernel) and 5 (for the initrd) must be open\n", stderr);
                return 2;
        }
        if (sandbox_end_with_caller() < 0)
                return 1;
        r = source_open(&image, IMAGE_FD);
        if (r < 0) {
                say(o.name, strerror(-r));
                return 1;
        }
        o.sandbox.socket = image.nbd;
        r = sandbox_enter(&o.sandbox) < 0 ? 1 : run(&o, &image);
        source_close(&image);
        return r;
}
