//! Changes of colour as matrices (Haeberli 1993, *Matrix operations for image processing*).

use super::{AugmentOptions, Image};
use crate::tensor::Random;

/// A linear change of colour: `out = matrix · rgb + offset`, on 0..255.
pub(super) struct ColourMatrix {
    matrix: [[f32; 3]; 3],
    offset: f32,
}

impl ColourMatrix {
    /// The product of random changes of hue, saturation, contrast and brightness.
    pub fn random(options: &AugmentOptions, random: &mut Random) -> Self {
        let mut factor = |share: f32| 1.0 + random.uniform(-1.0, 1.0) * share;
        let saturation = factor(options.saturation).max(0.0);
        let contrast = factor(options.contrast).max(0.0);
        let brightness = factor(options.brightness).max(0.0);
        let gain = contrast * brightness;
        let angle = std::f32::consts::TAU * (factor(options.hue) - 1.0);
        // Hue: a rotation about the grey axis (1, 1, 1)/√3, by Rodrigues' formula. Its rows sum to
        // 1, so that greys stay.
        let (sin, cos) = angle.sin_cos();
        let (even, odd) = ((1.0 - cos) / 3.0, sin / 3.0_f32.sqrt());
        let (main, next, last) = (cos + even, even - odd, even + odd);
        let hue = [[main, next, last], [last, main, next], [next, last, main]];
        // Saturation: away from, or towards, the luma of Rec. 601.
        let luma = [0.299, 0.587, 0.114];
        let mut matrix = [[0.0; 3]; 3];
        for column in 0..3 {
            let grey: f32 = (0..3).map(|k| luma[k] * hue[k][column]).sum();
            for row in 0..3 {
                matrix[row][column] = gain * (grey + saturation * (hue[row][column] - grey));
            }
        }
        ColourMatrix { matrix, offset: 127.5 * brightness * (1.0 - contrast) }
    }

    /// Changes a row of pixels, three values of 0..=255 each; results may lie outside.
    pub fn apply_row(&self, row: &mut [f32]) {
        let [r, g, b] = self.matrix;
        for pixel in row.chunks_exact_mut(3) {
            let v = [pixel[0], pixel[1], pixel[2]];
            let dot = |m: [f32; 3]| m[0] * v[0] + m[1] * v[1] + m[2] * v[2] + self.offset;
            (pixel[0], pixel[1], pixel[2]) = (dot(r), dot(g), dot(b));
        }
    }

    /// Changes an image.
    pub fn apply(&self, image: &mut Image) {
        let stride = 3 * image.width();
        let mut row = vec![0.0; stride];
        for line in image.pixels_mut().chunks_exact_mut(stride) {
            row.iter_mut().zip(&*line).for_each(|(v, &byte)| *v = f32::from(byte));
            self.apply_row(&mut row);
            to_bytes(&row, line);
        }
    }
}

/// Rounds to the nearest byte, clamping.
pub(super) fn to_bytes(values: &[f32], bytes: &mut [u8]) {
    // 2²³ leaves no room for a fraction: the sum's last eight bits are the rounded number. A cast
    // would do, but its checks keep the loop from being vectorised.
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = (value.clamp(0.0, 255.0) + 8_388_608.0).to_bits() as u8;
    }
}
