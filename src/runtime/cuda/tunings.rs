//! Which tile was measured to be the fastest for which operation, on disk: beside the compiled kernels, one
//! readable file a device.
//!
//! A tuning is found again by what was measured (an op with all that is fused into it, and how each operand
//! lies) and holds for the kernel sources and the NVRTC version that it was measured with, the device's name,
//! architecture and size. The driver's version is left out: what runs is machine code, which no driver changes.
//! A file that is damaged is as good as none, with a warning: nothing that happens to it is an error.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::launch::Target;
use super::sources::Source;
use crate::format::atomic::write_atomically;
use crate::{Error, Result};

/// The version of the file's form.
const FORMAT: u32 = 1;
/// More bytes than a file of tunings has: it is something else.
const LARGEST: u64 = 16 << 20;
/// The end of a file's name.
const EXTENSION: &str = "tunings.json";

/// The fastest tile of one operation, as it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The tile, by the name that its op has for it.
    pub tile: String,
    /// What it took: microseconds.
    pub microseconds: f64,
    /// What the tile takes that is chosen without measuring: microseconds.
    pub usual_microseconds: f64,
    /// The [`fingerprint`](Fingerprints::of) of the kernels that were measured.
    pub kernels: String,
}

/// All that is known of a device, as of now: plain data, to compile programs with.
#[derive(Debug, Default)]
pub struct Tunings {
    entries: BTreeMap<String, Tuning>,
    fingerprints: Fingerprints,
}

impl Tunings {
    /// What was measured of the operation `key`, where its kernels are still made of `files` and its candidates
    /// are `tiles`; `None` where nothing was.
    pub fn get(&self, key: &str, files: &[&'static str], tiles: &[String]) -> Option<&Tuning> {
        let tuning = self.entries.get(key)?;
        let now = self.fingerprints.of(files, tiles).ok()?;
        (tuning.kernels == now && tiles.contains(&tuning.tile)).then_some(tuning)
    }

    /// How many there are, those of other kernels included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was ever measured.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What a measurement is of, in a word: each kernel file with its headers, the compiler's version, and which tiles
/// were measured.
#[derive(Debug, Default)]
pub struct Fingerprints {
    nvrtc: (u32, u32),
    /// Of files alone.
    known: Mutex<HashMap<Vec<&'static str>, [u8; 32]>>,
}

impl Fingerprints {
    /// Of kernels that NVRTC `nvrtc` (major, minor) compiles.
    pub fn new(nvrtc: (u32, u32)) -> Self {
        Fingerprints { nvrtc, known: Mutex::default() }
    }

    /// The fingerprint of the kernel `files` cut into `tiles`: the first 16 digits of a SHA-256.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn of(&self, files: &[&'static str], tiles: &[String]) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.of_files(files)?);
        tiles.iter().for_each(|tile| text(&mut hash, tile));
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    fn of_files(&self, files: &[&'static str]) -> Result<[u8; 32]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(files) {
            return Ok(*found);
        }
        let mut hash = Sha256::new();
        text(&mut hash, &format!("{}.{}", self.nvrtc.0, self.nvrtc.1));
        for file in files {
            let source = Source::load(file)?;
            text(&mut hash, &source.name);
            text(&mut hash, &source.text);
            for (name, header) in &source.headers {
                text(&mut hash, name);
                text(&mut hash, header);
            }
        }
        let digest = hash.finalize().into();
        known.insert(files.to_vec(), digest);
        Ok(digest)
    }
}

/// Adds `text` to `hash`, with its length: no two lists of texts are the same bytes.
fn text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// The file, as it is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    format: u32,
    device: String,
    tunings: BTreeMap<String, Tuning>,
}

/// The tunings of one device, and the file that keeps them.
#[derive(Debug)]
pub struct TuningStore {
    file: Option<PathBuf>,
    device: String,
    nvrtc: (u32, u32),
    known: Mutex<Arc<Tunings>>,
    warnings: Mutex<Vec<String>>,
}

impl TuningStore {
    /// Those of the device `name` of `target`'s architecture and size, in `folder` (`None`: they are not
    /// kept), measured with NVRTC `nvrtc` (major, minor).
    pub fn open(folder: Option<&Path>, name: &str, target: &Target, nvrtc: (u32, u32)) -> Self {
        let Target { arch, multiprocessors, shared_bytes, map: _ } = *target;
        let device = format!(
            "{name}, sm_{arch}, {multiprocessors} multiprocessors, {shared_bytes} bytes of shared memory a block"
        );
        let file = folder.map(|folder| {
            folder.join(format!("{}-sm_{arch}-{multiprocessors}.{EXTENSION}", file_name(name)))
        });
        let store = TuningStore { file, device, nvrtc, known: Mutex::default(), warnings: Mutex::default() };
        let entries = store.read();
        store.know(entries);
        store
    }

    /// The file, where there is a folder for it.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is known now.
    pub fn known(&self) -> Arc<Tunings> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What tells kernels of `files`, cut into `tiles`, as they are now from others: what a [`Tuning`] is kept with.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn fingerprint(&self, files: &[&'static str], tiles: &[String]) -> Result<String> {
        self.known().fingerprints.of(files, tiles)
    }

    /// What went wrong since the last call, each once.
    pub fn take_warnings(&self) -> Vec<String> {
        mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps `new` beside what is known, and beside what other processes have added to the file meanwhile.
    pub fn add(&self, new: BTreeMap<String, Tuning>) {
        if new.is_empty() {
            return;
        }
        let mut entries = self.known().entries.clone();
        // Held until the file is written: nobody adds to it between the reading and the writing.
        let _lock = self.file.as_deref().and_then(lock);
        entries.extend(self.read());
        entries.extend(new);
        if let Some(file) = &self.file {
            let contents = Contents { format: FORMAT, device: self.device.clone(), tunings: entries.clone() };
            if let Err(error) = write(file, &contents) {
                self.warn(format!("the measured tiles are not kept: {error}"));
            }
        }
        self.know(entries);
    }

    fn know(&self, entries: BTreeMap<String, Tuning>) {
        let tunings = Tunings { entries, fingerprints: Fingerprints::new(self.nvrtc) };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(tunings);
    }

    /// What the file has of this device; nothing where it is of another one or damaged.
    fn read(&self) -> BTreeMap<String, Tuning> {
        let Some(path) = &self.file else { return BTreeMap::new() };
        let Ok(file) = File::open(path) else { return BTreeMap::new() };
        let mut bytes = Vec::new();
        let read = file.take(LARGEST).read_to_end(&mut bytes).ok();
        match read.and_then(|_| parse(&bytes)) {
            Some(contents) if contents.device == self.device => contents.tunings,
            Some(_) => BTreeMap::new(),
            None => {
                self.warn(format!(
                    "{} is damaged, so its tiles are not used; --autotune measures them again",
                    path.display()
                ));
                BTreeMap::new()
            }
        }
    }

    fn warn(&self, warning: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// The contents in `bytes`; `None` where they are anything else.
fn parse(bytes: &[u8]) -> Option<Contents> {
    let contents: Contents = serde_json::from_slice(bytes).ok()?;
    (contents.format == FORMAT).then_some(contents)
}

fn write(path: &Path, contents: &Contents) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, "the folder cannot be made").caused_by(e))?;
    }
    let text = serde_json::to_string_pretty(contents)
        .map_err(|e| Error::internal("tunings could not be put into JSON").caused_by(e))?;
    write_atomically(path, |file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    })
}

/// The sole right to change `path`, as long as the result lives. A file system without locks gives none, and
/// two processes that tune at once may then lose one's measurements.
fn lock(path: &Path) -> Option<File> {
    fs::create_dir_all(path.parent()?).ok()?;
    let file = File::options().create(true).append(true).open(path.with_extension("lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// `name` in letters that every file system takes.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

#[cfg(test)]
#[path = "tunings_tests.rs"]
mod tests;
