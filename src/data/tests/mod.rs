//! Tests of the data floor as a whole.

mod augment;
mod bad_input;
mod formats;
mod loader;
mod resample;

use std::path::{Path, PathBuf};

use super::*;

/// A picture of noise, so that no two pixels look alike.
pub(super) fn noise(width: usize, height: usize, seed: u64) -> Image {
    let mut random = crate::tensor::Random::new(seed);
    let pixels = (0..3 * width * height).map(|_| random.below(256) as u8).collect();
    Image::new(width, height, pixels).unwrap()
}

/// Paints the whole pixels of `bounds`.
pub(super) fn paint(image: &mut Image, bounds: Bounds, colour: [u8; 3]) {
    let width = image.width();
    for y in bounds.y0 as usize..bounds.y1 as usize {
        for x in bounds.x0 as usize..bounds.x1 as usize {
            image.pixels_mut()[3 * (y * width + x)..][..3].copy_from_slice(&colour);
        }
    }
}

/// The box around the pixels for which `is` holds; `None` where there is none.
pub(super) fn extent(image: &Image, is: impl Fn([u8; 3]) -> bool) -> Option<Bounds> {
    let mut found: Option<Bounds> = None;
    for y in 0..image.height() {
        for x in (0..image.width()).filter(|&x| is(image.pixel(x, y))) {
            let (x, y) = (x as f32, y as f32);
            let b = found.unwrap_or(Bounds::new(x, y, x, y));
            found = Some(Bounds::new(b.x0.min(x), b.y0.min(y), b.x1.max(x + 1.0), b.y1.max(y + 1.0)));
        }
    }
    found
}

/// The largest distance between two boxes' edges.
pub(super) fn distance(a: Bounds, b: Bounds) -> f32 {
    [a.x0 - b.x0, a.y0 - b.y0, a.x1 - b.x1, a.y1 - b.y1].into_iter().map(f32::abs).fold(0.0, f32::max)
}

/// A little dataset on disk, in one of the formats.
pub(super) struct Little {
    folder: tempfile::TempDir,
}

/// Width, height and objects (class, left, top, right, bottom) of its images; sides are powers of
/// two, so that YOLO's shares are exact.
#[allow(clippy::type_complexity)]
pub(super) const LITTLE: [(usize, usize, &[(usize, [usize; 4])]); 3] =
    [(64, 32, &[(1, [4, 2, 20, 30]), (0, [32, 8, 64, 24])]), (32, 64, &[(0, [0, 0, 32, 64])]), (16, 16, &[])];
const CLASSES: [&str; 2] = ["cat", "dog"];

impl Little {
    fn new() -> Self {
        Little { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn images(&self, folder: &str) {
        std::fs::create_dir_all(self.path(folder)).unwrap();
        for (i, (width, height, _)) in LITTLE.iter().enumerate() {
            let image = noise(*width, *height, i as u64);
            image.save_png(self.path(&format!("{folder}/photo{i}.png"))).unwrap();
        }
    }

    pub fn voc() -> Self {
        let little = Self::new();
        little.images("JPEGImages");
        little.write("ImageSets/Main/train.txt", "photo0\nphoto1\nphoto2\n");
        for (i, (width, height, objects)) in LITTLE.iter().enumerate() {
            let objects: String = objects.iter().map(|(class, b)| voc_object(CLASSES[*class], *b)).collect();
            little.write(&format!("Annotations/photo{i}.xml"), voc_xml(*width, *height, &objects));
        }
        little
    }

    pub fn yolo() -> Self {
        let little = Self::new();
        little.images("train/images");
        little.write("data.yaml", "train: train/images\nval: train/images\nnc: 2\nnames: [cat, dog]\n");
        for (i, (width, height, objects)) in LITTLE.iter().enumerate() {
            let (w, h) = (*width as f64, *height as f64);
            let line = |(class, [x0, y0, x1, y1]): &(usize, [usize; 4])| {
                let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|v| *v as f64);
                let (cx, cy) = ((x0 + x1) / 2.0 / w, (y0 + y1) / 2.0 / h);
                format!("{class} {cx} {cy} {} {}\n", (x1 - x0) / w, (y1 - y0) / h)
            };
            let text: String = objects.iter().map(line).collect();
            // The last image has no label file, which means no object.
            if !objects.is_empty() {
                little.write(&format!("train/labels/photo{i}.txt"), text);
            }
        }
        little
    }

    pub fn coco() -> Self {
        let little = Self::new();
        little.images("train2017");
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (i, (width, height, objects)) in LITTLE.iter().enumerate() {
            let name = format!("photo{i}.png");
            images.push(
                serde_json::json!({"id": 100 + i, "file_name": name, "width": width, "height": height}),
            );
            for (class, [x0, y0, x1, y1]) in objects.iter() {
                let category = [17, 90][*class];
                annotations.push(serde_json::json!({
                    "id": annotations.len(), "image_id": 100 + i, "category_id": category,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]],
                }));
            }
        }
        // Neither contiguous nor in order.
        let categories = serde_json::json!([{"id": 90, "name": "dog"}, {"id": 17, "name": "cat"}]);
        let json =
            serde_json::json!({"images": images, "annotations": annotations, "categories": categories});
        little.write("annotations/instances_train2017.json", json.to_string());
        little.write("annotations/captions_train2017.json", "{}");
        little
    }

    pub fn spec(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }
}

pub(super) fn voc_object(name: &str, [x0, y0, x1, y1]: [usize; 4]) -> String {
    let corners = format!("<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>");
    format!("  <object>\n    <name>{name}</name>\n    <bndbox>{corners}</bndbox>\n  </object>\n")
}

pub(super) fn voc_xml(width: usize, height: usize, objects: &str) -> String {
    let size = format!("  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n");
    format!("<annotation>\n{size}{objects}</annotation>\n")
}
