/* A run as its files tell it: metrics.jsonl in series of bounded length, what happened on the way, digests,
 * config.toml.
 *
 *     open -> update (reads the lines that are new) -> what is here -> update … -> close
 *
 * One pass, bounded memory, whatever the file's length. Each value is one of metrics.jsonl's. A torn last
 * line waits for its end; any other line that is not as the trainer writes it is ERR_DATA with file:line.
 */
#ifndef SY_REPORT_RUN_H
#define SY_REPORT_RUN_H

#include "config/config.h"
#include "report/grid.h"
#include "report/lines.h"

/* X(name, key of metrics.jsonl, text, unit) */
#define SY_CURVE_LIST(X)                                              \
    X(loss, "loss", "training loss", "nats per token")                \
    X(eval, "", "held-out loss", "nats per token")                    \
    X(balance, "balance_loss", "balance loss", "without coefficient") \
    X(z, "z_loss", "z-loss", "without coefficient")                   \
    X(norm, "grad_norm", "gradient norm", "before clipping")          \
    X(lr, "lr", "learning rate", "")                                  \
    X(tps, "tps", "tokens per second", "per rank")                    \
    X(mfu, "mfu", "share of the peak", "%")                           \
    X(memory, "mem_bytes", "memory", "bytes")                         \
    X(step_ms, "step_ms", "step", "ms")                               \
    X(data_ms, "data_ms", "data", "ms")

enum sy_curve {
#define X(name, key, text, unit) SY_CURVE_##name,
    SY_CURVE_LIST(X)
#undef X
        SY_N_CURVES
};

struct sy_curve_about {
    const char *name, *key, *text, *unit;
};
extern const struct sy_curve_about sy_curves[SY_N_CURVES];

/* Of an MoE layer beside the loads, in the order of its rows. X(name, key, text) */
#define SY_BALANCE_LIST(X)                          \
    X(cv, "load_cv", "coefficient of variation")    \
    X(entropy, "entropy", "entropy / log E")        \
    X(dead, "dead", "experts without a route")      \
    X(bias_min, "bias_min", "smallest expert bias") \
    X(bias_max, "bias_max", "largest expert bias")

enum sy_balance {
#define X(name, key, text) SY_BALANCE_##name,
    SY_BALANCE_LIST(X)
#undef X
        SY_N_BALANCES
};

struct sy_balance_about {
    const char *name, *key, *text;
};
extern const struct sy_balance_about sy_balances[SY_N_BALANCES];

struct sy_report_layer {
    int64_t layer;
    int experts, first; /* rows of the grid: its balances, then the load of each expert */
};

/* X(name, letter, text) */
#define SY_HAPPENING_LIST(X)         \
    X(start, "S", "start")           \
    X(resume, "R", "resumed")        \
    X(layout, "L", "layout changed") \
    X(recipe, "N", "recipe changed") \
    X(skipped, "K", "skipped")       \
    X(alert, "A", "alert")

enum sy_happening_kind {
#define X(name, letter, text) SY_HAPPENING_##name,
    SY_HAPPENING_LIST(X)
#undef X
        SY_N_HAPPENINGS
};

struct sy_happening_about {
    const char *name, *letter, *text;
};
extern const struct sy_happening_about sy_happenings[SY_N_HAPPENINGS];

enum { SY_REPORT_TEXT = 240, SY_REPORT_HAPPENINGS = 512, SY_REPORT_DIGESTS = 64 };

struct sy_happening {
    enum sy_happening_kind kind;
    int64_t step, last; /* skipped: the last of as many in a row */
    char text[SY_REPORT_TEXT];
};

struct sy_report_digest {
    int64_t step;
    char digest[33];
    int is_checkpoint; /* else the last step */
};

/* The newest snapshot of rank 0's memory: arenas, each before what it is for. */
enum { SY_REPORT_ARENAS = 96 };
struct sy_report_memory {
    int64_t step, bytes, most, resident; /* step 0: there is none */
    int n, left_out;
    struct sy_report_arena {
        char name[80];
        int is_tag;
        int64_t bytes, most; /* most: of an arena */
    } of[SY_REPORT_ARENAS];
};

/* The newest profile of a step of rank 0. */
enum { SY_REPORT_PARTS = 32, SY_REPORT_PASSES = 4 };
struct sy_report_parts {
    int64_t step; /* 0: there is none */
    double ms;
    int n;
    struct sy_report_part {
        char name[64];
        double ms[SY_REPORT_PASSES]; /* in all; of a part with passes forward, recompute, backward */
    } of[SY_REPORT_PARTS];
};

struct sy_report_run {
    char dir[4096], name[SY_REPORT_TEXT];
    struct sy_lines lines;
    int64_t inode;
    struct sy_grid curves, balance; /* rows: enum sy_curve; layers (none before the first loads) */
    struct sy_report_layer *layer;
    int n_layers;
    struct sy_happening *happened; /* [SY_REPORT_HAPPENINGS] */
    int n_happened, n_left_out;
    struct sy_report_memory memory;
    struct sy_report_parts parts;
    struct sy_report_digest digest[SY_REPORT_DIGESTS]; /* ascending */
    int n_digests;
    int64_t n_steps, first, last, tokens; /* of kind "train" */
    int64_t n_skipped;
    char last_digest[33], layout[SY_REPORT_TEXT], recipe[33];
    struct sy_config *config; /* NULL: it could not be read, for that reason */
    char why[SY_REPORT_TEXT];
};

/* Local. Of the folder of a run. Nothing of metrics.jsonl is read yet. Errors: ERR_USAGE, ERR_MEMORY. Close
 * with sy_report_run_close, also after an error. */
sy_status sy_report_run_open(const char *dir, struct sy_report_run *out);
void sy_report_run_close(struct sy_report_run *run);

/* Local. Reads what was written since; from the front if a resume has replaced the file. Errors: ERR_IO,
 * ERR_DATA, ERR_MEMORY. */
sy_status sy_report_run_update(struct sy_report_run *run);

/* training.steps, or 0 without a config. */
int64_t sy_report_run_steps(const struct sy_report_run *run);

#endif
