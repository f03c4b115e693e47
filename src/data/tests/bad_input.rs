//! Whatever is wrong with a dataset ends in one sentence that names the file and the fix.

use super::*;

/// The error that opening (or reading every sample) ends in.
fn failure(spec: &str, split: Split) -> String {
    let result = open(spec, split, &OpenOptions::default()).and_then(|set| {
        (0..set.len()).try_for_each(|i| set.sample(i).map(drop))?;
        Ok(set.name().to_owned())
    });
    let message = result.expect_err("this dataset should be refused").to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    assert!(message.contains("; "), "no fix: {message}");
    message
}

/// Checks the error for the file (below the dataset's folder, with its line) and for a part of what
/// it says.
#[track_caller]
fn expect(little: &Little, file: &str, what: &str) {
    let message = failure(little.spec(), Split::Train);
    let path = if file.is_empty() { little.root().to_owned() } else { little.path(file) };
    let start = path.display().to_string();
    assert!(message.starts_with(&start), "`{message}` does not start with {start}");
    assert!(message.contains(what), "`{message}` does not say `{what}`");
}

#[test]
fn missing_and_empty_datasets() {
    let little = Little::new();
    let missing = little.path("nothing");
    let message = failure(missing.to_str().unwrap(), Split::Train);
    assert!(message.contains("nothing: there is no such dataset"), "{message}");
    expect(&little, "", "looked for Annotations/ of VOC, data.yaml of YOLO");
    let text = little.write("notes.txt", "hello");
    let message = failure(text.to_str().unwrap(), Split::Train);
    assert!(message.contains("notes.txt: is not a dataset's description"), "{message}");
}

#[test]
fn images_that_are_missing_broken_cut_off_or_huge() {
    let voc = Little::voc();
    std::fs::remove_file(voc.path("JPEGImages/photo1.png")).unwrap();
    expect(&voc, "JPEGImages/photo1.jpg: the image is missing", "take the name out of ImageSets/Main");

    let voc = Little::voc();
    voc.write("JPEGImages/photo1.png", "no image");
    expect(&voc, "JPEGImages/photo1.png: the image does not decode", "replace it");
    voc.write("JPEGImages/photo1.png", "");
    expect(&voc, "JPEGImages/photo1.png: the image does not decode", "replace it");

    // The header is whole, so that only decoding finds it out.
    let voc = Little::voc();
    let whole = std::fs::read(voc.path("JPEGImages/photo1.png")).unwrap();
    voc.write("JPEGImages/photo1.png", &whole[..whole.len() / 2]);
    expect(&voc, "JPEGImages/photo1.png: the image does not decode", "replace it");

    // Headers that promise more pixels than anyone has, in a few bytes.
    for side in [60_000, 16_000] {
        voc.write("JPEGImages/photo1.png", bitmap_header(side));
        expect(&voc, "JPEGImages/photo1.png: the image", "make it smaller");
    }
}

/// The header of a BMP file of `side` × `side` pixels.
fn bitmap_header(side: u32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for word in [0, 0, 54, 40, side, side, 24 << 16 | 1, 0, 0, 2835, 2835, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// Changed bytes end in an error or in another dataset, not in a panic.
#[test]
fn damaged_annotations() {
    const BYTES: &[u8] = b"0129.-:<>/{}[],xe\"\n \xff";
    let (voc, yolo, coco) = (Little::voc(), Little::yolo(), Little::coco());
    for (little, file) in [
        (&voc, "Annotations/photo0.xml"),
        (&voc, "ImageSets/Main/train.txt"),
        (&yolo, "data.yaml"),
        (&yolo, "train/labels/photo0.txt"),
        (&coco, "annotations/instances_train2017.json"),
        (&coco, "train2017/photo2.png"),
    ] {
        let whole = std::fs::read(little.path(file)).unwrap();
        let mut refused = 0;
        for seed in 0..150 {
            let mut random = crate::tensor::Random::new(seed);
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = BYTES[random.below(BYTES.len())],
                    1 => drop(bytes.drain(at..(at + random.below(9)).min(bytes.len()))),
                    _ => bytes.insert(at, BYTES[random.below(BYTES.len())]),
                }
            }
            little.write(file, &bytes);
            let result = open(little.spec(), Split::Train, &OpenOptions::default())
                .and_then(|set| (0..set.len()).try_for_each(|i| set.sample(i).map(drop)));
            if let Err(error) = result {
                refused += 1;
                let message = error.to_string();
                assert!(message.contains(little.spec()), "seed {seed} of {file}: {message}");
            }
        }
        assert!(refused > 20, "{file}: {refused}");
        little.write(file, whole);
    }
}

#[test]
fn every_prefix_of_an_image_is_an_error_or_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/resample/turned.jpg"));
    let whole = whole.unwrap();
    let path = folder.path().join("cut.jpg");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        if let Err(error) = Image::open(&path) {
            assert!(error.to_string().contains("cut.jpg"), "{error}");
        }
    }
}

#[test]
fn voc_splits_and_annotations() {
    let voc = Little::voc();
    let message = failure(voc.spec(), Split::Val);
    assert!(
        message.contains("ImageSets/Main/val.txt: the split file is missing; list the names"),
        "{message}"
    );
    voc.write("ImageSets/Main/train.txt", "\n \n");
    expect(&voc, "ImageSets/Main/train.txt", "lists no image");
    voc.write("ImageSets/Main/train.txt", "photo0\nphoto9\n");
    expect(&voc, "Annotations/photo9.xml", "the annotation is missing");

    let voc = Little::voc();
    voc.write("Annotations/photo0.xml", "<annotation>\n<object></annotation>");
    expect(&voc, "Annotations/photo0.xml:2", "is not XML");
    voc.write("Annotations/photo0.xml", [0xff, 0xfe, 0x00]);
    expect(&voc, "Annotations/photo0.xml", "is not UTF-8");
    voc.write("Annotations/photo0.xml", voc_xml(64, 32, "  <object><name>cat</name></object>\n"));
    expect(&voc, "Annotations/photo0.xml:3", "an object has no <bndbox>");
    voc.write("Annotations/photo0.xml", voc_xml(64, 32, &voc_object("", [0, 0, 4, 4])));
    expect(&voc, "Annotations/photo0.xml:3", "an object has no <name>");
    for number in ["four", "NaN", "inf", ""] {
        let object = voc_object("cat", [0, 0, 4, 4]).replace("<xmax>4", &format!("<xmax>{number}"));
        voc.write("Annotations/photo0.xml", voc_xml(64, 32, &object));
        expect(&voc, "Annotations/photo0.xml:5", &format!("<xmax> is `{number}`, not a number"));
    }
    voc.write("Annotations/photo0.xml", voc_xml(32, 64, ""));
    expect(&voc, "Annotations/photo0.xml:2", "says 32×64");

    let voc = Little::voc();
    voc.write("classes.txt", "cat\n");
    expect(&voc, "Annotations/photo0.xml:3", "the class `dog` is not one of cat");
    for i in 0..3 {
        voc.write(&format!("Annotations/photo{i}.xml"), "<annotation></annotation>");
    }
    expect(&voc, "ImageSets/Main/train.txt", "none of its 3 images has an object");
}

#[test]
fn boxes_of_no_area_and_outside() {
    for (corners, what) in [
        ([5, 5, 5, 9], "the box (5, 5)–(5, 9) of `cat` has no area"),
        ([9, 5, 5, 9], "has no area"),
        ([20, 0, 30, 9], "lies outside its image of 16×16"),
        ([4, 0, 30, 9], "sticks out of its image of 16×16"),
    ] {
        let voc = Little::voc();
        voc.write("Annotations/photo2.xml", voc_xml(16, 16, &voc_object("cat", corners)));
        expect(&voc, "Annotations/photo2.xml:3", what);
        expect(&voc, "Annotations/photo2.xml:3", "correct or remove the object");
    }
    for (line, what) in [
        ("0 0.5 0.5 0 0.1", "has no area"),
        ("0 0.5 0.5 -0.1 0.1", "has no area"),
        ("0 1.5 0.5 0.1 0.1", "lies outside its image of 64×32"),
        ("0 0.9 0.5 0.9 0.1", "sticks out of its image of 64×32"),
    ] {
        let yolo = Little::yolo();
        yolo.write("train/labels/photo0.txt", format!("0 0.5 0.5 0.1 0.1\n{line}\n"));
        expect(&yolo, "train/labels/photo0.txt:2", what);
    }
    for (bbox, what) in
        [("[4,2,0,28]", "has no area"), ("[90,2,5,28]", "outside"), ("[4,2,90,28]", "sticks out")]
    {
        let coco = Little::coco();
        rewrite(&coco, "[4,2,16,28]", bbox);
        expect(&coco, "annotations/instances_train2017.json", what);
        expect(&coco, "annotations/instances_train2017.json", "annotation 0 (`dog` in photo0.png)");
    }
}

#[test]
fn yolo_descriptions_and_labels() {
    let with = |yaml: &str, place: &str, what: &str| {
        let yolo = Little::yolo();
        yolo.write("data.yaml", yaml);
        expect(&yolo, place, what);
    };
    with("train: train/images\n", "data.yaml", "`names` is missing");
    with("train: train/images\nnames: []\n", "data.yaml", "`names` is empty");
    with("train: train/images\nnames: {0: cat, 2: dog}\n", "data.yaml", "`names` jumps to 2 where 1 was due");
    with("names: [cat, dog]\n", "data.yaml", "`train` is missing");
    with("train: elsewhere\nnames: [cat, dog]\n", "data.yaml", "`train` leads to nothing");
    with("train: [unclosed\nnames: [cat, dog]\n", "data.yaml:", "does not parse");
    with("just text\n", "data.yaml:", "does not parse");
    with("train: train/labels\nnames: [cat, dog]\n", "train/labels", "holds no image");

    let with = |labels: &str, what: &str| {
        let yolo = Little::yolo();
        yolo.write("train/labels/photo0.txt", format!("0 0.5 0.5 0.1 0.1\n\n{labels}\n"));
        expect(&yolo, "train/labels/photo0.txt:3", what);
    };
    with("2 0.5 0.5 0.1 0.1", "the class 2 is out of range; use 0 to 1");
    with("-1 0.5 0.5 0.1 0.1", "the class -1 is out of range");
    with("0.5 0.5 0.5 0.1 0.1", "the class 0.5 is out of range");
    with("0 0.5 0.5 0.1", "is not `class centre_x centre_y width height`");
    with("0 0.5 0.5 0.1 0.1 0.1", "is not `class centre_x centre_y width height`");
    with("0 0.5 nan 0.1 0.1", "is not `class centre_x centre_y width height`");
    with("cat 0.5 0.5 0.1 0.1", "is not `class centre_x centre_y width height`");
    with("0 20 10 8 8", "is not in shares of the image's size");

    let yolo = Little::yolo();
    let list = yolo.write("train.txt", "train/images/photo0.png\ntrain/images/photo7.png\n");
    yolo.write("data.yaml", "train: train.txt\nnames: [cat, dog]\n");
    expect(&yolo, "train.txt:2", "photo7.png is missing");
    std::fs::write(list, "\n").unwrap();
    expect(&yolo, "train.txt", "lists no image");
}

fn rewrite(coco: &Little, from: &str, to: &str) {
    let path = coco.path("annotations/instances_train2017.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn coco_files() {
    let with = |from: &str, to: &str, what: &str| {
        let coco = Little::coco();
        rewrite(&coco, from, to);
        expect(&coco, "annotations/instances_train2017.json", what);
    };
    with("\"category_id\":90", "\"category_id\":5", "is of category 5, which is out of range");
    with("\"image_id\":100", "\"image_id\":7", "belongs to image 7, which is not listed");
    with("[4,2,16,28]", "[4,2,16]", "annotation 0 has a bbox of 3 numbers");
    with("[4,2,16,28]", "[]", "annotation 0 has a bbox of 0 numbers");
    with("photo1.png", "photo8.png", "photo8.png is missing");
    with("photo0.png", "photo8.png", "its image photo8.png is in none of");
    with("\"id\":101", "\"id\":100", "the image 100 is there twice");
    with("\"id\":90", "\"id\":17", "the category 17 is there twice");
    with("\"categories\"", "\"kinds\"", "is not a COCO annotation file (missing field `categories`");
    with("[{", "[", "is not a COCO annotation file");
    // The size is checked when the pixels come.
    let coco = Little::coco();
    rewrite(&coco, "\"width\":64", "\"width\":65");
    expect(&coco, "train2017/photo0.png", "the image is 64×32, but");

    let coco = Little::coco();
    let message = failure(coco.spec(), Split::Val);
    assert!(
        message.contains("annotations: holds no annotation file for val; add instances_val.json"),
        "{message}"
    );
    let file = coco.write("boxes.json", "{}");
    let message = failure(file.to_str().unwrap(), Split::Val);
    assert!(message.contains("boxes.json: is one split"), "{message}");
}

#[test]
fn many_bad_boxes_are_counted() {
    let yolo = Little::yolo();
    yolo.write("train/labels/photo0.txt", "0 0.5 0.5 0 0.1\n0 0.5 0.5 0.1 0\n");
    expect(&yolo, "train/labels/photo0.txt:1", "2 of 3 boxes have such faults");
}

#[test]
fn options_that_cannot_be() {
    let none = OpenOptions { scenes: Some(0), ..Default::default() };
    assert!(open("wardrobe", Split::Train, &none).err().unwrap().to_string().contains("no scenes"));
    let tiny = OpenOptions { scene_size: 4, ..Default::default() };
    assert!(open("wardrobe", Split::Train, &tiny).err().unwrap().to_string().contains("32 to 2048"));
    let set = open("wardrobe", Split::Val, &OpenOptions::default()).unwrap();
    assert!(set.sample(set.len()).err().unwrap().to_string().contains("has 400 scenes, not 400"));
    let voc = open(Little::voc().spec(), Split::Train, &OpenOptions::default()).unwrap();
    assert!(check_same_classes(set.as_ref(), voc.as_ref()).err().unwrap().to_string().contains("cat, dog"));
    assert!(voc.sample(3).err().unwrap().to_string().contains("has 3 samples, not 3"));
}
