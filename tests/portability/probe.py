"""Writes the programs that run emitted code and print one hash of all outputs: in C for a host or
a bare processor, and in Rust. They know a model by its header and its module alone."""

import re

SAMPLES = 12

C = """#include "@NAME@.h"
#include "@NAME@.h"
#if defined(PROBE_BARE)
uint32_t semihost(uint32_t operation, const void *argument);
uint32_t firmware_main(void);
void *memcpy(void *to, const void *from, unsigned long bytes);
void *memset(void *to, int value, unsigned long bytes);
static void say(const char *text) { (void)semihost(4u, text); }
#else
#include <stdio.h>
#include <stdlib.h>
static void say(const char *text) { (void)fputs(text, stdout); (void)fflush(stdout); }
#endif

#if defined(PROBE_STOP)
void SECATEUR_STOP(const char *message)
{
    say("stopped: ");
    say(message);
#if defined(PROBE_BARE)
    {
        const uint32_t block[2] = {0x20026u, 98u};
        for (;;) {
            (void)semihost(0x20u, block);
        }
    }
#else
    exit(98);
#endif
}
#endif

static @NAME@_arena arena;
@ARRAYS@
static uint32_t state, hash;

static uint32_t next(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 16;
}

static void mix(uint32_t word)
{
    int i;
    for (i = 0; i < 4; i++) {
        hash = (hash ^ (word & 0xffu)) * 16777619u;
        word >>= 8;
    }
}

/* Exact on every machine. */
static float real(void) { return ((float)(int32_t)next() - 32768.0f) / 8192.0f; }

static uint32_t bits(float x)
{
    union { float x; uint32_t bits; } same;
    same.x = x;
    return same.bits;
}

static uint32_t pass(int in_place)
{
    int sample;
    state = 1u;
    hash = 2166136261u;
    for (sample = 0; sample < @SAMPLES@; sample++) {
        int32_t i;
        if (in_place) {
@FILL_SLOTS@            @NAME@_run(&arena, @SLOTS@);
@MIX_SLOTS@        } else {
@FILL_ARRAYS@            @NAME@_run(&arena, @NAMES@);
@MIX_ARRAYS@        }
    }
    return hash;
}

static uint32_t border(void)
{
    int32_t i;
    state = 1u;
    hash = 2166136261u;
    (void)i;
    (void)real;
    (void)bits;
#if !defined(@UPPER@_NO_FLOAT)
@BORDER@#endif
    return hash;
}

static char *put(char *to, uint32_t word)
{
    int i;
    for (i = 28; i >= 0; i -= 4) {
        *to++ = "0123456789abcdef"[(word >> i) & 15u];
    }
    *to++ = ' ';
    return to;
}

static void probe(void)
{
    char text[32];
    char *to = text;
    @NAME@_init(&arena);
    to = put(to, pass(0));
    to = put(to, pass(1));
    to = put(to, border());
    *to++ = '\\n';
    *to = '\\0';
    say(text);
}

#if defined(PROBE_BARE)
uint32_t firmware_main(void)
{
    probe();
    return 0u;
}
/* Volatile, so that no compiler makes calls of themselves out of them. */
void *memcpy(void *to, const void *from, unsigned long bytes)
{
    volatile uint8_t *t = (volatile uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
    for (; bytes != 0u; bytes--) {
        *t++ = *f++;
    }
    return to;
}
void *memset(void *to, int value, unsigned long bytes)
{
    volatile uint8_t *t = (volatile uint8_t *)to;
    for (; bytes != 0u; bytes--) {
        *t++ = (uint8_t)value;
    }
    return to;
}
#if defined(__arm__)
/* Clang's names. */
void __aeabi_memcpy(void *to, const void *from, unsigned long bytes) { (void)memcpy(to, from, bytes); }
void __aeabi_memcpy4(void *to, const void *from, unsigned long bytes) { (void)memcpy(to, from, bytes); }
void __aeabi_memcpy8(void *to, const void *from, unsigned long bytes) { (void)memcpy(to, from, bytes); }
#endif
#else
int main(void)
{
    probe();
    return 0;
}
#endif
"""

RUST = """#![deny(warnings)]
#[path = "@FILE@"]
mod model;
struct Probe { state: u32, hash: u32 }
impl Probe {
    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1664525).wrapping_add(1013904223);
        self.state >> 16
    }
    fn mix(&mut self, word: u32) {
        for byte in word.to_le_bytes() {
            self.hash = (self.hash ^ u32::from(byte)).wrapping_mul(16777619);
        }
    }
    fn int(&mut self) -> i32 { (self.next() & 0xff) as i32 - 128 }
    fn real(&mut self) -> f32 { (self.next() as i32 as f32 - 32768.0) / 8192.0 }
}
fn pass(in_place: bool) -> u32 {
    let mut model = Box::new(model::@TYPE@::new());
    let mut probe = Probe { state: 1, hash: 2166136261 };
    probe.mix_unused();
@ARRAYS@
    for _ in 0..@SAMPLES@ {
        if in_place {
@SLOTS@        } else {
@COPIED@        }
    }
    probe.hash
}
impl Probe { fn mix_unused(&mut self) { let _ = (Probe::int, Probe::real); } }
fn main() { println!("{:08x} {:08x}", pass(false), pass(true)); }
"""


def ports(header, name):
    """(kind, C type, identifier, constant prefix) of each port, in the order of `run`."""
    found = re.findall(rf"^static inline (\w+) \*{name}_(input|output)_(\w+)\(", header, re.M)
    upper = name.upper()
    return [(kind, ctype, ident, f"{upper}_{ident.upper()}") for ctype, kind, ident in found]


def c_program(header, name):
    def fill(ctype, to, length):
        value = "real()" if ctype == "float" else f"({ctype})((int32_t)(next() & 0xffu) - 128)"
        return f"            for (i = 0; i < {length}; i++) {{ {to}[i] = {value}; }}\n"

    def mix(ctype, of, length):
        value = f"bits({of}[i])" if ctype == "float" else f"(uint32_t)(int32_t){of}[i]"
        return f"            for (i = 0; i < {length}; i++) {{ mix({value}); }}\n"

    parts = dict.fromkeys(["ARRAYS", "FILL_SLOTS", "MIX_SLOTS", "FILL_ARRAYS", "MIX_ARRAYS", "BORDER"], "")
    slots, names = [], []
    for kind, ctype, ident, upper in ports(header, name):
        slot, array, length = f"{name}_{kind}_{ident}(&arena)", f"array_{kind}_{ident}", f"{upper}_LEN"
        slots.append(slot)
        names.append(array)
        parts["ARRAYS"] += f"static {ctype} {array}[{length}];\n"
        if kind == "input":
            parts["FILL_SLOTS"] += fill(ctype, slot, length)
            parts["FILL_ARRAYS"] += fill(ctype, array, length)
            if f"{name}_quantize_{ident}(" in header:
                parts["BORDER"] += (
                    f"    {{\n        static float reals[{length}];\n"
                    f"        for (i = 0; i < {length}; i++) {{ reals[i] = real(); }}\n"
                    f"        {name}_quantize_{ident}(reals, {array});\n    {mix(ctype, array, length)}    }}\n"
                )
        else:
            parts["MIX_SLOTS"] += mix(ctype, slot, length)
            parts["MIX_ARRAYS"] += mix(ctype, array, length)
            if f"{name}_dequantize_{ident}(" in header:
                parts["BORDER"] += (
                    f"    {{\n        static float reals[{length}];\n"
                    f"        {name}_dequantize_{ident}({array}, reals);\n"
                    f"    {mix('float', 'reals', length)}    }}\n"
                )
    text = C
    for key, value in (parts | {"SLOTS": ", ".join(slots), "NAMES": ", ".join(names)}).items():
        text = text.replace(f"@{key}@", value)
    return text.replace("@NAME@", name).replace("@UPPER@", name.upper()).replace("@SAMPLES@", str(SAMPLES))


def rust_program(module, file):
    kind = re.search(r"^pub struct (\w+)", module, re.M)[1]
    run = re.search(r"pub fn run\(&mut self, (.*?)\)", module, re.S)[1]
    arrays, slots, copied, after, slots_after, names = "", "", "", "", "", []
    for ident, mutable, ty, length in re.findall(r"(\w+): &(mut )?\[(\w+); (\w+)\]", run):
        arrays += f"    let mut array_{ident} = [{ty}::default(); {length}];\n"
        names.append(("&mut " if mutable else "&") + f"array_{ident}")
        method = ident.removeprefix("out_" if mutable else "in_")
        value = "probe.real()" if ty == "f32" else f"probe.int() as {ty}"
        word = "y.to_bits()" if ty == "f32" else "y as u32"
        if mutable:
            after += f"            for &y in &array_{ident} {{ probe.mix({word}); }}\n"
            slots_after += f"            for &y in model.{method}() {{ probe.mix({word}); }}\n"
        else:
            copied += f"            for x in &mut array_{ident} {{ *x = {value}; }}\n"
            slots += f"            for x in model.{method}_mut() {{ *x = {value}; }}\n"
    copied += f"            model.run({', '.join(names)});\n" + after
    slots += "            model.run_in_place();\n" + slots_after
    text = RUST.replace("@FILE@", file).replace("@TYPE@", kind).replace("@SAMPLES@", str(SAMPLES))
    return text.replace("@ARRAYS@", arrays).replace("@SLOTS@", slots).replace("@COPIED@", copied)
