/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_MESSAGES

#include "base/msgbuf.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "base/alloc.h"

/* Far above any real fan-out, far below wrap-around: a leaked reference is found, not exploited. */
#define MSGBUF_REFS_MAX ((uint32_t)1 << 30)

struct gv_msgbuf {
    atomic_uint_least32_t refs;
    bool sealed;
    size_t size; /* [bytes] */
    uint8_t data[];
};

_Static_assert(GV_MSGBUF_SIZE_MAX < SIZE_MAX - sizeof(struct gv_msgbuf),
               "header plus longest payload must not wrap");

gv_err_t gv_msgbuf_new(size_t size, gv_msgbuf_t **buf_out)
{
    GV_ASSERT(buf_out != NULL);
    *buf_out = NULL;

    if (size > GV_MSGBUF_SIZE_MAX) {
        return GV_ERR_LIMIT;
    }
    gv_msgbuf_t *buf = gv_try_alloc(sizeof(*buf) + size);
    if (buf == NULL) {
        return GV_ERR_NOMEM;
    }
    atomic_init(&buf->refs, 1);
    buf->sealed = false;
    buf->size = size;

    *buf_out = buf;
    return GV_OK;
}

uint8_t *gv_msgbuf_data(gv_msgbuf_t *buf)
{
    GV_ASSERT(buf != NULL);
    GV_ASSERT(!buf->sealed);
    return buf->data;
}

void gv_msgbuf_seal(gv_msgbuf_t *buf)
{
    GV_ASSERT(buf != NULL);
    GV_ASSERT(!buf->sealed);
    /*
     * A plain store is enough: what hands the buffer to another thread (the mailbox) is a release,
     * and taking it out is an acquire.
     */
    buf->sealed = true;
}

gv_msgbuf_t *gv_msgbuf_ref(gv_msgbuf_t *buf)
{
    GV_ASSERT(buf != NULL);
    GV_ASSERT(buf->sealed);
    /* Relaxed: who adds a reference already holds one, so there is nothing to order. */
    uint32_t refs_before = atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    GV_ASSERT(refs_before > 0);
    GV_ASSERT(refs_before < MSGBUF_REFS_MAX);
    return buf;
}

void gv_msgbuf_unref(gv_msgbuf_t **bufp)
{
    GV_ASSERT(bufp != NULL);
    gv_msgbuf_t *buf = *bufp;
    *bufp = NULL;
    if (buf == NULL) {
        return;
    }
    /*
     * acq_rel: our reads of the bytes come before the drop (release), and all other holders' reads
     * come before the free (acquire).  Not a fence, because ThreadSanitizer does not see fences.
     */
    uint32_t refs_before = atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel);
    GV_ASSERT(refs_before > 0);
    if (refs_before == 1) {
        gv_free(buf);
    }
}

gv_bytes_t gv_msgbuf_bytes(const gv_msgbuf_t *buf)
{
    GV_ASSERT(buf != NULL);
    GV_ASSERT(buf->sealed);
    return (gv_bytes_t){.data = buf->data, .size = buf->size};
}
