/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs a fuzz target over the files of a folder, for builds without libFuzzer:
 *
 *     build/asan/fuzz/fuzz.mqtt_decode tests/fuzz/corpus/mqtt_decode
 *
 * Each file is run whole and cut at every byte, each time in an allocation of exactly that size, so
 * that AddressSanitizer sees what is read too far.  A folder without files is a failure: it would
 * mean that nothing was tested.
 *
 *     build/asan/fuzz/fuzz.shard --random 500
 *
 * runs 500 inputs of random bytes, for targets that make sense of any.  Each prints its seed, and
 * GV_TEST_SEED in the environment says where to begin.
 */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum {
    RANDOM_SIZE_MAX = 1024,
    FILE_SIZE_MAX = 65536,
    PATH_SIZE = 4096
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_exactly(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int run_file(const char *path)
{
    static uint8_t content[FILE_SIZE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    size_t size = fread(content, 1, sizeof(content), file);
    int failed = ferror(file);
    (void)fclose(file);
    if (failed != 0) {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
        return -1;
    }
    for (size_t cut = 0; cut <= size; cut++) {
        run_exactly(content, cut);
    }
    return 0;
}

/* Number of files run, or -1. */
static int run_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        perror(folder);
        return -1;
    }
    int count = 0;
    for (struct dirent *entry; count >= 0 && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[PATH_SIZE];
        int length = snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        count = length < PATH_SIZE && run_file(path) == 0 ? count + 1 : -1;
    }
    (void)closedir(dir);
    return count;
}

static int run_random(uint64_t count)
{
    const char *text = getenv("GV_TEST_SEED");
    uint64_t first = text != NULL ? strtoull(text, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        uint8_t input[RANDOM_SIZE_MAX];
        gv_rng_t rng;
        gv_rng_init(&rng, seed, 0);
        size_t size = gv_rng_below(&rng, RANDOM_SIZE_MAX + 1);
        gv_rng_fill(&rng, input, size);
        (void)fprintf(stderr, "GV_TEST_SEED=%llu\n", (unsigned long long)seed);
        run_exactly(input, size);
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--random") == 0) {
        return run_random(strtoull(argv[2], NULL, 10));
    }
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_FOLDER | --random COUNT\n", argv[0]);
        return 2;
    }
    int count = run_folder(argv[1]);
    (void)printf("%s: %d files\n", argv[1], count);
    return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
