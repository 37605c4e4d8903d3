/* Text to the host, by semihosting: in builds for the emulator, and in those with SEMIHOSTING, which need a debugger
 * that answers. Others say nothing. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

void print(const char *text);
void print_number(int64_t number);
/* Ends an emulated run with an exit code; else waits for ever. */
void leave(int code);

#endif
