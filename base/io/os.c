/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/os.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <sys/random.h>
#include <sys/resource.h>

#include <uv.h>

#define NS_PER_S  ((uint64_t)1000000000)
#define MS_PER_S  ((uint64_t)1000)
#define NS_PER_MS ((uint64_t)1000000)

/* What Linux keeps of a thread's name, with the NUL. */
#define THREAD_NAME_SIZE 16

static struct timespec now(clockid_t clock)
{
    struct timespec ts;
    int rc = clock_gettime(clock, &ts);
    GV_ASSERT(rc == 0);
    return ts;
}

static uint64_t monotonic_ns(void *arg)
{
    (void)arg;
    struct timespec ts = now(CLOCK_MONOTONIC);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t realtime_ms(void *arg)
{
    (void)arg;
    struct timespec ts = now(CLOCK_REALTIME);
    return (uint64_t)ts.tv_sec * MS_PER_S + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

const gv_clock_t *gv_os_clock(void)
{
    static const gv_clock_t real = {.monotonic_ns = monotonic_ns, .realtime_ms = realtime_ms};
    return &real;
}

uint64_t gv_os_log_now(void)
{
    return realtime_ms(NULL);
}

void gv_os_random(void *out, size_t size)
{
    uint8_t *pos = out;
    while (size > 0) {
        ssize_t got = getrandom(pos, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        GV_ASSERT(got > 0);
        pos += got;
        size -= (size_t)got;
    }
}

uint32_t gv_os_cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) {
        return (uint32_t)CPU_COUNT(&set);
    }
    /* More than 1024 processors do not fit into the set; ask the simpler question. */
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

uint64_t gv_os_raise_fd_limit(uint64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    if (limit.rlim_cur >= wanted) {
        return limit.rlim_cur;
    }
    struct rlimit raised = limit;
    raised.rlim_cur = wanted;
    if (raised.rlim_max < wanted) {
        raised.rlim_max = wanted; /* only root may */
    }
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        return wanted;
    }
    raised = limit;
    raised.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

const char *gv_os_hostname(char *out, size_t out_size)
{
    GV_ASSERT(out_size >= 2);
    if (gethostname(out, out_size) != 0 || out[0] == '\0') {
        (void)snprintf(out, out_size, "localhost");
    }
    out[out_size - 1] = '\0'; /* a name that was cut need not end */
    return out;
}

void gv_os_ignore_sigpipe(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int rc = sigaction(SIGPIPE, &ignore, NULL);
    GV_ASSERT(rc == 0);
}

static void mask_signals(int how)
{
    sigset_t requests;
    (void)sigemptyset(&requests);
    (void)sigaddset(&requests, SIGTERM);
    (void)sigaddset(&requests, SIGINT);
    (void)sigaddset(&requests, SIGHUP);
    int rc = pthread_sigmask(how, &requests, NULL);
    GV_ASSERT(rc == 0);
}

void gv_os_hold_signals(void)
{
    mask_signals(SIG_BLOCK);
}

void gv_os_release_signals(void)
{
    mask_signals(SIG_UNBLOCK);
}

void gv_os_name_thread(const char *name)
{
    char shown[THREAD_NAME_SIZE];
    (void)snprintf(shown, sizeof(shown), "%s", name);
    (void)pthread_setname_np(pthread_self(), shown);
}

gv_err_t gv_err_from_errno(int code)
{
    switch (code) {
    case 0:
        return GV_OK;
    case ENOMEM:
    case ENOBUFS:
        return GV_ERR_NOMEM;
    case EAGAIN:
    case EINTR:
        return GV_ERR_AGAIN;
    case EINVAL:
    case EAFNOSUPPORT:
    case ENAMETOOLONG:
        return GV_ERR_INVAL;
    case EMFILE:
    case ENFILE:
        return GV_ERR_LIMIT;
    case ENOENT:
        return GV_ERR_NOENT;
    case EEXIST:
        return GV_ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return GV_ERR_DENIED;
    case ECONNRESET:
    case ECONNABORTED:
    case ECONNREFUSED:
    case EPIPE:
    case ENOTCONN:
    case ENETUNREACH:
    case ENETDOWN:
    case EHOSTUNREACH:
        return GV_ERR_CLOSED;
    case ETIMEDOUT:
        return GV_ERR_TIMEOUT;
    case EADDRINUSE:
    case EBUSY:
        return GV_ERR_BUSY;
    case ENOSPC:
    case EDQUOT:
        return GV_ERR_FULL;
    default:
        return GV_ERR_IO;
    }
}

gv_err_t gv_err_from_uv(int code)
{
    switch (code) {
    case UV_EAI_NONAME:
    case UV_EAI_NODATA:
    case UV_EAI_ADDRFAMILY:
        return GV_ERR_NOENT;
    case UV_EAI_AGAIN:
        return GV_ERR_AGAIN;
    case UV_EAI_MEMORY:
        return GV_ERR_NOMEM;
    case UV_EOF:
    case UV_ECANCELED:
        return GV_ERR_CLOSED;
    default:
        return gv_err_from_errno(code <= 0 ? -code : EINVAL);
    }
}
