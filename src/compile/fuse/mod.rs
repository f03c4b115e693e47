//! Fusion: neighbouring nodes become one pass over memory.
//!
//! Each rule looks for one pattern and rewrites every place it finds; what is fused is data in the
//! surviving op (prologue, epilogue), the same for every device.
//!
//! | rule | from | to |
//! | --- | --- | --- |
//! | `inference::fold_norms` | conv → normalize (running statistics) | conv with folded weight, bias, activation |
//! | `epilogue::activations` | conv → activation | conv with activation |
//! | `epilogue::residuals` | conv → add; normalize → add | conv, or normalize, with residual |
//! | `training::statistics` | conv → batch statistics | conv with statistics |
//! | `training::prologues` | normalize → conv, or its weight gradient | conv with prologue |
//! | `training::accumulate` | conv input gradient → add | conv input gradient that accumulates |

mod cast;
mod epilogue;
mod inference;
mod training;

use std::sync::Arc;

pub(super) use cast::cast_weights;
pub(super) use inference::pack_weights;

use super::lowered::Lowered;
use crate::Result;
use crate::graph::Mode;
use crate::ops::Op;

/// Applies every rule that is for `mode`.
pub(super) fn fuse(lowered: &mut Lowered, mode: Mode) -> Result<()> {
    if mode == Mode::Inference {
        inference::fold_norms(lowered)?;
        epilogue::activations(lowered);
    }
    epilogue::residuals(lowered);
    if mode == Mode::Training {
        training::statistics(lowered);
        training::prologues(lowered)?;
        training::accumulate(lowered);
    }
    lowered.prune();
    Ok(())
}

/// The op of node `index` as a `T`.
fn op_as<T: Op>(lowered: &Lowered, index: usize) -> Option<&T> {
    lowered.nodes.get(index).and_then(|node| (*node.op).downcast::<T>())
}

fn arc(op: impl Op) -> Arc<dyn Op> {
    Arc::new(op)
}
