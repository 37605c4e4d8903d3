//! The same work on every item of a list, on the cores that there are.
//!
//! In: how many items, and what to do with one. Out: the results in the order of the items. Law: an
//! item's result depends on its number alone, so the number of threads changes nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that work at once: more gain little where memory is what limits.
const MOST: usize = 16;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// `work(0)..work(count - 1)`.
pub(crate) fn map<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    map_on(threads(), count, work)
}

/// The same on so many threads.
pub(crate) fn map_on<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = threads.min(count);
    if threads <= 1 {
        return (0..count).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            if item >= count {
                return done;
            }
            done.push((item, work(item)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        // Where a thread cannot be had, the others do its work.
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, take).ok();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        let mut done = take();
        for other in others {
            match other.join() {
                Ok(items) => done.extend(items),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    all.sort_by_key(|(item, _)| *item);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let squares: Vec<usize> = (0..100).map(|i| i * i).collect();
        for threads in [1, 2, 3, 7] {
            assert_eq!(map_on(threads, 100, |i| i * i), squares);
        }
        assert!(map_on(4, 0, |i| i).is_empty());
    }
}
