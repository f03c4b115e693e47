//! The garments: cut out of the embedded sheets once, each with an opacity.

use std::io::Cursor;
use std::sync::OnceLock;

use crate::data::{Bounds, Split};
use crate::tensor::Random;
use crate::{Error, Result};

/// Side of a garment's image, in pixels.
pub(super) const SIDE: usize = 28;
/// Garments in a row of a sheet.
const COLUMNS: usize = 24;
/// A border of nothing around each garment, so that interpolation needs no edge cases.
const BORDER: usize = 2;
const STRIDE: usize = SIDE + 2 * BORDER;
/// Darker pixels (of 255) that touch the outside are outside; Fashion-MNIST's outside is 0.
const DARK: u8 = 16;

/// The classes, in the order of the sheets.
pub(super) const CLASSES: [&str; 6] = ["t-shirt", "trouser", "dress", "sneaker", "bag", "ankle boot"];

const TRAIN: &[u8] = include_bytes!("../../../assets/wardrobe/train.png");
const VAL: &[u8] = include_bytes!("../../../assets/wardrobe/val.png");

/// All garments of one split.
#[derive(Debug)]
pub(super) struct Garments {
    /// By class.
    classes: Vec<Vec<Garment>>,
}

/// One garment.
#[derive(Debug)]
pub(super) struct Garment {
    /// (brightness of the cloth, opacity), both in 0..=1, with a border of [`BORDER`].
    texels: Vec<[f32; 2]>,
    /// The box around what is opaque, in pixels of the garment's image.
    pub bounds: Bounds,
}

impl Garments {
    /// The garments of `split`, cut out when first asked for.
    pub fn of(split: Split) -> Result<&'static Self> {
        static SHEETS: [OnceLock<Option<Garments>>; 2] = [OnceLock::new(), OnceLock::new()];
        let (slot, sheet) = match split {
            Split::Train => (&SHEETS[0], TRAIN),
            Split::Val => (&SHEETS[1], VAL),
        };
        let garments = slot.get_or_init(|| cut(sheet));
        garments.as_ref().ok_or_else(|| Error::internal("the embedded garments do not decode"))
    }

    /// A random garment of `class`.
    pub fn pick(&self, class: usize, random: &mut Random) -> &Garment {
        let garments = &self.classes[class];
        &garments[random.below(garments.len())]
    }
}

/// Cuts a sheet: one block of rows per class.
fn cut(sheet: &[u8]) -> Option<Garments> {
    let sheet = image::ImageReader::with_format(Cursor::new(sheet), image::ImageFormat::Png);
    let sheet = sheet.decode().ok()?.into_luma8();
    let rows = sheet.height() as usize / SIDE / CLASSES.len();
    if sheet.width() as usize != COLUMNS * SIDE || rows == 0 {
        return None;
    }
    let garment = |row: usize, column: usize| {
        let mut pixels = [[0_u8; SIDE]; SIDE];
        for (y, line) in pixels.iter_mut().enumerate() {
            let start = (row * SIDE + y) * COLUMNS * SIDE + column * SIDE;
            line.copy_from_slice(&sheet.as_raw()[start..start + SIDE]);
        }
        Garment::new(&pixels)
    };
    let class = |class: usize| {
        let rows = class * rows..(class + 1) * rows;
        rows.flat_map(|row| (0..COLUMNS).map(move |column| (row, column)))
            .map(|(r, c)| garment(r, c))
            .collect()
    };
    Some(Garments { classes: (0..CLASSES.len()).map(class).collect() })
}

impl Garment {
    fn new(pixels: &[[u8; SIDE]; SIDE]) -> Self {
        let outside = outside(pixels);
        let is_outside = |x: isize, y: isize| {
            let inside = (0..SIDE as isize).contains(&x) && (0..SIDE as isize).contains(&y);
            !inside || outside[y as usize][x as usize]
        };
        let mut texels = vec![[0.0; 2]; STRIDE * STRIDE];
        let mut bounds = Bounds::new(SIDE as f32, SIDE as f32, 0.0, 0.0);
        for y in 0..SIDE {
            for x in (0..SIDE).filter(|&x| !outside[y][x]) {
                let (column, row) = (x as isize, y as isize);
                let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (column + dx, row + dy)));
                let at_edge = around.clone().any(|(x, y)| is_outside(x, y));
                // At the outline the images blend into black: how far a pixel falls short of the
                // cloth beside it is how much of it is outside.
                let own = f32::from(pixels[y][x]) / 255.0;
                let inner = around.filter(|&(x, y)| !is_outside(x, y));
                let cloth =
                    inner.map(|(x, y)| f32::from(pixels[y as usize][x as usize]) / 255.0).fold(own, f32::max);
                let alpha = if at_edge { (own / (0.7 * cloth)).clamp(0.3, 1.0) } else { 1.0 };
                texels[(y + BORDER) * STRIDE + x + BORDER] = [if at_edge { cloth } else { own }, alpha];
                if alpha >= 0.5 {
                    let (x, y) = (x as f32, y as f32);
                    bounds = Bounds::new(
                        bounds.x0.min(x),
                        bounds.y0.min(y),
                        bounds.x1.max(x + 1.0),
                        bounds.y1.max(y + 1.0),
                    );
                }
            }
        }
        bleed(&mut texels);
        Garment { texels, bounds }
    }

    /// Brightness and opacity at (u, v) of the garment's image, in pixels, bilinear.
    pub fn at(&self, u: f32, v: f32) -> (f32, f32) {
        let (u, v) = (u + BORDER as f32 - 0.5, v + BORDER as f32 - 0.5);
        let last = (STRIDE - 1) as f32;
        // Also false for NaN.
        if !(u >= 0.0 && v >= 0.0 && u < last && v < last) {
            return (0.0, 0.0);
        }
        let (x, y) = (u as usize, v as usize);
        let (fx, fy) = (u - x as f32, v - y as f32);
        let top = &self.texels[y * STRIDE + x..][..2];
        let bottom = &self.texels[(y + 1) * STRIDE + x..][..2];
        let mix = |c: usize| {
            let a = top[0][c] + fx * (top[1][c] - top[0][c]);
            let b = bottom[0][c] + fx * (bottom[1][c] - bottom[0][c]);
            a + fy * (b - a)
        };
        (mix(0), mix(1))
    }
}

/// Which pixels are background: the dark ones that the image's edge reaches through dark ones, and
/// holes of the size of a bag's handle. Small dark spots inside are cloth.
fn outside(pixels: &[[u8; SIDE]; SIDE]) -> [[bool; SIDE]; SIDE] {
    const HOLE: usize = 8;
    let mut outside = [[false; SIDE]; SIDE];
    let mut seen = [[false; SIDE]; SIDE];
    for start in 0..SIDE * SIDE {
        let (mut region, mut stack, mut at_edge) = (Vec::new(), vec![(start % SIDE, start / SIDE)], false);
        while let Some((x, y)) = stack.pop() {
            if seen[y][x] || pixels[y][x] >= DARK {
                continue;
            }
            seen[y][x] = true;
            region.push((x, y));
            let last = SIDE - 1;
            at_edge |= x == 0 || y == 0 || x == last || y == last;
            stack.extend([
                (x.saturating_sub(1), y),
                ((x + 1).min(last), y),
                (x, y.saturating_sub(1)),
                (x, (y + 1).min(last)),
            ]);
        }
        if at_edge || region.len() >= HOLE {
            region.iter().for_each(|&(x, y)| outside[y][x] = true);
        }
    }
    outside
}

/// Spreads the cloth's brightness outwards, so that interpolation at the outline does not darken.
fn bleed(texels: &mut [[f32; 2]]) {
    let mut known: Vec<bool> = texels.iter().map(|t| t[1] > 0.0).collect();
    for _ in 0..2 {
        let before = known.clone();
        for y in 1..STRIDE - 1 {
            for x in (1..STRIDE - 1).filter(|x| !before[y * STRIDE + x]) {
                let around = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
                let cloth = around.map(|(x, y)| y * STRIDE + x);
                let cloth: Vec<f32> =
                    cloth.into_iter().filter(|&i| before[i]).map(|i| texels[i][0]).collect();
                if !cloth.is_empty() {
                    texels[y * STRIDE + x][0] = cloth.iter().sum::<f32>() / cloth.len() as f32;
                    known[y * STRIDE + x] = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_garment_is_in_both_splits() {
        let all = |split| Garments::of(split).unwrap().classes.iter().flatten().collect::<Vec<_>>();
        let (train, val) = (all(Split::Train), all(Split::Val));
        assert_eq!((train.len(), val.len()), (6 * 120, 6 * 48));
        assert!(val.iter().all(|garment| train.iter().all(|other| garment.texels != other.texels)));
    }

    #[test]
    fn a_handles_hole_is_outside_and_a_dark_spot_is_not() {
        let mut pixels = [[0; SIDE]; SIDE];
        (4..24).for_each(|y| pixels[y][4..24].fill(200));
        (6..10).for_each(|y| pixels[y][8..20].fill(3));
        pixels[18][12..14].fill(0);
        let garment = Garment::new(&pixels);
        assert_eq!(garment.bounds, Bounds::new(4.0, 4.0, 24.0, 24.0));
        let alpha = |x: usize, y: usize| garment.at(x as f32 + 0.5, y as f32 + 0.5).1;
        assert_eq!((alpha(2, 2), alpha(14, 8), alpha(12, 18), alpha(20, 20)), (0.0, 0.0, 1.0, 1.0));
        // The cloth's brightness reaches past its outline, so that edges do not darken.
        assert!((garment.at(3.5, 14.0).0 - 200.0 / 255.0).abs() < 1e-6);
        assert_eq!(garment.at(f32::NAN, 5.0), (0.0, 0.0));
    }
}
