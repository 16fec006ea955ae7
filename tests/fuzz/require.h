/* What must hold of any bytes: a fuzzer ends where it does not. */
#ifndef TESTS_FUZZ_REQUIRE_H
#define TESTS_FUZZ_REQUIRE_H

#include <stdlib.h>

static inline void require(int condition) {
    if (!condition)
        abort();
}

#endif
