//! The networks of the five papers, one file a family; each paper's table is a const with the citation above it.

pub mod detl;

pub use detl::{Detl, detl12};
