/* Routes that ranks have of different sequences and layers, brought together: see routes.h.
 *
 * What a rank has not filled in counts as zeros, so that a sum of integers puts all parts in their places: of
 * each word only one rank has other bits. A sum over the ranks of who has filled in a sequence says whether
 * that is so.
 */
#include <stdlib.h>
#include <string.h>

#include "routes/routes_internal.h"

enum { PIECE = 1 << 15 }; /* words of 64 bits at a time */

static sy_status sum_filled(const struct sy_routes_files *f, const struct sy_comm *c, int64_t *filled) {
    int64_t n = f->o.n_layers * f->o.sequences;
    for (int64_t s = 0; s < n; s++)
        filled[s] = f->ids[s * sy_routes_of_sequence(f)] >= 0;
    return c->ops->sum_i64(c, SY_OK, filled, n);
}

/* What this rank has not filled in; afterwards, what nobody has. */
static void clear(struct sy_routes_files *f) {
    int64_t n = sy_routes_of_sequence(f);
    for (int64_t s = 0; s < f->o.n_layers * f->o.sequences; s++)
        if (f->ids[s * n] < 0) {
            memset(f->ids + s * n, 0, (size_t)n * sizeof *f->ids);
            memset(f->w + s * n, 0, (size_t)n * sizeof *f->w);
        }
}

/* n words of 32 bits. */
static sy_status sum_words(const struct sy_comm *c, void *data, int64_t n, int64_t *piece) {
    char *at = data;
    for (size_t left = (size_t)n * 4, bytes; left > 0; left -= bytes, at += bytes) {
        bytes = left < PIECE * sizeof *piece ? left : PIECE * sizeof *piece;
        size_t words = (bytes + 7) / 8;
        piece[words - 1] = 0;
        memcpy(piece, at, bytes);
        SY_TRY(c->ops->sum_i64(c, SY_OK, piece, (int64_t)words));
        memcpy(at, piece, bytes);
    }
    return SY_OK;
}

static sy_status check_once(const struct sy_routes_files *f, const int64_t *filled) {
    for (int64_t s = 0; s < f->o.n_layers * f->o.sequences; s++)
        if (filled[s] > 1)
            SY_FAIL(SY_ERR_RUNTIME, "%s: %lld ranks have the routes of layer %d, sequence %lld", f->dir,
                    (long long)filled[s], f->layers[s / f->o.sequences], (long long)(s % f->o.sequences));
    return SY_OK;
}

static sy_status join(struct sy_routes_files *f, const struct sy_comm *c, int64_t *filled, int64_t *piece) {
    int64_t sequences = f->o.n_layers * f->o.sequences, n = f->o.n_layers * sy_routes_of_layer(f);
    SY_TRY(sum_filled(f, c, filled));
    SY_TRY(check_once(f, filled)); /* the same on every rank */
    clear(f);
    SY_TRY(sum_words(c, f->ids, n, piece));
    SY_TRY(sum_words(c, f->w, n, piece));
    for (int64_t s = 0; s < sequences; s++)
        if (!filled[s])
            f->ids[s * sy_routes_of_sequence(f)] = -1;
    return SY_OK;
}

sy_status sy_routes_join(struct sy_routes_files *f, const struct sy_comm *c) {
    if (c->size == 1)
        return SY_OK;
    int64_t *filled = calloc((size_t)(f->o.n_layers * f->o.sequences), sizeof *filled),
            *piece = calloc(PIECE, sizeof *piece);
    sy_status status = filled && piece ? SY_OK : sy_fail(SY_ERR_MEMORY, "%s: out of memory", f->dir);
    status = c->ops->agree(c, status);
    if (status == SY_OK)
        status = join(f, c, filled, piece);
    free(filled);
    free(piece);
    return status;
}
