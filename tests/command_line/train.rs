//! Train, eval and detect as they are called: a whole run, a killed one, and every refusal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gradpath::data::Image;
use gradpath::train::TrainConfig;
use serde_json::Value;

use super::{fails, gradpath, succeeds, words};

/// A config of a few small steps, in a file.
fn config(folder: &Path, change: impl FnOnce(&mut TrainConfig)) -> String {
    let mut config =
        TrainConfig { size: [64, 64], batch: 4, epochs: 2, scenes: 12, warmup: 2, ..TrainConfig::default() };
    change(&mut config);
    let path = folder.join("config.toml");
    fs::write(&path, config.to_toml().unwrap()).unwrap();
    path.display().to_string()
}

/// A YOLO dataset of `count` pictures of 64×48 with one white square each; `label` is the text of each
/// label file.
fn squares(folder: &Path, count: usize, label: &str) -> PathBuf {
    for split in ["train", "val"] {
        fs::create_dir_all(folder.join("images").join(split)).unwrap();
        fs::create_dir_all(folder.join("labels").join(split)).unwrap();
        for i in 0..count {
            let mut image = Image::filled(64, 48, [40, 60, 80]);
            for y in 12..36 {
                for x in 16..48 {
                    let at = 3 * (y * 64 + x);
                    image.pixels_mut()[at..at + 3].fill(255);
                }
            }
            image.save_png(folder.join(format!("images/{split}/{i}.png"))).unwrap();
            fs::write(folder.join(format!("labels/{split}/{i}.txt")), label).unwrap();
        }
    }
    let yaml = folder.join("data.yaml");
    fs::write(&yaml, "train: images/train\nval: images/val\nnames: [square]\n").unwrap();
    yaml
}

#[test]
fn trains_scores_and_detects() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = config(folder.path(), |_| {});
    let report = succeeds(words(&format!("train --config {config} --out {} --json", at("run"))));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["epochs"].as_array().unwrap().len(), 2);
    let csv = fs::read_to_string(folder.path().join("run/metrics.csv")).unwrap();
    assert_eq!(csv.lines().count(), 3, "{csv}");

    // The scores are those of the run's own last validation, where the last weights are the best.
    let scored = succeeds(words(&format!("eval --weights {} --json", at("run"))));
    let scored: Value = serde_json::from_str(&scored).unwrap();
    assert_eq!(scored["images"], 400);
    let ap50 = scored["summary"]["ap50"].as_f64().unwrap();
    let best = report["ap50"].as_f64().unwrap();
    assert!((ap50 - best).abs() < 1e-9, "{ap50} {best}");
    let table = succeeds(words(&format!("eval --weights {}", at("run"))));
    assert!(table.contains("t-shirt") && table.contains("AP50"), "{table}");

    let picture = folder.path().join("scene.png");
    Image::filled(90, 70, [9, 99, 199]).save_png(&picture).unwrap();
    let picture = picture.display();
    let found = succeeds(words(&format!("detect {picture} --weights {} --threshold 0 --json", at("run"))));
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found[0]["width"], &found[0]["height"]), (&90.into(), &70.into()));
    let detections = found[0]["detections"].as_array().unwrap();
    assert!(!detections.is_empty());
    for d in detections {
        let side = |name: &str| d[name].as_f64().unwrap();
        assert!(side("x0") >= 0.0 && side("x1") <= 90.0 && side("y0") >= 0.0 && side("y1") <= 70.0, "{d}");
    }
    assert!(!folder.path().join("scene.detected.png").exists(), "--json draws nothing unless asked");
    succeeds(words(&format!("detect {picture} --weights {}", at("run/best.safetensors"))));
    let drawn = Image::open(folder.path().join("scene.detected.png")).unwrap();
    assert!(drawn.width() >= 90);
}

#[test]
fn a_killed_run_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = config(folder.path(), |c| c.epochs = 4);
    succeeds(words(&format!("train --config {config} --out {} --json", at("whole").display())));
    let mut run = Command::new(env!("CARGO_BIN_EXE_gradpath"))
        .args(words(&format!("train --config {config} --out {} --json", at("killed").display())))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Killed after its first checkpoint, wherever it then is; the kill is SIGKILL.
    let begun = Instant::now();
    while !at("killed/checkpoint.safetensors").exists() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let whole_before = fs::read(at("whole/last.safetensors")).unwrap();
    succeeds(words(&format!("train --resume {} --json", at("killed").display())));
    for file in ["last.safetensors", "best.safetensors", "checkpoint.safetensors", "metrics.csv"] {
        let same = fs::read(at("whole").join(file)).unwrap() == fs::read(at("killed").join(file)).unwrap();
        assert!(same, "{file} differs");
    }
    assert_eq!(whole_before, fs::read(at("whole/last.safetensors")).unwrap());
    // A run that is over resumes to itself.
    succeeds(words(&format!("train --resume {} --json", at("killed").display())));
    assert_eq!(whole_before, fs::read(at("killed/last.safetensors")).unwrap());
}

#[test]
fn data_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let train = |data: &Path| {
        let sentence = fails(words(&format!(
            "train --data {} --size 64 --batch 2 --epochs 1 --out {} --json",
            data.display(),
            out.display()
        )));
        assert!(!out.exists(), "nothing is left behind: {sentence}");
        sentence
    };
    let sentence = train(&folder.path().join("nowhere"));
    assert!(sentence.contains("nowhere") && sentence.contains("there is no such dataset"), "{sentence}");

    let empty = folder.path().join("empty");
    fs::create_dir_all(&empty).unwrap();
    let sentence = train(&empty);
    assert!(sentence.contains("empty") && sentence.contains("data.yaml"), "{sentence}");

    for (name, label, expected) in [
        ("outside", "0 1.5 1.5 0.2 0.2\n", "0.txt:1"),
        ("flat", "0 0.5 0.5 0 0.2\n", "0.txt:1"),
        ("class", "7 0.5 0.5 0.5 0.5\n", "0.txt:1"),
    ] {
        let data = squares(&folder.path().join(name), 2, label);
        let sentence = train(&data);
        assert!(sentence.contains(expected) && sentence.contains("; "), "{name}: {sentence}");
    }

    let data = squares(&folder.path().join("damaged"), 2, "0 0.5 0.5 0.5 0.5\n");
    let image = folder.path().join("damaged/images/train/1.png");
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() / 2]).unwrap();
    let sentence = train(&data);
    assert!(sentence.contains("images/train/1.png"), "{sentence}");
}

#[test]
fn options_that_cannot_be_used_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").display().to_string();
    let cases = [
        ("--size 100", "not divisible by elan-nano's stride 32; use 96×96"),
        ("--model vgg", "there is no network \"vgg\""),
        ("--batch 0", "the batch must be between 1 and 4096"),
        ("--epochs 0", "at least 1 epoch"),
        ("--lr nan", "the learning rate must be a positive number"),
        ("--lr -1", "the learning rate must be a positive number"),
    ];
    for (options, expected) in cases {
        let sentence = fails(words(&format!("train {options} --out {out}")));
        assert!(sentence.contains(expected), "{options}: {sentence}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let sentence = fails(words(&format!("train --size 64 --out {}/run --json", file.display())));
    assert!(sentence.contains("choose another --out"), "{sentence}");
    let sentence = fails(words(&format!("train --resume {} --json", folder.path().display())));
    assert!(sentence.contains("there is no config.toml"), "{sentence}");
}

#[test]
fn a_loss_that_is_no_number_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |c| {
        c.optimizer = gradpath::train::OptimizerKind::Sgd;
        c.warmup = 0;
    });
    let out = folder.path().join("run");
    let sentence = fails(words(&format!("train --config {config} --lr 1e30 --out {} --json", out.display())));
    assert!(sentence.contains("no longer a number at step") && sentence.contains("--lr"), "{sentence}");
    assert!(!out.join("last.safetensors").exists());
}

#[test]
fn weights_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), |c| c.epochs = 1);
    let run = folder.path().join("run");
    succeeds(words(&format!("train --config {config} --out {} --json", run.display())));
    let weights = fs::read(run.join("best.safetensors")).unwrap();
    let picture = folder.path().join("scene.png");
    Image::filled(64, 64, [9, 99, 199]).save_png(&picture).unwrap();
    let detect = |weights: &Path| {
        fails(words(&format!("detect {} --weights {}", picture.display(), weights.display())))
    };
    let file = folder.path().join("other.safetensors");
    assert!(detect(&file).contains("other.safetensors"));
    fs::write(&file, &weights[..weights.len() - 5]).unwrap();
    assert!(detect(&file).contains("other.safetensors"));
    fs::write(&file, b"PK\x03\x04 something else").unwrap();
    assert!(detect(&file).contains("other.safetensors"));
    fs::copy(run.join("checkpoint.safetensors"), &file).unwrap();
    assert!(detect(&file).contains("holds no gradpath detector"));

    // One tensor of another shape, by the library's own writer.
    let (mut tensors, metadata) = gradpath::format::weights::load(run.join("best.safetensors")).unwrap();
    let name = tensors.keys().find(|n| n.ends_with("gamma")).unwrap().clone();
    tensors.insert(name.clone(), gradpath::tensor::Tensor::zeros(gradpath::tensor::Shape::vector(3)));
    gradpath::format::weights::save(&file, &tensors, &metadata).unwrap();
    let sentence = detect(&file);
    assert!(sentence.contains(&name) && sentence.contains("[1, 1, 1, 3]"), "{sentence}");

    let damaged = folder.path().join("damaged.jpg");
    fs::write(&damaged, b"no picture").unwrap();
    let sentence = fails(words(&format!("detect {} --weights {}", damaged.display(), run.display())));
    assert!(sentence.contains("damaged.jpg"), "{sentence}");
    let output = gradpath(words(&format!("eval --weights {}", folder.path().display())));
    assert_eq!(output.status.code(), Some(1));
}
