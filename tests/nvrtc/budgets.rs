//! What all kernels take on every architecture, as it was found when all were compiled: `budgets.csv`, a row for
//! each kernel file and architecture.
//!
//! A row's hash is over all specialisations of the file: its text and its headers', and each one's options. Where it
//! is the same, the kernels are those that were compiled, and a sample will do; where it is not, all of the file's
//! are compiled until the record is renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use gradpath::format::csv;
use gradpath::runtime::cuda::{Kernel, Source};
use sha2::{Digest, Sha256};

/// What the kernels of one file take on one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// The NVRTC that compiled them, as `13.0`.
    pub nvrtc: String,
    /// Specialisations.
    pub kernels: usize,
    /// The most registers of a thread.
    pub registers: u32,
    /// The most bytes of shared memory of a block, static and dynamic.
    pub shared_bytes: u32,
    /// Bytes of registers that are spilled: 0 always.
    pub spill_bytes: u32,
    /// What the specialisations are, in 16 digits.
    pub hash: String,
}

impl Budget {
    /// Adds what one more kernel takes.
    pub fn include(&mut self, registers: u32, shared_bytes: u32, spill_bytes: u32) {
        self.registers = self.registers.max(registers);
        self.shared_bytes = self.shared_bytes.max(shared_bytes);
        self.spill_bytes = self.spill_bytes.max(spill_bytes);
    }
}

/// How much of a kernel file is compiled for an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: the record knows nothing of these kernels.
    All,
    /// A sample, which must stay within the record.
    Sample,
    /// A sample, by another NVRTC than the record's: its numbers are its own.
    OtherCompiler,
}

/// The rows, by file and architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record(pub BTreeMap<(String, u32), Budget>);

const HEADER: [&str; 8] =
    ["file", "architecture", "nvrtc", "kernels", "registers", "shared_bytes", "spill_bytes", "hash"];

impl Record {
    /// The record that is committed.
    ///
    /// # Panics
    /// Where it is damaged, with the line.
    pub fn committed() -> Self {
        Self::load(&path()).unwrap_or_else(|reason| panic!("tests/nvrtc/budgets.csv, {reason}"))
    }

    fn load(path: &Path) -> Result<Self, String> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(&HEADER.join(",")) {
            return Err(format!("line 1: the columns are not {}", HEADER.join(",")));
        }
        let mut rows = BTreeMap::new();
        for (index, line) in lines {
            let row =
                Self::parse_row(line).ok_or_else(|| format!("line {}: {line:?} is no row", index + 1))?;
            if rows.insert(row.0, row.1).is_some() {
                return Err(format!("line {}: a second row for the same kernels", index + 1));
            }
        }
        Ok(Record(rows))
    }

    fn parse_row(line: &str) -> Option<((String, u32), Budget)> {
        let fields: Vec<&str> = line.split(',').collect();
        let &[file, architecture, nvrtc, kernels, registers, shared_bytes, spill_bytes, hash] = &fields[..]
        else {
            return None;
        };
        let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let budget = Budget {
            nvrtc: nvrtc.to_owned(),
            kernels: kernels.parse().ok()?,
            registers: registers.parse().ok()?,
            shared_bytes: shared_bytes.parse().ok()?,
            spill_bytes: spill_bytes.parse().ok()?,
            hash: hash.to_owned(),
        };
        (is_hash && file.ends_with(".cu")).then_some(((file.to_owned(), architecture.parse().ok()?), budget))
    }

    fn save(&self, path: &Path) {
        let row = |((file, architecture), b): (&(String, u32), &Budget)| {
            vec![
                file.clone(),
                architecture.to_string(),
                b.nvrtc.clone(),
                b.kernels.to_string(),
                b.registers.to_string(),
                b.shared_bytes.to_string(),
                b.spill_bytes.to_string(),
                b.hash.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.0.iter().map(row).collect();
        csv::save(path, &HEADER, &rows).unwrap();
    }

    /// How much of `file` has to be compiled for `architecture` by `nvrtc`, where its kernels are those of `hash`.
    pub fn extent(&self, file: &str, architecture: u32, nvrtc: &str, hash: &str) -> Extent {
        match self.0.get(&(file.to_owned(), architecture)) {
            Some(budget) if budget.hash != hash => Extent::All,
            Some(budget) if budget.nvrtc == nvrtc => Extent::Sample,
            Some(_) => Extent::OtherCompiler,
            None => Extent::All,
        }
    }

    /// What of a sample's `budget` is beyond the record of all.
    pub fn exceeded(&self, file: &str, architecture: u32, budget: &Budget) -> Option<String> {
        let all = self.0.get(&(file.to_owned(), architecture))?;
        let within = budget.registers <= all.registers
            && budget.shared_bytes <= all.shared_bytes
            && budget.spill_bytes <= all.spill_bytes;
        (!within)
            .then(|| format!("{file} on sm_{architecture}: {budget:?} is beyond what is recorded, {all:?}"))
    }

    /// Takes over the rows of `architecture`: those of `budgets`, and, where these are of all files, no others.
    fn renew(&mut self, architecture: u32, budgets: BTreeMap<String, Budget>, all_files: bool) {
        self.0.retain(|(_, row), _| !all_files || *row != architecture);
        self.0.extend(budgets.into_iter().map(|(file, budget)| ((file, architecture), budget)));
    }
}

/// Writes the rows of `architecture` into the record that is committed, each architecture's test its own.
pub fn renew(architecture: u32, budgets: BTreeMap<String, Budget>, all_files: bool) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut record = Record::committed();
    record.renew(architecture, budgets, all_files);
    record.save(&path());
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvrtc/budgets.csv")
}

/// What `kernels`, all of one file, are: of everything but the compiler that an image depends on.
pub fn hash(kernels: &BTreeSet<Kernel>, options: impl Fn(&Kernel) -> Vec<String>) -> String {
    let mut hash = Sha256::new();
    // Lengths in between: no two lists of texts are the same bytes.
    let mut text = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for (index, kernel) in kernels.iter().enumerate() {
        if index == 0 {
            let source = Source::load(kernel.file).unwrap();
            text(&source.text);
            for (name, header) in &source.headers {
                text(name);
                text(header);
            }
        }
        text(kernel.entry);
        options(kernel).iter().for_each(|option| text(option));
        text("");
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn budget(registers: u32) -> Budget {
        let (nvrtc, hash) = ("13.0".to_owned(), "0123456789abcdef".to_owned());
        Budget { nvrtc, kernels: 12, registers, shared_bytes: 49_152, spill_bytes: 0, hash }
    }

    fn record() -> Record {
        let mut record = Record::default();
        record.renew(80, BTreeMap::from([("a.cu".to_owned(), budget(128))]), true);
        record.renew(
            90,
            BTreeMap::from([("b.cu".to_owned(), budget(64)), ("a.cu".to_owned(), budget(72))]),
            true,
        );
        record
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("budgets.csv");
        assert_eq!(Record::load(&path).unwrap(), Record::default(), "no file is no row");
        record().save(&path);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().nth(1), Some("a.cu,80,13.0,12,128,49152,0,0123456789abcdef"));
        assert_eq!(text.lines().count(), 4);
        assert_eq!(Record::load(&path).unwrap(), record());
    }

    #[test]
    fn damage_is_named_by_its_line() {
        let row = "a.cu,80,13.0,12,128,49152,0,0123456789abcdef";
        let columns = HEADER.join(",");
        assert!(Record::parse(&format!("{columns}\n{row}\n")).is_ok());
        for (text, line) in [
            (String::new(), "line 1"),
            (row.to_owned(), "line 1"),
            (format!("{columns}\n{row},1\n"), "line 2"),
            (format!("{columns}\n{}\n", row.replace("128", "many")), "line 2"),
            (format!("{columns}\n{}\n", row.replace("cdef", "")), "line 2"),
            (format!("{columns}\n{}\n", row.replace(".cu", "")), "line 2"),
            (format!("{columns}\n{row}\n{row}\n"), "line 3"),
        ] {
            let reason = Record::parse(&text).unwrap_err();
            assert!(reason.starts_with(line), "{text}: {reason}");
        }
    }

    #[test]
    fn what_the_record_does_not_know_is_compiled_in_full() {
        let record = record();
        let extent = |file, architecture, nvrtc, hash| record.extent(file, architecture, nvrtc, hash);
        let hash = "0123456789abcdef";
        assert_eq!(extent("a.cu", 80, "13.0", hash), Extent::Sample);
        assert_eq!(extent("a.cu", 80, "13.1", hash), Extent::OtherCompiler);
        assert_eq!(extent("a.cu", 80, "13.0", "0123456789abcdee"), Extent::All);
        assert_eq!(extent("a.cu", 80, "13.1", "0123456789abcdee"), Extent::All);
        assert_eq!(extent("b.cu", 80, "13.0", hash), Extent::All);
        assert_eq!(extent("c.cu", 90, "13.0", hash), Extent::All);
    }

    #[test]
    fn a_sample_may_not_exceed_the_record() {
        let record = record();
        assert_eq!(record.exceeded("a.cu", 90, &budget(72)), None);
        assert_eq!(record.exceeded("a.cu", 90, &Budget { shared_bytes: 1, ..budget(3) }), None);
        for more in [
            budget(73),
            Budget { shared_bytes: 49_153, ..budget(72) },
            Budget { spill_bytes: 4, ..budget(72) },
        ] {
            assert!(record.exceeded("a.cu", 90, &more).unwrap().starts_with("a.cu on sm_90"));
        }
    }

    #[test]
    fn renewing_leaves_other_architectures() {
        let mut some = record();
        some.renew(90, BTreeMap::from([("a.cu".to_owned(), budget(99))]), false);
        assert_eq!(some.0.len(), 3, "b.cu was not compiled again");
        assert_eq!(some.0[&("a.cu".to_owned(), 90)].registers, 99);
        let mut all = record();
        all.renew(90, BTreeMap::from([("a.cu".to_owned(), budget(99))]), true);
        assert_eq!(all.0.len(), 2, "b.cu is there no more");
        assert_eq!(all.0[&("a.cu".to_owned(), 80)], budget(128));
    }

    #[test]
    fn a_hash_is_of_every_option() {
        let kernel = |value: &str| Kernel {
            file: "probe.cu",
            entry: "probe",
            defines: BTreeMap::from([("X_TYPE", value.to_owned())]),
            is_specific: false,
        };
        let of = |kernels: &[Kernel], arch: u32| {
            hash(&kernels.iter().cloned().collect(), |kernel| crate::options(kernel, arch))
        };
        let (a, b) = (kernel("f32"), kernel("f16"));
        let hashes = [
            of(slice::from_ref(&a), 80),
            of(slice::from_ref(&a), 90),
            of(slice::from_ref(&b), 80),
            of(&[a.clone(), b.clone()], 80),
            of(&[Kernel { entry: "other", ..a.clone() }], 80),
            of(&[Kernel { file: "add.cu", ..a.clone() }], 80),
        ];
        assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), hashes.len());
        assert_eq!(of(&[a.clone(), b.clone()], 80), of(&[b, a], 80));
    }
}
