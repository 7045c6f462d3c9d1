/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/list_options.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static const gv_list_option_t *find(const gv_list_option_t *options, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i].option, text) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

/* Options of all commands, whose values are no words. */
static bool has_value(const char *text)
{
    return strcmp(text, "--admin") == 0 || strcmp(text, "--token") == 0;
}

static int fail(gv_list_arguments_t *out, const char *before, const char *argument,
                const char *behind)
{
    (void)snprintf(out->problem, sizeof(out->problem), "%s%.80s%s", before, argument, behind);
    return -1;
}

int gv_list_arguments_take(int argc, char **argv, const gv_list_option_t *options, size_t count,
                           gv_list_arguments_t *out)
{
    *out = (gv_list_arguments_t){.word = NULL};
    int kept = 1;
    bool all_are_words = false;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        const gv_list_option_t *option = all_are_words ? NULL : find(options, count, text);
        if (option != NULL) {
            const char *value = option->value != NULL ? option->value : argv[i + 1];
            if (value == NULL) {
                return fail(out, "", text, " needs a value");
            }
            gv_admin_add_parameter(&out->parameters, option->parameter, value);
            i += option->value == NULL;
        } else if (!all_are_words && strcmp(text, "--") == 0) {
            all_are_words = true;
        } else if (all_are_words || text[0] != '-') {
            if (out->word != NULL) {
                return fail(out, "unexpected argument '", text, "'");
            }
            out->word = text;
        } else {
            argv[kept++] = argv[i];
            if (has_value(text) && i + 1 < argc) {
                argv[kept++] = argv[++i];
            }
        }
    }
    argv[kept] = NULL;
    return kept;
}

void gv_list_arguments_deinit(gv_list_arguments_t *arguments)
{
    gv_text_deinit(&arguments->parameters);
}

int gv_list_command(int argc, char **argv, const gv_list_command_t *list)
{
    gv_admin_command_t command = list->command;
    gv_list_arguments_t arguments;
    argc = gv_list_arguments_take(argc, argv, list->options, list->option_count, &arguments);
    gv_text_t path = GV_TEXT_EMPTY;
    gv_text_add(&path, "%s", command.path);
    if (arguments.word != NULL && list->word != NULL) {
        gv_admin_add_parameter(&arguments.parameters, list->word, arguments.word);
    } else if (arguments.word != NULL) {
        gv_admin_add_path_value(&path, arguments.word);
        command.print = list->print_one;
    }
    gv_text_add(&path, "%s", gv_text_get(&arguments.parameters));
    command.path = gv_text_get(&path);
    int status = 0;
    if (argc < 0) {
        status = gv_command_fail(command.name, GV_EXIT_USAGE, "%s", arguments.problem);
    } else if (arguments.word == NULL && list->expected != NULL &&
               !gv_admin_asks_for_help(argc, argv)) {
        status = gv_command_fail(command.name, GV_EXIT_USAGE, "expected: %s", list->expected);
    } else {
        status = gv_admin_command(argc, argv, &command);
    }
    gv_text_deinit(&path);
    gv_list_arguments_deinit(&arguments);
    return status;
}

void gv_list_print_more(const json_t *answer, gv_text_t *out)
{
    if (!json_is_true(gv_json_at(answer, "meta.hasnext"))) {
        return;
    }
    if (json_is_string(gv_json_at(answer, "meta.cursor"))) {
        gv_text_add(out, "there are more: --cursor %s\n", gv_json_text(answer, "meta.cursor"));
    } else {
        gv_text_add(out, "there are more: --page %lld\n", gv_json_number(answer, "meta.page") + 1);
    }
}
