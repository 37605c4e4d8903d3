//! What the models of all cores share: memory, and the arithmetic of halves. For tests.

use crate::kernel::Simulation;
use std::sync::Arc;

/// Memory regions by base address.
pub struct Memory {
    pub regions: Vec<(u32, Vec<u8>)>,
}

impl Memory {
    pub fn at(&mut self, address: u32, len: u32) -> &mut [u8] {
        for (base, bytes) in &mut self.regions {
            if address >= *base && address + len <= *base + bytes.len() as u32 {
                let from = (address - *base) as usize;
                return &mut bytes[from..from + len as usize];
            }
        }
        panic!("access of {len} bytes at {address:#x}");
    }
    /// A word where unaligned accesses trap.
    pub fn aligned(&mut self, address: u32) -> u32 {
        assert!(address.is_multiple_of(4), "unaligned load at {address:#x}");
        self.word(address)
    }
    pub fn put_aligned(&mut self, address: u32, v: u32) {
        assert!(address.is_multiple_of(4), "unaligned store at {address:#x}");
        self.put(address, v, 4);
    }
    pub fn word(&mut self, address: u32) -> u32 {
        u32::from_le_bytes(self.at(address, 4).try_into().unwrap())
    }
    pub fn half(&mut self, address: u32) -> u16 {
        u16::from_le_bytes(self.at(address, 2).try_into().unwrap())
    }
    /// The same where unaligned accesses trap.
    pub fn aligned_half(&mut self, address: u32) -> u16 {
        assert!(address.is_multiple_of(2), "unaligned load at {address:#x}");
        self.half(address)
    }
    pub fn byte(&mut self, address: u32) -> u8 {
        self.at(address, 1)[0]
    }
    /// The low bytes of a word.
    pub fn put(&mut self, address: u32, v: u32, len: u32) {
        self.at(address, len).copy_from_slice(&v.to_le_bytes()[..len as usize]);
    }
}

/// A simulation of a kernel's native form, by what runs it in a memory.
pub fn simulation(run: impl Fn(&[u32], &mut Memory) + Send + Sync + 'static) -> Option<Simulation> {
    Some(Simulation(Arc::new(move |args, regions| {
        let mut memory = Memory { regions: std::mem::take(regions) };
        run(args, &mut memory);
        *regions = memory.regions;
    })))
}

/// The halves of a word, signed.
pub fn halves(v: u32) -> (i32, i32) {
    (i32::from(v as i16), i32::from((v >> 16) as i16))
}

pub fn pack(lo: i32, hi: i32) -> u32 {
    (lo as u32 & 0xffff) | (hi as u32) << 16
}

/// `f` of each half.
pub fn pairs(a: u32, b: u32, f: impl Fn(i32, i32) -> i32) -> u32 {
    let ((al, ah), (bl, bh)) = (halves(a), halves(b));
    pack(f(al, bl), f(ah, bh))
}

/// Limited to so many bits, signed.
pub fn clip(v: i64, bits: u32) -> i32 {
    let top = 1i64 << (bits - 1);
    v.clamp(-top, top - 1) as i32
}

/// The signed product.
pub fn product(a: u32, b: u32) -> i64 {
    i64::from(a as i32) * i64::from(b as i32)
}

/// `a.lo * b.lo + sign * a.hi * b.hi + c`, wrapping.
pub fn dual(a: u32, b: u32, c: u32, sign: i64) -> u32 {
    let ((al, ah), (bl, bh)) = (halves(a), halves(b));
    let sum = i64::from(al) * i64::from(bl) + sign * i64::from(ah) * i64::from(bh);
    (sum as u32).wrapping_add(c)
}
