//! Training end to end on a handful of wardrobe scenes.

use super::*;
use crate::device::Device;

struct Silent;
impl Observer for Silent {}

/// Two scenes' worth of training: small, but all of it.
fn tiny() -> TrainConfig {
    TrainConfig { size: [64, 64], batch: 4, epochs: 2, scenes: 16, warmup: 2, ..TrainConfig::default() }
}

#[test]
fn a_run_leaves_its_files_and_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu(2).unwrap();
    let whole = folder.path().join("whole");
    let outcome = Trainer::new(tiny(), device.clone(), &whole).unwrap().run(&mut Silent).unwrap();
    assert_eq!(outcome.metrics.len(), 2);
    let files = [
        "config.toml",
        "metrics.csv",
        "best.safetensors",
        "last.safetensors",
        "curves.png",
        "validation.png",
    ];
    for file in files {
        assert!(whole.join(file).is_file(), "{file}");
    }

    // The first epoch alone, as a run that was killed after it leaves it: the config says 2 epochs.
    struct StopAfterOne(usize);
    impl Observer for StopAfterOne {
        fn epoch(&mut self, epoch: usize, _steps: usize) {
            self.0 = epoch;
            assert!(epoch < 2, "stop here");
        }
    }
    let cut = folder.path().join("cut");
    let trainer = Trainer::new(tiny(), device.clone(), &cut).unwrap();
    let stopped =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trainer.run(&mut StopAfterOne(0))));
    assert!(stopped.is_err());
    let resumed = Trainer::resume(RunFolder::open(&cut).unwrap(), device).unwrap();
    assert_eq!(resumed.epochs_done(), 1);
    resumed.run(&mut Silent).unwrap();
    for file in ["best.safetensors", "last.safetensors", "checkpoint.safetensors", "metrics.csv"] {
        let read = |run: &std::path::Path| std::fs::read(run.join(file)).unwrap();
        assert!(read(&whole) == read(&cut), "{file} differs after a resume");
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { rate: 1e30, warmup: 0, ..tiny() };
    let trainer = Trainer::new(config, Device::cpu(1).unwrap(), &folder.path().join("run")).unwrap();
    let error = trainer.run(&mut Silent).unwrap_err().to_string();
    assert!(error.contains("no longer a number at step") && error.contains("--lr"), "{error}");
}

#[test]
fn configs_round_trip_and_name_what_is_wrong() {
    let text = TrainConfig::default().to_toml().unwrap();
    assert_eq!(TrainConfig::from_toml(&text).unwrap(), TrainConfig::default());
    let error = TrainConfig::from_toml(&text.replace("batch = 16", "batch = 0")).unwrap_err().to_string();
    assert!(error.contains("the batch must be between 1 and 4096"), "{error}");
}
