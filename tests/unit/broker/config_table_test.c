/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_p.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

#define EXAMPLE GV_SOURCE_DIR "/deploy/grapevine.conf"

START_TEST(keys_are_unique_and_documented)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const gv__config_row_t *row = &gv__config_table[i];
        ck_assert_ptr_eq(gv__config_find(row->key), row);
        ck_assert_ptr_nonnull(row->fallback);
        ck_assert_uint_gt(strlen(row->doc), 10);
        /* A later key must not share the place of an earlier one. */
        for (size_t j = 0; j < i; j++) {
            ck_assert_uint_ne(gv__config_table[j].offset, row->offset);
        }
    }
    ck_assert_ptr_null(gv__config_find("node"));
}
END_TEST

START_TEST(suggestions_are_near)
{
    static const char *const near[][2] = {
        {"mqtt.recieve_max", "mqtt.receive_max"},
        {"cluster.seed", "cluster.seeds"},
        {"admin.lisen", "admin.listen"},
        {"listener", "listeners"},
        {"secret_file", "cluster.secret_file"},
        {"broker.seeds", "cluster.seeds"},
        {"cluster.heartbeat", "cluster.heartbeat_ms"},
    };
    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        const char *suggestion = gv__config_suggest(near[i][0]);
        ck_assert_ptr_nonnull(suggestion);
        ck_assert_str_eq(suggestion, near[i][1]);
    }
    ck_assert_ptr_null(gv__config_suggest("zzz"));
    ck_assert_ptr_null(gv__config_suggest(""));
    char longer[300];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_ptr_null(gv__config_suggest(longer));
}
END_TEST

/* ---- the example ships every key at its default ------------------------------------------- */

static char *example(void)
{
    size_t size;
    char *text = gv__config_read_file(EXAMPLE, &size);
    ck_assert_msg(text != NULL, "%s cannot be read", EXAMPLE);
    return text;
}

START_TEST(example_is_accepted_and_changes_nothing)
{
    const gv_config_t *config;
    gv_config_report_t report;
    const gv_config_sources_t sources = {.file = EXAMPLE, .host_name = "h"};
    ck_assert_int_eq(gv_config_load(&sources, &config, &report), GV_OK);
    ck_assert_uint_eq(report.count, 0);
    gv_config_report_deinit(&report);
    gv_config_unref(&config);
}
END_TEST

/* With every "#:" taken away it still loads, and every key of the table is in it. */
START_TEST(example_has_every_key_with_its_default)
{
    char *text = example();
    for (char *mark = text; (mark = strstr(mark, "    #: ")) != NULL; mark++) {
        memcpy(mark, "       ", 7);
    }
    char *mark = strstr(text, "\n#: listeners");
    ck_assert_ptr_nonnull(mark);
    memcpy(mark, "\n   ", 4);

    gv_config_node_t *root;
    gv_config_syntax_error_t error;
    ck_assert_msg(gv_config_read(gv_bytes_text(text), &root, &error) == GV_OK, "line %u: %s",
                  (unsigned)error.line, error.text);
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const gv__config_row_t *row = &gv__config_table[i];
        gv_config_t from_file = {.is_default = false};
        gv_config_t from_table = {.is_default = false};
        char *problem = gv__config_set_text(row, row->fallback, &from_table);
        ck_assert_msg(problem == NULL, "%s: %s", row->key, problem);
        const gv_config_node_t *node = root->first;
        size_t section_size = strcspn(row->key, ".");
        const char *name = row->key[section_size] == '.' ? row->key + section_size + 1 : row->key;
        while (node != NULL && (strncmp(node->key, row->key, section_size) != 0 ||
                                strlen(node->key) != section_size)) {
            node = node->next;
        }
        if (name != row->key && node != NULL) {
            node = node->first;
            while (node != NULL && strcmp(node->key, name) != 0) {
                node = node->next;
            }
        }
        ck_assert_msg(node != NULL, "%s is not in the example", row->key);
        const gv_config_node_t *where;
        problem = gv__config_set(row, node, &from_file, &where);
        ck_assert_msg(problem == NULL, "%s: %s", row->key, problem);
        ck_assert_msg(gv__config_equal(row, &from_file, &from_table),
                      "%s is not at its default in the example", row->key);
        gv__config_release(row, &from_file);
        gv__config_release(row, &from_table);
    }
    gv_config_node_free(&root);
    gv_free(text);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("config_table");
    tcase_add_test(tc, keys_are_unique_and_documented);
    tcase_add_test(tc, suggestions_are_near);
    tcase_add_test(tc, example_is_accepted_and_changes_nothing);
    tcase_add_test(tc, example_has_every_key_with_its_default);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
