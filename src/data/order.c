/* Sorting by a mixed key: see order.h.
 *
 * Keys are spread evenly over 64 bits, so a range of them holds about as many documents as any other of its
 * width: ranges are filled and sorted one after another, each by a radix sort by bytes, lowest first.
 */
#include "data/order.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/rng.h"

enum { RANGE_KEYS = 1 << 21, ROOM_KEYS = 1 << 22 };

static const uint64_t golden = 0x9e3779b97f4a7c15u;

struct keyed {
    uint64_t key;
    int64_t index;
};

static void sort_by_byte(int shift, int64_t n, const struct keyed *from, struct keyed *to) {
    int64_t place[257] = {0};
    for (int64_t i = 0; i < n; i++)
        place[(from[i].key >> shift & 255) + 1]++;
    for (int c = 0; c < 256; c++)
        place[c + 1] += place[c];
    for (int64_t i = 0; i < n; i++)
        to[place[from[i].key >> shift & 255]++] = from[i];
}

static void sort(int64_t n, struct keyed *keys, struct keyed *scratch) {
    for (int shift = 0; shift < 64; shift += 16) {
        sort_by_byte(shift, n, keys, scratch);
        sort_by_byte(shift + 8, n, scratch, keys);
    }
}

/* The documents with keys first … last; how many. Twice as many as are to be expected do not come. */
static int64_t fill(uint64_t k, int64_t n, uint64_t first, uint64_t last, struct keyed *keys, int64_t room) {
    int64_t filled = 0;
    for (int64_t i = 0; i < n && filled < room; i++) {
        uint64_t key = sy_mix64(k + (uint64_t)(i + 1) * golden);
        if (key >= first && key <= last)
            keys[filled++] = (struct keyed){key, i};
    }
    assert(filled < room || n <= room);
    return filled;
}

sy_status sy_order_shuffle(uint64_t seed, int64_t epoch, int64_t n, int64_t *order) {
    uint64_t k = sy_mix64(sy_mix64(seed + ((uint64_t)SY_RNG_SHUFFLE << 32)) + (uint64_t)epoch);
    uint64_t ranges = (uint64_t)((n + RANGE_KEYS - 1) / RANGE_KEYS),
             width = UINT64_MAX / (ranges ? ranges : 1);
    int64_t room = n < ROOM_KEYS ? n : ROOM_KEYS, done = 0;
    struct keyed *keys = malloc(2 * (size_t)room * sizeof *keys + 1);
    if (!keys)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the order of %" PRId64 " documents", n);
    for (uint64_t r = 0; r < ranges; r++) {
        uint64_t first = r * width, last = r + 1 < ranges ? first + (width - 1) : UINT64_MAX;
        int64_t m = fill(k, n, first, last, keys, room);
        sort(m, keys, keys + room);
        for (int64_t i = 0; i < m; i++)
            order[done++] = keys[i].index;
    }
    free(keys);
    return SY_OK;
}
