//! What is in linked firmware: instructions by class, and symbols.

use crate::tools;
use secateur_compiler::cli::toolchain::Elf;
use secateur_compiler::targets::Target;
use std::path::Path;

/// The mnemonics of an image's code, without condition and width: `objdump`'s own words.
pub fn mnemonics(image: &Path, on: &Target) -> Vec<String> {
    let toolchain = on.core.toolchain.as_ref().expect("a core has a toolchain");
    // LLVM alone knows the cores that GCC does not build for.
    let objdump =
        if toolchain.gcc.is_empty() { "llvm-objdump-19".into() } else { toolchain.command("objdump") };
    // Its older releases do not read from the image that there are vectors.
    let vectors = &["--mcpu=hexagonv67", "--mattr=+hvxv67,+hvx-length128b"];
    let output = tools::command(&objdump)
        .args(["-d", "--no-show-raw-insn"])
        .args(if on.has("hvx") { &vectors[..] } else { &[] })
        .arg(image)
        .output()
        .expect("objdump starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    if on.has("hvx") {
        // `4: { \tr0 = add(r1,r2); \tr3 = #0 }`: operations by the word before their operands.
        let code = text.lines().filter_map(|l| Some(l.split_once(": ")?.1).filter(|c| c.contains('\t')));
        let word = |s: &str| s.split('(').next()?.split_whitespace().last().map(str::to_owned);
        return code.flat_map(|c| c.split('\t').skip(1).filter_map(word).collect::<Vec<_>>()).collect();
    }
    let lines = text.lines().filter_map(|l| l.split_once(":\t")?.1.split_whitespace().next());
    lines.map(str::to_owned).collect()
}

/// Whether a mnemonic belongs to the DSP extension of Armv7E-M and Armv8-M (Arm DDI 0403E,
/// table A4-5 and following: packed, saturating and signed multiplies).
pub fn is_dsp(mnemonic: &str) -> bool {
    const EXACT: &[&str] = &["sel", "umaal", "pkhbt", "pkhtb", "sxtb16", "uxtb16", "ssat16", "usat16"];
    const STARTS: &[&str] = &[
        "sxtab", "sxtah", "uxtab", "uxtah", "smlab", "smlat", "smlad", "smlalb", "smlalt", "smlald", "smlaw",
        "smlsd", "smlsld", "smmla", "smmls", "smmul", "smuad", "smulb", "smult", "smulw", "smusd", "qadd",
        "qsub", "qdadd", "qdsub", "qasx", "qsax", "sadd8", "sadd16", "ssub8", "ssub16", "sasx", "ssax",
        "shadd", "shsub", "uadd8", "uadd16", "usub8", "usub16", "uqadd", "uqsub", "uhadd", "uhsub", "usad",
    ];
    let bare = mnemonic.split('.').next().unwrap_or(mnemonic);
    EXACT.contains(&bare) || STARTS.iter().any(|s| bare.starts_with(s))
}

/// Whether a mnemonic computes with floats, in FPU or Helium registers.
pub fn is_float(mnemonic: &str) -> bool {
    mnemonic.starts_with('v') && [".f16", ".f32", ".f64"].iter().any(|t| mnemonic.contains(t))
}

/// Whether a mnemonic of RISC-V computes with floats.
pub fn is_riscv_float(mnemonic: &str) -> bool {
    let rest = mnemonic.strip_prefix("c.").unwrap_or(mnemonic);
    (rest.starts_with('f') && !rest.starts_with("fence")) || rest.starts_with("vf")
}

/// Whether a symbol is the compiler's own float arithmetic.
pub fn is_float_symbol(name: &str) -> bool {
    let aeabi = ["__aeabi_f", "__aeabi_d", "__aeabi_cf", "__aeabi_cd", "__aeabi_i2f", "__aeabi_ui2f"];
    // `__aeabi_div0` and the like are integers' business.
    let integer = name.starts_with("__aeabi_div") || name == "__aeabi_drsub0";
    let gnu = name.ends_with("sf3") || name.ends_with("df3") || name.contains("sf2") || name.contains("df2");
    (aeabi.iter().any(|s| name.starts_with(s)) && !integer) || (name.starts_with("__") && gnu)
}

/// Names of an image's symbols.
pub fn symbols(image: &Path) -> Vec<String> {
    let bytes = std::fs::read(image).expect("a built image");
    Elf::read(&bytes).expect("ELF").symbols.into_iter().map(|s| s.name).collect()
}

/// Which rules an image breaks: only instructions that the core has, no heap, and in an integer
/// program no float instruction and no float arithmetic of the compiler's.
pub fn broken_rules(image: &Path, on: &Target, integer: bool) -> Vec<String> {
    let code = mnemonics(image, on);
    let mut broken = Vec::new();
    let mut none = |what: &str, found: Vec<String>| {
        if !found.is_empty() {
            broken.push(format!("{what} on {}: {found:?}", on.name));
        }
    };
    let code_that = |is: fn(&str) -> bool| code.iter().filter(|m| is(m)).cloned().collect::<Vec<_>>();
    let names_that = |is: fn(&str) -> bool| symbols(image).into_iter().filter(|s| is(s)).collect::<Vec<_>>();
    if code.len() < 200 {
        none("hardly any code", vec![format!("{} instructions", code.len())]);
    }
    if !on.has("dsp") {
        none("DSP instructions", code_that(is_dsp));
    }
    if on.has("rv32") && !on.has("rvv") {
        none("vector instructions", code_that(|m| m.starts_with('v')));
    }
    if integer {
        let is = match () {
            () if on.has("rv32") => is_riscv_float,
            () if on.has("hvx") => {
                |m: &str| m.starts_with("sf") || m.starts_with("df") || m.starts_with("convert_")
            }
            () => is_float,
        };
        none("float instructions", code_that(is));
        none("float functions", names_that(is_float_symbol));
    }
    none("heap", names_that(|s| ["malloc", "_malloc_r", "_sbrk", "free"].contains(&s)));
    none("panic paths", names_that(|s| s.contains("panicking")));
    broken
}
