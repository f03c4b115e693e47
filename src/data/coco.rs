//! COCO instance annotations (Lin et al. 2014): one JSON file with `images`, `annotations` and
//! `categories`, and a folder of images.
//!
//! Category ids need not be contiguous: classes are numbered in the order of the ids. `iscrowd`
//! becomes [`Object::ignore`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::photos::{Checks, Photo, file_name, is_image, read_text};
use super::{Bounds, Image, Object, OpenOptions, Photos, Split};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Instances {
    images: Vec<ImageEntry>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct ImageEntry {
    id: i64,
    file_name: String,
    width: Option<usize>,
    height: Option<usize>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    id: i64,
    image_id: i64,
    category_id: i64,
    /// `[x, y, width, height]` in pixels.
    #[serde(default)]
    bbox: Vec<f32>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

/// Opens an annotation file whose images lie in `images`.
///
/// # Errors
/// Where the file does not parse or contradicts itself, an image is missing, a category is unknown,
/// or more boxes than [`OpenOptions::forgive`] allows are bad.
pub fn open(json: impl AsRef<Path>, images: impl AsRef<Path>, options: &OpenOptions) -> Result<Photos> {
    let (json, folder) = (json.as_ref(), images.as_ref());
    build(json, read(json)?, folder, options)
}

/// Opens one split of a folder: `annotations/*train*.json` with its images in a folder of the
/// split's name, or `train/_annotations.coco.json` beside its images.
///
/// # Errors
/// As [`open()`], and where the split's annotation file or image folder cannot be found.
pub fn open_folder(folder: impl AsRef<Path>, split: Split, options: &OpenOptions) -> Result<Photos> {
    let folder = folder.as_ref();
    let json = find_json(folder, split)?;
    open_split(&json, folder, options)
}

/// Opens the annotation file `json`, finding its images by convention around it.
pub(super) fn open_file(json: &Path, split: Split, options: &OpenOptions) -> Result<Photos> {
    let folder = json.parent().unwrap_or(Path::new(""));
    let name = file_name(json);
    let json = match (split, name.contains("train")) {
        (Split::Train, _) => json.to_owned(),
        (Split::Val, true) => folder.join(name.replace("train", "val")),
        (Split::Val, false) => {
            let fix = "give the dataset's folder, or call the files …train….json and …val….json";
            return Err(
                Error::file(json, "is one split, and the other cannot be told from its name").fix(fix)
            );
        }
    };
    let root = if file_name(folder) == "annotations" { folder.parent().unwrap_or(folder) } else { folder };
    open_split(&json, root, options)
}

/// The annotation file of a split, where the folder is laid out in a way known here.
pub(super) fn find_json(folder: &Path, split: Split) -> Result<PathBuf> {
    let beside: &[&str] = if split == Split::Train { &["train"] } else { &["val", "valid"] };
    for name in beside {
        let path = folder.join(name).join("_annotations.coco.json");
        if path.is_file() {
            return Ok(path);
        }
    }
    let annotations = folder.join("annotations");
    let entries = std::fs::read_dir(&annotations).map_err(|e| {
        Error::file(&annotations, "the folder cannot be read")
            .caused_by(e)
            .fix("put the COCO annotations there")
    })?;
    let fits = |path: &PathBuf| {
        let name = file_name(path);
        name.ends_with(".json") && name.contains(split.name())
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(fits).collect();
    // `instances_*.json` before captions and keypoints, then by name.
    found.sort_by_key(|path| (!file_name(path).starts_with("instances_"), path.clone()));
    found.into_iter().next().ok_or_else(|| {
        let message = format!("holds no annotation file for {}", split.name());
        Error::file(&annotations, message).fix(format!("add instances_{}.json", split.name()))
    })
}

fn open_split(json: &Path, root: &Path, options: &OpenOptions) -> Result<Photos> {
    let instances = read(json)?;
    let stem = json.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    // instances_train2017 → train2017, then train.
    let set = stem.rsplit('_').next().unwrap_or("").to_owned();
    let short = set.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let beside = json.parent().unwrap_or(Path::new("")).to_owned();
    let mut places = Vec::new();
    for name in [&set, &short] {
        places.extend([root.join(name), root.join("images").join(name)]);
    }
    places.extend([root.join("images"), beside, root.to_owned()]);
    let Some(first) = instances.images.first() else {
        return Err(Error::file(json, "lists no image").fix("add images and their annotations"));
    };
    match places.iter().find(|place| place.join(&first.file_name).is_file()) {
        Some(place) => build(json, instances, place, options),
        None => {
            let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
            let message = format!("its image {} is in none of {}", first.file_name, places.join(", "));
            Err(Error::file(json, message).fix("put the images into one of these folders"))
        }
    }
}

fn read(json: &Path) -> Result<Instances> {
    let text = read_text(json)?;
    serde_json::from_str(&text).map_err(|e| {
        let error = Error::file(json, format!("is not a COCO annotation file ({e})")).line(e.line());
        error.fix("give a JSON file with `images`, `annotations` and `categories`")
    })
}

fn build(json: &Path, instances: Instances, folder: &Path, options: &OpenOptions) -> Result<Photos> {
    let bad = |message: String, fix: &str| Err(Error::file(json, message).fix(fix));
    let mut categories = BTreeMap::new();
    for category in instances.categories {
        if categories.insert(category.id, category.name).is_some() {
            return bad(format!("the category {} is there twice", category.id), "give each its own id");
        }
    }
    let class_of: HashMap<i64, usize> =
        categories.keys().enumerate().map(|(class, &id)| (id, class)).collect();
    let classes: Vec<String> = categories.into_values().collect();

    let mut photos: Vec<Photo> = Vec::with_capacity(instances.images.len());
    let mut photo_of = HashMap::new();
    for image in instances.images {
        let path = folder.join(&image.file_name);
        if !path.is_file() || !is_image(&path) {
            let message = format!("the image {} is missing, or no JPEG, PNG or BMP file", path.display());
            return bad(message, "add it, or remove its entry and its annotations");
        }
        let (width, height) = match (image.width, image.height) {
            (Some(width), Some(height)) if width > 0 && height > 0 => (width, height),
            _ => Image::read_size(&path)?,
        };
        if photo_of.insert(image.id, photos.len()).is_some() {
            return bad(format!("the image {} is there twice", image.id), "give each image its own id");
        }
        photos.push(Photo { path, width, height, objects: Vec::new(), annotation: json.to_owned() });
    }

    let mut checks = Checks::default();
    for annotation in instances.annotations {
        let Annotation { id, image_id, category_id, bbox, iscrowd } = annotation;
        let Some(photo) = photo_of.get(&image_id).and_then(|&at| photos.get_mut(at)) else {
            let message = format!("annotation {id} belongs to image {image_id}, which is not listed");
            return bad(message, "add the image, or remove the annotation");
        };
        let Some(&class) = class_of.get(&category_id) else {
            let message = format!("annotation {id} is of category {category_id}, which is out of range");
            return bad(message, "add the category, or remove the annotation");
        };
        let [x, y, width, height] = bbox[..] else {
            let message = format!("annotation {id} has a bbox of {} numbers", bbox.len());
            return bad(message, "write [x, y, width, height]");
        };
        let bounds = Bounds::new(x, y, x + width, y + height);
        let who = format!("annotation {id} (`{}` in {})", classes[class], file_name(&photo.path));
        if let Some(bounds) = checks.check(bounds, (photo.width, photo.height), &who, json, None) {
            photo.objects.push(Object { bounds, class, ignore: iscrowd != 0 });
        }
    }
    let name = json.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    Photos::new(json, name, classes, photos, checks.settle(options.forgive)?)
}
