//! Pascal VOC folders: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/{train,val}.txt`
//! (Everingham et al. 2010).
//!
//! Classes are those of a `classes.txt` or `labels.txt` in the folder, one a line, where there is
//! one; otherwise all names in the annotations of both splits, sorted. Coordinates are taken as
//! edges, as today's annotation tools write them; the original VOC counts pixels from 1, which
//! moves its boxes by at most one pixel.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::photos::{Checks, EXTENSIONS, Photo, file_name, in_parallel, read_text};
use super::{Bounds, Image, Object, OpenOptions, Photos, Split};
use crate::{Error, Result};

/// Opens one split of a VOC folder.
///
/// # Errors
/// Where the folder lacks a part, a listed annotation or image is missing or does not parse, or
/// more boxes than [`OpenOptions::forgive`] allows are bad.
pub fn open(folder: impl AsRef<Path>, split: Split, options: &OpenOptions) -> Result<Photos> {
    let folder = folder.as_ref();
    let names = read_split(folder, split)?;
    let photos = in_parallel(&names, |name| read_annotation(folder, name))?;
    let classes = match read_classes(folder)? {
        Some(classes) => classes,
        None => {
            let other = if split == Split::Train { Split::Val } else { Split::Train };
            let others = match split_file(folder, other).exists() {
                true => read_split(folder, other)?,
                false => Vec::new(),
            };
            let others = in_parallel(&others, |name| read_annotation(folder, name))?;
            let all = photos.iter().chain(&others).flat_map(|photo| &photo.objects);
            all.map(|object| object.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    let mut checks = Checks::default();
    let photos =
        photos.into_iter().map(|photo| resolve(photo, &classes, &mut checks)).collect::<Result<_>>()?;
    let name = format!("{} {}", file_name(folder), split.name());
    Photos::new(&split_file(folder, split), name, classes, photos, checks.settle(options.forgive)?)
}

fn split_file(folder: &Path, split: Split) -> PathBuf {
    folder.join(format!("ImageSets/Main/{}.txt", split.name()))
}

/// The image names that a split lists.
fn read_split(folder: &Path, split: Split) -> Result<Vec<String>> {
    let path = split_file(folder, split);
    if !path.is_file() {
        let fix =
            format!("list the names of its {} images there, one a line, without extension", split.name());
        return Err(Error::file(&path, "the split file is missing").fix(fix));
    }
    let text = read_text(&path)?;
    // A second column (1, 0, -1) is in the files of single classes, and says nothing here.
    let names: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    match names.is_empty() {
        true => {
            Err(Error::file(&path, "lists no image").fix("write one image name a line, without extension"))
        }
        false => Ok(names),
    }
}

/// The classes of `classes.txt` or `labels.txt`, where there is one.
fn read_classes(folder: &Path) -> Result<Option<Vec<String>>> {
    for name in ["classes.txt", "labels.txt"] {
        let path = folder.join(name);
        if path.is_file() {
            let text = read_text(&path)?;
            return Ok(Some(
                text.lines().map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect(),
            ));
        }
    }
    Ok(None)
}

/// One annotation file as it stands.
struct Annotation {
    path: PathBuf,
    image: PathBuf,
    size: (usize, usize),
    objects: Vec<Named>,
}

struct Named {
    name: String,
    bounds: Bounds,
    difficult: bool,
    line: usize,
}

fn read_annotation(folder: &Path, name: &str) -> Result<Annotation> {
    let path = folder.join(format!("Annotations/{name}.xml"));
    if !path.is_file() {
        let fix = "add the annotation, or take the name out of ImageSets/Main";
        return Err(Error::file(&path, "the annotation is missing").fix(fix));
    }
    let text = read_text(&path)?;
    let document = Document::parse(&text).map_err(|e| {
        let line = e.pos().row as usize;
        Error::file(&path, format!("is not XML ({e})")).line(line).fix("repair or replace the annotation")
    })?;
    let image = find_image(folder, name)?;
    let size = Image::read_size(&image)?;
    let root = document.root_element();
    // The boxes refer to the size that the annotator saw; 0 is what some tools write for unknown.
    if let Some(node) = child(root, "size") {
        let width = child(node, "width").map(|n| number(&document, n, &path)).transpose()?;
        let height = child(node, "height").map(|n| number(&document, n, &path)).transpose()?;
        let said = (width.unwrap_or(0.0), height.unwrap_or(0.0));
        if said.0 > 0.0 && said.1 > 0.0 && said != (size.0 as f32, size.1 as f32) {
            let (w, h) = size;
            let message = format!("says {}×{}, but {} is {w}×{h}", said.0, said.1, image.display());
            let error = Error::file(&path, message).line(line(&document, node));
            return Err(error.fix("correct the size and the boxes"));
        }
    }
    let objects = root.children().filter(|n| n.has_tag_name("object"));
    let objects = objects.map(|node| read_object(&document, node, &path)).collect::<Result<_>>()?;
    Ok(Annotation { path, image, size, objects })
}

fn find_image(folder: &Path, name: &str) -> Result<PathBuf> {
    let stem = folder.join("JPEGImages");
    let lower = EXTENSIONS.iter().map(|e| stem.join(format!("{name}.{e}")));
    let upper = EXTENSIONS.iter().map(|e| stem.join(format!("{name}.{}", e.to_ascii_uppercase())));
    lower.chain(upper).find(|path| path.is_file()).ok_or_else(|| {
        let fix = "add the image, or take the name out of ImageSets/Main";
        Error::file(stem.join(format!("{name}.jpg")), "the image is missing").fix(fix)
    })
}

fn read_object(document: &Document, node: Node, path: &Path) -> Result<Named> {
    let line = line(document, node);
    let missing = |what: &str| {
        Error::file(path, format!("an object has no <{what}>")).line(line).fix("add it, or remove the object")
    };
    let name = child(node, "name").and_then(|n| n.text()).map(str::trim).filter(|s| !s.is_empty());
    let name = name.ok_or_else(|| missing("name"))?.to_owned();
    let corners = child(node, "bndbox").ok_or_else(|| missing("bndbox"))?;
    let edge = |what: &str| number(document, child(corners, what).ok_or_else(|| missing(what))?, path);
    let bounds = Bounds::new(edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?);
    let difficult = child(node, "difficult").and_then(|n| n.text()).is_some_and(|t| t.trim() == "1");
    Ok(Named { name, bounds, difficult, line })
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|n| n.has_tag_name(name))
}

fn line(document: &Document, node: Node) -> usize {
    document.text_pos_at(node.range().start).row as usize
}

fn number(document: &Document, node: Node, path: &Path) -> Result<f32> {
    let text = node.text().unwrap_or("").trim();
    text.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| {
        let message = format!("<{}> is `{text}`, not a number", node.tag_name().name());
        Error::file(path, message).line(line(document, node)).fix("write the number of pixels there")
    })
}

/// Looks names up in `classes`, and checks the boxes.
fn resolve(annotation: Annotation, classes: &[String], checks: &mut Checks) -> Result<Photo> {
    let Annotation { path, image, size, objects: named } = annotation;
    let mut objects = Vec::with_capacity(named.len());
    for Named { name, bounds, difficult, line } in named {
        let class = classes.iter().position(|c| *c == name).ok_or_else(|| {
            let message = format!("the class `{name}` is not one of {}", classes.join(", "));
            Error::file(&path, message).line(line).fix("correct the name, or add it to the list of classes")
        })?;
        if let Some(bounds) = checks.check(bounds, size, &format!("`{name}`"), &path, Some(line)) {
            objects.push(Object { bounds, class, ignore: difficult });
        }
    }
    Ok(Photo { path: image, width: size.0, height: size.1, objects, annotation: path })
}
