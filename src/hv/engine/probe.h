/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Is KVM real here? KVM counts only if a short 64-bit loop runs at hardware speed: a host can offer a /dev/kvm that
 * emulates instruction by instruction, or none at all. */

#include <stdbool.h>
#include <stddef.h>

struct engine_probe {
        bool kvm;          /* use it */
        char reason[160];  /* one line, for the log: what was measured or what failed */
};

/* kvm_fd: an open /dev/kvm, or negative errno from opening it. Takes milliseconds where KVM is real; never blocks for longer than 150 ms. */
void engine_probe_kvm(int kvm_fd, struct engine_probe *ret);
