//! Calls that run a kernel's native form, on a model of its core, in the place of its body: what the
//! tests hold the two against each other with.
//!
//! Law: a native sees its own parameters and nothing else of the memory; those that overlap, as a
//! result over its operand, are one piece.

use crate::kernel::{Kernel, Simulation};
use crate::program::machine::compile::{Bound, Run};
use crate::program::machine::env::{Env, Mem};
use crate::program::machine::uniform::{Int, IntFn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A piece of memory that a call sees: region, and bytes from and to.
#[derive(Clone, Copy)]
struct Piece {
    region: usize,
    from: usize,
    to: usize,
}

impl Piece {
    fn of(mem: &Mem, env: &Env) -> Piece {
        let from = mem.base(env);
        Piece { region: mem.region, from, to: from + mem.len * mem.elem.size() }
    }
    fn meets(&self, other: &Piece) -> bool {
        self.region == other.region && self.from < other.to && other.from < self.to
    }
}

enum Arg {
    Scalar(IntFn),
    Buffer(Mem),
}

/// Bytes of address space for each piece.
const ROOM: u32 = 1 << 22;
/// Where the first one stands; models of cores keep their stacks below.
const FIRST: u32 = 0x5000_0000;
/// The strictest alignment that a kernel may ask for, which addresses keep.
const ALIGN: usize = 128;

/// A call of the native form with these arguments.
pub(crate) fn simulated(kernel: &Kernel, bound: Vec<Bound>, simulation: &Simulation) -> Run {
    let args: Vec<Arg> = bound
        .into_iter()
        .map(|bound| match bound {
            Bound::Scalar(value, _) => Arg::Scalar(Int::Affine(value).code()),
            Bound::Buffer(mem) => Arg::Buffer(mem),
        })
        .collect();
    let (name, run) = (kernel.name.clone(), Arc::clone(&simulation.0));
    // Lines of vectors are read whole: what stands beside a piece is there, and anything.
    let lines = kernel.native.first().is_some_and(|n| n.feature == "hvx");
    Box::new(move |env| {
        let mut pieces: Vec<Piece> = Vec::new();
        for arg in &args {
            if let Arg::Buffer(mem) = arg {
                let mut piece = Piece::of(mem, env);
                pieces.retain(|p| {
                    let meets = p.meets(&piece);
                    if meets {
                        piece.from = piece.from.min(p.from);
                        piece.to = piece.to.max(p.to);
                    }
                    !meets
                });
                pieces.push(piece);
            }
        }
        let address = |n: usize, at: usize| {
            let first = pieces[n].from % ALIGN;
            FIRST + n as u32 * ROOM + (first + at - pieces[n].from) as u32
        };
        let values: Vec<u32> = args
            .iter()
            .map(|arg| match arg {
                Arg::Scalar(value) => value(env) as u32,
                Arg::Buffer(mem) => {
                    let own = Piece::of(mem, env);
                    // An empty buffer meets nothing: any address will do.
                    pieces.iter().position(|p| p.meets(&own)).map_or(FIRST, |n| address(n, own.from))
                }
            })
            .collect();
        let beside = |piece: &Piece| match lines {
            true => (piece.from % ALIGN, (ALIGN - piece.to % ALIGN) % ALIGN),
            false => (0, 0),
        };
        let mut memory: Vec<(u32, Vec<u8>)> = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let (before, behind) = beside(piece);
            let mut bytes = vec![0xa5; before];
            bytes.extend(&env.memory.regions[piece.region][piece.from..piece.to]);
            bytes.resize(bytes.len() + behind, 0xa5);
            memory.push((address(n, piece.from) - before as u32, bytes));
        }
        // Models of cores panic where instructions do what they must not.
        let ran = catch_unwind(AssertUnwindSafe(|| run(&values, &mut memory)));
        assert!(ran.is_ok(), "in the native form of {name}");
        for (piece, (_, bytes)) in pieces.iter().zip(&memory) {
            let before = beside(piece).0;
            let own = &bytes[before..before + piece.to - piece.from];
            env.memory.regions[piece.region][piece.from..piece.to].copy_from_slice(own);
        }
    })
}
