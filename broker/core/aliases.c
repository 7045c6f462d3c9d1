/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "broker/core/aliases.h"

#include "base/alloc.h"

enum {
    WAYS = 8, /* numbers in a set */
    MISSES_PER_CHANGE = 8,
};

typedef struct topic {
    uint32_t size;
    bool was_sent; /* by its number, since the set last looked for one to take away */
    uint8_t text[];
} topic_t;

/* Eight numbers of ours; fewer if the client takes fewer than eight in all. */
typedef struct alias_set {
    uint64_t hashes[WAYS];
    topic_t *topics[WAYS]; /* NULL: free */
    uint8_t next;          /* where the search for a number to take away goes on */
    uint8_t misses;        /* new topics since the last change, when all are taken */
} alias_set_t;

struct gv_aliases {
    topic_t **learned; /* by number - 1 */
    alias_set_t *sets;
    uint64_t learned_bytes; /* topics */
    uint64_t sent_bytes;
    uint16_t learned_count; /* length of the table */
    uint16_t set_count;
    uint8_t ways;
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* Memory of `size` for the connection's own count, or NULL. */
static void *take(const gv_alias_budget_t *budget, uint64_t total_max, size_t size)
{
    if (gv_counter_get(budget->used) + size > total_max) {
        return NULL;
    }
    void *memory = gv_try_alloc(size);
    if (memory != NULL) {
        gv_counter_add(budget->used, size);
    }
    return memory;
}

static void give_back(const gv_alias_budget_t *budget, void *memory, size_t size)
{
    if (memory != NULL) {
        gv_counter_sub(budget->used, size);
        gv_free(memory);
    }
}

static bool begin(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget, uint64_t total_max)
{
    if (*aliasesp == NULL) {
        *aliasesp = take(budget, total_max, sizeof(**aliasesp));
        if (*aliasesp != NULL) {
            **aliasesp = (gv_aliases_t){0};
        }
    }
    return *aliasesp != NULL;
}

/* A topic that counts in *bytes, or NULL. */
static topic_t *topic_new(const gv_alias_budget_t *budget, uint64_t total_max, uint64_t *bytes,
                          gv_bytes_t text)
{
    if (*bytes + text.size > budget->connection_max) {
        return NULL;
    }
    topic_t *topic = take(budget, total_max, sizeof(*topic) + text.size);
    if (topic != NULL) {
        *topic = (topic_t){.size = (uint32_t)text.size};
        memcpy(topic->text, text.data, text.size);
        *bytes += text.size;
    }
    return topic;
}

static void topic_free(topic_t **topicp, const gv_alias_budget_t *budget, uint64_t *bytes)
{
    topic_t *topic = *topicp;
    *topicp = NULL;
    if (topic != NULL) {
        *bytes -= topic->size;
        give_back(budget, topic, sizeof(*topic) + topic->size);
    }
}

void gv_aliases_free(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget)
{
    gv_aliases_t *aliases = *aliasesp;
    *aliasesp = NULL;
    if (aliases == NULL) {
        return;
    }
    for (uint32_t i = 0; i < aliases->learned_count; i++) {
        topic_free(&aliases->learned[i], budget, &aliases->learned_bytes);
    }
    for (uint32_t i = 0; i < aliases->set_count; i++) {
        for (uint32_t way = 0; way < WAYS; way++) {
            topic_free(&aliases->sets[i].topics[way], budget, &aliases->sent_bytes);
        }
    }
    give_back(budget, aliases->learned, aliases->learned_count * sizeof(*aliases->learned));
    give_back(budget, aliases->sets, aliases->set_count * sizeof(*aliases->sets));
    give_back(budget, aliases, sizeof(*aliases));
}

/* ---- what the client sends ------------------------------------------------------------------- */

/* Makes the table long enough for the number. */
static bool make_room(gv_aliases_t *aliases, const gv_alias_budget_t *budget, uint16_t number,
                      uint16_t number_max)
{
    if (number <= aliases->learned_count) {
        return true;
    }
    uint32_t count = 8;
    while (count < number) {
        count *= 2;
    }
    count = count < number_max ? count : number_max;
    topic_t **learned = take(budget, budget->total_max, count * sizeof(*learned));
    if (learned == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        learned[i] = i < aliases->learned_count ? aliases->learned[i] : NULL;
    }
    give_back(budget, aliases->learned, aliases->learned_count * sizeof(*learned));
    aliases->learned = learned;
    aliases->learned_count = (uint16_t)count;
    return true;
}

gv_err_t gv_aliases_learn(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget, uint16_t number,
                          uint16_t number_max, gv_bytes_t topic)
{
    GV_ASSERT(number > 0);
    GV_ASSERT(number <= number_max);
    if (!begin(aliasesp, budget, budget->total_max) ||
        !make_room(*aliasesp, budget, number, number_max)) {
        return GV_ERR_LIMIT;
    }
    gv_aliases_t *aliases = *aliasesp;
    topic_t **place = &aliases->learned[number - 1];
    topic_free(place, budget, &aliases->learned_bytes);
    *place = topic_new(budget, budget->total_max, &aliases->learned_bytes, topic);
    return *place == NULL ? GV_ERR_LIMIT : GV_OK;
}

gv_bytes_t gv_aliases_topic(const gv_aliases_t *aliases, uint16_t number)
{
    if (aliases == NULL || number == 0 || number > aliases->learned_count ||
        aliases->learned[number - 1] == NULL) {
        return GV_BYTES_EMPTY;
    }
    const topic_t *topic = aliases->learned[number - 1];
    return gv_bytes(topic->text, topic->size);
}

/* ---- what we send ---------------------------------------------------------------------------- */

static bool make_sets(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget, uint16_t number_max)
{
    if (!begin(aliasesp, budget, budget->total_max / 2)) {
        return false;
    }
    gv_aliases_t *aliases = *aliasesp;
    if (aliases->sets != NULL) {
        return true;
    }
    uint16_t set_count = number_max < WAYS ? 1 : (uint16_t)(number_max / WAYS);
    alias_set_t *sets = take(budget, budget->total_max / 2, set_count * sizeof(*sets));
    if (sets == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < set_count; i++) {
        sets[i] = (alias_set_t){.next = 0};
    }
    aliases->sets = sets;
    aliases->set_count = set_count;
    aliases->ways = number_max < WAYS ? (uint8_t)number_max : WAYS;
    return true;
}

/* Whose number a new topic gets; `ways` when it is not to get any. */
static uint32_t way_for_new(alias_set_t *set, uint32_t ways)
{
    for (uint32_t way = 0; way < ways; way++) {
        if (set->topics[way] == NULL) {
            return way;
        }
    }
    if (++set->misses < MISSES_PER_CHANGE) {
        return ways;
    }
    set->misses = 0;
    for (;;) { /* twice round at most */
        uint32_t way = set->next;
        set->next = (uint8_t)((way + 1) % ways);
        if (!set->topics[way]->was_sent) {
            return way;
        }
        set->topics[way]->was_sent = false;
    }
}

gv_alias_choice_t gv_aliases_choose(gv_aliases_t **aliasesp, const gv_alias_budget_t *budget,
                                    uint16_t number_max, gv_bytes_t topic, uint64_t hash)
{
    gv_alias_choice_t none = {.number = 0};
    if (topic.size < GV_ALIAS_TOPIC_SIZE_MIN || number_max == 0 ||
        !make_sets(aliasesp, budget, number_max)) {
        return none;
    }
    gv_aliases_t *aliases = *aliasesp;
    uint32_t ways = aliases->ways;
    uint32_t index = (uint32_t)(hash % aliases->set_count);
    alias_set_t *set = &aliases->sets[index];
    for (uint32_t way = 0; way < ways; way++) {
        topic_t *known = set->topics[way];
        if (set->hashes[way] == hash && known != NULL &&
            gv_bytes_equal(gv_bytes(known->text, known->size), topic)) {
            known->was_sent = true;
            return (gv_alias_choice_t){.number = (uint16_t)(index * WAYS + way + 1)};
        }
    }
    if (aliases->sent_bytes + topic.size > budget->connection_max ||
        gv_counter_get(budget->used) + sizeof(topic_t) + topic.size > budget->total_max / 2) {
        return none;
    }
    uint32_t way = way_for_new(set, ways);
    if (way == ways) {
        return none;
    }
    return (gv_alias_choice_t){.number = (uint16_t)(index * WAYS + way + 1), .is_new = true};
}

void gv_aliases_introduce(gv_aliases_t *aliases, const gv_alias_budget_t *budget,
                          gv_alias_choice_t choice, gv_bytes_t topic, uint64_t hash)
{
    GV_ASSERT(choice.is_new);
    GV_ASSERT(choice.number > 0);
    uint32_t place = choice.number - 1U;
    GV_ASSERT(place / WAYS < aliases->set_count);
    alias_set_t *set = &aliases->sets[place / WAYS];
    topic_t **known = &set->topics[place % WAYS];
    /* Without memory for the new one the number is free: the old meaning is over for the client. */
    topic_free(known, budget, &aliases->sent_bytes);
    *known = topic_new(budget, budget->total_max / 2, &aliases->sent_bytes, topic);
    set->hashes[place % WAYS] = hash;
}
