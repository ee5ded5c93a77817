/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/error.h"

G_DEFINE_QUARK(domus-error-quark, domus_error)
