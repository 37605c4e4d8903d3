/* In-order issue models of Cortex-M cores. Memory without wait states, no interrupts, no bus
 * contention; hazards end with a block, except in a block that follows itself.
 *
 * Sources: Cortex-M0+ (Arm DDI 0484), M3 (DDI 0337), M4 (DDI 0439): instruction timing of the
 * Technical Reference Manuals. Arm publishes no full table for M33, M7 and M55: M33 and M7 are put
 * together from public measurements (quinapalus.com/cm7cycles.html and others); M55 from Arm's
 * description of two beats per cycle, and its latencies from LLVM's schedule of the core
 * (llvm/lib/Target/ARM/ARMScheduleM55.td). */
#include "timing.h"
#include <stddef.h>
#include <string.h>

static const struct core cores[] = {
    {.name = "m0plus", .issue = 1, .load = 2, .store = 2, .multiple = 1, .multiple_each = 1, .multiply = 1,
     .multiply_add = 1, .dsp = 1, .long_multiply = 1, .divide = 1, .taken = 2, .not_taken = 1, .call = 3,
     .branch_to = 2, .pop_pc = 2, .float_add = 1, .float_multiply = 1, .float_multiply_add = 1,
     .float_divide = 1, .float_move = 1},
    {.name = "m3", .issue = 1, .load = 2, .load_pipelined = 1, .store = 1, .multiple = 1, .multiple_each = 1,
     .multiply = 1, .multiply_add = 2, .dsp = 1, .long_multiply = 4, .divide = 7, .taken = 3, .not_taken = 1,
     .call = 3, .branch_to = 3, .pop_pc = 2, .float_add = 1, .float_multiply = 1, .float_multiply_add = 1,
     .float_divide = 1, .float_move = 1},
    {.name = "m4", .issue = 1, .load = 2, .load_pipelined = 1, .store = 1, .multiple = 1, .multiple_each = 1,
     .multiply = 1, .multiply_add = 1, .dsp = 1, .long_multiply = 1, .divide = 7, .taken = 3, .not_taken = 1,
     .call = 3, .branch_to = 3, .pop_pc = 2, .float_add = 1, .float_multiply = 1, .float_multiply_add = 3,
     .float_divide = 14, .float_add_wait = 1, .float_multiply_wait = 1, .float_move = 1},
    {.name = "m33", .issue = 2, .load = 1, .load_use = 1, .store = 1, .multiple = 1, .multiple_each = 1,
     .multiply = 1, .multiply_wait = 1, .multiply_add = 1, .dsp = 1, .long_multiply = 1, .divide = 6,
     .taken = 3, .not_taken = 1, .call = 3, .branch_to = 3, .pop_pc = 2, .float_add = 1, .float_multiply = 1,
     .float_multiply_add = 3, .float_divide = 14, .float_add_wait = 1, .float_multiply_wait = 1,
     .float_move = 1},
    {.name = "m7", .issue = 3, .load = 1, .load_use = 1, .store = 1, .multiple = 1, .multiple_each = 1,
     .wide_port = 1, .multiply = 1, .multiply_wait = 1, .multiply_add = 1, .dsp = 1, .long_multiply = 1,
     .divide = 6, .taken = 1, .not_taken = 1, .call = 1, .branch_to = 1, .pop_pc = 1, .predictor = 1,
     .miss = 6, .float_add = 1, .float_multiply = 1, .float_multiply_add = 1, .float_divide = 14,
     .float_add_wait = 2, .float_multiply_wait = 3, .float_move = 1},
    {.name = "m55", .issue = 2, .load = 1, .load_use = 1, .store = 1, .multiple = 1, .multiple_each = 1,
     .wide_port = 1, .multiply = 1, .multiply_wait = 1, .multiply_add = 1, .dsp = 1, .long_multiply = 1,
     .divide = 8, .taken = 3, .not_taken = 1, .call = 3, .branch_to = 3, .pop_pc = 2, .float_add = 1,
     .float_multiply = 1, .float_multiply_add = 1, .float_divide = 14, .float_add_wait = 2,
     .float_multiply_wait = 3, .float_move = 1},
};

const struct core *core_named(const char *name)
{
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++) {
        if (!strcmp(cores[i].name, name)) {
            return &cores[i];
        }
    }
    return NULL;
}

static int is_branch(const struct instruction *i)
{
    return i->kind == BRANCH || i->kind == BRANCH_IF || i->kind == CALL || i->kind == BRANCH_TO ||
           i->kind == BRANCH_TABLE || i->kind == LOOP_END;
}

static int is_memory(const struct instruction *i)
{
    return (i->kind >= LOAD && i->kind <= STORE_MULTIPLE) || (i->kind >= FLOAT_LOAD && i->kind <= VECTOR_SCATTER);
}

static int is_multiply(const struct instruction *i)
{
    return i->kind >= MULTIPLY && i->kind <= LONG_MULTIPLY;
}

static int is_float(const struct instruction *i)
{
    return i->kind >= FLOAT_ADD && i->kind <= FLOAT_MOVE;
}

/* Cycles that the core is taken; branches are charged when their direction is known. */
static int occupancy(const struct core *core, const struct instruction *i)
{
    const int moved = core->wide_port ? (i->count + 1) / 2 : i->count;
    switch (i->kind) {
    case LOAD:
        return core->load;
    case STORE:
        return core->store;
    case LOAD_MULTIPLE:
    case STORE_MULTIPLE:
        return core->multiple + core->multiple_each * moved - (core->wide_port ? 1 : 0);
    case MULTIPLY:
        return core->multiply;
    case MULTIPLY_ADD:
        return core->multiply_add;
    case DSP:
        return core->dsp;
    case LONG_MULTIPLY:
        return core->long_multiply;
    case DIVIDE:
        return core->divide;
    case FLOAT_ADD:
        return core->float_add;
    case FLOAT_MULTIPLY:
        return core->float_multiply;
    case FLOAT_MULTIPLY_ADD:
        return core->float_multiply_add;
    case FLOAT_DIVIDE:
        return core->float_divide;
    case FLOAT_MOVE:
        return core->float_move * (i->count > 1 && core->issue < 3 ? 2 : 1);
    case FLOAT_LOAD:
        return core->wide_port ? 1 : core->load - 1 + i->count;
    case FLOAT_STORE:
        return core->wide_port ? 1 : i->count;
    case FLOAT_LOAD_MULTIPLE:
    case FLOAT_STORE_MULTIPLE:
        return 1 + moved;
    case VECTOR_GATHER:
    case VECTOR_SCATTER:
        return i->count; /* an element a cycle */
    default:
        return is_branch(i) ? 0 : 1;
    }
}

/* Cycles beyond that until the result may be used. */
static int wait(const struct core *core, const struct instruction *i)
{
    switch (i->kind) {
    case LOAD:
    case LOAD_MULTIPLE:
    case FLOAT_LOAD:
    case FLOAT_LOAD_MULTIPLE:
        return core->load_use;
    case MULTIPLY:
    case MULTIPLY_ADD:
    case LONG_MULTIPLY:
    case DSP:
        return core->multiply_wait;
    case FLOAT_ADD:
        return core->float_add_wait;
    case FLOAT_MULTIPLY:
        return core->float_multiply_wait;
    case FLOAT_MULTIPLY_ADD:
        /* One that takes three cycles has its result ready. */
        return core->float_multiply_add > 1 ? 0 : core->float_multiply_wait;
    case VECTOR_MULTIPLY_ADD:
        return 2;
    default:
        return 0;
    }
}

/* Whether `b` issues together with `a` before it. */
static int pairs(const struct core *core, const struct instruction *a, const struct instruction *b)
{
    if (core->issue < 2 || a->kind >= SYSTEM || is_vector(a) || is_vector(b)) {
        return 0;
    }
    if (a->kind >= BRANCH && a->kind != IF_THEN) {
        return 0;
    }
    if (a->writes & (b->reads | b->address | b->writes) & ~FLAGS) {
        return 0;
    }
    const int whole = 1u << DIVIDE | 1u << LOAD_MULTIPLE | 1u << STORE_MULTIPLE;
    if ((a->kind <= STORE_MULTIPLE && whole >> a->kind & 1) || (b->kind <= STORE_MULTIPLE && whole >> b->kind & 1)) {
        return 0;
    }
    if (core->issue == 2) { /* both 16 bits, one of them plain */
        return a->size == 2 && b->size == 2 && (a->kind == ALU || b->kind == ALU) &&
               !(a->writes & FLAGS & b->reads) && a->kind != IF_THEN && b->kind < BRANCH;
    }
    /* One multiply, one shifter operation, one float operation, one store; packed arithmetic only
     * as the older; two loads may pair; a conditional branch may go with what sets its flags. */
    if ((a->writes & b->reads & FLAGS) && b->kind != BRANCH_IF) {
        return 0;
    }
    if ((is_multiply(a) && is_multiply(b)) || b->kind == DSP || (a->kind == SHIFTED && b->kind == SHIFTED)) {
        return 0;
    }
    const int loads = (a->kind == LOAD || a->kind == FLOAT_LOAD) && (b->kind == LOAD || b->kind == FLOAT_LOAD);
    if (is_memory(a) && is_memory(b) && !loads) {
        return 0;
    }
    return !(is_float(a) && is_float(b));
}

/* The pipe of a vector operation where its schedule is not asked for. */
static int pipe_by_kind(const struct instruction *i)
{
    if (i->kind <= VECTOR_SCATTER) {
        return MEMORY;
    }
    return i->kind <= VECTOR_MULTIPLY ? PRODUCT : i->kind == VECTOR_PREDICATE ? CONTROL : INTEGER;
}

static long latest(const long *ready, uint64_t registers)
{
    long at = 0;
    for (; registers; registers &= registers - 1) {
        const long r = ready[__builtin_ctzll(registers)];
        at = r > at ? r : at;
    }
    return at;
}

static const uint64_t vectors = 0xFFFFFFFFull << 16;

int straight_cycles(const struct core *core, const struct instruction *code, int count, int passes, int strict)
{
    long ready[REGISTERS] = {0}, pipe[PIPES] = {0};
    long now = 0, begin = 0, second_beat = 0, before = -1, finished = 0;
    int paired = 1;
    for (int pass = 0; pass < passes; pass++) {
        begin = now;
        for (int n = 0; n < count; n++) {
            const struct instruction *i = &code[n], *previous = n ? &code[n - 1] : NULL;
            const uint64_t needs = (i->reads & ~i->accumulator) | i->address;
            const int vector = is_vector(i);
            int taken = occupancy(core, i);
            const int extra = wait(core, i);
            long start = now;
            /* Without latencies, a vector waits for a vector only by its pipe. */
            long at = latest(ready, vector && !strict ? needs & ~vectors : needs);
            start = at > start ? at : start;
            at = latest(ready, i->accumulator);
            if (previous && previous->kind != LOAD && previous->kind != FLOAT_LOAD && !(vector && strict)) {
                /* A sum is passed on to the next one without waiting. */
                at -= i->kind == FLOAT_MULTIPLY_ADD ? 0
                                                    : core->multiply_wait + (i->kind == VECTOR_MULTIPLY_ADD ? 2 : 0);
            }
            start = at > start ? at : start;
            if (vector) {
                const int p = strict ? i->pipe : pipe_by_kind(i);
                start = pipe[p] > start ? pipe[p] : start;
                if (strict) {
                    /* Addresses in a vector are wanted four cycles early. */
                    at = latest(ready, i->address & vectors);
                    start = at && at + 4 > start ? at + 4 : start;
                    /* Results are written in the order of their instructions. */
                    start = finished - i->latency > start ? finished - i->latency : start;
                    finished = start + (taken > i->latency ? taken : i->latency);
                }
                pipe[p] = start + (taken > 2 ? taken : p == CONTROL ? 1 : 2);
                second_beat = pipe[p];
            } else if (i->kind != LOOP_END && second_beat > start) {
                start = second_beat;
            }
            if (previous && !paired && start == now && pairs(core, previous, i) && latest(ready, needs) <= before) {
                paired = 1;
                for (uint64_t w = i->writes; w; w &= w - 1) {
                    ready[__builtin_ctzll(w)] = before + (taken ? taken : 1) + extra;
                }
                continue;
            }
            /* Taken to hold for a single VLDR too: it fits published times better. */
            if (core->load_pipelined && (i->kind == LOAD || (i->kind == FLOAT_LOAD && i->count == 1)) &&
                n + 1 < count) {
                const struct instruction *next = &code[n + 1];
                const int single = next->kind == LOAD || next->kind == STORE || next->kind == FLOAT_LOAD ||
                                   next->kind == FLOAT_STORE;
                if (single && !(next->address & i->writes)) {
                    taken = 1;
                }
            }
            before = start;
            paired = 0;
            now = start + taken;
            for (uint64_t w = i->writes; w; w &= w - 1) {
                const int r = __builtin_ctzll(w);
                const int moved_on = r < 16 && (i->address >> r & 1) && i->kind != LOAD;
                if (vector && strict && !moved_on) {
                    ready[r] = start + (taken > i->latency ? taken : i->latency);
                } else {
                    ready[r] = start + (taken ? taken : 1) + (moved_on ? 0 : extra);
                }
            }
        }
    }
    return (int)(now - begin);
}
