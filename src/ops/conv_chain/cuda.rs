//! The launch of `kernels/csp_bottleneck.cu`, or of `elan_stack.cu` where the middle map is kept.

use super::{ConvChain, Tile};
use crate::ops::conv::cuda::compute_type;
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::{Error, Result};

impl ConvChain {
    pub(super) fn launches(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let second_weight = self.second_weight();
        let (x, first, second) = (operands.input(0), operands.input(1), operands.input(second_weight));
        let y = operands.outputs[0];
        let Some(tile) = Tile::choose(self, x.shape, first.shape, second.shape, target) else {
            let message = "its middle map does not fit into a multiprocessor";
            return Err(Error::shape("conv chain", &[x.shape, first.shape, second.shape], message));
        };
        let compute = compute_type(target);
        let chunk = 16 / compute.size();
        let pack = |view: DeviceView| view.pack().min(chunk);
        let bias = |present: bool, index: usize| if present { operands.input(index).address } else { 0 };

        let launch = |file, entry| {
            Launch::new(file, entry)
                .block(tile.threads())
                .grid(tile.blocks(y.shape), 1, 1)
                .shared(tile.shared_bytes())
                .define("FIRST_KERNEL", first.shape.h)
                .define("SECOND_KERNEL", second.shape.h)
                .define("C_IN", x.shape.c)
                .define("C_MIDDLE", first.shape.n)
                .define("C_OUT", y.shape.c)
                .define("TILE_H", tile.h)
                .define("TILE_W", tile.w)
                .define("FIRST_M", tile.first_m)
                .define("FIRST_N", tile.first_n)
                .define("SECOND_N", tile.second_n)
                .define("PARTS_N", tile.parts_n)
                .define("FIRST_K", tile.first_k)
                .define("SECOND_K", tile.second_k)
                .define("STAGES", tile.stages)
                .define("COMPUTE_TYPE", compute)
                .define("X_TYPE", x.dtype)
                .define("X_PACK", pack(x))
                .define("FIRST_WEIGHT_TYPE", first.dtype)
                .define("FIRST_WEIGHT_PACK", pack(first))
                .define("SECOND_WEIGHT_TYPE", second.dtype)
                .define("SECOND_WEIGHT_PACK", pack(second))
                .define("FIRST_BIAS", self.first.bias)
                .define("SECOND_BIAS", self.second.bias)
                .define("FIRST_ACTIVATION", self.first.activation)
                .define("SECOND_ACTIVATION", self.second.activation)
                .define("Y_TYPE", y.dtype)
                .define("Y_PACK", y.pack())
                .view(x)
                .view(first)
                .address(bias(self.first.bias, 2))
                .view(second)
                .address(bias(self.second.bias, second_weight + 1))
        };
        let residual = self.residual().map(|index| self.second.residual_on_device(operands, index));
        let launch = match (operands.outputs.get(1), residual) {
            (Some(_), Some(_)) => {
                let message = "a kept middle map and a residual have no kernel together";
                return Err(Error::internal(message).in_op("conv chain"));
            }
            (Some(middle), None) => launch("elan_stack.cu", "elan_stack")
                .define("MIDDLE_TYPE", middle.dtype)
                .define("MIDDLE_PACK", middle.pack())
                .view(*middle)
                .view(y)
                .int(x.pixel_stride)
                .int(middle.pixel_stride)
                .int(y.pixel_stride),
            (None, _) => launch("csp_bottleneck.cu", "csp_bottleneck")
                .define("RESIDUAL", residual.is_some())
                .define("RESIDUAL_TYPE", residual.map_or(y.dtype, |r| r.dtype))
                .define("RESIDUAL_PACK", residual.map_or(1, |r| r.pack()))
                .address(residual.map_or(0, |r| r.address))
                .view(y)
                .int(x.pixel_stride)
                .int(residual.map_or(0, |r| r.pixel_stride))
                .int(residual.map_or(0, |r| r.shape.c))
                .int(y.pixel_stride),
        };
        Ok(vec![launch.int(x.shape.h).int(x.shape.w)])
    }
}
