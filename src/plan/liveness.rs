//! Which activations may share memory: whole-buffer slots by lifetime, as a pure function.
//!
//! One arena for all activations is not possible: binding one buffer `read` and elsewhere `read_write` in one dispatch is
//! an error in WebGPU, so memory is shared buffer by buffer.

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

/// The slot of each value, and the words of each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// For each value its slot.
    pub slot: Vec<usize>,
    /// For each slot its words.
    pub words: Vec<usize>,
}

/// Assigns slots greedily, largest value first: the first slot whose values' lifetimes do not touch the new one's. Largest
/// first means a slot is never grown and the big activations decide the peak.
pub fn assign(lifetimes: &[Lifetime]) -> Slots {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(lifetimes[*i].words), lifetimes[*i].first, *i));
    let mut slots = Slots { slot: vec![0; lifetimes.len()], words: Vec::new() };
    let mut members: Vec<Vec<usize>> = Vec::new();
    for i in order {
        let a = lifetimes[i];
        let apart = |j: &usize| lifetimes[*j].last < a.first || a.last < lifetimes[*j].first;
        let fits = |s: &usize| members[*s].iter().all(apart);
        // Of the slots that fit, the one that wastes least.
        let found = (0..members.len()).filter(fits).min_by_key(|s| slots.words[*s]);
        let s = found.unwrap_or_else(|| {
            members.push(Vec::new());
            slots.words.push(a.words);
            members.len() - 1
        });
        members[s].push(i);
        slots.slot[i] = s;
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
    Slots { slot: (0..lifetimes.len()).collect(), words: lifetimes.iter().map(|l| l.words).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_two_slots() {
        let chain: Vec<_> = (0..10).map(|i| Lifetime { words: 100, first: i, last: i + 1 }).collect();
        assert_eq!(assign(&chain).words, [100, 100]);
        assert_eq!(peak(&chain), (200, 1));
        assert_eq!(peak(&[]), (0, 0));
    }

    proptest! {
        #[test]
        fn no_two_living_values_share_a_slot(raw in prop::collection::vec((1usize..1000, 0usize..30, 0usize..10), 1..40)) {
            let all: Vec<_> = raw.iter().map(|(w, f, d)| Lifetime { words: *w, first: *f, last: f + d }).collect();
            let s = assign(&all);
            for i in 0..all.len() {
                prop_assert!(s.words[s.slot[i]] >= all[i].words);
                for j in 0..i {
                    let overlap = all[i].first <= all[j].last && all[j].first <= all[i].last;
                    prop_assert!(!(overlap && s.slot[i] == s.slot[j]));
                }
            }
            // Never worse than one buffer a value.
            prop_assert!(s.words.iter().sum::<usize>() <= all.iter().map(|l| l.words).sum());
        }
    }
}
