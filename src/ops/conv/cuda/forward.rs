//! The launches of a forward convolution: `kernels/conv_forward.cu`, `conv_depthwise.cu` and, for the batch
//! statistics, `conv_statistics.cu`.

use std::fmt;
use std::sync::Arc;

use super::super::{Conv, Geometry};
use super::tile::{self, Carried, Gemm, Tile};
use super::wgmma::{self, WgmmaTile};
use super::{define_geometry, group_pack, is_pointwise};
use crate::ops::{Cost, Io, Op, TileChoice};
use crate::runtime::cuda::{DeviceView, Launch, Operands, Target};
use crate::runtime::{Activation, Cpu};
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// What multiplies maps of the program's type: tensor cores in that type, or multiply-adds in f32.
pub fn compute_type(target: &Target) -> DType {
    if target.has_tensor_cores(target.map) { target.map } else { DType::F32 }
}

/// A way to run a forward convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As an implicit GEMM, by `mma.sync` or by multiply-adds.
    Gemm(Tile),
    /// As an implicit GEMM by Hopper's warpgroups.
    Wgmma(WgmmaTile),
    /// Directly, one input channel a group.
    Depthwise(Depthwise),
}

impl fmt::Display for Way {
    /// The name that tells it from others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Gemm(tile) => tile.fmt(f),
            Way::Wgmma(tile) => write!(f, "{tile:?}"),
            Way::Depthwise(block) => write!(f, "{block:?}"),
        }
    }
}

/// The shape of a block of the depth-wise kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depthwise {
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

/// A [`Conv`] that is run by one of its [`candidates`] instead of the one that is chosen for it: how every
/// candidate is tested, and measured by whoever looks for the best.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvCandidate {
    /// The convolution.
    pub conv: Conv,
    /// The candidate's index; beyond the last one it begins anew.
    pub candidate: usize,
}

/// All ways to run `op` from `x` to `y` on `target`, at least one: what may be tried for it, in the order of
/// [`ConvCandidate::candidate`]. None is known to be best.
///
/// A way that wants more of the operands than shapes tell (alignment, element types) is listed, and where it
/// does not take them, the tile that [`tile::choose`] prefers runs in its place.
pub fn candidates(op: &Conv, x: Shape, y: Shape, target: &Target) -> Vec<Way> {
    if let Some(block) = depthwise_block(op, x, y, target) {
        return vec![Way::Depthwise(block)];
    }
    let tiles = tile::candidates(compute_type(target)).iter().copied().map(Way::Gemm);
    tiles.chain(wgmma::candidates(op, x, y, target).into_iter().map(Way::Wgmma)).collect()
}

/// The [`candidates`] that find room on `target`.
fn fitting(op: &Conv, x: Shape, y: Shape, target: &Target) -> Vec<Way> {
    let compute = compute_type(target);
    let mut ways = candidates(op, x, y, target);
    ways.retain(|way| match way {
        Way::Gemm(tile) => tile.shared_bytes(compute) <= target.shared_bytes as usize,
        Way::Wgmma(_) | Way::Depthwise(_) => true,
    });
    ways
}

/// The kernel files of a forward convolution.
const FILES: &[&str] = &["conv_forward.cu", "conv_forward_wgmma.cu", "conv_statistics.cu"];

/// As [`Op::cuda_tiles`].
pub(in super::super) fn tiles(op: &Conv, x: Shape, y: Shape, target: &Target) -> Option<TileChoice> {
    TileChoice::new(&fitting(op, x, y, target), &usual(op, x, y, target), FILES)
}

/// The block of the depth-wise kernel, where that runs `op`.
fn depthwise_block(op: &Conv, x: Shape, y: Shape, target: &Target) -> Option<Depthwise> {
    let groups = op.geometry.groups;
    if groups == 1 || groups != x.c {
        return None;
    }
    Depthwise::new(&op.geometry, y.c, target.map)
}

/// The tile that is preferred for `op` as a GEMM.
fn preferred(op: &Conv, x: Shape, y: Shape, target: &Target) -> Tile {
    let groups = op.geometry.groups;
    let k = op.geometry.kernel[0] * op.geometry.kernel[1] * (x.c / groups);
    let prologue = op.prologue.is_some();
    // What is known before the operands' element types and alignment are.
    let carried = if prologue || target.arch < 80 { Carried::Packs } else { Carried::Aside };
    let gemm = Gemm { m: y.pixels(), n: y.c / groups, k, groups, prologue, carried };
    tile::choose(gemm, compute_type(target), target)
}

/// How `op` is run on `target`: by `candidate` where one is asked for, else by the tile that it names.
fn way(op: &Conv, candidate: Option<usize>, x: Shape, y: Shape, target: &Target) -> Way {
    if let Some(index) = candidate {
        let all = candidates(op, x, y, target);
        return all[index % all.len()];
    }
    let named = op.tile.as_ref().and_then(|name| {
        let fitting = fitting(op, x, y, target);
        fitting.into_iter().find(|way| way.to_string() == *name)
    });
    named.unwrap_or_else(|| usual(op, x, y, target))
}

/// How `op` is run on `target` where nobody has measured.
fn usual(op: &Conv, x: Shape, y: Shape, target: &Target) -> Way {
    match depthwise_block(op, x, y, target) {
        Some(block) => Way::Depthwise(block),
        None => Way::Gemm(preferred(op, x, y, target)),
    }
}

/// Tiles of pixels, each of which has partial statistics.
fn pixel_tiles(op: &Conv, way: Way, y: Shape) -> usize {
    match way {
        Way::Gemm(tile) => y.pixels().div_ceil(tile.m),
        Way::Wgmma(tile) => wgmma::boxes(op, y, tile),
        Way::Depthwise(block) => block.tiles(y),
    }
}

/// Bytes of scratch memory: the partial statistics.
fn workspace(op: &Conv, way: Way, x: Shape, y: Shape, target: &Target) -> usize {
    if !op.statistics {
        return 0;
    }
    let tiles = match way {
        // Of what runs where it does not take the operands, too.
        Way::Wgmma(_) => {
            pixel_tiles(op, way, y).max(pixel_tiles(op, Way::Gemm(preferred(op, x, y, target)), y))
        }
        _ => pixel_tiles(op, way, y),
    };
    tiles * (2 * y.c + 1) * DType::F32.size()
}

impl Conv {
    /// The residual, input `index` of `operands`: in place it is what y holds, in its first channels.
    pub fn residual_on_device(&self, operands: &Operands, index: usize) -> DeviceView {
        let view = operands.input_or(index, 0);
        let channels = self.residual_in_place.filter(|_| operands.inputs[index].is_none());
        DeviceView { shape: view.shape.with_c(channels.unwrap_or(view.shape.c)), ..view }
    }

    /// As [`Op::cuda_workspace`].
    pub(in crate::ops::conv) fn device_workspace(&self, x: Shape, y: Shape, target: &Target) -> usize {
        workspace(self, way(self, None, x, y, target), x, y, target)
    }

    /// As [`Op::cuda`].
    pub(in crate::ops::conv) fn launches(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let way = way(self, None, operands.input(0).shape, operands.outputs[0].shape, target);
        launches(self, way, operands, target)
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

    fn over_narrower(&self, input: usize, channels: usize) -> Option<Arc<dyn Op>> {
        let conv = Conv { residual_in_place: Some(channels), ..self.conv.clone() };
        let is_residual = conv.operands().residual == Some(input);
        is_residual.then(|| Arc::new(ConvCandidate { conv, ..self.clone() }) as Arc<dyn Op>)
    }

    fn channels_in_place(&self, input: usize) -> Option<usize> {
        self.conv.channels_in_place(input)
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
        let way = way(&self.conv, Some(self.candidate), inputs[0], outputs[0], target);
        workspace(&self.conv, way, inputs[0], outputs[0], target)
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
        let (x, y) = (operands.input(0).shape, operands.outputs[0].shape);
        launches(&self.conv, way(&self.conv, Some(self.candidate), x, y, target), operands, target)
    }
}

fn launches(op: &Conv, way: Way, operands: &Operands, target: &Target) -> Result<Vec<Launch>> {
    if op.packed_channels.is_some() {
        return Err(Error::internal("a packed weight is the cpu device's alone").in_op("conv"));
    }
    let y = operands.outputs[0];
    let way = match way {
        Way::Wgmma(_) if !wgmma::takes(operands, target) => {
            Way::Gemm(preferred(op, operands.input(0).shape, y.shape, target))
        }
        way => way,
    };
    let main = match way {
        Way::Gemm(tile) => gemm(op, operands, tile, target)?,
        Way::Wgmma(tile) => wgmma::launch(op, operands, tile, target),
        Way::Depthwise(block) => depthwise(op, operands, block),
    };
    let mut launches = vec![main];
    if op.statistics {
        let merge = Launch::new("conv_statistics.cu", "conv_statistics")
            .grid(y.shape.c.div_ceil(8), 1, 1)
            .address(operands.workspace)
            .view(operands.outputs[1])
            .int(pixel_tiles(op, way, y.shape))
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
    let small = |is_async: bool, view: DeviceView, pack: usize| !is_async && pack * view.dtype.size() < 8;
    let carried = match (x_async && weight_async, small(x_async, x, x_pack)) {
        (true, _) => Carried::Aside,
        (false, small_x) if small_x || small(weight_async, weight, weight.pack()) => Carried::Pieces,
        (false, _) => Carried::Packs,
    };

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
        .define("MIN_BLOCKS", tile.blocks_by_registers(compute, carried))
        .define("COMPUTE_TYPE", compute)
        .define("X_ASYNC", x_async)
        .define("WEIGHT_ASYNC", weight_async)
        .define("WEIGHT_PACK", weight.pack())
        .define("GROUP_CHANNELS", group_in)
        .define("POINTWISE", is_pointwise(&op.geometry));
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
    let prologue = op.operands().prologue.map(|index| operands.input(index));
    let launch = define_geometry(launch, &op.geometry)
        .define("X_TYPE", x.dtype)
        .define("X_PACK", x_pack)
        .define("WEIGHT_TYPE", weight.dtype)
        .define("HAS_PROLOGUE", prologue.is_some())
        .define("PROLOGUE_ACTIVATION", op.prologue.unwrap_or(Activation::Linear))
        .define("AFFINE_PACK", prologue.map_or(1, |p| p.pack().min(x_pack)))
        .define("HAS_STATISTICS", op.statistics);
    let (launch, epilogue) = epilogue(op, operands, launch, run);
    launch
        .view(x)
        .view(weight)
        .address(epilogue.bias)
        .address(prologue.map_or(0, |v| v.address))
        .address(epilogue.residual)
        .view(y)
        .address(if op.statistics { operands.workspace } else { 0 })
        .int(x.pixel_stride)
        .int(y.pixel_stride)
        .int(epilogue.residual_stride)
        .int(epilogue.residual_channels)
}

/// The operands of the epilogue, as arguments; zeros for those that there are not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Epilogue {
    pub bias: u64,
    pub residual: u64,
    pub residual_stride: usize,
    pub residual_channels: usize,
}

/// Defines the macros of `kernels/common/conv_epilogue.cuh`. `run` as in [`fused`].
pub(super) fn epilogue(op: &Conv, operands: &Operands, launch: Launch, run: usize) -> (Launch, Epilogue) {
    let y = operands.outputs[0];
    let places = op.operands();
    let bias = places.bias.map(|index| operands.input(index));
    let residual = places.residual.map(|index| op.residual_on_device(operands, index));
    let launch = launch
        .define("Y_TYPE", y.dtype)
        .define("Y_PACK", group_pack(y, run))
        .define("RESIDUAL_TYPE", residual.map_or(y.dtype, |r| r.dtype))
        .define("RESIDUAL_PACK", residual.map_or(1, |r| group_pack(r, run)))
        .define("HAS_BIAS", bias.is_some())
        .define("BIAS_PACK", bias.map_or(1, |b| group_pack(b, run)))
        .define("HAS_RESIDUAL", residual.is_some())
        .define("ACTIVATION", op.activation);
    let arguments = Epilogue {
        bias: bias.map_or(0, |view| view.address),
        residual: residual.map_or(0, |view| view.address),
        residual_stride: residual.map_or(0, |view| view.pixel_stride),
        residual_channels: residual.map_or(0, |view| view.shape.c),
    };
    (launch, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cuda::Argument;

    const BF16: Target = Target { arch: 80, multiprocessors: 4, shared_bytes: 99 << 10, map: DType::Bf16 };

    /// Operands of `op` on an input of shape `x`, `beside` channels of others between its pixels.
    fn operands(op: &Conv, x: Shape, c_out: usize, beside: usize) -> Operands {
        let (h, w) = op.geometry.output(x.h, x.w).unwrap();
        let y = Shape::new(x.n, h, w, c_out);
        let mut next = 0;
        let mut view = |shape: Shape, beside: usize, dtype| {
            next += 1;
            DeviceView { address: next << 32, shape, pixel_stride: shape.c + beside, dtype }
        };
        let mut inputs = vec![
            Some(view(x, beside, DType::Bf16)),
            Some(view(op.geometry.weight(x.c, c_out), 0, DType::Bf16)),
        ];
        let places = op.operands();
        inputs.extend(places.bias.map(|_| Some(view(Shape::vector(c_out), 0, DType::F32))));
        inputs.extend(places.prologue.map(|_| Some(view(Shape::new(1, 1, 2, x.c), 0, DType::F32))));
        // In place.
        inputs.extend(places.residual.map(|_| None));
        let mut outputs = vec![view(y, 0, DType::Bf16)];
        outputs.extend(op.statistics.then(|| view(Shape::new(1, 1, 2, c_out), 0, DType::F32)));
        Operands { inputs, outputs, workspace: 1 << 40, status: 0 }
    }

    fn defines<'a>(launch: &'a Launch, names: &[&'static str]) -> Vec<&'a str> {
        names.iter().map(|name| launch.kernel.defines[name].as_str()).collect()
    }

    #[test]
    fn what_is_used_as_it_is_stored_comes_by_asynchronous_copies() {
        let names = ["X_ASYNC", "WEIGHT_ASYNC", "X_PACK", "COMPUTE_TYPE"];
        let x = Shape::new(1, 20, 20, 64);
        let plain = Conv::plain(Geometry::same(3, 1), false);
        let launch = |op: &Conv, beside, target: Target| {
            op.launches(&operands(op, x, 64, beside), &target).unwrap().remove(0)
        };
        let dense = launch(&plain, 0, BF16);
        assert_eq!(defines(&dense, &names), ["1", "1", "8", "bf16"]);
        assert!(dense.kernel.defines["STAGES"] != "2");
        // A slice whose pixels begin anywhere.
        assert_eq!(defines(&launch(&plain, 3, BF16), &names), ["0", "1", "1", "bf16"]);
        let prologue = Conv { prologue: Some(Activation::Silu), ..plain.clone() };
        let launched = launch(&prologue, 0, BF16);
        assert_eq!(defines(&launched, &names), ["0", "1", "8", "bf16"]);
        assert_eq!(defines(&launched, &["STAGES", "AFFINE_PACK"]), ["2", "4"]);
        // Turing multiplies bf16 by plain multiply-adds in f32, and has no asynchronous copies.
        let turing = launch(&plain, 0, Target { arch: 75, shared_bytes: 64 << 10, ..BF16 });
        assert_eq!(defines(&turing, &names), ["0", "0", "8", "f32"]);
    }

    #[test]
    fn blocks_cover_the_output_and_the_workspace_its_statistics() {
        for (groups, kernel) in [(1, "conv_forward"), (4, "conv_forward"), (16, "conv_depthwise")] {
            let op = Conv { statistics: true, ..Conv::plain(Geometry::same(3, 2).grouped(groups), false) };
            let x = Shape::new(3, 31, 17, 16);
            let operands = operands(&op, x, 48, 0);
            let y = operands.outputs[0].shape;
            let launches = op.launches(&operands, &BF16).unwrap();
            let [main, merge] = &launches[..] else { panic!("{launches:?}") };
            assert_eq!((main.kernel.entry, merge.kernel.entry), (kernel, "conv_statistics"));
            let number = |name| main.kernel.defines[name].parse::<usize>().unwrap();
            let tiles = if groups < 16 {
                let tiles = y.pixels().div_ceil(number("TILE_M"));
                let blocks = tiles * (48 / groups).div_ceil(number("TILE_N"));
                assert_eq!(main.grid, [blocks as u32, 1, groups as u32]);
                tiles
            } else {
                let strips = y.n * y.h * y.w.div_ceil(number("STRIP"));
                let tiles = strips.div_ceil(number("PIXEL_LANES"));
                let channels = number("CHANNEL_LANES") * number("VECTOR");
                assert_eq!(main.grid, [(tiles * 48usize.div_ceil(channels)) as u32, 1, 1]);
                tiles
            };
            assert_eq!(merge.arguments[2], Argument::Int(tiles as i32));
            assert_eq!(op.device_workspace(x, y, &BF16), 4 * tiles * (2 * 48 + 1));
        }
    }

    #[test]
    fn a_residual_in_place_is_read_from_the_output() {
        let op = Conv { residual: true, ..Conv::plain(Geometry::same(1, 1), true) };
        let operands = operands(&op, Shape::new(1, 5, 5, 8), 24, 0);
        let launch = &op.launches(&operands, &BF16).unwrap()[0];
        // x, weight, bias, prologue, residual, y.
        assert_eq!(launch.arguments[4], launch.arguments[5]);
        assert_eq!(launch.arguments[3], Argument::Address(0));
        assert_eq!(launch.kernel.defines["POINTWISE"], "1");
    }

    #[test]
    fn warpgroups_are_tried_where_they_can_be_and_chosen_nowhere() {
        let hopper = Target { arch: 90, shared_bytes: 227 << 10, ..BF16 };
        let x = Shape::new(1, 20, 20, 64);
        let plain = Conv::plain(Geometry::same(3, 1), true);
        let count = |op: &Conv, target: &Target| {
            let ways = candidates(op, x, x.with_c(128), target);
            ways.iter().filter(|way| matches!(way, Way::Wgmma(_))).count()
        };
        assert_eq!(count(&plain, &hopper), 7, "all but the tile that is twice as wide as the channels");
        let statistics = Conv { statistics: true, ..plain.clone() };
        assert_eq!(count(&statistics, &hopper), 6, "nor that which would spill");
        let others = [
            (&plain, Target { arch: 100, ..hopper }),
            (&plain, Target { map: DType::F32, ..hopper }),
            (&Conv { prologue: Some(Activation::Silu), ..plain.clone() }, hopper),
            (&Conv::plain(Geometry::same(3, 1).grouped(2), true), hopper),
        ];
        for (op, target) in &others {
            assert_eq!(count(op, target), 0, "{op:?} on {target:?}");
        }
        let first = tile::candidates(DType::Bf16).len();
        let launch = |beside| {
            let op = ConvCandidate { conv: plain.clone(), candidate: first };
            op.cuda(&operands(&plain, x, 128, beside), &hopper).unwrap().remove(0)
        };
        let dense = launch(0);
        assert_eq!(dense.kernel.entry, "conv_forward_wgmma");
        // 400 pixels by boxes of 5 rows of 20, 128 channels by 128.
        assert_eq!((dense.grid, dense.block), ([4, 1, 1], [288, 1, 1]));
        let Argument::TensorMap(map) = dense.arguments[0] else { panic!("{dense:?}") };
        assert_eq!(map.extent_bytes(), x.elements() as u64 * 2);
        assert_eq!(launch(8).kernel.entry, "conv_forward_wgmma");
        // Pixels that begin anywhere.
        assert_eq!(launch(3).kernel.entry, "conv_forward");
        let chosen = plain.launches(&operands(&plain, x, 128, 0), &hopper).unwrap();
        assert_eq!(chosen[0].kernel.entry, "conv_forward");
    }

    #[test]
    fn a_depthwise_kernel_beyond_shared_memory_is_a_product() {
        let geometry = Geometry::same(101, 1).grouped(4);
        let op = Conv::plain(geometry, false);
        let launches = op.launches(&operands(&op, Shape::new(1, 4, 4, 4), 4, 0), &BF16).unwrap();
        assert_eq!(launches[0].kernel.entry, "conv_forward");
    }

    #[test]
    fn the_cpus_packed_weight_is_refused() {
        let op = Conv { packed_channels: Some(8), ..Conv::plain(Geometry::same(1, 1), false) };
        assert!(op.launches(&operands(&op, Shape::new(1, 2, 2, 8), 8, 0), &BF16).is_err());
    }
}
