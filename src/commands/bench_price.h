/* What one answer on every layout costs in a step, part by part (NUMERICS 4 and 6). */
#ifndef SY_COMMANDS_BENCH_PRICE_H
#define SY_COMMANDS_BENCH_PRICE_H

#include "train/session.h"

/* Medians of a rank's steps, in ms. */
struct sy_price_of {
    double experts; /* the products of the experts' weight gradients */
    double tree;    /* sums of leaves and of lanes that are ops of their own, on this rank and over ranks */
    double step;
};

struct sy_price {
    double padding; /* products of rows of zeros that fill up the segments of the experts' leaves */
    double cut;     /* leaves that are cut: written to a buffer and read again */
    double
        folded; /* leaves that are added to what a lane had: fused into the product, so at most an addition */
    double tree;
    double digest; /* of the weights; fused into the update, so at most a pass over them */
    double padded; /* share of padding among those rows */
    double all, step;
};

/* Local. After a profiled step of a CPU, whose counts are the profile's and the gradients': times an
 * addition and a digest here and now. Errors: ERR_MEMORY. */
sy_status sy_price_measure(struct sy_session *s, const struct sy_price_of *of, struct sy_price *out);

void sy_price_print(const struct sy_price *p, const struct sy_io *io);
void sy_price_json(const struct sy_price *p, const struct sy_io *io);

#endif
