/* The harness as a program of the host: two files named on the command line. */
#include "serve.h"
#include <stdio.h>
#include <stdlib.h>

static FILE *requests, *replies;

int port_read(void *to, uint32_t bytes)
{
    return fread(to, 1, bytes, requests) != bytes;
}

int port_write(const void *from, uint32_t bytes)
{
    return fwrite(from, 1, bytes, replies) != bytes;
}

void serve_stop(const char *message)
{
    fprintf(stderr, "%s\n", message);
    exit(98);
}

uint32_t run_guarded(uint32_t (*run)(void))
{
    return run();
}

uintptr_t paint_stack(void)
{
    return 0;
}

uint32_t painted_stack(uintptr_t from)
{
    (void)from;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    requests = fopen(argv[1], "rb");
    replies = fopen(argv[2], "wb");
    if (!requests || !replies) {
        return 3;
    }
    const int result = serve();
    return fclose(replies) ? 4 : result;
}
