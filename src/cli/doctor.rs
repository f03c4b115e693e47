//! `gradpath doctor`: what this machine has of what the devices need, and what to do about the rest.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::output::{print, print_json};
use crate::report::{Align, Layout, Table, number};
use crate::runtime::Cpu;
use crate::runtime::cuda::{
    Cache, CudaLibrary, DeviceInfo, DriverStatus, Launch, Nvrtc, Outcome, Place, Problem, Readiness,
    Resources, Search, Target, TuningStore, driver_search, nvrtc_search, readiness,
};
use crate::tensor::DType;
use crate::{Error, Result};

/// Say what this machine has of what the devices need: driver, compiler, GPUs, cache, processor
///
/// Lists everywhere that the driver and the compiler of CUDA were searched, compiles a small kernel, and
/// says what is missing and how to get it. What is missing is no failure: the status is 1 only where
/// something is there that does not work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All that is told; what `--json` prints.
#[derive(Serialize)]
struct Diagnosis {
    version: &'static str,
    cpu: CpuPart,
    driver: DriverPart,
    nvrtc: NvrtcPart,
    cache: CachePart,
    auto: Choice,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct CpuPart {
    threads: usize,
    simd: String,
}

#[derive(Serialize)]
struct DriverPart {
    library: Option<PathBuf>,
    /// The newest CUDA version that it supports.
    cuda: Option<String>,
    devices: Vec<DevicePart>,
    searched: Vec<PlacePart>,
}

#[derive(Serialize)]
struct DevicePart {
    #[serde(flatten)]
    info: DeviceInfo,
    free_bytes: Option<u64>,
    /// Operations whose fastest tile was measured (`--autotune`), and the file that keeps them.
    measured_tiles: usize,
    tunings: Option<PathBuf>,
}

impl DevicePart {
    fn new(info: DeviceInfo, cache: &Cache) -> Self {
        let DeviceInfo { arch, multiprocessors, shared_bytes, .. } = info;
        let target = Target { arch, multiprocessors, shared_bytes, map: DType::F32 };
        let nvrtc = nvrtc_search().found().map_or((0, 0), Nvrtc::version);
        let tunings = TuningStore::open(cache.folder(), &info.name, &target, nvrtc);
        tunings.take_warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
        DevicePart {
            free_bytes: info.free_bytes(),
            measured_tiles: tunings.known().len(),
            tunings: tunings.file().map(PathBuf::from),
            info,
        }
    }
}

#[derive(Serialize)]
struct NvrtcPart {
    library: Option<PathBuf>,
    version: Option<String>,
    /// As in `sm_86`: 86.
    architectures: Vec<u32>,
    compiled: Option<CompiledPart>,
    searched: Vec<PlacePart>,
}

/// What came of the small kernel.
#[derive(Serialize)]
struct CompiledPart {
    kernel: String,
    arch: u32,
    milliseconds: f64,
    registers: Option<u32>,
}

#[derive(Serialize)]
struct CachePart {
    folder: Option<PathBuf>,
    kernels: usize,
    bytes: u64,
}

/// What `--device auto` takes.
#[derive(Serialize)]
struct Choice {
    device: String,
    because: String,
}

#[derive(Serialize)]
struct PlacePart {
    because: &'static str,
    path: PathBuf,
    outcome: String,
}

impl From<&Place> for PlacePart {
    fn from(place: &Place) -> Self {
        let outcome = match &place.outcome {
            Outcome::Loaded => "in use".to_owned(),
            Outcome::Absent => "absent".to_owned(),
            Outcome::Failed(reason) => format!("cannot be used: {reason}"),
        };
        PlacePart { because: place.because, path: place.path.clone(), outcome }
    }
}

fn places<T>(search: &Search<T>) -> Vec<PlacePart> {
    search.places.iter().map(PlacePart::from).collect()
}

/// Runs the command.
///
/// # Errors
/// Where something that is there does not work, after all is printed.
pub fn run(args: &Args) -> Result<()> {
    let diagnosis = Diagnosis::new()?;
    match args.json {
        true => print_json(&diagnosis)?,
        false => print(&diagnosis.text())?,
    }
    match diagnosis.problems.iter().find(|problem| problem.is_broken) {
        Some(problem) => Err(problem.error()),
        None => Ok(()),
    }
}

impl Diagnosis {
    fn new() -> Result<Diagnosis> {
        let cpu = Cpu::new(0)?;
        let Readiness { driver, device, mut problems } = readiness();
        let nvrtc = NvrtcPart::new(&driver, &mut problems);
        let auto = match &device {
            Some(device) => Choice {
                device: format!("cuda:{}", device.ordinal),
                because: format!("{} (sm_{}) can be used", device.name, device.arch),
            },
            None => Choice {
                device: "cpu".to_owned(),
                because: problems.first().map_or_else(String::new, |problem| problem.message.clone()),
            },
        };
        let cache = Cache::of_user();
        let size = cache.size();
        let version = driver.version.map(|(major, minor)| format!("{major}.{minor}"));
        let devices = driver.devices.into_iter();
        Ok(Diagnosis {
            version: env!("CARGO_PKG_VERSION"),
            cpu: CpuPart { threads: cpu.threads(), simd: cpu.simd().to_string() },
            driver: DriverPart {
                library: driver.library,
                cuda: version,
                devices: devices.map(|info| DevicePart::new(info, &cache)).collect(),
                searched: places(driver_search()),
            },
            nvrtc,
            cache: CachePart {
                folder: cache.folder().map(PathBuf::from),
                kernels: size.entries,
                bytes: size.bytes,
            },
            auto,
            problems,
        })
    }

    fn text(&self) -> String {
        let mut text = format!("gradpath {}\n\n", self.version);
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<8}{value}");
        };
        line("cpu", format!("{} threads, {}", self.cpu.threads, self.cpu.simd));
        line(
            "driver",
            match (&self.driver.library, &self.driver.cuda) {
                (Some(path), Some(cuda)) => format!("CUDA {cuda}, {}", path.display()),
                (Some(path), None) => path.display().to_string(),
                (None, _) => "none".to_owned(),
            },
        );
        line(
            "NVRTC",
            match (&self.nvrtc.library, &self.nvrtc.version) {
                (Some(path), Some(version)) => format!("{version}, {}", path.display()),
                _ => "none".to_owned(),
            },
        );
        if let (Some(first), Some(last)) = (self.nvrtc.architectures.first(), self.nvrtc.architectures.last())
        {
            line("", format!("compiles for sm_{first} to sm_{last}"));
        }
        if let Some(compiled) = &self.nvrtc.compiled {
            let CompiledPart { kernel, arch, milliseconds, .. } = compiled;
            line("", format!("compiled {kernel} for sm_{arch} in {milliseconds:.0} ms"));
        }
        line(
            "cache",
            match &self.cache.folder {
                Some(folder) => format!(
                    "{} compiled kernels, {}, {}",
                    self.cache.kernels,
                    number::bytes(self.cache.bytes),
                    folder.display()
                ),
                None => "none: no folder is known for it".to_owned(),
            },
        );
        text.push('\n');
        if !self.driver.devices.is_empty() {
            text.push_str(&device_table(&self.driver.devices).render(Layout::stdout()));
            text.push('\n');
        }
        let Choice { device, because } = &self.auto;
        let _ = writeln!(text, "--device auto takes {device}: {because}");
        for problem in &self.problems {
            let _ = writeln!(text, "{}; {}", capitalized(&problem.message), problem.fix);
        }
        for (library, searched) in
            [(CudaLibrary::Driver, &self.driver.searched), (CudaLibrary::Nvrtc, &self.nvrtc.searched)]
        {
            let _ = writeln!(text, "\nWhere {library} was searched:");
            text.push_str(&place_table(searched).render(Layout::stdout()));
        }
        text
    }
}

impl NvrtcPart {
    /// What is known of NVRTC, with a small kernel compiled; adds what goes wrong with it to `problems`.
    fn new(driver: &DriverStatus, problems: &mut Vec<Problem>) -> NvrtcPart {
        let search = nvrtc_search();
        let mut part = NvrtcPart {
            library: None,
            version: None,
            architectures: Vec::new(),
            compiled: None,
            searched: places(search),
        };
        let Some(nvrtc) = search.found() else { return part };
        let (major, minor) = nvrtc.version();
        part.library = Some(nvrtc.path().to_owned());
        part.version = Some(format!("{major}.{minor}"));
        part.architectures = nvrtc.architectures().to_vec();
        match compile(nvrtc, driver) {
            Ok(compiled) => part.compiled = Some(compiled),
            Err(error) => problems.push(Problem {
                message: format!("NVRTC does not compile: {error}"),
                fix: "install another NVRTC: pip install -U nvidia-cuda-nvrtc".to_owned(),
                is_broken: true,
            }),
        }
        part
    }
}

/// The small kernel, for the first device's architecture, or for one that every NVRTC knows.
fn compile(nvrtc: &Nvrtc, driver: &DriverStatus) -> Result<CompiledPart> {
    let known = nvrtc.architectures();
    let wanted = driver.devices.iter().map(|device| device.arch).chain([80]);
    let arch = wanted.into_iter().find(|arch| known.contains(arch)).or(known.first().copied());
    let arch = arch.ok_or_else(|| Error::internal("it knows no architecture"))?;
    let kernel = Launch::new("probe.cu", "probe").define("X_TYPE", DType::F32).kernel;
    let begun = Instant::now();
    let cubin = nvrtc.compile_kernel(&kernel, arch)?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let registers = Resources::parse(&cubin.log, kernel.entry).map(|resources| resources.registers);
    Ok(CompiledPart { kernel: kernel.to_string(), arch, milliseconds, registers })
}

fn device_table(devices: &[DevicePart]) -> Table {
    let mut table = Table::new(&[
        ("device", Align::Left),
        ("name", Align::Left),
        ("architecture", Align::Left),
        ("memory", Align::Right),
        ("free", Align::Right),
        ("multiprocessors", Align::Right),
        ("shared memory", Align::Right),
        ("measured tiles", Align::Right),
    ]);
    for DevicePart { info, free_bytes, measured_tiles, .. } in devices {
        table.row([
            format!("cuda:{}", info.ordinal),
            info.name.clone(),
            format!("sm_{}", info.arch),
            number::bytes(info.total_bytes),
            free_bytes.map_or_else(|| "unknown".to_owned(), number::bytes),
            info.multiprocessors.to_string(),
            number::bytes(u64::from(info.shared_bytes)),
            measured_tiles.to_string(),
        ]);
    }
    table
}

fn place_table(places: &[PlacePart]) -> Table {
    let mut table = Table::new(&[("", Align::Left), ("place", Align::Left), ("", Align::Left)]);
    for place in places {
        table.row([place.because, &place.path.display().to_string(), &place.outcome]);
    }
    table
}

/// A sentence's first letter as a capital.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
