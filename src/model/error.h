/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The one GError domain of model and above. libvirt-driver/errors.c maps the codes to VIR_ERR numbers; nobody else knows those.
 *
 * A message says what is wrong and nothing else: the generic words that libvirt puts before it ("unsupported configuration: ", "XML error: ",
 * "Requested operation is not valid: ") belong to the code and are added by libvirt-driver/errors.c. */

#include <glib.h>

#define DOMUS_ERROR (domus_error_quark())
GQuark domus_error_quark(void);

typedef enum {
        DOMUS_ERROR_INTERNAL,          /* VIR_ERR_INTERNAL_ERROR */
        DOMUS_ERROR_NO_MEMORY,
        DOMUS_ERROR_NO_SUPPORT,        /* the procedure is not implemented */
        DOMUS_ERROR_INVALID_ARG,
        DOMUS_ERROR_XML,               /* not well-formed: VIR_ERR_XML_ERROR / VIR_ERR_XML_DETAIL */
        DOMUS_ERROR_XML_INVALID,       /* fails the schema (define --validate) */
        DOMUS_ERROR_CONFIG_UNSUPPORTED,/* well-formed libvirt XML, but not supported here; the message names the element */
        DOMUS_ERROR_NO_DOMAIN,
        DOMUS_ERROR_DOM_EXIST,
        DOMUS_ERROR_OPERATION_INVALID, /* wrong state: "domain is not running" */
        DOMUS_ERROR_OPERATION_FAILED,
        DOMUS_ERROR_OPERATION_DENIED,  /* read-only connection */
        DOMUS_ERROR_OPERATION_UNSUPPORTED,
        DOMUS_ERROR_OPERATION_TIMEOUT,
        DOMUS_ERROR_OPERATION_ABORTED,
        DOMUS_ERROR_NO_METADATA,       /* VIR_ERR_NO_DOMAIN_METADATA */
        DOMUS_ERROR_NO_KERNEL,         /* VIR_ERR_NO_KERNEL */
        DOMUS_ERROR_SYSTEM,            /* a system call failed; the message ends in strerror */
        DOMUS_ERROR_NO_NETWORK, DOMUS_ERROR_NO_STORAGE_POOL, DOMUS_ERROR_NO_STORAGE_VOL, DOMUS_ERROR_NO_NODE_DEVICE,
        DOMUS_ERROR_NO_NETWORK_METADATA, DOMUS_ERROR_NO_NETWORK_PORT,
        DOMUS_ERROR_NO_INTERFACE, DOMUS_ERROR_NO_SECRET, DOMUS_ERROR_NO_NWFILTER, DOMUS_ERROR_NO_SNAPSHOT,
        DOMUS_ERROR_AUTH_FAILED, DOMUS_ERROR_RPC, DOMUS_ERROR_NO_CONNECT, DOMUS_ERROR_INVALID_CONN, DOMUS_ERROR_INVALID_DOMAIN,
        DOMUS_ERROR_INVALID_STREAM, DOMUS_ERROR_ACCESS_DENIED, DOMUS_ERROR_NO_SOURCE, DOMUS_ERROR_ARGUMENT_UNSUPPORTED,
        DOMUS_ERROR_DEVICE_MISSING,    /* VIR_ERR_DEVICE_MISSING */
        DOMUS_ERROR_AGENT_UNRESPONSIVE,
        DOMUS_ERROR_STORAGE_VOL_EXIST, DOMUS_ERROR_STORAGE_POOL_BUILT,
} DomusError;
