//! Augmentation: pure functions of samples and a [`Random`]. Boxes follow their pixels.
//!
//! Every geometric change is an [`Affine`] map, and the maps are composed before pixels move, so
//! that an image is resampled once however many changes are asked for. Every colour change is a
//! matrix, composed likewise, and applied on the way.

use super::colour::ColourMatrix;
use super::resample::{FILL, Window, draw};
use super::{Affine, Bounds, Image, Object, Sample};
use crate::tensor::Random;

/// Objects narrower or lower than this many pixels after augmentation are dropped.
const MIN_SIDE: f32 = 2.0;

/// How much is changed at random.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentOptions {
    /// Probability of mirroring left and right.
    pub flip: f32,
    /// The picture's size relative to filling the frame: drawn between these, uniformly in the
    /// logarithm. Above 1 it is cropped, below 1 it is surrounded by grey.
    pub zoom: (f32, f32),
    /// Width over height may change by up to this factor less 1.
    pub stretch: f32,
    /// Colours turn by up to this share of the colour circle.
    pub hue: f32,
    /// Saturation changes by up to this share.
    pub saturation: f32,
    /// Brightness changes by up to this share.
    pub brightness: f32,
    /// Contrast about mid grey changes by up to this share.
    pub contrast: f32,
    /// Probability of making one image of four.
    pub mosaic: f32,
    /// An object of which less than this share of the area is left inside the frame is dropped.
    pub min_visible: f32,
}

impl Default for AugmentOptions {
    /// Moderate changes, for a small detector trained for minutes; no mosaic.
    fn default() -> Self {
        AugmentOptions {
            flip: 0.5,
            zoom: (0.75, 1.4),
            stretch: 0.1,
            hue: 0.02,
            saturation: 0.4,
            brightness: 0.25,
            contrast: 0.2,
            mosaic: 0.0,
            min_visible: 0.35,
        }
    }
}

/// The sample as large as fits into `size` (width, height), centred, the rest 0.5 grey; and the map
/// from the sample's pixels to the result's.
pub fn letterbox(sample: &Sample, size: (usize, usize)) -> (Sample, Affine) {
    let map = Affine::letterbox((sample.image.width(), sample.image.height()), size);
    (place(sample, map, size, 0.0, None), map)
}

/// The sample with left and right swapped.
pub fn flip(sample: &Sample) -> Sample {
    let size = (sample.image.width(), sample.image.height());
    place(sample, Affine::flip(size.0), size, 0.0, None)
}

/// The sample stretched to `size` (width, height).
pub fn stretch(sample: &Sample, size: (usize, usize)) -> Sample {
    let map = Affine::stretch((sample.image.width(), sample.image.height()), size);
    place(sample, map, size, 0.0, None)
}

/// The sample at a random scale (`zoom`, `stretch`) and position in a frame of `size` (width,
/// height), where grey fills what it leaves free; and the map there.
pub fn scale_crop(
    sample: &Sample,
    size: (usize, usize),
    options: &AugmentOptions,
    random: &mut Random,
) -> (Sample, Affine) {
    let map = random_map(&sample.image, size, options, random);
    (place(sample, map, size, options.min_visible, None), map)
}

/// Changes hue, saturation, brightness and contrast at random.
pub fn jitter_colour(image: &mut Image, options: &AugmentOptions, random: &mut Random) {
    ColourMatrix::random(options, random).apply(image);
}

/// Everything but the mosaic, at random: flip, scale, crop and colour; and the map that was taken.
pub fn augment(
    sample: &Sample,
    size: (usize, usize),
    options: &AugmentOptions,
    random: &mut Random,
) -> (Sample, Affine) {
    let map = random_flip(random_map(&sample.image, size, options, random), &sample.image, options, random);
    let colour = ColourMatrix::random(options, random);
    (place(sample, map, size, options.min_visible, Some(&colour)), map)
}

/// One image of four: the frame of `size` (width, height) is divided at a random point, and each
/// part shows a window of one sample, changed as by [`augment`]. Returns the map of the first.
pub fn mosaic(
    samples: [&Sample; 4],
    size: (usize, usize),
    options: &AugmentOptions,
    random: &mut Random,
) -> (Sample, Affine) {
    let mut image = Image::filled(size.0, size.1, FILL);
    let (width, height) = (image.width(), image.height());
    let divide = |length: usize, random: &mut Random| (length as f32 * random.uniform(0.35, 0.65)) as usize;
    let (cx, cy) = (divide(width, random), divide(height, random));
    let windows = [(0, 0, cx, cy), (cx, 0, width, cy), (0, cy, cx, height), (cx, cy, width, height)];
    let (mut objects, mut first) = (Vec::new(), Affine::IDENTITY);
    for (i, (sample, (x0, y0, x1, y1))) in samples.into_iter().zip(windows).enumerate() {
        let window = Window { x0, y0, x1, y1 };
        let map = tile_map(&sample.image, window, (width, height), random);
        let map = random_flip(map, &sample.image, options, random);
        let colour = ColourMatrix::random(options, random);
        let covered = draw(&sample.image, map, &mut image, window, Some(&colour));
        objects.extend(moved(&sample.objects, map, covered.bounds(), options.min_visible));
        if i == 0 {
            first = map;
        }
    }
    (Sample { image, objects, name: samples[0].name.clone() }, first)
}

/// Draws the sample through `map` into a grey frame, with the objects that stay visible.
fn place(
    sample: &Sample,
    map: Affine,
    size: (usize, usize),
    min_visible: f32,
    colour: Option<&ColourMatrix>,
) -> Sample {
    let mut image = Image::filled(size.0, size.1, FILL);
    let window = Window::of(&image);
    draw(&sample.image, map, &mut image, window, colour);
    let objects = if min_visible > 0.0 {
        moved(&sample.objects, map, window.bounds(), min_visible)
    } else {
        // Nothing leaves the frame, and nothing may be lost: these are what is scored.
        let move_one = |o: &Object| Object { bounds: map.map(o.bounds), ..*o };
        sample.objects.iter().map(move_one).collect()
    };
    Sample { image, objects, name: sample.name.clone() }
}

/// The objects where `map` takes them, clipped to `frame`; without those of which too little stays.
fn moved(objects: &[Object], map: Affine, frame: Bounds, min_visible: f32) -> Vec<Object> {
    let stay = |object: &Object| {
        let whole = map.map(object.bounds);
        let bounds = whole.overlap(&frame);
        let visible = bounds.area() >= f64::from(min_visible) * whole.area();
        let large = bounds.width() >= MIN_SIDE && bounds.height() >= MIN_SIDE;
        (visible && large).then_some(Object { bounds, ..*object })
    };
    objects.iter().filter_map(stay).collect()
}

fn random_flip(map: Affine, image: &Image, options: &AugmentOptions, random: &mut Random) -> Affine {
    // Mirrored within the picture, before it is placed.
    if random.chance(options.flip) { Affine::flip(image.width()).then(map) } else { map }
}

/// A factor between `low` and `high`, uniform in the logarithm.
fn log_uniform(low: f32, high: f32, random: &mut Random) -> f32 {
    let (low, high) = (low.max(0.05), high.max(0.05));
    random.uniform(low.ln(), high.ln()).exp()
}

fn random_map(image: &Image, size: (usize, usize), options: &AugmentOptions, random: &mut Random) -> Affine {
    let fit = Affine::letterbox((image.width(), image.height()), size).scale.0;
    let zoom = log_uniform(options.zoom.0, options.zoom.1, random);
    let stretch = log_uniform(1.0 / (1.0 + options.stretch.max(0.0)), 1.0 + options.stretch.max(0.0), random);
    let scale = (fit * zoom * stretch.sqrt(), fit * zoom / stretch.sqrt());
    // Anywhere between touching one side and touching the other: a picture larger than the frame
    // leaves no gap, a smaller one stays whole.
    let shift = |frame: usize, length: usize, scale: f32, random: &mut Random| {
        (frame as f32 - length as f32 * scale) * random.unit()
    };
    let x = shift(size.0, image.width(), scale.0, random);
    let y = shift(size.1, image.height(), scale.1, random);
    Affine { scale, shift: (x, y) }
}

/// A random window of the picture that fills `window`, at about two thirds of the scale at which
/// the whole picture would fill the frame.
fn tile_map(image: &Image, window: Window, frame: (usize, usize), random: &mut Random) -> Affine {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let frame_fit = (frame.0 as f32 / width).min(frame.1 as f32 / height);
    let (w, h) = ((window.x1 - window.x0) as f32, (window.y1 - window.y0) as f32);
    let cover = (w / width).max(h / height);
    let scale = (frame_fit * random.uniform(0.55, 0.85)).max(cover);
    let x = window.x0 as f32 + (w - width * scale) * random.unit();
    let y = window.y0 as f32 + (h - height * scale) * random.unit();
    Affine { scale: (scale, scale), shift: (x, y) }
}
