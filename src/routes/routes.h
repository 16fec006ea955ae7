/* Files of routes: what `moe.routes_out` writes and `moe.routes_in` reads, a safetensors file per step.
 *
 *     DIR/step-00000012.safetensors     step as in metrics.jsonl: the first is 1
 *         layers.<l>.ids      I32 [B, S, K]   for every MoE layer l of the model; ascending in a token
 *         layers.<l>.weights  F32 [B, S, K]   of these experts
 *
 * B are the sequences of the global batch in the order of the data, not of the walk: equal routes give equal
 * bytes on every layout. A file is written under a temporary name, synced, then renamed; one of that step
 * that is there is replaced. What is read is checked whole: shapes, ids in range and distinct in a token,
 * finite weights. Files of other programs may leave out metadata and weights, have I64 ids, and in any order
 * in a token. A step that was skipped, with routes that are not all known or weights that are not finite, has
 * a file without tensors and with the metadata skipped = "1": who follows it skips the step, too.
 */
#ifndef SY_ROUTES_ROUTES_H
#define SY_ROUTES_ROUTES_H

#include "comm/comm.h"
#include "moe/routes.h"

struct sy_routes_options {
    const char *dir;                            /* copied */
    int write;                                  /* 1: files are written, 0: read */
    int64_t sequences, seq_len, top_k, experts; /* B, S, K, E */
    const int *layers; /* [n_layers] the MoE layers' places in the model, ascending; copied */
    int n_layers;
};

struct sy_routes_files; /* the routes of one step, and the folder */

/* Local. Bytes that open takes: n_layers B S K times 8, and a few more. */
int64_t sy_routes_bytes(const struct sy_routes_options *options);

/* Local. For writing makes the folder and tries it with a file; for reading it must be there. All memory
 * is taken here. Errors: ERR_IO, ERR_USAGE, ERR_MEMORY. Close with sy_routes_close (NULL is fine). */
sy_status sy_routes_open(const struct sy_routes_options *options, struct sy_routes_files **out);
void sy_routes_close(struct sy_routes_files *files);

/* Local. Where the routes [S, K] of a sequence lie, 0 <= sequence < B counted from the step's first in the
 * order of the data (sy_gradients_sequence of a place of the walk). The following sequences stand behind
 * it. For writing: to be filled, ids ascending in a token. After sy_routes_load: what was read; w NULL if
 * the file has no weights of this layer. A layer that is no MoE layer has ids NULL. */
struct sy_routes sy_routes_at(const struct sy_routes_files *files, int layer, int64_t sequence);

/* Local. Writes the file of a step. Errors: ERR_IO names file and errno's text, ERR_MEMORY; ERR_RUNTIME
 * names a sequence that was not filled since the last save. */
sy_status sy_routes_save(struct sy_routes_files *files, int64_t step);

/* Local. Whether all weights that were filled in are finite: a file has no others. */
int sy_routes_finite(const struct sy_routes_files *files);

/* Collective. Of ranks that have filled in different sequences and layers: all of them on every rank. Errors:
 * ERR_RUNTIME names what two ranks have; ERR_MEMORY, ERR_PEER. */
sy_status sy_routes_join(struct sy_routes_files *files, const struct sy_comm *comm);

/* Local. As if nothing had been filled in since the last save. */
void sy_routes_forget(struct sy_routes_files *files);

/* Local. Writes the file of a step that was skipped, whatever was filled. Errors: ERR_IO, ERR_MEMORY. */
sy_status sy_routes_save_skipped(struct sy_routes_files *files, int64_t step);

/* Local. Whether there is a file of a step, without reading it. ERR_DATA with the steps that are there. */
sy_status sy_routes_has(const struct sy_routes_files *files, int64_t step);

/* Local. Reads the file of a step; ids are sorted in each token, their weights along. *skipped 1: the step
 * was skipped, and there are no routes. Errors: ERR_DATA names file, layer, sequence, token, value and
 * bound, or, without such a file, the steps that are there; ERR_IO, ERR_MEMORY. After an error the routes
 * are rubbish. */
sy_status sy_routes_load(struct sy_routes_files *files, int64_t step, int *skipped);

#endif
