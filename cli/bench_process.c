/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_process.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#define FILE_SIZE_MAX 4096

static bool read_file(uint32_t pid, const char *name, char out[FILE_SIZE_MAX])
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%" PRIu32 "/%s", pid, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t size = fread(out, 1, FILE_SIZE_MAX - 1, file);
    (void)fclose(file);
    out[size] = '\0';
    return size > 0;
}

uint64_t gv_bench_status_number(const char *status, const char *key)
{
    size_t key_size = strlen(key);
    for (const char *line = status; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        if (strncmp(line, key, key_size) == 0 && line[key_size] == ':') {
            return strtoull(line + key_size + 1, NULL, 10);
        }
    }
    return 0;
}

gv_err_t gv_bench_stat_ticks(const char *stat, uint64_t *ticks_out)
{
    *ticks_out = 0;
    const char *at = strrchr(stat, ')'); /* the end of field 2, the name */
    for (int field = 2; at != NULL && field < 14; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return GV_ERR_MALFORMED;
    }
    char *end;
    uint64_t user = strtoull(at, &end, 10);
    const char *second = end;
    uint64_t system = strtoull(second, &end, 10);
    if (end == second) {
        return GV_ERR_MALFORMED;
    }
    *ticks_out = user + system;
    return GV_OK;
}

gv_err_t gv_bench_usage_read(uint32_t pid, gv_bench_usage_t *out)
{
    *out = (gv_bench_usage_t){.cpu_ns = 0};
    char stat[FILE_SIZE_MAX];
    char status[FILE_SIZE_MAX];
    uint64_t ticks;
    if (!read_file(pid, "stat", stat) || !read_file(pid, "status", status) ||
        gv_bench_stat_ticks(stat, &ticks) != GV_OK) {
        return GV_ERR_NOENT;
    }
    long per_second = sysconf(_SC_CLK_TCK);
    out->cpu_ns = ticks * (1000000000U / (uint64_t)(per_second > 0 ? per_second : 100));
    out->rss_bytes = gv_bench_status_number(status, "RssAnon") * 1024;
    out->threads = (uint32_t)gv_bench_status_number(status, "Threads");
    return GV_OK;
}
