//! The five papers' protocols, end to end: tables of cells ([`crate::experiment::Cell`]) that [`lab`] runs; [`run`] takes any of
//! them by name. [`detl`] is also a program of its own, which `make demo` runs.

mod balvinsson;
pub mod detl;
mod detl_cells;
mod gao_wang;
mod hernandez;
pub mod lab;
pub mod program;
mod run;
mod zhong;

pub use lab::{PaperOptions, Scale};
pub use run::{PAPERS, Paper, named, run};
