/* switchyard eval --multiple-choice: which of several continuations is the likeliest.
 *
 *     {"context": "The sky is", "choices": ["blue", "green"], "answer": 0}     one line each; the answer is a
 *                                                                              number from 0, or a choice
 *
 * The arithmetic of EleutherAI's lm-evaluation-harness, output type multiple_choice: white space at the end
 * of the context goes to the continuation, which is delimiter and choice; its tokens are those of context
 * and continuation together beyond as many as the context alone has. A choice's score is the sum of ln p of
 * its tokens: acc takes the greatest sum, acc_norm the greatest sum by characters of the choice, acc_bytes by
 * its bytes, acc_tokens by the continuation's tokens; equal ones: the first. Before the context stands BOS,
 * if the tokenizer has one, as in training; an empty one is sy_scorer_prefix.
 */
#include "commands/eval.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CHOICES = 1000 };

/* How scores are made comparable. */
enum { BY_SUM, BY_CHARACTERS, BY_BYTES, BY_TOKENS, NORMS };
static const char *const names[NORMS] = {"acc", "acc_norm", "acc_bytes", "acc_tokens"};

struct choice {
    const char *text;
    int64_t length[NORMS]; /* 1; characters, bytes; tokens of the continuation */
    int64_t nats;          /* 2^-24 */
    struct sy_tokens tokens;
};

struct question {
    json_t *root; /* whose texts are pointed at */
    int64_t line;
    const char *context;
    struct choice *choice; /* [n] */
    int n, answer;
};

/* Questions that are computed together: one with many choices may be more. */
enum { PENDING = 64 };

struct quiz {
    struct sy_scorer *scorer;
    const struct sy_eval_options *o;
    const struct sy_io *io;
    struct question pending[PENDING];
    int n_pending, n_choices;
    int64_t rows; /* tokens of all of them */
    int64_t n, right[NORMS];
};

/* --- a line --------------------------------------------------------------------------------------------- */

static int64_t characters(const char *s) {
    int64_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static sy_status read_choices(const char *where, const json_t *array, struct question *q) {
    q->n = (int)json_array_size(array);
    if (q->n < 2 || q->n > MOST_CHOICES)
        SY_FAIL(SY_ERR_DATA, "%s: %zu choices, must be in 2..%d", where, json_array_size(array),
                MOST_CHOICES);
    if (!(q->choice = calloc((size_t)q->n, sizeof *q->choice)))
        SY_FAIL(SY_ERR_MEMORY, "no memory for a question");
    for (int i = 0; i < q->n; i++) {
        const json_t *value = json_array_get(array, (size_t)i);
        const char *text = json_string_value(value);
        if (!text || !*text || strlen(text) != json_string_length(value))
            SY_FAIL(SY_ERR_DATA, "%s: choice %d is no text, or an empty one", where, i);
        q->choice[i] = (struct choice){.text = text};
        q->choice[i].length[BY_SUM] = 1;
        q->choice[i].length[BY_CHARACTERS] = characters(text);
        q->choice[i].length[BY_BYTES] = (int64_t)strlen(text);
    }
    return SY_OK;
}

static sy_status read_answer(const char *where, const json_t *root, struct question *q) {
    const json_t *answer = json_object_get(root, "answer");
    const char *text = json_string_value(answer);
    int64_t i = 0;
    if (!text)
        SY_TRY(sy_json_get_int(where, root, "answer", 0, q->n - 1, &i));
    while (text && i < q->n && strcmp(q->choice[i].text, text) != 0)
        i++;
    if (i == q->n)
        SY_FAIL(SY_ERR_DATA, "%s: the answer \"%.60s\" is none of the choices", where, text);
    q->answer = (int)i;
    return SY_OK;
}

/* --- tokens --------------------------------------------------------------------------------------------- */

static int is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

/* Bytes of valid UTF-8 without the white space at their end. */
static size_t without_space(const char *s) {
    size_t n = strlen(s);
    while (n > 0) {
        size_t at = n - 1;
        while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80)
            at--;
        static const unsigned char masks[] = {0x7f, 0x7f, 0x1f, 0x0f, 0x07};
        uint32_t c = (unsigned char)s[at] & masks[n - at <= 4 ? n - at : 4];
        for (size_t i = at + 1; i < n; i++)
            c = c << 6 | ((unsigned char)s[i] & 0x3f);
        if (!is_space(c))
            return n;
        n = at;
    }
    return 0;
}

/* The context's tokens, as they are before any choice. */
static sy_status begin_tokens(const struct sy_scorer *s, const char *context, size_t n,
                              struct sy_tokens *out) {
    int32_t bos = sy_tokenizer_bos(s->tokenizer), prefix = n ? bos : sy_scorer_prefix(s);
    out->n = 0;
    if (prefix != SY_TOKEN_NONE)
        sy_tokens_add(out, &prefix, 1);
    return sy_tokenizer_encode(s->tokenizer, context, n, out);
}

/* Behind them those of the continuation. */
static sy_status add_choice(const struct quiz *z, const char *context, size_t kept, struct choice *c,
                            struct sy_tokens *out) {
    struct sy_tokens whole = {0}, alone = {0};
    const struct sy_tokenizer *t = z->scorer->tokenizer;
    struct sy_text text = {0};
    const char *delimiter = z->o->delimiter ? z->o->delimiter : " ";
    sy_text_add(&text, context, strlen(context));
    sy_text_add(&text, delimiter, strlen(delimiter));
    sy_text_add(&text, c->text, strlen(c->text));
    sy_status status = text.failed ? sy_fail(SY_ERR_MEMORY, "no memory for a question")
                                   : sy_tokenizer_encode(t, text.s, text.n, &whole);
    if (status == SY_OK)
        status = sy_tokenizer_encode(t, context, kept, &alone);
    if (status == SY_OK && whole.n <= alone.n)
        status = sy_fail(SY_ERR_DATA, "choice \"%.60s\" has no token of its own behind the context", c->text);
    if (status == SY_OK) {
        c->length[BY_TOKENS] = (int64_t)(whole.n - alone.n);
        sy_tokens_add(out, whole.id + alone.n, whole.n - alone.n);
    }
    free(text.s);
    free(whole.id);
    free(alone.id);
    return status == SY_OK && out->failed ? sy_fail(SY_ERR_MEMORY, "no memory for a question") : status;
}

static sy_status take_tokens(const struct quiz *z, const struct question *q, struct choice *c) {
    size_t kept = without_space(q->context);
    SY_TRY(begin_tokens(z->scorer, q->context, kept, &c->tokens));
    return add_choice(z, q->context, kept, c, &c->tokens);
}

/* --- the figures ---------------------------------------------------------------------------------------- */

static int best_by(const struct question *q, int norm) {
    int best = 0;
    double most = -INFINITY;
    for (int i = 0; i < q->n; i++) {
        double x = -sy_scorer_real(q->choice[i].nats) / (double)q->choice[i].length[norm];
        if (x > most) {
            most = x;
            best = i;
        }
    }
    return best;
}

static sy_status print_question(const struct quiz *z, const struct question *q, int64_t line) {
    json_t *sums = json_array(), *tokens = json_array(), *chosen = json_object(),
           *root = json_pack("{s:I, s:i}", "line", (json_int_t)line, "answer", q->answer);
    int failed = !root;
    for (int k = 0; k < NORMS; k++)
        failed |= json_object_set_new(chosen, names[k], json_integer(best_by(q, k))) != 0;
    for (int i = 0; i < q->n; i++) {
        failed |= json_array_append_new(sums, json_real(-sy_scorer_real(q->choice[i].nats))) != 0;
        failed |= json_array_append_new(tokens, json_integer(q->choice[i].length[BY_TOKENS])) != 0;
    }
    failed |= json_object_set_new(root, "chosen", chosen) != 0;
    failed |= json_object_set_new(root, "loglikelihood", sums) != 0;
    failed |= json_object_set_new(root, "tokens", tokens) != 0;
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return sy_eval_print(z->io, root);
}

static void free_question(struct question *q) {
    for (int i = 0; q->choice && i < q->n; i++)
        free(q->choice[i].tokens.id);
    free(q->choice);
    json_decref(q->root);
    *q = (struct question){0};
}

static sy_status count(struct quiz *z, const struct question *q) {
    z->n++;
    for (int k = 0; k < NORMS; k++)
        z->right[k] += best_by(q, k) == q->answer;
    return z->o->json ? print_question(z, q, q->line) : SY_OK;
}

static const char *place(const struct quiz *z, int64_t line, char where[4200]) {
    snprintf(where, 4200, "%.4000s:%lld", z->o->multiple_choice, (long long)line);
    return where;
}

/* The question and choice of the which-th of all pending ones: says where it failed. */
static sy_status at_choice(const struct quiz *z, sy_status status, int64_t which, int *n_whole) {
    char where[4200];
    for (*n_whole = 0; which >= z->pending[*n_whole].n; which -= z->pending[(*n_whole)++].n)
        ;
    return sy_fail_context(status, "%s: choice %lld", place(z, z->pending[*n_whole].line, where),
                           (long long)which);
}

/* The pending questions are computed, and counted in order. */
static sy_status answer(struct quiz *z) {
    struct sy_scored *all = calloc((size_t)z->n_choices + 1, sizeof *all);
    int64_t k = 0, which = 0;
    int whole = z->n_pending;
    if (!all)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d choices", z->n_choices);
    for (int i = 0; i < z->n_pending; i++)
        for (int j = 0; j < z->pending[i].n; j++) {
            const struct choice *c = &z->pending[i].choice[j];
            all[k++] = (struct sy_scored){c->tokens.id, (int64_t)c->tokens.n,
                                          (int64_t)c->tokens.n - c->length[BY_TOKENS],
                                          sy_scorer_length(z->scorer), 0};
        }
    sy_status status = sy_scorer_nats(z->scorer, k, all, &which);
    if (status != SY_OK)
        status = at_choice(z, status, which, &whole);
    k = 0;
    for (int i = 0; i < z->n_pending; i++) {
        sy_status said = SY_OK;
        for (int j = 0; j < z->pending[i].n; j++)
            z->pending[i].choice[j].nats = all[k++].nats;
        if (i < whole)
            said = count(z, &z->pending[i]);
        status = status == SY_OK ? said : status;
        free_question(&z->pending[i]);
    }
    free(all);
    z->n_pending = z->n_choices = 0;
    z->rows = 0;
    return status;
}

static sy_status read_question(struct quiz *z, const char *where, struct question *q) {
    json_t *choices = NULL;
    SY_TRY(sy_json_get_string(where, q->root, "context", &q->context));
    SY_TRY(sy_json_get_array(where, q->root, "choices", &choices));
    SY_TRY(read_choices(where, choices, q));
    SY_TRY(read_answer(where, q->root, q));
    for (int i = 0; i < q->n; i++) {
        sy_status status = take_tokens(z, q, &q->choice[i]);
        if (status != SY_OK)
            return sy_fail_context(status, "%s: choice %d", where, i);
        z->rows += (int64_t)q->choice[i].tokens.n;
    }
    return SY_OK;
}

/* Share, and the standard error of its mean. */
static sy_status print_total(const struct quiz *z) {
    json_t *root = z->o->json ? json_pack("{s:I}", "questions", (json_int_t)z->n) : NULL;
    int failed = 0;
    if (!z->o->json)
        sy_io_printf(z->io, "%lld questions\n", (long long)z->n);
    for (int k = 0; k < NORMS; k++) {
        double n = (double)z->n, share = (double)z->right[k] / n,
               error = n > 1 ? sqrt(share * (1 - share) / (n - 1)) : 0;
        char key[32];
        snprintf(key, sizeof key, "%s_stderr", names[k]);
        if (!z->o->json)
            sy_io_printf(z->io, "%-11s %8.4f  ± %.4f\n", names[k], share, error);
        else
            failed |= json_object_set_new(root, names[k], json_real(share)) |
                      json_object_set_new(root, key, json_real(error));
    }
    if (!z->o->json)
        return SY_OK;
    failed |= json_object_set_new(root, "weights_digest", json_string(z->scorer->digest));
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return sy_eval_print(z->io, root);
}

/* What was asked before a line that is refused is answered before it. */
static sy_status ask_line(struct quiz *z, const char *text, size_t n, int64_t line) {
    char where[4200];
    struct question q = {.line = line};
    if (strspn(text, " \t\r\n") == n)
        return SY_OK;
    sy_status status = sy_json_parse(place(z, line, where), text, n, 0, &q.root);
    if (status == SY_OK)
        status = read_question(z, where, &q);
    if (status != SY_OK) {
        free_question(&q);
        SY_TRY(answer(z));
        return status;
    }
    z->pending[z->n_pending++] = q;
    z->n_choices += q.n;
    return z->n_pending == PENDING || z->rows >= sy_session_rows(z->scorer->session) ? answer(z) : SY_OK;
}

static sy_status ask_all(struct quiz *z, FILE *f) {
    char *text = NULL;
    size_t capacity = 0;
    ssize_t n;
    sy_status status = SY_OK;
    for (int64_t line = 1; status == SY_OK && (n = getline(&text, &capacity, f)) > 0; line++)
        status = z->io->stop && *z->io->stop ? SY_STOPPED : ask_line(z, text, (size_t)n, line);
    if (status == SY_OK && !feof(f))
        status = sy_fail(SY_ERR_IO, "%s: cannot be read: %s", z->o->multiple_choice, strerror(errno));
    free(text);
    if (status == SY_OK)
        status = answer(z);
    SY_TRY(status);
    if (z->n == 0)
        SY_FAIL(SY_ERR_DATA, "%s: has no question", z->o->multiple_choice);
    return print_total(z);
}

sy_status sy_eval_choices(struct sy_scorer *scorer, const struct sy_eval_options *o, const struct sy_io *io) {
    FILE *f = fopen(o->multiple_choice, "re");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened: %s", o->multiple_choice, strerror(errno));
    struct quiz *z = calloc(1, sizeof *z);
    sy_status status = SY_ERR_MEMORY;
    if (z) {
        z->scorer = scorer;
        z->o = o;
        z->io = io;
        status = ask_all(z, f);
        for (int i = 0; i < z->n_pending; i++)
            free_question(&z->pending[i]);
    } else {
        sy_fail(SY_ERR_MEMORY, "no memory for questions");
    }
    free(z);
    fclose(f);
    return status;
}
