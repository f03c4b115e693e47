//! One little dataset in three formats, and real photos.

use super::*;

fn train(little: &Little) -> std::sync::Arc<dyn Dataset> {
    open(little.spec(), Split::Train, &OpenOptions::default()).unwrap()
}

#[test]
fn the_three_formats_give_the_same_samples() {
    let (voc, yolo, coco) = (Little::voc(), Little::yolo(), Little::coco());
    let sets = [train(&voc), train(&yolo), train(&coco)];
    for set in &sets {
        assert_eq!(set.class_names(), ["cat", "dog"]);
        assert_eq!(set.len(), LITTLE.len());
        assert!(set.warnings().is_empty());
        for (i, (width, height, objects)) in LITTLE.iter().enumerate() {
            let sample = set.sample(i).unwrap();
            assert_eq!(sample.name, format!("photo{i}.png"));
            assert_eq!(sample.image, noise(*width, *height, i as u64));
            let expected = objects.iter().map(|&(class, b)| {
                let [x0, y0, x1, y1] = b.map(|v| v as f32);
                Object { bounds: Bounds::new(x0, y0, x1, y1), class, ignore: false }
            });
            assert_eq!(sample.objects, expected.collect::<Vec<_>>(), "{} {i}", set.name());
        }
    }
}

#[test]
fn a_coco_file_alone_finds_its_images_and_its_other_split() {
    let coco = Little::coco();
    let json = coco.path("annotations/instances_train2017.json");
    let set = open(json.to_str().unwrap(), Split::Train, &OpenOptions::default()).unwrap();
    assert_eq!(set.len(), 3);
    std::fs::copy(&json, coco.path("annotations/instances_val2017.json")).unwrap();
    std::fs::rename(coco.path("train2017"), coco.path("val2017")).unwrap();
    let set = open(json.to_str().unwrap(), Split::Val, &OpenOptions::default()).unwrap();
    assert_eq!((set.len(), set.name()), (3, "instances_val2017"));
}

#[test]
fn what_is_difficult_or_a_crowd_is_to_be_ignored() {
    let voc = Little::voc();
    let object = voc_object("cat", [0, 0, 8, 8]).replace("<bndbox>", "<difficult>1</difficult><bndbox>");
    voc.write("Annotations/photo2.xml", voc_xml(16, 16, &object));
    assert!(train(&voc).sample(2).unwrap().objects[0].ignore);
    let coco = Little::coco();
    let json = coco.path("annotations/instances_train2017.json");
    let text = std::fs::read_to_string(&json).unwrap().replace("\"iscrowd\":0", "\"iscrowd\":1");
    std::fs::write(&json, text).unwrap();
    assert!(train(&coco).sample(0).unwrap().objects.iter().all(|object| object.ignore));
}

#[test]
fn voc_takes_classes_from_both_splits_or_from_a_list() {
    let voc = Little::voc();
    voc.write("ImageSets/Main/train.txt", "photo0  1\n\n");
    voc.write("ImageSets/Main/val.txt", "photo1 -1\n");
    voc.write("Annotations/photo1.xml", voc_xml(32, 64, &voc_object("ape", [0, 0, 8, 8])));
    for split in [Split::Train, Split::Val] {
        let set = open(voc.spec(), split, &OpenOptions::default()).unwrap();
        assert_eq!(set.class_names(), ["ape", "cat", "dog"]);
        assert_eq!(set.len(), 1);
    }
    voc.write("classes.txt", "dog\ncat\nape\n");
    let set = train(&voc);
    assert_eq!(set.class_names(), ["dog", "cat", "ape"]);
    assert_eq!(set.sample(0).unwrap().objects[0].class, 0);
}

#[test]
fn yolo_takes_maps_of_names_lists_of_images_and_paths_as_they_come() {
    let yolo = Little::yolo();
    let root = yolo.root().display();
    let list = yolo.write("lists/train.txt", "../train/images/photo1.png\n./../train/images/photo0.png\n");
    for (source, count) in [
        ("train: ../train/images".to_owned(), 3),
        ("train: train/images/".to_owned(), 3),
        ("path: train\ntrain: images".to_owned(), 3),
        (format!("path: {root}\ntrain: [train/images]"), 3),
        (format!("train: {}", list.display()), 2),
        ("train:\n  - lists/train.txt\n  - train/images".to_owned(), 5),
    ] {
        let yaml = yolo.write("data.yaml", format!("# a comment\n{source}\nnames:\n  0: cat\n  1: 'dog'\n"));
        let set = open(yaml.to_str().unwrap(), Split::Train, &OpenOptions::default()).unwrap();
        assert_eq!(set.class_names(), ["cat", "dog"]);
        assert_eq!(set.len(), count, "{source}");
    }
}

#[test]
fn boxes_that_stick_out_by_rounding_are_clipped() {
    let voc = Little::voc();
    let object = voc_object("cat", [8, 0, 17, 16]);
    voc.write("Annotations/photo2.xml", voc_xml(16, 16, &object));
    let set = train(&voc);
    assert_eq!(set.sample(2).unwrap().objects[0].bounds, Bounds::new(8.0, 0.0, 16.0, 16.0));
    assert!(set.warnings().is_empty());
}

#[test]
fn a_few_bad_boxes_are_forgiven_with_a_warning() {
    let voc = Little::voc();
    let objects = voc_object("cat", [5, 5, 5, 9]) + &voc_object("cat", [8, 0, 40, 16]);
    voc.write("Annotations/photo2.xml", voc_xml(16, 16, &objects));
    let options = OpenOptions { forgive: 0.4, ..Default::default() };
    let set = open(voc.spec(), Split::Train, &options).unwrap();
    let kept = set.sample(2).unwrap().objects;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].bounds, Bounds::new(8.0, 0.0, 16.0, 16.0));
    let path = voc.path("Annotations/photo2.xml").display().to_string();
    let [first, second] = set.warnings() else { panic!("{:?}", set.warnings()) };
    assert_eq!(first, &format!("{path}:3: the box (5, 5)–(5, 9) of `cat` has no area; skipped it"));
    assert!(second.starts_with(&format!("{path}:7: ")) && second.ends_with("; clipped it"), "{second}");
}

#[test]
fn real_photos_of_blood_cells_open() {
    let Some(folder) = crate::testing::shared("data/bccd") else { return };
    let spec = folder.to_str().unwrap();
    let [train, val] = [Split::Train, Split::Val].map(|s| open(spec, s, &OpenOptions::default()).unwrap());
    check_same_classes(train.as_ref(), val.as_ref()).unwrap();
    assert_eq!(train.class_names(), ["Platelets", "RBC", "WBC"]);
    assert_eq!((train.len(), val.len()), (205, 87));
    // Two platelets of the 292 photos are marked by a single point.
    let warnings: Vec<&String> = train.warnings().iter().chain(val.warnings()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings.iter().all(|w| w.contains(".xml:") && w.contains("has no area; skipped it")),
        "{warnings:?}"
    );
    let sample = train.sample(0).unwrap();
    assert_eq!((sample.image.width(), sample.image.height()), (640, 480));
    let boxes =
        |set: &dyn Dataset| (0..set.len()).map(|i| set.sample(i).unwrap().objects.len()).sum::<usize>();
    // 3943 objects stand in the annotations.
    assert_eq!(boxes(train.as_ref()) + boxes(val.as_ref()), 3943 - 2);
}
