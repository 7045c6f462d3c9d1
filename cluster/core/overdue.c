/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core_p.h"

/*
 * What has been on its way to a node for long: the host is asked to keep it as well.
 *
 * What counts is that nothing at all is confirmed for a while, and not how long one message takes:
 * a node that has fallen behind confirms one thing after the other, lives, and is waited for.  It
 * costs those nothing who are prompt: one time for each channel, no timer and no look at messages.
 *
 * A node that turns out to be slow and not dead has twice the time from then on, up to eight times,
 * until it has not been asked about for a minute.  So a disk that takes longer than timing.overdue
 * for each commit does not make all that goes there be written twice.
 */

#define BACKOFF_MAX 3U

/* So long after it was last asked about, a node has no more time than others [ms]. */
#define BACKOFF_MS 60000U

/* The pause when the host did not want to be asked [ms]. */
#define PAUSE_MS 10U

static bool is_overdue(const gv_ccore_t *core, const gv_channel_out_t *out)
{
    const gv_overdue_t *overdue = &out->overdue;
    uint64_t quiet_ms = gv__since(core, overdue->quiet_ms);
    if (out->applied == out->seq || quiet_ms <= core->timing.overdue || core->timing.overdue == 0 ||
        core->now_ms < overdue->pause_until_ms) {
        return false;
    }
    bool is_forgiven = gv__since(core, overdue->asked_ms) > BACKOFF_MS;
    return is_forgiven || quiet_ms > (uint64_t)core->timing.overdue << overdue->backoff;
}

static gv_forward_item_t *first_to_ask(const gv_ccore_t *core, const gv_channel_out_t *out)
{
    gv_forward_item_t *last = core->switches.asks_twice ? NULL : out->overdue.last;
    gv_link_t *link =
        last == NULL ? gv_list_first(&out->items) : gv_list_next(&out->items, &last->_link);
    return link == NULL ? NULL : gv_container_of(link, gv_forward_item_t, _link);
}

static void ask_about_next(gv_ccore_t *core, gv_member_t *m)
{
    gv_overdue_t *overdue = &m->out.overdue;
    gv_forward_item_t *item = first_to_ask(core, &m->out);
    if (gv__since(core, overdue->asked_ms) > BACKOFF_MS) {
        overdue->backoff = 0;
    }
    while (item != NULL && overdue->bytes < core->limits.overdue_bytes) {
        gv_link_t *next = gv_list_next(&m->out.items, &item->_link);
        if (item->seq != 0) {
            gv_forward_t msg = gv__forward_message(core, item->body, item->expires_ms);
            if (!core->ports.overdue(&item->token, m->index, &msg, core->ports.arg)) {
                overdue->pause_until_ms = core->now_ms + PAUSE_MS;
                return;
            }
            item->is_overdue = true;
            overdue->last = item;
            overdue->bytes += gv__forward_cost(core, item->body);
            overdue->asked_ms = core->now_ms;
            overdue->is_quiet = true;
            core->stats.forwards_overdue++;
        }
        item = next == NULL ? NULL : gv_container_of(next, gv_forward_item_t, _link);
    }
}

void gv__overdue_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (is_overdue(core, &m->out)) {
            ask_about_next(core, m);
        }
    }
}

void gv__overdue_progress(const gv_ccore_t *core, gv_channel_out_t *out)
{
    gv_overdue_t *overdue = &out->overdue;
    if (overdue->is_quiet && overdue->backoff < BACKOFF_MAX) {
        overdue->backoff++;
    }
    overdue->is_quiet = false;
    overdue->quiet_ms = core->now_ms;
}

void gv__overdue_forgive_silence(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        m->out.overdue.quiet_ms = core->now_ms;
    }
}
