//! The shape of the TOML files. A field's comment says what belongs there; unknown keys are
//! refused, so a misspelt key never passes for a default.

use crate::{Size, TargetError};
use serde::{Deserialize, Serialize};

/// A chip file, `chips/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Chip {
    /// Name as typed after `--target`: lower case, `-` between words.
    pub name: String,
    /// One line: maker and what the chip is.
    pub description: String,
    /// Name of a file in `cores/`.
    pub core: String,
    pub clock: Option<Clock>,
    #[serde(default)]
    pub memory: Memory,
    pub power: Option<Power>,
    pub boot: Option<Boot>,
    /// Public documents that the numbers come from, with revision or section.
    pub sources: Vec<String>,
}

/// How fast the core runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Clock {
    /// Highest core clock, in hertz.
    pub hz: u64,
}

/// Memories, in the order in which they should be filled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Memory {
    /// Code and constants are kept here.
    #[serde(default)]
    pub flash: Vec<Region>,
    /// Arena, state and stack live here; the fastest first.
    #[serde(default)]
    pub ram: Vec<Region>,
}

/// One contiguous memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Region {
    /// The datasheet's name, in lower case.
    pub name: String,
    /// First address.
    pub start: Size,
    /// Bytes.
    pub size: Size,
    /// Extra cycles of an uncached read at the clock of this file; left out where the public
    /// documents do not state it.
    #[serde(default)]
    pub wait_states: Option<u32>,
}

/// How the chip begins to run code in flash: what a whole firmware needs to know, and no model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Boot {
    /// What stands at the start of the first flash; left out where a plain image does not start.
    pub image: Option<Image>,
    /// Memories of which data and stack take one, by name, the first that is large enough: those that can be used from
    /// reset on.
    #[serde(default)]
    pub ram: Vec<String>,
    /// Why a plain image does not start.
    #[serde(default)]
    pub refused: String,
}

/// What a chip finds at the start of its flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// The vector table of a Cortex-M.
    Vectors,
    /// 256 bytes of code with a checksum, which switch on reading of the flash outside; then the vector table.
    Rp2040,
    /// A definition of the image within its first 4 KiB, behind the vector table or the first instruction.
    Rp2350,
}

/// What the running core draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Power {
    /// Microamperes per megahertz while running code, as the maker states it; left out where
    /// the public documents state none.
    pub active_ua_per_mhz: Option<f32>,
    /// Supply voltage of that figure.
    pub volts: Option<f32>,
    /// Under which conditions the maker states it, or why there is no figure.
    pub conditions: String,
}

/// A core file, `cores/NAME.toml`: what a processor can execute and what that costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Core {
    pub name: String,
    /// Instruction set, as the maker calls it (`Armv7E-M`).
    #[serde(default)]
    pub architecture: String,
    /// Feature names that kernels ask for: `thumb` (any M-profile Arm core), `dsp` (packed 16-bit multiply-accumulate), `mve`
    /// (Helium), `fpu` (single precision), `mla` (multiply-accumulate), `mul64` (32×32→64
    /// multiply), `div` (integer divide), `unaligned` (loads at any address), `clz`, `rv32`
    /// (RV32IM), `rvv` (vectors of 32-bit integers, 128 bits or longer),
    /// `hvx` (Hexagon vectors of 128 bytes).
    #[serde(default)]
    pub features: Vec<String>,
    /// Patterns of zeros in weights by which its kernels run faster (`4x4`, `1x4`), that by which they gain most
    /// first: pruning takes it where nobody names one.
    #[serde(default)]
    pub patterns: Vec<String>,
    pub toolchain: Option<Toolchain>,
    pub emulator: Option<Emulator>,
    pub cost: Option<Cost>,
    pub code_size: Option<CodeSize>,
    /// Public documents that the numbers come from.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// How code for the core is built.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Toolchain {
    /// What the names of GCC and binutils begin with; left out: `arm-none-eabi`.
    #[serde(default)]
    pub prefix: String,
    /// Debian package of that GCC; left out: `gcc-arm-none-eabi`.
    #[serde(default)]
    pub package: String,
    /// Flags for that GCC (for `host`: `cc`); empty if GCC 12 does not know the core.
    #[serde(default)]
    pub gcc: Vec<String>,
    /// Flags by which GCC finds its arithmetic library, where it has none for those above.
    #[serde(default)]
    pub gcc_library: Vec<String>,
    /// Flags for `clang`.
    #[serde(default)]
    pub clang: Vec<String>,
    /// Target triple for `rustc`; empty for the host.
    #[serde(default)]
    pub rust_triple: String,
    /// Codegen flags for `rustc`, such as `-Ctarget-cpu=cortex-m4`.
    #[serde(default)]
    pub rust_flags: Vec<String>,
    /// Operand of the assembler's `.cpu`; empty for the host.
    #[serde(default)]
    pub assembler_cpu: String,
}

impl Toolchain {
    /// A command of GCC or binutils for the core: `tool` is `gcc`, `ld`, `objdump`.
    pub fn command(&self, tool: &str) -> String {
        let prefix = if self.prefix.is_empty() { "arm-none-eabi" } else { &self.prefix };
        format!("{prefix}-{tool}")
    }
    /// The Debian package that brings these commands.
    pub fn package(&self) -> &str {
        if self.package.is_empty() { "gcc-arm-none-eabi" } else { &self.package }
    }
}

/// A QEMU board, or QEMU in user mode, that runs code for the core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Emulator {
    /// The emulator's command.
    pub program: String,
    /// Debian package that brings it; left out: `qemu-system-arm`.
    #[serde(default)]
    pub package: String,
    /// Operand of `-M`; left out: no board, the image is a program of QEMU's user mode.
    #[serde(default)]
    pub machine: String,
    /// Further arguments, such as the kind of processor.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Which of the harness's start files; left out: `arm`.
    #[serde(default)]
    pub start_file: String,
    /// Where the image is loaded; on a board the vector table stands at its start.
    pub code: Span,
    /// Where data, arena and stack stand.
    pub ram: Span,
    /// Makes the board trap unaligned access as the core would, where the board's own core
    /// does not.
    #[serde(default)]
    pub trap_unaligned: bool,
}

impl Emulator {
    /// Whether there is no board: a process in QEMU's user mode.
    pub fn is_user_mode(&self) -> bool {
        self.machine.is_empty()
    }
    /// The Debian package that brings it.
    pub fn package(&self) -> &str {
        if self.package.is_empty() { "qemu-system-arm" } else { &self.package }
    }
    /// The command's arguments up to the image.
    pub fn command_line(&self) -> Vec<String> {
        let mut line = self.arguments.clone();
        if !self.is_user_mode() {
            let board = ["-M", &self.machine, "-nographic", "-monitor", "none", "-serial", "none"];
            line.extend(board.map(str::to_owned));
            line.extend(["-semihosting-config", "enable=on,target=native", "-kernel"].map(str::to_owned));
        }
        line
    }
}

/// A stretch of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Span {
    pub start: Size,
    pub size: Size,
}

/// Which two neighbouring instructions may start in one cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    #[default]
    None,
    /// Two independent 16-bit ones, at least one of them plain arithmetic.
    Narrow,
    /// Any two independent ones, of which at most one is a product, one a shift, one a store,
    /// one of the FPU; packed arithmetic only as the first.
    Dual,
}

/// Bytes of machine code that C and Rust compilers make of emitted text outside of native functions, on average: a
/// model fitted to builds by `tests/bench/size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CodeSize {
    /// For each model: its two functions, and what they check.
    pub model: f32,
    /// For each function that is not native.
    pub function: f32,
    #[serde(rename = "loop")]
    pub loop_: f32,
    pub branch: f32,
    pub load: f32,
    pub store: f32,
    /// Additions, products, shifts, comparisons and the like of 32 bits, those of indices too.
    pub operation: f32,
    /// The lesser or greater of two numbers, and choices between them.
    pub choice: f32,
    /// Operations of 64 bits.
    pub long: f32,
    pub float: f32,
    /// Calls between functions, and each of their arguments.
    pub call: f32,
    pub argument: f32,
    /// Calls by which `run` computes a layer, and each of their arguments.
    pub step: f32,
    pub step_argument: f32,
}

/// Cycles per instruction class, from memory without wait states. Fractions are averages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cost {
    /// Instructions that may start in one cycle.
    pub issue: u32,
    #[serde(default)]
    pub pairing: Pairing,
    /// Add, logic, shift, move, compare.
    pub alu: f32,
    /// Single load on its own.
    pub load: f32,
    /// Single load right after another load or store.
    pub load_next: f32,
    /// Stall when the next instruction uses the loaded value.
    pub load_use: f32,
    pub store: f32,
    /// Load or store of several registers: this much plus `multiple-each` for each.
    pub multiple: f32,
    pub multiple_each: f32,
    /// What a load of several registers costs more when it returns.
    #[serde(default)]
    pub multiple_return: f32,
    /// 32×32→32 multiply.
    pub mul: f32,
    /// 32-bit multiply-accumulate; left out where the core has none.
    pub mla: Option<f32>,
    /// 32×32→64 multiply, also accumulating; left out where the core has none.
    pub mul_long: Option<f32>,
    /// Packed 16-bit multiply-accumulate; left out where the core has none.
    pub dsp: Option<f32>,
    /// Stall when the next instruction uses a product otherwise than as an addend.
    #[serde(default)]
    pub product_use: f32,
    /// 32-bit integer divide, typical; left out where the core has none.
    pub div: Option<f32>,
    pub branch_taken: f32,
    pub branch_not_taken: f32,
    /// What a branch costs more that went another way than before; left out where branches are
    /// not predicted.
    #[serde(default)]
    pub branch_missed: Option<f32>,
    /// Whether loops count by themselves (Armv8.1-M `LE`), so that a turn costs its jump alone.
    #[serde(default)]
    pub low_overhead_loops: bool,
    /// Call or return.
    pub call: f32,
    /// Single-precision add or multiply; left out where the core has no FPU.
    pub float: Option<f32>,
    /// Single-precision divide or square root.
    pub float_div: Option<f32>,
    /// True if the core's maker publishes these numbers; false if they are assumed from
    /// public measurements.
    pub published: bool,
}

/// What a model is compiled for: a chip, or a core with memories given by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub core: Core,
    #[serde(default)]
    pub clock: Option<Clock>,
    #[serde(default)]
    pub memory: Memory,
    #[serde(default)]
    pub power: Option<Power>,
    #[serde(default)]
    pub boot: Option<Boot>,
    #[serde(default)]
    pub sources: Vec<String>,
}

impl Target {
    /// Whether the core has an instruction-set feature; see [`Core::features`].
    pub fn has(&self, feature: &str) -> bool {
        self.core.features.iter().any(|f| f == feature)
    }
    /// Whether this is the machine that the compiler runs on.
    pub fn is_host(&self) -> bool {
        self.core.name == "host"
    }
    /// Bytes of all flash; 0 means unknown.
    pub fn flash(&self) -> u64 {
        self.memory.flash.iter().map(|r| r.size.0).sum()
    }
    /// Bytes of all RAM; 0 means unknown.
    pub fn ram(&self) -> u64 {
        self.memory.ram.iter().map(|r| r.size.0).sum()
    }
    /// How long so many cycles take at the chip's highest clock; `None`: it is a core without one.
    pub fn seconds(&self, cycles: u64) -> Option<f64> {
        self.clock.as_ref().map(|clock| cycles as f64 / clock.hz as f64)
    }
    /// What so many cycles take of the chip's energy, in joules, by its maker's figure for running code; `None`: there
    /// is none.
    pub fn joules(&self, cycles: u64) -> Option<f64> {
        let power = self.power.as_ref()?;
        // A microampere per megahertz is a picocoulomb a cycle.
        Some(cycles as f64 * f64::from(power.active_ua_per_mhz?) * f64::from(power.volts?) * 1e-12)
    }

    pub(crate) fn new(chip: Chip, core: Core) -> Target {
        let Chip { name, description, core: _, clock, memory, power, boot, sources } = chip;
        Target { name, description, core, clock, memory, power, boot, sources }
    }
    /// A core without memories and clock.
    pub(crate) fn bare(core: Core) -> Target {
        Target {
            name: core.name.clone(),
            description: format!("{} core", core.architecture),
            clock: None,
            memory: Memory::default(),
            power: None,
            boot: None,
            sources: core.sources.clone(),
            core,
        }
    }
    /// Refuses values that no chip has.
    pub(crate) fn check(&self) -> Result<(), TargetError> {
        let wrong = |why: String| Err(TargetError::Value { name: self.name.clone(), why });
        if self.name.is_empty() {
            return wrong("`name` is empty".into());
        }
        if self.sources.is_empty() && !self.is_host() {
            return wrong("`sources` must name the documents that the numbers come from".into());
        }
        if self.clock.as_ref().is_some_and(|c| c.hz == 0 || c.hz > 20_000_000_000) {
            return wrong("`clock.hz` must be the core clock in hertz, of 20 GHz at most".into());
        }
        for region in self.memory.flash.iter().chain(&self.memory.ram) {
            let end = region.start.0.checked_add(region.size.0);
            if region.size.0 == 0 || end.is_none_or(|end| end > 1 << 32) {
                return wrong(format!(
                    "memory `{}` must have a size and end within 32-bit addresses",
                    region.name
                ));
            }
        }
        let all: Vec<&Region> = self.memory.flash.iter().chain(&self.memory.ram).collect();
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                let apart = a.start.0 + a.size.0 <= b.start.0 || b.start.0 + b.size.0 <= a.start.0;
                let placed = a.start.0 != 0 || b.start.0 != 0;
                if !apart && placed {
                    return wrong(format!("memories `{}` and `{}` overlap", a.name, b.name));
                }
            }
        }
        if let Some(volts) = self.power.as_ref().and_then(|p| p.volts)
            && !(volts > 0.0 && volts < 100.0)
        {
            return wrong(format!("`power.volts` is {volts}: it must be the supply voltage in volts"));
        }
        if let Some(boot) = &self.boot {
            if boot.image.is_some() != boot.refused.is_empty() {
                return wrong("`boot` has an `image`, or says in `refused` why there is none".into());
            }
            if boot.image.is_some() && (boot.ram.is_empty() || self.memory.flash.is_empty()) {
                return wrong("`boot` needs a flash, and names in `ram` the memories for data".into());
            }
            let known = |name: &String| self.memory.ram.iter().any(|r| r.name == *name);
            if let Some(name) = boot.ram.iter().find(|name| !known(name)) {
                return wrong(format!("`boot.ram` names `{name}`, which is no RAM of the chip"));
            }
        }
        for region in &all {
            if region.wait_states.is_some_and(|w| w > 1000) {
                return wrong(format!("memory `{}`: `wait-states` must be cycles of a read", region.name));
            }
        }
        if let Some(ua) = self.power.as_ref().and_then(|p| p.active_ua_per_mhz)
            && !(ua > 0.0 && ua < 10_000.0)
        {
            return wrong(format!(
                "`power.active-ua-per-mhz` is {ua}: it must be in microamperes per megahertz"
            ));
        }
        Ok(())
    }
}
