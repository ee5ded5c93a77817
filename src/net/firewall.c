/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/firewall.h"

#include <nftables/libnftables.h>

#include "model/error.h"

void firewall_rules_init(FirewallRules *r)
{
        r->cross = g_string_new(NULL);
        r->in = g_string_new(NULL);
        r->out = g_string_new(NULL);
        r->prerouting = g_string_new(NULL);
        r->output = g_string_new(NULL);
        r->postrouting = g_string_new(NULL);
}

void firewall_rules_clear(FirewallRules *r)
{
        GString *const all[] = { r->cross, r->in, r->out, r->prerouting, r->output, r->postrouting };

        for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
                g_string_free(all[i], TRUE);
}

static bool run(const char *commands, GError **error)
{
        struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
        g_autofree char *said = NULL;
        bool ok;

        if (!ctx) {
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "cannot use nftables");
                return false;
        }
        nft_ctx_buffer_output(ctx);
        nft_ctx_buffer_error(ctx);
        ok = nft_run_cmd_from_buffer(ctx, commands) == 0;
        if (!ok) {
                said = g_strdelimit(g_strstrip(g_strdup(nft_ctx_get_error_buffer(ctx))), "\n", ' ');
                g_set_error(error, DOMUS_ERROR, DOMUS_ERROR_OPERATION_FAILED, "cannot set up the firewall: %s", *said ? said : "nftables failed");
        }
        nft_ctx_free(ctx);
        return ok;
}

/* Adding what may be there, then deleting it, is how to say "delete if there is one". */
#define REMOVE "add table inet domus\ndelete table inet domus\n"

static void put_nat(GString *text, const char *hook, const char *priority, const GString *rules)
{
        if (rules->len)
                g_string_append_printf(text, "chain %s { type nat hook %s priority %s; policy accept;\n%s}\n", hook, hook, priority, rules->str);
}

bool firewall_apply(const FirewallRules *r, GError **error)
{
        g_autoptr(GString) text = g_string_new(REMOVE);

        if (r) {
                g_string_append_printf(text,
                        "table inet domus {\n"
                        "chain cross {\n%s}\n"
                        "chain in {\n%s}\n"
                        "chain out {\n%s}\n"
                        "chain forward { type filter hook forward priority filter; policy accept;\n"
                        "jump cross\njump in\njump out\n}\n",
                        r->cross->str, r->in->str, r->out->str);
                put_nat(text, "prerouting", "dstnat", r->prerouting);
                put_nat(text, "output", "-100", r->output);
                put_nat(text, "postrouting", "srcnat", r->postrouting);
                g_string_append(text, "}\n");
        }
        return run(text->str, error);
}
