//! Files: NumPy arrays, safetensors weights, tables, and how any file is written without ever being half there.
//!
//! Every reader here takes untrusted bytes: sizes are checked before they are used, and what is
//! refused is refused in a sentence that names the file and what to do.

pub mod atomic;
pub mod csv;
pub mod npy;
pub mod weights;

use std::io::{self, Write};

use crate::tensor::Shape;

/// The NHWC shape of an array of up to four dimensions: `[]` is a scalar, `[c]` a vector over
/// channels `[1, 1, 1, c]`, `[n, c]` rows `[n, 1, 1, c]`, `[h, w, c]` one image `[1, h, w, c]`, and
/// `[n, h, w, c]` itself. `None` where there are more.
pub fn padded_shape(dims: &[usize]) -> Option<Shape> {
    match *dims {
        [] => Some(Shape::scalar()),
        [c] => Some(Shape::vector(c)),
        [n, c] => Some(Shape::new(n, 1, 1, c)),
        [h, w, c] => Some(Shape::new(1, h, w, c)),
        [n, h, w, c] => Some(Shape::new(n, h, w, c)),
        _ => None,
    }
}

/// Writes f32 values as little-endian bytes.
fn write_f32_le(writer: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * values.len().min(CHUNK));
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
        writer.write_all(&bytes)?;
    }
    Ok(())
}

/// Values converted at a time: the scratch stays in the L2 cache.
const CHUNK: usize = 16 * 1024;

/// Reads little-endian f32 values; a remainder of fewer than four bytes is the caller's to refuse.
fn read_f32_le(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tensor::Random;

    /// Hands `parse` every prefix of `bytes` and `flips` copies with random bytes replaced. What it
    /// returns is the parser's business; that it returns is the test.
    pub(crate) fn survives_damage<T>(bytes: &[u8], flips: u64, seed: u64, parse: impl Fn(&[u8]) -> T) {
        for length in 0..bytes.len() {
            parse(&bytes[..length]);
        }
        for round in 0..flips {
            let mut random = Random::keyed(seed, round);
            let mut damaged = bytes.to_vec();
            for _ in 0..1 + random.below(4) {
                let at = random.below(damaged.len());
                damaged[at] = random.next_u64() as u8;
            }
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parse(&damaged)));
            assert!(result.is_ok(), "parser panicked: seed {seed}, round {round}");
        }
    }

    #[test]
    fn shapes_are_padded_by_the_documented_rule() {
        assert_eq!(padded_shape(&[]), Some(Shape::new(1, 1, 1, 1)));
        assert_eq!(padded_shape(&[5]), Some(Shape::new(1, 1, 1, 5)));
        assert_eq!(padded_shape(&[7, 5]), Some(Shape::new(7, 1, 1, 5)));
        assert_eq!(padded_shape(&[2, 7, 5]), Some(Shape::new(1, 2, 7, 5)));
        assert_eq!(padded_shape(&[3, 2, 7, 5]), Some(Shape::new(3, 2, 7, 5)));
        assert_eq!(padded_shape(&[1, 3, 2, 7, 5]), None);
    }

    #[test]
    fn f32_bytes_are_little_endian() {
        let mut bytes = Vec::new();
        write_f32_le(&mut bytes, &[1.0, -2.5]).unwrap();
        assert_eq!(bytes, [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]);
        let many: Vec<f32> = (0..CHUNK + 3).map(|i| i as f32).collect();
        bytes.clear();
        write_f32_le(&mut bytes, &many).unwrap();
        assert_eq!(read_f32_le(&bytes), many);
    }
}
