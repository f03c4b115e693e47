//! The embedded dataset: scenes composed at run time from real garments of Fashion-MNIST (Xiao,
//! Rasul, Vollgraf 2017; MIT licence, see `assets/wardrobe/LICENSE`) on procedural textures.
//!
//! Scenes to train on show garments of Fashion-MNIST's train split, scenes to score on those of its
//! test split. Each scene is a function of (split, seed, index): nothing is stored.

mod background;
mod garments;

use garments::{CLASSES, Garment, Garments};

use super::{Bounds, Dataset, Image, Object, Sample, Split};
use crate::tensor::Random;
use crate::{Error, Result};

/// The garments' licence (MIT) and where they come from.
pub const LICENSE: &str = include_str!("../../../assets/wardrobe/LICENSE");

/// A garment's full square, as a share of the scene's side, uniform in the logarithm.
const SCALE: (f32, f32) = (0.24, 0.62);
/// A new garment may cover at most this share of an earlier one's box.
const MAX_COVER: f64 = 0.35;
/// An object of which less than this share is visible is marked to be ignored.
const MIN_VISIBLE: f32 = 0.4;
/// Scenes between these sides are made, in pixels: smaller ones show nothing, larger ones are no
/// use with garments of 28 pixels.
const SIDES: std::ops::RangeInclusive<usize> = 32..=2048;

/// The dataset `wardrobe`.
#[derive(Debug)]
pub struct Wardrobe {
    name: String,
    classes: Vec<String>,
    garments: &'static Garments,
    seed: u64,
    count: usize,
    size: usize,
}

impl Wardrobe {
    /// `count` scenes of `size` × `size` pixels.
    ///
    /// # Errors
    /// Where `count` is 0 or `size` is not in 32..=2048.
    pub fn new(split: Split, seed: u64, count: usize, size: usize) -> Result<Self> {
        if count == 0 {
            return Err(Error::invalid("the wardrobe has no scenes").fix("ask for at least one"));
        }
        if !SIDES.contains(&size) {
            let message = format!("the wardrobe has no scenes of {size} pixels");
            return Err(Error::invalid(message).fix("choose a size from 32 to 2048"));
        }
        let name = format!("wardrobe {}", split.name());
        // Each split draws its own scenes from the seed: val is not train with other garments.
        let seed = Random::named(seed, &name).next_u64();
        let classes = CLASSES.iter().map(|&class| class.to_owned()).collect();
        Ok(Wardrobe { name, classes, garments: Garments::of(split)?, seed, count, size })
    }

    /// Scene `index`, with its garments or, for tests, without.
    fn scene(&self, index: usize, with_garments: bool) -> (Image, Vec<Object>) {
        let mut random = Random::keyed(self.seed, index as u64);
        let (mut canvas, colours) = background::paint(self.size, &mut random);
        let light = background::Light::random(self.size, &mut random);
        let mut owners = vec![0_u8; self.size * self.size];
        let placed = if with_garments {
            self.place(&mut canvas, &mut owners, &colours, &mut random)
        } else {
            Vec::new()
        };
        (light.develop(&canvas, self.size), visible_objects(&placed, &owners, self.size))
    }

    /// Draws one to six garments, the later over the earlier, and returns each one's class and the
    /// number of pixels it drew. `owners` says which garment (from 1) shows at each pixel.
    fn place(
        &self,
        canvas: &mut [f32],
        owners: &mut [u8],
        colours: &[[f32; 3]; 2],
        random: &mut Random,
    ) -> Vec<(usize, usize)> {
        let size = self.size as f32;
        let wanted = 1 + random.below(6);
        let mut placed: Vec<(usize, usize)> = Vec::new();
        let mut boxes: Vec<Bounds> = Vec::new();
        for _ in 0..wanted {
            let class = random.below(CLASSES.len());
            let garment = self.garments.pick(class, random);
            let look = Look::random(colours, random);
            let side = size * random.uniform(SCALE.0.ln(), SCALE.1.ln()).exp();
            // A few tries for a place where it does not hide another; then it is left out.
            for _ in 0..10 {
                let centre = (random.unit() * size, random.unit() * size);
                let pose = Pose { centre, side, look };
                let bounds = pose.bounds(garment);
                let frame = Bounds::new(0.0, 0.0, size, size);
                let inside = bounds.overlap(&frame).area() >= 0.85 * bounds.area();
                let hides = |other: &Bounds| {
                    let shared = other.intersection(&bounds);
                    shared > MAX_COVER * other.area() || shared > MAX_COVER * bounds.area()
                };
                if inside && !boxes.iter().any(hides) {
                    let owner = placed.len() as u8 + 1;
                    let pixels = pose.draw(garment, canvas, owners, owner, self.size);
                    placed.push((class, pixels));
                    boxes.push(bounds);
                    break;
                }
            }
        }
        placed
    }
}

impl Dataset for Wardrobe {
    fn name(&self) -> &str {
        &self.name
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.count
    }

    fn sample(&self, index: usize) -> Result<Sample> {
        if index >= self.count {
            return Err(Error::invalid(format!("{} has {} scenes, not {index}", self.name, self.count)));
        }
        let (image, objects) = self.scene(index, true);
        Ok(Sample { image, objects, name: format!("{} {index}", self.name) })
    }
}

/// The boxes of what shows of each garment.
fn visible_objects(placed: &[(usize, usize)], owners: &[u8], size: usize) -> Vec<Object> {
    let mut seen = vec![(0_usize, size, size, 0, 0); placed.len()];
    for (y, row) in owners.chunks_exact(size).enumerate() {
        for (x, &owner) in row.iter().enumerate().filter(|(_, owner)| **owner > 0) {
            let (count, x0, y0, x1, y1) = &mut seen[usize::from(owner) - 1];
            *count += 1;
            (*x0, *y0) = ((*x0).min(x), (*y0).min(y));
            (*x1, *y1) = ((*x1).max(x + 1), (*y1).max(y + 1));
        }
    }
    let object = |(&(class, pixels), (count, x0, y0, x1, y1)): (&(usize, usize), _)| {
        let bounds = Bounds::new(x0 as f32, y0 as f32, x1 as f32, y1 as f32);
        let ignore = (count as f32) < MIN_VISIBLE * pixels as f32;
        (count > 0).then_some(Object { bounds, class, ignore })
    };
    placed.iter().zip(seen).filter_map(object).collect()
}

/// How a garment is coloured and turned.
#[derive(Clone, Copy, Debug)]
struct Look {
    tint: [f32; 3],
    /// Brightness of black cloth, as a share of white cloth's.
    shade: f32,
    mirrored: bool,
    /// Width over height, relative to the garment's own.
    stretch: f32,
    /// In radians.
    angle: f32,
}

impl Look {
    fn random(background: &[[f32; 3]; 2], random: &mut Random) -> Self {
        // The tint farthest from the background of a few: a garment in its background's colour
        // could not be found by anyone.
        let distance = |tint: &[f32; 3]| {
            let to = |colour: &[f32; 3]| tint.iter().zip(colour).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            background.iter().map(to).fold(f32::INFINITY, f32::min)
        };
        let mut tint = [0.0; 3];
        for attempt in 0..6 {
            let next = background::random_colour((0.0, 0.9), (0.35, 1.0), random);
            if attempt == 0 || distance(&next) > distance(&tint) {
                tint = next;
            }
            if distance(&tint) > 0.09 {
                break;
            }
        }
        Look {
            tint,
            shade: random.uniform(0.2, 0.5),
            mirrored: random.chance(0.5),
            stretch: random.uniform(-0.14, 0.14).exp(),
            angle: random.uniform(-0.2, 0.2),
        }
    }
}

/// Where a garment is drawn.
struct Pose {
    /// In pixels of the scene.
    centre: (f32, f32),
    /// Side of the garment's full square, in pixels.
    side: f32,
    look: Look,
}

impl Pose {
    /// Pixels of the scene per pixel of the garment, across and down.
    fn scale(&self) -> (f32, f32) {
        let (scale, stretch) = (self.side / garments::SIDE as f32, self.look.stretch.sqrt());
        (scale * stretch, scale / stretch)
    }

    /// The box around the garment, by the corners of its own box.
    fn bounds(&self, garment: &Garment) -> Bounds {
        let (sin, cos) = self.look.angle.sin_cos();
        let scale = self.scale();
        let half = garments::SIDE as f32 / 2.0;
        let Bounds { x0, y0, x1, y1 } = garment.bounds;
        let mut bounds = Bounds::new(f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (x, y) in [(x0, y0), (x1, y0), (x0, y1), (x1, y1)] {
            let x = if self.look.mirrored { half - x } else { x - half };
            let (x, y) = (x * scale.0, (y - half) * scale.1);
            let (x, y) = (self.centre.0 + cos * x - sin * y, self.centre.1 + sin * x + cos * y);
            bounds = Bounds {
                x0: bounds.x0.min(x),
                y0: bounds.y0.min(y),
                x1: bounds.x1.max(x),
                y1: bounds.y1.max(y),
            };
        }
        bounds
    }

    /// Draws the garment, notes `owner` where it is at least half opaque, and returns how many
    /// pixels that were.
    fn draw(
        &self,
        garment: &Garment,
        canvas: &mut [f32],
        owners: &mut [u8],
        owner: u8,
        size: usize,
    ) -> usize {
        let bounds = self.bounds(garment);
        let clamp = |v: f32| v.clamp(0.0, size as f32) as usize;
        let (x0, x1) = (clamp(bounds.x0.floor() - 1.0), clamp(bounds.x1.ceil() + 1.0));
        let (y0, y1) = (clamp(bounds.y0.floor() - 1.0), clamp(bounds.y1.ceil() + 1.0));
        let (sin, cos) = self.look.angle.sin_cos();
        let scale = self.scale();
        let half = garments::SIDE as f32 / 2.0;
        let mirror = if self.look.mirrored { -1.0 } else { 1.0 };
        // The garment's coordinates at (x, y), and their steps along a row.
        let step = (mirror * cos / scale.0, -sin / scale.1);
        // Edges as sharp as the scene's pixels, however far the garment is enlarged.
        let sharpness = scale.0.min(scale.1).max(1.0);
        let mut pixels = 0;
        for y in y0..y1 {
            let (dx, dy) = (x0 as f32 + 0.5 - self.centre.0, y as f32 + 0.5 - self.centre.1);
            let mut u = mirror * (cos * dx + sin * dy) / scale.0 + half;
            let mut v = (cos * dy - sin * dx) / scale.1 + half;
            let row = y * size;
            for x in x0..x1 {
                let (cloth, alpha) = garment.at(u, v);
                (u, v) = (u + step.0, v + step.1);
                let alpha = ((alpha - 0.5) * sharpness + 0.5).clamp(0.0, 1.0);
                if alpha == 0.0 {
                    continue;
                }
                let light = self.look.shade + (1.0 - self.look.shade) * cloth;
                let pixel = &mut canvas[3 * (row + x)..][..3];
                for (p, tint) in pixel.iter_mut().zip(self.look.tint) {
                    *p += alpha * (tint * light - *p);
                }
                if alpha >= 0.5 {
                    owners[row + x] = owner;
                    pixels += 1;
                }
            }
        }
        pixels
    }
}

#[cfg(test)]
mod tests;
