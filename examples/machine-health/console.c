#include "console.h"
#include <stddef.h>

#ifdef SEMIHOSTING

/* As Arm's document "Semihosting for AArch32 and AArch64" numbers them. */
enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_EXIT_EXTENDED = 0x20, ADP_STOPPED_APPLICATION_EXIT = 0x20026 };

uintptr_t semihost(uintptr_t operation, const uintptr_t *arguments);

void print(const char *text)
{
    static const char name[] = ":tt";
    static uintptr_t file;
    size_t length = 0;
    if (file == 0) {
        /* `fopen` with "w". */
        const uintptr_t open[3] = {(uintptr_t)name, 4, sizeof name - 1};
        file = semihost(SYS_OPEN, open);
    }
    while (text[length] != 0) {
        length++;
    }
    const uintptr_t write[3] = {file, (uintptr_t)text, length};
    semihost(SYS_WRITE, write);
}

void leave(int code)
{
    const uintptr_t exit[2] = {ADP_STOPPED_APPLICATION_EXIT, (uintptr_t)code};
    for (;;) {
        semihost(SYS_EXIT_EXTENDED, exit);
    }
}

#else

void print(const char *text)
{
    (void)text;
}

void leave(int code)
{
    (void)code;
    for (;;) {
    }
}

#endif

void print_number(int64_t number)
{
    char text[21];
    size_t at = sizeof text - 1;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    text[at] = 0;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0) {
        text[--at] = '-';
    }
    print(&text[at]);
}

/* Where the processor ends up that met a fault. */
void fault(void)
{
    print("fault\n");
    leave(99);
}
