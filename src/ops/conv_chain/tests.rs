//! A chain is the two convolutions that it replaces; and what it saves, by hand.

use super::*;
use crate::ops::testing::reference;
use crate::runtime::Activation;
use crate::tensor::DType;

const TARGET: Target = Target { arch: 80, multiprocessors: 108, shared_bytes: 163 * 1024, map: DType::F32 };

fn chain(first: usize, second: usize, keep_middle: bool) -> ConvChain {
    let conv = |kernel| Conv::plain(Geometry::same(kernel, 1), false);
    ConvChain { first: conv(first), second: conv(second), keep_middle }
}

#[test]
fn the_middle_map_s_padding_is_zero() {
    // The middle map is x + 1; a 3×3 kernel of ones over it counts the pixels inside, and none outside.
    let mut op = chain(1, 3, true);
    op.first.bias = true;
    let shapes = [Shape::new(1, 3, 3, 1), Shape::new(1, 1, 1, 1), Shape::vector(1), Shape::new(1, 3, 3, 1)];
    let inputs = [vec![0.0; 9], vec![1.0], vec![1.0], vec![1.0; 9]];
    let outputs = reference(&op, &shapes, &inputs);
    assert_eq!(outputs, [vec![4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0], vec![1.0; 9]]);
}

#[test]
fn its_cost_is_that_of_both() {
    let op = chain(1, 3, false);
    let shapes = [Shape::new(2, 4, 5, 8), Shape::new(6, 1, 1, 8), Shape::new(10, 3, 3, 6)];
    let outputs = op.output_shapes(&shapes).unwrap();
    let flops = 40.0 * 2.0 * (6.0 * 8.0 + 9.0 * 6.0 * 10.0);
    assert_eq!(
        op.cost(&shapes, &outputs),
        Cost { flops, darknet_flops: flops, cio: 40.0 * (8.0 + 6.0 + 6.0 + 10.0) }
    );
}

/// The tile of 8×16 pixels, whatever would be chosen.
fn tile(op: &ConvChain, shapes: [Shape; 3]) -> Tile {
    let [x, first, second] = shapes;
    let chosen = Tile::choose(op, x, first, second, &TARGET).unwrap();
    Tile { h: 8, w: 16, ..chosen }
}

#[test]
fn a_bottleneck_saves_its_middle_map_twice() {
    // 16×32 pixels in f32: 2 × 2 tiles of 8×16.
    let op = chain(1, 3, false);
    let [x, first, second] = [Shape::new(1, 16, 32, 32), Shape::new(24, 1, 1, 32), Shape::new(32, 3, 3, 24)];
    let saving = saving(&op, x, first, second, 4, &tile(&op, [x, first, second]));
    assert_eq!(saving.saved_bytes, 2 * 512 * 24 * 4);
    // Windows of 9 and 9 rows, 17 and 17 columns: 18 · 34 pixels, 100 more than there are.
    assert_eq!(saving.halo_bytes, 100 * 32 * 4);
    // Of the first, 4 · 10 · 18 pixels are computed instead of 512: 208 · 24 · 32 products more, to 512 ·
    // (24 · 32 + 9 · 24 · 32).
    let extra = 208.0 * 768.0 / (512.0 * 7680.0);
    assert!((saving.extra_flops - extra).abs() < 1e-12, "{saving:?}");
    assert!(saving.pays(24, 32));
    assert!(!saving.pays(24, 160) && !saving.pays(160, 24));
    assert!(!Saving { halo_bytes: saving.saved_bytes, ..saving }.pays(24, 32));
    assert!(!Saving { extra_flops: 0.41, ..saving }.pays(24, 32));
}

#[test]
fn a_stack_saves_one_reading() {
    let op = chain(3, 3, true);
    let [x, first, second] = [Shape::new(2, 16, 16, 16), Shape::new(16, 3, 3, 16), Shape::new(16, 3, 3, 16)];
    let saving = saving(&op, x, first, second, 2, &tile(&op, [x, first, second]));
    assert_eq!(saving.saved_bytes, 2 * 256 * 16 * 2);
    // Two tiles an image, of windows of 10 rows and all 16 columns.
    assert_eq!(saving.halo_bytes, 2 * (320 - 256) * 16 * 2);
    // Half of the products are the first's: 180 pixels instead of 128.
    assert!((saving.extra_flops - 0.5 * (180.0 / 128.0 - 1.0)).abs() < 1e-12, "{saving:?}");
    assert!(saving.pays(16, 16));
}

#[test]
fn tiles_that_reach_over_the_edge_are_counted() {
    // One tile of 8×16 for 5×5 pixels: no halo is read twice, but most of the tile is nothing.
    let op = chain(1, 3, false);
    let [x, first, second] = [Shape::new(1, 5, 5, 8), Shape::new(8, 1, 1, 8), Shape::new(8, 3, 3, 8)];
    let saving = saving(&op, x, first, second, 4, &tile(&op, [x, first, second]));
    assert_eq!(saving.halo_bytes, 0);
    assert!((saving.extra_flops - ((180.0 + 9.0 * 128.0) / 250.0 - 1.0)).abs() < 1e-12, "{saving:?}");
    assert!(!saving.pays(8, 8));
}

#[test]
fn a_tile_fits_the_device() {
    // An output of 104×104 pixels in 64 channels: 180 pixels of 64 channels in f32 are 46080 bytes.
    let op = chain(1, 3, false);
    let [x, first, second] =
        [Shape::new(8, 104, 104, 64), Shape::new(64, 1, 1, 64), Shape::new(64, 3, 3, 64)];
    for shared_bytes in [227 * 1024, 163 * 1024, 99 * 1024, 64 * 1024] {
        for map in [DType::F32, DType::F16] {
            let target = Target { shared_bytes, map, ..TARGET };
            let tile = Tile::choose(&op, x, first, second, &target).unwrap();
            assert!(tile.shared_bytes() <= shared_bytes as usize, "{tile:?}");
            assert!(tile.h * tile.w * tile.second_n / tile.threads() <= 64, "{tile:?}");
        }
    }
    assert_eq!(Tile::choose(&op, x, first, second, &Target { shared_bytes: 16 * 1024, ..TARGET }), None);
}

#[test]
fn what_is_no_chain_is_refused() {
    let shapes = [Shape::new(1, 4, 4, 4), Shape::new(4, 1, 1, 4), Shape::new(4, 3, 3, 4)];
    let op = chain(1, 3, false);
    assert!(op.output_shapes(&shapes).is_ok());
    assert!(op.output_shapes(&shapes[..2]).is_err());
    assert!(op.output_shapes(&[shapes[0], shapes[1], Shape::new(4, 3, 3, 5)]).is_err());
    let strided = Conv::plain(Geometry::same(3, 2), false);
    assert!(ConvChain { second: strided, ..op.clone() }.output_shapes(&shapes).is_err());
    let first = Conv { residual: true, ..op.first.clone() };
    let with_residual = [shapes[0], shapes[1], shapes[0], shapes[2]];
    assert!(ConvChain { first, ..op.clone() }.output_shapes(&with_residual).is_err());
    let first = Conv { prologue: Some(Activation::Silu), ..op.first.clone() };
    assert!(ConvChain { first, ..op }.output_shapes(&shapes).is_err());
}
