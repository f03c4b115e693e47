//! Textures and light.

use crate::data::Image;
use crate::data::colour::to_bytes;
use crate::tensor::Random;

/// A colour by hue (any), saturation and value (each within a range); RGB in 0..=1.
pub(super) fn random_colour(saturation: (f32, f32), value: (f32, f32), random: &mut Random) -> [f32; 3] {
    let hue = 6.0 * random.unit();
    let saturation = random.uniform(saturation.0, saturation.1);
    let value = random.uniform(value.0, value.1);
    // Each channel is full within a third of the circle around its own hue, and falls beyond.
    [0.0, 2.0, 4.0].map(|own: f32| {
        let away = (hue - own).abs();
        let share = (2.0 - away.min(6.0 - away)).clamp(0.0, 1.0);
        value * (1.0 - saturation * (1.0 - share))
    })
}

/// A texture of two colours on a square of side `size`: RGB in 0..=1, and the colours.
pub(super) fn paint(size: usize, random: &mut Random) -> (Vec<f32>, [[f32; 3]; 2]) {
    let value = random.uniform(0.15, 0.9);
    let first = random_colour((0.0, 0.6), (value * 0.9, value), random);
    let mut second = random_colour((0.0, 0.6), (value * 0.6, (value * 1.3).min(1.0)), random);
    // Close enough that the texture is a background, not a second set of objects.
    for (b, a) in second.iter_mut().zip(first) {
        *b = a + 0.6 * (*b - a);
    }
    let mut blend = vec![0.0; size * size];
    match random.below(6) {
        0 => add_noise(&mut blend, size, random.below(3) + 1, 1.0, random),
        1 => {
            add_noise(&mut blend, size, random.below(4) + 3, 0.65, random);
            add_noise(&mut blend, size, random.below(14) + 9, 0.35, random);
        }
        2 => Waves::random(size, random).fill(&mut blend, size),
        3 => {
            // Checks: where exactly one of two crossing stripes shows.
            let waves = Waves::random(size, random);
            waves.fill(&mut blend, size);
            let mut crossing = vec![0.0; size * size];
            waves.crossing().fill(&mut crossing, size);
            blend.iter_mut().zip(crossing).for_each(|(a, b)| *a += b - 2.0 * *a * b);
        }
        4 => {
            // Stripes in the shade.
            Waves::random(size, random).fill(&mut blend, size);
            blend.iter_mut().for_each(|v| *v *= 0.5);
            add_noise(&mut blend, size, random.below(3) + 2, 0.5, random);
        }
        _ => {
            // Speckles: each pixel its own, over soft clouds.
            let mut hash = Hash::new(random);
            blend.iter_mut().for_each(|v| *v = 0.5 * hash.unit());
            add_noise(&mut blend, size, random.below(4) + 2, 0.5, random);
        }
    }
    let difference: [f32; 3] = std::array::from_fn(|c| second[c] - first[c]);
    let mut canvas = vec![0.0; 3 * size * size];
    for (pixel, t) in canvas.chunks_exact_mut(3).zip(blend) {
        for c in 0..3 {
            pixel[c] = first[c] + t * difference[c];
        }
    }
    (canvas, [first, second])
}

/// Adds smooth value noise of `cells` cells a side, from 0 to `amplitude`.
fn add_noise(blend: &mut [f32], size: usize, cells: usize, amplitude: f32, random: &mut Random) {
    let points = cells + 1;
    let lattice: Vec<f32> = (0..points * points).map(|_| amplitude * random.unit()).collect();
    // The cell of a pixel, and its place in it, eased so that the lattice's lines do not show.
    let place = |i: usize| {
        let at = (i as f32 + 0.5) * cells as f32 / size as f32;
        let cell = (at as usize).min(cells - 1);
        let t = at - cell as f32;
        (cell, t * t * (3.0 - 2.0 * t))
    };
    let columns: Vec<(usize, f32)> = (0..size).map(place).collect();
    let mut line = vec![0.0; points];
    for (y, row) in blend.chunks_exact_mut(size).enumerate() {
        let (cell, t) = place(y);
        let (above, below) = (&lattice[cell * points..][..points], &lattice[(cell + 1) * points..][..points]);
        line.iter_mut().zip(above.iter().zip(below)).for_each(|(v, (a, b))| *v = a + t * (b - a));
        for (value, &(cell, t)) in row.iter_mut().zip(&columns) {
            *value += line[cell] + t * (line[cell + 1] - line[cell]);
        }
    }
}

/// Stripes.
#[derive(Clone, Copy)]
struct Waves {
    /// Stripes per pixel, across and down.
    step: (f32, f32),
    phase: f32,
    /// 1: as soft as a triangle wave; large: hard edges.
    sharpness: f32,
}

impl Waves {
    fn random(size: usize, random: &mut Random) -> Self {
        let period = size as f32 * random.uniform(0.05, 0.3);
        let angle = random.uniform(0.0, std::f32::consts::PI);
        let step = (angle.cos() / period, angle.sin() / period);
        Waves { step, phase: random.unit(), sharpness: random.uniform(1.0, period.max(1.5)) }
    }

    /// The same at a right angle.
    fn crossing(self) -> Self {
        Waves { step: (-self.step.1, self.step.0), ..self }
    }

    fn fill(self, blend: &mut [f32], size: usize) {
        for (y, row) in blend.chunks_exact_mut(size).enumerate() {
            // Large enough to stay positive, so that truncation rounds down.
            let start = self.phase + self.step.1 * y as f32 + 4096.0;
            for (x, value) in row.iter_mut().enumerate() {
                let at = start + self.step.0 * x as f32;
                let wave = (2.0 * (at - at as i32 as f32) - 1.0).abs();
                *value = ((wave - 0.5) * self.sharpness + 0.5).clamp(0.0, 1.0);
            }
        }
    }
}

/// A random number per pixel: xorshift (Marsaglia 2003), for where a [`Random`] would take longer
/// than the rest of the scene.
struct Hash(u32);

impl Hash {
    fn new(random: &mut Random) -> Self {
        Hash(random.next_u64() as u32 | 1)
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }
}

/// How the scene is lit and recorded: a brightness that changes across it, and grain.
pub(super) struct Light {
    /// Brightness at the top left corner, and its change per pixel across and down.
    start: f32,
    step: (f32, f32),
    grain: f32,
    hash: Hash,
}

impl Light {
    pub fn random(size: usize, random: &mut Random) -> Self {
        let centre = random.uniform(0.7, 1.1);
        let slope = (random.uniform(-0.15, 0.15), random.uniform(-0.15, 0.15));
        Light {
            start: centre - slope.0 - slope.1,
            step: (2.0 * slope.0 / size as f32, 2.0 * slope.1 / size as f32),
            grain: random.uniform(0.0, 0.05),
            hash: Hash::new(random),
        }
    }

    /// The canvas (RGB in 0..=1) as an image.
    pub fn develop(mut self, canvas: &[f32], size: usize) -> Image {
        let mut image = Image::filled(size, size, [0; 3]);
        let rows = image.pixels_mut().chunks_exact_mut(3 * size).zip(canvas.chunks_exact(3 * size));
        let mut line = vec![0.0; 3 * size];
        for (y, (target, source)) in rows.enumerate() {
            let start = 255.0 * (self.start + self.step.1 * y as f32);
            for (x, (lit, source)) in line.chunks_exact_mut(3).zip(source.chunks_exact(3)).enumerate() {
                let light = start + 255.0 * self.step.0 * x as f32;
                let grain = 255.0 * self.grain * (self.hash.unit() - 0.5);
                lit.iter_mut().zip(source).for_each(|(l, s)| *l = s * light + grain);
            }
            to_bytes(&line, target);
        }
        image
    }
}
