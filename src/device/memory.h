/* Memory of a device: taken, copied to and from, waited for. What the numbers of a run lie in; our own
 * structs are the host's.
 *
 *   HOST     ordinary memory of this process
 *   PINNED   host memory that a device copies from and to without help
 *   DEVICE   what views point into: only ops read and write it, the host goes through copy and wait
 *
 * A CPU's three places are one. A `guarded` device is a CPU that keeps the rule: its memory can be touched
 * inside an op alone, so that a peek of the host is a fault, on any machine.
 */
#ifndef SY_DEVICE_MEMORY_H
#define SY_DEVICE_MEMORY_H

#include "base/arena.h"
#include "base/threads.h"
#include "device/tensor.h"

enum sy_place { SY_PLACE_HOST, SY_PLACE_PINNED, SY_PLACE_DEVICE };

struct sy_device {
    const char *name;
    /* segments (expert, sequence) of rows start at multiples of this, so that tiles need no tails */
    int64_t segment;
    /* values of a temporary with which one pass over them keeps the device busy: work in pieces has as
     * large ones; and of what a weight gradient is made of, whose sums are read and written once a piece */
    int64_t busy, busy_sums;
    /* Local. Memory, 64-byte aligned, zeroed if there is no `zero`; NULL if there is none. */
    void *(*alloc)(const struct sy_device *d, enum sy_place place, size_t bytes);
    /* Local. Zeroes a block of such memory, before all else that is done with it. */
    void (*zero)(const struct sy_device *d, void *block, size_t bytes);
    void (*free)(const struct sy_device *d, enum sy_place place, void *memory, size_t bytes);
    /* Local. Enqueued after the ops before it; either side may be the device's or the host's. */
    void (*copy)(const struct sy_device *d, void *to, const void *from, size_t bytes);
    /* Local. All that was enqueued is done. */
    sy_status (*wait)(const struct sy_device *d);
    /* Where a transport of this process reads and writes device memory at p. */
    void *(*alias)(const struct sy_device *d, const void *p);
    /* Ops and copies that are enqueued alike again and again, as a training step's are. `repeat`: 1: what the
     * last times had in common was enqueued once more, the caller has nothing to do; 0: the caller enqueues
     * it, then calls `repeated`. That one: 0: nothing was enqueued, and the caller enqueues it once more.
     * `forget`: what comes next is another sequence, or in other memory. NULL, all three: never. */
    int (*repeat)(const struct sy_device *d);
    int (*repeated)(const struct sy_device *d);
    void (*forget)(const struct sy_device *d);
    /* Around an op that computes with the host's threads; NULL: nothing is to be done. Nest. */
    void (*open)(const struct sy_device *d);
    void (*close)(const struct sy_device *d);
    void (*destroy)(struct sy_device *d); /* NULL: it is nobody's */
    void *state;
};

/* The CPU: segments of any length. */
const struct sy_device *sy_device_cpu(void);

/* Local. The same, whose memory is first written by the threads of a pool, each its part of every block, as
 * ops deal rows to them: where memory is nearer to some processors than to others, a page lies with who
 * writes it first. Errors: ERR_MEMORY. Owned by the caller; the pool must outlive it. */
sy_status sy_device_cpu_create(struct sy_pool *pool, struct sy_device **out);
int sy_device_is_cpu(const struct sy_device *device); /* one of these */

/* Local. A CPU whose DEVICE memory is closed but inside an op; segments of 16 rows, like Hopper's. Errors:
 * ERR_RUNTIME without memfd_create and mmap. Owned by the caller. */
sy_status sy_device_guarded_create(struct sy_device **out);
void sy_device_destroy(struct sy_device *device); /* NULL is fine */

/* Local. An arena of DEVICE memory as large as `carve` takes: run once to measure, once to carve. Errors:
 * ERR_MEMORY with the bytes and `what`. Owned by the caller: sy_arena_fini. */
sy_status sy_arena_build(const struct sy_device *device, const char *what,
                         void (*carve)(void *self, struct sy_arena *arena), void *self, struct sy_arena *out);

/* Local. The same of PINNED memory: the host's side of copies that nobody waits for. */
sy_status sy_arena_pinned(const struct sy_device *device, const char *what,
                          void (*carve)(void *self, struct sy_arena *arena), void *self,
                          struct sy_arena *out);

#endif
