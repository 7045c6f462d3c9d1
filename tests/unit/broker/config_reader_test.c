/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/text.h"

/* The tree on one line: words plain, lists in [], sections in {}. */
static void put_tree(gv_text_t *out, const gv_config_node_t *node)
{
    for (; node != NULL; node = node->next) {
        if (node->key != NULL) {
            gv_text_add(out, "%s=", node->key);
        }
        if (node->kind == GV_CONFIG_WORD) {
            gv_text_add(out, "%s", node->text);
        } else {
            gv_text_add(out, node->kind == GV_CONFIG_LIST ? "[" : "{");
            put_tree(out, node->first);
            gv_text_add(out, node->kind == GV_CONFIG_LIST ? "]" : "}");
        }
        gv_text_add(out, node->next != NULL ? "," : "");
    }
}

static const char *read_as(const char *text)
{
    static char shown[512];
    gv_config_node_t *root;
    gv_config_syntax_error_t error;
    if (gv_config_read(gv_bytes_text(text), &root, &error) != GV_OK) {
        ck_assert_ptr_null(root);
        (void)snprintf(shown, sizeof(shown), "%u: %s", (unsigned)error.line, error.text);
        return shown;
    }
    gv_text_t out = GV_TEXT_EMPTY;
    put_tree(&out, root->first);
    (void)snprintf(shown, sizeof(shown), "%s", gv_text_get(&out));
    gv_text_deinit(&out);
    gv_config_node_free(&root);
    return shown;
}

START_TEST(all_ways_of_writing_give_the_same_tree)
{
    static const char *const same[] = {
        "a { b = 1; c = [x, y] }",
        "a = { b: 1, c: [x, y,] }",
        "a {\n  b 1\n  c [\n x,\n y\n]\n}\n",
        "{\"a\": {\"b\": 1, \"c\": [\"x\", \"y\"]}}",
        ("\xEF\xBB\xBF"
         "a{b=1;c=['x','y']}"),
        "a\t{ # note\r\n b = 1 /* one */ ; c = [ # list\n x, /* , */ y ] }\r\n",
        "/* start */ 'a' { b = \"\\u0031\";; c = [\"\\u0078\", y]; }",
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        ck_assert_str_eq(read_as(same[i]), "a={b=1,c=[x,y]}");
    }
    ck_assert_str_eq(read_as(""), "");
    ck_assert_str_eq(read_as(" # nothing"), "");
    ck_assert_str_eq(read_as("u = tcp://[::1]:1"),
                     "1: u: '[' after the value; a text with spaces or "
                     "signs needs \"quotes\"");
    ck_assert_str_eq(read_as("u = tcp://h:1?a=b&c=d"), "u=tcp://h:1?a=b&c=d");
    ck_assert_str_eq(read_as("e = \"\\\"\\\\\\/\\n\\u00e9\\u20ac\""),
                     "e=\"\\/\n\xC3\xA9\xE2\x82\xAC");
    ck_assert_str_eq(read_as("s = 'a\\n#'"), "s=a\\n#");
    ck_assert_str_eq(read_as("e = {}"), "e={}");
    ck_assert_str_eq(read_as("e = [ ]"), "e=[]");
}
END_TEST

START_TEST(each_node_knows_its_line)
{
    static const char text[] = "a = 1\n\nb {\n c = [\n  x,\n  y ]\n}";
    gv_config_node_t *root;
    gv_config_syntax_error_t error;
    ck_assert_int_eq(gv_config_read(gv_bytes_text(text), &root, &error), GV_OK);
    const gv_config_node_t *b = root->first->next;
    ck_assert_uint_eq(root->first->line, 1);
    ck_assert_uint_eq(b->line, 3);
    ck_assert_uint_eq(b->first->line, 4);
    ck_assert_uint_eq(b->first->first->line, 5);
    ck_assert_uint_eq(b->first->first->next->line, 6);
    gv_config_node_free(&root);
    ck_assert_ptr_null(root);
}
END_TEST

START_TEST(no_byte_sequence_breaks_the_reader)
{
    static const char alphabet[] = "ab1 \n\t{}[]=:;,\"'#/*\\u.-\0\xC3\x80";
    gv_rng_t rng;
    gv_rng_init(&rng, 20261121, 1);
    uint32_t accepted = 0;
    for (int round = 0; round < 50000; round++) {
        uint8_t text[40];
        uint32_t size = gv_rng_below(&rng, sizeof(text) + 1);
        for (uint32_t i = 0; i < size; i++) {
            text[i] = (uint8_t)alphabet[gv_rng_below(&rng, sizeof(alphabet) - 1)];
        }
        /* Of the exact size, so that AddressSanitizer sees one byte too many. */
        uint8_t *exact = gv_xalloc(size);
        memcpy(exact, text, size);
        gv_config_node_t *root;
        gv_config_syntax_error_t error;
        if (gv_config_read(gv_bytes(exact, size), &root, &error) == GV_OK) {
            accepted++;
        } else {
            ck_assert_uint_ge(error.line, 1);
            ck_assert_str_ne(error.text, "");
        }
        gv_config_node_free(&root);
        gv_free(exact);
    }
    /* Otherwise the rounds have tested little more than the first character. */
    ck_assert_uint_gt(accepted, 500);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("config_reader");
    tcase_add_test(tc, all_ways_of_writing_give_the_same_tree);
    tcase_add_test(tc, each_node_knows_its_line);
    tcase_add_test(tc, no_byte_sequence_breaks_the_reader);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
