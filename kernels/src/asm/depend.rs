//! What must stand before what in straight code, whatever the instruction set.
//!
//! In: instructions, and the places that each touches, as its row says: registers, and what a set
//! counts beside them, like flags, a predicate or memory. Out: for each, the earlier ones that it
//! depends on. Law: an order that keeps these links computes the same; a link that others imply is
//! not there.

use crate::asm::table::Touch;
use std::collections::BTreeMap;

/// How an instruction depends on an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// It reads what that one writes.
    Value,
    /// It writes what that one writes.
    Again,
    /// It writes what that one reads.
    Over,
    /// Their accesses of memory may meet.
    Memory,
}

/// By instruction, those it depends on.
pub(crate) type Links = Vec<Vec<(usize, Link)>>;

/// The links of instructions whose places `visit` gives; what one reads, it reads before it writes.
pub(crate) fn links<I>(insts: &[I], visit: impl Fn(&I, &mut dyn FnMut(u32, Touch))) -> Links {
    // By place, who wrote it last, and who has read it since.
    let mut last: BTreeMap<u32, (Option<usize>, Vec<usize>)> = BTreeMap::new();
    let of = |(i, inst)| {
        let (mut before, mut written) = (Vec::new(), Vec::new());
        visit(inst, &mut |place, touch| {
            if touch.reads() {
                let (writer, readers) = last.entry(place).or_default();
                before.extend(writer.map(|w| (w, Link::Value)));
                readers.push(i);
            }
            if touch.writes() {
                written.push(place);
            }
        });
        for place in written {
            let (writer, readers) = last.entry(place).or_default();
            before.extend(writer.filter(|&w| w != i).map(|w| (w, Link::Again)));
            before.extend(readers.drain(..).filter(|&r| r != i).map(|r| (r, Link::Over)));
            *writer = Some(i);
        }
        before
    };
    insts.iter().enumerate().map(of).collect()
}

/// The length of the longest chain that depends on each instruction.
pub(crate) fn heights(links: &Links, length: impl Fn(Link) -> u64) -> Vec<u64> {
    let mut heights = vec![0; links.len()];
    for (i, before) in links.iter().enumerate().rev() {
        for &(b, link) in before {
            heights[b] = heights[b].max(heights[i] + length(link));
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_sees_the_write_it_saw() {
        use Touch::{Both, Read, Write};
        // A line of: write a; read a, write b; read a; change a; write b; read both.
        let line: [&[(u32, Touch)]; 6] = [
            &[(0, Write)],
            &[(0, Read), (1, Write)],
            &[(0, Read)],
            &[(0, Both)],
            &[(1, Write)],
            &[(0, Read), (1, Read)],
        ];
        let found = links(&line, |touched, f| touched.iter().for_each(|&(place, touch)| f(place, touch)));
        assert_eq!(found[0], []);
        assert_eq!(found[1], [(0, Link::Value)]);
        assert_eq!(found[2], [(0, Link::Value)]);
        assert_eq!(found[3], [(0, Link::Value), (0, Link::Again), (1, Link::Over), (2, Link::Over)]);
        assert_eq!(found[4], [(1, Link::Again)]);
        assert_eq!(found[5], [(3, Link::Value), (4, Link::Value)]);
        assert_eq!(heights(&found, |link| u64::from(link != Link::Over)), [3, 2, 1, 1, 1, 0]);
    }
}
