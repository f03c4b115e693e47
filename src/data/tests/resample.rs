//! The resampler and the decoder against Pillow; see tests/fixtures/resample/make.py.

use super::*;
use crate::data::resample::{Window, draw};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/resample").join(name)
}

fn assert_close(a: &Image, b: &Image, what: &str) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()), "{what}");
    let worst = a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    // Pillow rounds to 8 bits between its two passes.
    assert!(worst <= 1, "{what}: off by {worst}");
}

#[test]
fn resizes_as_pillow_does() {
    let source = Image::open(fixture("source.png")).unwrap();
    for (width, height) in [(23, 17), (40, 31), (9, 8), (5, 40), (11, 3)] {
        let mut canvas = Image::filled(width, height, [1; 3]);
        let map = Affine::stretch((23, 17), (width, height));
        let window = Window::of(&canvas);
        assert_eq!(draw(&source, map, &mut canvas, window, None), window);
        let name = format!("{width}x{height}.png");
        assert_close(&canvas, &Image::open(fixture(&name)).unwrap(), &name);
    }
}

#[test]
fn crops_as_pillow_does() {
    let source = Image::open(fixture("source.png")).unwrap();
    // The crop (2.5, 1.25)–(18.5, 13.25) keeps its scale: 16×12 pixels, moved by parts of a pixel.
    let map = Affine { scale: (1.0, 1.0), shift: (-2.5, -1.25) };
    let mut canvas = Image::filled(16, 12, [0; 3]);
    let window = Window::of(&canvas);
    draw(&source, map, &mut canvas, window, None);
    assert_close(&canvas, &Image::open(fixture("crop.png")).unwrap(), "crop");
}

#[test]
fn draws_only_inside_the_window_and_the_picture() {
    let source = Image::filled(4, 4, [200; 3]);
    let mut canvas = Image::filled(12, 10, [0; 3]);
    let map = Affine { scale: (2.0, 2.0), shift: (3.0, 1.0) };
    let covered = draw(&source, map, &mut canvas, Window { x0: 1, y0: 2, x1: 9, y1: 10 }, None);
    assert_eq!(covered.bounds(), Bounds::new(3.0, 2.0, 9.0, 9.0));
    assert_eq!(extent(&canvas, |p| p == [200; 3]), Some(covered.bounds()));
    assert_eq!(extent(&canvas, |p| p != [0; 3]), Some(covered.bounds()));
    // A picture beside the window draws nothing.
    let away = Affine { shift: (50.0, 1.0), ..map };
    let window = Window::of(&canvas);
    let covered = draw(&source, away, &mut canvas, window, None);
    assert_eq!(covered.bounds().area(), 0.0);
}

#[test]
fn maps_compose_and_invert() {
    let a = Affine { scale: (2.0, -0.5), shift: (3.0, 40.0) };
    let b = Affine { scale: (-1.5, 4.0), shift: (7.0, -2.0) };
    let box_ = Bounds::new(1.0, 2.0, 5.0, 10.0);
    assert_eq!(a.then(b).map(box_), b.map(a.map(box_)));
    assert_eq!(a.map(box_), Bounds::new(5.0, 35.0, 13.0, 39.0));
    assert!(distance(a.then(a.inverse()).map(box_), box_) < 1e-5);
}

#[test]
fn turns_photos_upright() {
    // Stored 32×16 with blue on the left; shown 16×32 with blue at the top.
    let path = fixture("turned.jpg");
    assert_eq!(Image::read_size(&path).unwrap(), (16, 32));
    let image = Image::open(&path).unwrap();
    assert_eq!((image.width(), image.height()), (16, 32));
    let [top, bottom] = [image.pixel(8, 4), image.pixel(8, 28)];
    assert!(top[2] > 150 && top[0] < 90, "{top:?}");
    assert!(bottom[0] > 150 && bottom[2] < 90, "{bottom:?}");
}
