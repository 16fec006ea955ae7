/* What comes after a text: the logits after a context, whose keys and values are kept from call to call
 * (model/cache.h).
 *
 * What is kept of a context that begins as the one before began is used again: the next token of a text, and
 * other samples of a prompt. Of a context longer than seq_len the last seq_len tokens are a sequence by
 * themselves (NUMERICS 2): all of them move, and each token is then a pass over all.
 */
#ifndef SY_TRAIN_CONTEXT_H
#define SY_TRAIN_CONTEXT_H

#include "train/session.h"

struct sy_context;

/* Local. Of a session made with CACHE, which outlives it. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_context_create(struct sy_session *session, struct sy_context **out);
void sy_context_destroy(struct sy_context *context);

/* Local. Logits [vocab] after ids [n], n >= 1: the host's, valid until the next call. Errors: of the
 * device. */
sy_status sy_context_logits(struct sy_context *context, const int32_t *ids, int64_t n, const float **logits);

/* Local. A text of n tokens is ahead: what becomes dear in it is said, once, to the session's log. */
void sy_context_expect(struct sy_context *context, int64_t n);

/* Tokens that were computed since creation. */
int64_t sy_context_computed(const struct sy_context *context);

#endif
