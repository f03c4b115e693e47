//! Boxes must follow the pixels that they are around.

use super::*;
use crate::data::augment::{augment, flip, jitter_colour, letterbox, mosaic, scale_crop};
use crate::tensor::Random;

const RED: [u8; 3] = [250, 10, 10];

/// A dark picture with one bright rectangle of `colour`, and its object.
fn rectangle(width: usize, height: usize, bounds: Bounds, colour: [u8; 3]) -> Sample {
    let mut image = Image::filled(width, height, [10; 3]);
    paint(&mut image, bounds, colour);
    Sample { image, objects: vec![Object { bounds, class: 3, ignore: true }], name: "rectangle".into() }
}

fn is_like(colour: [u8; 3]) -> impl Fn([u8; 3]) -> bool {
    // Grey and dark are nowhere near; half-way through an edge counts.
    move |p| p.iter().zip(colour).all(|(p, c)| if c > 128 { *p > 130 } else { *p < 115 })
}

fn no_colour() -> AugmentOptions {
    AugmentOptions { hue: 0.0, saturation: 0.0, brightness: 0.0, contrast: 0.0, ..Default::default() }
}

#[test]
fn letterbox_keeps_the_shape_and_centres() {
    let sample = rectangle(80, 40, Bounds::new(8.0, 4.0, 40.0, 36.0), RED);
    let (boxed, map) = letterbox(&sample, (40, 60));
    assert_eq!((boxed.image.width(), boxed.image.height()), (40, 60));
    // Scale ½: 40×20 pixels of picture, 20 grey rows above and below.
    assert_eq!(extent(&boxed.image, |p| p != [128; 3]), Some(Bounds::new(0.0, 20.0, 40.0, 40.0)));
    assert_eq!(boxed.objects[0].bounds, Bounds::new(4.0, 22.0, 20.0, 38.0));
    assert_eq!(extent(&boxed.image, is_like(RED)), Some(boxed.objects[0].bounds));
    assert_eq!(map.inverse().map(boxed.objects[0].bounds), sample.objects[0].bounds);
    assert_eq!((boxed.objects[0].class, boxed.objects[0].ignore), (3, true));
}

#[test]
fn letterbox_at_the_own_size_changes_nothing() {
    let sample = Sample { image: noise(31, 17, 5), objects: Vec::new(), name: String::new() };
    assert_eq!(letterbox(&sample, (31, 17)).0, sample);
}

#[test]
fn flip_mirrors_pixels_and_boxes_exactly() {
    let sample = rectangle(30, 20, Bounds::new(3.0, 5.0, 11.0, 9.0), RED);
    let flipped = flip(&sample);
    assert_eq!(flipped.objects[0].bounds, Bounds::new(19.0, 5.0, 27.0, 9.0));
    assert_eq!(extent(&flipped.image, is_like(RED)), Some(flipped.objects[0].bounds));
    let noise = Sample { image: noise(13, 7, 2), ..sample };
    let mirrored = flip(&noise);
    assert!((0..7).all(|y| (0..13).all(|x| mirrored.image.pixel(x, y) == noise.image.pixel(12 - x, y))));
    assert_eq!(flip(&mirrored).image, noise.image);
}

#[test]
fn scaled_and_cropped_boxes_are_around_their_pixels() {
    let options = AugmentOptions { zoom: (0.5, 2.5), stretch: 0.3, ..no_colour() };
    let (mut kept, mut dropped) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (x, y) = (random.below(60) as f32, random.below(30) as f32);
        let (w, h) = (10.0 + random.below(20) as f32, 10.0 + random.below(20) as f32);
        let bounds = Bounds::new(x, y, x + w, y + h);
        let sample = rectangle(100, 70, bounds, RED);
        let (out, map) = match seed % 2 {
            0 => scale_crop(&sample, (96, 64), &options, &mut random),
            _ => augment(&sample, (96, 64), &options, &mut random),
        };
        assert_eq!((out.image.width(), out.image.height()), (96, 64));
        let seen = extent(&out.image, is_like(RED));
        let whole = map.map(bounds);
        let inside = whole.intersection(&Bounds::new(0.0, 0.0, 96.0, 64.0));
        match out.objects.as_slice() {
            [object] => {
                kept += 1;
                assert!(distance(seen.unwrap(), object.bounds) <= 1.0, "seed {seed}: {seen:?} {object:?}");
                assert!(inside >= 0.349 * whole.area(), "seed {seed}");
            }
            _ => {
                dropped += 1;
                let visible = seen.map_or(0.0, |b| b.area()) / whole.area();
                assert!(visible < 0.45, "seed {seed}: dropped with {visible} visible");
            }
        }
    }
    assert!(kept > 150 && dropped > 5, "{kept} kept, {dropped} dropped");
}

#[test]
fn a_mosaics_boxes_are_around_their_pixels() {
    let colours = [[250, 10, 10], [10, 250, 10], [10, 10, 250], [250, 250, 10]];
    let mut kept = [0; 4];
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let samples: Vec<Sample> = (0..4)
            .map(|i| {
                let (x, y) = (random.below(40) as f32, random.below(40) as f32);
                let mut sample = rectangle(90, 80, Bounds::new(x, y, x + 40.0, y + 30.0), colours[i]);
                sample.objects[0].class = i;
                sample
            })
            .collect();
        let four = [&samples[0], &samples[1], &samples[2], &samples[3]];
        let (out, _) = mosaic(four, (100, 100), &no_colour(), &mut random);
        for object in &out.objects {
            let seen = extent(&out.image, is_like(colours[object.class]));
            assert!(distance(seen.unwrap(), object.bounds) <= 1.0, "seed {seed}: {seen:?} {object:?}");
            kept[object.class] += 1;
        }
        // The four parts fill the frame: no grey is left.
        assert_eq!(extent(&out.image, |p| p == [128; 3]), None, "seed {seed}");
    }
    assert!(kept.iter().all(|&n| n > 40), "{kept:?}");
}

#[test]
fn colour_changes_are_what_they_say() {
    let with = |options: AugmentOptions, colour: [u8; 3], seed: u64| {
        let mut image = Image::filled(1, 1, colour);
        jitter_colour(&mut image, &options, &mut Random::new(seed));
        image.pixel(0, 0)
    };
    let mut changed = 0;
    for seed in 0..50 {
        assert_eq!(with(no_colour(), [3, 90, 251], seed), [3, 90, 251]);
        // Hue and saturation leave greys alone.
        let tones = AugmentOptions { hue: 0.5, saturation: 0.9, ..no_colour() };
        let grey = with(tones.clone(), [90; 3], seed);
        assert!(grey.iter().all(|v| v.abs_diff(90) <= 1), "seed {seed}: {grey:?}");
        changed += usize::from(with(tones, [200, 90, 30], seed) != [200, 90, 30]);
        // Contrast leaves mid grey alone.
        let mid = with(AugmentOptions { contrast: 0.8, ..no_colour() }, [128; 3], seed);
        assert!(mid.iter().all(|v| v.abs_diff(128) <= 1), "seed {seed}: {mid:?}");
        // Brightness is a factor.
        let bright = with(AugmentOptions { brightness: 0.5, ..no_colour() }, [40, 80, 120], seed);
        let factor = f32::from(bright[2]) / 120.0;
        assert!((0.49..=1.51).contains(&factor), "seed {seed}: {factor}");
        assert!((f32::from(bright[0]) - 40.0 * factor).abs() <= 1.5, "seed {seed}: {bright:?}");
    }
    assert!(changed > 40);
    // A third of a turn sends red to green or blue, as in the colour circle.
    let third = AugmentOptions { hue: 1.0 / 3.0, ..no_colour() };
    let found =
        (0..2000).map(|seed| with(third.clone(), [200, 0, 0], seed)).any(|p| p[1] > 190 || p[2] > 190);
    assert!(found);
}
