/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An admin server on a loop's thread, and a client on the test's. */

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <check.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/admin/admin.h"

static gv_loop_t *loop;
static gv_admin_t *admin;

/* ---- the loop ----------------------------------------------------------------------------- */

typedef struct errand {
    gv_letter_t letter;
    void (*run)(void);
    sem_t done;
} errand_t;

static inline void on_errand(gv_letter_t *letter)
{
    errand_t *errand = gv_container_of(letter, errand_t, letter);
    gv_loop_assert_current(loop);
    errand->run();
    sem_post(&errand->done);
}

/* Runs it on the loop, and waits until it has. */
static inline void on_loop_do(void (*run)(void))
{
    errand_t errand = {.letter = {.deliver = on_errand}, .run = run};
    sem_init(&errand.done, 0, 0);
    gv_loop_send(loop, &errand.letter);
    sem_wait(&errand.done);
    sem_destroy(&errand.done);
}

static inline void rig_start_loop(void)
{
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
}

static inline void rig_stop_loop(void)
{
    gv_loop_stop(loop);
    gv_loop_join(loop);
    gv_loop_free(&loop);
}

/* For on_loop_do(). */
static inline void rig_open_admin(void)
{
    gv_loop_assert_current(loop);
    gv_error_text_t error;
    const gv_admin_options_t options = {.address = "127.0.0.1:0"};
    ck_assert_int_eq(gv_admin_open(loop, &options, &admin, &error), GV_OK);
}

static inline void rig_close_admin(void)
{
    gv_loop_assert_current(loop);
    gv_admin_close(&admin);
}

/* ---- the client --------------------------------------------------------------------------- */

static inline int rig_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(gv_admin_port(admin))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* The answer has this status, and this part in it. */
static inline void rig_expect(const char *method, const char *path, const char *status,
                              const char *part)
{
    char text[32768];
    size_t size = 0;
    int fd = rig_connect();
    int size_sent =
        snprintf(text, sizeof(text),
                 "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                 method, path);
    ck_assert_int_eq(send(fd, text, (size_t)size_sent, MSG_NOSIGNAL), size_sent);
    ssize_t got;
    while ((got = recv(fd, text + size, sizeof(text) - 1 - size, 0)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    close(fd);
    ck_assert_msg(strncmp(text + strlen("HTTP/1.1 "), status, 3) == 0 && strstr(text, part) != NULL,
                  "%s: expected %s with %s, got\n%s", path, status, part, text);
}
