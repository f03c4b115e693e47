//! A small CUDA program for the emulator's own tests: raw calls of the stand-ins, one context, one stream.

use crate::emulator::{Emulator, Session};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;

pub const ILLEGAL_ADDRESS: i32 = 700;
pub const MISALIGNED_ADDRESS: i32 = 716;
pub const LAUNCH_FAILED: i32 = 719;

/// A handle of the driver's.
pub type Handle = *mut c_void;

/// Calls a function of the stand-in for the driver by name; its type is in the casts.
macro_rules! driver {
    ($program:expr, $name:literal $(, $argument:expr => $type:ty)* $(,)?) => {{
        // SAFETY: the driver's documentation gives the function this type, and pointers are to live memory.
        unsafe {
            let function = $program.emulator.driver().get::<unsafe extern "C" fn($($type),*) -> i32>($name);
            function.expect("a function of the driver")($($argument),*)
        }
    }};
}

/// Calls a function of the stand-in for NVRTC.
macro_rules! nvrtc {
    ($emulator:expr, $name:literal $(, $argument:expr => $type:ty)*) => {{
        // SAFETY: as for `driver!`.
        unsafe {
            let function = $emulator.nvrtc().get::<unsafe extern "C" fn($($type),*) -> i32>($name);
            function.expect("a function of NVRTC")($($argument),*)
        }
    }};
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub enum Argument {
    Buffer(u64),
    Int(i32),
    TensorMap(TensorMap),
}

/// What `cuTensorMapEncodeTiled` wrote.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct TensorMap([u64; 16]);

/// The text of a kernel of planted/.
fn planted(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/emulator/planted/{file}.cu"));
    std::fs::read_to_string(path).unwrap()
}

/// Compiles for `sm` with the definitions: the image, or the log of a failure.
pub fn compile(
    emulator: &Emulator,
    name: &str,
    source: &str,
    sm: u32,
    definitions: &[&str],
) -> Result<(Vec<u8>, String), String> {
    let options = [format!("--gpu-architecture=sm_{sm}"), "--ptxas-options=-v".into()];
    let options: Vec<_> = options.into_iter().chain(definitions.iter().map(|d| format!("-D{d}"))).collect();
    compile_with(emulator, name, source, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same with any options.
pub fn compile_with(
    emulator: &Emulator,
    name: &str,
    source: &str,
    options: &[&str],
) -> Result<(Vec<u8>, String), String> {
    let c = |text: &str| CString::new(text).unwrap();
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let names = ["intrinsics", "types", "hopper", "wgmma_tile"].map(|name| format!("common/{name}.cuh"));
    let texts = names.each_ref().map(|name| c(&std::fs::read_to_string(kernels.join(name)).unwrap()));
    let names = names.map(|name| c(&name));
    let (text_pointers, name_pointers) =
        (texts.each_ref().map(|text| text.as_ptr()), names.each_ref().map(|n| n.as_ptr()));
    let options: Vec<_> = options.iter().map(|option| c(option)).collect();
    let option_pointers: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
    let (source, name) = (c(source), c(name));
    let mut program: Handle = ptr::null_mut();
    let created = nvrtc!(emulator, "nvrtcCreateProgram", &mut program => *mut Handle,
        source.as_ptr() => *const c_char, name.as_ptr() => *const c_char, texts.len() as i32 => i32,
        text_pointers.as_ptr() => *const *const c_char, name_pointers.as_ptr() => *const *const c_char);
    assert_eq!(created, 0);
    let compiled = nvrtc!(emulator, "nvrtcCompileProgram", program => Handle, option_pointers.len() as i32 => i32,
        option_pointers.as_ptr() => *const *const c_char);
    let mut bytes = 0usize;
    nvrtc!(emulator, "nvrtcGetProgramLogSize", program => Handle, &mut bytes => *mut usize);
    let mut log = vec![0u8; bytes];
    nvrtc!(emulator, "nvrtcGetProgramLog", program => Handle, log.as_mut_ptr() => *mut u8);
    let log = CStr::from_bytes_with_nul(&log).unwrap().to_string_lossy().into_owned();
    nvrtc!(emulator, "nvrtcGetCUBINSize", program => Handle, &mut bytes => *mut usize);
    let mut image = vec![0u8; bytes];
    nvrtc!(emulator, "nvrtcGetCUBIN", program => Handle, image.as_mut_ptr() => *mut u8);
    nvrtc!(emulator, "nvrtcDestroyProgram", &mut program => *mut Handle);
    if compiled == 0 { Ok((image, log)) } else { Err(log) }
}

/// One context of device 0 and one stream, in a session.
pub struct Program<'a> {
    pub emulator: &'static Emulator,
    _session: &'a Session<'a>,
    pub stream: Handle,
    modules: HashMap<(String, Vec<String>), Handle>,
}

impl<'a> Program<'a> {
    pub fn new(emulator: &'static Emulator, session: &'a Session<'a>) -> Self {
        let mut program =
            Self { emulator, _session: session, stream: ptr::null_mut(), modules: HashMap::new() };
        assert_eq!(driver!(program, "cuInit", 0 => u32), 0);
        let mut context = ptr::null_mut();
        assert_eq!(driver!(program, "cuDevicePrimaryCtxRetain", &mut context => *mut Handle, 0 => i32), 0);
        assert_eq!(driver!(program, "cuCtxSetCurrent", context => Handle), 0);
        program.stream = program.new_stream();
        program
    }

    /// One that does not wait for the default stream.
    pub fn new_stream(&self) -> Handle {
        let mut stream = ptr::null_mut();
        assert_eq!(driver!(self, "cuStreamCreate", &mut stream => *mut Handle, 1 => u32), 0);
        stream
    }

    /// The kernel `name` of planted/`file`.cu.
    pub fn kernel(&mut self, file: &str, name: &str, definitions: &[&str]) -> Handle {
        let key = (file.to_owned(), definitions.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>());
        let module = match self.modules.get(&key) {
            Some(module) => *module,
            None => {
                let (image, _) =
                    compile(self.emulator, &format!("{file}.cu"), &planted(file), 80, definitions)
                        .unwrap_or_else(|log| panic!("{log}"));
                let module = self.load(&image).expect("an image that loads");
                self.modules.insert(key, module);
                module
            }
        };
        self.function(module, name)
    }

    /// The same for sm_90a.
    pub fn specific_kernel(&mut self, file: &str, name: &str, definitions: &[&str]) -> Handle {
        let key = (format!("{file} of sm_90a"), definitions.iter().map(|d| (*d).to_owned()).collect());
        if !self.modules.contains_key(&key) {
            let module = self.load(&self.specific_image(file, definitions)).expect("an image that loads");
            self.modules.insert(key.clone(), module);
        }
        self.function(self.modules[&key], name)
    }

    /// planted/`file`.cu compiled for sm_90a.
    pub fn specific_image(&self, file: &str, definitions: &[&str]) -> Vec<u8> {
        let options: Vec<String> = definitions.iter().map(|d| format!("-D{d}")).collect();
        let options: Vec<&str> =
            ["--gpu-architecture=sm_90a"].into_iter().chain(options.iter().map(String::as_str)).collect();
        let compiled = compile_with(self.emulator, &format!("{file}.cu"), &planted(file), &options);
        compiled.unwrap_or_else(|log| panic!("{log}")).0
    }

    /// Of the buffer, or the driver's code; 128-byte swizzle, axes from the innermost on.
    pub fn tensor_map(
        &self,
        of: Argument,
        dtype: i32,
        sizes: &[u64],
        strides: &[u64],
        boxes: &[u32],
        steps: &[u32],
    ) -> Result<Argument, i32> {
        let Argument::Buffer(address) = of else { unreachable!() };
        let mut map = TensorMap([0; 16]);
        let code = driver!(self, "cuTensorMapEncodeTiled", &mut map => *mut TensorMap, dtype => i32,
            sizes.len() as u32 => u32, address => u64, sizes.as_ptr() => *const u64,
            strides.as_ptr() => *const u64, boxes.as_ptr() => *const u32, steps.as_ptr() => *const u32,
            0 => i32, 3 => i32, 2 => i32, 0 => i32);
        if code == 0 { Ok(Argument::TensorMap(map)) } else { Err(code) }
    }

    pub fn load(&self, image: &[u8]) -> Result<Handle, i32> {
        let mut module = ptr::null_mut();
        match driver!(self, "cuModuleLoadData", &mut module => *mut Handle, image.as_ptr() => *const u8) {
            0 => Ok(module),
            code => Err(code),
        }
    }

    pub fn function(&self, module: Handle, name: &str) -> Handle {
        let (mut function, name) = (ptr::null_mut(), CString::new(name).unwrap());
        let code = driver!(self, "cuModuleGetFunction", &mut function => *mut Handle, module => Handle,
            name.as_ptr() => *const c_char);
        assert_eq!(code, 0);
        function
    }

    /// Memory that nobody has written.
    pub fn empty(&self, bytes: usize) -> Argument {
        let mut address = 0;
        assert_eq!(driver!(self, "cuMemAlloc_v2", &mut address => *mut u64, bytes => usize), 0);
        Argument::Buffer(address)
    }

    pub fn upload<T: Copy>(&self, values: &[T]) -> Argument {
        let buffer = self.empty(size_of_val(values));
        let Argument::Buffer(address) = buffer else { unreachable!() };
        let code = driver!(self, "cuMemcpyHtoDAsync_v2", address => u64, values.as_ptr().cast() => *const c_void,
            size_of_val(values) => usize, self.stream => Handle);
        assert_eq!(code, 0);
        buffer
    }

    pub fn free(&self, buffer: Argument) {
        let Argument::Buffer(address) = buffer else { unreachable!() };
        driver!(self, "cuMemFree_v2", address => u64);
    }

    pub fn download<T: Copy + Default>(&self, buffer: Argument, count: usize) -> Result<Vec<T>, i32> {
        let Argument::Buffer(address) = buffer else { unreachable!() };
        let mut values = vec![T::default(); count];
        match driver!(self, "cuMemcpyDtoHAsync_v2", values.as_mut_ptr().cast() => *mut c_void, address => u64,
            size_of_val(&values[..]) => usize, self.stream => Handle)
        {
            0 => Ok(values),
            code => Err(code),
        }
    }

    pub fn launch(
        &self,
        function: Handle,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument],
    ) -> i32 {
        let mut pointers: Vec<*const c_void> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Buffer(address) => ptr::from_ref(address).cast(),
                Argument::Int(value) => ptr::from_ref(value).cast(),
                Argument::TensorMap(map) => ptr::from_ref(map).cast(),
            })
            .collect();
        driver!(self, "cuLaunchKernel", function => Handle, grid[0] => u32, grid[1] => u32, grid[2] => u32,
            block[0] => u32, block[1] => u32, block[2] => u32, shared => u32, self.stream => Handle,
            pointers.as_mut_ptr() => *mut *const c_void, ptr::null_mut() => Handle)
    }

    pub fn synchronize(&self) -> i32 {
        driver!(self, "cuStreamSynchronize", self.stream => Handle)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // Ends the context and what is in it.
        driver!(self, "cuDevicePrimaryCtxRelease_v2", 0 => i32);
    }
}
