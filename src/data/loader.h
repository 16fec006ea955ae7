/* Documents to sequences of tokens: one endless stream, cut into sequences of S.
 *
 *     epoch 0: BOS text EOS BOS text EOS …  epoch 1: the same documents in another order …
 *     (no BOS where the tokenizer has none)
 *     a sequence is stream[at … at+S), `at` global, for the whole run: the layout decides who asks,
 * never what is there
 *
 * Epoch e orders the training documents by mix(k + (i+1)*0x9e3779b97f4a7c15), k = mix(mix(seed + shuffle
 * purpose*2^32) + e), i the place in file order, mix SplitMix64's finaliser (a bijection, so there are
 * no ties); or in file order. Fetching is random access: O(log documents) + S once an epoch's order is
 * known; the orders of two epochs are in memory, and kept in data.cache_dir.
 */
#ifndef SY_DATA_LOADER_H
#define SY_DATA_LOADER_H

#include "data/corpus.h"

enum { SY_SEQ_LEN_MAX = 1 << 24 };

struct sy_loader;

/* Local. Uses shuffle, seed, cache_dir, tokenizer and log of `options`; corpus, tokenizer and log must
 * outlive it. Errors: ERR_USAGE seq_len out of 1 … SY_SEQ_LEN_MAX, no training documents; ERR_MEMORY. */
sy_status sy_loader_create(const struct sy_corpus *corpus, const struct sy_data_options *options,
                           int64_t seq_len, struct sy_loader **out);
void sy_loader_destroy(struct sy_loader *loader);

/* Local. The sequence that begins at token `at` >= 0 of the stream: tokens[S]; labels[S], the next token
 * of the same document or SY_LABEL_NONE; doc_start[S], the index in this sequence where the token's
 * document starts, 0 if before it (position i - doc_start[i]). May be called from any thread; calls wait
 * for each other. Errors: ERR_USAGE `at` out of range; ERR_MEMORY; those of sy_corpus_read. */
sy_status sy_loader_fetch(struct sy_loader *loader, int64_t at, int32_t *tokens, int32_t *labels,
                          int32_t *doc_start);

/* Local. The held-out documents by ascending hash, cut the same way; the last sequence is filled up with
 * PAD, label SY_LABEL_NONE, as a document of its own. count is 0 when nothing is held out; valid labels
 * over all of them. */
int64_t sy_loader_eval_count(const struct sy_loader *loader);
int64_t sy_loader_eval_labels(const struct sy_loader *loader);
sy_status sy_loader_eval_fetch(struct sy_loader *loader, int64_t n, int32_t *tokens, int32_t *labels,
                               int32_t *doc_start);

#endif
