/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdint.h>

/* The host's TSC frequency in kHz, measured against CLOCK_MONOTONIC_RAW to a few ppm; takes about 20 ms. */
uint64_t tsc_host_khz(void);
