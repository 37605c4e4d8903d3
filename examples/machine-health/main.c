/* Watches a machine by its vibration: each window goes through an autoencoder, and what that cannot give back is no
 * vibration of a healthy machine. Integers alone, from the sensor's counts to the alarm: it runs on a core without FPU. */
#include "console.h"
#include "health.h"
#include "limit.h"
#include "samples.h"

/* An alarm needs so many of so many windows above the limit, and goes when none of these is. */
enum { ABOVE = 3, WATCHED = 4 };

/* The model's input and output have scales of their own. Errors are counted in 4,096ths of a step of the input; these
 * numbers of it are made when this file is compiled. */
#define ONE 4096
static const int32_t again_step = (int32_t)(HEALTH_AGAIN_SCALE / HEALTH_VIBRATION_SCALE * ONE + 0.5f);
static const uint64_t limit = (uint64_t)((double)LIMIT_G2 * HEALTH_VIBRATION_LEN * ONE * ONE /
                                         ((double)HEALTH_VIBRATION_SCALE * HEALTH_VIBRATION_SCALE));

/* The model's working memory. */
static health_arena arena;

/* The sum of squares of what the model did not give back. */
static uint64_t error(const int8_t *vibration, const int8_t *again)
{
    uint64_t sum = 0;
    for (int i = 0; i < HEALTH_VIBRATION_LEN; i++) {
        const int32_t in = (vibration[i] - HEALTH_VIBRATION_ZERO_POINT) * ONE;
        const int32_t out = (again[i] - HEALTH_AGAIN_ZERO_POINT) * again_step;
        const int64_t apart = (int64_t)in - out;
        sum += (uint64_t)(apart * apart);
    }
    return sum;
}

int main(void)
{
    /* Not those in the arena, where a run may write over its input. */
    static int8_t vibration[HEALTH_VIBRATION_LEN], again[HEALTH_AGAIN_LEN];
    unsigned above = 0;
    int alarm = 0;
    health_init(&arena);
    for (int i = 0; i < SAMPLES; i++) {
        health_quantize_vibration_i16(samples[i], vibration);
        health_run(&arena, vibration, again);
        const uint64_t found = error(vibration, again);
        above = (above << 1 | (found > limit)) & ((1u << WATCHED) - 1);
        int many = 0;
        for (unsigned left = above; left != 0; left >>= 1) {
            many += left & 1;
        }
        alarm = many >= ABOVE || (alarm && many > 0);
        print(conditions[i]);
        print(": error ");
        print_number((int64_t)(found * 100 / limit));
        print(alarm ? " % of the limit, alarm\n" : " % of the limit\n");
    }
    leave(0);
}
