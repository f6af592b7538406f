//! Sets of images that are one: links between pairs become groups by union-find.

use crate::data::audit::digest::Seen;
use crate::data::audit::look::{Look, Relation, pairs};
use std::collections::HashMap;

/// Disjoint sets of `0..n`.
#[derive(Clone, Debug)]
pub struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    /// Each of `0..n` on its own.
    pub fn new(n: usize) -> Sets {
        Sets { parent: (0..n).collect() }
    }

    /// The smallest member of the set of `i`.
    pub fn find(&mut self, mut i: usize) -> usize {
        while self.parent[i] != i {
            self.parent[i] = self.parent[self.parent[i]];
            i = self.parent[i];
        }
        i
    }

    /// Unites the sets of `a` and `b`.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b)] = a.min(b);
    }

    /// The set of each, numbered in order of appearance.
    pub fn numbers(&mut self) -> Vec<usize> {
        let mut number = HashMap::new();
        (0..self.parent.len())
            .map(|i| {
                let next = number.len();
                *number.entry(self.find(i)).or_insert(next)
            })
            .collect()
    }

    /// The sets of two and more, each ascending, by their first member.
    pub fn groups(&mut self) -> Vec<Vec<usize>> {
        let mut by: std::collections::BTreeMap<usize, Vec<usize>> = std::collections::BTreeMap::new();
        for i in 0..self.parent.len() {
            by.entry(self.find(i)).or_default().push(i);
        }
        by.into_values().filter(|g| g.len() > 1).collect()
    }
}

/// Why two images are taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The files are equal byte by byte.
    File,
    /// The decoded pixels are equal, the files are not.
    Pixels,
    /// They look the same; see [`crate::data::audit::look`].
    Look(Relation),
}

/// Two images that are one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Position of the first.
    pub a: usize,
    /// Position of the second.
    pub b: usize,
    /// Why.
    pub kind: Kind,
    /// Correlation of their looks; 1 for equal pixels.
    pub correlation: f64,
}

/// All links between usable images. Of equal images each is linked to the first of them, and only the first is compared
/// by its look.
pub fn links(images: &[Option<&Seen>]) -> Vec<Link> {
    let mut found = Vec::new();
    let (mut files, mut pixels): (HashMap<[u8; 32], usize>, HashMap<[u8; 32], usize>) = Default::default();
    let mut looks: Vec<Option<Look>> = vec![None; images.len()];
    for (b, seen) in images.iter().enumerate() {
        let Some(seen) = seen else { continue };
        let (file, pixel) = (files.get(&seen.file).copied(), pixels.get(&seen.pixels).copied());
        match (file, pixel) {
            (Some(a), _) => found.push(Link { a, b, kind: Kind::File, correlation: 1.0 }),
            (None, Some(a)) => found.push(Link { a, b, kind: Kind::Pixels, correlation: 1.0 }),
            (None, None) => looks[b] = Look::of(&seen.thumb),
        }
        files.entry(seen.file).or_insert(b);
        pixels.entry(seen.pixels).or_insert(b);
    }
    let alike = pairs(&looks).into_iter();
    found.extend(alike.map(|p| Link { a: p.a, b: p.b, kind: Kind::Look(p.relation), correlation: p.correlation }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::audit::look::tests::picture;

    #[test]
    fn sets() {
        let mut s = Sets::new(7);
        [(5, 2), (6, 5), (1, 3)].into_iter().for_each(|(a, b)| s.join(a, b));
        assert_eq!(s.groups(), [vec![1, 3], vec![2, 5, 6]]);
        assert_eq!(s.numbers(), [0, 1, 2, 1, 3, 2, 2]);
        assert_eq!(s.find(6), 2);
    }

    #[test]
    fn each_image_is_linked_for_the_strongest_reason() {
        let seen = |file: u8, pixels: u8, thumb: Vec<f32>| Seen {
            bytes: 1,
            file: [file; 32],
            pixels: [pixels; 32],
            size: (32, 32),
            format: "PNG",
            thumb,
            mean: 0.5,
            square: 0.3,
        };
        let bright: Vec<f32> = picture(1).iter().map(|v| 0.1 + 0.6 * v).collect();
        let all = [
            seen(1, 1, picture(1)),
            seen(1, 1, picture(1)),
            seen(2, 1, picture(1)),
            seen(3, 3, bright),
            seen(4, 4, picture(2)),
        ];
        let mut refs: Vec<Option<&Seen>> = all.iter().map(Some).collect();
        refs.insert(1, None);
        let found = links(&refs);
        let brief: Vec<(usize, usize, Kind)> = found.iter().map(|l| (l.a, l.b, l.kind)).collect();
        assert_eq!(brief, [(0, 2, Kind::File), (0, 3, Kind::Pixels), (0, 4, Kind::Look(Relation::Same))]);
    }
}
