/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* What hosts say to each other over a link. */

START_TEST(a_note_reaches_the_other_host)
{
    mesh_t *mesh = mesh_of(3);
    const mesh_node_t *to = &mesh->node[1];
    gv_node_index_t index = gv_ccore_index_of(mesh->node[0].core, &to->identity.id);
    ck_assert(
        gv_ccore_note(mesh->node[0].core, index, GV_FRAME_RETAINED_ASK, GV_BYTES_LITERAL("hello")));
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_RETAINED_ASK], 0); /* never within the call */
    gv_ccore_flush(mesh->node[0].core);
    mesh_step(mesh);
    ck_assert_uint_eq(to->notes, 1);
    ck_assert_str_eq(to->last_note, "hello");
    ck_assert_int_eq(to->last_note_kind, GV_FRAME_RETAINED_ASK);
    ck_assert_uint_eq(to->last_note_from, gv_ccore_index_of(to->core, &mesh->node[0].identity.id));
    ck_assert_uint_eq(mesh->node[2].notes, 0);
    mesh_free(mesh);
}
END_TEST

START_TEST(without_a_link_there_is_no_note)
{
    mesh_t *mesh = mesh_of(3);
    gv_ccore_t *core = mesh->node[0].core;
    gv_node_index_t index = gv_ccore_index_of(core, &mesh->node[1].identity.id);
    ck_assert(!gv_ccore_note(core, 17, GV_FRAME_RETAINED_ASK, GV_BYTES_LITERAL("x")));
    ck_assert(gv_ccore_note(core, index, GV_FRAME_RETAINED_ASK, GV_BYTES_LITERAL("lost")));
    mesh_kill(mesh, 1, true);
    ck_assert(!gv_ccore_note(core, index, GV_FRAME_RETAINED_ASK, GV_BYTES_LITERAL("x")));
    gv_ccore_flush(core);
    ck_assert_uint_eq(mesh->node[0].sent[GV_FRAME_RETAINED_ASK], 0);
    /* What was never sent goes with the core. */
    index = gv_ccore_index_of(core, &mesh->node[2].identity.id);
    ck_assert(gv_ccore_note(core, index, GV_FRAME_RETAINED_LIST, GV_BYTES_LITERAL("y")));
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("note");
    tcase_add_test(tc, a_note_reaches_the_other_host);
    tcase_add_test(tc, without_a_link_there_is_no_note);
    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
