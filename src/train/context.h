/* What comes after texts: the logits after contexts, whose keys and values are kept from call to call
 * (model/cache.h).
 *
 * Each text has a slot. What a slot holds of a context that begins as the one before began is used again;
 * and what another slot has of it is copied, so that samples of a prompt compute it once. All texts of a
 * call are rows of one pass, as many as it has room for; no bit depends on which. Of a context longer than
 * seq_len the last seq_len tokens are a sequence by themselves (NUMERICS 2): all of them move, and each
 * token is then a pass over all.
 */
#ifndef SY_TRAIN_CONTEXT_H
#define SY_TRAIN_CONTEXT_H

#include "train/session.h"

struct sy_context;

/* Local. Of a session made with CACHE, which outlives it. Errors: ERR_MEMORY. Owned by the caller. */
sy_status sy_context_create(struct sy_session *session, struct sy_context **out);
void sy_context_destroy(struct sy_context *context);

/* ids [n], n >= 1, at most the cache's tokens or, of a cache of seq_len tokens, any. slot: of the cache,
 * another for each text of a call. */
struct sy_context_text {
    int slot;
    const int32_t *ids;
    int64_t n;
};

/* Local. logits[i] [vocab] after text i of n_texts, at most as many as the cache has: the host's, valid
 * until the next call. Errors: of the device. */
sy_status sy_context_logits(struct sy_context *context, int n_texts, const struct sy_context_text *texts,
                            const float **logits);

/* Local. A text of n tokens is ahead: what becomes dear in it is said, once, to the session's log. */
void sy_context_expect(struct sy_context *context, int64_t n);

/* Tokens that were computed since creation, and passes. */
int64_t sy_context_computed(const struct sy_context *context);
int64_t sy_context_passes(const struct sy_context *context);

#endif
