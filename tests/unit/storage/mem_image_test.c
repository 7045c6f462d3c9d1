/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/mem_image_p.h"

#include "base/rng.h"

#include "tests/unit/storage/fixture.h"

static size_t find(const gv__image_t *image, const char *key)
{
    const gv__image_table_t *table = &image->tables[GV_TABLE_RETAINED];
    size_t index = gv__image_find(table, text(key));
    return gv__image_has(table, index, text(key)) ? index : SIZE_MAX;
}

START_TEST(changes_are_made_in_their_order)
{
    gv__image_t image = {.bytes = 0};
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("b"), text("first"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("a"), text("x"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("b"), text("second"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("c"), text("x"));
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("c"));
    gv__image_apply(&image, batch);
    gv_batch_free(&batch);

    ck_assert_uint_eq(image.tables[GV_TABLE_RETAINED].count, 2);
    ck_assert_uint_eq(find(&image, "a"), 0);
    ck_assert_uint_eq(find(&image, "b"), 1);
    ck_assert_uint_eq(find(&image, "c"), SIZE_MAX);
    ck_assert(gv_bytes_equal(gv__image_value(image.tables[GV_TABLE_RETAINED].records[1]),
                             text("second")));
    gv__image_clear(&image);
    ck_assert_uint_eq(image.tables[GV_TABLE_RETAINED].count, 0);
}
END_TEST

/* What is put is counted, what is replaced or deleted is not any more. */
START_TEST(bytes_come_back_to_nothing)
{
    gv__image_t image = {.bytes = 0};
    gv_rng_t rng;
    gv_rng_init(&rng, 4, 0);
    static const uint8_t value[100];
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (int i = 0; i < 2000; i++) {
        uint8_t key = (uint8_t)gv_rng_below(&rng, 100);
        if (gv_rng_chance(&rng, 50)) {
            gv_batch_put(batch, GV_TABLE_WILLS, gv_bytes(&key, 1),
                         gv_bytes(value, gv_rng_below(&rng, sizeof(value))));
        } else {
            gv_batch_delete(batch, GV_TABLE_WILLS, gv_bytes(&key, 1));
        }
    }
    gv__image_apply(&image, batch);
    gv_batch_free(&batch);
    ck_assert_uint_gt(image.tables[GV_TABLE_WILLS].count, 10);
    ck_assert_uint_gt(image.bytes, 100);

    gv_batch_new(&batch);
    for (int key = 0; key < 100; key++) {
        uint8_t byte = (uint8_t)key;
        gv_batch_delete(batch, GV_TABLE_WILLS, gv_bytes(&byte, 1));
    }
    gv__image_apply(&image, batch);
    gv_batch_free(&batch);
    ck_assert_uint_eq(image.bytes, 0);
    ck_assert_uint_eq(image.tables[GV_TABLE_WILLS].count, 0);
    gv__image_clear(&image);
}
END_TEST

START_TEST(a_shared_value_is_counted_once_and_goes_with_its_last_holder)
{
    gv__image_t image = {.bytes = 0};
    static const uint8_t value[1000];
    uint64_t bytes_before[4];
    gv_batch_t *batch;
    for (uint64_t holder = 1; holder <= 3; holder++) {
        bytes_before[holder] = image.bytes;
        gv_batch_new(&batch);
        gv_batch_share(batch, GV_TABLE_PAYLOADS, 5, holder, gv_bytes(value, sizeof(value)));
        gv__image_apply(&image, batch);
        gv__image_apply(&image, batch);
        gv_batch_free(&batch);
        ck_assert_uint_eq(image.tables[GV_TABLE_PAYLOADS].count, holder + 1);
    }
    ck_assert_uint_gt(bytes_before[2], sizeof(value));
    ck_assert_uint_lt(bytes_before[3], sizeof(value) + 200);
    for (uint64_t holder = 3; holder >= 1; holder--) {
        gv_batch_new(&batch);
        gv_batch_unshare(batch, GV_TABLE_PAYLOADS, 5, holder);
        gv__image_apply(&image, batch);
        gv__image_apply(&image, batch);
        gv_batch_free(&batch);
        ck_assert_uint_eq(image.bytes, bytes_before[holder]);
    }
    ck_assert_uint_eq(image.bytes, 0);
    gv__image_clear(&image);
}
END_TEST

START_TEST(a_copy_goes_its_own_way)
{
    gv__image_t image = {.bytes = 0};
    gv__image_t copy = {.bytes = 0};
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("a"), text("x"));
    gv__image_apply(&image, batch);
    gv__image_copy(&copy, &image);
    ck_assert_uint_eq(copy.bytes, image.bytes);
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("a"));
    gv__image_apply(&image, batch);
    gv_batch_free(&batch);
    ck_assert_uint_eq(find(&image, "a"), SIZE_MAX);
    ck_assert_uint_eq(find(&copy, "a"), 0);
    gv__image_clear(&image);
    gv__image_clear(&copy);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("mem_image");
    tcase_add_test(tc, changes_are_made_in_their_order);
    tcase_add_test(tc, bytes_come_back_to_nothing);
    tcase_add_test(tc, a_shared_value_is_counted_once_and_goes_with_its_last_holder);
    tcase_add_test(tc, a_copy_goes_its_own_way);
    return run_case("storage", tc);
}
