use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{Error, Result};

fn wardrobe(count: usize) -> Arc<dyn Dataset> {
    Arc::new(wardrobe::Wardrobe::new(Split::Train, 3, count, 64).unwrap())
}

fn options(threads: usize) -> LoaderOptions {
    let augment = Some(AugmentOptions { mosaic: 0.4, ..Default::default() });
    LoaderOptions { size: (64, 48), batch: 5, seed: 9, augment, threads, ..Default::default() }
}

fn epoch(options: LoaderOptions, epoch: u64) -> Vec<Batch> {
    let loader = Loader::new(wardrobe(33), options).unwrap();
    loader.epoch(epoch).collect::<Result<_>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_threads_prefetch_or_cache() {
    let expected = epoch(options(0), 2);
    assert_eq!(expected.len(), 7);
    assert_eq!(expected[6].targets.len(), 3);
    for threads in [1, 2, 4] {
        for (prefetch, cache_bytes) in [(1, 0), (8, 1 << 30), (3, 100_000)] {
            let options = LoaderOptions { prefetch, cache_bytes, ..options(threads) };
            assert!(
                epoch(options, 2) == expected,
                "{threads} threads, {prefetch} ahead, {cache_bytes} bytes"
            );
        }
    }
}

#[test]
fn batches_differ_by_epoch_and_seed_and_repeat_with_the_cache() {
    let loader = Loader::new(wardrobe(33), options(2)).unwrap();
    let run = |epoch| loader.epoch(epoch).collect::<Result<Vec<Batch>>>().unwrap();
    let first = run(0);
    assert!(run(1) != first);
    assert!(run(0) == first);
    assert!(epoch(LoaderOptions { seed: 10, ..options(2) }, 0) != first);
}

#[test]
fn an_epoch_shows_every_sample_once() {
    for shuffle in [false, true] {
        let batches = epoch(LoaderOptions { shuffle, ..options(2) }, 4);
        let mut seen: Vec<usize> = batches.iter().flat_map(|b| b.indices.clone()).collect();
        assert_eq!(seen.is_sorted(), !shuffle);
        seen.sort_unstable();
        assert_eq!(seen, (0..33).collect::<Vec<_>>());
    }
    let full = epoch(LoaderOptions { drop_last: true, ..options(2) }, 4);
    assert_eq!(full.iter().map(|b| b.names.len()).collect::<Vec<_>>(), [5; 6]);
}

#[test]
fn resuming_gives_what_would_have_come() {
    let loader = Loader::new(wardrobe(33), options(2)).unwrap();
    let all: Vec<Batch> = loader.epoch(5).collect::<Result<_>>().unwrap();
    for first in [0, 3, 6, 7, 100] {
        let rest: Vec<Batch> = loader.epoch_from(5, first).collect::<Result<_>>().unwrap();
        assert!(rest == all[first.min(7)..], "from {first}");
    }
}

#[test]
fn plain_batches_are_the_dataset_letterboxed() {
    let dataset = wardrobe(7);
    let loader = Loader::new(Arc::clone(&dataset), LoaderOptions::plain((96, 80), 4)).unwrap();
    let batches: Vec<Batch> = loader.epoch(0).collect::<Result<_>>().unwrap();
    assert_eq!(batches[0].images.shape().to_string(), "[4, 80, 96, 3]");
    for (i, (batch, at)) in (0..7).map(|i| (i, (&batches[i / 4], i % 4))) {
        let sample = dataset.sample(i).unwrap();
        assert_eq!((batch.sizes[at], batch.indices[at]), ((64, 64), i));
        let back = batch.transforms[at].inverse();
        assert_eq!(batch.targets[at].len(), sample.objects.len());
        for (target, object) in batch.targets[at].iter().zip(&sample.objects) {
            assert_eq!((target.class, target.ignore), (object.class, object.ignore));
            assert!(distance(back.map(target.bounds), object.bounds) < 1e-3);
        }
        let (boxed, _) = crate::data::augment::letterbox(&sample, (96, 80));
        let pixels = &batch.images.data()[at * 96 * 80 * 3..][..96 * 80 * 3];
        assert!(pixels.iter().zip(boxed.image.pixels()).all(|(a, &b)| *a == f32::from(b) / 255.0));
    }
}

#[test]
fn large_photos_are_shrunk_once_and_boxes_stay_on_them() {
    /// One photo with one rectangle.
    struct Photo(Vec<String>);
    const BOUNDS: Bounds = Bounds { x0: 300.0, y0: 150.0, x1: 500.0, y1: 350.0 };
    impl Dataset for Photo {
        fn name(&self) -> &str {
            "photo"
        }
        fn class_names(&self) -> &[String] {
            &self.0
        }
        fn len(&self) -> usize {
            1
        }
        fn sample(&self, _: usize) -> Result<Sample> {
            let mut image = Image::filled(801, 603, [10; 3]);
            paint(&mut image, BOUNDS, [250; 3]);
            let objects = vec![Object { bounds: BOUNDS, class: 0, ignore: false }];
            Ok(Sample { image, objects, name: "photo".into() })
        }
    }
    let augment = AugmentOptions { brightness: 0.0, contrast: 0.0, ..Default::default() };
    let options = LoaderOptions { size: (160, 160), batch: 1, augment: Some(augment), ..options(1) };
    let loader = Loader::new(Arc::new(Photo(vec!["box".into()])), options).unwrap();
    for epoch in 0..20 {
        let batch = loader.epoch(epoch).next().unwrap().unwrap();
        assert_eq!(batch.sizes, [(801, 603)]);
        let pixels = batch.images.data().iter().map(|v| (v * 255.0).round() as u8).collect();
        let seen = extent(&Image::new(160, 160, pixels).unwrap(), |p| p[0] > 140).unwrap();
        let target = batch.targets[0][0].bounds;
        assert!(distance(seen, target) <= 1.0, "epoch {epoch}: {seen:?} {target:?}");
        let frame = Bounds::new(0.0, 0.0, 160.0, 160.0);
        assert!(distance(batch.transforms[0].map(BOUNDS).overlap(&frame), target) < 1e-3);
    }
}

/// Delegates to the wardrobe but for one sample.
struct Faulty {
    inner: Arc<dyn Dataset>,
    panics: bool,
    asked: AtomicUsize,
}

impl Dataset for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }
    fn class_names(&self) -> &[String] {
        self.inner.class_names()
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn sample(&self, index: usize) -> Result<Sample> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match index {
            17 if self.panics => panic!("a defect of the dataset"),
            17 => Err(Error::file("photo17.jpg", "the image does not decode").fix("replace it")),
            _ => self.inner.sample(index),
        }
    }
}

#[test]
fn an_error_comes_in_its_place_and_ends_the_epoch() {
    for threads in [0, 1, 3] {
        for panics in [false, true] {
            let faulty = Faulty { inner: wardrobe(33), panics, asked: AtomicUsize::new(0) };
            let options = LoaderOptions { shuffle: false, augment: None, ..options(threads) };
            let loader = Loader::new(Arc::new(faulty), options).unwrap();
            let results: Vec<Result<Batch>> = loader.epoch(0).collect();
            assert_eq!(results.len(), 4);
            assert!(results[..3].iter().all(Result::is_ok));
            let message = results[3].as_ref().err().unwrap().to_string();
            let expected =
                if panics { "making batch 3 of faulty panicked" } else { "photo17.jpg: the image" };
            assert!(message.contains(expected), "{message}");
        }
    }
}

#[test]
fn threads_stay_within_the_prefetch_and_end_with_the_iterator() {
    let faulty = Faulty { inner: wardrobe(1000), panics: false, asked: AtomicUsize::new(0) };
    let dataset = Arc::new(faulty);
    let options = LoaderOptions { shuffle: false, augment: None, cache_bytes: 0, prefetch: 2, ..options(3) };
    let loader = Loader::new(Arc::clone(&dataset) as Arc<dyn Dataset>, options).unwrap();
    let mut batches = loader.epoch(0);
    batches.next().unwrap().unwrap();
    drop(batches);
    // One batch taken, and two ahead of it.
    let asked = dataset.asked.load(Ordering::SeqCst);
    assert!((5..=15).contains(&asked), "{asked}");
    drop(loader);
    // No thread holds the dataset any more.
    assert_eq!(Arc::strong_count(&dataset), 1);
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |options: LoaderOptions| Loader::new(wardrobe(3), options).err().unwrap().to_string();
    assert!(refused(LoaderOptions { batch: 0, ..options(1) }).contains("batches of 0 images"));
    assert!(refused(LoaderOptions { size: (0, 8), ..options(1) }).contains("0×8"));
    assert!(refused(LoaderOptions { drop_last: true, ..options(1) }).contains("fewer than a batch of 5"));
    assert!(!refused(LoaderOptions { size: (usize::MAX, 8), ..options(1) }).is_empty());
}
