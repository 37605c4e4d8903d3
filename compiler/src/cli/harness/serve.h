/* What the harness, its port and the table of models say to each other. */
#ifndef SERVE_H
#define SERVE_H

#include <stdint.h>

/* An input or output array of a model, inside its arena. */
typedef struct {
    void *(*data)(void);
    uint32_t bytes;
} serve_port;

typedef struct {
    void (*init)(void);
    /* Gives the bytes of stack that the model touched. */
    uint32_t (*run)(void);
    const serve_port *inputs;
    uint32_t input_count;
    const serve_port *outputs;
    uint32_t output_count;
} serve_model;

/* Generated beside this file. */
extern const serve_model serve_models[];
extern const uint32_t serve_model_count;

/* Answers frames until told to stop. Result: 0, or 1 if the other side went away. */
int serve(void);

/* Empty functions whose addresses tell a counter where an inference begins and ends, and, in a
 * build with marks, where its layers do. */
void run_begins(void);
void run_ends(void);
void secateur_layer(void);

/* The port: 0 means done, anything else that the other side is gone. */
int port_read(void *to, uint32_t bytes);
int port_write(const void *from, uint32_t bytes);
/* Where a failed check of a model ends: says why, and ends with exit code 98. */
void serve_stop(const char *message);
/* What `run` gives; all ones where it changed a register that it had to keep. */
uint32_t run_guarded(uint32_t (*run)(void));
/* Stack painting, 0 where there is none. */
uintptr_t paint_stack(void);
uint32_t painted_stack(uintptr_t from);

#endif
