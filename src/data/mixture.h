/* The data of a run: one data set, or several sources that take turns by weight (docs/NUMERICS.md 8).
 *
 *     sequence n goes to the source with the largest n·w_i/Σw − taken_i, equal: the first    (n, taken_i from 0)
 *
 * With W = Σw, weights divided by their greatest common divisor, this has the period W, in which source i
 * has w_i turns: which source, and which of its sequences, is a function of n. Each source has its own
 * stream: documents, order, epochs, held-out part.
 */
#ifndef SY_DATA_MIXTURE_H
#define SY_DATA_MIXTURE_H

#include "config/config.h"
#include "data/loader.h"

enum { SY_SOURCES_MAX = SY_CONFIG_SOURCES, SY_SOURCE_TURNS_MAX = 1 << 20 };

struct sy_mixture_options {
    struct sy_data_options data; /* of one data set; else paths and validation are set for each source */
    const char *const *path;     /* of each source; n = 0: data says what is read */
    const int64_t *weight;
    int n;
    int64_t seq_len;
};

struct sy_mixed {
    struct sy_documents *documents;
    struct sy_corpus *corpus;
    struct sy_loader *loader;
    int64_t weight; /* as given */
    int64_t turns;  /* of a period */
};

struct sy_turn {
    int32_t source;
    int32_t number; /* of the source's turns before it, in the period */
};

struct sy_mixture {
    int n;
    struct sy_mixed *of;
    struct sy_turn *turn; /* [period] */
    int64_t period, seq_len;
};

/* Where a stretch of steps with one seq_len begins: at token `from` of the run, of which each source has
 * given so many. Of one data set it is not looked at. */
struct sy_mixture_place {
    int64_t from, tokens[SY_SOURCES_MAX];
};

/* Local. data.tokenizer and log must outlive it; a pool need not. Errors: those of documents, corpus and
 * loader; ERR_USAGE weights. sy_mixture_close (NULL too). */
sy_status sy_mixture_open(const struct sy_mixture_options *o, struct sy_mixture **out);
void sy_mixture_close(struct sy_mixture *mixture);

/* Local. The sequence that begins at token `at` of the run. Errors: those of sy_loader_fetch; ERR_USAGE it
 * is no whole number of sequences behind the place. */
sy_status sy_mixture_fetch(const struct sy_mixture *mixture, const struct sy_mixture_place *place, int64_t at,
                           int32_t *tokens, int32_t *labels, int32_t *doc_start);

/* Local. The place where a stretch ends, at token `at`, that had sequences of seq_len. Errors: as above. */
sy_status sy_mixture_move(const struct sy_mixture *mixture, int64_t seq_len, int64_t at,
                          struct sy_mixture_place *place);

/* Local. Held-out sequences: those of the first source, of the second, … */
int64_t sy_mixture_eval_count(const struct sy_mixture *mixture);
sy_status sy_mixture_eval_fetch(const struct sy_mixture *mixture, int64_t n, int32_t *tokens, int32_t *labels,
                                int32_t *doc_start);

struct sy_mixture_totals {
    int64_t n_train, train_bytes, n_heldout, heldout_bytes;
};
struct sy_mixture_totals sy_mixture_totals(const struct sy_mixture *mixture);

/* Local. Nats per token of single tokens; of sources the mean by weight. */
double sy_mixture_entropy(const struct sy_mixture *mixture, const char *cache_dir);

/* Local. As those of documents; of sources {"sources": [{"weight", "data": fingerprint} …]}. */
sy_status sy_mixture_fingerprint(const struct sy_mixture *mixture, const char *tokenizer, json_t **out);
sy_status sy_mixture_check(const struct sy_mixture *mixture, const char *tokenizer, const char *name,
                           const json_t *fingerprint);

/* Local. A place in a checkpoint: {"from": token, "tokens": [of each source]}; NULL of one data set, and
 * without memory. And back, for a run that is at token `at`: ERR_DATA. */
json_t *sy_mixture_place_json(const struct sy_mixture *mixture, const struct sy_mixture_place *place);
sy_status sy_mixture_place_read(const struct sy_mixture *mixture, const char *name, const json_t *json,
                                int64_t at, struct sy_mixture_place *place);

#endif
