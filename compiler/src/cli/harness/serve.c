/* Answers request frames with replies: inputs in, outputs and painted stack out.
 *
 * A frame: 0xA5 0x5C, kind, 0, length (32 bits, little endian), payload, CRC-32 of everything
 * between the magic and itself. The same for a file, a pipe and a serial line. A frame that
 * cannot be used is answered by FAILED; the search for the next magic begins right behind what
 * was read.
 */
#if defined(__GNUC__) && !defined(__clang__)
/* Loops are to stay loops: there is no C library beside the harness. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

#include "serve.h"

enum { HELLO = 'H', INPUT = 'I', OUTPUT = 'O', END = 'E', FAILED = 'X', VERSION = 1 };

/* Assembly, so that no compiler takes them for nothing. */
__attribute__((noinline)) void run_begins(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) void run_ends(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) void secateur_layer(void)
{
    __asm__ volatile("");
}

static uint32_t crc;

static void crc_add(const void *data, uint32_t bytes)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const uint8_t *from = data;
    for (uint32_t i = 0; i < bytes; i++) {
        crc ^= from[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
}

static int get(void *to, uint32_t bytes)
{
    if (port_read(to, bytes)) {
        return 1;
    }
    crc_add(to, bytes);
    return 0;
}

static int put(const void *from, uint32_t bytes)
{
    crc_add(from, bytes);
    return port_write(from, bytes);
}

/* All boards and hosts that we run on are little endian. */
static int put_word(uint32_t word)
{
    return put(&word, 4);
}

static int begin(uint8_t kind, uint32_t length)
{
    static const uint8_t magic[2] = {0xA5, 0x5C};
    const uint8_t head[2] = {kind, 0};
    if (port_write(magic, 2)) {
        return 1;
    }
    crc = 0xFFFFFFFF;
    return put(head, 2) || put_word(length);
}

static int finish(void)
{
    const uint32_t sum = ~crc;
    return port_write(&sum, 4);
}

static int fail(const char *why)
{
    uint32_t length = 0;
    while (why[length]) {
        length++;
    }
    return begin(FAILED, length) || put(why, length) || finish();
}

static uint32_t total(const serve_port *ports, uint32_t count)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += ports[i].bytes;
    }
    return bytes;
}

static int hello(void)
{
    if (begin(HELLO, 8 + 8 * serve_model_count) || put_word(VERSION) || put_word(serve_model_count)) {
        return 1;
    }
    for (uint32_t i = 0; i < serve_model_count; i++) {
        const serve_model *model = &serve_models[i];
        if (put_word(total(model->inputs, model->input_count)) ||
            put_word(total(model->outputs, model->output_count))) {
            return 1;
        }
    }
    return finish();
}

static int answer(uint32_t length)
{
    uint32_t index, sum;
    if (length < 4) {
        return fail("an input frame is too short");
    }
    if (get(&index, 4)) {
        return 1;
    }
    if (index >= serve_model_count) {
        return fail("there is no model of that number");
    }
    const serve_model *model = &serve_models[index];
    if (length - 4 != total(model->inputs, model->input_count)) {
        return fail("an input frame has the wrong length");
    }
    for (uint32_t i = 0; i < model->input_count; i++) {
        if (get(model->inputs[i].data(), model->inputs[i].bytes)) {
            return 1;
        }
    }
    const uint32_t expected = ~crc;
    if (port_read(&sum, 4)) {
        return 1;
    }
    if (sum != expected) {
        return fail("a frame came with a wrong checksum");
    }
    const uint32_t stack = run_guarded(model->run);
    if (stack == UINT32_MAX) {
        return fail("the model changed a register that it had to keep");
    }
    if (begin(OUTPUT, 8 + total(model->outputs, model->output_count)) || put_word(index) ||
        put_word(stack)) {
        return 1;
    }
    for (uint32_t i = 0; i < model->output_count; i++) {
        if (put(model->outputs[i].data(), model->outputs[i].bytes)) {
            return 1;
        }
    }
    return finish();
}

int serve(void)
{
    for (uint32_t i = 0; i < serve_model_count; i++) {
        serve_models[i].init();
    }
    if (hello()) {
        return 1;
    }
    for (;;) {
        uint8_t byte = 0, head[2];
        uint32_t length;
        /* Noise before the magic is passed over. */
        while (byte != 0x5C) {
            do {
                if (port_read(&byte, 1)) {
                    return 1;
                }
            } while (byte != 0xA5);
            while (byte == 0xA5) {
                if (port_read(&byte, 1)) {
                    return 1;
                }
            }
        }
        crc = 0xFFFFFFFF;
        if (get(head, 2) || get(&length, 4)) {
            return 1;
        }
        if (head[0] == END) {
            return begin(END, 0) || finish();
        }
        if (head[0] != INPUT) {
            if (fail("a frame of unknown kind came")) {
                return 1;
            }
        } else if (answer(length)) {
            return 1;
        }
    }
}
