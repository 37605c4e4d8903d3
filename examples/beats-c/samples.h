/* Beats to show: synthetic, one second each at 128 Hz. */
#ifndef SAMPLES_H
#define SAMPLES_H

enum { SAMPLES = 12, SAMPLE_LENGTH = 128 };

extern const float samples[SAMPLES][SAMPLE_LENGTH];
/* What each is: a number into `names` of main.c. */
extern const unsigned char kinds[SAMPLES];

#endif
