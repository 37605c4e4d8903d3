"""Compilers that are old, broken, slow or not there: what is emitted does not depend on them, and
what could not be measured is said."""

import json
import os
import pathlib
import shutil

HANG = "1003.5"
# Name, script in place of arm-none-eabi-gcc (REAL is the right one), what the report must say:
# words of the reason, and which figures are there all the same.
FAKES = [
    ("right", 'exec REAL "$@"', None, True, True),
    ("before release 10", 'for a; do case $a in -fcallgraph-info*) echo "error: unrecognized command line option" >&2; exit 1;; esac; done\nexec REAL "$@"', None, True, True),
    ("without figures of stack", 'for a; do case $a in -fcallgraph-info*|-fstack-usage) echo "cc: error: no such option" >&2; exit 1;; esac; done\nexec REAL "$@"', "does not tell how much stack", True, False),
    ("that takes options and ignores them", 'set -- $(for a; do case $a in -fcallgraph-info*|-fstack-usage) ;; *) echo "$a";; esac; done)\nexec REAL "$@"', "does not tell how much stack", True, False),
    ("without a C library", 'exec REAL -nostdinc -isystem "$(REAL -print-file-name=include)" "$@"', None, True, True),
    ("that fails", "exit 1", "does not compile", False, False),
    ("that prints garbage", "head -c 100000 /dev/urandom >&2; exit 3", "does not compile", False, False),
    ("that writes nothing", "exit 0", "does not compile", False, False),
    ("that writes garbage", 'while [ $# -gt 1 ]; do [ "$1" = -o ] && head -c 5000 /dev/urandom > "$2"; shift; done', "does not compile", False, False),
    ("that kills itself", "kill -9 $$", "does not compile", False, False),
    ("that hangs", f"sleep {HANG} & wait", "was stopped after", False, False),
    ("that is no program", None, "does not compile", False, False),
    ("that is missing", "", "was not found", False, False),
]


def check(binary, model, samples, folder, run, passed):
    real = shutil.which("arm-none-eabi-gcc")
    if not passed("arm-none-eabi-gcc is there", real is not None, "install gcc-arm-none-eabi"):
        return
    emitted = {}
    for number, (name, script, words, code_there, stack_there) in enumerate(FAKES):
        what = f"a compiler {name}"
        bin_ = folder / f"fake{number}"
        bin_.mkdir()
        # What scripts need, and no compiler.
        for tool in ["sh", "sleep", "head", "env", "cat"]:
            (bin_ / tool).symlink_to(shutil.which(tool))
        if script != "":
            fake = bin_ / "arm-none-eabi-gcc"
            fake.write_text(f"#!/bin/sh\n{script}\n".replace("REAL", real) if script else "\0\0 no program")
            fake.chmod(0o755)
        out = folder / f"out{number}"
        command = [binary, "compile", str(model), "--calibrate", str(samples), "--target", "nrf52840", "--json"]
        env = dict(os.environ, PATH=str(bin_), SECATEUR_MEASURE_SECONDS="3" if "hangs" in name else "60")
        code, said, err = run([*command, "-o", str(out), "--emit", "c,rust"], env=env)
        if not passed(f"{what} leaves the output", code == 0, err[:300]):
            continue
        total = json.loads(said)["total"]
        passed(f"{what}: code", (total["code"] is not None) == code_there, str(total))
        passed(f"{what}: stack", (total["stack"] is not None) == stack_there, str(total))
        why = (total["not_measured"] or {}).get("why", "")
        passed(f"{what}: why", (words in why) if words else why == "", why)
        header = [p for p in out.glob("*.h") if not p.name.startswith("secateur")][0].read_text()
        passed(f"{what}: header", not words or f"not measured: {why}" in header, header[:1200])
        passed(f"{what}: header's figures", ("_FLASH_BYTES " in header.split("not measured")[0]) == code_there, header[:1200])
        # Everything but the figures is the same.
        texts = {
            p.name: p.read_text() for p in sorted(pathlib.Path(out).iterdir()) if p.is_file() and p.suffix != ".h"
        }
        emitted.setdefault("all", texts)
        passed(f"{what}: the same text", texts == emitted["all"], "")
    left = [p for p in pathlib.Path("/proc").glob("[0-9]*/cmdline") if arguments(p)[:2] == ["sleep", HANG]]
    passed("a compiler that hangs is gone with what it started", not left, f"{len(left)} processes left")


def arguments(path):
    """A process's command line; empty if it has ended meanwhile."""
    try:
        return path.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
