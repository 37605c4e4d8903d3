/* Tells heartbeats apart: each of some synthetic beats, as a sensor would deliver it, goes through the model. */
#include "beats.h"
#include "console.h"
#include "samples.h"

static const char *const names[BEATS_KIND_LEN] = {"normal", "ventricular", "supraventricular"};

/* The model's working memory, which holds its input and output too. */
static beats_arena arena;

static int best(const int8_t *scores)
{
    int found = 0;
    for (int i = 1; i < BEATS_KIND_LEN; i++) {
        if (scores[i] > scores[found]) {
            found = i;
        }
    }
    return found;
}

int main(void)
{
    int right = 0;
    int8_t *ecg = beats_input_ecg(&arena), *kind = beats_output_kind(&arena);
    beats_init(&arena);
    for (int i = 0; i < SAMPLES; i++) {
        beats_quantize_ecg(samples[i], ecg);
        beats_run(&arena, ecg, kind);
        const int answer = best(kind);
        right += answer == kinds[i];
        print(names[answer]);
        for (int k = 0; k < BEATS_KIND_LEN; k++) {
            print(" ");
            print_number(kind[k]);
        }
        print(answer == kinds[i] ? "\n" : " (wrong)\n");
    }
    print_number(right);
    print(" of ");
    print_number(SAMPLES);
    print(" right\n");
    leave(0);
}
