/* Failing allocations for a fuzz target: compiled in front of it (-include), linked with failing_malloc.c.
 *
 * The target becomes a function that the driver calls many times for an input. What the target itself
 * allocates is counted but never fails, and its abort() is judged first: after a failure that the library
 * reported as ERR_MEMORY a run may well differ from the one that it is compared with.
 */
#ifndef TESTS_FUZZ_FAILING_MALLOC_H
#define TESTS_FUZZ_FAILING_MALLOC_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Local. The renamed LLVMFuzzerTestOneInput of the target. */
int failing_malloc_target(const uint8_t *data, size_t size);

/* Local. malloc, counted, never failing by plan. */
void *failing_malloc_own(size_t bytes);

/* Local. Ends the target's run if a reported failure excuses it, else the process. */
_Noreturn void failing_malloc_abort(void);

#ifndef FAILING_MALLOC_DRIVER
#define LLVMFuzzerTestOneInput failing_malloc_target
#define malloc failing_malloc_own
#define abort failing_malloc_abort
#endif

#endif
