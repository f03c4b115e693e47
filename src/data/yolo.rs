//! YOLO folders: a `data.yaml` that names classes and image folders, and beside each `images/` a
//! `labels/` with one text file per image, its lines `class centre_x centre_y width height` in
//! shares of the image's size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::photos::{Checks, Photo, file_name, in_parallel, is_image, read_text};
use super::{Bounds, Image, Object, OpenOptions, Photos, Split};
use crate::{Error, Result};

/// The parts of a `data.yaml` that say where things are; its other keys are ignored.
#[derive(Deserialize)]
struct Description {
    path: Option<PathBuf>,
    train: Option<OneOrMany>,
    #[serde(alias = "valid")]
    val: Option<OneOrMany>,
    names: Option<Names>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Map(BTreeMap<usize, String>),
}

/// Opens one split of the dataset that a `data.yaml` describes.
///
/// An image without a label file has no objects. Images are taken in the order of their paths.
///
/// # Errors
/// Where the description or a label file does not parse, a folder or an image is missing, a class
/// is out of range, or more boxes than [`OpenOptions::forgive`] allows are bad.
pub fn open(data_yaml: impl AsRef<Path>, split: Split, options: &OpenOptions) -> Result<Photos> {
    let yaml = data_yaml.as_ref();
    let text = read_text(yaml)?;
    let description: Description = serde_saphyr::from_str(&text).map_err(|e| {
        let line = e.location().map_or(1, |l| l.line() as usize);
        // Only the message: the snippet that follows it would take several lines.
        let message = e.without_snippet().to_string().trim().replace('\n', " ");
        let fix = "write `names:`, `train:` and `val:` as the YOLO format has them";
        Error::file(yaml, format!("does not parse ({message})")).line(line).fix(fix)
    })?;
    let classes = class_names(yaml, description.names)?;
    let sources = match split {
        Split::Train => description.train,
        Split::Val => description.val,
    };
    let sources = match sources {
        Some(OneOrMany::One(path)) => vec![path],
        Some(OneOrMany::Many(paths)) => paths,
        None => {
            let key = split.name();
            let fix = format!("add `{key}:` with the folder of its images");
            return Err(Error::file(yaml, format!("`{key}` is missing")).fix(fix));
        }
    };
    let mut images = Vec::new();
    for source in &sources {
        let place = locate(yaml, description.path.as_deref(), source, split)?;
        images.extend(list_images(&place)?);
    }
    images.sort();
    images.dedup();
    let read = in_parallel(&images, |image| read_labels(image, &classes))?;
    let (mut photos, mut checks) = (Vec::with_capacity(read.len()), Checks::default());
    for (photo, found) in read {
        photos.push(photo);
        checks.merge(found);
    }
    let folder = yaml.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    let name = format!("{} {}", folder.unwrap_or_else(|| file_name(yaml)), split.name());
    Photos::new(yaml, name, classes, photos, checks.settle(options.forgive)?)
}

fn class_names(yaml: &Path, names: Option<Names>) -> Result<Vec<String>> {
    let bad =
        |message: String| Error::file(yaml, message).fix("list the classes under `names:`, numbered from 0");
    match names {
        None => Err(bad("`names` is missing".into())),
        Some(Names::List(names)) if names.is_empty() => Err(bad("`names` is empty".into())),
        Some(Names::List(names)) => Ok(names),
        Some(Names::Map(names)) => match names.keys().copied().enumerate().find(|(i, key)| i != key) {
            Some((i, key)) => Err(bad(format!("`names` jumps to {key} where {i} was due"))),
            None if names.is_empty() => Err(bad("`names` is empty".into())),
            None => Ok(names.into_values().collect()),
        },
    }
}

/// The folder or list that `train:` or `val:` means: below `path:`, or beside the yaml file, or,
/// as one labelling service writes it, one `../` too high.
fn locate(yaml: &Path, base: Option<&Path>, source: &Path, split: Split) -> Result<PathBuf> {
    let beside = yaml.parent().unwrap_or(Path::new(""));
    let below = base.map(|base| beside.join(base).join(source));
    let lowered = source.strip_prefix("..").ok().map(|source| beside.join(source));
    let tried: Vec<PathBuf> = below.into_iter().chain([beside.join(source)]).chain(lowered).collect();
    tried.iter().find(|path| path.exists()).cloned().ok_or_else(|| {
        let places: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
        let message = format!("`{}` leads to nothing (looked for {})", split.name(), places.join(", "));
        Error::file(yaml, message).fix("correct the path, or put the images there")
    })
}

/// The images below a folder, or those that a text file lists.
fn list_images(place: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    if place.is_dir() {
        let mut folders = vec![place.to_owned()];
        while let Some(folder) = folders.pop() {
            let failed =
                |e| Error::file(&folder, "the folder cannot be read").caused_by(e).fix("check its rights");
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                // A link to a folder is not followed: it could lead in a circle.
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if is_image(&path) {
                    images.push(path);
                }
            }
        }
        if images.is_empty() {
            return Err(Error::file(place, "holds no image").fix("put JPEG, PNG or BMP files there"));
        }
        return Ok(images);
    }
    let beside = place.parent().unwrap_or(Path::new(""));
    for (i, line) in read_text(place)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let path = beside.join(line.strip_prefix("./").unwrap_or(line));
        if !path.is_file() {
            let error = Error::file(place, format!("the image {} is missing", path.display())).line(i + 1);
            return Err(error.fix("add it, or remove the line"));
        }
        images.push(path);
    }
    match images.is_empty() {
        true => Err(Error::file(place, "lists no image").fix("write one image path a line")),
        false => Ok(images),
    }
}

/// `…/images/a/b.jpg` → `…/labels/a/b.txt`; beside the image where no folder is called `images`.
fn label_path(image: &Path) -> PathBuf {
    let parts: Vec<_> = image.components().collect();
    let folders = &parts[..parts.len().saturating_sub(1)];
    let swapped = match folders.iter().rposition(|part| part.as_os_str() == "images") {
        None => image.to_owned(),
        Some(at) => {
            let before: PathBuf = parts[..at].iter().collect();
            before.join("labels").join(parts[at + 1..].iter().collect::<PathBuf>())
        }
    };
    swapped.with_extension("txt")
}

fn read_labels(image: &Path, classes: &[String]) -> Result<(Photo, Checks)> {
    let (width, height) = Image::read_size(image)?;
    let labels = label_path(image);
    let (mut objects, mut checks) = (Vec::new(), Checks::default());
    let text = if labels.exists() { read_text(&labels)? } else { String::new() };
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |message: String, fix: String| Err(Error::file(&labels, message).line(i + 1).fix(fix));
        let fields: Vec<Option<f32>> =
            line.split_whitespace().map(|f| f.parse().ok().filter(|v: &f32| v.is_finite())).collect();
        let [Some(class), Some(cx), Some(cy), Some(w), Some(h)] = fields[..] else {
            let message = format!("`{}` is not `class centre_x centre_y width height`", line.trim());
            return bad(message, "write five numbers, the last four as shares of the image's size".into());
        };
        if class < 0.0 || class.fract() != 0.0 || class >= classes.len() as f32 {
            let message = format!("the class {class} is out of range");
            let fix = format!("use 0 to {}, or add the class to `names`", classes.len() - 1);
            return bad(message, fix);
        }
        if [cx, cy, w, h].iter().any(|v| v.abs() > 2.0) {
            let message = format!("`{}` is not in shares of the image's size", line.trim());
            return bad(message, format!("divide x by {width} and y by {height}"));
        }
        let (sx, sy) = (width as f32, height as f32);
        let (x0, y0, x1, y1) = (cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0);
        let bounds = Bounds::new(x0 * sx, y0 * sy, x1 * sx, y1 * sy);
        let class = class as usize;
        let who = format!("`{}`", classes[class]);
        if let Some(bounds) = checks.check(bounds, (width, height), &who, &labels, Some(i + 1)) {
            objects.push(Object { bounds, class, ignore: false });
        }
    }
    Ok((Photo { path: image.to_owned(), width, height, objects, annotation: labels }, checks))
}
