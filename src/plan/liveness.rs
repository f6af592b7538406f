//! Which activations may share memory: slots by lifetime, each a buffer that holds values one after the other and side by
//! side, as a pure function.
//!
//! One arena for all activations is not possible: binding one buffer `read` and elsewhere `read_write` in one dispatch is
//! an error in WebGPU, so there are several buffers, and what a dispatch writes lies in another one than what it reads.

use crate::graph::record::PART_ALIGN;

/// A value that needs memory from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Words of memory.
    pub words: usize,
    /// The step that writes it first.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// Where each value lies, and the words of each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// For each value its slot.
    pub slot: Vec<usize>,
    /// For each value its first word in the slot.
    pub first: Vec<usize>,
    /// For each slot its words.
    pub words: Vec<usize>,
}

/// What an order sorts by, the largest first.
type Key<'a> = &'a dyn Fn(&Lifetime) -> (usize, usize);

/// Assigns memory greedily: a value goes into the smallest gap that is free in some slot as long as it lives, beside other
/// values if need be, or else gets a slot of its own size. Of three orders (largest first, most words times steps first,
/// longest first) the one that needs least.
///
/// `apart` are pairs of values that one dispatch binds, one of them to be written: these never share a slot.
pub fn assign(lifetimes: &[Lifetime], apart: &[(usize, usize)]) -> Slots {
    let mut strangers = vec![Vec::new(); lifetimes.len()];
    for (a, b) in apart {
        strangers[*a].push(*b);
        strangers[*b].push(*a);
    }
    let steps = |l: &Lifetime| l.last - l.first + 1;
    let orders: [Key; 3] = [&|l| (l.words, steps(l)), &|l| (l.words * steps(l), l.words), &|l| (steps(l), l.words)];
    let all = orders.into_iter().map(|key| {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|i| (std::cmp::Reverse(key(&lifetimes[*i])), lifetimes[*i].first, *i));
        pack(lifetimes, &strangers, &order)
    });
    all.min_by_key(|s| s.words.iter().sum::<usize>()).unwrap_or_default()
}

/// Assigns memory in this order.
fn pack(lifetimes: &[Lifetime], strangers: &[Vec<usize>], order: &[usize]) -> Slots {
    let n = lifetimes.len();
    let mut slots = Slots { slot: vec![usize::MAX; n], first: vec![0; n], words: Vec::new() };
    let mut members: Vec<Vec<usize>> = Vec::new();
    for &i in order {
        let a = lifetimes[i];
        let refused: Vec<usize> = strangers[i].iter().map(|j| slots.slot[*j]).collect();
        // (words of the gap, slot, first word) of the smallest gap.
        let mut best: Option<(usize, usize, usize)> = None;
        for (s, inside) in members.iter().enumerate().filter(|(s, _)| !refused.contains(s)) {
            let meets = |j: &&usize| lifetimes[**j].first <= a.last && a.first <= lifetimes[**j].last;
            let mut taken: Vec<(usize, usize)> =
                inside.iter().filter(meets).map(|j| (slots.first[*j], slots.first[*j] + lifetimes[*j].words)).collect();
            taken.push((slots.words[s], slots.words[s]));
            taken.sort_unstable();
            let mut from = 0;
            for (begin, end) in taken {
                let gap = begin.saturating_sub(from);
                if gap >= a.words && best.is_none_or(|b| gap < b.0) {
                    best = Some((gap, s, from));
                }
                from = from.max(end.next_multiple_of(PART_ALIGN));
            }
        }
        let (_, s, first) = best.unwrap_or_else(|| {
            members.push(Vec::new());
            slots.words.push(a.words);
            (0, members.len() - 1, 0)
        });
        members[s].push(i);
        (slots.slot[i], slots.first[i]) = (s, first);
    }
    slots
}

/// The most words that live at once, and the first step at which they do.
pub fn peak(lifetimes: &[Lifetime]) -> (usize, usize) {
    let steps = lifetimes.iter().map(|l| l.last + 1).max().unwrap_or(0);
    let mut change = vec![0isize; steps + 1];
    for l in lifetimes {
        change[l.first] += l.words as isize;
        change[l.last + 1] -= l.words as isize;
    }
    let (mut live, mut most) = (0, (0, 0));
    for (step, d) in change.into_iter().enumerate() {
        live += d;
        if live > most.0 {
            most = (live, step);
        }
    }
    (most.0 as usize, most.1)
}

/// One slot a value.
pub fn separate(lifetimes: &[Lifetime]) -> Slots {
    let (slot, first) = ((0..lifetimes.len()).collect(), vec![0; lifetimes.len()]);
    Slots { slot, first, words: lifetimes.iter().map(|l| l.words).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_slots() {
        let chain: Vec<_> = (0..10).map(|i| Lifetime { words: 100, first: i, last: i + 1 }).collect();
        assert_eq!(assign(&chain, &[]).words, [100, 100]);
    }

    #[test]
    fn small_values_lie_side_by_side_unless_a_dispatch_forbids_it() {
        let large = Lifetime { words: 256, first: 0, last: 1 };
        let small = |first| Lifetime { words: 100, first, last: 3 };
        let all = [large, small(2), small(3)];
        let s = assign(&all, &[]);
        assert_eq!((s.words, s.first), (vec![256], vec![0, 0, 128]));
        assert_eq!(assign(&all, &[(1, 2)]).words, [256, 100]);
    }

    #[test]
    fn the_peak_of_a_chain() {
        let chain: Vec<_> = (1..5).map(|i| Lifetime { words: 10 * i, first: i, last: i + 1 }).collect();
        assert_eq!(peak(&chain), (70, 4));
        assert_eq!(peak(&[]), (0, 0));
    }

    proptest! {
        #[test]
        fn no_two_living_values_share_words(
            raw in prop::collection::vec((1usize..1000, 0usize..30, 0usize..10), 1..40),
            pairs in prop::collection::vec((0usize..40, 0usize..40), 0..20),
        ) {
            let all: Vec<_> = raw.iter().map(|(w, f, d)| Lifetime { words: *w, first: *f, last: f + d }).collect();
            let apart: Vec<_> = pairs.into_iter().filter(|(a, b)| a != b && *a.max(b) < all.len()).collect();
            let s = assign(&all, &apart);
            for i in 0..all.len() {
                prop_assert!(s.words[s.slot[i]] >= s.first[i] + all[i].words);
                prop_assert!(s.first[i].is_multiple_of(PART_ALIGN));
                for j in 0..i {
                    let alive = all[i].first <= all[j].last && all[j].first <= all[i].last;
                    let touch = s.first[i] < s.first[j] + all[j].words && s.first[j] < s.first[i] + all[i].words;
                    prop_assert!(!(alive && touch && s.slot[i] == s.slot[j]));
                }
            }
            prop_assert!(apart.iter().all(|(a, b)| s.slot[*a] != s.slot[*b]));
            // Never worse than one buffer a value, never better than what lives at once.
            let words = s.words.iter().sum::<usize>();
            prop_assert!(peak(&all).0 <= words && words <= all.iter().map(|l| l.words).sum());
        }
    }
}
