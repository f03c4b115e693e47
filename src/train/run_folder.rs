//! What a training leaves behind, in one folder.
//!
//! | file | what |
//! | --- | --- |
//! | `config.toml` | everything that the training depends on |
//! | `metrics.csv` | one row an epoch |
//! | `best.safetensors`, `last.safetensors` | averaged weights, for `eval` and `detect` |
//! | `checkpoint.safetensors` | everything that `--resume` needs |
//! | `curves.png` | losses and average precision over the epochs |
//! | `validation.png` | detections beside the truth |
//!
//! Every file is written whole under another name and then renamed, so a run that is killed leaves
//! nothing half-written.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainConfig;
use crate::format::atomic::write_atomically;
use crate::format::weights;
use crate::report::{EpochRecord, training_curves};
use crate::tensor::Tensor;
use crate::{Error, Result};

/// One epoch's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Steps done so far.
    pub steps: usize,
    /// The learning rate of the last step.
    pub rate: f64,
    /// The mean box loss, weighted.
    pub box_loss: f64,
    /// The mean objectness loss, weighted.
    pub objectness: f64,
    /// The mean class loss, weighted.
    pub class: f64,
    /// The mean of their sum.
    pub total: f64,
    /// AP at IoU 0.5 on the validation images, where they were scored.
    pub ap50: Option<f64>,
    /// AP over IoU 0.5 to 0.95.
    pub ap: Option<f64>,
}

/// What a run goes on from.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Everything kept between steps, by name.
    pub state: BTreeMap<String, Tensor>,
    /// The epochs that were done.
    pub metrics: Vec<EpochMetrics>,
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The folders that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

impl RunFolder {
    /// The folder of a new run, not made yet.
    ///
    /// # Errors
    /// Where it holds a run already.
    pub fn planned(path: &Path) -> Result<Self> {
        if path.join("config.toml").exists() {
            let fix = "go on with --resume, or choose another --out";
            return Err(Error::file(path, "holds a run already").fix(fix));
        }
        Ok(RunFolder { path: path.to_owned(), made: Vec::new() })
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// Where it cannot be made or written to.
    pub fn create(&mut self) -> Result<()> {
        let missing = self.path.ancestors().filter(|path| !path.as_os_str().is_empty() && !path.exists());
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        self.made = missing;
        std::fs::create_dir_all(&self.path).map_err(|e| {
            Error::file(&self.path, "cannot make the run's folder").caused_by(e).fix("choose another --out")
        })?;
        // Find out now, not after an epoch, that nothing can be written here.
        let probe = self.file(".writable");
        write_atomically(&probe, |_| Ok(())).map_err(|e| e.fix("choose another --out"))?;
        std::fs::remove_file(&probe).map_err(|e| Error::file(&probe, "cannot be removed").caused_by(e))
    }

    /// Takes back what a run that did nothing has left: its config, and the folders that were made for it, as far
    /// as nothing else is in them.
    pub fn discard(&self) {
        // What cannot be removed stays: the error that ended the run is the one to tell.
        let _ = std::fs::remove_file(self.file("config.toml"));
        for folder in self.made.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }

    /// The folder of a run that was begun.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("config.toml").is_file() {
            return Err(Error::file(path, "holds no run: there is no config.toml in it")
                .fix("give --resume the folder of a run"));
        }
        Ok(RunFolder { path: path.to_owned(), made: Vec::new() })
    }

    /// The first of `base`, `base-2`, `base-3`, … that does not exist.
    pub fn fresh(base: &Path) -> PathBuf {
        let name = base.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = (2..).map(|i| base.with_file_name(format!("{name}-{i}")));
        std::iter::once(base.to_owned())
            .chain(numbered)
            .find(|p| !p.exists())
            .unwrap_or_else(|| base.to_owned())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_config(&self, config: &TrainConfig) -> Result<()> {
        let text = config.to_toml()?;
        write_atomically(self.file("config.toml"), |w| w.write_all(text.as_bytes()))
    }

    /// Reads `config.toml`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read_config(&self) -> Result<TrainConfig> {
        TrainConfig::load(&self.file("config.toml"))
    }

    /// Writes `metrics.csv` and `curves.png`.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write_metrics(&self, title: &str, metrics: &[EpochMetrics]) -> Result<()> {
        let optional = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.6}"));
        write_atomically(self.file("metrics.csv"), |w: &mut dyn Write| {
            writeln!(w, "epoch,steps,rate,box_loss,objectness_loss,class_loss,total_loss,ap50,ap")?;
            for m in metrics {
                writeln!(
                    w,
                    "{},{},{:.6e},{:.6},{:.6},{:.6},{:.6},{},{}",
                    m.epoch,
                    m.steps,
                    m.rate,
                    m.box_loss,
                    m.objectness,
                    m.class,
                    m.total,
                    optional(m.ap50),
                    optional(m.ap)
                )?;
            }
            Ok(())
        })?;
        let records: Vec<EpochRecord> = metrics
            .iter()
            .map(|m| EpochRecord {
                epoch: m.epoch as u64,
                box_loss: m.box_loss,
                objectness_loss: m.objectness,
                class_loss: m.class,
                total_loss: m.total,
                ap50: m.ap50,
                ap: m.ap,
            })
            .collect();
        training_curves(self.file("curves.png"), title, &records)
    }

    /// Writes `checkpoint.safetensors`: everything between two epochs.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_checkpoint(&self, state: &BTreeMap<String, Tensor>, metrics: &[EpochMetrics]) -> Result<()> {
        let history = serde_json::to_string(metrics)
            .map_err(|e| Error::internal("the metrics cannot be written").caused_by(e))?;
        let metadata =
            BTreeMap::from([("format".to_owned(), CHECKPOINT.to_owned()), ("metrics".to_owned(), history)]);
        weights::save(self.file("checkpoint.safetensors"), state, &metadata)
    }

    /// Reads the checkpoint; `None` where the run was stopped before its first.
    ///
    /// # Errors
    /// Where it is damaged or foreign.
    pub fn read_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let path = self.file("checkpoint.safetensors");
        if !path.exists() {
            return Ok(None);
        }
        let (state, metadata) = weights::load(&path)?;
        let metrics = (metadata.get("format").map(String::as_str) == Some(CHECKPOINT))
            .then(|| metadata.get("metrics"))
            .flatten()
            .and_then(|text| serde_json::from_str::<Vec<EpochMetrics>>(text).ok());
        match metrics {
            Some(metrics) => Ok(Some(Checkpoint { state, metrics })),
            None => {
                Err(Error::file(&path, "is no checkpoint of gradpath").fix("train again without --resume"))
            }
        }
    }
}

const CHECKPOINT: &str = "gradpath checkpoint 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_nothing_is_taken_back_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let begin = |path: &str| {
            let mut folder = RunFolder::planned(&root.path().join(path)).unwrap();
            folder.create().unwrap();
            folder.write_config(&TrainConfig::default()).unwrap();
            assert!(folder.file("config.toml").is_file());
            folder
        };
        begin("runs/a").discard();
        assert!(!root.path().join("runs").exists(), "both were made for it");
        // What was there stays, and so does a folder with something in it.
        std::fs::create_dir(root.path().join("mine")).unwrap();
        begin("mine").discard();
        begin("mine/runs/a").discard();
        assert_eq!(std::fs::read_dir(root.path().join("mine")).unwrap().count(), 0);
        let other = begin("runs/b");
        std::fs::write(root.path().join("runs/notes.txt"), "mine").unwrap();
        other.discard();
        assert!(!other.path().exists() && root.path().join("runs/notes.txt").is_file());
    }
}
