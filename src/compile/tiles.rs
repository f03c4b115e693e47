//! Tiles that were measured, taken over into a program.

use super::lowered::Lowered;
use super::{Program, Slot, Step};
use crate::ops::TileChoice;
use crate::runtime::cuda::{Target, Tunings};

/// Bytes that the widest instruction moves: an address that is a multiple of it is as good as any.
const WIDEST: usize = 16;

impl Step {
    /// The tiles that the op can be cut into on `target`, and what a measurement of them is found again by: the
    /// op with all that is fused into it, and for each operand its element type, its shape, how far apart its
    /// pixels are and what its address is a multiple of. `None` where there is nothing to choose.
    pub fn tile_choice(&self, target: &Target) -> Option<(String, TileChoice)> {
        let (inputs, outputs) = self.shapes();
        let choice = self.op.cuda_tiles(&inputs, &outputs, target)?;
        let inputs = self.inputs.iter().map(|slot| slot.as_ref().map_or("in place".to_owned(), describe));
        let inputs: Vec<String> = inputs.collect();
        let outputs: Vec<String> = self.outputs.iter().map(describe).collect();
        let key = format!(
            "{} maps: {:?} from {} to {}",
            target.map,
            self.op,
            inputs.join(", "),
            outputs.join(", ")
        );
        Some((key, choice))
    }
}

/// `bf16 [8, 80, 80, 64] by 96 at 8`: the pixel stride where there are other channels between, and the bytes
/// that the address is a multiple of where they are fewer than 16.
fn describe(slot: &Slot) -> String {
    let mut text = format!("{} {}", slot.dtype, slot.shape);
    if slot.pixel_stride != slot.shape.c {
        text += &format!(" by {}", slot.pixel_stride);
    }
    let bytes = slot.offset * slot.dtype.size();
    let multiple = if bytes == 0 { WIDEST } else { (1 << bytes.trailing_zeros()).min(WIDEST) };
    if multiple < WIDEST {
        text += &format!(" at {multiple}");
    }
    text
}

/// Cuts the nodes of `lowered` into the tiles that were measured for the steps of `program`, which was made of
/// them. Says whether there was one.
pub(super) fn take_measured(
    lowered: &mut Lowered,
    program: &Program,
    target: &Target,
    tunings: &Tunings,
) -> bool {
    let mut taken = false;
    for (node, step) in lowered.nodes.iter_mut().zip(&program.steps) {
        let Some((key, choice)) = step.tile_choice(target) else { continue };
        if let Some(tuning) = tunings.get(&key, choice.files, &choice.tiles)
            && let Some(op) = node.op.with_cuda_tile(&tuning.tile)
        {
            node.op = op;
            taken = true;
        }
    }
    taken
}
