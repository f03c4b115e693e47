//! All kernels of a program at once: each specialisation compiled once, from memory, from the cache on
//! disk or by NVRTC, on as many threads as there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::cache::{Cache, Identity, Key};
use super::cubin::{self, Parameter, Resources};
use super::launch::{Kernel, Launch};
use super::nvrtc::{self, Nvrtc};
use super::sources::Source;
use crate::report::Progress;
use crate::{Error, Result};

/// The stack of a thread that compiles: what a large kernel's nested templates and loops need.
const STACK_BYTES: usize = 16 << 20;
/// A bar is shown when compilation takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A kernel, ready to load.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What was compiled.
    pub kernel: Kernel,
    /// The image that the driver loads.
    pub image: Vec<u8>,
    /// What it takes of a multiprocessor; `None` where the compiler did not say.
    pub resources: Option<Resources>,
    /// Its parameters; `None` where the image has no table of them.
    pub parameters: Option<Vec<Parameter>>,
    /// What the compiler said.
    pub log: String,
    /// Whether it came from the cache on disk.
    pub from_cache: bool,
}

impl Compiled {
    /// Holds a launch's arguments against this kernel's parameters, where the image tells them.
    ///
    /// # Errors
    /// As [`cubin::check_arguments`].
    pub fn check_arguments(&self, launch: &Launch) -> Result<()> {
        match &self.parameters {
            Some(parameters) => cubin::check_arguments(launch, parameters),
            None => Ok(()),
        }
    }
}

/// Compiles kernels for one architecture, each once.
#[derive(Debug)]
pub struct Compiler {
    nvrtc: &'static Nvrtc,
    arch: u32,
    cache: Cache,
    identity: Identity,
    done: Mutex<BTreeMap<Kernel, Arc<Compiled>>>,
}

impl Compiler {
    /// A compiler for `sm_{arch}` with the user's cache.
    ///
    /// # Errors
    /// Where there is no NVRTC, or it does not know the architecture.
    pub fn new(arch: u32) -> Result<Compiler> {
        Self::with_cache(arch, Cache::of_user())
    }

    /// A compiler for `sm_{arch}` with a cache of its own.
    ///
    /// # Errors
    /// As [`Compiler::new`].
    pub fn with_cache(arch: u32, cache: Cache) -> Result<Compiler> {
        let nvrtc = Nvrtc::get()?;
        nvrtc.check_architecture(arch)?;
        Ok(Compiler { nvrtc, arch, cache, identity: Identity::of(nvrtc), done: Mutex::default() })
    }

    /// The architecture, as in `sm_86`: 86.
    pub fn arch(&self) -> u32 {
        self.arch
    }

    /// What went wrong with the cache since the last call; compilation went on without it.
    pub fn take_warnings(&self) -> Vec<String> {
        self.cache.take_warnings()
    }

    /// Compiles `kernels`, with a bar on standard error where that takes more than a second; warnings of the
    /// cache go there too. Nothing of it where `quiet`.
    ///
    /// # Errors
    /// As [`Compiler::compile_all`].
    pub fn compile_with_bar(&self, kernels: &[Kernel], quiet: bool) -> Result<Vec<Arc<Compiled>>> {
        let begun = Instant::now();
        let mut bar: Option<Progress> = None;
        let compiled = self.compile_all(kernels, &mut |done, total| {
            if begun.elapsed() < PATIENCE {
                return;
            }
            let bar = bar.get_or_insert_with(|| Progress::new(total as u64, "compiling kernels", quiet));
            bar.advance((done as u64).saturating_sub(bar.position()));
        });
        drop(bar);
        if !quiet {
            self.take_warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
        }
        compiled
    }

    /// Compiles `kernels` and returns them in the same order, equal ones as the same allocation.
    /// `progress` is told how many of the different ones are done, and how many there are.
    ///
    /// # Errors
    /// The first kernel of the list that cannot be compiled.
    pub fn compile_all(
        &self,
        kernels: &[Kernel],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Arc<Compiled>>> {
        let mut seen = BTreeSet::new();
        let wanted: Vec<&Kernel> = {
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            kernels.iter().filter(|kernel| !done.contains_key(kernel) && seen.insert(*kernel)).collect()
        };
        if !wanted.is_empty() {
            self.compile_new(&wanted, progress)?;
        }
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let get = |kernel| {
            let compiled = done.get(kernel).cloned();
            compiled.ok_or_else(|| Error::internal(format!("kernel {kernel} was not compiled")))
        };
        kernels.iter().map(get).collect()
    }

    /// Compiles kernels that are all different and not done yet.
    fn compile_new(&self, kernels: &[&Kernel], progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let mut sources = BTreeMap::new();
        for kernel in kernels {
            if !sources.contains_key(kernel.file) {
                sources.insert(kernel.file, Source::load(kernel.file)?);
            }
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        // Takes kernels until none is left. After a failure those not begun are not: they come later in
        // the list, so the error that is returned is the same whatever the threads do.
        let work = |sender: mpsc::Sender<(usize, Result<Compiled>)>| {
            while !failed.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(kernel) = kernels.get(index) else { break };
                let Some(source) = sources.get(kernel.file) else { break };
                let result = self.compile_one(kernel, source);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                if sender.send((index, result)).is_err() {
                    break;
                }
            }
        };
        let mut first_error: Option<(usize, Error)> = None;
        let mut wrote = false;
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, usize::from).min(kernels.len());
            let mut started = 0;
            for _ in 0..threads {
                let sender = sender.clone();
                let builder = thread::Builder::new().name("compile".to_owned()).stack_size(STACK_BYTES);
                started += usize::from(builder.spawn_scoped(scope, || work(sender)).is_ok());
            }
            match started {
                // The system gives no threads: this one has to do.
                0 => work(sender),
                _ => drop(sender),
            }
            for (count, (index, result)) in receiver.iter().enumerate() {
                match result {
                    Ok(compiled) => {
                        wrote |= !compiled.from_cache;
                        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.insert(compiled.kernel.clone(), Arc::new(compiled));
                    }
                    Err(error) => {
                        if first_error.as_ref().is_none_or(|(first, _)| index < *first) {
                            first_error = Some((index, error));
                        }
                    }
                }
                progress(count + 1, kernels.len());
            }
        });
        if wrote {
            self.cache.prune();
        }
        match first_error {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// One kernel, from the cache or by NVRTC.
    fn compile_one(&self, kernel: &Kernel, source: &Source) -> Result<Compiled> {
        let options = nvrtc::options(kernel, self.arch);
        let key = Key::new(source, &options, &self.identity);
        if let Some(cubin) = self.cache.get(key)
            && let Ok(compiled) = Compiled::new(kernel, cubin, true)
        {
            return Ok(compiled);
        }
        let cubin = self.nvrtc.compile(source, &options, &kernel.to_string())?;
        let compiled = Compiled::new(kernel, cubin.clone(), false)?;
        self.cache.put(key, &cubin);
        Ok(compiled)
    }
}

impl Compiled {
    /// What `cubin` says of `kernel`.
    fn new(kernel: &Kernel, cubin: nvrtc::Cubin, from_cache: bool) -> Result<Compiled> {
        let parameters = match cubin::table(&cubin.image) {
            Some(mut table) => Some(table.remove(kernel.entry).ok_or_else(|| {
                Error::internal(format!("kernel {kernel}: {} has no such entry", kernel.file))
            })?),
            None => None,
        };
        let resources = Resources::parse(&cubin.log, kernel.entry);
        let (image, log) = (cubin.image, cubin.log);
        Ok(Compiled { kernel: kernel.clone(), image, resources, parameters, log, from_cache })
    }
}
