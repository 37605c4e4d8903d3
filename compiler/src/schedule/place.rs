//! Arena offsets: packs intervals of time and bytes so that none overlap and the top is low.
//!
//! In: items with bytes, alignment and lifetime. Out: an offset each and the height. Greedy
//! first fit is tried under several orders and then under random swaps of the best one, by a
//! generator with a fixed seed, until the lower bound is met or patience ends.

/// Something to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub bytes: usize,
    pub align: usize,
    pub live: (usize, usize),
}

impl Item {
    fn meets(&self, other: &Item) -> bool {
        self.live.0 <= other.live.1 && other.live.0 <= self.live.1
    }
}

/// The greatest sum of bytes that are live at one time: no packing can be lower.
pub(crate) fn lower_bound(items: &[Item]) -> usize {
    let end = items.iter().map(|i| i.live.1).max().unwrap_or(0);
    let mut change = vec![0i64; end + 2];
    for item in items {
        change[item.live.0] += item.bytes as i64;
        change[item.live.1 + 1] -= item.bytes as i64;
    }
    let mut live = 0;
    let sums = change.iter().map(|c| {
        live += c;
        live
    });
    sums.max().unwrap_or(0) as usize
}

/// Offsets by item, and the height of the packing.
pub(crate) fn pack(items: &[Item]) -> (Vec<usize>, usize) {
    let bound = lower_bound(items);
    let mut orders: Vec<Vec<usize>> = Vec::new();
    let span = |i: &usize| items[*i].live.1 - items[*i].live.0 + 1;
    let all: Vec<usize> = (0..items.len()).collect();
    let mut by = |key: &dyn Fn(&usize) -> (usize, usize)| {
        let mut order = all.clone();
        order.sort_by_key(|i| std::cmp::Reverse(key(i)));
        orders.push(order);
    };
    by(&|i| (items[*i].bytes, span(i)));
    by(&|i| (items[*i].bytes * span(i), items[*i].bytes));
    by(&|i| (span(i), items[*i].bytes));
    by(&|i| (usize::MAX - items[*i].live.0, items[*i].bytes));
    by(&|i| (items[*i].live.1, items[*i].bytes));
    let mut best: Option<(Vec<usize>, Vec<usize>, usize)> = None;
    for order in orders {
        let (offsets, height) = first_fit(items, &order);
        if best.as_ref().is_none_or(|b| height < b.2) {
            best = Some((order, offsets, height));
        }
    }
    let Some((mut order, mut offsets, mut height)) = best else { return (Vec::new(), 0) };
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    // Costs about items^2 each; small models are tried longer.
    let tries = if items.len() < 2 { 0 } else { (4_000_000 / (items.len() * items.len())).min(2000) };
    for _ in 0..tries {
        if height == bound {
            break;
        }
        let mut next = order.clone();
        let (a, b) = (random(items.len()), random(items.len()));
        let moved = next.remove(a);
        next.insert(b, moved);
        let (found, top) = first_fit(items, &next);
        if top <= height {
            (order, offsets, height) = (next, found, top);
        }
    }
    (offsets, height)
}

/// Places items in order, each as low as those already placed allow.
fn first_fit(items: &[Item], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; items.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut height = 0;
    for &i in order {
        if items[i].bytes > 0 {
            let mut at = 0;
            // `placed` is sorted by offset, so one sweep finds the first gap.
            for &p in &placed {
                if items[p].meets(&items[i]) {
                    if offsets[p] >= at + items[i].bytes {
                        break;
                    }
                    at = at.max((offsets[p] + items[p].bytes).next_multiple_of(items[i].align));
                }
            }
            offsets[i] = at;
            let slot = placed.partition_point(|&p| offsets[p] <= at);
            placed.insert(slot, i);
            height = height.max(at + items[i].bytes);
        }
    }
    (offsets, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_items_never_overlap_and_never_beat_the_bound() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..50 {
            let n = 2 + random(20) as usize;
            let items: Vec<Item> = (0..n)
                .map(|_| {
                    let start = random(12) as usize;
                    let align = if random(2) == 0 { 4 } else { 8 };
                    let bytes = (random(200) as usize).next_multiple_of(align);
                    Item { bytes, align, live: (start, start + random(5) as usize) }
                })
                .collect();
            let (offsets, height) = pack(&items);
            assert!(height >= lower_bound(&items));
            for a in 0..n {
                assert!(offsets[a] + items[a].bytes <= height || items[a].bytes == 0);
                assert_eq!(offsets[a] % items[a].align, 0);
                for b in 0..a {
                    for step in 0..20 {
                        let live = |i: usize| items[i].live.0 <= step && step <= items[i].live.1;
                        if live(a) && live(b) {
                            let (x, y) = (offsets[a], offsets[b]);
                            let apart = x + items[a].bytes <= y || y + items[b].bytes <= x;
                            assert!(apart || items[a].bytes == 0 || items[b].bytes == 0);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_chain_meets_the_bound() {
        let sizes = [8000usize, 8000, 16000, 4000, 12, 400];
        let items: Vec<Item> =
            sizes.iter().enumerate().map(|(i, &bytes)| Item { bytes, align: 4, live: (i, i + 1) }).collect();
        assert_eq!(pack(&items).1, 24000);
    }
}
