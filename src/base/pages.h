/* Memory in large pages, where a system gives them to who asks (Linux, transparent_hugepage = madvise): fewer
 * faults when it is first written, and fewer addresses to translate where rows lie far apart. */
#ifndef SY_BASE_PAGES_H
#define SY_BASE_PAGES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

/* Of memory not yet written, of at least some large pages. A wish: what becomes of it is the system's. */
static inline void sy_pages_large(void *memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t page = 1 << 21, first = ((uintptr_t)memory + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)memory + bytes) / page * page;
    if (memory && end >= first + 2 * page)
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

#endif
