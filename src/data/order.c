/* Sorting by a mixed key: see order.h. A radix sort by bytes, lowest first: stable, no comparison, no
 * allocation. */
#include "data/order.h"

#include "base/rng.h"

static const uint64_t golden = 0x9e3779b97f4a7c15u;

static void sort_by_byte(int shift, int64_t n, const struct sy_order_key *from, struct sy_order_key *to) {
    int64_t place[257] = {0};
    for (int64_t i = 0; i < n; i++)
        place[(from[i].key >> shift & 255) + 1]++;
    for (int c = 0; c < 256; c++)
        place[c + 1] += place[c];
    for (int64_t i = 0; i < n; i++)
        to[place[from[i].key >> shift & 255]++] = from[i];
}

void sy_order_shuffle(uint64_t seed, int64_t epoch, int64_t n, struct sy_order_key *keys,
                      struct sy_order_key *scratch, int64_t *order) {
    uint64_t k = sy_mix64(sy_mix64(seed + ((uint64_t)SY_RNG_SHUFFLE << 32)) + (uint64_t)epoch);
    for (int64_t i = 0; i < n; i++)
        keys[i] = (struct sy_order_key){sy_mix64(k + (uint64_t)(i + 1) * golden), i};
    for (int shift = 0; shift < 64; shift += 16) {
        sort_by_byte(shift, n, keys, scratch);
        sort_by_byte(shift + 8, n, scratch, keys);
    }
    for (int64_t i = 0; i < n; i++)
        order[i] = keys[i].index;
}
