//! The five papers' protocols, end to end.

pub mod detl;
