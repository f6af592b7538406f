//! What people look at: charts as SVG, Grad-CAM panels as PNG, and one HTML page that shows a run.
//!
//! Pure functions of [`crate::eval`]'s structs and of pixel slices. The page needs no network and no script.

pub mod audit;
pub mod chart;
pub mod colormap;
pub mod contact;
pub mod curves;
pub mod encode;
pub mod experiment;
pub mod gallery;
pub mod glyphs;
pub mod heat_page;
pub mod html;
pub mod overlay;
pub mod text;

pub use colormap::Colormap;
pub use gallery::GalleryItem;
pub use html::render;
pub use overlay::{Marks, Panel, PanelStyle, panel, png_bytes};
