//! 8-bit RGB images: decoding with limits, and encoding for a look at them.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use crate::{Error, Result};

/// Sides above this are refused: no camera makes them, and a few header bytes could otherwise ask
/// for any amount of memory.
const MAX_SIDE: u32 = 16_384;
/// The decoder's own working memory, in bytes; 16384 × 8192 pixels of RGB fit.
const MAX_BYTES: u64 = 512 << 20;

/// An 8-bit RGB image, `[height, width, 3]`.
#[derive(Clone, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}×{})", self.width, self.height)
    }
}

impl Image {
    /// An image over `pixels`, row by row, three bytes each.
    ///
    /// # Errors
    /// Where a side is 0 or `pixels` does not have `3 × width × height` bytes.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if bytes != Some(pixels.len()) || pixels.is_empty() {
            let got = pixels.len();
            return Err(Error::invalid(format!("{got} bytes are no RGB image of {width}×{height}")));
        }
        Ok(Image { width, height, pixels })
    }

    /// An image of one colour; a side of 0 becomes 1.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Image { width, height, pixels: colour.repeat(width * height) }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, `[height, width, 3]`.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// Where it lies outside the image.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "({x}, {y}) lies outside {self:?}");
        let at = 3 * (y * self.width + x);
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Decodes a JPEG, PNG or BMP file, turned upright as its EXIF orientation says: annotation
    /// tools show it so, and boxes refer to what they show.
    ///
    /// # Errors
    /// Where the file is missing, does not decode, or is larger than 16384 pixels a side.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut decoder = decoder(path)?;
        let orientation = decoder.orientation().map_err(|e| undecodable(path, e))?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| undecodable(path, e))?;
        image.apply_orientation(orientation);
        let image = image.into_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        Self::new(width, height, image.into_raw()).map_err(|e| e.in_file(path))
    }

    /// The (width, height) that [`Image::open`] would give, from the file's header.
    ///
    /// # Errors
    /// Where the file is missing, its header does not decode, or a side exceeds 16384 pixels.
    pub fn read_size(path: impl AsRef<Path>) -> Result<(usize, usize)> {
        let path = path.as_ref();
        let mut decoder = decoder(path)?;
        let (width, height) = decoder.dimensions();
        let orientation = decoder.orientation().map_err(|e| undecodable(path, e))?;
        // EXIF counts 5 to 8 for the four orientations that lie on their side.
        let (width, height) = if orientation.to_exif() >= 5 { (height, width) } else { (width, height) };
        Ok((width as usize, height as usize))
    }

    /// Writes a PNG file.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let colour = ::image::ExtendedColorType::Rgb8;
        ::image::save_buffer_with_format(
            path,
            &self.pixels,
            self.width as u32,
            self.height as u32,
            colour,
            ::image::ImageFormat::Png,
        )
        .map_err(|e| {
            Error::file(path, "cannot be written").caused_by(e).fix("check the folder and its space")
        })
    }
}

/// A decoder that has read the header and keeps within the limits.
fn decoder(path: &Path) -> Result<impl ImageDecoder + use<>> {
    let file = File::open(path).map_err(|e| {
        Error::file(path, "the image cannot be opened").caused_by(e).fix("put it there, or correct the path")
    })?;
    let mut reader =
        ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|e| undecodable(path, e))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| match e {
        // Some decoders hold their header against the limits themselves.
        ImageError::Limits(_) => {
            Error::file(path, "the image is larger than the limits allow").caused_by(e).fix("make it smaller")
        }
        _ => undecodable(path, e),
    })?;
    let (width, height) = decoder.dimensions();
    if decoder.total_bytes() > MAX_BYTES || width == 0 || height == 0 {
        let message = format!("the image's header says {width}×{height} pixels, which is not usable");
        return Err(Error::file(path, message).fix("make it smaller"));
    }
    Ok(decoder)
}

fn undecodable(path: &Path, cause: impl std::fmt::Display) -> Error {
    // Some decoders end their messages with a line break or a full stop.
    let cause = cause.to_string();
    let cause = cause.trim().trim_end_matches('.').replace('\n', " ");
    Error::file(path, format!("the image does not decode ({cause})"))
        .fix("replace it by a whole JPEG, PNG or BMP file")
}
