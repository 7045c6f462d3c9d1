/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shelf.h"

#include <stdlib.h>

#include <check.h>

static gv_msgbuf_t *image_of(size_t size)
{
    gv_msgbuf_t *image = NULL;
    ck_assert_int_eq(gv_msgbuf_new(size, &image), GV_OK);
    gv_msgbuf_seal(image);
    return image;
}

START_TEST(volumes_are_found_by_their_number)
{
    gv_shelf_t shelf;
    gv_shelf_init(&shelf, 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        (void)gv_shelf_add(&shelf, i * 3 + 1);
    }
    for (int i = 0; i < 300; i++) {
        gv_shelf_remove_oldest(&shelf);
    }
    for (uint64_t number = 0; number < 3100; number++) {
        gv_volume_t *volume = gv_shelf_find(&shelf, number);
        bool is_there = number % 3 == 1 && number > 900 && number < 3000;
        ck_assert_int_eq(volume != NULL, is_there);
        ck_assert(volume == NULL || volume->number == number);
    }
    ck_assert_uint_eq(gv_shelf_oldest(&shelf)->number, 901);
    ck_assert_ptr_eq(gv_shelf_at(&shelf, 0), gv_shelf_oldest(&shelf));
    ck_assert_ptr_eq(gv_shelf_at(&shelf, gv_shelf_count(&shelf) - 1), gv_shelf_newest(&shelf));
    gv_shelf_remove(&shelf, gv_shelf_newest(&shelf));
    ck_assert_ptr_null(gv_shelf_find(&shelf, 2998));
    gv_shelf_remove(&shelf, gv_shelf_find(&shelf, 2986));
    gv_shelf_remove(&shelf, gv_shelf_find(&shelf, 2992));
    for (uint64_t number = 2980; number < 2998; number++) {
        gv_volume_t *volume = gv_shelf_find(&shelf, number);
        bool is_there = number % 3 == 1 && number != 2986 && number != 2992;
        ck_assert_int_eq(volume != NULL, is_there);
        ck_assert(volume == NULL || volume->number == number);
    }
    gv_shelf_deinit(&shelf);
}
END_TEST

START_TEST(images_go_when_they_are_over_the_budget_the_oldest_first)
{
    gv_shelf_t shelf;
    gv_shelf_init(&shelf, 1000);
    gv_volume_t *volumes[5];
    for (uint64_t i = 0; i < 5; i++) {
        volumes[i] = gv_shelf_add(&shelf, i + 1);
        gv_shelf_give_image(&shelf, volumes[i], image_of(400));
    }
    ck_assert_ptr_null(volumes[2]->image);
    ck_assert_ptr_nonnull(volumes[3]->image);
    ck_assert_ptr_nonnull(volumes[4]->image);
    gv_shelf_give_image(&shelf, volumes[0], image_of(5000)); /* alone above it: it stays */
    ck_assert_ptr_nonnull(volumes[0]->image);
    ck_assert_ptr_null(volumes[4]->image);
    ck_assert_uint_eq(shelf.image_bytes, 5000);
    gv_shelf_deinit(&shelf);
    ck_assert_uint_eq(shelf.image_bytes, 0);
}
END_TEST

START_TEST(live_bytes_follow_the_deliveries)
{
    gv_shelf_t shelf;
    gv_shelf_init(&shelf, 1000);
    gv_volume_t *volume = gv_shelf_add(&shelf, 1);
    gv_shelf_add_live(&shelf, volume, 10);
    gv_shelf_set_durable(&shelf, volume, 1000);
    ck_assert_uint_eq(shelf.bytes, 1000);
    ck_assert_uint_eq(shelf.live_bytes, 1000);
    gv_shelf_drop_live(&shelf, volume, 7);
    ck_assert_uint_eq(shelf.live_bytes, 300);
    gv_shelf_drop_live(&shelf, volume, 3);
    ck_assert_uint_eq(shelf.live_bytes, 0);
    gv_shelf_remove_oldest(&shelf);
    ck_assert_uint_eq(shelf.bytes, 0);
    volume = gv_shelf_add(&shelf, 2);
    gv_shelf_add_live(&shelf, volume, 5);
    gv_shelf_clear(&shelf, volume);
    gv_shelf_add_live(&shelf, volume, 2);
    gv_shelf_set_durable(&shelf, volume, 100);
    gv_shelf_drop_live(&shelf, volume, 1);
    ck_assert_uint_eq(shelf.live_bytes, 50);
    gv_shelf_deinit(&shelf);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/shelf");
    TCase *tcase = tcase_create("shelf");
    tcase_add_test(tcase, volumes_are_found_by_their_number);
    tcase_add_test(tcase, images_go_when_they_are_over_the_budget_the_oldest_first);
    tcase_add_test(tcase, live_bytes_follow_the_deliveries);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
