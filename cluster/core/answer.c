/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"

/*
 * Most messages are taken by all who are to have them, and then the number in an acknowledgement is
 * all there is to say.  The others are named one by one, or as a row:
 *
 *     refused     somebody there cannot have it, for lack of room: the publisher is refused
 *     returned    groups that have no member there: the origin gives it to one elsewhere
 *
 * An answer belongs to a number below `applied`, and is repeated with every acknowledgement until
 * the origin has said, by the `lowest` of a batch, that it is through with that number.  The origin
 * says so at once.  So it does not matter what is lost, comes twice or takes another way.
 */

/* About what answers may take of one acknowledgement, which is a control frame [bytes]. */
#define ANSWERS_PACKED_MAX ((size_t)65536)

/* ---- where the messages go to -------------------------------------------------------------------
 */

void gv__answers_init(gv_fifo_t *answers)
{
    gv__fifo_init(answers, sizeof(gv_answer_t));
}

static void pop(gv_fifo_t *answers)
{
    gv_answer_t *first = gv__fifo_peek(answers);
    gv_free(first->returned);
    gv__fifo_pop(answers);
}

void gv__answers_deinit(gv_fifo_t *answers)
{
    while (gv__fifo_count(answers) > 0) {
        pop(answers);
    }
    gv__fifo_deinit(answers);
    gv__answers_init(answers);
}

void gv__answers_add(gv_fifo_t *answers, const gv_delivered_t *delivered)
{
    if (!delivered->is_refused && delivered->returned_count == 0) {
        return;
    }
    size_t count = gv__fifo_count(answers);
    gv_answer_t *last = count == 0 ? NULL : gv__fifo_at(answers, count - 1);
    if (last != NULL && delivered->returned_count == 0 && last->returned_count == 0 &&
        delivered->seq == last->seq + last->count) {
        last->count++;
        return;
    }
    gv_answer_t answer = {
        .seq = delivered->seq,
        .count = 1,
        .is_refused = delivered->is_refused,
        .returned_count = delivered->returned_count,
        .returned = delivered->returned,
    };
    gv__fifo_push(answers, &answer);
}

void gv__answers_forget(gv_fifo_t *answers, uint64_t below)
{
    gv_answer_t *first;
    while ((first = gv__fifo_peek(answers)) != NULL && first->seq < below) {
        if (first->seq + first->count > below) {
            first->count -= below - first->seq;
            first->seq = below;
            return;
        }
        pop(answers);
    }
}

uint64_t gv__answers_pack(gv_ccore_t *core, const gv_fifo_t *answers, uint64_t applied,
                          Gv__ForwardAck *ack)
{
    size_t count = gv__fifo_count(answers);
    ack->answers = gv__build(core, count, sizeof(*ack->answers));
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        const gv_answer_t *answer = gv__fifo_at(answers, i);
        size += 32 + answer->returned_count * sizeof(uint64_t);
        if (i > 0 && size > ANSWERS_PACKED_MAX) {
            return answer->seq - 1; /* the rest when the origin has heard these */
        }
        Gv__ForwardAnswer *packed = gv__build(core, 1, sizeof(*packed));
        gv__forward_answer__init(packed);
        packed->seq = answer->seq;
        packed->count = answer->count;
        packed->refused = answer->is_refused;
        packed->returned = answer->returned;
        packed->n_returned = answer->returned_count;
        ack->answers[ack->n_answers++] = packed;
    }
    return applied;
}

/* ---- where they come from -----------------------------------------------------------------------
 */

const Gv__ForwardAnswer *gv__answer_about(const Gv__ForwardAck *ack, uint64_t seq, size_t *at)
{
    for (; *at < ack->n_answers; (*at)++) {
        const Gv__ForwardAnswer *answer = ack->answers[*at];
        if (seq < answer->seq) {
            return NULL;
        }
        if (seq - answer->seq < (answer->count == 0 ? 1 : answer->count)) {
            return answer;
        }
    }
    return NULL;
}

static bool is_returned(const Gv__ForwardAnswer *answer, gv_bytes_t share_filter)
{
    uint64_t key = gv_forward_group_key(share_filter);
    for (size_t i = 0; i < answer->n_returned; i++) {
        if (answer->returned[i] == key) {
            return true;
        }
    }
    return false;
}

gv_forward_body_t *gv__answer_body(gv_ccore_t *core, const gv_forward_body_t *body,
                                   const Gv__ForwardAnswer *answer)
{
    gv_forward_t msg;
    gv_err_t err = gv_forward_decode(gv_bytes(body->data, body->size), core->shared, &msg);
    GV_ASSERT(err == GV_OK); /* we have encoded it ourselves */
    size_t count = 0;
    for (size_t i = 0; i < msg.shared_count; i++) {
        if (is_returned(answer, core->shared[i])) {
            core->shared[count++] = core->shared[i];
        }
    }
    if (count == 0) {
        return NULL;
    }
    msg.shared_count = count;
    gv_forward_body_t *lost = gv__forward_body_new(&msg);
    lost->refs = 1;
    return lost;
}
