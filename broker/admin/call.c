/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/admin_p.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "broker/admin/url.h"

/* ---- life --------------------------------------------------------------------------------- */

static void call_free(gv_admin_call_t *call)
{
    GV_ASSERT(!call->is_with_handler);
    GV_ASSERT(call->admin == NULL);
    gv_text_deinit(&call->body);
    gv_free(call->sent_path);
    gv_free(call->value);
    gv_free(call);
}

void gv__call_let_go(gv_admin_call_t *call)
{
    gv_list_remove(&call->link);
    gv_timer_stop(&call->timer);
    if (call->response != NULL) {
        MHD_destroy_response(call->response);
    }
    call->response = NULL;
    call->connection = NULL;
    call->admin = NULL;
    if (!call->is_with_handler) {
        call_free(call);
    }
}

/* ---- the answer --------------------------------------------------------------------------- */

/* `data` (gv_free) becomes the response's. */
static GV_LOOP_ONLY void set_response(gv_admin_call_t *call, unsigned status, const char *type,
                                      char *data, size_t size)
{
    GV_ASSERT(call->state != GV__CALL_ANSWERED);
    call->state = GV__CALL_ANSWERED;
    call->status = status;
    call->response = MHD_create_response_from_buffer_with_free_callback(size, data, gv_free);
    if (call->response == NULL) {
        gv_free(data);
    } else {
        (void)MHD_add_response_header(call->response, "Content-Type", type);
        (void)MHD_add_response_header(call->response, "Cache-Control", "no-store");
    }
    if (call->is_suspended) {
        call->is_suspended = false;
        gv_timer_stop(&call->timer);
        MHD_resume_connection(call->connection);
        gv__admin_wake(call->admin);
    }
}

/* Takes the reference to `body`. */
static GV_LOOP_ONLY void set_json(gv_admin_call_t *call, unsigned status, json_t *body)
{
    char *text = json_dumps(body, JSON_INDENT(2));
    json_decref(body);
    size_t size = text != NULL ? strlen(text) : 0;
    if (text != NULL) {
        text = gv_xrealloc(text, size + 2);
        text[size++] = '\n';
    }
    set_response(call, text != NULL ? status : 500, "application/json", text, size);
}

static json_t *error_body(const char *code, const char *message)
{
    return json_pack("{s:s, s:o}", "code", code, "message",
                     gv_admin_json_text(gv_bytes_text(message)));
}

void gv__call_refuse(gv_admin_call_t *call, unsigned status, const char *code, const char *message)
{
    set_json(call, status, error_body(code, message));
}

static void on_call_timeout(gv_timer_t *timer)
{
    gv_admin_call_t *call = gv_container_of(timer, gv_admin_call_t, timer);
    gv_loop_assert_current(call->admin->loop);
    gv__call_refuse(call, 504, "TIMEOUT", "the node did not gather the answer in time");
}

gv_admin_call_t *gv__call_new(gv_admin_t *admin, struct MHD_Connection *connection, const char *uri)
{
    gv_admin_call_t *call = GV_NEW(gv_admin_call_t);
    size_t path_size = strcspn(uri, "?");
    call->sent_path = gv_xalloc(path_size + 1);
    memcpy(call->sent_path, uri, path_size);
    call->sent_path[path_size] = '\0';
    call->admin = admin;
    call->connection = connection;
    gv_timer_init(&call->timer, on_call_timeout);
    gv_list_append(&admin->calls, &call->link);
    return call;
}

bool gv__call_take_value(gv_admin_call_t *call, gv_bytes_t value)
{
    if (value.size == 0) {
        return true;
    }
    call->value = gv_xalloc(value.size + 1);
    return gv_url_decode(value, call->value);
}

/* The handler's answer is there; false if nobody waits for it any more. */
static GV_LOOP_ONLY bool take_answer(gv_admin_call_t *call)
{
    GV_ASSERT(call != NULL);
    GV_ASSERT(call->is_with_handler);
    call->is_with_handler = false;
    if (call->admin == NULL) {
        call_free(call);
        return false;
    }
    return call->state == GV__CALL_ASKED;
}

/* ---- what handlers call ------------------------------------------------------------------- */

const char *gv_admin_query(const gv_admin_call_t *call, const char *name)
{
    GV_ASSERT(call->is_with_handler);
    return call->admin != NULL
               ? MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, name)
               : NULL;
}

const char *gv_admin_path_value(const gv_admin_call_t *call)
{
    GV_ASSERT(call->is_with_handler);
    GV_ASSERT(call->value != NULL);
    return call->value;
}

/* What has been found wrong with a request's parameters. */
typedef struct parameters {
    const char *const *names;
    size_t count;
    size_t seen; /* bits, of names */
    char problem[120];
} parameters_t;

static enum MHD_Result look_at_parameter(void *arg, enum MHD_ValueKind kind, const char *key,
                                         size_t key_size, const char *value, size_t value_size)
{
    (void)kind;
    parameters_t *parameters = arg;
    char name[40];
    (void)gv_bytes_printable(gv_bytes(key, key_size), name, sizeof(name));
    size_t i = 0;
    while (i < parameters->count && strcmp(parameters->names[i], name) != 0) {
        i++;
    }
    const char *problem = NULL;
    if (i == parameters->count) {
        problem = "this path has no such parameter";
    } else if ((parameters->seen >> i & 1) != 0) {
        problem = "given more than once";
    } else if (value == NULL || strlen(value) != value_size) {
        problem = "no value, or one with a NUL";
    }
    parameters->seen |= (size_t)1 << (i & 63);
    if (problem == NULL) {
        return MHD_YES;
    }
    (void)snprintf(parameters->problem, sizeof(parameters->problem), "%s: %s", name, problem);
    return MHD_NO;
}

bool gv_admin_accept_parameters(gv_admin_call_t *call, const char *const *names, size_t count)
{
    GV_ASSERT(call->is_with_handler);
    GV_ASSERT(call->admin != NULL);
    GV_ASSERT(count < 64);
    parameters_t parameters = {.names = names, .count = count};
    (void)MHD_get_connection_values_n(call->connection, MHD_GET_ARGUMENT_KIND, look_at_parameter,
                                      &parameters);
    if (parameters.problem[0] != '\0') {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", parameters.problem);
        return false;
    }
    return true;
}

bool gv_admin_is_waited_for(const gv_admin_call_t *call)
{
    GV_ASSERT(call->is_with_handler);
    return call->admin != NULL && call->state == GV__CALL_ASKED;
}

gv_bytes_t gv_admin_body(const gv_admin_call_t *call)
{
    GV_ASSERT(call->is_with_handler);
    return gv_bytes(gv_text_get(&call->body), gv_text_size(&call->body));
}

void gv_admin_answer_json(gv_admin_call_t *call, unsigned status, json_t *body)
{
    GV_ASSERT(body != NULL);
    if (take_answer(call)) {
        set_json(call, status, body);
    } else {
        json_decref(body);
    }
}

void gv_admin_answer_text(gv_admin_call_t *call, unsigned status, const char *type, gv_text_t *text)
{
    size_t size = gv_text_size(text);
    char *data = gv_text_take(text);
    if (take_answer(call)) {
        set_response(call, status, type, data, size);
    } else {
        gv_free(data);
    }
}

void gv_admin_answer_error(gv_admin_call_t *call, unsigned status, const char *code,
                           const char *message)
{
    gv_admin_answer_json(call, status, error_body(code, message));
}

json_t *gv_admin_json_text(gv_bytes_t text)
{
    json_t *string = json_stringn(text.data != NULL ? (const char *)text.data : "", text.size);
    if (string == NULL) {
        size_t size = text.size * 4 + 8;
        char *printable = gv_xalloc(size);
        string = json_string(gv_bytes_printable(text, printable, size));
        gv_free(printable);
    }
    GV_ASSERT(string != NULL);
    return string;
}

json_t *gv_admin_json_time(uint64_t ms)
{
    struct tm parts;
    time_t seconds = (time_t)(ms / 1000);
    char date[32];
    char text[40];
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
        return json_null();
    }
    (void)snprintf(text, sizeof(text), "%s.%03uZ", date, (unsigned)(ms % 1000));
    return json_string(text);
}
