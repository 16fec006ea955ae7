/* Training a byte-level BPE: see train.h. */
#include "tokenizer/train.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/alphabet.h"
#include "tokenizer/model.h"
#include "tokenizer/pairs.h"
#include "tokenizer/write.h"

enum { OWN_SPECIAL = 3, MAX_SPECIAL = 1000, MAX_WORD = 1 << 12 };

struct sy_bpe_trainer {
    struct sy_train_bpe how;
    struct sy_step form, split;
    struct sy_stepping stepping;
    struct sy_strings words; /* by first occurrence */
    int64_t *count;          /* of each word */
    int32_t count_capacity;
    const char *special[MAX_SPECIAL];
    int n_special;
    int32_t byte_id[256];
    struct sy_strings tokens; /* as bytes: bytes and what was merged */
    struct sy_pairs pairs;
    int32_t **symbol; /* of each word */
    int32_t *n_symbols;
    struct sy_made *made;
    int32_t n_made;
};

static sy_status no_memory(const struct sy_bpe_trainer *t) {
    SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId32 " different words", t->words.n);
}

/* The bytes, in the order of the characters that stand for them, behind the special tokens. */
static sy_status begin_tokens(struct sy_bpe_trainer *t) {
    int32_t next = t->n_special;
    for (uint32_t code = 0; code < SY_ALPHABET_CODES; code++) {
        int byte = sy_alphabet_byte(code);
        if (byte < 0)
            continue;
        t->byte_id[byte] = next;
        if (sy_strings_add(&t->tokens, next++, &(char){(char)byte}, 1) != SY_STRINGS_ADDED)
            return no_memory(t);
    }
    return SY_OK;
}

static sy_status name_special(struct sy_bpe_trainer *t) {
    for (int i = 0; i < OWN_SPECIAL; i++)
        t->special[t->n_special++] = sy_byte_token_name(SY_TOKEN_BOS + i);
    for (int i = 0; i < t->how.n_more; i++) {
        if (t->n_special == MAX_SPECIAL)
            SY_FAIL(SY_ERR_USAGE, "more than %d special tokens", MAX_SPECIAL);
        for (int k = 0; k < t->n_special; k++)
            if (!*t->how.more[i] || strcmp(t->special[k], t->how.more[i]) == 0)
                SY_FAIL(SY_ERR_USAGE, "special token \"%s\": empty, or there twice", t->how.more[i]);
        t->special[t->n_special++] = t->how.more[i];
    }
    return SY_OK;
}

static sy_status begin(struct sy_bpe_trainer *t) {
    SY_TRY(name_special(t));
    if (t->how.vocab_size < 256 + t->n_special || t->how.vocab_size > SY_TOKENIZER_MAX_IDS)
        SY_FAIL(SY_ERR_USAGE,
                "vocabulary of %" PRId32 ": must be in %d … %d: 256 bytes and %d special tokens",
                t->how.vocab_size, 256 + t->n_special, SY_TOKENIZER_MAX_IDS, t->n_special);
    if (t->how.min_frequency < 1)
        SY_FAIL(SY_ERR_USAGE, "a frequency of %" PRId64 ": must be at least 1", t->how.min_frequency);
    t->form = (struct sy_step){.kind = SY_STEP_FORM, .options = UTF8PROC_STABLE | UTF8PROC_COMPOSE};
    t->split = (struct sy_step){.kind = SY_STEP_SPLIT, .split = SY_SPLIT_ISOLATED};
    if (!t->how.pattern)
        t->how.pattern = SY_TRAIN_PATTERN;
    SY_TRY(sy_regex_create("the pattern that splits words", t->how.pattern, &t->split.regex));
    SY_TRY(sy_matcher_create(&t->stepping.matcher));
    return begin_tokens(t);
}

sy_status sy_bpe_trainer_create(const struct sy_train_bpe *options, struct sy_bpe_trainer **out) {
    struct sy_bpe_trainer *t = calloc(1, sizeof *t);
    if (!t)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a trainer");
    t->how = *options;
    sy_status status = begin(t);
    if (status != SY_OK) {
        sy_bpe_trainer_destroy(t);
        return status;
    }
    *out = t;
    return SY_OK;
}

void sy_bpe_trainer_destroy(struct sy_bpe_trainer *t) {
    if (!t)
        return;
    for (int32_t i = 0; t->symbol && i < t->words.n; i++)
        free(t->symbol[i]);
    free(t->symbol);
    free(t->n_symbols);
    free(t->count);
    free(t->made);
    sy_step_fini(&t->split);
    sy_stepping_fini(&t->stepping);
    sy_strings_free(&t->words);
    sy_strings_free(&t->tokens);
    sy_pairs_free(&t->pairs);
    free(t);
}

/* --- words ------------------------------------------------------------------------------------------ */

/* One of more bytes than MAX_WORD teaches nothing, and is left out. */
static sy_status count_word(void *user, const char *word, size_t n) {
    struct sy_bpe_trainer *t = user;
    if (n < 2 || n > MAX_WORD)
        return SY_OK;
    int32_t id = sy_strings_find(&t->words, word, n);
    if (id < 0) {
        id = t->words.n;
        if (id == t->count_capacity) {
            int32_t capacity = 2 * id + 1024;
            int64_t *larger =
                id < INT32_MAX / 4 ? realloc(t->count, (size_t)capacity * sizeof *larger) : NULL;
            if (!larger)
                return no_memory(t);
            t->count = larger;
            t->count_capacity = capacity;
        }
        if (sy_strings_add(&t->words, id, word, n) != SY_STRINGS_ADDED)
            return no_memory(t);
        t->count[id] = 0;
    }
    t->count[id]++;
    return SY_OK;
}

sy_status sy_bpe_trainer_add(struct sy_bpe_trainer *t, const char *text, size_t n) {
    struct sy_pieces pieces = {&t->split, 1, &t->stepping, count_word, t};
    if (t->how.nfc)
        SY_TRY(sy_normalize(&t->form, 1, &t->stepping, &text, &n));
    return sy_split_text(&pieces, text, n, 1);
}

/* --- merges ----------------------------------------------------------------------------------------- */

static sy_status spell_words(struct sy_bpe_trainer *t) {
    t->symbol = calloc((size_t)t->words.n + 1, sizeof *t->symbol);
    t->n_symbols = calloc((size_t)t->words.n + 1, sizeof *t->n_symbols);
    t->made = malloc((size_t)t->how.vocab_size * 2 * sizeof *t->made);
    if (!t->symbol || !t->n_symbols || !t->made)
        return no_memory(t);
    for (int32_t w = 0; w < t->words.n; w++) {
        size_t n = 0;
        const char *s = sy_strings_get(&t->words, w, &n);
        t->symbol[w] = malloc(n * sizeof **t->symbol);
        if (!t->symbol[w])
            return no_memory(t);
        t->n_symbols[w] = (int32_t)n;
        for (size_t i = 0; i < n; i++)
            t->symbol[w][i] = t->byte_id[(unsigned char)s[i]];
        for (size_t i = 0; i + 1 < n; i++)
            sy_pairs_add(&t->pairs, t->symbol[w][i], t->symbol[w][i + 1], t->count[w], w);
    }
    for (int32_t i = 0; i < t->pairs.n && !t->pairs.failed; i++)
        sy_pairs_queue(&t->pairs, i);
    return t->pairs.failed ? no_memory(t) : SY_OK;
}

/* Replaces left, right by `into` in a word. Pairs that go and come are counted; the merged one is done. */
static void merge_in(struct sy_bpe_trainer *t, int32_t w, const struct sy_made *made) {
    int32_t *s = t->symbol[w], n = t->n_symbols[w], to = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t x = s[i];
        if (x == made->left && i + 1 < n && s[i + 1] == made->right) {
            int32_t before = to > 0 ? s[to - 1] : -1, after = i + 2 < n ? s[i + 2] : -1;
            if (before >= 0 && !(before == made->left && x == made->right))
                sy_pairs_add(&t->pairs, before, x, -t->count[w], w);
            if (before >= 0)
                sy_pairs_add(&t->pairs, before, made->into, t->count[w], w);
            if (after >= 0 && !(made->right == made->left && after == made->right))
                sy_pairs_add(&t->pairs, made->right, after, -t->count[w], w);
            if (after >= 0)
                sy_pairs_add(&t->pairs, made->into, after, t->count[w], w);
            x = made->into;
            i++;
        }
        s[to++] = x;
    }
    t->n_symbols[w] = to;
}

/* The token of both sides together; a new one unless it is there. */
static sy_status token_of(struct sy_bpe_trainer *t, struct sy_made *made) {
    size_t n = 0, m = 0;
    char both[2 * MAX_WORD];
    const char *left = sy_strings_get(&t->tokens, made->left, &n);
    memcpy(both, left, n);
    const char *right = sy_strings_get(&t->tokens, made->right, &m);
    memcpy(both + n, right, m);
    made->into = sy_strings_find(&t->tokens, both, n + m);
    if (made->into >= 0)
        return SY_OK;
    made->into = t->tokens.n;
    return sy_strings_add(&t->tokens, made->into, both, n + m) == SY_STRINGS_ADDED ? SY_OK : no_memory(t);
}

static sy_status merge_pair(struct sy_bpe_trainer *t, int32_t at) {
    struct sy_pair pair = t->pairs.pair[at];
    struct sy_made *made = &t->made[t->n_made++];
    int32_t n_before = t->pairs.n;
    *made = (struct sy_made){.left = pair.left, .right = pair.right};
    SY_TRY(token_of(t, made));
    t->pairs.pair[at].count = 0;
    t->pairs.pair[at].word = NULL; /* of `pair` from here on */
    t->pairs.pair[at].n_words = t->pairs.pair[at].capacity = 0;
    for (int32_t i = 0; i < pair.n_words; i++)
        merge_in(t, pair.word[i], made);
    free(pair.word);
    for (int32_t i = n_before; i < t->pairs.n && !t->pairs.failed; i++)
        if (t->pairs.pair[i].count > 0)
            sy_pairs_queue(&t->pairs, i);
    return t->pairs.failed ? no_memory(t) : SY_OK;
}

sy_status sy_bpe_trainer_finish(struct sy_bpe_trainer *t, struct sy_text *json, struct sy_text *config,
                                int32_t *n_tokens) {
    SY_TRY(spell_words(t));
    while (t->tokens.n < t->how.vocab_size && t->n_made < 2 * t->how.vocab_size) {
        int32_t at = sy_pairs_next(&t->pairs);
        if (t->pairs.failed)
            return no_memory(t);
        if (at < 0 || t->pairs.pair[at].count < t->how.min_frequency)
            break;
        SY_TRY(merge_pair(t, at));
    }
    struct sy_written_bpe w = {.made = t->made,
                               .n_made = t->n_made,
                               .n_ids = t->tokens.n,
                               .byte_id = t->byte_id,
                               .special = t->special,
                               .n_special = t->n_special,
                               .bos = 0,
                               .eos = 1,
                               .pad = 2,
                               .pattern = t->how.pattern,
                               .form = t->how.nfc ? "NFC" : NULL};
    *n_tokens = t->tokens.n;
    return sy_write_tokenizer(&w, json, config);
}
