/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/retained_list.h"

#include <string.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "proto/mqtt/props.h"
#include "proto/mqtt/topic.h"

/* Map: one message as JSON - walks - the list - one message - deleting - routes. */

/* ---- one message as JSON -------------------------------------------------------------------- */

static void add(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, value);
    GV_ASSERT(rc == 0);
}

/* The keys that POST /api/v1/publish takes; a name that is there twice keeps its last value. */
static json_t *props_json(gv_bytes_t props)
{
    json_t *object = json_object();
    json_t *user = json_object();
    gv_reader_t block = gv_reader(props);
    for (gv_mqtt_prop_t prop; gv_mqtt_props_next(&block, &prop);) {
        if (prop.id == GV_MQTT_PROP_PAYLOAD_FORMAT) {
            add(object, "payload_format_indicator", json_integer(prop.number));
        } else if (prop.id == GV_MQTT_PROP_CONTENT_TYPE) {
            add(object, "content_type", gv_admin_json_text(prop.bytes));
        } else if (prop.id == GV_MQTT_PROP_RESPONSE_TOPIC) {
            add(object, "response_topic", gv_admin_json_text(prop.bytes));
        } else if (prop.id == GV_MQTT_PROP_CORRELATION_DATA) {
            add(object, "correlation_data", gv_admin_json_text(prop.bytes));
        } else if (prop.id == GV_MQTT_PROP_USER_PROPERTY) {
            json_t *name = gv_admin_json_text(prop.bytes);
            add(user, json_string_value(name), gv_admin_json_text(prop.value));
            json_decref(name);
        }
    }
    if (json_object_size(user) > 0) {
        add(object, "user_properties", user);
    } else {
        json_decref(user);
    }
    return object;
}

static json_t *base64_json(gv_bytes_t bytes)
{
    size_t size = GV_BASE64_SIZE(bytes.size);
    char *text = gv_xalloc(size + 1);
    gv_writer_t w = gv_writer(text, size);
    gv_base64_write(&w, bytes);
    GV_ASSERT(!w.failed);
    json_t *string = json_stringn(text, size);
    gv_free(text);
    return string;
}

json_t *gv_retained_json(const gv_retained_view_t *message, const char *node, bool with_all)
{
    json_t *object = json_object();
    add(object, "topic", gv_admin_json_text(message->topic));
    add(object, "node", json_string(node));
    add(object, "qos", json_integer(message->qos));
    add(object, "payload_size", json_integer((json_int_t)message->payload.size));
    add(object, "expires_at",
        message->expires_at_ms != 0 ? gv_admin_json_time(message->expires_at_ms) : json_null());
    if (with_all) {
        add(object, "payload", base64_json(message->payload));
        add(object, "payload_encoding", json_string("base64"));
        add(object, "properties", props_json(message->props));
    }
    return object;
}

/* ---- walks ---------------------------------------------------------------------------------- */

typedef struct retained_walk {
    gv_walk_t walk;
    const gv_retained_source_t *source;
    gv_retained_walk_t way;
    gv_retained_view_t view; /* of a single message; holds a reference to kept */
    gv_bytes_t text;         /* the filter, or a topic */
    uint8_t texts[];
} retained_walk_t;

/* A walk for this filter or topic, which is looked for at its home only if it has no wildcard. */
static retained_walk_t *walk_new(gv_admin_call_t *call, const gv_retained_source_t *source,
                                 const gv_walk_kind_t *kind, gv_bytes_t text, bool has_wildcard)
{
    retained_walk_t *list = gv_xcalloc(1, sizeof(*list) + text.size);
    const gv_walk_host_t *host = source->host;
    uint8_t *end = list->texts;
    list->text = gv_walk_copy(text, &end);
    list->way.filter = list->text;
    list->source = source;
    list->walk = (gv_walk_t){.host = host, .kind = kind, .call = call, .count = UINT64_MAX};
    list->walk.page = (gv_page_t){.limit = 1, .page = 1};
    if (!has_wildcard) {
        list->walk.is_on_one_shard = true;
        list->walk.at.shard =
            gv_retained_home(gv_retained_bucket(text, host->retained_seed), host->shard_count);
    }
    return list;
}

static void walk_free(gv_walk_t *walk)
{
    retained_walk_t *list = gv_container_of(walk, retained_walk_t, walk);
    gv_retained_walk_deinit(&list->way);
    gv_msgbuf_unref(&list->view.kept);
    gv_free(list);
}

/* ---- the list ------------------------------------------------------------------------------- */

/* One block: the view, then its topic. */
static bool on_message(const gv_retained_view_t *message, void *arg)
{
    retained_walk_t *list = arg;
    gv_walk_step_t step = gv_walk_step(&list->walk);
    if (step == GV_WALK_TAKE) {
        gv_retained_view_t *row = gv_walk_add(&list->walk, sizeof(*row) + message->topic.size);
        *row = (gv_retained_view_t){.qos = message->qos,
                                    .expires_at_ms = message->expires_at_ms,
                                    .payload = {.size = message->payload.size}};
        uint8_t *end = (uint8_t *)(row + 1);
        row->topic = gv_walk_copy(message->topic, &end);
    }
    return step != GV_WALK_END;
}

static bool slice(gv_walk_t *walk, gv_shard_t *shard)
{
    retained_walk_t *list = gv_container_of(walk, retained_walk_t, walk);
    return gv_shard_list_retained(shard, &list->way, GV_WALK_VISITS_MAX, on_message, list);
}

static json_t *row_json(const gv_walk_t *walk, const void *row)
{
    return gv_retained_json(row, walk->host->node, false);
}

static const gv_walk_kind_t list_kind = {
    .slice = slice, .row = row_json, .free = walk_free, .has_no_cursor = true};

static void on_list(gv_admin_call_t *call, void *arg)
{
    static const char *const names[] = {"limit", "page", "topic"};
    const gv_retained_source_t *source = arg;
    gv_loop_assert_current(gv_loop_current());
    if (!gv_admin_accept_parameters(call, names, sizeof(names) / sizeof(names[0]))) {
        return;
    }
    gv_page_t page;
    const char *problem = gv_page_of(call, source->host->shard_count, &page);
    const char *topic = gv_admin_query(call, "topic");
    gv_bytes_t filter = gv_bytes_text(topic != NULL ? topic : "#");
    gv_mqtt_filter_t parts;
    if (problem == NULL &&
        (gv_mqtt_filter_parse(filter, &parts) != GV_OK || gv_mqtt_filter_is_shared(&parts))) {
        problem = "topic: expected a topic filter";
    }
    if (problem != NULL) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", problem);
        return;
    }
    retained_walk_t *list = walk_new(call, source, &list_kind, filter, parts.has_wildcard);
    list->walk.page = page;
    gv_walk_begin(&list->walk);
}

/* ---- one message ---------------------------------------------------------------------------- */

static bool on_found(const gv_retained_view_t *message, void *arg)
{
    retained_walk_t *list = arg;
    list->view = *message;
    list->view.kept = gv_msgbuf_ref(message->kept);
    return true;
}

static bool find(gv_walk_t *walk, gv_shard_t *shard)
{
    retained_walk_t *list = gv_container_of(walk, retained_walk_t, walk);
    (void)gv_shard_show_retained(shard, list->text, on_found, list);
    return true;
}

/* The message, or NULL and the call is answered. */
static GV_LOOP_ONLY const gv_retained_view_t *found(const retained_walk_t *list)
{
    if (list->view.kept != NULL) {
        return &list->view;
    }
    gv_admin_answer_error(list->walk.call, 404, "NOT_FOUND", "no message is retained there");
    return NULL;
}

static void answer_one(gv_walk_t *walk)
{
    const retained_walk_t *list = gv_container_of(walk, retained_walk_t, walk);
    gv_loop_assert_current(gv_loop_current());
    const gv_retained_view_t *message = found(list);
    if (message == NULL) {
        return;
    }
    if (message->payload.size > GV_WALK_BYTES_MAX) {
        gv_admin_answer_error(walk->call, 400, "BAD_REQUEST",
                              "the message is larger than 16 MiB: subscribe to it");
    } else {
        gv_admin_answer_json(walk->call, 200, gv_retained_json(message, walk->host->node, true));
    }
}

static const gv_walk_kind_t one_kind = {.slice = find, .answer = answer_one, .free = walk_free};

static GV_LOOP_ONLY void begin_one(gv_admin_call_t *call, const gv_retained_source_t *source,
                                   const gv_walk_kind_t *kind)
{
    if (!gv_admin_accept_parameters(call, NULL, 0)) {
        return;
    }
    gv_bytes_t topic = gv_bytes_text(gv_admin_path_value(call));
    if (gv_mqtt_topic_check(topic) != GV_OK) {
        gv_admin_answer_error(call, 400, "BAD_REQUEST",
                              "topic: too long, with a wildcard, or not a text of MQTT");
        return;
    }
    gv_walk_begin(&walk_new(call, source, kind, topic, false)->walk);
}

static void on_one(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    begin_one(call, arg, &one_kind);
}

/* ---- deleting ------------------------------------------------------------------------------- */

static void on_deleted(gv_err_t err, gv_mqtt_reason_t reason, void *arg)
{
    gv_admin_call_t *call = arg;
    gv_loop_assert_current(gv_loop_current());
    if (err == GV_OK && !gv_mqtt_reason_is_error((uint8_t)reason)) {
        gv_text_t nothing = GV_TEXT_EMPTY;
        gv_admin_answer_text(call, 204, "application/json", &nothing);
    } else {
        gv_publish_answer(call, err, reason);
    }
}

static void answer_delete(gv_walk_t *walk)
{
    const retained_walk_t *list = gv_container_of(walk, retained_walk_t, walk);
    gv_loop_assert_current(gv_loop_current());
    if (found(list) == NULL) {
        return;
    }
    const gv_publish_ops_t *ops = list->source->publish;
    const gv_publish_request_t nothing = {
        .topic = list->text,
        .props = GV_BYTES_LITERAL("\0"), /* an empty block: its length */
        .qos = 1,
        .retain = true,
    };
    ops->publish(ops->arg, &nothing, on_deleted, walk->call);
}

static const gv_walk_kind_t delete_kind = {
    .slice = find, .answer = answer_delete, .free = walk_free};

static void on_delete(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    begin_one(call, arg, &delete_kind);
}

/* ---- routes --------------------------------------------------------------------------------- */

static const gv_admin_route_t routes[] = {
    {"GET", "/api/v1/retained", "retained messages, without their payloads", on_list, false},
    {"GET", "/api/v1/retained/{topic...}", "one of them, with its payload", on_one, false},
    {"DELETE", "/api/v1/retained/{topic...}", "clears it, on all nodes", on_delete, false},
};

void gv_admin_add_retained_routes(gv_admin_t *admin, const gv_retained_source_t *source)
{
    GV_ASSERT(source != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)source);
}
