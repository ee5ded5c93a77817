/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirt-driver/errors.h"

#include <libvirt/virterror.h>

#include "base/macros.h"

/* words: what libvirt puts before the message; libvirt-driver's own errors of kind RPC and SYSTEM stand
 * alone. */
struct error_row {
        int code, domain;
        const char *words;
};

static const struct error_row rows[] = {
        [DOMUS_ERROR_INTERNAL] = { VIR_ERR_INTERNAL_ERROR, VIR_FROM_DOMAIN, "internal error: %s" },
        [DOMUS_ERROR_NO_MEMORY] = { VIR_ERR_NO_MEMORY, VIR_FROM_NONE, "out of memory: %s" },
        [DOMUS_ERROR_NO_SUPPORT] = { VIR_ERR_NO_SUPPORT, VIR_FROM_NONE,
                "this function is not supported by the connection driver: %s" },
        [DOMUS_ERROR_INVALID_ARG] = { VIR_ERR_INVALID_ARG, VIR_FROM_DOMAIN, "invalid argument: %s" },
        [DOMUS_ERROR_XML] = { VIR_ERR_XML_ERROR, VIR_FROM_DOMAIN, "XML error: %s" },
        [DOMUS_ERROR_XML_INVALID] = { VIR_ERR_XML_INVALID_SCHEMA, VIR_FROM_XML,
                "XML document failed to validate against schema: %s" },
        [DOMUS_ERROR_CONFIG_UNSUPPORTED] = { VIR_ERR_CONFIG_UNSUPPORTED, VIR_FROM_DOMAIN, "unsupported configuration: %s" },
        [DOMUS_ERROR_NO_DOMAIN] = { VIR_ERR_NO_DOMAIN, VIR_FROM_DOMAIN, "Domain not found: %s" },
        [DOMUS_ERROR_DOM_EXIST] = { VIR_ERR_DOM_EXIST, VIR_FROM_DOMAIN, "this domain exists already: %s" },
        [DOMUS_ERROR_OPERATION_INVALID] = { VIR_ERR_OPERATION_INVALID, VIR_FROM_DOMAIN, "Requested operation is not valid: %s" },
        [DOMUS_ERROR_OPERATION_FAILED] = { VIR_ERR_OPERATION_FAILED, VIR_FROM_DOMAIN, "operation failed: %s" },
        [DOMUS_ERROR_OPERATION_DENIED] = { VIR_ERR_OPERATION_DENIED, VIR_FROM_NONE, "operation forbidden: %s" },
        [DOMUS_ERROR_OPERATION_UNSUPPORTED] = { VIR_ERR_OPERATION_UNSUPPORTED, VIR_FROM_DOMAIN, "Operation not supported: %s" },
        [DOMUS_ERROR_ARGUMENT_UNSUPPORTED] = { VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_FROM_DOMAIN, "argument unsupported: %s" },
        [DOMUS_ERROR_OPERATION_TIMEOUT] = { VIR_ERR_OPERATION_TIMEOUT, VIR_FROM_DOMAIN, "Timed out during operation: %s" },
        [DOMUS_ERROR_OPERATION_ABORTED] = { VIR_ERR_OPERATION_ABORTED, VIR_FROM_DOMAIN, "operation aborted: %s" },
        [DOMUS_ERROR_NO_METADATA] = { VIR_ERR_NO_DOMAIN_METADATA, VIR_FROM_DOMAIN, "metadata not found: %s" },
        [DOMUS_ERROR_NO_KERNEL] = { VIR_ERR_NO_KERNEL, VIR_FROM_DOMAIN, "missing kernel information: %s" },
        [DOMUS_ERROR_SYSTEM] = { VIR_ERR_SYSTEM_ERROR, VIR_FROM_DOMAIN, "%s" },
        [DOMUS_ERROR_NO_NETWORK] = { VIR_ERR_NO_NETWORK, VIR_FROM_NETWORK, "Network not found: %s" },
        [DOMUS_ERROR_NO_NETWORK_METADATA] = { VIR_ERR_NO_DOMAIN_METADATA, VIR_FROM_NETWORK, "metadata not found: %s" },
        [DOMUS_ERROR_NO_NETWORK_PORT] = { VIR_ERR_NO_NETWORK_PORT, VIR_FROM_NETWORK, "network port not found: %s" },
        [DOMUS_ERROR_NO_STORAGE_POOL] = { VIR_ERR_NO_STORAGE_POOL, VIR_FROM_STORAGE, "Storage pool not found: %s" },
        [DOMUS_ERROR_NO_STORAGE_VOL] = { VIR_ERR_NO_STORAGE_VOL, VIR_FROM_STORAGE, "Storage volume not found: %s" },
        [DOMUS_ERROR_STORAGE_VOL_EXIST] = { VIR_ERR_STORAGE_VOL_EXIST, VIR_FROM_STORAGE, "storage volume exists already: %s" },
        [DOMUS_ERROR_STORAGE_POOL_BUILT] = { VIR_ERR_STORAGE_POOL_BUILT, VIR_FROM_STORAGE, "Storage pool already built: %s" },
        [DOMUS_ERROR_NO_NODE_DEVICE] = { VIR_ERR_NO_NODE_DEVICE, VIR_FROM_NODEDEV, "Node device not found: %s" },
        [DOMUS_ERROR_NO_INTERFACE] = { VIR_ERR_NO_INTERFACE, VIR_FROM_INTERFACE, "Interface not found: %s" },
        [DOMUS_ERROR_NO_SECRET] = { VIR_ERR_NO_SECRET, VIR_FROM_SECRET, "Secret not found: %s" },
        /* Clients add 4 to this number unless the error domain is the filters' own. */
        [DOMUS_ERROR_NO_NWFILTER] = { VIR_ERR_NO_NWFILTER, VIR_FROM_NWFILTER, "Network filter not found: %s" },
        [DOMUS_ERROR_NO_SNAPSHOT] = { VIR_ERR_NO_DOMAIN_SNAPSHOT, VIR_FROM_DOMAIN_SNAPSHOT, "Domain snapshot not found: %s" },
        [DOMUS_ERROR_AUTH_FAILED] = { VIR_ERR_AUTH_FAILED, VIR_FROM_AUTH, "authentication failed: %s" },
        [DOMUS_ERROR_RPC] = { VIR_ERR_RPC, VIR_FROM_RPC, "%s" },
        [DOMUS_ERROR_NO_CONNECT] = { VIR_ERR_NO_CONNECT, VIR_FROM_NONE, "no connection driver available for %s" },
        [DOMUS_ERROR_INVALID_CONN] = { VIR_ERR_INVALID_CONN, VIR_FROM_NONE, "invalid connection pointer in %s" },
        [DOMUS_ERROR_INVALID_DOMAIN] = { VIR_ERR_INVALID_DOMAIN, VIR_FROM_DOMAIN, "invalid domain pointer in %s" },
        [DOMUS_ERROR_INVALID_STREAM] = { VIR_ERR_INVALID_STREAM, VIR_FROM_STREAMS, "invalid stream pointer: %s" },
        [DOMUS_ERROR_ACCESS_DENIED] = { VIR_ERR_ACCESS_DENIED, VIR_FROM_ACCESS, "access denied: %s" },
        [DOMUS_ERROR_NO_SOURCE] = { VIR_ERR_NO_SOURCE, VIR_FROM_DOMAIN, "missing source information: %s" },
        [DOMUS_ERROR_DEVICE_MISSING] = { VIR_ERR_DEVICE_MISSING, VIR_FROM_DOMAIN, "device not found: %s" },
        [DOMUS_ERROR_AGENT_UNRESPONSIVE] = { VIR_ERR_AGENT_UNRESPONSIVE, VIR_FROM_DOMAIN, "Guest agent is not responding: %s" },
};

static const struct error_row *find_row(const GError *error)
{
        if (error->domain == DOMUS_ERROR && error->code >= 0 && (size_t)error->code < ARRAY_SIZE(rows) &&
            rows[error->code].words)
                return &rows[error->code];
        return &rows[DOMUS_ERROR_INTERNAL];
}

static char *full_message(struct arena *arena, const char *words, const char *detail)
{
        g_auto(GStrv) parts = g_strsplit(words, "%s", 2);

        return arena_take(arena, g_strconcat(parts[0], detail, parts[1], NULL));
}

void error_to_wire(const GError *error, struct arena *arena, struct remote_error *ret)
{
        const struct error_row *row = find_row(error);
        /* A message may come from anywhere; the wire has a limit and wants UTF-8. */
        char *detail = arena_take(arena, g_utf8_make_valid(error->message, (gssize)strnlen(error->message, 64 << 10)));

        *ret = (struct remote_error){
                .code = row->code,
                .domain = row->domain,
                .level = VIR_ERR_ERROR,
                .message = full_message(arena, row->words, detail),
                .str1 = row->words,
                .str2 = detail,
                .int1 = -1,
                .int2 = -1,
        };
}
