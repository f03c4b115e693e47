//! The launches of a forward convolution: `kernels/conv_forward.cu`, `conv_depthwise.cu` and, for the batch
//! statistics, `conv_statistics.cu`.

use super::super::{Conv, Geometry};
use super::tile::{self, Gemm, Tile};
use super::{define_geometry, group_pack};
use crate::ops::{Cost, Io, Op};
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::runtime::{Activation, Cpu};
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// What multiplies maps of the program's type: tensor cores in that type, or multiply-adds in f32.
fn compute_type(target: &Target) -> DType {
    if target.has_tensor_cores(target.map) { target.map } else { DType::F32 }
}

/// How `x → y` is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// As an implicit GEMM.
    Gemm(Tile),
    /// Directly, one input channel a group.
    Depthwise(Depthwise),
}

/// The shape of a block of the depth-wise kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Depthwise {
    /// Neighbouring channels of a thread.
    vector: usize,
    /// Threads along the channels.
    channel_lanes: usize,
    /// Threads along the strips of outputs.
    pixel_lanes: usize,
}

/// Neighbouring outputs of a row that a thread of the depth-wise kernel computes.
const STRIP: usize = 4;
/// Threads of its blocks.
const DEPTHWISE_THREADS: usize = 128;
/// Bytes of shared memory that its weights may take, so that several blocks share a multiprocessor.
const DEPTHWISE_WEIGHT_BYTES: usize = 20 * 1024;

impl Depthwise {
    /// None where the kernel is too large for the weights of even one channel to lie in shared memory.
    fn new(geometry: &Geometry, c_out: usize, map: DType) -> Option<Self> {
        let taps = geometry.kernel[0] * geometry.kernel[1];
        let fits = |channels: usize| taps * (channels + 4) * 4 <= DEPTHWISE_WEIGHT_BYTES;
        let mut vector = 16 / map.size();
        while vector > 1 && (!c_out.is_multiple_of(vector) || !fits(vector)) {
            vector /= 2;
        }
        let mut channel_lanes = (c_out / vector).next_power_of_two().min(16);
        while channel_lanes > 1 && !fits(channel_lanes * vector) {
            channel_lanes /= 2;
        }
        fits(vector).then_some(Depthwise {
            vector,
            channel_lanes,
            pixel_lanes: DEPTHWISE_THREADS / channel_lanes,
        })
    }

    fn channels(&self) -> usize {
        self.vector * self.channel_lanes
    }

    /// Blocks along the strips of `y`.
    fn tiles(&self, y: Shape) -> usize {
        (y.n * y.h * y.w.div_ceil(STRIP)).div_ceil(self.pixel_lanes)
    }
}

/// A [`Conv`] whose implicit GEMM is cut by one of the [candidates](tile::candidates) instead of the one that is
/// chosen for it: how every candidate is tested, and measured by whoever looks for the best.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvCandidate {
    /// The convolution.
    pub conv: Conv,
    /// The candidate's index; beyond the last one it begins anew.
    pub candidate: usize,
}

/// How `op` is run on `target`; a GEMM by `candidate` where one is asked for.
fn plan(op: &Conv, candidate: Option<usize>, x: Shape, y: Shape, target: &Target) -> Plan {
    let groups = op.geometry.groups;
    let channels = x.c / groups;
    if channels == 1
        && groups > 1
        && let Some(block) = Depthwise::new(&op.geometry, y.c, target.map)
    {
        return Plan::Depthwise(block);
    }
    let k = op.geometry.kernel[0] * op.geometry.kernel[1] * channels;
    let prologue = op.prologue.is_some();
    // What is known before the operands' element types and alignment are.
    let carries = prologue || target.arch < 80;
    let gemm = Gemm { m: y.pixels(), n: y.c / groups, k, groups, prologue, carries };
    let compute = compute_type(target);
    let asked = candidate.map(|index| {
        let all = tile::candidates(compute);
        all[index % all.len()]
    });
    Plan::Gemm(asked.unwrap_or_else(|| tile::choose(gemm, compute, target)))
}

/// Tiles of pixels, each of which has partial statistics.
fn tiles(plan: Plan, y: Shape) -> usize {
    match plan {
        Plan::Gemm(tile) => y.pixels().div_ceil(tile.m),
        Plan::Depthwise(block) => block.tiles(y),
    }
}

/// Bytes of scratch memory: the partial statistics.
fn workspace(op: &Conv, plan: Plan, y: Shape) -> usize {
    if op.statistics { tiles(plan, y) * (2 * y.c + 1) * DType::F32.size() } else { 0 }
}

impl Conv {
    /// As [`Op::cuda_workspace`].
    pub(in crate::ops::conv) fn device_workspace(&self, x: Shape, y: Shape, target: &Target) -> usize {
        workspace(self, plan(self, None, x, y, target), y)
    }

    /// As [`Op::cuda`].
    pub(in crate::ops::conv) fn launches(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let plan = plan(self, None, operands.input(0).shape, operands.outputs[0].shape, target);
        launches(self, plan, operands, target)
    }
}

impl Op for ConvCandidate {
    fn name(&self) -> &'static str {
        "conv candidate"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        self.conv.output_shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost {
        self.conv.cost(inputs, outputs)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        self.conv.in_place()
    }

    fn is_map(&self, output: usize) -> bool {
        self.conv.is_map(output)
    }

    fn makes_maps(&self) -> bool {
        self.conv.makes_maps()
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> Result<()> {
        self.conv.reference(io)
    }

    fn cpu_workspace(&self, inputs: &[Shape], outputs: &[Shape], cpu: &Cpu) -> usize {
        self.conv.cpu_workspace(inputs, outputs, cpu)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> Result<()> {
        self.conv.cpu(io, cpu)
    }

    fn cuda_workspace(&self, inputs: &[Shape], outputs: &[Shape], target: &Target) -> usize {
        let plan = plan(&self.conv, Some(self.candidate), inputs[0], outputs[0], target);
        workspace(&self.conv, plan, outputs[0])
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let (x, y) = (operands.input(0).shape, operands.outputs[0].shape);
        launches(&self.conv, plan(&self.conv, Some(self.candidate), x, y, target), operands, target)
    }
}

fn launches(op: &Conv, plan: Plan, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
    if op.packed_channels.is_some() {
        return Err(Error::internal("a packed weight is the cpu device's alone").in_op("conv"));
    }
    let y = operands.outputs[0];
    let main = match plan {
        Plan::Gemm(tile) => gemm(op, operands, tile, target)?,
        Plan::Depthwise(block) => depthwise(op, operands, block),
    };
    let mut launches = vec![main];
    if op.statistics {
        let merge = Launch::new("conv_statistics.cu", "conv_statistics")
            .grid(y.shape.c.div_ceil(8), 1, 1)
            .address(operands.workspace)
            .view(operands.outputs[1])
            .int(tiles(plan, y.shape))
            .int(y.shape.c)
            .int(y.shape.pixels());
        launches.push(merge);
    }
    Ok(launches)
}

fn gemm(op: &Conv, operands: &Operands, tile: Tile, target: &Target) -> Result<Launch> {
    let (x, weight, y) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let compute = compute_type(target);
    let groups = op.geometry.groups;
    let (group_in, group_out) = (x.shape.c / groups, y.shape.c / groups);
    if groups > 65535 {
        let message = "a CUDA device takes at most 65535 groups of several channels";
        return Err(Error::shape("conv", &[x.shape, weight.shape], message).fix("use fewer groups"));
    }
    // An operand comes by asynchronous copies where it is used as it is stored, 16 bytes at a time.
    let x_pack = group_pack(x, group_in);
    let comes_as_it_is = |view: DeviceView, pack: usize| {
        target.arch >= 80 && view.dtype == compute && pack * view.dtype.size() == 16
    };
    let x_async = op.prologue.is_none() && comes_as_it_is(x, x_pack);
    let weight_async = comes_as_it_is(weight, weight.pack());
    let k_tiles = (weight.shape.h * weight.shape.w * group_in).div_ceil(tile.k);
    let stages = if x_async && weight_async { tile.stages.min(k_tiles.max(2)) } else { 2 };
    let tile = Tile { stages, ..tile };
    let pointwise =
        op.geometry.kernel == [1, 1] && op.geometry.stride == [1, 1] && op.geometry.padding == [0; 4];

    let launch = Launch::new("conv_forward.cu", "conv_forward")
        .block(tile.threads())
        .grid(y.shape.pixels().div_ceil(tile.m) * group_out.div_ceil(tile.n), 1, groups)
        .shared(tile.shared_bytes(compute))
        .define("TENSOR_CORES", compute != DType::F32)
        .define("TILE_M", tile.m)
        .define("TILE_N", tile.n)
        .define("TILE_K", tile.k)
        .define("WARPS_M", tile.warps_m)
        .define("WARPS_N", tile.warps_n)
        .define("STAGES", tile.stages)
        .define("MIN_BLOCKS", tile.blocks_by_registers(compute, !(x_async && weight_async)))
        .define("COMPUTE_TYPE", compute)
        .define("X_ASYNC", x_async)
        .define("WEIGHT_ASYNC", weight_async)
        .define("WEIGHT_PACK", weight.pack())
        .define("GROUP_CHANNELS", group_in)
        .define("POINTWISE", pointwise);
    Ok(fused(op, operands, launch, x_pack, group_out)
        .int(x.shape.h)
        .int(x.shape.w)
        .int(y.shape.h)
        .int(y.shape.w)
        .int(y.shape.pixels())
        .int(group_out))
}

fn depthwise(op: &Conv, operands: &Operands, block: Depthwise) -> Launch {
    let (x, y) = (operands.input(0), operands.outputs[0]);
    let launch = Launch::new("conv_depthwise.cu", "conv_depthwise")
        .block(block.channel_lanes * block.pixel_lanes)
        .grid(block.tiles(y.shape) * y.shape.c.div_ceil(block.channels()), 1, 1)
        .define("MULTIPLIER", y.shape.c / x.shape.c)
        .define("VECTOR", block.vector)
        .define("STRIP", STRIP)
        .define("CHANNEL_LANES", block.channel_lanes)
        .define("PIXEL_LANES", block.pixel_lanes);
    fused(op, operands, launch, x.pack(), y.shape.c)
        .int(x.shape.n)
        .int(x.shape.h)
        .int(x.shape.w)
        .int(y.shape.h)
        .int(y.shape.w)
        .int(y.shape.c)
}

/// What both kernels share: types, geometry, prologue, epilogue, and the arguments up to the residual's
/// channels. `run` is the channels at whose multiples a thread's channels may begin.
fn fused(op: &Conv, operands: &Operands, launch: Launch, x_pack: usize, run: usize) -> Launch {
    let (x, weight, y) = (operands.input(0), operands.input(1), operands.outputs[0]);
    let places = op.operands();
    let optional = |place: Option<usize>| place.map(|index| operands.input(index));
    let (bias, prologue) = (optional(places.bias), optional(places.prologue));
    // In place, the residual is what y holds.
    let residual = places.residual.map(|index| operands.input_or(index, 0));
    let address = |view: Option<DeviceView>| view.map_or(0, |v| v.address);

    define_geometry(launch, &op.geometry)
        .define("X_TYPE", x.dtype)
        .define("X_PACK", x_pack)
        .define("WEIGHT_TYPE", weight.dtype)
        .define("Y_TYPE", y.dtype)
        .define("Y_PACK", group_pack(y, run))
        .define("RESIDUAL_TYPE", residual.map_or(y.dtype, |r| r.dtype))
        .define("RESIDUAL_PACK", residual.map_or(1, |r| group_pack(r, run)))
        .define("HAS_PROLOGUE", prologue.is_some())
        .define("PROLOGUE_ACTIVATION", op.prologue.unwrap_or(Activation::Linear))
        .define("AFFINE_PACK", prologue.map_or(1, |p| p.pack().min(x_pack)))
        .define("HAS_BIAS", bias.is_some())
        .define("BIAS_PACK", bias.map_or(1, |b| group_pack(b, run)))
        .define("HAS_RESIDUAL", residual.is_some())
        .define("HAS_STATISTICS", op.statistics)
        .define("ACTIVATION", op.activation)
        .view(x)
        .view(weight)
        .address(address(bias))
        .address(address(prologue))
        .address(address(residual))
        .view(y)
        .address(if op.statistics { operands.workspace } else { 0 })
        .int(x.pixel_stride)
        .int(y.pixel_stride)
        .int(residual.map_or(0, |r| r.pixel_stride))
        .int(residual.map_or(0, |r| r.shape.c))
}
