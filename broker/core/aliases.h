/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_aliases: the topic aliases of one connection, both ways (MQTT 5, section 3.3.2.3.4).
 *
 * What the client sends: it names the number and gets told when it is too large; we remember.
 *
 * What we send: how many numbers there are says the client, which topics get one we choose.  A
 * topic is introduced (topic and number in one PUBLISH) and from then on left out:
 *
 *     gv_alias_choice_t alias = gv_aliases_choose(...);     nothing has changed yet
 *     ... the PUBLISH goes into the output: alias.number, the topic only if alias.is_new ...
 *     if (alias.is_new) gv_aliases_introduce(...);          now the client knows, and so do we
 *
 * Numbers stand in sets of eight; the topic's hash says which set it may have a number of.  While
 * the set has a free number, a new topic gets it.  When it has none, every eighth new topic
 * replaces one that was not sent for a while: one that comes often will be it sooner or later, and
 * a thousand that come in turn cost next to nothing.
 *
 * Life: NULL until the first alias, freed with the connection; so nothing outlives it
 * [MQTT-3.3.2-7], and what is sent again on a new connection is sent with its topic.
 *
 * Memory: topics and tables count against a budget that many connections share.  Our own aliases
 * take no more than half of it: they save bytes, the client's are a promise.
 *
 * Threads: the shard's.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/stats.h"

typedef struct gv_aliases gv_aliases_t;

typedef struct gv_alias_budget {
    uint64_t connection_max; /* topics of one connection, each way [bytes] */
    uint64_t total_max;      /* topics and tables of all who share it [bytes] */
    gv_counter_t *used;      /* gauge [bytes] */
} gv_alias_budget_t;

/* Shorter topics are not worth a number. */
#define GV_ALIAS_TOPIC_SIZE_MIN 8U

/* Gives everything back and sets *aliasesp to NULL; NULL is allowed. */
void gv_aliases_free(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget);

/* ---- what the client sends ------------------------------------------------------------------- */

/*
 * From now on the number means that topic, which is copied.  1 <= number <= number_max.
 * GV_ERR_LIMIT: over the budget, or no memory; the number means nothing then.
 */
GV_MUST_USE gv_err_t gv_aliases_learn(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget,
                                      uint16_t number, uint16_t number_max, gv_bytes_t topic);

/* What the number means, valid until it means something else; empty: nothing. */
gv_bytes_t gv_aliases_topic(const gv_aliases_t *aliases, uint16_t number);

/* ---- what we send ---------------------------------------------------------------------------- */

typedef struct gv_alias_choice {
    uint16_t number; /* 0: send the topic without */
    bool is_new;     /* the client does not know it yet */
} gv_alias_choice_t;

/* The number for a topic that is about to be sent; `hash` is of the topic. */
gv_alias_choice_t gv_aliases_choose(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget,
                                    uint16_t number_max, gv_bytes_t topic, uint64_t hash);

/* A choice that is new has been sent with its topic. */
void gv_aliases_introduce(gv_aliases_t *aliases, const gv_alias_budget_t *budget,
                          gv_alias_choice_t choice, gv_bytes_t topic, uint64_t hash);
