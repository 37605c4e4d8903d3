/* Windows to show: synthetic vibration, 40 ms each at 3,200 Hz, in counts of 16 bits at +-4 g. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stdint.h>

enum { SAMPLES = 24, SAMPLE_LENGTH = 128 };

extern const int16_t samples[SAMPLES][SAMPLE_LENGTH];
/* What the machine's condition is in each. */
extern const char *const conditions[SAMPLES];

#endif
