/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <getopt.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "base/io/os.h"
#include "cli/command.h"
#include "proto/mqtt/utf8.h"
#include "proto/scram/scram.h"
#include "proto/scram/verifier.h"

/*
 * Makes the verifier of a password for the configuration of a node.  The node never sees the
 * password, and computes nothing slow: that is done here, and in the client.
 */

#define PASSWORD_SIZE_MAX 1024U

typedef struct password {
    char text[PASSWORD_SIZE_MAX + 1];
    size_t size;
} password_t;

static void print_help(void)
{
    (void)puts(
        "usage: grapevine passwd [OPTION]... [USER]\n"
        "\n"
        "Reads a password, from the terminal or as the first line of standard input, and prints\n"
        "its verifier: with USER as a line for the configuration of grapevined.\n"
        "\n"
        "      --scram          for SCRAM-SHA-256; this is the default, and all there is\n"
        "  -i, --iterations N   work for the client at each login, and for who guesses (4096)\n"
        "  -h, --help           this text\n"
        "\n"
        "Non-ASCII passwords are taken as the bytes they are (no SASLprep).");
}

/* One line from stdin, without its end.  NULL, or what is wrong. */
static const char *read_line(password_t *out)
{
    out->size = 0;
    for (int c; (c = fgetc(stdin)) != EOF && c != '\n';) {
        if (c == '\0') {
            return "there is a NUL in the password";
        }
        if (out->size == PASSWORD_SIZE_MAX) {
            return "the password is longer than 1024 bytes";
        }
        out->text[out->size++] = (char)c;
    }
    if (out->size > 0 && out->text[out->size - 1] == '\r') {
        out->size--;
    }
    out->text[out->size] = '\0';
    return out->size > 0 ? NULL : "the password is empty";
}

static const char *ask(const char *prompt, password_t *out)
{
    struct termios shown;
    bool is_terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
    if (!is_terminal) {
        return read_line(out);
    }
    struct termios hidden = shown;
    hidden.c_lflag &= (tcflag_t)~ECHO;
    /* First, because it throws away what was typed too early and shown. */
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    (void)fputs(prompt, stderr);
    const char *problem = read_line(out);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &shown);
    (void)fputc('\n', stderr);
    return problem;
}

/* From a terminal twice, because nobody sees what is typed. */
static const char *read_password(password_t *out)
{
    const char *problem = ask("Password: ", out);
    if (problem != NULL || isatty(STDIN_FILENO) == 0) {
        return problem;
    }
    password_t again = {.size = 0};
    problem = ask("The same again: ", &again);
    if (problem == NULL && strcmp(out->text, again.text) != 0) {
        problem = "these were two different passwords";
    }
    gv_secret_wipe(&again, sizeof(again));
    return problem;
}

/* As a key of the configuration, in quotes: names have letters that keys have not. */
static void print_user(const char *user)
{
    (void)fputs("\"auth.scram.", stdout);
    for (const char *c = user; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            (void)putchar('\\');
        }
        (void)putchar(*c);
    }
    (void)fputs("\" = ", stdout);
}

static void print_verifier(const password_t *password, uint32_t iterations, const char *user)
{
    uint8_t salt[GV_SCRAM_SALT_SIZE];
    gv_os_random(salt, sizeof(salt));
    gv_scram_verifier_t verifier;
    gv_scram_verifier_make(gv_bytes(password->text, password->size), gv_bytes(salt, sizeof(salt)),
                           iterations, &verifier);
    char text[GV_SCRAM_VERIFIER_TEXT_SIZE_MAX];
    gv_writer_t w = gv_writer(text, sizeof(text) - 1);
    gv_scram_verifier_write(&w, &verifier);
    GV_ASSERT(!w.failed);
    *w.pos = '\0';
    if (user == NULL) {
        (void)puts(text);
        return;
    }
    print_user(user);
    (void)printf("\"%s\"\n", text);
}

static bool is_user(const char *name)
{
    gv_bytes_t bytes = gv_bytes_text(name);
    bool has_control = false;
    for (size_t i = 0; i < bytes.size; i++) {
        has_control = has_control || bytes.data[i] < ' ';
    }
    return bytes.size > 0 && bytes.size <= GV_SCRAM_USER_SIZE_MAX && !has_control &&
           gv_mqtt_text_valid(bytes);
}

int gv_command_passwd(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"scram", no_argument, NULL, 's'},
        {"iterations", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    unsigned long iterations = GV_SCRAM_ITERATIONS_MIN;
    char *rest = NULL;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":i:h", long_options, NULL)) != -1;) {
        switch (option) {
        case 's':
            break;
        case 'i':
            errno = 0;
            iterations = strtoul(optarg, &rest, 10);
            if (errno != 0 || *rest != '\0' || optarg[0] < '0' || optarg[0] > '9' ||
                iterations < GV_SCRAM_ITERATIONS_MIN || iterations > GV_SCRAM_ITERATIONS_MAX) {
                return gv_command_fail("passwd", GV_EXIT_USAGE,
                                       "--iterations '%s': expected a number from %u to %u", optarg,
                                       GV_SCRAM_ITERATIONS_MIN, GV_SCRAM_ITERATIONS_MAX);
            }
            break;
        case 'h':
            print_help();
            return GV_EXIT_OK;
        default:
            return gv_command_fail("passwd", GV_EXIT_USAGE, "%s %s", argv[optind - 1],
                                   option == ':' ? "needs a value" : "is not an option");
        }
    }
    const char *user = optind < argc ? argv[optind] : NULL;
    if (optind + 1 < argc || (user != NULL && !is_user(user))) {
        return gv_command_fail("passwd", GV_EXIT_USAGE,
                               "expected one user name, UTF-8 of 1 to %u bytes",
                               GV_SCRAM_USER_SIZE_MAX);
    }
    password_t password = {.size = 0};
    const char *problem = read_password(&password);
    if (problem == NULL) {
        print_verifier(&password, (uint32_t)iterations, user);
    }
    gv_secret_wipe(&password, sizeof(password));
    return problem == NULL ? GV_EXIT_OK : gv_command_fail("passwd", GV_EXIT_FAILED, "%s", problem);
}
