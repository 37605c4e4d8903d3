/* @project@: runs the model once on zeros, and shows what it answers. */
#include "console.h"
#include "@name@.h"

/* The model's working memory, which holds its inputs and outputs too. */
static @name@_arena arena;

/* For a debugger: how often the model has run, and its outputs (`print @shown@`). */
volatile uint32_t runs;
@globals@
int main(void)
{
    uint32_t i;
    @name@_init(&arena);
@fill@    @name@_run(&arena@arguments@);
    runs++;
@print@    leave(0);
}
