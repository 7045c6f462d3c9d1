/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <check.h>

#define MIB ((uint64_t)1 << 20)

static char tree[64];

static void setup(void)
{
    (void)snprintf(tree, sizeof(tree), "/tmp/grapevine-memory-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(tree));
}

static void teardown(void)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r %s", tree);
    ck_assert_int_eq(system(command), 0);
}

/* A file, and the folders it is in. */
static void put(const char *path, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof(full), "%s/%s", tree, path);
    for (char *slash = strchr(full + strlen(tree) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(version_2_counts_the_least_limit_up_to_the_root)
{
    put("system.slice/grapevine.service/memory.max", "max\n");
    put("system.slice/memory.max", "104857600\n");
    ck_assert_uint_eq(gv__os_cgroup_limit("0::/system.slice/grapevine.service\n", tree), 100 * MIB);
    put("system.slice/grapevine.service/memory.max", "52428800\n");
    ck_assert_uint_eq(gv__os_cgroup_limit("0::/system.slice/grapevine.service\n", tree), 50 * MIB);
    ck_assert_uint_eq(gv__os_cgroup_limit("0::/\n", tree), UINT64_MAX);
    put("memory.max", "10485760\n"); /* the root a container sees is its own group */
    ck_assert_uint_eq(gv__os_cgroup_limit("0::/\n", tree), 10 * MIB);
    ck_assert_uint_eq(gv__os_cgroup_limit("0::/not/shown/here\n", tree), 10 * MIB);
}
END_TEST

START_TEST(version_1_has_a_tree_of_its_own)
{
    static const char membership[] = "5:cpuset:/\n4:cpu,memory:/docker/abc\n1:name=systemd:/x\n";
    ck_assert_uint_eq(gv__os_cgroup_limit(membership, tree), UINT64_MAX);
    put("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    ck_assert_uint_eq(gv__os_cgroup_limit(membership, tree), UINT64_MAX);
    put("memory/docker/abc/memory.limit_in_bytes", "67108864\n");
    ck_assert_uint_eq(gv__os_cgroup_limit(membership, tree), 64 * MIB);
    ck_assert_uint_eq(gv__os_cgroup_limit("4:cpu,memory_like:/docker/abc\n", tree), UINT64_MAX);
}
END_TEST

START_TEST(nonsense_is_no_limit)
{
    put("memory.max", "lots\n");
    ck_assert_uint_eq(gv__os_cgroup_limit("", tree), UINT64_MAX);
    ck_assert_uint_eq(gv__os_cgroup_limit("\n\n0\n0:\n0::/\n", tree), UINT64_MAX);
    put("memory.max", "");
    ck_assert_uint_eq(gv__os_cgroup_limit("0::/", tree), UINT64_MAX);
}
END_TEST

START_TEST(machine_has_memory_and_this_process_some_of_it)
{
    uint64_t available = gv_os_memory_available();
    ck_assert_uint_gt(available, 16 * MIB);
    ck_assert_uint_lt(gv_os_memory_resident(), available);
    if (gv_os_memory_resident() == 0) {
        return; /* a sanitizer, whose own memory is beyond every limit */
    }
    struct rlimit data = {.rlim_cur = 15 * MIB, .rlim_max = RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_DATA, &data), 0);
    ck_assert_uint_eq(gv_os_memory_available(), 15 * MIB);
}
END_TEST

START_TEST(what_is_freed_goes_back_to_the_system)
{
    enum {
        BLOCKS = 4000,
        SIZE = 16000
    };
    static char *blocks[BLOCKS];
    uint64_t before = gv_os_memory_resident();
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
        memset(blocks[i], 1, SIZE);
    }
    uint64_t full = gv_os_memory_resident();
    for (int i = 0; i < BLOCKS - 1; i++) { /* the last one holds the heap's end */
        free(blocks[i]);
    }
    gv_os_memory_trim();
    uint64_t after = gv_os_memory_resident();
    free(blocks[BLOCKS - 1]);
    if (full != 0) { /* it is known */
        ck_assert_uint_ge(full, before + 50 * MIB);
        ck_assert_uint_le(after, before + 10 * MIB);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("memory");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, version_2_counts_the_least_limit_up_to_the_root);
    tcase_add_test(tc, version_1_has_a_tree_of_its_own);
    tcase_add_test(tc, nonsense_is_no_limit);
    tcase_add_test(tc, machine_has_memory_and_this_process_some_of_it);
    tcase_add_test(tc, what_is_freed_goes_back_to_the_system);

    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
