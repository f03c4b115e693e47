//! ELAN blocks beside the same units in a row: YOLOv7-tiny's groups of one unit, YOLOv7's of two, and VoVNet's
//! one-shot aggregation.
//!
//! `cargo bench --bench elan` prints the table, checks what aggregation costs in memory and traffic against the
//! maps that it has to keep (see [`common::claims`]) and times the fused blocks with criterion. Options and
//! baselines: [`common`].

mod common;

use std::process::ExitCode;

use common::{Item, block, claims, options::Options};
use gradpath::Result;
use gradpath::analysis::workload::BlockName::{Elan, Osa};

fn main() -> Result<ExitCode> {
    let items: Vec<Item> =
        [block(Elan, 64, 80, 2, 1), block(Elan, 128, 40, 4, 2), block(Osa, 64, 80, 4, 1)].concat();
    common::run("elan", &Options::read(&[]), &items, claims::elan)
}
