/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_p.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

/*
 * A map of this file: texts into numbers - what each type expects, in words - setting one value per
 * type - lists - comparing, copying, releasing.
 */

#define NAME_SIZE_MAX 63

/* Choices are set through an int. */
_Static_assert(sizeof(gv_log_level_t) == sizeof(int), "log.level");
_Static_assert(sizeof(gv_auth_anonymous_t) == sizeof(int), "auth.anonymous");
_Static_assert(sizeof(gv_queue_policy_t) == sizeof(int), "mqtt.queue_policy");
_Static_assert(sizeof(gv_storage_sync_t) == sizeof(int), "storage.sync");

typedef struct unit {
    const char *name;
    uint64_t factor;
} unit_t;

static const unit_t size_units[] = {
    {"B", 1},
    {"KiB", (uint64_t)1 << 10},
    {"MiB", (uint64_t)1 << 20},
    {"GiB", (uint64_t)1 << 30},
    {"TiB", (uint64_t)1 << 40},
    {NULL, 0},
};

static const unit_t duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

/* ---- texts into numbers ------------------------------------------------------------------- */

/* Digits up to something else, which *rest_out points to; false without digits or above 2^64. */
static bool parse_digits(const char *text, uint64_t *out, const char **rest_out)
{
    uint64_t value = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    *rest_out = p;
    return p != text;
}

/* A number and one of the units; a number alone counts `plain` each. */
static bool parse_with_unit(const char *text, const unit_t *units, uint64_t plain, uint64_t *out)
{
    const char *rest;
    uint64_t number;
    if (!parse_digits(text, &number, &rest)) {
        return false;
    }
    if (*rest == '\0') {
        return !__builtin_mul_overflow(number, plain, out);
    }
    for (const unit_t *unit = units; unit->name != NULL; unit++) {
        if (strcasecmp(unit->name, rest) == 0) {
            return !__builtin_mul_overflow(number, unit->factor, out);
        }
    }
    return false;
}

bool gv__config_parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

bool gv__config_parse_integer(const char *text, uint64_t *out)
{
    const char *rest;
    return parse_digits(text, out, &rest) && *rest == '\0';
}

bool gv__config_parse_size(const char *text, uint64_t *bytes_out)
{
    return parse_with_unit(text, size_units, 1, bytes_out);
}

bool gv__config_parse_duration(const char *text, uint64_t unit_ms, uint64_t *ms_out)
{
    return parse_with_unit(text, duration_units, unit_ms, ms_out);
}

/* ---- what is expected, in words ----------------------------------------------------------- */

/* In the largest unit that leaves a whole number. */
static void put_in_unit(gv_text_t *out, uint64_t value, const unit_t *units)
{
    const unit_t *best = units;
    for (const unit_t *unit = units; value != 0 && unit->name != NULL; unit++) {
        if (value % unit->factor == 0) {
            best = unit;
        }
    }
    gv_text_add(out, "%llu%s", (unsigned long long)(value / best->factor), best->name);
}

static void put_words(gv_text_t *out, const gv__config_choice_t *choices)
{
    for (size_t i = 0; choices[i].word != NULL; i++) {
        const char *before = i == 0 ? "" : choices[i + 1].word == NULL ? " or " : ", ";
        gv_text_add(out, "%s%s", before, choices[i].word);
    }
}

void gv__config_describe(const gv__config_row_t *row, gv_text_t *out)
{
    switch (row->type) {
    case GV__CONFIG_BOOL:
        gv_text_add(out, "true or false");
        return;
    case GV__CONFIG_INTEGER:
        gv_text_add(out, "a whole number from %llu to %llu", (unsigned long long)row->min,
                    (unsigned long long)row->max);
        return;
    case GV__CONFIG_SIZE:
        gv_text_add(out, "a size from ");
        put_in_unit(out, row->min, size_units);
        gv_text_add(out, " to ");
        put_in_unit(out, row->max, size_units);
        return;
    case GV__CONFIG_DURATION:
        gv_text_add(out, "a duration from ");
        put_in_unit(out, row->min, duration_units);
        gv_text_add(out, " to ");
        put_in_unit(out, row->max, duration_units);
        gv_text_add(out, " (a plain number is %s)", row->unit_ms == 1 ? "milliseconds" : "seconds");
        return;
    case GV__CONFIG_TEXT:
        gv_text_add(out, "a text");
        return;
    case GV__CONFIG_NAME:
        gv_text_add(out, "at most %d letters, digits and . _ - @", NAME_SIZE_MAX);
        return;
    case GV__CONFIG_CHOICE:
        put_words(out, row->choices);
        return;
    case GV__CONFIG_ADDRESS:
        gv_text_add(out, "HOST:PORT");
        return;
    case GV__CONFIG_ADDRESSES:
        gv_text_add(out, "a list of HOST:PORT");
        return;
    case GV__CONFIG_LISTENERS:
        gv_text_add(out, "a list of URLs like tcp://127.0.0.1:1883");
        return;
    case GV__CONFIG_USERS:
        gv_text_add(out, "{ NAME = \"SCRAM-SHA-256$...\" }");
        return;
    }
}

static char *refuse(const gv__config_row_t *row, const char *text, const char *problem)
{
    gv_text_t out = GV_TEXT_EMPTY;
    char printable[64];
    gv_text_add(&out, "'%s' %s; expected ",
                gv_bytes_printable(gv_bytes_text(text), printable, sizeof(printable)), problem);
    gv__config_describe(row, &out);
    return gv_text_take(&out);
}

/* ---- one value ---------------------------------------------------------------------------- */

void *gv__config_at(const gv__config_row_t *row, gv_config_t *config)
{
    return (char *)config + row->offset;
}

static const void *at_const(const gv__config_row_t *row, const gv_config_t *config)
{
    return (const char *)config + row->offset;
}

/* The two lists, as their members lie in gv_config_t. */
typedef struct address_list {
    gv_hostport_t *items;
    size_t count;
} address_list_t;

typedef struct listener_list {
    gv_listener_config_t *items;
    size_t count;
} listener_list_t;

static char *set_number(const gv__config_row_t *row, const char *text, uint64_t *out)
{
    uint64_t value = 0;
    bool good = row->type == GV__CONFIG_INTEGER ? gv__config_parse_integer(text, &value)
                : row->type == GV__CONFIG_SIZE
                    ? gv__config_parse_size(text, &value)
                    : gv__config_parse_duration(text, row->unit_ms, &value);
    if (!good) {
        /* -1 and 99999999999999999999 are numbers too, only none that we take. */
        bool number = text[0] != '\0' && strspn(text + (text[0] == '-'), "0123456789") ==
                                             strlen(text + (text[0] == '-'));
        return refuse(row, text,
                      number                            ? "is out of range"
                      : row->type == GV__CONFIG_INTEGER ? "is not a whole number"
                      : row->type == GV__CONFIG_SIZE    ? "is not a size (B, KiB, MiB, GiB, TiB)"
                                                        : "is not a duration (ms, s, m, h, d)");
    }
    if (value < row->min || value > row->max) {
        return refuse(row, text, "is out of range");
    }
    *out = value;
    return NULL;
}

static char *set_choice(const gv__config_row_t *row, const char *text, int *out)
{
    bool flag;
    /* A choice between true, false and more takes the other spellings of these as well. */
    const char *word = gv__config_parse_bool(text, &flag) ? (flag ? "true" : "false") : text;
    for (const gv__config_choice_t *choice = row->choices; choice->word != NULL; choice++) {
        if (strcmp(choice->word, text) == 0 || strcmp(choice->word, word) == 0) {
            *out = choice->value;
            return NULL;
        }
    }
    return refuse(row, text, "is none of its values");
}

static char *set_name(const gv__config_row_t *row, const char *text, char **out)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@";
    if (strlen(text) > NAME_SIZE_MAX || strspn(text, allowed) != strlen(text)) {
        return refuse(row, text, "is not a good name");
    }
    *out = gv_xstrdup(text);
    return NULL;
}

static char *set_address(const gv__config_row_t *row, const char *text, gv_hostport_t *out)
{
    if (text[0] != '\0' &&
        gv_hostport_parse(gv_bytes_text(text), row->port_default, out) != GV_OK) {
        return refuse(row, text, "is not an address");
    }
    return NULL;
}

static bool is_list(const gv__config_row_t *row)
{
    return row->type == GV__CONFIG_ADDRESSES || row->type == GV__CONFIG_LISTENERS;
}

static char *set_word(const gv__config_row_t *row, const char *text, gv_config_t *config)
{
    void *at = gv__config_at(row, config);
    switch (row->type) {
    case GV__CONFIG_BOOL:
        return gv__config_parse_bool(text, at) ? NULL : refuse(row, text, "is neither");
    case GV__CONFIG_INTEGER:
    case GV__CONFIG_SIZE:
    case GV__CONFIG_DURATION:
        return set_number(row, text, at);
    case GV__CONFIG_TEXT:
        *(char **)at = gv_xstrdup(text);
        return NULL;
    case GV__CONFIG_NAME:
        return set_name(row, text, at);
    case GV__CONFIG_CHOICE:
        return set_choice(row, text, at);
    case GV__CONFIG_ADDRESS:
        return set_address(row, text, at);
    case GV__CONFIG_USERS: /* "" is nobody, and no message repeats a verifier */
        return text[0] == '\0' ? NULL : refuse(row, "...", "is not a section");
    case GV__CONFIG_ADDRESSES:
    case GV__CONFIG_LISTENERS:
        break;
    }
    /* A list is set element by element. */
    GV_ASSERT(!is_list(row));
    return NULL;
}

/* ---- lists -------------------------------------------------------------------------------- */

static char *append_address(const gv__config_row_t *row, const char *text, address_list_t *list)
{
    gv_hostport_t address = {.port = 0};
    char *problem =
        text[0] == '\0' ? refuse(row, text, "is not an address") : set_address(row, text, &address);
    if (problem == NULL) {
        list->items = gv_xrealloc(list->items, (list->count + 1) * sizeof(*list->items));
        list->items[list->count++] = address;
    }
    return problem;
}

/* { url = "tcp://...", proxy_protocol = true } */
static char *listener_from_section(const gv_config_node_t *section, gv_listener_config_t *out,
                                   const gv_config_node_t **where_out)
{
    const char *url = NULL;
    for (const gv_config_node_t *item = section->first; item != NULL; item = item->next) {
        *where_out = item;
        if (item->kind != GV_CONFIG_WORD) {
            return gv_text_format("%s is not a word; expected %s = VALUE", item->key, item->key);
        }
        url = strcmp(item->key, "url") == 0 ? item->text : url;
    }
    *where_out = section;
    if (url == NULL) {
        return gv_xstrdup("a listener without url; expected { url = \"tcp://HOST:PORT\" }");
    }
    char *problem = gv_listener_url_parse(url, out);
    if (problem != NULL) {
        return problem;
    }
    for (const gv_config_node_t *item = section->first; item != NULL; item = item->next) {
        *where_out = item;
        if (strcmp(item->key, "url") != 0) {
            problem = gv_listener_option_set(out, item->key, item->text);
        }
        if (problem != NULL) {
            gv_listener_config_deinit(out);
            return problem;
        }
    }
    return NULL;
}

static char *append_listener(const gv_config_node_t *node, listener_list_t *list,
                             const gv_config_node_t **where_out)
{
    gv_listener_config_t listener;
    char *problem = node->kind == GV_CONFIG_SECTION
                        ? listener_from_section(node, &listener, where_out)
                        : gv_listener_url_parse(node->text, &listener);
    if (problem == NULL) {
        list->items = gv_xrealloc(list->items, (list->count + 1) * sizeof(*list->items));
        list->items[list->count++] = listener;
    }
    return problem;
}

static char *append(const gv__config_row_t *row, const gv_config_node_t *node, gv_config_t *config,
                    const gv_config_node_t **where_out)
{
    *where_out = node;
    if (row->type == GV__CONFIG_LISTENERS && node->kind != GV_CONFIG_LIST) {
        return append_listener(node, gv__config_at(row, config), where_out);
    }
    if (node->kind != GV_CONFIG_WORD) {
        return refuse(row, node->kind == GV_CONFIG_LIST ? "[ ... ]" : "{ ... }",
                      "is no value of this list");
    }
    return append_address(row, node->text, gv__config_at(row, config));
}

char *gv__config_set(const gv__config_row_t *row, const gv_config_node_t *node, gv_config_t *config,
                     const gv_config_node_t **where_out)
{
    GV_ASSERT(node != NULL);
    gv__config_release(row, config);
    *where_out = node;
    if (row->type == GV__CONFIG_USERS && node->kind == GV_CONFIG_SECTION) {
        return gv__config_users_set(gv__config_at(row, config), node, where_out);
    }
    if (!is_list(row)) {
        if (node->kind != GV_CONFIG_WORD) {
            return refuse(row, node->kind == GV_CONFIG_LIST ? "[ ... ]" : "{ ... }",
                          "is not one value");
        }
        return set_word(row, node->text, config);
    }
    if (node->kind != GV_CONFIG_LIST) {
        return append(row, node, config, where_out);
    }
    char *problem = NULL;
    for (const gv_config_node_t *item = node->first; item != NULL && problem == NULL;
         item = item->next) {
        problem = append(row, item, config, where_out);
    }
    return problem;
}

char *gv__config_set_text(const gv__config_row_t *row, const char *text, gv_config_t *config)
{
    const gv_config_node_t *where;
    if (!is_list(row)) {
        gv_config_node_t word = {.kind = GV_CONFIG_WORD, .text = gv_xstrdup(text)};
        char *problem = gv__config_set(row, &word, config, &where);
        gv_free(word.text);
        return problem;
    }
    gv__config_release(row, config);
    char *copy = gv_xstrdup(text);
    char *problem = NULL;
    char *rest;
    for (char *part = strtok_r(copy, ",", &rest); problem == NULL && part != NULL;
         part = strtok_r(NULL, ",", &rest)) {
        part += strspn(part, " ");
        part[strcspn(part, " ")] = '\0';
        gv_config_node_t word = {.kind = GV_CONFIG_WORD, .text = part};
        if (part[0] != '\0') {
            problem = append(row, &word, config, &where);
        }
    }
    gv_free(copy);
    return problem;
}

/* ---- comparing, copying, releasing -------------------------------------------------------- */

static bool addresses_equal(const address_list_t *a, const address_list_t *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++) {
        equal = gv_hostport_equal(&a->items[i], &b->items[i]);
    }
    return equal;
}

/* The URL is not everything: options may have come from a section. */
static bool listeners_equal(const listener_list_t *a, const listener_list_t *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++) {
        const gv_listener_config_t *x = &a->items[i];
        const gv_listener_config_t *y = &b->items[i];
        equal = strcmp(x->url, y->url) == 0 && x->proxy_protocol == y->proxy_protocol &&
                x->connections_max == y->connections_max && x->accept_rate == y->accept_rate;
    }
    return equal;
}

static void copy_addresses(const address_list_t *from, address_list_t *to)
{
    to->count = from->count;
    to->items = gv_xcalloc(from->count, sizeof(*to->items));
    for (size_t i = 0; i < from->count; i++) {
        to->items[i] = from->items[i];
    }
}

static void copy_listeners(const listener_list_t *from, listener_list_t *to)
{
    to->count = from->count;
    to->items = gv_xcalloc(from->count, sizeof(*to->items));
    for (size_t i = 0; i < from->count; i++) {
        gv_listener_config_copy(&from->items[i], &to->items[i]);
    }
}

bool gv__config_equal(const gv__config_row_t *row, const gv_config_t *a, const gv_config_t *b)
{
    const void *at_a = at_const(row, a);
    const void *at_b = at_const(row, b);
    switch (row->type) {
    case GV__CONFIG_BOOL:
        return *(const bool *)at_a == *(const bool *)at_b;
    case GV__CONFIG_INTEGER:
    case GV__CONFIG_SIZE:
    case GV__CONFIG_DURATION:
        return *(const uint64_t *)at_a == *(const uint64_t *)at_b;
    case GV__CONFIG_TEXT:
    case GV__CONFIG_NAME:
        return strcmp(*(char *const *)at_a, *(char *const *)at_b) == 0;
    case GV__CONFIG_CHOICE:
        return *(const int *)at_a == *(const int *)at_b;
    case GV__CONFIG_ADDRESS:
        return gv_hostport_equal(at_a, at_b);
    case GV__CONFIG_ADDRESSES:
        return addresses_equal(at_a, at_b);
    case GV__CONFIG_LISTENERS:
        return listeners_equal(at_a, at_b);
    case GV__CONFIG_USERS:
        return gv__config_users_equal(at_a, at_b);
    }
    return false;
}

void gv__config_copy(const gv__config_row_t *row, const gv_config_t *from, gv_config_t *to)
{
    gv__config_release(row, to);
    const void *source = at_const(row, from);
    void *at = gv__config_at(row, to);
    switch (row->type) {
    case GV__CONFIG_BOOL:
        *(bool *)at = *(const bool *)source;
        return;
    case GV__CONFIG_INTEGER:
    case GV__CONFIG_SIZE:
    case GV__CONFIG_DURATION:
        *(uint64_t *)at = *(const uint64_t *)source;
        return;
    case GV__CONFIG_TEXT:
    case GV__CONFIG_NAME:
        *(char **)at = gv_xstrdup(*(char *const *)source);
        return;
    case GV__CONFIG_CHOICE:
        *(int *)at = *(const int *)source;
        return;
    case GV__CONFIG_ADDRESS:
        *(gv_hostport_t *)at = *(const gv_hostport_t *)source;
        return;
    case GV__CONFIG_ADDRESSES:
        copy_addresses(source, at);
        return;
    case GV__CONFIG_LISTENERS:
        copy_listeners(source, at);
        return;
    case GV__CONFIG_USERS:
        gv__config_users_copy(source, at);
        return;
    }
}

void gv__config_release(const gv__config_row_t *row, gv_config_t *config)
{
    void *at = gv__config_at(row, config);
    if (row->type == GV__CONFIG_TEXT || row->type == GV__CONFIG_NAME) {
        gv_free(*(char **)at);
        *(char **)at = NULL;
    } else if (row->type == GV__CONFIG_ADDRESS) {
        memset(at, 0, sizeof(gv_hostport_t));
    } else if (row->type == GV__CONFIG_ADDRESSES) {
        address_list_t *list = at;
        gv_free(list->items);
        *list = (address_list_t){.items = NULL};
    } else if (row->type == GV__CONFIG_LISTENERS) {
        listener_list_t *list = at;
        for (size_t i = 0; i < list->count; i++) {
            gv_listener_config_deinit(&list->items[i]);
        }
        gv_free(list->items);
        *list = (listener_list_t){.items = NULL};
    } else if (row->type == GV__CONFIG_USERS) {
        gv__config_users_release(at);
    }
}
