/* Where in a step a wait for other ranks was, before the message of one that did not end well; and the first
 * failure of many calls, whose message later ones would replace. */
#ifndef SY_PARALLEL_PLACE_H
#define SY_PARALLEL_PLACE_H

#include <stdio.h>

#include "base/status.h"

/* Local. "weights of layer 3: " before the message of ERR_PEER; layer -1: of none. Another status has its
 * own place. Returns it unchanged. */
static inline sy_status sy_at_layer(sy_status status, const char *what, int layer) {
    if (status != SY_ERR_PEER)
        return status;
    return layer < 0 ? sy_fail_context(status, "%s of embedding and head", what)
                     : sy_fail_context(status, "%s of layer %d", what, layer);
}

struct sy_first_failure { /* {0}: none */
    sy_status status;
    char message[2048];
};

/* Local. A call has returned `status`. */
static inline void sy_first_failure_note(struct sy_first_failure *f, sy_status status) {
    if (f->status != SY_OK || status == SY_OK)
        return;
    f->status = status;
    snprintf(f->message, sizeof f->message, "%s", sy_error_message());
}

/* Local. Its status, with its message. */
static inline sy_status sy_first_failure_said(const struct sy_first_failure *f) {
    return f->status == SY_OK ? SY_OK : sy_fail(f->status, "%s", f->message);
}

#endif
