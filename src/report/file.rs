//! A picture as a file.

use std::path::Path;

use image::{ExtendedColorType, ImageEncoder, RgbImage, codecs::png::PngEncoder};

use crate::format::atomic::write_atomically;
use crate::{Error, Result};

/// Writes `image` to `path` as PNG, whole or not at all.
///
/// # Errors
/// Where the file cannot be written.
pub fn save_png(path: impl AsRef<Path>, image: &RgbImage) -> Result<()> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(|e| Error::invalid("the picture cannot be encoded as PNG").caused_by(e).in_file(path))?;
    write_atomically(path, |w| w.write_all(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn picture(side: u32) -> RgbImage {
        RgbImage::from_pixel(side, side, image::Rgb([9, 99, 199]))
    }

    #[test]
    fn replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        save_png(&path, &picture(1)).unwrap();
        save_png(&path, &picture(2)).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), picture(2));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("x"), b"").unwrap();
        let error = save_png(&path, &picture(1)).unwrap_err().to_string();
        assert!(error.contains("taken: is a folder, where a file is to be written"), "{error}");
        assert!(error.contains("name a file inside it"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        let missing = folder.path().join("no/such/folder.png");
        assert!(save_png(&missing, &picture(1)).unwrap_err().to_string().contains("folder.png"));
    }
}
