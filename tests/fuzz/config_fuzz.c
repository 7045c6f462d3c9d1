/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The configuration file: its syntax, and what every value may be.  Each word and list of the file
 * is tried as the value of a key of every type, since a file rarely has the right key by chance.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "broker/config_p.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const keys[] = {
    "cluster.insecure", "node.shards", "mqtt.packet_size_max", "mqtt.connect_timeout", "node.data",
    "node.name",        "log.level",   "cluster.listen",       "cluster.seeds",        "listeners",
    "auth.scram"};

static void try_value(const gv_config_node_t *node)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const gv__config_row_t *row = gv__config_find(keys[i]);
        gv_config_t config = {.is_default = false};
        const gv_config_node_t *where = NULL;
        char *problem = gv__config_set(row, node, &config, &where);
        if (where == NULL || (problem != NULL && problem[0] == '\0')) {
            abort();
        }
        if (problem == NULL) {
            gv_config_t copy = {.is_default = false};
            gv__config_copy(row, &config, &copy);
            if (!gv__config_equal(row, &config, &copy)) {
                abort();
            }
            gv__config_release(row, &copy);
        }
        gv_free(problem);
        gv__config_release(row, &config);
    }
}

static void try_all(const gv_config_node_t *node)
{
    for (; node != NULL; node = node->next) {
        if (node->key != NULL) {
            (void)gv__config_suggest(node->key);
            try_value(node);
        }
        try_all(node->first);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gv_config_node_t *root;
    gv_config_syntax_error_t error;
    if (gv_config_read(gv_bytes(data, size), &root, &error) == GV_OK) {
        try_all(root);
    } else if (root != NULL || error.line == 0 || error.text[0] == '\0') {
        abort();
    }
    gv_config_node_free(&root);
    return 0;
}
