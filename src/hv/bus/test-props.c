/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "hv/bus/check.h"
#include "hv/bus/props.h"

static void test_values(void)
{
        struct props props = { 0 };
        const struct prop_entry entries[] = { { (char *)"read-iops-sec", 5 } }, *table;
        const char *text = "default";
        unsigned number = 7;
        bool flag = false;
        size_t n = 0;

        CHECK(props_add_string(&props, "serial", "S1") == 0);
        CHECK(props_add_string(&props, "serial", "S2") == -EEXIST);
        CHECK(props_add_number(&props, "queues", 300) == 0);
        CHECK(props_add_bool(&props, "readonly", true) == 0);
        CHECK(props_add_table(&props, "iotune", entries, 1) == 0);
        CHECK(props_take_string(&props, "cache", &text) == -ENOENT && strcmp(text, "default") == 0);
        CHECK(props_take_string(&props, "serial", &text) == 0 && strcmp(text, "S1") == 0);
        CHECK(props_take_unsigned(&props, "queues", 16, &number) == -EINVAL && number == 7);
        CHECK(props_take_unsigned(&props, "queues", 300, &number) == 0 && number == 300);
        CHECK(props_take_bool(&props, "serial", &flag) == -EINVAL);
        CHECK(strcmp(props_left(&props), "readonly") == 0);
        CHECK(props_take_bool(&props, "readonly", &flag) == 0 && flag);
        CHECK(props_take_table(&props, "iotune", &table, &n) == 0 && n == 1 && table[0].value == 5);
        CHECK(!props_left(&props));
        props_finish(&props);
        CHECK(props.n == 0);
}

static void test_descriptors(void)
{
        struct props props = { 0 };
        int ends[2], taken = -1;
        char byte;

        CHECK(pipe(ends) == 0);
        CHECK(props_add_fds(&props, "fd", &ends[0], 1) == 0);
        CHECK(props_add_fds(&props, "other", &ends[1], 1) == 0);
        CHECK(props_take_fd(&props, "fd", &taken) == 0 && taken == ends[0]);
        props_finish(&props);
        /* What was not taken is closed: the pipe has no writer. */
        CHECK(read(taken, &byte, 1) == 0);
        fd_close(taken);
}

int main(void)
{
        test_values();
        test_descriptors();
        return 0;
}
