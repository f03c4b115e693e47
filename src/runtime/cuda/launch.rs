//! What an op asks of a CUDA device: launches, as data.
//!
//! An op never talks to a driver. Given where its operands lie, `Op::cuda` returns the
//! launches that run it; a session compiles what they name, once for each specialisation, and hands them
//! to the driver in order. So the same description serves to compile for an architecture that is not
//! there, to count kernels, and to check arguments against a compiled kernel's own parameters.

use std::collections::BTreeMap;
use std::{env, fmt};

use super::TensorMap;
use crate::runtime::Activation;
use crate::tensor::{DType, Shape};
use crate::{Error, Result};

/// The device that launches are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The architecture, as in `sm_86`: 86.
    pub arch: u32,
    /// Multiprocessors: how many blocks it takes to fill the device.
    pub multiprocessors: u32,
    /// Bytes of shared memory that one block can have.
    pub shared_bytes: u32,
    /// How maps are stored. Parameters, statistics, losses and tables are f32 always.
    pub map: DType,
}

impl Target {
    /// Whether `mma.sync` multiplies maps stored as `dtype`: f16 from sm_75, bf16 from sm_80, f32 nowhere
    /// (its products are exact to f32, by plain multiply-adds).
    pub fn has_tensor_cores(&self, dtype: DType) -> bool {
        match dtype {
            DType::F32 => false,
            DType::F16 => self.arch >= 75,
            DType::Bf16 => self.arch >= 80,
        }
    }
}

/// An operand in device memory: as [`crate::tensor::View`], by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// The address of the first element.
    pub address: u64,
    /// The shape, `[n, h, w, c]`.
    pub shape: Shape,
    /// Elements from one pixel to the next.
    pub pixel_stride: usize,
    /// How elements are stored.
    pub dtype: DType,
}

impl DeviceView {
    /// Whether pixels follow each other without other channels between.
    pub fn is_dense(&self) -> bool {
        self.pixel_stride == self.shape.c || self.shape.pixels() <= 1
    }

    /// As [`DeviceView::pack`], for a kernel that walks over elements and not over pixels: of a dense view
    /// only the address counts, and a pack may reach from one pixel into the next.
    pub fn flat_pack(&self) -> usize {
        if !self.is_dense() {
            return self.pack();
        }
        let size = self.dtype.size();
        let mut pack = 16 / size;
        while !self.address.is_multiple_of((pack * size) as u64) {
            pack /= 2;
        }
        pack
    }

    /// The pack with which a kernel can walk over all of `views` at once, element by element.
    pub fn common_pack(views: &[DeviceView]) -> usize {
        views.iter().map(DeviceView::flat_pack).min().unwrap_or(1)
    }

    /// Elements from one pixel to the next; the channels where there is but one pixel.
    pub fn flat_stride(&self) -> usize {
        if self.is_dense() { self.shape.c } else { self.pixel_stride }
    }

    /// The view, where it is stored in f32 as its op's kernels take it: a table, a scalar, a parameter.
    ///
    /// # Errors
    /// Where it is stored otherwise, which is a defect of the compiler.
    pub fn expect_f32(self) -> Result<DeviceView> {
        match self.dtype {
            DType::F32 => Ok(self),
            other => Err(Error::internal(format!("an operand {} is stored in {other}, not f32", self.shape))),
        }
    }

    /// The view, where it is one array of f32: a parameter, its gradient or state.
    ///
    /// # Errors
    /// Where it is not, which is a defect of the compiler.
    pub fn expect_array(self) -> Result<DeviceView> {
        match self.is_dense() {
            true => self.expect_f32(),
            false => Err(Error::internal(format!("a parameter {} is not dense", self.shape))),
        }
    }

    /// Bytes from the first element to one past the last, whatever lies between.
    pub fn extent_bytes(&self) -> usize {
        match self.shape.elements() {
            0 => 0,
            _ => ((self.shape.pixels() - 1) * self.pixel_stride + self.shape.c) * self.dtype.size(),
        }
    }

    /// The view's channels `offset..offset + channels`.
    pub fn channels(&self, offset: usize, channels: usize) -> DeviceView {
        debug_assert!(offset + channels <= self.shape.c);
        let address = self.address + (offset * self.dtype.size()) as u64;
        DeviceView { address, shape: self.shape.with_c(channels), ..*self }
    }

    /// The most elements that one instruction can read from channel 0, and from every multiple of it, at
    /// every pixel: a power of two, of at most 16 bytes, that divides the address, the pixel stride and
    /// the channels.
    pub fn pack(&self) -> usize {
        let size = self.dtype.size();
        let mut pack = 16 / size;
        while pack > 1
            && (!self.address.is_multiple_of((pack * size) as u64)
                || !self.pixel_stride.is_multiple_of(pack)
                || !self.shape.c.is_multiple_of(pack))
        {
            pack /= 2;
        }
        pack
    }
}

/// The operands of one op in device memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operands {
    /// The inputs in order; `None` where the input lies in its output already.
    pub inputs: Vec<Option<DeviceView>>,
    /// The outputs in order.
    pub outputs: Vec<DeviceView>,
    /// The address of the scratch memory, a multiple of 256; 0 where the op asked for none.
    pub workspace: u64,
    /// The address of the step's status word (`kernels/common/status.cuh`).
    pub status: u64,
}

impl Operands {
    /// Input `index`, of an op that never runs in place over it.
    ///
    /// # Panics
    /// Where the input was placed over an output, which the planner does only for the pairs that the op
    /// itself names.
    pub fn input(&self, index: usize) -> DeviceView {
        self.inputs[index].expect("an input that the op does not overwrite")
    }

    /// Input `index`, or output `output` where the input lies in it already.
    pub fn input_or(&self, index: usize, output: usize) -> DeviceView {
        self.inputs[index].unwrap_or(self.outputs[output])
    }
}

/// A kernel, specialised: what NVRTC compiles.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel {
    /// The file in `kernels/`, as `add.cu`.
    pub file: &'static str,
    /// The entry point in it.
    pub entry: &'static str,
    /// The macros that specialise it.
    pub defines: BTreeMap<&'static str, String>,
    /// Whether it uses what only this very architecture has: it is compiled for `sm_90a`, not `sm_90`.
    pub is_specific: bool,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.entry)?;
        let mut open = '<';
        for (name, value) in &self.defines {
            write!(f, "{open}{name}={value}")?;
            open = ' ';
        }
        if open == ' ' { write!(f, ">") } else { Ok(()) }
    }
}

/// One argument of a launch, as the kernel declares it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// A pointer.
    Address(u64),
    /// An `int`.
    Int(i32),
    /// A `float`.
    Float(f32),
    /// A tensor that the kernel copies boxes of, a `const __grid_constant__ TensorMap`.
    TensorMap(TensorMap),
}

impl Argument {
    /// Bytes it takes among the kernel's parameters.
    pub fn size(&self) -> usize {
        match self {
            Argument::Address(_) => 8,
            Argument::Int(_) | Argument::Float(_) => 4,
            Argument::TensorMap(_) => 128,
        }
    }

    /// The bytes of which its place among the parameters is a multiple.
    pub fn alignment(&self) -> usize {
        match self {
            Argument::TensorMap(_) => 64,
            _ => self.size(),
        }
    }
}

/// A value of a macro that specialises a kernel.
pub trait Define {
    /// As the compiler reads it.
    fn text(&self) -> String;
}

impl Define for usize {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Define for f64 {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

impl Define for String {
    fn text(&self) -> String {
        self.clone()
    }
}

impl Define for bool {
    fn text(&self) -> String {
        usize::from(*self).to_string()
    }
}

impl Define for DType {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Define for Activation {
    fn text(&self) -> String {
        format!("ACTIVATION_{}", format!("{self:?}").to_uppercase())
    }
}

/// One launch: a kernel, its grid, and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel.
    pub kernel: Kernel,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// The arguments in order.
    pub arguments: Vec<Argument>,
}

/// The variable that has sentences list all macros of a kernel.
const VERBOSE: &str = "GRADPATH_VERBOSE";

impl fmt::Display for Launch {
    /// The kernel and its sizes: `kernel add, 12 blocks of 256 threads`; with all macros where `GRADPATH_VERBOSE`
    /// is set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match env::var_os(VERBOSE).is_some_and(|value| !value.is_empty()) {
            true => write!(f, "kernel {}", self.kernel)?,
            false => write!(f, "kernel {}", self.kernel.entry)?,
        }
        let [blocks, threads] =
            [self.grid, self.block].map(|size| size.map(u64::from).iter().product::<u64>());
        write!(f, ", {blocks} blocks of {threads} threads")?;
        match self.shared_bytes {
            0 => Ok(()),
            bytes => write!(f, " with {bytes} bytes of shared memory"),
        }
    }
}

impl Launch {
    /// A launch of `entry` in `kernels/file`, of one block of 256 threads, without arguments.
    pub fn new(file: &'static str, entry: &'static str) -> Self {
        let kernel = Kernel { file, entry, defines: BTreeMap::new(), is_specific: false };
        Launch { kernel, grid: [1; 3], block: [256, 1, 1], shared_bytes: 0, arguments: Vec::new() }
    }

    /// Specialises by `-Dname=value`.
    pub fn define(mut self, name: &'static str, value: impl Define) -> Self {
        self.kernel.defines.insert(name, value.text());
        self
    }

    /// Compiles for the target's very architecture, with all that it has: `sm_90a`.
    pub fn specific(mut self) -> Self {
        self.kernel.is_specific = true;
        self
    }

    /// Blocks along x, y, z.
    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x, y, z].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        self
    }

    /// As many blocks along x as cover `items`, one a thread; a block's threads must be set before.
    pub fn cover(self, items: usize) -> Self {
        let threads = self.block.iter().product::<u32>().max(1) as usize;
        self.grid(items.div_ceil(threads).max(1), 1, 1)
    }

    /// Threads of a block along x.
    pub fn block(mut self, threads: usize) -> Self {
        self.block = [u32::try_from(threads).unwrap_or(u32::MAX), 1, 1];
        self
    }

    /// Bytes of dynamic shared memory.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self
    }

    /// Adds the address of a view's first element.
    pub fn view(self, view: DeviceView) -> Self {
        self.address(view.address)
    }

    /// Adds a pointer.
    pub fn address(mut self, address: u64) -> Self {
        self.arguments.push(Argument::Address(address));
        self
    }

    /// Adds an `int`. Counts that do not fit become −1, which no kernel takes for a count; sessions
    /// refuse operands of 2³¹ elements and more.
    pub fn int(mut self, value: usize) -> Self {
        self.arguments.push(Argument::Int(i32::try_from(value).unwrap_or(-1)));
        self
    }

    /// Adds a tensor map.
    pub fn tensor_map(mut self, map: TensorMap) -> Self {
        self.arguments.push(Argument::TensorMap(map));
        self
    }

    /// Adds a `float`.
    pub fn float(mut self, value: f64) -> Self {
        self.arguments.push(Argument::Float(value as f32));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_is_told_by_its_kernel_and_sizes() {
        let launch = Launch::new("add.cu", "add").define("X_TYPE", DType::F32).block(128).grid(3, 2, 1);
        assert_eq!(launch.to_string(), "kernel add, 6 blocks of 128 threads");
        let launch = launch.shared(4096);
        assert_eq!(
            launch.to_string(),
            "kernel add, 6 blocks of 128 threads with 4096 bytes of shared memory"
        );
        assert_eq!(launch.kernel.to_string(), "add<X_TYPE=f32>");
    }
}
