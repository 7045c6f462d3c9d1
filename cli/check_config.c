/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <errno.h>
#include <string.h>

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"

/*
 * The node is the one that knows its configuration: this runs `grapevined --check-config` with the
 * same arguments.  It is looked for beside this program (a build's bin/), then in the sbin/ next to
 * our bin/ (an installation), then in PATH.
 */

static void try_beside(const char *folder, const char *relative, char *const *argv)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s", folder, relative);
    if (size > 0 && (size_t)size < sizeof(path)) {
        (void)execv(path, argv);
    }
}

int gv_command_check_config(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)puts(
            "usage: grapevine check-config -c FILE [--set KEY=VALUE]...\n"
            "\n"
            "Exit status 0 when grapevined would take the configuration; otherwise one line\n"
            "per mistake, FILE:LINE: KEY: what is wrong, and exit status 1.");
        return GV_EXIT_OK;
    }
    char **new_argv = gv_xcalloc((size_t)argc + 2, sizeof(*new_argv));
    new_argv[0] = gv_xstrdup("grapevined");
    new_argv[1] = gv_xstrdup("--check-config");
    for (int i = 1; i < argc; i++) {
        new_argv[i + 1] = argv[i];
    }
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (size > 0) {
        self[size] = '\0';
        const char *folder = dirname(self);
        try_beside(folder, "grapevined", new_argv);
        try_beside(folder, "../sbin/grapevined", new_argv);
    }
    (void)execvp("grapevined", new_argv);
    int status = gv_command_fail("check-config", GV_EXIT_FAILED, "cannot run grapevined: %s",
                                 strerror(errno));
    gv_free(new_argv[0]);
    gv_free(new_argv[1]);
    gv_free(new_argv);
    return status;
}
