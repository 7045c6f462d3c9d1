/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/identity.h"

#include <stdio.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "proto/record.pb-c.h"

#include "storage/records.h"

#define KEY_IDENTITY      GV_BYTES_LITERAL("identity")
#define KEY_START_COUNTER GV_BYTES_LITERAL("start_counter")
#define KEY_HLC_BOUND     GV_BYTES_LITERAL("hlc_bound")

/* ---- reading ---- */

typedef struct unpack {
    const ProtobufCMessageDescriptor *descriptor;
    ProtobufCMessage *message;
} unpack_t;

static gv_err_t on_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    unpack_t *unpack = arg;
    return gv_record_unpack(GV_TABLE_META, key, value, unpack->descriptor, &unpack->message);
}

static gv_err_t read_message(gv_store_t *store, gv_bytes_t key,
                             const ProtobufCMessageDescriptor *descriptor,
                             ProtobufCMessage **message_out)
{
    unpack_t unpack = {.descriptor = descriptor, .message = NULL};
    gv_err_t err = gv_store_get(store, GV_TABLE_META, key, on_record, &unpack);
    *message_out = unpack.message;
    return err;
}

/* 0 when there is none. */
static gv_err_t read_counter(gv_store_t *store, gv_bytes_t key, uint64_t *value_out)
{
    ProtobufCMessage *message;
    gv_err_t err = read_message(store, key, &gv__record__counter__descriptor, &message);
    *value_out = err == GV_OK ? ((const Gv__Record__Counter *)message)->value : 0;
    gv_record_free(&message);
    return err == GV_ERR_NOENT ? GV_OK : err;
}

static gv_err_t read_identity(gv_store_t *store, gv_identity_t *identity)
{
    ProtobufCMessage *unpacked;
    gv_err_t err = read_message(store, KEY_IDENTITY, &gv__record__identity__descriptor, &unpacked);
    if (err != GV_OK) {
        return err;
    }
    const Gv__Record__Identity *message = (const Gv__Record__Identity *)unpacked;
    if (message->node_id.len == GV_NODE_ID_SIZE &&
        strlen(message->node_name) <= GV_NODE_NAME_SIZE_MAX &&
        strlen(message->cluster_name) <= GV_NODE_NAME_SIZE_MAX) {
        memcpy(identity->node_id, message->node_id.data, GV_NODE_ID_SIZE);
        (void)snprintf(identity->node_name, sizeof(identity->node_name), "%s", message->node_name);
        (void)snprintf(identity->cluster_name, sizeof(identity->cluster_name), "%s",
                       message->cluster_name);
    } else {
        err = GV_ERR_CORRUPT;
    }
    gv_record_free(&unpacked);
    return err;
}

/* Everything that is on the disk.  GV_ERR_NOENT: the store has no identity and no past. */
static gv_err_t read_all(gv_store_t *store, gv_identity_t *identity)
{
    gv_err_t err = read_counter(store, KEY_START_COUNTER, &identity->start_counter);
    if (err == GV_OK) {
        err = read_counter(store, KEY_HLC_BOUND, &identity->hlc_floor);
    }
    if (err == GV_OK) {
        err = read_identity(store, identity);
    }
    if (err == GV_ERR_NOENT && identity->start_counter != 0) {
        return GV_ERR_CORRUPT; /* it has been started before, so it had an identity */
    }
    return err;
}

gv_err_t gv_identity_read(gv_store_t *store, gv_identity_t *identity_out)
{
    *identity_out = (gv_identity_t){.is_new = false};
    return read_all(store, identity_out);
}

/* ---- writing ---- */

static void put_counter(gv_batch_t *batch, gv_bytes_t key, uint64_t value)
{
    Gv__Record__Counter message = GV__RECORD__COUNTER__INIT;
    message.value = value;
    gv_record_put(batch, GV_TABLE_META, key, &message.base);
}

static gv_err_t write_all(gv_store_t *store, gv_identity_t *identity)
{
    Gv__Record__Identity message = GV__RECORD__IDENTITY__INIT;
    message.node_id = gv_record_bytes(gv_bytes(identity->node_id, GV_NODE_ID_SIZE));
    message.node_name = identity->node_name;
    message.cluster_name = identity->cluster_name;

    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_record_put(batch, GV_TABLE_META, KEY_IDENTITY, &message.base);
    put_counter(batch, KEY_START_COUNTER, identity->start_counter);
    gv_identity_put_hlc_bound(batch, identity->hlc_bound);
    gv_batch_set_draining(batch); /* a full store must not keep a node from starting */
    return gv_store_write(store, &batch);
}

void gv_identity_put_hlc_bound(gv_batch_t *batch, uint64_t bound)
{
    put_counter(batch, KEY_HLC_BOUND, bound);
}

/* ---- opening ---- */

static bool is_empty(const char *name)
{
    return name == NULL || name[0] == '\0';
}

/* Takes the wanted name over, or keeps the one that is there when none is wanted. */
static void choose_name(char name[GV_NODE_NAME_SIZE_MAX + 1], const char *wanted)
{
    if (!is_empty(wanted)) {
        (void)snprintf(name, GV_NODE_NAME_SIZE_MAX + 1, "%s", wanted);
    }
}

static bool differs(const char *stored, const char *wanted)
{
    return !is_empty(wanted) && strcmp(stored, wanted) != 0;
}

/* Whether the store may be this node's, judged by the names; otherwise says why not. */
static gv_err_t check_names(const gv_identity_t *stored, const gv_identity_options_t *options,
                            char *why, size_t why_size)
{
    if (options->adopt) {
        return GV_OK;
    }
    if (differs(stored->cluster_name, options->cluster_name)) {
        (void)snprintf(why, why_size,
                       "'%s' belongs to a node of cluster '%s', not '%s': start it with that "
                       "cluster name, or give this node a directory of its own",
                       options->where, stored->cluster_name, options->cluster_name);
        return GV_ERR_EXISTS;
    }
    if (differs(stored->node_name, options->node_name)) {
        (void)snprintf(why, why_size,
                       "'%s' belongs to node '%s', not '%s': start it with that name, or give this "
                       "node a directory of its own",
                       options->where, stored->node_name, options->node_name);
        return GV_ERR_EXISTS;
    }
    return GV_OK;
}

static bool is_too_long(const char *name)
{
    return name != NULL && strlen(name) > GV_NODE_NAME_SIZE_MAX;
}

static gv_err_t check_options(const gv_identity_options_t *options, bool is_new, char *why,
                              size_t why_size)
{
    if (is_too_long(options->node_name) || is_too_long(options->default_name) ||
        is_too_long(options->cluster_name)) {
        (void)snprintf(why, why_size, "names of nodes and clusters have at most %d bytes",
                       GV_NODE_NAME_SIZE_MAX);
        return GV_ERR_INVAL;
    }
    bool has_node_name = !is_empty(options->node_name) || !is_empty(options->default_name);
    if (is_new && (!has_node_name || is_empty(options->cluster_name))) {
        (void)snprintf(why, why_size, "'%s' is new: the node needs a name and a cluster name",
                       options->where);
        return GV_ERR_INVAL;
    }
    return GV_OK;
}

static void explain_reading(gv_err_t err, const char *where, char *why, size_t why_size)
{
    if (err == GV_ERR_VERSION) {
        (void)snprintf(why, why_size,
                       "'%s' was written by a newer Grapevine: start that version, or give this "
                       "node another directory",
                       where);
    } else if (err == GV_ERR_CORRUPT) {
        (void)snprintf(why, why_size,
                       "the identity in '%s' is damaged: restore the directory from a backup, or "
                       "give this node an empty one, with which it joins as a new node",
                       where);
    } else {
        (void)snprintf(why, why_size, "cannot read the identity in '%s': %s", where,
                       gv_err_text(err));
    }
}

gv_err_t gv_identity_open(gv_store_t *store, const gv_identity_options_t *options,
                          gv_identity_t *identity_out, char *why, size_t why_size)
{
    GV_ASSERT(store != NULL);
    GV_ASSERT(why_size > 0);
    why[0] = '\0';
    gv_identity_t *identity = identity_out;
    *identity = (gv_identity_t){.is_new = false};

    gv_err_t err = read_all(store, identity);
    if (err != GV_OK && err != GV_ERR_NOENT) {
        explain_reading(err, options->where, why, why_size);
        return err;
    }
    identity->is_new = err == GV_ERR_NOENT;
    err = check_options(options, identity->is_new, why, why_size);
    if (err == GV_OK && !identity->is_new) {
        err = check_names(identity, options, why, why_size);
    }
    if (err != GV_OK) {
        return err;
    }

    if (identity->is_new) {
        memcpy(identity->node_id, options->fresh_node_id, GV_NODE_ID_SIZE);
    }
    if (identity->is_new) {
        choose_name(identity->node_name, options->default_name);
    }
    choose_name(identity->node_name, options->node_name);
    choose_name(identity->cluster_name, options->cluster_name);
    identity->start_counter++;
    identity->hlc_bound =
        identity->hlc_floor > options->hlc_bound ? identity->hlc_floor : options->hlc_bound;
    err = write_all(store, identity);
    if (err != GV_OK) {
        (void)snprintf(why, why_size, "cannot write the identity in '%s': %s", options->where,
                       gv_err_text(err));
    }
    return err;
}
