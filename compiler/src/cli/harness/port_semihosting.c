/* The harness as firmware: files of the host, reached by semihosting, and the few functions
 * that compilers call by themselves. */
#if defined(__GNUC__) && !defined(__clang__)
/* The loops of memcpy and memset below are not to become calls of themselves. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

#include "serve.h"
#include <stddef.h>

uint32_t semihost(uint32_t operation, void *arguments);
uint32_t firmware_main(void);

enum { SYS_OPEN = 1, SYS_CLOSE = 2, SYS_WRITE0 = 4, SYS_WRITE = 5, SYS_READ = 6, READ_BINARY = 1, WRITE_BINARY = 5 };
enum { SYS_EXIT_EXTENDED = 0x20, ADP_STOPPED_APPLICATION_EXIT = 0x20026 };

static uint32_t requests, replies;

static uint32_t file_open(const char *name, uint32_t mode)
{
    uint32_t length = 0;
    while (name[length]) {
        length++;
    }
    uint32_t block[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihost(SYS_OPEN, block);
}

/* Both calls give the number of bytes that were not moved. */
int port_read(void *to, uint32_t bytes)
{
    uint32_t block[3] = {requests, (uint32_t)(uintptr_t)to, bytes};
    return bytes != 0 && semihost(SYS_READ, block) != 0;
}

int port_write(const void *from, uint32_t bytes)
{
    uint32_t block[3] = {replies, (uint32_t)(uintptr_t)from, bytes};
    return bytes != 0 && semihost(SYS_WRITE, block) != 0;
}

void serve_stop(const char *message)
{
#if defined(__hexagon__)
    /* Its start file knows only how to open, close, read and write. */
    (void)message;
    __builtin_trap();
#endif
    /* Semihosting does not change what is written. */
    semihost(SYS_WRITE0, (void *)(uintptr_t)message);
    uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, 98};
    for (;;) {
        semihost(SYS_EXIT_EXTENDED, block);
    }
}

uint32_t firmware_main(void)
{
    requests = file_open("requests", READ_BINARY);
    replies = file_open("replies", WRITE_BINARY);
    if (requests == UINT32_MAX || replies == UINT32_MAX) {
        return 3;
    }
    const uint32_t result = (uint32_t)serve();
    semihost(SYS_CLOSE, &replies);
    return result;
}

/* By words, as the C libraries of these processors have them; only aligned ones, which every
 * processor can read. The compiler is told not to turn the loops into calls of themselves. */
typedef uint32_t __attribute__((may_alias)) word;
enum { ROUND = 16 };

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    char *t = to;
    const char *f = from;
    if ((((uintptr_t)t ^ (uintptr_t)f) & 3) == 0) {
        for (; bytes && ((uintptr_t)t & 3); bytes--) {
            *t++ = *f++;
        }
        for (; bytes >= ROUND; bytes -= ROUND, t += ROUND, f += ROUND) {
            const word a = ((const word *)f)[0], b = ((const word *)f)[1];
            const word c = ((const word *)f)[2], d = ((const word *)f)[3];
            ((word *)t)[0] = a;
            ((word *)t)[1] = b;
            ((word *)t)[2] = c;
            ((word *)t)[3] = d;
        }
        for (; bytes >= 4; bytes -= 4, t += 4, f += 4) {
            *(word *)t = *(const word *)f;
        }
    }
    while (bytes--) {
        *t++ = *f++;
    }
    return to;
}

/* Not by way of memcpy, which may read ahead of what it writes. */
void *memmove(void *to, const void *from, size_t bytes)
{
    char *t = to;
    const char *f = from;
    if ((uintptr_t)t <= (uintptr_t)f) {
        while (bytes--) {
            *t++ = *f++;
        }
        return to;
    }
    while (bytes--) {
        t[bytes] = f[bytes];
    }
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    char *t = to;
    const word all = (uint8_t)value * 0x01010101u;
    for (; bytes && ((uintptr_t)t & 3); bytes--) {
        *t++ = (char)value;
    }
    for (; bytes >= ROUND; bytes -= ROUND, t += ROUND) {
        ((word *)t)[0] = all;
        ((word *)t)[1] = all;
        ((word *)t)[2] = all;
        ((word *)t)[3] = all;
    }
    for (; bytes >= 4; bytes -= 4, t += 4) {
        *(word *)t = all;
    }
    while (bytes--) {
        *t++ = (char)value;
    }
    return to;
}
