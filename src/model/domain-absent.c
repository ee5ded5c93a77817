/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Elements that may say that a device is not there, and nothing else: without the value it would mean one that does not exist. */

#include <string.h>

#include "model/domain-device-private.h"

static const struct element_rule audio_rules[] = { RULE_ALIAS, {} };
static const struct element_rule audio_rule = { "audio", 0, RULE_ATTRS{ { "id", "1" }, { "type", "none" }, {} }, audio_rules };

static const struct element_rule video_rules[] = { { "model", 0, RULE_ATTRS{ { "type", "none" }, {} } }, RULE_ALIAS, {} };
static const struct element_rule video_rule = { "video", 0, NULL, video_rules };

static bool require_none(DomusDevice *d, xmlNode *node, const char *attr, GError **error)
{
        g_autofree char *value = xml_attr(node, attr);

        d->kind = DOMUS_DEVICE_NONE;
        if (value)
                return true;
        return xml_fail(error, DOMUS_ERROR_CONFIG_UNSUPPORTED, "element <%s> (line %ld) is supported only with %s='none'",
                        d->node->name, xmlGetLineNo(d->node), attr);
}

static bool parse_audio(DomusDevice *d, GError **error)
{
        return require_none(d, d->node, "type", error);
}

static bool parse_video(DomusDevice *d, GError **error)
{
        return require_none(d, xml_child(d->node, "model"), "type", error);
}

static char *alias_audio(const DomusDevice *d, unsigned n)
{
        return g_strdup("audio1");
}

static char *alias_video(const DomusDevice *d, unsigned n)
{
        return g_strdup_printf("video%u", n);
}

const struct device_kind domain_audio_kind = { &audio_rule, DOMUS_DEVICE_NONE, parse_audio, NULL, alias_audio, NULL, NULL };
const struct device_kind domain_video_kind = { &video_rule, DOMUS_DEVICE_NONE, parse_video, NULL, alias_video, NULL, NULL };
