"""The same bits and no warning from emitted code, whatever builds it.

In: the command line's binary. Out: one line for each check that failed, and a count. Law: what
cannot be told from flags is tried; a tool that is missing is a failure that names its package.
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

import models
import probe
import toolchains

REPOSITORY = models.REPOSITORY
FULL = os.environ.get("SECATEUR_FULL") == "1"
STRICT = (
    "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wcast-align -Wcast-qual -Wundef -Wdouble-promotion -Werror"
).split()
STRICT_C = [*STRICT, "-Wstrict-prototypes"]
STRICT_CXX = [*STRICT, "-Wold-style-cast"]

# Compilers of a host: name, command, how to link, how to run.
I686 = ["i686-linux-gnu-gcc", "-static"]
PPC = ["powerpc-linux-gnu-gcc", "-static"]
CLANG = ["clang-19"]
CROSS_CLANG = "clang-19 --target={0} -isystem /usr/{0}/include"
HOSTS = {
    "gcc": (["gcc"], ["gcc"], []),
    "clang": (CLANG, CLANG, []),
    "gcc -m32": (["i686-linux-gnu-gcc"], I686, []),
    "clang -m32": (CROSS_CLANG.format("i686-linux-gnu").split(), I686, []),
    "gcc big-endian": (["powerpc-linux-gnu-gcc"], PPC, ["qemu-ppc"]),
    "clang big-endian": (CROSS_CLANG.format("powerpc-linux-gnu").split(), PPC, ["qemu-ppc"]),
}
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SSE = ["-msse2", "-mfpmath=sse"]
# Host, flags, and whether float code is refused: then the words that name the switch.
BUILDS = [
    ("gcc", ["-std=c99", "-O0"], None),
    ("gcc", ["-std=c99", "-Os"], None),
    ("gcc", ["-std=c99", "-O3", "-flto"], None),
    ("gcc", ["-std=gnu17", "-O3", "-march=native"], None),
    ("gcc", ["-std=c99", "-O3", "-march=native", "-ffp-contract=fast"], None),
    ("gcc", SANITIZE, None),
    ("gcc", ["-Ofast"], "-ffast-math"),
    ("gcc", ["-O2", "-freciprocal-math"], "-freciprocal-math"),
    ("gcc", ["-O2", "-ffinite-math-only"], "-ffinite-math-only"),
    ("clang", ["-std=c99", "-O0"], None),
    ("clang", ["-Os"], None),
    ("clang", ["-std=c99", "-O3", "-flto"], None),
    ("clang", ["-std=gnu17", "-O3", "-march=native"], None),
    ("clang", ["-O2", "-march=native", "-freciprocal-math", "-fassociative-math"], None),
    ("clang", SANITIZE, None),
    ("clang", ["-O2", "-ffast-math"], "-ffast-math"),
    ("gcc -m32", ["-std=gnu17", "-O2", *SSE], None),
    ("gcc -m32", ["-O2", "-mfpmath=387", "-mno-sse"], "-mfpmath=sse"),
    ("clang -m32", ["-O2", *SSE], None),
    ("gcc big-endian", ["-O2"], None),
    ("clang big-endian", ["-O2"], None),
]
# Beside the portable bodies of the host: cores whose native kernels a board or process runs.
CORES = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33", "cortex-m7", "cortex-m55", "rv32imc", "rv32imcv"]
# Triples of bare processors and the core that each stands for; cores whose modules they refuse.
BARE = {"thumbv7em-none-eabihf": "cortex-m4", "riscv32imc-unknown-none-elf": "rv32imc"}
WRONG = {"cortex-m4": ["rv32imc", "rv32imcv"], "rv32imc": ["cortex-m4", "cortex-m55", "cortex-m0plus"]}
# Checks of debug builds end in the probe.
STOP = ["-DSECATEUR_STOP=report", "-DPROBE_STOP"]
FIRMWARE = ["-ffunction-sections", "-fdata-sections"]

lock = threading.Lock()
failures = []
checks = 0


def passed(what, condition, why=""):
    global checks
    with lock:
        checks += 1
        if not condition:
            failures.append(f"{what}: {why}".strip())
            print(f"FAILED {failures[-1]}", flush=True)
    return condition


def run(command, cwd=None, env=None, limit=300):
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=limit, errors="replace")
    except FileNotFoundError:
        return 127, "", f"`{command[0]}` is missing: tests/setup installs it"
    except subprocess.TimeoutExpired:
        return 124, "", f"`{command[0]}` took longer than {limit} s"
    return done.returncode, done.stdout, done.stderr


def head(text):
    return " | ".join(line for line in text.splitlines() if line.strip())[:600]


class Emitted:
    """A model as `secateur compile` wrote it for a target."""

    def __init__(self, binary, folder, name, model, samples, target, float_):
        self.name, self.target, self.float = name, target, float_
        self.folder = folder / f"{name}-{target}-{'float' if float_ else 'int8'}"
        how = ["--quantize", "none"] if float_ else []
        # Rust stands in a folder of its own, in both layouts.
        common = [binary, "compile", str(model), "--name", name, "--target", target, "--calibrate", str(samples), *how]
        more = ["--check"] if target == "host" else []
        code, _, said = run([*common, *more, "-o", str(self.folder), "--emit", "c,rust"])
        self.label = self.folder.name
        self.ok = passed(f"{self.label} compiles", code == 0, head(said))
        if not self.ok:
            return
        self.header = (self.folder / f"{name}.h").read_text()
        self.module = (self.folder / f"{name}.rs").read_text()
        (self.folder / "probe.c").write_text(probe.c_program(self.header, name))
        (self.folder / "user.cc").write_text(f'#include "{name}.h"\nint user() {{ return {name.upper()}_ARENA_BYTES; }}\n')
        (self.folder / "probe.rs").write_text(probe.rust_program(self.module, f"{name}.rs"))
        self.sources = [p.name for p in sorted(self.folder.glob("*.c")) if p.name != "probe.c"]
        self.assembly = [p.name for p in sorted(self.folder.glob("*.S"))]
        self.native = bool(self.assembly)
        self.want = None

    def same(self, what, code, out, said, border=True):
        """The hashes that a build printed are the reference's."""
        got = out.split()
        if code != 0 or len(got) < 2:
            return passed(f"{self.label} by {what}", False, f"exit {code}: {head(out)} {head(said)}")
        if self.want is None:
            self.want = got
        passed(f"{self.label} by {what}, in place", got[0] == got[1], f"{got}")
        count = 3 if border and len(got) == len(self.want) == 3 else 2
        return passed(f"{self.label} by {what}", got[:count] == self.want[:count], f"{got}, not {self.want}")


def host(emitted, name, flags, refused):
    """Builds for a host and runs."""
    compiler, linker, runner = HOSTS[name]
    label = f"{name} {' '.join(flags)}"
    with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
        # Floats that a build would get wrong are left out where the model has none of its own.
        leave_out = [f"-D{emitted.name.upper()}_NO_FLOAT"] if refused and not emitted.float else []
        objects = []
        for source in [*emitted.sources, "probe.c"]:
            objects.append(f"{folder}/{source}.o")
            command = [*compiler, *STRICT_C, *flags, *leave_out, "-I.", "-c", source, "-o", objects[-1]]
            code, _, said = run(command, cwd=emitted.folder)
            if refused and emitted.float:
                passed(f"{emitted.label} is refused by {label}", code != 0 and refused in said, head(said))
                return
            if not passed(f"{emitted.label} without a warning by {label}", code == 0, head(said)):
                return
        link = [*linker, *flags] if linker == compiler else linker
        # GNU ld does not read what clang leaves for link time.
        lld = name == "clang" and "-flto" in flags
        link = [*link, *(["-fuse-ld=lld"] if lld else ["-Wl,--no-warn-rwx-segments"]), "-Wl,--fatal-warnings"]
        code, _, said = run([*link, *objects, "-o", f"{folder}/probe"])
        if passed(f"{emitted.label} links by {label}", code == 0, head(said)):
            emitted.same(label, *run([*runner, f"{folder}/probe"]), border=not leave_out)


def fused(emitted):
    """A compiler that fuses against all requests is found out at `init`, and says the switch."""
    if "fma" not in pathlib.Path("/proc/cpuinfo").read_text().split():
        return
    with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
        for ndebug in [[], ["-DNDEBUG"]]:
            command = ["clang-19", "-O2", "-mfma", "-ffp-contract=fast", *STOP, *ndebug]
            code, _, said = run([*command, *emitted.sources, "probe.c", "-o", f"{folder}/probe"], cwd=emitted.folder)
            if passed(f"{emitted.label} builds with fused sums", code == 0, head(said)) and not ndebug:
                code, out, said = run([f"{folder}/probe"])
                passed(f"{emitted.label} stops where sums are fused", code == 98 and "-ffp-contract=off" in out, out)


def core(name):
    return tomllib.loads((REPOSITORY / f"targets/cores/{name}.toml").read_text())


def compilers(core):
    """The C compilers of a core with the flags that choose it."""
    tools = core["toolchain"]
    prefix = tools.get("prefix", "arm-none-eabi")
    found = [("clang", ["clang-19", *tools["clang"]])] if tools.get("clang") else []
    if tools.get("gcc"):
        found.append(("gcc", [f"{prefix}-gcc", *tools["gcc"]]))
    return prefix, found


def bare(emitted, core_name):
    """Without a warning for a core by each of its compilers, and run on its emulator."""
    description = core(core_name)
    prefix, found = compilers(description)
    for kind, compiler in found:
        label = f"{kind} for {core_name}"
        with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
            freestanding = ["-ffreestanding"] if kind == "clang" else []
            flags = [*FIRMWARE, *freestanding, "-O2", "-I."]
            objects = []
            for source in [*emitted.sources, *emitted.assembly]:
                objects.append(f"{folder}/{source}.o")
                warnings = STRICT_C if source.endswith(".c") else ["-Werror"]
                command = [*compiler, *warnings, "-std=c99", *flags, "-c", source, "-o", objects[-1]]
                code, _, said = run(command, cwd=emitted.folder)
                if not passed(f"{emitted.label} without a warning by {label}", code == 0, head(said)):
                    return
            # Clang's C++ without a library has the freestanding headers alone, which is all it takes.
            cxx = [c.replace("-gcc", "-g++") for c in compiler]
            if kind == "clang":
                cxx += ["-xc++", "-ffreestanding"]
            command = [*cxx, *STRICT_CXX, "-std=c++11", "-I.", "-c", "user.cc", "-o", f"{folder}/user.o"]
            code, _, said = run(command, cwd=emitted.folder)
            passed(f"{emitted.label} in C++ without a warning by {label}", code == 0, head(said))
            if "emulator" in description and core_name != "hexagon-v67":
                emulate(emitted, label, description, prefix, compiler, flags, objects, folder)


def emulate(emitted, label, description, prefix, compiler, flags, objects, folder, expect=None):
    """Links a probe with the harness's start file, warnings being errors, and runs it."""
    emulator, harness = description["emulator"], REPOSITORY / "compiler/src/cli/harness"
    user = "machine" not in emulator
    start = "start_riscv.s" if emulator.get("start-file") == "riscv" else "start.s"
    script = (harness / ("link_user.ld" if user else "link.ld")).read_text()
    number = lambda size: str(size).replace("M", " * 0x100000").replace("K", " * 1024")
    for mark, value in {
        "@code-start@": number(emulator["code"]["start"]),
        "@code-size@": number(emulator["code"]["size"]),
        "@ram-start@": number(emulator["ram"]["start"]),
        "@ram-size@": number(emulator["ram"]["size"]),
        "@stack-size@": "0x10000",
        "@unaligned-trap@": "8" if emulator.get("trap-unaligned") else "0",
    }.items():
        script = script.replace(mark, value)
    pathlib.Path(folder, "link.ld").write_text(script)
    probed = [f"{folder}/probe.o", f"{folder}/start.o"]
    for source, out in [("probe.c", probed[0]), (str(harness / start), probed[1])]:
        more = ["-fno-builtin", "-DPROBE_BARE", *STOP, "-w"] if source.endswith(".c") else []
        code, _, said = run([*compiler, *flags, *more, "-c", source, "-o", out], cwd=emitted.folder)
        if not passed(f"{emitted.label} has a probe by {label}", code == 0, head(said)):
            return
    tools = description["toolchain"]
    linker = [f"{prefix}-gcc", *(tools.get("gcc-library") or tools.get("gcc") or [])]
    linker = [l for l in linker if not l.startswith("--specs")]
    options = ["-nostdlib", "-Wl,--fatal-warnings", "-Wl,--no-warn-rwx-segments", "-Wl,--gc-sections", f"-T{folder}/link.ld"]
    # GCC's own library says nothing of its stack and has short enumerations; clang's objects differ.
    if label.startswith("clang"):
        options += ["-Wl,-z,noexecstack", *(["-Wl,--no-enum-size-warning"] if prefix.startswith("arm") else [])]
    code, _, said = run([*linker, *options, *probed, *objects, "-lgcc", "-o", f"{folder}/probe"], cwd=emitted.folder)
    if not passed(f"{emitted.label} links by {label}", code == 0, head(said)):
        return
    command = [emulator["program"], *emulator.get("arguments", [])]
    if not user:
        command += ["-M", emulator["machine"], "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-kernel"]
    code, out, said = run([*command, f"{folder}/probe"], limit=60)
    out = out or said
    if expect:
        passed(f"{emitted.label} by {label}", code == 98 and expect in out, f"exit {code}: {head(out)}")
    else:
        emitted.same(label, code, out, said, border=not emitted.float)


def wrong_core(emitted, own, other, lacks):
    """Code of one core stops on another with a message; forgotten flags are warned of."""
    description = core(other)
    with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
        objects = []
        for source in [*emitted.sources, *emitted.assembly]:
            objects.append(f"{folder}/{source}.o")
            command = ["arm-none-eabi-gcc", *own, "-O1", *STOP, "-I.", "-c", source, "-o", objects[-1]]
            code, _, said = run(command, cwd=emitted.folder)
            passed(f"{emitted.label} builds with checks", code == 0, head(said))
        compiler = ["arm-none-eabi-gcc", *description["toolchain"]["gcc"]]
        emulate(emitted, f"gcc on {other}", description, "arm-none-eabi", compiler, ["-O1", "-I."], objects, folder, lacks)
        for portable, warned in [([], True), (["-DSECATEUR_PORTABLE"], False)]:
            command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", *portable, "-I.", "-c", emitted.sources[0]]
            code, _, said = run([*command, "-o", f"{folder}/x.o"], cwd=emitted.folder)
            words = emitted.target in said and "SECATEUR_PORTABLE" in said
            passed(f"{emitted.label} with forgotten flags {portable}", code == 0 and words == warned, head(said))


def rust(emitted, runtime):
    """Both layouts by the host's rustc without a warning, with checks and as released."""
    for level in ["0", "3"]:
        with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
            flags = ["--edition=2024", f"-Copt-level={level}", "--extern", f"secateur={runtime[level]}"]
            code, _, said = run(["rustc", *flags, "probe.rs", "-o", f"{folder}/probe"], cwd=emitted.folder)
            if passed(f"{emitted.label} without a warning by rustc at {level}", code == 0, head(said)):
                emitted.same(f"rustc at {level}", *run([f"{folder}/probe"]), border=False)


def crate(binary, emitted, model, samples, runtime):
    with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
        how = ["--quantize", "none"] if emitted.float else []
        common = [binary, "compile", str(model), "--name", emitted.name, "--target", emitted.target, "--calibrate", str(samples)]
        code, _, said = run([*common, *how, "--layout", "cargo", "-o", folder])
        passed(f"{emitted.label} as a crate", code == 0, head(said))
        text = probe.rust_program(emitted.module, "src/lib.rs").replace('#[path = "src/lib.rs"]\nmod model;', "use krate as model;")
        pathlib.Path(folder, "probe.rs").write_text(text)
        flags = ["--edition=2024", "-Copt-level=1", "-Dwarnings", "--extern", f"secateur={runtime['0']}"]
        code, _, said = run(["rustc", *flags, "--crate-type=rlib", "--crate-name=krate", "src/lib.rs"], cwd=folder)
        passed(f"{emitted.label} as a crate without a warning", code == 0, head(said))
        code, _, said = run(["rustc", *flags, "--extern", "krate=libkrate.rlib", "-L", os.path.dirname(runtime["0"]), "probe.rs"], cwd=folder)
        if passed(f"{emitted.label} as a crate builds", code == 0, head(said)):
            emitted.same("rustc as a crate", *run([f"{folder}/probe"]), border=False)


def bare_rustc(binary, triple, target, model, samples):
    """A rustc with flags for a bare processor; `core` is built once by the command line's engine."""
    compilers = [c for c in ["rustc", "/usr/bin/rustc"] if shutil.which(c)]
    for compiler in compilers:
        code, libraries, _ = run([compiler, "--print", "target-libdir", "--target", triple])
        if code == 0 and list(pathlib.Path(libraries.strip()).glob("libcore-*")):
            return [compiler, f"--target={triple}"]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = pathlib.Path(os.environ.get("SECATEUR_CACHE") or f"{home}/secateur")
    for _ in range(2):
        for compiler in compilers:
            sysroot = cache / f"core-{run([compiler, '--version'])[1].split()[1]}-{triple}"
            if sysroot.is_dir():
                return [compiler, f"--target={triple}", f"--sysroot={sysroot}"]
        common = [binary, "eval", str(model), "--calibrate", str(samples), "--data", str(samples), "--limit", "1"]
        run([*common, "--target", target, "--engine", "emulator-rust"], limit=900)
    passed(f"rustc can build for {triple}", False, "tests/setup installs what it needs")
    return None


def rust_bare(emitted, compiler, right):
    """As part of firmware: without a warning for its own processor, refused for another, unless it
    is portable throughout."""
    with tempfile.TemporaryDirectory(dir=emitted.folder) as folder:
        path = emitted.folder / f"{emitted.name}.rs"
        text = f'#![no_std]\n#![deny(warnings)]\n#[path = "{path}"]\npub mod model;\n'
        pathlib.Path(folder, "lib.rs").write_text(text)
        common = [*compiler, "--edition=2024", "--crate-type=rlib", "--emit=metadata", "-Cpanic=abort"]
        runtime = str(REPOSITORY / "runtime/src/lib.rs")
        code, _, said = run([*common, "-Dwarnings", "--crate-name=secateur", runtime], cwd=folder)
        passed(f"the runtime without a warning by {compiler[1]}", code == 0, head(said))
        code, _, said = run([*common, "--extern", "secateur=libsecateur.rmeta", "lib.rs"], cwd=folder)
        if right or "for another processor" not in path.read_text():
            passed(f"{emitted.label} without a warning by {compiler[1]}", code == 0, head(said))
        else:
            refused = code != 0 and "for another processor" in said
            passed(f"{emitted.label} is refused by {compiler[1]}", refused, head(said))


def main():
    began = time.monotonic()
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    only = sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        folder = pathlib.Path(folder)
        if not only or "toolchains" in only:
            toolchains.check(binary, *models.bundled(), folder, run, passed)
        if only == ["toolchains"]:
            return finish(began)
        chosen = {"watch": models.bundled(), "blocks": models.blocks(folder)}
        if FULL:
            root = pathlib.Path(os.environ.get("SECATEUR_ZOO", REPOSITORY.parent / "shared/zoo"))
            chosen |= {name: (model, samples) for name, model, samples in models.zoo(root)}
        runtime = {}
        for level in ["0", "3"]:
            runtime[level] = str(folder / f"level{level}" / "libsecateur.rlib")
            pathlib.Path(runtime[level]).parent.mkdir()
            command = ["rustc", "--edition=2024", "--crate-type=rlib", "--crate-name=secateur", f"-Copt-level={level}"]
            code, _, said = run([*command, str(REPOSITORY / "runtime/src/lib.rs"), "-o", runtime[level]])
            passed("the runtime builds", code == 0, head(said))

        def emit(key):
            name, target, float_ = key
            emitted = Emitted(binary, folder, name, *chosen[name], target, float_)
            if emitted.ok:
                # The reference of all others; `--check` holds that of the host against the evaluator.
                host(emitted, "gcc", ["-std=c99", "-O2"], None)
            return emitted

        keys = [(name, target, False) for name in chosen for target in ["host", *CORES]]
        keys += [(name, "host", True) for name in chosen]
        keys += [("blocks", "hexagon-v67", False), ("watch", "cortex-m4", True)]
        emitted = {key: e for key, e in zip(keys, pool.map(emit, keys)) if e.ok}
        compilers_ = {t: bare_rustc(binary, t, target, *chosen["watch"]) for t, target in BARE.items()}
        jobs = []
        for (name, target, float_), e in emitted.items():
            if target in ["host", "cortex-m4"]:
                jobs += [(host, e, *build) for build in BUILDS if target == "host" or build[1] == SANITIZE or "big" in build[0]]
                jobs.append((rust, e, runtime))
            if target == "host":
                jobs.append((crate, binary, e, *chosen[name], runtime))
                jobs += [(fused, e)] if float_ else []
            elif core(target).get("toolchain"):
                jobs.append((bare, e, target))
            for triple, own in BARE.items():
                if compilers_[triple] and name in ["watch", "blocks"] and target in [own, *WRONG[own]]:
                    jobs.append((rust_bare, e, compilers_[triple], target == own))
            if (name, target, float_) == ("watch", "cortex-m55", False):
                jobs.append((wrong_core, e, core(target)["toolchain"]["gcc"], "cortex-m4", "no vectors (Helium)"))
            if (name, target, float_) == ("watch", "cortex-m4", False):
                soft = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft"]
                jobs.append((wrong_core, e, soft, "cortex-m3", "no packed arithmetic"))
        for job in [pool.submit(*job) for job in jobs]:
            job.result()
        for name in chosen:
            hashes = {e.label: e.want[0] for (n, _, f), e in emitted.items() if n == name and not f and e.want}
            passed(f"{name} gives the same int8 for all targets", len(set(hashes.values())) == 1, str(hashes))
    return finish(began)


def finish(began):
    print(f"{checks - len(failures)} of {checks} checks passed in {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
