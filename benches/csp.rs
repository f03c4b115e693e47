//! CSP stages beside the residual stage over all channels: Darknet-53's residual blocks, c → c/2 → c, against
//! the same within the split, c/2 → c/2 → c/2.
//!
//! `cargo bench --bench csp` prints the table, checks C1, C2 and C3 (half of the operations and of the weights,
//! two thirds of the peak; see [`common::claims`]) and times the fused stages with criterion. Options and
//! baselines: [`common`].

mod common;

use std::process::ExitCode;

use common::{Item, block, claims, options::Options};
use gradpath::Result;
use gradpath::analysis::workload::BlockName::{Csp, CspFusionFirst, CspFusionLast};

fn main() -> Result<ExitCode> {
    let items: Vec<Item> = [
        block(Csp, 64, 80, 2, 1),
        block(CspFusionFirst, 64, 80, 2, 1),
        block(CspFusionLast, 64, 80, 2, 1),
        block(Csp, 256, 20, 4, 1),
    ]
    .concat();
    common::run("csp", &Options::read(&[]), &items, claims::csp)
}
