/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/notice.h"

bool gv_notices_is_news(gv_notices_t *notices, gv_bytes_t about, uint64_t what, uint64_t now_ms)
{
    uint64_t hash = gv_bytes_hash(about, what);
    for (size_t i = 0; i < GV_NOTICES_MAX; i++) {
        if (notices->_entries[i].hash == hash && notices->_entries[i].until_ms > now_ms) {
            return false;
        }
    }
    notices->_entries[notices->_next].hash = hash;
    notices->_entries[notices->_next].until_ms = now_ms + GV_NOTICE_PAUSE_MS;
    notices->_next = (notices->_next + 1) % GV_NOTICES_MAX;
    return true;
}
