/* The shapes of a thread's tiles: see tiles_amx.h. They stay until others are asked for. */
#include "ops/simd/tiles_amx.h"

struct tile_config {
    uint8_t palette, start_row, unused[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

void sy_amx_tiles(int rows) {
    static _Thread_local int configured;
    struct tile_config c = {.palette = 1};
    if (configured == rows)
        return;
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 4 * TILE_WORDS;
        c.rows[i] = (uint8_t)(i <= 4 ? rows : TILE_ROWS);
    }
    memory_is_read(&c);
    _tile_loadconfig(&c);
    configured = rows;
}
