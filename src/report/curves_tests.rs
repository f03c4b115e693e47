use super::*;
use std::path::PathBuf;

use image::RgbImage;

fn series(name: &str, points: &[(f64, f64)]) -> Series {
    Series { name: name.to_owned(), points: points.to_vec(), color: [0, 114, 178] }
}

/// Draws and decodes.
fn drawn(plot: &Plot) -> RgbImage {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plot.png");
    plot_lines(&path, plot).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the plot is left");
    image::open(&path).unwrap().to_rgb8()
}

fn count(image: &RgbImage, color: Color) -> usize {
    image.pixels().filter(|p| p.0 == color).count()
}

#[test]
fn a_plot_is_a_png_of_its_size_with_its_line() {
    let line: Vec<_> = (0..50).map(|i| (f64::from(i), f64::from(i) * 0.5)).collect();
    let plot = Plot {
        title: "rise".into(),
        x_label: "step".into(),
        y_label: "value".into(),
        series: vec![series("a", &line)],
        size: (800, 450),
        ..Plot::default()
    };
    let image = drawn(&plot);
    assert_eq!(image.dimensions(), (800, 450));
    // A rising line: its left end is below its right end.
    let blue = |x0: u32, x1: u32| {
        let rows = image.enumerate_pixels().filter(|(x, _, p)| (x0..x1).contains(x) && p.0 == [0, 114, 178]);
        rows.map(|(_, y, _)| y).min().unwrap()
    };
    assert!(blue(60, 120) > blue(500, 560) + 100);
    let dark = image.pixels().filter(|p| p.0[0] < 120).count();
    assert!(dark > 300, "text is missing: {dark}");
}

#[test]
fn gaps_dots_and_single_points() {
    let nan = f64::NAN;
    let gap = [(0.0, 1.0), (1.0, 1.0), (2.0, nan), (3.0, 1.0), (4.0, f64::INFINITY), (5.0, 1.0), (6.0, 1.0)];
    let area = Area { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
    let positions: Vec<_> = gap.iter().map(|p| p.1.is_finite().then_some((p.0 as f32, p.1 as f32))).collect();
    let lines = runs(&positions, &area);
    assert_eq!(lines, [vec![(0.0, 1.0), (1.0, 1.0)], vec![(3.0, 1.0)], vec![(5.0, 1.0), (6.0, 1.0)]]);

    for points in
        [&[(3.0, 7.0)][..], &gap, &[(0.0, 0.0)], &[(1.0, 2.0), (1.0, 2.0)], &[(0.0, -4.0), (1.0, -4.0)]]
    {
        let image = drawn(&Plot { series: vec![series("a", points)], size: (640, 360), ..Plot::default() });
        let blue = image.pixels().filter(|p| p.0[2] > p.0[0].saturating_add(60)).count();
        assert!(blue > 4, "{points:?}");
    }
}

#[test]
fn lines_are_cut_at_the_range() {
    let area = Area { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
    let (a, b) = clip_segment((-10.0, 5.0), (30.0, 5.0), &area).unwrap();
    assert!((a.0 - 0.0).abs() < 0.1 && (b.0 - 10.0).abs() < 0.1 && a.1 == 5.0 && b.1 == 5.0);
    assert!(clip_segment((-5.0, -5.0), (20.0, -4.0), &area).is_none());
    assert!(clip_segment((-1.0, 0.0), (-1.0, 9.0), &area).is_none());
    // Out and in again: two lines.
    let there = [(1.0, 5.0), (2.0, 50.0), (3.0, 50.0), (4.0, 5.0), (5.0, 5.0)].map(Some);
    let lines = runs(&there, &area);
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].len(), lines[1].len()), (2, 3));
}

#[test]
fn no_data_says_so() {
    let none = drawn(&Plot { size: (640, 360), ..Plot::default() });
    let nan = Plot { series: vec![series("a", &[(f64::NAN, 1.0), (0.0, f64::NAN)])], ..Plot::default() };
    let log = Plot { series: vec![series("a", &[(0.0, 0.0), (1.0, -3.0)])], log_y: true, ..Plot::default() };
    for image in [none, drawn(&Plot { size: (640, 360), ..nan }), drawn(&Plot { size: (640, 360), ..log })] {
        assert!(image.pixels().filter(|p| p.0[0] < 140).count() > 20);
        assert_eq!(count(&image, [0, 114, 178]), 0);
    }
}

#[test]
fn odd_numbers_names_and_sizes_do_not_panic() {
    let odd = [0.0, -1.0, 1e-300, 1e300, -1e300, f64::MAX, f64::INFINITY, f64::NAN, 1e15, 1e15 + 0.25];
    for (i, a) in odd.iter().enumerate() {
        for log_y in [false, true] {
            let points = [(*a, odd[(i + 3) % odd.len()]), (odd[(i + 1) % odd.len()], *a), (2.0, 3.0)];
            let names = ["", "a name that is very much longer than any margin could take \u{4E00}", "n\n"];
            let plot = Plot {
                title: names[1].repeat(4),
                series: names.iter().map(|n| series(n, &points)).collect(),
                marks: vec![Mark { x: *a, y: 3.0, label: names[1].into(), color: [255; 3] }],
                y_range: Some((*a, odd[(i + 5) % odd.len()])),
                log_y,
                size: (200, 100),
                ..Plot::default()
            };
            assert_eq!(drawn(&plot).dimensions(), (200, 100));
        }
    }
    for size in [(1, 1), (7, 300), (300, 7)] {
        let plot = Plot { series: vec![series("a", &[(0.0, 1.0), (1.0, 2.0)])], size, ..Plot::default() };
        assert_eq!(drawn(&plot).dimensions(), size);
    }
    let error = plot_lines("x.png", &Plot { size: (0, 5), ..Plot::default() }).unwrap_err().to_string();
    assert!(error.starts_with("x.png: "), "{error}");
}

#[test]
fn end_labels_do_not_overlap() {
    let apart = spread(&[100.0, 101.0, 102.0, 150.0], 0.0, 200.0);
    assert!(apart.windows(2).all(|w| w[1] - w[0] >= LINE - 1e-3), "{apart:?}");
    assert!((apart[1] - 101.0).abs() < 1e-3 && apart[3] == 150.0, "{apart:?}");
    // At the borders they stay in; too many share what there is.
    for wanted in [vec![200.0; 5], vec![0.0; 5], vec![50.0; 40]] {
        let apart = spread(&wanted, 0.0, 200.0);
        let gap = LINE.min(200.0 / (wanted.len() - 1) as f32);
        assert!(apart.iter().all(|y| (-0.01..=200.01).contains(y)), "{apart:?}");
        assert!(apart.windows(2).all(|w| w[1] - w[0] >= gap - 1e-2), "{apart:?}");
    }
    assert!(spread(&[], 0.0, 1.0).is_empty());
}

/// A run that looks like one: falling losses, rising precision, validated every second epoch.
fn run(epochs: u64) -> Vec<EpochRecord> {
    let record = |epoch: u64| {
        let t = epoch as f64 / 60.0;
        let wave = |k: f64| 1.0 + 0.04 * (epoch as f64 * k).sin();
        let (b, o, c) =
            (1.9 * (-2.0 * t).exp() + 0.42, 2.6 * (-3.5 * t).exp() + 0.35, 1.4 * (-2.6 * t).exp() + 0.12);
        let (b, o, c) = (b * wave(1.7), o * wave(2.9), c * wave(1.1));
        let ap = 0.46 * (1.0 - (-3.0 * t).exp()) * wave(0.9) * (1.0 - 0.08 * t);
        let validated = epoch.is_multiple_of(2);
        EpochRecord {
            epoch,
            box_loss: b,
            objectness_loss: o,
            class_loss: c,
            total_loss: b + o + c,
            ap50: validated.then_some(ap * 1.55),
            ap: validated.then_some(ap),
        }
    };
    (1..=epochs).map(record).collect()
}

#[test]
fn training_curves_of_a_run_of_none_and_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("training.png");
    let mut colors = Vec::new();
    for epochs in [run(60), run(2), run(1), Vec::new()] {
        training_curves(&path, "csp-tiny on shapes", &epochs).unwrap();
        let image = image::open(&path).unwrap().to_rgb8();
        assert_eq!(image.dimensions(), (2000, 840));
        colors.push([[0, 114, 178], [213, 94, 0]].map(|color| count(&image, color)));
    }
    // Losses from the first epoch on; precision once an epoch was validated.
    assert!(colors[0][0] > 1000 && colors[0][1] > 1000, "{colors:?}");
    assert!(colors[1][0] > 500 && colors[1][1] > 20, "{colors:?}");
    assert!(colors[2][0] > 20 && colors[2][1] == 0, "{colors:?}");
    assert_eq!(colors[3], [0, 0]);
    training_curves(folder.path().join("training.svg"), "", &run(60)).unwrap();
    let svg = std::fs::read_to_string(folder.path().join("training.svg")).unwrap();
    assert!(svg.contains("best AP50:95 "), "{svg}");
}

#[test]
fn the_best_is_the_first_highest() {
    let points = [(1.0, 0.2), (2.0, f64::NAN), (3.0, 0.5), (4.0, 0.5), (5.0, 0.1)];
    let mark = best(&series("AP", &points)).unwrap();
    assert_eq!((mark.x, mark.y, mark.label.as_str()), (3.0, 0.5, "best AP 0.500 (epoch 3)"));
    assert!(best(&series("AP", &[(1.0, f64::NAN)])).is_none());
}
