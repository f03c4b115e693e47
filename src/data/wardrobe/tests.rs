use super::*;

/// Writes sheets of scenes to look at. Not a check: run it by name.
#[test]
#[ignore = "draws pictures for a look at them"]
fn draws_sheets() {
    for (split, size) in [(Split::Train, 160), (Split::Val, 160), (Split::Train, 320)] {
        let wardrobe = Wardrobe::new(split, 1, 24, size).unwrap();
        let columns = 1280 / size;
        let rows = 3;
        let mut sheet = Image::filled(columns * size, rows * size, [0; 3]);
        for i in 0..columns * rows {
            let sample = wardrobe.sample(i).unwrap();
            let (left, top) = (i % columns * size, i / columns * size);
            for y in 0..size {
                let at = 3 * ((top + y) * columns * size + left);
                sheet.pixels_mut()[at..at + 3 * size]
                    .copy_from_slice(&sample.image.pixels()[3 * y * size..][..3 * size]);
            }
            for object in &sample.objects {
                let b = object.bounds;
                let (x0, y0, x1, y1) = (b.x0 as usize, b.y0 as usize, b.x1 as usize - 1, b.y1 as usize - 1);
                let colour =
                    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]]
                        [object.class];
                let edge = (x0..=x1)
                    .flat_map(|x| [(x, y0), (x, y1)])
                    .chain((y0..=y1).flat_map(|y| [(x0, y), (x1, y)]));
                for (x, y) in edge {
                    let at = 3 * ((top + y) * columns * size + left + x);
                    sheet.pixels_mut()[at..at + 3].copy_from_slice(&colour);
                }
            }
        }
        sheet.save_png(format!("/tmp/wardrobe_{}_{size}.png", split.name())).unwrap();
    }
}
