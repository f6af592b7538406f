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

/// A value of fewer than this part of the peak is placed after the larger ones, whose order is what matters.
const SMALL: usize = 1000;

/// Orders that are tried beyond the first three.
const TRIES: usize = 16;

/// Assigns memory greedily: a value goes into the smallest gap that is free in some slot as long as it lives, beside other
/// values if need be, or else where it makes a slot grow by least; no slot becomes larger than the largest value. Of three
/// orders (largest first, most words times steps first, longest first) the one that needs least. Then values that made a slot
/// grow late are placed first, one after the other, as long as that helps.
///
/// `apart` are pairs of values that one dispatch binds, one of them to be written: these never share a slot.
pub fn assign(lifetimes: &[Lifetime], apart: &[(usize, usize)]) -> Slots {
    let mut strangers = vec![Vec::new(); lifetimes.len()];
    for (a, b) in apart {
        strangers[*a].push(*b);
        strangers[*b].push(*a);
    }
    let packing = Packing { lifetimes, strangers, most: lifetimes.iter().map(|l| l.words).max().unwrap_or(0) };
    let least = peak(lifetimes).0;
    let (large, small): (Vec<usize>, Vec<usize>) =
        (0..lifetimes.len()).partition(|i| lifetimes[*i].words.saturating_mul(SMALL) >= least);
    let steps = |l: &Lifetime| l.last - l.first + 1;
    let by = |all: &[usize], key: Key| {
        let mut order = all.to_vec();
        order.sort_by_key(|i| (std::cmp::Reverse(key(&lifetimes[*i])), lifetimes[*i].first, *i));
        order
    };
    let orders: [Key; 3] = [&|l| (l.words, steps(l)), &|l| (l.words * steps(l), l.words), &|l| (steps(l), l.words)];
    let tried = orders.map(|key| {
        let order = by(&large, key);
        (packing.pack(&order), order)
    });
    let Some((mut best, mut order)) = tried.into_iter().min_by_key(|(p, _)| p.total()) else { return Slots::default() };
    let bound = peak(&large.iter().map(|i| lifetimes[*i]).collect::<Vec<_>>()).0;
    let mut moved = Vec::new();
    for _ in 0..TRIES {
        // Nothing is better than what lives at once.
        let late = best.growing.iter().rev().find(|i| !moved.contains(*i) && order[0] != **i).copied();
        let Some(late) = late.filter(|_| best.total() > bound) else { break };
        moved.push(late);
        let mut next = order.clone();
        next.retain(|i| *i != late);
        next.insert(0, late);
        let packed = packing.pack(&next);
        if packed.total() < best.total() {
            (best, order) = (packed, next);
            moved.clear();
        }
    }
    order.extend(by(&small, orders[0]));
    packing.pack(&order).slots
}

struct Packing<'a> {
    lifetimes: &'a [Lifetime],
    /// For each value those that it shares no slot with.
    strangers: Vec<Vec<usize>>,
    /// Words of the largest value.
    most: usize,
}

/// Values in slots, and those that made a slot grow, in order.
#[derive(Default)]
struct Packed {
    slots: Slots,
    growing: Vec<usize>,
}

impl Packed {
    fn total(&self) -> usize {
        self.slots.words.iter().sum()
    }
}

/// A place for a value: the better, the less the slot grows, and then the smaller the gap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    growth: usize,
    words: usize,
    slot: usize,
    first: usize,
}

impl Packing<'_> {
    /// Assigns memory to these values in this order.
    fn pack(&self, order: &[usize]) -> Packed {
        let n = self.lifetimes.len();
        let mut slots = Slots { slot: vec![usize::MAX; n], first: vec![0; n], words: Vec::new() };
        let (mut members, mut growing): (Vec<Vec<usize>>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut taken = Vec::new();
        for &i in order {
            let a = self.lifetimes[i];
            let mut best = Gap { growth: a.words, words: 0, slot: members.len(), first: 0 };
            for (slot, inside) in members.iter().enumerate() {
                if self.strangers[i].iter().any(|j| slots.slot[*j] == slot) {
                    continue;
                }
                taken.clear();
                taken.extend(inside.iter().filter_map(|j| {
                    let b = self.lifetimes[*j];
                    let meets = b.first <= a.last && a.first <= b.last;
                    meets.then(|| (slots.first[*j], slots.first[*j] + b.words))
                }));
                taken.sort_unstable();
                let mut from = 0;
                for (begin, end) in &taken {
                    let words = begin.saturating_sub(from);
                    if words >= a.words {
                        best = best.min(Gap { growth: 0, words, slot, first: from });
                    }
                    from = from.max(end.next_multiple_of(PART_ALIGN));
                }
                let words = slots.words[slot].saturating_sub(from);
                let growth = a.words.saturating_sub(words);
                if growth == 0 || from + a.words <= self.most {
                    best = best.min(Gap { growth, words, slot, first: from });
                }
            }
            let Gap { growth, slot, first, .. } = best;
            if slot == members.len() {
                members.push(Vec::new());
                slots.words.push(0);
            }
            if growth > 0 {
                growing.push(i);
            }
            slots.words[slot] = slots.words[slot].max(first + a.words);
            members[slot].push(i);
            (slots.slot[i], slots.first[i]) = (slot, first);
        }
        Packed { slots, growing }
    }
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
    fn a_slot_grows_by_what_is_missing_and_not_beyond_the_largest_value() {
        let value = |words, first, last| Lifetime { words, first, last };
        // By size the third lies beside the second, from 256 on, and makes the slot of the first grow to 376. Placed before them it
        // lies at its start, and the second from 128 on.
        let all = [value(300, 0, 0), value(200, 1, 2), value(120, 2, 2), value(1000, 5, 5)];
        assert_eq!(assign(&all, &[(3, 0), (3, 1), (3, 2)]).words, [328, 1000]);
        assert_eq!(assign(&all[..3], &[]).words, [300, 120]);
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
