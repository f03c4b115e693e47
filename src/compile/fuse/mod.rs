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
//! | `siblings::siblings` | 1×1 convs of one map | split conv (CUDA) |
//! | `chains::chains` | conv → conv (inference) | conv chain (CUDA) |
//!
//! The last two make ops that only a CUDA device has kernels of their own for.

mod cast;
mod chains;
mod epilogue;
mod inference;
mod siblings;
mod training;

use std::sync::Arc;

pub(super) use cast::cast_weights;
pub(super) use inference::pack_weights;

use super::lowered::Lowered;
use crate::Result;
use crate::graph::Mode;
use crate::ops::Op;
use crate::runtime::cuda::Target;

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

/// Merges whole convolutions, for a device like `target`.
pub(super) fn blocks(lowered: &mut Lowered, mode: Mode, target: &Target) {
    siblings::siblings(lowered);
    if mode == Mode::Inference {
        chains::chains(lowered, target);
    }
}

/// The op of node `index` as a `T`.
fn op_as<T: Op>(lowered: &Lowered, index: usize) -> Option<&T> {
    lowered.nodes.get(index).and_then(|node| (*node.op).downcast::<T>())
}

fn arc(op: impl Op) -> Arc<dyn Op> {
    Arc::new(op)
}
