/* Shows windows of a watch's motion to the model, one of each exercise, and tells what it takes them for. */
#include "console.h"
#include "samples.h"
#include "watch.h"

/* The model's working memory, which holds its input and output too. */
static watch_arena arena;

int main(void)
{
    int right = 0;
    int8_t *imu = watch_input_imu(&arena), *logits = watch_output_logits(&arena);
    watch_init(&arena);
    for (int exercise = 0; exercise < WATCH_LOGITS_LEN; exercise++) {
        int found = 0;
        watch_quantize_imu(samples[exercise], imu);
        watch_run(&arena, imu, logits);
        for (int i = 1; i < WATCH_LOGITS_LEN; i++) {
            if (logits[i] > logits[found]) {
                found = i;
            }
        }
        right += found == exercise;
        print("exercise ");
        print_number(exercise);
        print(", found ");
        print_number(found);
        print("\n");
    }
    print_number(right);
    print(" of ");
    print_number(WATCH_LOGITS_LEN);
    print(" right\n");
    leave(0);
}
