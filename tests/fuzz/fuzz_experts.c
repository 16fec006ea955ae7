/* Any bytes as metrics.jsonl, for `inspect --experts` and for `diff`. A form feed cuts the input into two
 * runs; without one both are the same. What loads adds up: buckets to the sums over all steps, steps of
 * buckets to all. Twice gives the same; the printed rows fit, the printed JSON is JSON. Runs that part in a
 * step are not equal, whichever comes first.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "placed.h"
#include "switchyard.h"
#include "commands/experts_load.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAGE = 1 << 18 };

static struct {
    char text[PAGE];
    size_t n; /* of all, also those that found no place */
} page;

static void write_page(void *user, const char *text, size_t bytes) {
    (void)user;
    for (size_t i = 0; i < bytes; i++, page.n++)
        if (page.n < PAGE - 1)
            page.text[page.n] = text[i];
}

static const struct sy_io io = {.write = write_page};

static uint64_t hash(const void *data, size_t bytes, uint64_t h) {
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return h;
}

/* --- loads ---------------------------------------------------------------------------------------------- */

static void check_layer(const struct sy_experts_load *load, const struct sy_experts_layer *l) {
    int64_t n_steps = 0;
    require(l->experts >= 1 && l->n_steps >= 1 && l->n_steps <= load->n_steps);
    require(l->step_min >= 0 && l->step_min <= l->step_max && isfinite(l->step_cv) && l->step_cv >= 0);
    for (int b = 0; b < load->n_buckets; b++)
        n_steps += l->steps[b];
    require(n_steps == l->n_steps);
    for (int64_t e = 0; e < l->experts; e++) {
        int64_t sum = 0;
        for (int b = 0; b < load->n_buckets; b++) {
            require(l->bucket[b * l->experts + e] >= 0);
            sum += l->bucket[b * l->experts + e];
        }
        require(sum == l->load[e] && l->load[e] <= l->step_max * l->n_steps &&
                l->load[e] >= l->step_min * l->n_steps);
    }
}

static void check_load(const struct sy_experts_load *load) {
    require(load->n_steps >= 1 && load->first >= 0 && load->first <= load->last && load->n_layers >= 1);
    require(load->n_buckets >= 1 && load->n_buckets <= SY_EXPERTS_BUCKETS);
    require(sy_experts_bucket_first(load, 0) == load->first);
    require(sy_experts_bucket_first(load, load->n_buckets) == load->last + 1);
    for (int b = 0; b < load->n_buckets; b++)
        require(sy_experts_bucket_first(load, b) < sy_experts_bucket_first(load, b + 1));
    for (int i = 0; i < load->n_layers; i++) {
        require(i == 0 || load->layer[i - 1].layer < load->layer[i].layer);
        check_layer(load, &load->layer[i]);
    }
}

/* A hash of what does not depend on the buckets; 0 if it was refused. */
static uint64_t load_once(const char *path, int columns) {
    struct sy_experts_load load;
    uint64_t h = 0;
    sy_status status = sy_experts_load_read(path, columns, &load);
    require(status == SY_OK || status == SY_ERR_DATA || status == SY_ERR_RUNTIME || status == SY_ERR_USAGE ||
            status == SY_ERR_MEMORY);
    if (status == SY_OK) {
        check_load(&load);
        const int64_t head[] = {load.first, load.last, load.n_steps, load.n_silent, load.torn, load.n_layers};
        h = hash(head, sizeof head, 0xcbf29ce484222325u);
        for (int i = 0; i < load.n_layers; i++)
            h = hash(load.layer[i].load, (size_t)load.layer[i].experts * sizeof(int64_t), h);
    } else {
        require(sy_error_message()[0]);
    }
    sy_experts_load_free(&load);
    return h;
}

/* Rows begin with a space: no longer than 80 columns, a character each. */
static void check_rows(void) {
    int columns = 0, is_row = 0, begins = 1;
    for (size_t i = 0; i < page.n && i < PAGE - 1; i++) {
        unsigned char c = (unsigned char)page.text[i];
        is_row = begins ? c == ' ' : is_row;
        columns = begins ? 0 : columns;
        begins = c == '\n';
        columns += !begins && (c & 0xc0) != 0x80;
        require(!is_row || columns <= 80);
    }
}

static void print(const char *path, const struct sy_experts_options *o, int loads) {
    page.n = 0;
    sy_status status = sy_inspect_experts(path, o, &io);
    require(status == SY_ERR_MEMORY || (status == SY_OK) == loads);
    if (status != SY_OK || page.n >= PAGE)
        return;
    if (!o->json) {
        check_rows();
        return;
    }
    json_t *root = NULL;
    require(sy_json_parse("printed", page.text, page.n, 0, &root) == SY_OK);
    json_decref(root);
}

static void experts(const char *path, size_t n) {
    uint64_t h = load_once(path, 0);
    require(load_once(path, (int)(n % 64)) == h); /* 0 and many more: 8 buckets */
    print(path, &(struct sy_experts_options){.layer = -1, .json = 1}, h != 0);
    print(path, &(struct sy_experts_options){.layer = -1, .rows = (int64_t)(n % 5), .utf8 = n & 1}, h != 0);
}

/* --- diff ----------------------------------------------------------------------------------------------- */

static sy_status diff(const char *a, const char *b, int *equal) {
    page.n = 0;
    sy_status status = sy_diff(a, b, &io, equal);
    require(status == SY_OK || status == SY_ERR_DATA || status == SY_ERR_MEMORY);
    page.text[page.n < PAGE ? page.n : PAGE - 1] = 0;
    if (status == SY_OK)
        require(*equal == !strstr(page.text, " differs\n"));
    return status;
}

static void both(const char *a, const char *b, int same) {
    int ab = -1, ba = -1;
    sy_status status = diff(a, b, &ab);
    if (status == SY_OK && same) /* only what is missing makes a run differ from itself */
        require(ab || strstr(page.text, "(none)"));
    require(diff(b, a, &ba) == status && ab == ba);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd_a = -1, fd_b;
    static const char *a, *b, *file;
    if (fd_a < 0) {
        a = placed_folder("a");
        b = placed_folder("b");
        fd_a = placed_file("a/metrics.jsonl", &file);
        fd_b = placed_file("b/metrics.jsonl", NULL);
    }
    const uint8_t *cut = size ? memchr(data, '\f', size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    placed_fill(fd_a, data, n);
    placed_fill(fd_b, cut ? cut + 1 : data, cut ? size - n - 1 : size);
    experts(file, n);
    both(a, b, !cut);
    return 0;
}
