//! Finding out what kind of dataset a name or a path is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::wardrobe::Wardrobe;
use super::{Dataset, Split, coco, voc, yolo};
use crate::{Error, Result};

/// How a dataset is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The share of boxes (0 to 1) that may be bad: of no area, outside their image, or sticking
    /// out of it by more than a pixel. Up to this share, bad boxes are skipped (or clipped, where
    /// some of them lies inside) and reported as warnings; above it, the dataset is refused with
    /// the first bad box named.
    pub forgive: f32,
    /// The wardrobe's seed.
    pub seed: u64,
    /// The number of scenes in the wardrobe's split; `None`: 2000 to train on, 400 to score on.
    pub scenes: Option<usize>,
    /// Width and height of the wardrobe's scenes, in pixels.
    pub scene_size: usize,
}

impl Default for OpenOptions {
    /// One box in a hundred may be bad; scenes of 160 pixels.
    fn default() -> Self {
        OpenOptions { forgive: 0.01, seed: 0, scenes: None, scene_size: 160 }
    }
}

/// Opens one split of the dataset that `spec` names: `wardrobe`, or the path of
///
/// * a VOC folder (it has `Annotations/`),
/// * a YOLO `.yaml` file, or a folder with a `data.yaml`,
/// * a COCO `.json` file, or a folder with `annotations/*.json` or `train/_annotations.coco.json`.
///
/// # Errors
/// Where there is no such dataset, or it cannot be used: see the formats' own modules.
pub fn open(spec: &str, split: Split, options: &OpenOptions) -> Result<Arc<dyn Dataset>> {
    if spec == "wardrobe" {
        let default = if split == Split::Train { 2000 } else { 400 };
        let scenes = options.scenes.unwrap_or(default);
        return Ok(Arc::new(Wardrobe::new(split, options.seed, scenes, options.scene_size)?));
    }
    let path = Path::new(spec);
    if !path.exists() {
        let fix = "give the path of a VOC, YOLO or COCO dataset, or `wardrobe` for the built-in one";
        return Err(Error::file(path, "there is no such dataset").fix(fix));
    }
    if path.is_file() {
        return match path.extension().and_then(|e| e.to_str()) {
            Some("yaml" | "yml") => Ok(Arc::new(yolo::open(path, split, options)?)),
            Some("json") => Ok(Arc::new(coco::open_file(path, split, options)?)),
            _ => {
                let fix = "give a YOLO .yaml, a COCO .json or a folder";
                Err(Error::file(path, "is not a dataset's description").fix(fix))
            }
        };
    }
    if path.join("Annotations").is_dir() {
        return Ok(Arc::new(voc::open(path, split, options)?));
    }
    if let Some(yaml) = find_yaml(path) {
        return Ok(Arc::new(yolo::open(yaml, split, options)?));
    }
    if path.join("annotations").is_dir() || path.join("train/_annotations.coco.json").is_file() {
        return Ok(Arc::new(coco::open_folder(path, split, options)?));
    }
    let message = "is no dataset known here (looked for Annotations/ of VOC, data.yaml of YOLO, \
                   annotations/*.json and train/_annotations.coco.json of COCO)";
    Err(Error::file(path, message).fix("give the folder that holds one of them"))
}

/// `data.yaml`, or the only yaml file of a folder.
fn find_yaml(folder: &Path) -> Option<PathBuf> {
    for name in ["data.yaml", "data.yml"] {
        let path = folder.join(name);
        if path.is_file() {
            return Some(path);
        }
    }
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let mut found = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(is_yaml);
    match (found.next(), found.next()) {
        (Some(path), None) => Some(path),
        _ => None,
    }
}

/// Checks that two splits number the same classes alike.
///
/// # Errors
/// Where they do not.
pub fn check_same_classes(train: &dyn Dataset, val: &dyn Dataset) -> Result<()> {
    let (a, b) = (train.class_names(), val.class_names());
    if a == b {
        return Ok(());
    }
    let (train, val) = (train.name(), val.name());
    let message = format!("{train} has the classes {}, but {val} has {}", a.join(", "), b.join(", "));
    Err(Error::invalid(message).fix("give both splits the same list of classes"))
}
