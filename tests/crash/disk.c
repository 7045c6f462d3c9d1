/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that is slow or broken when a test wants it: preloaded into a node (LD_PRELOAD), it takes
 * the place of fdatasync(), which LMDB ends each commit with.
 *
 * The file named by GRAPEVINE_TEST_DISK has two numbers that the test may change at any time: how
 * long each sync takes [us], and the errno it fails with, or 0.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct orders {
    _Atomic uint32_t delay_us;
    _Atomic int32_t error;
} orders_t;

static const orders_t *orders;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_orders(void)
{
    const char *path = getenv("GRAPEVINE_TEST_DISK");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *place = mmap(NULL, sizeof(orders_t), PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    orders = place == MAP_FAILED ? NULL : place;
}

int fdatasync(int fd)
{
    (void)pthread_once(&once, find_orders);
    if (orders != NULL) {
        (void)usleep(atomic_load(&orders->delay_us));
        int error = atomic_load(&orders->error);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}
