/* What writing and reading of files of routes share. Private to routes*.c. */
#ifndef SY_ROUTES_ROUTES_INTERNAL_H
#define SY_ROUTES_ROUTES_INTERNAL_H

#include "routes/routes.h"

#define SY_ROUTES_FORMAT "switchyard routes"
#define SY_ROUTES_SKIPPED "skipped"
enum { SY_ROUTES_PATH = 4096, SY_ROUTES_NAME = 64, SY_ROUTES_METADATA = 7 };

struct sy_routes_files {
    struct sy_routes_options o;
    char dir[SY_ROUTES_PATH];
    int *layers;   /* [n_layers] ascending */
    int *by_name;  /* [n_layers] places in `layers` in the bytewise order of the tensors' names */
    int *has_w;    /* [n_layers] */
    int32_t *ids;  /* [n_layers, B, S, K]; the first of a sequence is -1 until it is filled */
    float *w;      /* the same */
    char *staging; /* ids of one sequence as they are in a file */
};

struct sy_routes_metadata {
    const char *key;
    char value[32];
};

/* In bytewise order of the keys. */
void sy_routes_metadata(const struct sy_routes_files *f, int64_t step,
                        struct sy_routes_metadata m[SY_ROUTES_METADATA]);

/* "layers.<layer>.<what>" */
void sy_routes_name(char out[SY_ROUTES_NAME], int layer, const char *what);

/* DIR/<before>step-%08d.safetensors. Errors: ERR_USAGE too long. */
sy_status sy_routes_path(const struct sy_routes_files *f, const char *before, int64_t step,
                         char out[SY_ROUTES_PATH]);

/* Routes of a sequence and of a layer: S K and B S K. */
static inline int64_t sy_routes_of_sequence(const struct sy_routes_files *f) {
    return f->o.seq_len * f->o.top_k;
}
static inline int64_t sy_routes_of_layer(const struct sy_routes_files *f) {
    return f->o.sequences * sy_routes_of_sequence(f);
}

#endif
