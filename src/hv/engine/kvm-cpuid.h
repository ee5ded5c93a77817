/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Which of the CPUID leaves that KVM supports a guest gets (Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E). */

#include <stdbool.h>

#include "hv/x86/cpuid.h"

/* Clears what struct x86_state has no place for; false: the whole leaf goes. */
bool kvm_cpuid_filter(struct cpuid_entry *e);
