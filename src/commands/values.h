/* The values of one step of a session, by what they are: what `diff --locate` and `verify --break` compare.
 *
 *     tokens, activations and their gradients      of each sequence of the batch
 *     gradients                                    of each lane, round and node of the tree; joined, as an
 *                                                  owner has them
 *     routes of each expert, the gradient norm, the weights that the step leaves
 *
 * They stand in the order in which the step computes them, so that nothing before the first that differs
 * does. Of a rank: what it computes, and what it owns. */
#ifndef SY_COMMANDS_VALUES_H
#define SY_COMMANDS_VALUES_H

#include "train/session.h"

struct sy_value_name {
    const char *what; /* static; one of values.c, or of struct sy_trace_rows */
    /* layer and sequence; parameter, lanes and round; or tensor and elements first .. first + n - 1 */
    int64_t of, first, n, round;
};

struct sy_value {
    struct sy_value_name name;
    uint64_t hash;
};

enum sy_value_type { SY_VALUE_BF16, SY_VALUE_F32, SY_VALUE_I32, SY_VALUE_I64, SY_VALUE_F64 };

/* {0}, and {.wanted = name}: the numbers of this one are kept. */
struct sy_values {
    const struct sy_value_name *wanted;
    struct sy_value *v;
    int64_t n, capacity;
    int64_t begun;              /* place of the first activation */
    const struct sy_session *s; /* while it is looked at */
    char *kept;
    size_t kept_bytes;
    enum sy_value_type type;
    int64_t columns;
    char *host; /* what is looked at */
    size_t host_bytes;
    sy_status status;
};
void sy_values_fini(struct sy_values *values);

/* Collective. Step s (from 0) of the session, looked at; values that were there are forgotten. Errors: those
 * of a step; ERR_MEMORY. */
sy_status sy_values_step(struct sy_values *values, struct sy_session *session, int64_t s,
                         struct sy_step_result *out);

/* The place in a of the first value that b has otherwise, or not at all (*missing); -1: none. of_model: of
 * the gradients and weights alone. b is sorted. */
int64_t sy_values_differ(const struct sy_values *a, struct sy_values *b, int of_model, int *missing);

struct sy_io;
/* One line, without its end. */
void sy_value_print(const struct sy_value_name *name, const struct sy_params *params, const struct sy_io *io);
/* The tensor of the model that a gradient or weight is of, or begins with. */
const char *sy_value_tensor(const struct sy_value_name *name, const struct sy_params *params);
/* Behind it: where the numbers that both kept differ first, and below it both. */
void sy_value_print_element(const struct sy_values *a, const struct sy_values *b, const struct sy_io *io);

#endif
