//! What the procedure call standard (AAPCS32) asks of a Helium function, and what an encoding asks of
//! an instruction: [`crate::asm::verify`] refuses the rest.

use crate::asm::mve::{Inst, Item, LR, P0, PREDICATE, Q, R, Saved, VECTORS};
use crate::asm::table::Touch;
use crate::asm::verify::{Convention, Counter, Step, set};
use crate::error::Result;

/// Holds a function against the procedure call standard (AAPCS32).
pub(super) fn verify(items: &[Item], saved: &Saved, early: &[Q]) -> Result<()> {
    let scalars = (4..12).filter(|&n| !saved.scalars.contains(&(n as u8)));
    let vectors = 4 + u32::from(saved.vectors)..8;
    let convention = Convention {
        name: "Helium",
        entry: set([0, 1, 2, 3, 13].into_iter().chain(early.iter().map(|q| VECTORS + u32::from(q.0)))),
        has: set((0..15).chain(VECTORS..=PREDICATE)),
        kept: set(scalars.chain([13]).chain(vectors.map(|q| VECTORS + q))),
        register: |place| match place {
            0..VECTORS => R(place as u8).to_string(),
            PREDICATE => P0.to_string(),
            _ => Q((place - VECTORS) as u8).to_string(),
        },
    };
    let (mut all, mut labels) = (Vec::new(), 0);
    steps(items, &mut labels, &mut all);
    convention.verify(&all)
}

/// Bodies of loops run at least once, so that what they write is there behind them.
fn steps<'a>(items: &'a [Item], labels: &mut u32, to: &mut Vec<Step<'a, Inst>>) {
    let counter = |r: R, touch| Step::Counter(Counter(r.0.into(), touch));
    for item in items {
        match item {
            Item::Run(run) => to.extend(run.iter().map(Step::Inst)),
            Item::Low { body, .. } | Item::Again { body, .. } => {
                let enters = matches!(item, Item::Low { .. });
                to.push(counter(LR, if enters { Touch::Write } else { Touch::Read }));
                steps(body, labels, to);
                to.push(counter(LR, Touch::Both));
            }
            Item::Tail { count, body, .. } => {
                to.extend([counter(*count, Touch::Read), counter(LR, Touch::Write)]);
                to.extend(body.iter().map(Step::Inst));
            }
            Item::Down { count, body, .. } => {
                steps(body, labels, to);
                to.push(counter(*count, Touch::Both));
            }
            Item::IfOne { count, body } => {
                *labels += 1;
                let past = *labels;
                to.extend([counter(*count, Touch::Read), Step::Branch(past)]);
                to.extend(body.iter().map(Step::Inst));
                to.push(Step::Label(past));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::mve::{At, Block, Lane, SP};

    #[test]
    fn what_breaks_the_procedure_call_standard_is_refused() {
        let refused = |items: Vec<Item>, why: &str| {
            let error = Block { items, ..Block::default() }.native().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        let sum = Inst::AddLanes(Lane::W, Q(0), Q(1), Q(1));
        refused(vec![Item::Run(vec![sum])], "touches q1, which is read before it is written");
        let set = Inst::Dup(Lane::W, Q(1), R(0));
        let maybe = Item::IfOne { count: R(1), body: vec![set] };
        refused(vec![maybe, Item::Run(vec![sum])], "touches q1, which is read before");
        refused(vec![Item::Run(vec![Inst::MovImm(SP, 0)])], "touches sp, which is the caller's");
        let far = Inst::Load(Q(0), At::Offset(R(0), 128));
        refused(vec![Item::Run(vec![far])], "has no encoding");
    }
}
