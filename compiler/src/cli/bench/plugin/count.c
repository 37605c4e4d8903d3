/* Counts what an emulated program executes between two functions: instructions, modelled cycles,
 * bytes moved, per stretch between marks and per block.
 *
 * In: the options below, code as QEMU translates it. Out: a file of `key=value` lines. Law: each
 * block is decoded and timed once, from its opcode bytes; executing it only adds.
 *
 * | option | meaning |
 * |---|---|
 * | `core=` | whose issue model; without it (or for another processor than Arm) an instruction is a cycle |
 * | `start=`, `stop=` | addresses of the two functions; without `start` the whole run counts |
 * | `mark=` | address of a function that opens the next stretch |
 * | `flash=` | first address of memory whose reads are counted by lines of LINE bytes, `flash_end=` behind it |
 * | `out=` | the file to write |
 */
#include "qemu.h"
#include "timing.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EXPORT int qemu_plugin_version = 1;

/* What was executed. `cycles` charges the latency of vector results where that is dearer,
 * `overlapped` never does. */
struct count {
    uint64_t instructions, cycles, overlapped, load_bytes, store_bytes;
};

struct block {
    uint64_t start, end;
    int length;
    struct instruction *code;
    /* Cycles entered from elsewhere, straight from its own end, and from that of another. */
    uint64_t first[2], again[2], after[2];
    const struct block *follows;
    uint64_t load_bytes, store_bytes;
    /* Two bits of prediction. */
    uint8_t expects;
    uint64_t executed, straight, cycles;
    /* Where it jumps back to. */
    uint64_t back_to, back;
    struct block *next;
};

static struct core core;
static bool arm = true, timed;
static uint64_t start_at, stop_at, mark_at;
static const char *out_path;

/* One buffer for code and one for data: what a flash without a cache reads. */
enum { LINE = 16 };
static uint64_t flash, flash_end, code_line, data_line, code_lines, data_lines;

static struct block *blocks, *before;
static bool counting;
static uint64_t loop_buffered, mispredicted, regions;
static struct count *stretches;
static size_t stretch, room;

static void open_stretch(void)
{
    if (stretch + 1 >= room) {
        room = room ? 2 * room : 64;
        struct count *more = calloc(room, sizeof *more);
        if (!more) {
            abort();
        }
        if (stretches) {
            memcpy(more, stretches, (stretch + 1) * sizeof *more);
            free(stretches);
        }
        stretches = more;
    }
}

/* What a block's last instruction costs, now that it is known where it went. */
static uint64_t branch_cost(struct block *b, bool taken)
{
    const struct instruction *last = &b->code[b->length - 1];
    uint64_t cost;
    switch (last->kind) {
    case LOOP_END:
        /* The core keeps one loop; a turn of it costs nothing. */
        if (taken && loop_buffered != b->end) {
            loop_buffered = b->end;
            return (uint64_t)core.taken;
        }
        return 0;
    case BRANCH_IF:
        if (!core.predictor) {
            return (uint64_t)(taken ? core.taken : core.not_taken);
        }
        cost = (uint64_t)core.not_taken;
        if ((b->expects >= 2) != taken) {
            cost += (uint64_t)core.miss;
            mispredicted++;
        }
        if (taken && b->expects < 3) {
            b->expects++;
        } else if (!taken && b->expects > 0) {
            b->expects--;
        }
        return cost;
    case LOOP_START:
        return (uint64_t)(taken ? core.taken : 0);
    case BRANCH:
        return (uint64_t)core.taken;
    case CALL:
        return (uint64_t)core.call;
    case BRANCH_TO:
        return (uint64_t)core.branch_to;
    case BRANCH_TABLE:
        return (uint64_t)core.branch_to + 2;
    default:
        return (uint64_t)(last->kind == LOAD_MULTIPLE && (last->writes & CORE(15)) ? core.pop_pc : 0);
    }
}

/* Whether execution went on from one block to the next as if they were one: QEMU ends blocks at
 * pages and after so many instructions, and the end of a low-overhead loop costs nothing. */
static bool flows(const struct block *from, const struct block *to)
{
    switch (from->code[from->length - 1].kind) {
    case LOOP_END:
        return true;
    case BRANCH:
    case BRANCH_IF:
    case BRANCH_TO:
    case BRANCH_TABLE:
    case CALL:
    case LOOP_START:
        return false;
    default:
        return from->end == to->start;
    }
}

/* The schedule is milder in places: it lets a core register have a sum of products a cycle
 * earlier, and has more pipes. Of both, the dearer counts. */
static void stricter(uint64_t cycles[2])
{
    if (cycles[1] < cycles[0]) {
        cycles[1] = cycles[0];
    }
}

/* Cycles of a block with the hazards of the one before it. */
static const uint64_t *after(struct block *b, const struct block *from)
{
    if (b->follows == from) {
        return b->after;
    }
    struct instruction *both = malloc(sizeof *both * (size_t)(from->length + b->length));
    if (!both) {
        return b->first;
    }
    memcpy(both, from->code, sizeof *both * (size_t)from->length);
    memcpy(both + from->length, b->code, sizeof *both * (size_t)b->length);
    for (int strict = 0; strict < 2; strict++) {
        const int whole = straight_cycles(&core, both, from->length + b->length, 1, strict);
        const int part = whole - (int)from->first[strict];
        b->after[strict] = part > 0 ? (uint64_t)part : 0;
    }
    stricter(b->after);
    free(both);
    b->follows = from;
    return b->after;
}

static void executed(unsigned cpu, void *data)
{
    struct block *b = data;
    (void)cpu;
    if (before && counting && timed) {
        const uint64_t cost = branch_cost(before, b->start != before->end);
        before->cycles += cost;
        stretches[stretch].cycles += cost;
        stretches[stretch].overlapped += cost;
    }
    if (before && counting && b->start <= before->start) {
        before->back += b->start == before->back_to || !before->back;
        before->back_to = before->back == 1 ? b->start : before->back_to;
    }
    if (b->start == start_at || !start_at) {
        regions += !counting;
        counting = true;
    } else if (b->start == stop_at) {
        counting = false;
    }
    if (!counting) {
        before = NULL;
        return;
    }
    if (mark_at && b->start == mark_at) {
        stretch++;
        open_stretch();
    }
    if (flash_end) {
        const uint64_t first = b->start / LINE, last = (b->end - 1) / LINE;
        code_lines += last - first + (first != code_line);
        code_line = last;
    }
    struct count *c = &stretches[stretch];
    const uint64_t *cost = b->first;
    if (before == b) {
        cost = b->again;
    } else if (timed && before && flows(before, b)) {
        cost = after(b, before);
    }
    c->instructions += (uint64_t)b->length;
    c->cycles += cost[1];
    c->overlapped += cost[0];
    c->load_bytes += b->load_bytes;
    c->store_bytes += b->store_bytes;
    b->executed++;
    b->straight += cost[1];
    b->cycles += cost[1];
    before = b;
}

/* Bytes moved by processors that are not decoded here. */
static void moved(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    (void)cpu;
    (void)address;
    (void)data;
    if (counting) {
        const uint64_t bytes = 1ull << qemu_plugin_mem_size_shift(info);
        if (qemu_plugin_mem_is_store(info)) {
            stretches[stretch].store_bytes += bytes;
        } else {
            stretches[stretch].load_bytes += bytes;
        }
    }
}

static void read_flash(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    (void)cpu;
    (void)data;
    if (!counting || address < flash || address >= flash_end) {
        return;
    }
    const uint64_t last = (address + (1ull << qemu_plugin_mem_size_shift(info)) - 1) / LINE;
    data_lines += last - address / LINE + (address / LINE != data_line);
    data_line = last;
}

static void decode(struct qemu_plugin_insn *from, struct instruction *i)
{
    const uint8_t *bytes = qemu_plugin_insn_data(from);
    if (!arm) {
        i->name = "instruction";
        i->size = (uint8_t)qemu_plugin_insn_size(from);
        qemu_plugin_register_vcpu_mem_cb(from, moved, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
        return;
    }
    if (flash_end) {
        qemu_plugin_register_vcpu_mem_cb(from, read_flash, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_R, NULL);
    }
    /* The size comes from the opcode: at a page's end QEMU 7.2 gives the next half-word too. */
    const uint32_t first = bytes[0] | (uint32_t)bytes[1] << 8;
    i->size = first >= 0xE800 ? 4 : 2;
    if (i->size == 4) {
        decode_wide(first << 16 | bytes[2] | (uint32_t)bytes[3] << 8, i);
    } else {
        decode_narrow(first, i);
    }
    if (!i->name) {
        i->name = "unknown";
        i->kind = UNKNOWN;
    }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    const size_t length = qemu_plugin_tb_n_insns(tb);
    struct block *b = calloc(1, sizeof *b);
    struct instruction *code = calloc(length + 1, sizeof *code);
    if (!b || !code || length == 0) {
        return;
    }
    b->code = code;
    b->length = (int)length;
    b->start = b->end = qemu_plugin_tb_vaddr(tb);
    b->expects = 2;
    for (size_t n = 0; n < length; n++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
        decode(insn, &code[n]);
        b->end = qemu_plugin_insn_vaddr(insn) + code[n].size;
        b->load_bytes += is_load(&code[n]) ? code[n].bytes : 0;
        b->store_bytes += is_store(&code[n]) ? code[n].bytes : 0;
    }
    for (int strict = 0; strict < 2; strict++) {
        b->first[strict] = timed ? (uint64_t)straight_cycles(&core, code, b->length, 1, strict) : length;
        b->again[strict] = timed ? (uint64_t)straight_cycles(&core, code, b->length, 3, strict) : length;
    }
    stricter(b->first);
    stricter(b->again);
    b->next = blocks;
    blocks = b;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, b);
}

static void write_count(FILE *out, const char *key, const struct count *c)
{
    fprintf(out, "%s=%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", key, c->instructions,
            c->cycles, c->overlapped, c->load_bytes, c->store_bytes);
}

/* Keys: `stretch` (instructions, cycles, overlapped, load bytes, store bytes), in order;
 * `code_lines`, `data_lines` read from flash; `regions`, `mispredicted`; `unknown`; `kind.NAME`; `block` (start, end, times, instructions,
 * cycles without branches, cycles, where it jumps back to, how often). */
static void finished(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    uint64_t kinds[KINDS] = {0};
    FILE *out = out_path ? fopen(out_path, "w") : stderr;
    if (!out) {
        return;
    }
    for (size_t s = 0; s <= stretch; s++) {
        write_count(out, "stretch", &stretches[s]);
    }
    fprintf(out, "code_lines=%" PRIu64 "\ndata_lines=%" PRIu64 "\n", code_lines, data_lines);
    fprintf(out, "regions=%" PRIu64 "\nmispredicted=%" PRIu64 "\n", regions, mispredicted);
    for (const struct block *b = blocks; b; b = b->next) {
        if (!b->executed) {
            continue;
        }
        for (int n = 0; n < b->length; n++) {
            kinds[b->code[n].kind] += b->executed;
        }
        fprintf(out, "block=%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%d,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
                b->start, b->end, b->executed, b->length, b->straight, b->cycles, b->back_to, b->back);
    }
    fprintf(out, "unknown=%" PRIu64 "\n", kinds[UNKNOWN]);
    for (int kind = 0; arm && kind < KINDS; kind++) {
        if (kinds[kind]) {
            fprintf(out, "kind.%s=%" PRIu64 "\n", kind_name(kind), kinds[kind]);
        }
    }
    fputs("complete=1\n", out);
    if (out != stderr) {
        fclose(out);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    arm = !strcmp(info->target_name, "arm");
    for (int n = 0; n < argc; n++) {
        char *value = strchr(argv[n], '=');
        if (!value) {
            continue;
        }
        *value++ = 0;
        if (!strcmp(argv[n], "core")) {
            const struct core *found = core_named(value);
            if (!found) {
                fprintf(stderr, "no issue model is called %s\n", value);
                return -1;
            }
            core = *found;
            timed = arm;
        } else if (!strcmp(argv[n], "start")) {
            start_at = strtoull(value, NULL, 0) & ~1ull;
        } else if (!strcmp(argv[n], "stop")) {
            stop_at = strtoull(value, NULL, 0) & ~1ull;
        } else if (!strcmp(argv[n], "mark")) {
            mark_at = strtoull(value, NULL, 0) & ~1ull;
        } else if (!strcmp(argv[n], "flash")) {
            flash = strtoull(value, NULL, 0);
        } else if (!strcmp(argv[n], "flash_end")) {
            flash_end = strtoull(value, NULL, 0);
        } else if (!strcmp(argv[n], "out")) {
            out_path = strdup(value);
        } else {
            fprintf(stderr, "the counter has no option %s\n", argv[n]);
            return -1;
        }
    }
    open_stretch();
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
