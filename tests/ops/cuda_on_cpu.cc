/* Device code on a CPU: see cuda_on_cpu.h. */
#include "tests/ops/cuda_on_cpu.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

enum { MOST_THREADS = 1024, STACK = 64 * 1024, MOST_SHARED = 227 * 1024 };
enum state { READY, NEXT_TURN, AT_WARP, AT_GROUP, AT_BLOCK, DONE };

struct fiber { /* begun by its context, gone on with by a jump, which asks nothing of the kernel */
    ucontext_t context;
    jmp_buf place;
    char *stack;
    enum state state;
    int started, parity;
    struct sy_on_cpu at;
};

struct sy_on_cpu sy_on_cpu;
int sy_on_cpu_order;

static struct fiber fibers[MOST_THREADS];
static ucontext_t at_first;
static jmp_buf scheduler;
static struct fiber *running;
static const std::function<void()> *body;
static uint64_t slots[MOST_THREADS / 32][2][32];
static char shared_memory[MOST_SHARED] __attribute__((aligned(1024)));
static int votes[2], vote_parity;

static void begin() {
    (*body)();
    running->state = DONE;
    _longjmp(scheduler, 1);
}

static void pause_at(enum state s) {
    struct fiber *me = running;
    me->state = s;
    me->at = sy_on_cpu;
    if (!_setjmp(me->place))
        _longjmp(scheduler, 1);
    sy_on_cpu = me->at;
}

static void resume(struct fiber *f) {
    running = f;
    sy_on_cpu = f->at;
    if (_setjmp(scheduler))
        return;
    if (f->started)
        _longjmp(f->place, 1);
    f->started = 1;
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    f->context.uc_link = nullptr;
    makecontext(&f->context, begin, 0);
    swapcontext(&at_first, &f->context);
}

/* Threads first .. end - 1 that wait at s go on if all that have not left wait there. */
static int release(unsigned first, unsigned end, enum state s, int all_must_live) {
    unsigned there = 0, gone = 0;
    for (unsigned i = first; i < end; i++) {
        there += fibers[i].state == s;
        gone += fibers[i].state == DONE;
    }
    if (there == 0 || there + gone < end - first)
        return 0;
    if (all_must_live && gone) {
        fprintf(stderr, "cuda_on_cpu: %u threads of a warp left before it exchanges values\n", gone);
        abort();
    }
    for (unsigned i = first; i < end; i++)
        if (fibers[i].state == s)
            fibers[i].state = READY;
    return 1;
}

/* As far as the warp comes without the others: what needs a barrier with them and has none shows. */
static unsigned run_warp(unsigned first) {
    unsigned ran = 0;
    do
        for (unsigned k = 0; k < 32; k++) {
            struct fiber *f = &fibers[first + (sy_on_cpu_order ? 31 - k : k)];
            if (f->state == READY) {
                resume(f);
                ran++;
            }
        }
    while (release(first, first + 32, AT_WARP, 1));
    return ran;
}

static void run_block(unsigned n) {
    for (;;) {
        unsigned done = 0, ran = 0;
        for (unsigned i = 0; i < n; i++) {
            fibers[i].state = fibers[i].state == NEXT_TURN ? READY : fibers[i].state;
            done += fibers[i].state == DONE;
        }
        if (done == n)
            return;
        for (unsigned w = 0; w < n; w += 32)
            ran += run_warp(sy_on_cpu_order ? n - 32 - w : w);
        for (unsigned w = 0; w < n; w += 128)
            ran += (unsigned)release(w, w + 128 < n ? w + 128 : n, AT_GROUP, 1);
        if (release(0, n, AT_BLOCK, 0)) {
            vote_parity ^= 1;
            votes[vote_parity] = 0;
            ran++;
        }
        if (!ran) {
            fprintf(stderr, "cuda_on_cpu: the threads of a block wait for one another\n");
            abort();
        }
    }
}

void sy_on_cpu_run(dim3 grid, dim3 threads, size_t shared, const std::function<void()> &kernel) {
    unsigned n = threads.x * threads.y * threads.z;
    if (n == 0 || n > MOST_THREADS || n % 32 || shared > MOST_SHARED || grid.x * grid.y * grid.z == 0) {
        fprintf(stderr, "cuda_on_cpu: a launch of %u x %u x %u blocks of %u threads with %zu bytes\n", grid.x,
                grid.y, grid.z, n, shared);
        abort();
    }
    body = &kernel;
    unsigned blocks = grid.x * grid.y * grid.z;
    for (unsigned turn = 0; turn < blocks; turn++) {
        unsigned b = sy_on_cpu_order ? blocks - 1 - turn : turn;
        memset(shared_memory, 0xff, shared);
        votes[0] = votes[1] = 0;
        for (unsigned i = 0; i < n; i++) {
            struct fiber *f = &fibers[i];
            if (!f->stack)
                f->stack = (char *)malloc(STACK);
            f->state = READY;
            f->started = f->parity = 0;
            f->at.linear = i;
            f->at.thread = dim3(i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y);
            f->at.block = dim3(b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y);
            f->at.threads = threads;
            f->at.grid = grid;
            f->at.shared = shared_memory;
        }
        run_block(n);
    }
}

void __syncthreads() { pause_at(AT_BLOCK); }

int __syncthreads_count(int v) {
    int parity = vote_parity;
    votes[parity] += v != 0;
    pause_at(AT_BLOCK);
    return votes[parity];
}
int __syncthreads_or(int v) { return __syncthreads_count(v) != 0; }

void __syncwarp(unsigned) { pause_at(AT_WARP); }
void sy_on_cpu_wait_for(int threads) { pause_at(threads == 32 ? AT_WARP : AT_GROUP); }
void sy_on_cpu_yield() { pause_at(NEXT_TURN); }

const uint64_t *sy_on_cpu_exchange(uint64_t word) {
    uint64_t *slot = slots[sy_on_cpu.linear / 32][running->parity];
    running->parity ^= 1;
    slot[sy_on_cpu.linear % 32] = word;
    pause_at(AT_WARP);
    return slot;
}
