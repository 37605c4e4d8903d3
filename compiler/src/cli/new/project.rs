//! The files of a project: what is the same for every model, filled in with chip and model.
//!
//! In: a compiled model, its chip, what builds it. Out: paths and texts. Law: C and Rust print the same text.

use super::fill::fill;
use crate::artifact::Artifact;
use crate::emit::{Build, names};
use crate::error::{Error, Fault, Result, Site};
use crate::options::Layout;
use crate::program::Port;
use secateur_runtime::sources;
use secateur_targets::{Emulator, Image, Region, Target};
use std::path::Path;

/// What a project is made of.
pub(super) struct Project<'a> {
    pub(super) name: String,
    pub(super) layout: Layout,
    pub(super) artifact: &'a Artifact,
    pub(super) target: &'a Target,
    /// The memory for data and stack.
    pub(super) ram: &'a Region,
    /// Bytes of stack that the model needs.
    pub(super) stack: usize,
    /// File name of the model.
    pub(super) model: &'a str,
}

/// A file of a project: its path, and its text.
type Written = (String, Vec<u8>);

impl Project<'_> {
    /// All files but those of the model as it came.
    pub(super) fn files(&self) -> Result<Vec<Written>> {
        let words = self.words()?;
        let mut files: Vec<Written> = Vec::new();
        let mut put =
            |path: &str, template: &str| files.push((path.to_owned(), fill(template, &words).into_bytes()));
        put("README.md", include_str!("templates/README.md"));
        put(".gitignore", if self.layout == Layout::Cargo { "/target\n" } else { "/build\n/emulated\n" });
        put(
            "start.s",
            self.arm_or(include_str!("templates/start_arm.s"), include_str!("templates/start_riscv.s")),
        );
        if let Some(boot) = self.boot() {
            put("boot.s", boot);
        }
        match self.layout {
            Layout::Cargo => {
                put("Cargo.toml", include_str!("templates/Cargo.toml.txt"));
                put("Cargo.lock", include_str!("templates/Cargo.lock.txt"));
                put("build.rs", include_str!("templates/build.rs.txt"));
                put(".cargo/config.toml", include_str!("templates/config.toml"));
                put("src/main.rs", include_str!("templates/main.rs.txt"));
                put("src/firmware.rs", include_str!("templates/firmware.rs.txt"));
                put("secateur/Cargo.toml", include_str!("templates/runtime.toml"));
            }
            layout => {
                put("main.c", include_str!("templates/main.c"));
                put("console.c", include_str!("templates/console.c"));
                put("console.h", include_str!("templates/console.h"));
                match layout {
                    Layout::Cmake => put("CMakeLists.txt", include_str!("templates/CMakeLists.txt")),
                    _ => put("Makefile", include_str!("templates/Makefile")),
                }
            }
        }
        let emulator = self.emulator()?;
        files.push(("chip.ld".to_owned(), self.chip_script()?.into_bytes()));
        files.push(("emulator.ld".to_owned(), self.emulator_script(emulator).into_bytes()));
        files.extend(
            self.artifact.files.iter().map(|f| (format!("model/{}", f.path), f.text.clone().into_bytes())),
        );
        if self.layout == Layout::Cargo {
            let runtime = sources::RUST.iter().filter(|(name, _)| *name != "sources.rs");
            files.extend(
                runtime.map(|(name, text)| (format!("secateur/src/{name}"), text.as_bytes().to_vec())),
            );
        }
        Ok(files)
    }

    /// The commands that build and run it, for who made it.
    pub(super) fn commands(&self, folder: &Path) -> String {
        let (build, run) = self.build_and_run();
        let lines = build.lines().chain(run.lines()).map(|line| format!("  {line}\n"));
        format!("  cd {}\n", folder.display()) + &lines.collect::<String>()
    }

    fn is_arm(&self) -> bool {
        self.target.has("thumb")
    }
    fn arm_or(&self, arm: &'static str, riscv: &'static str) -> &'static str {
        if self.is_arm() { arm } else { riscv }
    }
    fn image(&self) -> Image {
        self.target.boot.as_ref().and_then(|b| b.image).unwrap_or(Image::Vectors)
    }
    fn emulator(&self) -> Result<&Emulator> {
        let none =
            || Error::new(Fault::Target, Site::Option("target".into()), "no emulator is known for its core");
        self.target.core.emulator.as_ref().ok_or_else(none)
    }

    /// What the chip's ROM wants to see of an image.
    fn boot(&self) -> Option<&'static str> {
        match self.image() {
            Image::Vectors => None,
            Image::Rp2040 => Some(include_str!("templates/boot_rp2040.s")),
            Image::Rp2350 => Some(self.arm_or(
                include_str!("templates/boot_rp2350_arm.s"),
                include_str!("templates/boot_rp2350_riscv.s"),
            )),
        }
    }

    fn script(
        &self,
        template: &str,
        of: &str,
        flash: (u64, u64),
        ram: (u64, u64),
        parts: (&str, &str),
    ) -> String {
        let hex = |n: u64| format!("{n:#010x}");
        let words = [
            ("where", of.to_owned()),
            ("flash-start", hex(flash.0)),
            ("flash-size", hex(flash.1)),
            ("ram-start", hex(ram.0)),
            ("ram-size", hex(ram.1)),
            ("stack", self.stack.to_string()),
            ("head", parts.0.to_owned()),
            ("discarded", parts.1.to_owned()),
        ];
        fill(template, &words)
    }

    fn chip_script(&self) -> Result<String> {
        let flash = self.target.memory.flash.first().ok_or_else(|| {
            Error::new(Fault::Target, Site::Option("target".into()), "the chip's file names no flash")
        })?;
        let head = match self.image() {
            Image::Vectors => "KEEP(*(.vectors))",
            Image::Rp2040 => "KEEP(*(.boot)) KEEP(*(.vectors))",
            Image::Rp2350 => "KEEP(*(.vectors)) KEEP(*(.boot))",
        };
        let (flash, ram) = ((flash.start.0, flash.size.0), (self.ram.start.0, self.ram.size.0));
        Ok(self.script(include_str!("templates/link.ld"), &self.target.name, flash, ram, (head, "")))
    }

    fn emulator_script(&self, emulator: &Emulator) -> String {
        let (code, ram) = (emulator.code, emulator.ram);
        let parts = ("KEEP(*(.vectors))", "*(.boot)");
        let (template, of) = match emulator.is_user_mode() {
            true => (include_str!("templates/link_user.ld"), String::new()),
            false => {
                (include_str!("templates/link.ld"), format!("the board {}, as QEMU has it", emulator.machine))
            }
        };
        self.script(template, &of, (code.start.0, code.size.0), (ram.start.0, ram.size.0), parts)
    }

    /// The emulator's command, up to the program.
    fn runner(&self) -> Result<String> {
        let emulator = self.emulator()?;
        Ok(std::iter::once(emulator.program.clone())
            .chain(emulator.command_line())
            .collect::<Vec<_>>()
            .join(" "))
    }

    fn build_and_run(&self) -> (String, String) {
        let (build, run) = match self.layout {
            Layout::Cargo => ("cargo build --release", "cargo emulate"),
            Layout::Cmake => (
                "cmake -B build --toolchain model/toolchain.cmake\ncmake --build build",
                "cmake -B emulated --toolchain model/toolchain.cmake -DEMULATOR=ON\ncmake --build emulated --target run",
            ),
            _ => ("make", "make run"),
        };
        (build.to_owned(), run.to_owned())
    }

    /// Whether the emulated board has the memory for it.
    fn has_room(&self, emulator: &Emulator) -> bool {
        let total = &self.artifact.report.total;
        let flash = total.weights + total.code.unwrap_or(total.native_code + (16 << 10)) + (8 << 10);
        let ram = total.arena + self.stack + super::SPARE;
        flash as u64 <= emulator.code.size.0 && ram as u64 <= emulator.ram.size.0
    }

    fn words(&self) -> Result<Vec<(&'static str, String)>> {
        let (artifact, target) = (self.artifact, self.target);
        let emulator = self.emulator()?;
        let tools = target.core.toolchain.clone().unwrap_or_default();
        let build = Build::of(target);
        let flags = build.flags.join(" ");
        let specs = if self.is_arm() { " --specs=nano.specs --specs=nosys.specs" } else { "" };
        let ldflags = format!("-nostartfiles{specs}");
        let runner = self.runner()?;
        let rust = self.layout == Layout::Cargo;
        let model = &artifact.program.name;
        let name = if rust { names::rust_module(model) } else { names::base_name(model) };
        let package = match &self.name {
            taken if *taken == name || taken.replace('-', "_") == "secateur" => format!("{taken}-firmware"),
            free => free.clone(),
        };
        let (build_line, run_line) = self.build_and_run();
        let boot = self.boot().is_some();
        let total = &artifact.report.total;
        let code = total.code.map_or(String::new(), |code| format!(" and {code} of code"));
        let flash = target.memory.flash.first().map_or(String::new(), |f| f.name.clone());
        let compile = format!("secateur compile models/{} -o model", self.model);
        let triple = tools.rust_triple.clone();
        let quoted = |flags: &[String]| flags.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ");
        let (built, needs, main, table) = match self.layout {
            Layout::Cargo => (
                format!("makes `target/{triple}/release/{package}`, with code and weights in"),
                format!("They need `rustup target add {triple}` and QEMU (`{}`).", emulator.program),
                "`src/main.rs`",
                "| `src/main.rs` | the program |\n| `src/firmware.rs` | start and console |\n| `Cargo.toml`, \
                 `.cargo/config.toml`, `build.rs` | what builds it |\n| `secateur/` | what emitted Rust needs at run time |\n",
            ),
            layout => (
                format!("makes `build/{}.elf` and `.bin`, with code and weights in", self.name),
                format!(
                    "They need `{}` with its C library, {}, and QEMU (`{}`); on Debian `apt-get install {} {}`.",
                    build.compiler,
                    if layout == Layout::Cmake { "CMake" } else { "make" },
                    emulator.program,
                    packages(&tools, self.is_arm()),
                    emulator.package(),
                ),
                "`main.c`",
                match layout {
                    Layout::Cmake => {
                        "| `main.c` | the program |\n| `console.c` | text to the host |\n| `CMakeLists.txt` | what builds it |\n"
                    }
                    _ => {
                        "| `main.c` | the program |\n| `console.c` | text to the host |\n| `Makefile` | what builds it |\n"
                    }
                },
            ),
        };
        // With it Cargo asks no registry for what is here.
        let mut packages =
            [(&package, Some(&name)), (&"secateur".to_owned(), None), (&name, Some(&"secateur".to_owned()))]
                .map(|(name, on)| {
                    let version = if name == "secateur" { env!("CARGO_PKG_VERSION") } else { "0.1.0" };
                    let on = on.map_or(String::new(), |on| format!("dependencies = [\n \"{on}\",\n]\n"));
                    format!("\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{on}")
                });
        packages.sort_unstable();
        let packages = packages.concat();
        let uf2 = "\nA board that shows up as a drive takes UF2 files: `picotool uf2 convert` makes them.";
        let small = "\nThe emulated board has less memory than this model needs: there it does not link.";
        let mut words = vec![
            ("project", self.name.clone()),
            ("packages", packages),
            ("package", package),
            ("name", name),
            ("type", names::type_name(model)),
            ("model", model.clone()),
            ("file", self.model.to_owned()),
            ("target", target.name.clone()),
            ("about", format!("{} ({})", target.name, target.description)),
            ("core", target.core.name.clone()),
            ("compiler", build.compiler.clone()),
            ("prefix", build.compiler.strip_suffix("gcc").unwrap_or_default().to_owned()),
            ("flags", flags),
            ("ldflags-list", ldflags.clone()),
            ("ldflags", ldflags),
            ("runner", runner.clone()),
            ("emulator", runner),
            ("triple", triple),
            ("rustflags", quoted(&tools.rust_flags)),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("boot-object", if boot { " boot.o" } else { "" }.to_owned()),
            ("boot-source", if boot { " boot.s" } else { "" }.to_owned()),
            ("boot-module", if boot { BOOT_MODULE } else { "" }.to_owned()),
            (
                "boot",
                if boot {
                    "| `boot.s` | what the chip's ROM wants to see at the start of flash |\n"
                } else {
                    ""
                }
                .to_owned(),
            ),
            ("build", build_line),
            ("run", run_line),
            ("built", built),
            ("needs", needs),
            ("main", main.to_owned()),
            ("table", table.to_owned()),
            ("compile", compile),
            ("flash", flash),
            ("ram", self.ram.name.clone()),
            ("chip", if self.image() == Image::Vectors { "" } else { uf2 }.to_owned()),
            ("room", if self.has_room(emulator) { "" } else { small }.to_owned()),
            (
                "sizes",
                format!(
                    "{} bytes of weights{code}, {} of working memory, at most {} of stack for the model",
                    total.weights, total.arena, self.stack
                ),
            ),
        ];
        words.extend(if rust { self.rust_words() } else { self.c_words() });
        Ok(words)
    }

    /// Ports with their identifiers, inputs and outputs.
    fn ports(&self) -> (Vec<(&Port, String)>, Vec<(&Port, String)>) {
        let program = &self.artifact.program;
        let (inputs, outputs) = names::ports(program);
        (program.inputs.iter().zip(inputs).collect(), program.outputs.iter().zip(outputs).collect())
    }

    fn c_words(&self) -> Vec<(&'static str, String)> {
        let name = names::base_name(&self.artifact.program.name);
        let upper = |ident: &str| format!("{}_{}", name.to_ascii_uppercase(), ident.to_ascii_uppercase());
        let (inputs, outputs) = self.ports();
        let (mut globals, mut fill, mut print, mut arguments) = Default::default();
        let add = |text: &mut String, more: String| text.push_str(&more);
        let each = |macros: &str| format!("    for (i = 0; i < {macros}_LEN; i++) {{\n");
        for (port, ident) in &inputs {
            let macros = upper(ident);
            let zero = if port.affine.is_some() { format!("{macros}_ZERO_POINT") } else { "0".to_owned() };
            let slot = format!("{name}_input_{ident}(&arena)");
            add(&mut fill, format!("{}        {slot}[i] = {zero};\n    }}\n", each(&macros)));
            add(&mut arguments, format!(", {slot}"));
        }
        for (port, ident) in &outputs {
            let macros = upper(ident);
            add(&mut globals, format!("{macros}_TYPE out_{ident}[{macros}_LEN];\n"));
            add(&mut arguments, format!(", out_{ident}"));
            let value = if port.elem.is_float() {
                format!("(out_{ident}[i] * 1e6f)")
            } else {
                format!("out_{ident}[i]")
            };
            add(
                &mut print,
                format!(
                    "    print(\"{}:\");\n{}        print(\" \");\n        print_number((int64_t){value});\n    }}\n    print(\"\\n\");\n",
                    label(port, ident),
                    each(&macros)
                ),
            );
        }
        let shown = outputs.first().map_or("runs".to_owned(), |(_, ident)| format!("out_{ident}"));
        vec![
            ("globals", globals),
            ("fill", fill),
            ("print", print),
            ("arguments", arguments),
            ("shown", shown),
        ]
    }

    fn rust_words(&self) -> Vec<(&'static str, String)> {
        let ty = names::type_name(&self.artifact.program.name);
        let (inputs, outputs) = self.ports();
        let (mut fill, mut print) = (String::new(), String::new());
        for (port, ident) in &inputs {
            let zero = match port.affine {
                Some(_) => format!("{ty}::{}_ZERO_POINT as {}", ident.to_ascii_uppercase(), port.elem.name()),
                None => "Default::default()".to_owned(),
            };
            fill += &format!("    model.{ident}_mut().fill({zero});\n");
        }
        for (port, ident) in &outputs {
            let value = if port.elem.is_float() { "(x * 1e6) as i64" } else { "x as i64" };
            print += &format!(
                "    write!(out, \"{}:\")?;\n    for &x in model.{ident}() {{\n        write!(out, \" {{}}\", {value})?;\n    \
                 }}\n    writeln!(out)?;\n",
                label(port, ident)
            );
        }
        vec![("fill", fill), ("print", print)]
    }
}

/// How `boot.s` becomes part of a program in Rust.
const BOOT_MODULE: &str = "#[cfg(not(feature = \"emulator\"))]\ncore::arch::global_asm!(include_str!(\"../boot.s\"), options(raw));\n";

/// What stands before an output's numbers.
fn label(port: &Port, ident: &str) -> String {
    if port.elem.is_float() { format!("{ident}, in millionths") } else { ident.to_owned() }
}

/// Debian packages that bring a core's compiler with a C library.
fn packages(tools: &secateur_targets::Toolchain, arm: bool) -> String {
    if arm { format!("{} libnewlib-arm-none-eabi", tools.package()) } else { tools.package().to_owned() }
}
