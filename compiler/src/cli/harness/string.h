/* The part of <string.h> that emitted code uses, for compilers that come without a C library. */
#ifndef SECATEUR_HARNESS_STRING_H
#define SECATEUR_HARNESS_STRING_H
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
#endif
