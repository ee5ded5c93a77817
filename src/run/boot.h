/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

/* True for the first call after each boot, and after each start of a container, whose /run may survive that; marker is the file that remembers.
 * False, after logging why, where it cannot be written. */
bool domus_first_of_boot(const char *marker);
