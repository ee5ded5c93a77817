/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The state of one of KVM's vCPUs, and its ioctls as such (Documentation/virt/kvm/api.rst). fd is the vCPU's, or what the request is for. */

#include <stdint.h>

#include "hv/x86/state.h"

#define KVM_MSR_TSC 0x10u
#define KVM_MSR_TSC_DEADLINE 0x6e0u

/* Not interrupted by signals. Returns what KVM returns, or a negative errno. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_ioctl_value(int fd, unsigned long request, unsigned long arg);

/* 1: done; 0: KVM does not have the MSR, and *ret is 0; or a negative errno. */
int kvm_get_msr(int fd, uint32_t number, uint64_t *ret);
int kvm_set_msr(int fd, uint32_t number, uint64_t value);

/* While the vCPU does not run. 0 or a negative errno; *ret_what names what was to be set when it failed. */
int kvm_get_state(int fd, struct x86_state *s);
int kvm_set_state(int fd, const struct x86_state *s, const char **ret_what);
