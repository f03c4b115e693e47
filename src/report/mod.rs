//! What people look at: pictures with boxes, curves, bar charts, tables, a progress bar.
//!
//! Everything here takes plain data (numbers, names, pixels), so any floor's results can be shown.
//! Charts are drawn by a small canvas of our own with a font that is part of the binary: the same
//! call gives the same picture on every machine, with or without system fonts, as PNG or SVG.

mod axis;
pub mod bars;
mod canvas;
pub mod curves;
pub mod draw;
mod file;
mod font;
pub mod number;
pub mod page;
pub mod progress;
pub mod sheet;
pub mod table;

pub use bars::{BarChart, BarRow, BarSeries, plot_bars};
pub use curves::{EpochRecord, Mark, Plot, Series, plot_lines, training_curves};
pub use draw::{BoxLabel, BoxStyle, Color, draw_boxes, palette, side_by_side};
pub use file::save_png;
pub use number::Unit;
pub use page::Page;
pub use progress::Progress;
pub use sheet::{Chart, check_chart_name, plot_sheet, svg_sheet};
pub use table::{Align, Layout, Table};
