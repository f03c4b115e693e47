//! An open CUDA device: its context, its kernels, its memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, CudaFunction, CudaStream, DriverError, result, sys};

use cudarc::nvrtc::Ptx;

use super::driver_status::describe;
use super::readiness::readiness_of;
use super::{
    Argument, Cache, Compiled, Compiler, DeviceInfo, DeviceMemory, Kernel, Launch, Nvrtc, PinnedMemory,
    Problem, Readiness, Target, TuningStore,
};
use crate::tensor::DType;
use crate::{Error, ErrorKind, Result};

/// Dynamic shared memory that a kernel may have without asking.
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// A CUDA device and how maps are stored on it. Clones share the context and the compiled kernels.
#[derive(Clone)]
pub struct Cuda {
    gpu: Arc<Gpu>,
    map: DType,
    tunings: Arc<TuningStore>,
    autotunes: bool,
}

struct Gpu {
    context: Arc<CudaContext>,
    compiler: Compiler,
    functions: Mutex<HashMap<Kernel, Loaded>>,
    name: String,
    target: Target,
    ordinal: usize,
    driver: i32,
}

/// A kernel on the device, and what it was loaded from.
struct Loaded {
    compiled: Arc<Compiled>,
    function: CudaFunction,
}

impl Cuda {
    /// Opens device `ordinal`, maps stored as `map`.
    ///
    /// # Errors
    /// Where there is no driver, no device, no NVRTC, or one that does not know the device; the message
    /// says which, and what to do.
    pub fn open(ordinal: usize, map: DType) -> Result<Self> {
        let Readiness { driver, device, problems } = readiness_of(ordinal);
        let Some(DeviceInfo { name, arch, multiprocessors, shared_bytes, .. }) = device else {
            let why = problems.first().map(Problem::error);
            return Err(
                why.unwrap_or_else(|| Error::internal("a device cannot be used, and nobody knows why"))
            );
        };
        let (major, minor) = driver.version.unwrap_or_default();
        let driver = i32::try_from(1000 * major + 10 * minor).unwrap_or(0);
        let context = CudaContext::new(ordinal)
            .map_err(|e| driver_error(&format!("device {ordinal} cannot be opened"), e))?;
        let multiprocessors = multiprocessors.max(1);
        let target = Target { arch, multiprocessors, shared_bytes, map };
        let compiler = Compiler::new(arch)?;
        let functions = Mutex::default();
        let nvrtc = Nvrtc::get()?.version();
        let tunings = Arc::new(TuningStore::open(Cache::of_user().folder(), &name, &target, nvrtc));
        tunings.take_warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
        let gpu = Arc::new(Gpu { context, compiler, functions, name, target, ordinal, driver });
        Ok(Cuda { gpu, map, tunings, autotunes: false })
    }

    /// The same device, maps stored as `map`.
    pub fn with_map(&self, map: DType) -> Self {
        Cuda { map, ..self.clone() }
    }

    /// The same device, tiles measured and kept in `tunings` instead of the user's.
    pub fn with_tunings(&self, tunings: TuningStore) -> Self {
        Cuda { tunings: Arc::new(tunings), ..self.clone() }
    }

    /// The same device; `autotunes`: what is compiled for it has its tiles measured, where that was not done yet.
    pub fn with_autotuning(&self, autotunes: bool) -> Self {
        Cuda { autotunes, ..self.clone() }
    }

    /// The tiles that were measured on this device.
    pub fn tunings(&self) -> &TuningStore {
        &self.tunings
    }

    /// Whether what is compiled for it has its tiles measured.
    pub fn autotunes(&self) -> bool {
        self.autotunes
    }

    /// What launches are made for.
    pub fn target(&self) -> Target {
        Target { map: self.map, ..self.gpu.target }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.gpu.name
    }

    /// Which of the machine's devices it is.
    pub fn ordinal(&self) -> usize {
        self.gpu.ordinal
    }

    /// The driver's CUDA version, as 13000 for 13.0.
    pub fn driver_version(&self) -> i32 {
        self.gpu.driver
    }

    /// Free and total bytes of device memory.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.gpu.context.mem_get_info().map_err(|e| driver_error("free memory is unknown", e))
    }

    /// A stream of the device's own.
    ///
    /// # Errors
    /// What the driver says.
    pub fn stream(&self) -> Result<Arc<CudaStream>> {
        self.gpu.context.new_stream().map_err(|e| driver_error("no stream", e))
    }

    /// Makes the device current in this thread, as every call of the driver needs.
    ///
    /// # Errors
    /// What the driver says.
    pub fn bind(&self) -> Result<()> {
        self.gpu.context.bind_to_thread().map_err(|e| driver_error("the device is lost", e))
    }

    /// Waits for all that runs on the device.
    ///
    /// # Errors
    /// What went wrong there: a launch that failed while it ran has made the device unusable to this process.
    pub fn synchronize(&self) -> Result<()> {
        self.gpu.context.synchronize().map_err(|e| driver_error("the device failed", e))
    }

    /// Device memory of `bytes`; `None` where the device has no more.
    ///
    /// # Errors
    /// What else the driver says.
    pub fn allocate(&self, bytes: usize) -> Result<Option<DeviceMemory>> {
        match DeviceMemory::new(&self.gpu.context, bytes) {
            Ok(memory) => Ok(Some(memory)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            Err(e) => Err(driver_error("no device memory", e)),
        }
    }

    /// Pinned host memory of `bytes`.
    ///
    /// # Errors
    /// What the driver says.
    pub fn pinned(&self, bytes: usize) -> Result<PinnedMemory> {
        PinnedMemory::new(&self.gpu.context, bytes)
            .map_err(|e| driver_error(&format!("no {bytes} bytes of pinned memory"), e))
    }

    /// The kernels of `launches`, compiled and loaded, one a launch.
    ///
    /// # Errors
    /// Where one does not compile, or its parameters are not what the launch passes.
    pub fn functions(&self, launches: &[&Launch]) -> Result<Vec<CudaFunction>> {
        let mut functions = self.gpu.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = launches.iter().map(|l| &l.kernel).filter(|k| !functions.contains_key(*k));
        let mut missing: Vec<Kernel> = missing.cloned().collect();
        missing.sort();
        missing.dedup();
        for compiled in self.gpu.compiler.compile_with_bar(&missing, false)? {
            let kernel = compiled.kernel.clone();
            let failed = |e| driver_error(&format!("kernel {kernel} cannot be loaded"), e);
            self.bind()?;
            let module =
                self.gpu.context.load_module(Ptx::from_binary(compiled.image.clone())).map_err(failed)?;
            let function = module.load_function(kernel.entry).map_err(failed)?;
            functions.insert(kernel.clone(), Loaded { compiled, function });
        }
        let mut found = Vec::with_capacity(launches.len());
        for launch in launches {
            let loaded = functions.get(&launch.kernel);
            let Loaded { compiled, function } =
                loaded.ok_or_else(|| Error::internal("a kernel was not compiled"))?;
            compiled.check_arguments(launch)?;
            self.allow_shared(function, launch)?;
            found.push(function.clone());
        }
        Ok(found)
    }

    /// Asks for the dynamic shared memory of `launch`, where it is more than a kernel may have unasked.
    fn allow_shared(&self, function: &CudaFunction, launch: &Launch) -> Result<()> {
        if launch.shared_bytes > self.gpu.target.shared_bytes {
            let message = format!(
                "{launch} is more than the {} bytes of shared memory that the device has",
                self.gpu.target.shared_bytes
            );
            return Err(Error::internal(message));
        }
        if launch.shared_bytes <= SHARED_WITHOUT_ASKING {
            return Ok(());
        }
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // Kernels of one function may ask for different amounts: the most it may have covers them all.
        let most = i32::try_from(self.gpu.target.shared_bytes).unwrap_or(i32::MAX);
        let most = most.saturating_sub(function.shared_size_bytes().unwrap_or(0));
        function
            .set_attribute(attribute, most)
            .map_err(|e| driver_error(&format!("{launch} gets no shared memory"), e))
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cuda").field("name", &self.gpu.name).field("target", &self.target()).finish()
    }
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gpu { ordinal, name, target: Target { arch, .. }, .. } = &*self.gpu;
        write!(f, "cuda:{ordinal} ({name}, sm_{arch}, {} maps", self.map)?;
        match self.tunings.known().len() {
            0 => write!(f, ")"),
            tuned => write!(f, ", {tuned} measured tiles)"),
        }
    }
}

/// Puts `launch` of `function` on `stream`. A grid without blocks launches nothing.
///
/// # Errors
/// What the driver says of the launch; what goes wrong while it runs shows at the next wait.
///
/// # Safety
/// The arguments must be what the kernel takes, and every address that it reaches from them must be of
/// device memory that stays allocated until the launch has ended.
pub unsafe fn launch(stream: &CudaStream, function: &CudaFunction, launch: &Launch) -> Result<()> {
    if launch.grid.contains(&0) {
        return Ok(());
    }
    let mut cells: Vec<Cell> = launch.arguments.iter().map(Cell::new).collect::<Result<_>>()?;
    let mut pointers: Vec<_> = cells.iter_mut().map(|cell| std::ptr::from_mut(cell).cast()).collect();
    let (grid, block) = (launch.grid.into(), launch.block.into());
    // SAFETY: each pointer is to a cell that holds the argument's bytes at its start, and the driver copies them before it returns. The rest is the caller's promise.
    let launched = unsafe {
        result::launch_kernel(
            function.cu_function(),
            grid,
            block,
            launch.shared_bytes,
            stream.cu_stream(),
            &mut pointers,
        )
    };
    launched.map_err(|e| driver_error(&format!("{launch} cannot be launched"), e))
}

/// One argument as the driver reads it: at the start of its own place, the lowest byte first.
#[repr(C)]
union Cell {
    word: u64,
    map: sys::CUtensorMap,
}

impl Cell {
    fn new(argument: &Argument) -> Result<Cell> {
        Ok(match argument {
            Argument::Address(address) => Cell { word: *address },
            Argument::Int(value) => Cell { word: u64::from(value.cast_unsigned()) },
            Argument::Float(value) => Cell { word: u64::from(value.to_bits()) },
            Argument::TensorMap(map) => Cell { map: map.encode()? },
        })
    }
}

/// `error` as a sentence: `what`, and what the driver calls it.
pub fn driver_error(what: &str, error: DriverError) -> Error {
    Error::new(ErrorKind::Device, format!("{what}: the driver says {}", describe(error.0)))
}
