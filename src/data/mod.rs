//! Datasets of photos with boxes: the embedded one, three common formats, augmentation, and the
//! loader that turns them into batches.
//!
//! A [`Dataset`] hands out one [`Sample`] at a time; [`open`] finds out what kind a folder holds.
//! Annotations are read and checked when a dataset is opened, pixels when a sample is asked for.
//!
//! Coordinates are in pixels from the image's top left corner, as edges: the first pixel's box is
//! `(0, 0)–(1, 1)`, a whole image's `(0, 0)–(width, height)`.

pub mod augment;
pub mod coco;
mod colour;
mod image;
mod loader;
mod open;
mod photos;
mod resample;
#[cfg(test)]
mod tests;
pub mod voc;
pub mod wardrobe;
pub mod yolo;

pub use self::image::Image;
pub use crate::detect::Bounds;
pub use augment::AugmentOptions;
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use open::{OpenOptions, check_same_classes, open};
pub use photos::Photos;
pub use resample::Affine;

use crate::Result;

/// One annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Where it is, in pixels of its image.
    pub bounds: Bounds,
    /// Its class: an index into [`Dataset::class_names`].
    pub class: usize,
    /// Neither to be learnt nor to be scored: VOC's `difficult`, COCO's `iscrowd`, a garment that
    /// others all but hide.
    pub ignore: bool,
}

/// An image with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The pixels.
    pub image: Image,
    /// The objects, in pixels of `image`.
    pub objects: Vec<Object>,
    /// What to call it in messages and reports: the image's file name without its folder, or the
    /// scene's number.
    pub name: String,
}

/// Which part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// What a network is fitted to.
    Train,
    /// What it is scored on.
    Val,
}

impl Split {
    /// The name as it stands in file names: `train` or `val`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
        }
    }
}

/// A set of annotated images.
pub trait Dataset: Send + Sync {
    /// What to call it in messages and reports.
    fn name(&self) -> &str;

    /// The classes' names, by index.
    fn class_names(&self) -> &[String];

    /// The number of samples; never 0.
    fn len(&self) -> usize;

    /// True where there is no sample. A dataset that opened has at least one.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`: the same one whenever it is asked for.
    ///
    /// # Errors
    /// Where `index` is out of range, or its image does not decode or has another size than its
    /// annotation says.
    fn sample(&self, index: usize) -> Result<Sample>;

    /// What was odd but could be mended while opening: boxes that were skipped or clipped, each as
    /// a sentence that names the file and what was done.
    fn warnings(&self) -> &[String] {
        &[]
    }
}
