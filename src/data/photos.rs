//! Annotated photos in files: what VOC, YOLO and COCO folders become, and how their boxes are
//! checked.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Bounds, Dataset, Image, Object, Sample};
use crate::{Error, Result};

/// Boxes may stick out of their image by this many pixels: tools that count pixels from 1, or that
/// round, write such boxes. They are clipped without a word.
const ROUNDING: f32 = 1.01;

/// A dataset of image files. Its annotations are in memory, its pixels are not.
#[derive(Debug)]
pub struct Photos {
    name: String,
    classes: Vec<String>,
    photos: Vec<Photo>,
    warnings: Vec<String>,
}

/// One photo, and what its annotation says of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Photo {
    pub path: PathBuf,
    pub width: usize,
    pub height: usize,
    pub objects: Vec<Object>,
    /// The file that holds the annotation, to name where it disagrees with the image.
    pub annotation: PathBuf,
}

impl Photos {
    /// A dataset; `source` is the folder or file that it came from.
    pub(super) fn new(
        source: &Path,
        name: String,
        classes: Vec<String>,
        photos: Vec<Photo>,
        warnings: Vec<String>,
    ) -> Result<Self> {
        if photos.is_empty() {
            return Err(Error::file(source, "lists no image").fix("add images and their annotations"));
        }
        if classes.is_empty() {
            return Err(Error::file(source, "names no class").fix("annotate at least one object"));
        }
        if photos.iter().all(|photo| photo.objects.is_empty()) {
            let message = format!("none of its {} images has an object", photos.len());
            let fix = "check that the annotations lie where this format expects them";
            return Err(Error::file(source, message).fix(fix));
        }
        Ok(Photos { name, classes, photos, warnings })
    }

    /// The objects of image `index` as annotated, in pixels of the image, without decoding it;
    /// `None` where `index` is out of range.
    pub fn objects(&self, index: usize) -> Option<&[Object]> {
        self.photos.get(index).map(|photo| photo.objects.as_slice())
    }

    /// The file of image `index`; `None` where `index` is out of range.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.photos.get(index).map(|photo| photo.path.as_path())
    }
}

impl Dataset for Photos {
    fn name(&self) -> &str {
        &self.name
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.photos.len()
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        let count = self.photos.len();
        let photo = self
            .photos
            .get(index)
            .ok_or_else(|| Error::invalid(format!("{} has {count} samples, not {index}", self.name)))?;
        let image = Image::open(&photo.path)?;
        if (image.width(), image.height()) != (photo.width, photo.height) {
            let message = format!(
                "the image is {}×{}, but {} says {}×{}",
                image.width(),
                image.height(),
                photo.annotation.display(),
                photo.width,
                photo.height
            );
            return Err(Error::file(&photo.path, message).fix("correct the annotation's size and its boxes"));
        }
        Ok(Sample { image, objects: photo.objects.clone(), name: file_name(&photo.path) })
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The last part of a path, for people.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The images a folder may hold, by extension.
pub(super) const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "bmp"];

/// True where the extension, in any case, is an image's.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// A text file's contents without a byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| {
        Error::file(path, "cannot be read").caused_by(e).fix("check that the file exists and may be read")
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::file(path, "is not UTF-8 text").fix("save it as UTF-8, or replace it"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Applies `work` to every item on all processors. Where several fail, the error is the first item's,
/// whichever thread came first.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    items.par_iter().map(work).collect::<Vec<Result<R>>>().into_iter().collect()
}

/// Checks one annotation file's boxes. A box that cannot be right is a *slip*: real datasets have
/// a few among thousands, while a misread format has little else, so whether slips are forgiven is
/// decided at the end, by [`settle`], from how many of the boxes they are.
#[derive(Debug, Default)]
pub(super) struct Checks {
    boxes: usize,
    slips: Vec<Slip>,
}

#[derive(Debug)]
struct Slip {
    file: PathBuf,
    line: Option<usize>,
    what: String,
    /// What was done about it.
    done: &'static str,
}

impl Slip {
    fn error(&self) -> Error {
        let error = Error::file(&self.file, self.what.clone());
        match self.line {
            Some(line) => error.line(line),
            None => error,
        }
    }
}

impl Checks {
    /// The box as it is to be used: clipped to `width`×`height` pixels; `None` where nothing is
    /// left. `who` names the object, `file` and `line` where its box stands.
    pub fn check(
        &mut self,
        bounds: Bounds,
        (width, height): (usize, usize),
        who: &str,
        file: &Path,
        line: Option<usize>,
    ) -> Option<Bounds> {
        self.boxes += 1;
        let frame = Bounds::new(0.0, 0.0, width as f32, height as f32);
        let clipped = bounds.overlap(&frame);
        let Bounds { x0, y0, x1, y1 } = bounds;
        let over = (-x0).max(-y0).max(x1 - frame.x1).max(y1 - frame.y1);
        // To people, a hundredth of a pixel is enough.
        let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|v| (v * 100.0).round() / 100.0);
        let corners = format!("({x0}, {y0})–({x1}, {y1})");
        // Written so that NaN counts as no area.
        let has_area = |b: &Bounds| b.width() > 0.0 && b.height() > 0.0;
        let (what, kept) = if !has_area(&bounds) {
            (format!("the box {corners} of {who} has no area"), None)
        } else if !has_area(&clipped) {
            (format!("the box {corners} of {who} lies outside its image of {width}×{height}"), None)
        } else if over > ROUNDING {
            let what = format!("the box {corners} of {who} sticks out of its image of {width}×{height}");
            (what, Some(clipped))
        } else {
            return Some(clipped);
        };
        let done = if kept.is_some() { "clipped" } else { "skipped" };
        self.slips.push(Slip { file: file.to_owned(), line, what, done });
        kept
    }

    /// Takes over what another file's checks found.
    pub fn merge(&mut self, other: Checks) {
        self.boxes += other.boxes;
        self.slips.extend(other.slips);
    }

    /// The slips as warnings, where they are at most the share `forgive` of all boxes.
    ///
    /// # Errors
    /// The first slip, with the number of others, where they are more.
    pub fn settle(self, forgive: f32) -> Result<Vec<String>> {
        let limit = forgive.clamp(0.0, 1.0) * self.boxes as f32;
        match self.slips.as_slice() {
            [first, rest @ ..] if self.slips.len() as f32 > limit => {
                let mut slip = first.error();
                if !rest.is_empty() {
                    let others = format!("{} of {} boxes have such faults", self.slips.len(), self.boxes);
                    slip = slip.caused_by(others);
                }
                Err(slip.fix("correct or remove the object, or allow a larger share of bad boxes"))
            }
            slips => Ok(slips.iter().map(|slip| format!("{}; {} it", slip.error(), slip.done)).collect()),
        }
    }
}
