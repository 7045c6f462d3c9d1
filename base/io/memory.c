/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/memory.h"

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/resource.h>

/* Version 1 says "no limit" with a number near 2^63, rounded down to pages. */
#define NO_LIMIT_MIN ((uint64_t)1 << 62)

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The number in a file; UINT64_MAX if there is no such file or no number ("max") in it. */
static uint64_t number_in(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return UINT64_MAX;
    }
    char text[32] = "";
    char *end = text;
    uint64_t value = UINT64_MAX;
    if (fgets(text, sizeof(text), file) != NULL) {
        value = strtoull(text, &end, 10);
    }
    (void)fclose(file);
    return end == text || value >= NO_LIMIT_MIN ? UINT64_MAX : value;
}

/* The limits of one cgroup and of all above it; `group` is cut to pieces. */
static uint64_t limit_upwards(const char *tree, char *group, const char *file)
{
    uint64_t limit = UINT64_MAX;
    for (;;) {
        char path[4096];
        int size = snprintf(path, sizeof(path), "%s%s/%s", tree, group, file);
        if (size > 0 && (size_t)size < sizeof(path)) {
            limit = lesser(limit, number_in(path));
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return limit;
        }
        *slash = '\0';
    }
}

/* Whether the list of controllers, "cpu,memory", has this one. */
static bool has_memory(const char *controllers, size_t size)
{
    static const char name[] = "memory";
    const size_t name_size = sizeof(name) - 1;
    for (const char *at = controllers; at < controllers + size;) {
        const char *comma = memchr(at, ',', size - (size_t)(at - controllers));
        const char *end = comma != NULL ? comma : controllers + size;
        if ((size_t)(end - at) == name_size && memcmp(at, name, name_size) == 0) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

/* One line of the membership: ID:CONTROLLERS:GROUP; version 2 has no controllers. */
static uint64_t limit_of_line(const char *line, const char *tree)
{
    const char *controllers = strchr(line, ':');
    const char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL) {
        return UINT64_MAX;
    }
    controllers++;
    size_t size = (size_t)(group - controllers);
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s", group + 1);
    if (size == 0) {
        return limit_upwards(tree, path, "memory.max");
    }
    if (!has_memory(controllers, size)) {
        return UINT64_MAX;
    }
    char tree1[4096];
    (void)snprintf(tree1, sizeof(tree1), "%s/memory", tree);
    return limit_upwards(tree1, path, "memory.limit_in_bytes");
}

uint64_t gv__os_cgroup_limit(const char *membership, const char *tree)
{
    uint64_t limit = UINT64_MAX;
    for (const char *line = membership; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        char one[4096];
        if (size < sizeof(one)) {
            memcpy(one, line, size);
            one[size] = '\0';
            limit = lesser(limit, limit_of_line(one, tree));
        }
        line += size + (line[size] == '\n');
    }
    return limit;
}

uint64_t gv_os_memory_available(void)
{
    uint64_t available = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct rlimit data;
    if (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY) {
        available = lesser(available, data.rlim_cur);
    }
    char membership[16384] = "";
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file != NULL) {
        size_t size = fread(membership, 1, sizeof(membership) - 1, file);
        membership[size] = '\0';
        (void)fclose(file);
    }
    return lesser(available, gv__os_cgroup_limit(membership, "/sys/fs/cgroup"));
}

uint64_t gv_os_memory_resident(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 0;
#endif
#endif
    unsigned long long all = 0;
    unsigned long long pages = 0;
    unsigned long long shared = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return 0;
    }
    int count = fscanf(file, "%llu %llu %llu", &all, &pages, &shared);
    (void)fclose(file);
    return count == 3 && pages > shared ? (pages - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void gv_os_memory_trim(void)
{
    (void)malloc_trim(0);
}
