/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The machine's memory: how much this process may have, and how much it has.
 *
 * Threads: any.
 */

#include <stdint.h>

/*
 * The least of: the machine's memory, the limits of this process's cgroup and of those above it
 * (versions 1 and 2), and RLIMIT_DATA [bytes].
 */
uint64_t gv_os_memory_available(void);

/*
 * Memory of this process that is not a file's and not swapped out [bytes].  0: not known, or
 * changed beyond recognition by a sanitizer.
 */
uint64_t gv_os_memory_resident(void);

/* Gives pages without anything in use back to the system; takes milliseconds on a large heap. */
void gv_os_memory_trim(void);

/*
 * For tests: the least limit of the cgroups that `membership` (as /proc/self/cgroup) names, in a
 * tree of files as /sys/fs/cgroup; UINT64_MAX: there is none.
 */
uint64_t gv__os_cgroup_limit(const char *membership, const char *tree);
