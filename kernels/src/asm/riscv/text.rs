//! Assembly text that GNU as and LLVM read alike, with ABI names of registers and numeric labels,
//! and the bytes of its machine code.

use crate::asm::riscv::inst::{Inst, sum, word};
use crate::asm::riscv::{SP, X};
use std::fmt::Write;

/// One instruction per line, entry and exit included. The frame holds `slots` words, then the
/// saved registers.
pub(crate) fn print(insts: &[Inst], slots: u32, saved: &[X], stack: u32) -> String {
    let mut text = String::new();
    if stack > 0 {
        let _ = writeln!(text, "addi sp, sp, -{stack}");
    }
    for (i, r) in saved.iter().enumerate() {
        let _ = writeln!(text, "sw {r}, {}(sp)", 4 * (slots as usize + i));
    }
    for inst in insts {
        let _ = writeln!(text, "{}", inst.text(""));
    }
    for (i, r) in saved.iter().enumerate() {
        let _ = writeln!(text, "lw {r}, {}(sp)", 4 * (slots as usize + i));
    }
    if stack > 0 {
        let _ = writeln!(text, "addi sp, sp, {stack}");
    }
    text.push_str("ret");
    text
}

/// Bytes of a function, entry and exit included.
pub(crate) fn bytes(insts: &[Inst], slots: u32, saved: &[X], stack: u32) -> u32 {
    let mut sizes: Vec<u32> = insts.iter().map(|i| i.form().bytes).collect();
    // Branches grow until all reach their labels.
    loop {
        let mut at = vec![0i32; insts.len() + 1];
        for (i, &size) in sizes.iter().enumerate() {
            at[i + 1] = at[i] + size as i32;
        }
        let label = |l: u32| insts.iter().position(|i| *i == Inst::Label(l)).map_or(0, |i| at[i]);
        let far = |i: &usize| {
            let near = insts[*i].form().near;
            sizes[*i] == 2 && near.is_some_and(|(l, reach)| !(-reach..reach).contains(&(label(l) - at[*i])))
        };
        let far: Vec<usize> = (0..insts.len()).filter(far).collect();
        if far.is_empty() {
            break;
        }
        far.into_iter().for_each(|i| sizes[i] = 4);
    }
    let short = |short| if short { 2 } else { 4 };
    let frame =
        [-(stack as i32), stack as i32].into_iter().filter(|&v| v != 0).map(|v| short(sum(SP, SP, v)));
    let kept = saved.iter().zip(0..).map(|(&r, i)| 2 * short(word(r, SP, 4 * (slots as i32 + i))));
    sizes.iter().sum::<u32>() + frame.sum::<u32>() + kept.sum::<u32>() + 2
}
