//! PRN's masked residual stages beside the plain residual stage: y = F(x) + m ⊙ x, m the first half of the
//! channels.
//!
//! `cargo bench --bench prn` prints the table, checks C8 (parameters equal, half of the adds, the same
//! operations and peak but for that; see [`common::claims`]) and times the fused stages with criterion. Options
//! and baselines: [`common`].

mod common;

use std::process::ExitCode;

use common::{Item, block, claims, options::Options};
use gradpath::Result;
use gradpath::analysis::workload::BlockName::Prn;

fn main() -> Result<ExitCode> {
    let items: Vec<Item> = [block(Prn, 64, 80, 2, 1), block(Prn, 256, 20, 4, 1)].concat();
    common::run("prn", &Options::read(&[]), &items, claims::prn)
}
