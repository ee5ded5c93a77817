/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the handlers for networks and for their ports share. */

#include "libvirt-driver/call.h"
#include "net/networks.h"

DomusNetworks *call_networks(struct call *call);
/* Borrowed; NULL after answering the call with the error. */
DomusNetwork *call_network(struct call *call, const struct remote_network *net);
/* The name lives in the call's arena. */
void call_put_network(struct call *call, struct remote_network *ret, const DomusNetwork *net);
