//! `gradpath run`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use gradpath::analysis::layers;
use gradpath::autograd::backward;
use gradpath::data::Image;
use gradpath::device::Device;
use gradpath::format::{npy, weights};
use gradpath::graph::{Feeds, Graph, Mode, Source, interpret};
use gradpath::ops::{Value, add, mean_square};
use gradpath::tensor::{Random, Shape, Tensor};
use gradpath::zoo::{self, Heads};

use super::{fails, succeeds, words};

type State = BTreeMap<String, Tensor>;

const NETWORK: &str = "elan-nano";
const CLASSES: usize = 3;

/// A folder with weights of elan-nano for three classes and two images of 64×64.
struct Case {
    folder: tempfile::TempDir,
    state: State,
    images: Tensor,
}

fn traced(mode: Mode, images: Shape) -> (Graph, Heads) {
    let mut graph = Graph::new(mode);
    let images = graph.input("images", images).unwrap();
    let heads = zoo::find(NETWORK).unwrap().trace(&mut graph, images, CLASSES).unwrap();
    (graph, heads)
}

impl Case {
    fn new(side: usize) -> Case {
        let shape = Shape::new(2, side, side, 3);
        let images = Tensor::uniform(shape, 0.0, 1.0, &mut Random::new(5));
        let state = traced(Mode::Inference, shape).0.initial_state(7);
        let case = Case { folder: tempfile::tempdir().unwrap(), state, images };
        case.save(&case.state, NETWORK);
        npy::save(case.path("images.npy"), &case.images).unwrap();
        case
    }

    fn save(&self, state: &State, network: &str) {
        let metadata = BTreeMap::from([("network".to_owned(), network.to_owned())]);
        weights::save(self.path("weights.safetensors"), state, &metadata).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `run NET --weights … --input … --output …/out` and `more`.
    fn arguments(&self, more: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut arguments = words(&format!("run {NETWORK} --classes {CLASSES} --threads 2"));
        for (option, name) in
            [("--weights", "weights.safetensors"), ("--input", "images.npy"), ("--output", "out")]
        {
            arguments.extend([option.to_owned(), path(name)]);
        }
        arguments.extend(words(more));
        arguments
    }

    fn output(&self, name: &str) -> Tensor {
        npy::load(self.path("out").join(name)).unwrap()
    }

    /// Replaces the value of `option`.
    fn with(&self, option: &str, value: PathBuf) -> Vec<String> {
        let mut arguments = self.arguments("");
        let at = arguments.iter().position(|a| a == option).unwrap();
        arguments[at + 1] = value.to_str().unwrap().to_owned();
        arguments
    }
}

/// The heads of a session of the library, run directly.
fn direct(case: &Case) -> Vec<Tensor> {
    let (mut graph, heads) = traced(Mode::Inference, case.images.shape());
    for (index, map) in heads.maps.iter().enumerate() {
        graph.output(&format!("{index}"), *map).unwrap();
    }
    let device = Device::cpu(2).unwrap();
    let mut session = device.session(device.compile(&graph).unwrap()).unwrap();
    session.load(&case.state).unwrap();
    session.feed("images", &case.images).unwrap();
    session.run().unwrap();
    (0..heads.maps.len()).map(|index| session.output(&index.to_string()).unwrap()).collect()
}

#[test]
fn heads_are_those_of_a_session() {
    let case = Case::new(64);
    let text = succeeds(case.arguments(""));
    assert!(text.contains("head2.npy"), "{text}");
    let expected = direct(&case);
    let maps: Vec<Tensor> = (0..3).map(|i| case.output(&format!("head{i}.npy"))).collect();
    assert_eq!(maps, expected);
    assert_eq!(maps[0].shape(), Shape::new(2, 8, 8, 24));
    assert_eq!(fs::read_dir(case.path("out")).unwrap().count(), 3);
}

#[test]
fn a_seed_gives_the_weights_of_that_seed() {
    let case = Case::new(64);
    let mut arguments = case.arguments("--seed 7 --json");
    let at = arguments.iter().position(|a| a == "--weights").unwrap();
    arguments.drain(at..at + 2);
    let json: serde_json::Value = serde_json::from_str(&succeeds(arguments)).unwrap();
    assert_eq!(json["maps"][1]["shape"], serde_json::json!([2, 4, 4, 24]));
    assert_eq!(case.output("head0.npy"), direct(&case)[0]);
}

#[test]
fn an_image_of_the_right_size_is_its_pixels() {
    let case = Case::new(64);
    let mut random = Random::new(3);
    let pixels: Vec<u8> = (0..64 * 64 * 3).map(|_| random.below(256) as u8).collect();
    Image::new(64, 64, pixels.clone()).unwrap().save_png(case.path("image.png")).unwrap();
    let pixels = pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
    npy::save(case.path("image.npy"), &Tensor::new(Shape::new(1, 64, 64, 3), pixels).unwrap()).unwrap();
    let run = |name: &str| {
        let mut arguments = case.with("--input", case.path(name));
        arguments.extend(words("--size 64"));
        succeeds(arguments);
        case.output("head0.npy")
    };
    assert_eq!(run("image.png"), run("image.npy"));
}

/// `a` and `b` agree to `tolerance` of b's largest element.
fn close(a: &[f32], b: &[f64], tolerance: f64, what: &str) {
    let largest = b.iter().fold(1e-6, |m: f64, v| m.max(v.abs()));
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((f64::from(*a) - b).abs() <= tolerance * largest, "{what}: {a} {b}, largest {largest}");
    }
}

#[test]
fn layers_are_those_of_the_interpreter() {
    let case = Case::new(32);
    succeeds(case.arguments("--layers"));
    let (graph, heads) = traced(Mode::Inference, case.images.shape());
    let mut feeds = Feeds::new();
    for (value, info) in graph.values().filter(|(_, i)| !matches!(i.source, Source::Node { .. })) {
        let tensor = case.state.get(&info.name).unwrap_or(&case.images);
        feeds.insert(value, tensor.data().iter().map(|&v| f64::from(v)).collect());
    }
    let expected = interpret(&graph, &feeds).unwrap();
    let layers = layers(&graph);
    for (index, layer) in layers.iter().enumerate() {
        let file = format!("layer{index:03}_{}.npy", layer.scope);
        close(case.output(&file).data(), &expected[&layer.output], 1e-3, &file);
    }
    for (index, map) in heads.maps.iter().enumerate() {
        let file = format!("head{index}.npy");
        close(case.output(&file).data(), &expected[map], 1e-3, &file);
    }
    assert_eq!(fs::read_dir(case.path("out")).unwrap().count(), layers.len() + heads.maps.len());
}

#[test]
fn gradients_are_those_of_the_reference_device() {
    let case = Case::new(64);
    succeeds(case.arguments("--grad"));
    let (gradients, metadata) = weights::load(case.path("out/gradients.safetensors")).unwrap();
    assert_eq!(metadata["network"], NETWORK);

    let (mut graph, heads) = traced(Mode::Training, case.images.shape());
    let terms: Vec<Value> =
        heads.maps.iter().map(|&map| mean_square::trace(&mut graph, map).unwrap()).collect();
    let loss = add::trace(&mut graph, terms[0], terms[1]).unwrap();
    let loss = add::trace(&mut graph, loss, terms[2]).unwrap();
    let (parameters, names): (Vec<Value>, Vec<String>) =
        graph.parameters().map(|(value, info)| (value, info.name.clone())).unzip();
    for (name, gradient) in names.iter().zip(backward(&mut graph, loss, &parameters).unwrap()) {
        graph.output(name, gradient).unwrap();
    }
    let device = Device::Reference;
    let mut session = device.session(device.compile(&graph).unwrap()).unwrap();
    session.load(&case.state).unwrap();
    session.feed("images", &case.images).unwrap();
    session.run().unwrap();
    assert!(gradients.keys().eq(names.iter().collect::<std::collections::BTreeSet<_>>()));
    for (name, gradient) in &gradients {
        let expected = session.output(name).unwrap();
        assert_eq!(gradient.shape(), case.state[name].shape(), "{name}");
        let expected: Vec<f64> = expected.data().iter().map(|&v| f64::from(v)).collect();
        assert!(expected.iter().any(|v| *v != 0.0), "{name}");
        close(gradient.data(), &expected, 5e-3, name);
    }
}

/// The sentence of a failing run, which must not have made the output folder. Paths in it are relative
/// to the case's folder.
fn refused(case: &Case, arguments: Vec<String>) -> String {
    let sentence = fails(arguments);
    assert!(!case.path("out").exists(), "{sentence}");
    sentence.replace(&format!("{}/", case.folder.path().display()), "")
}

#[test]
fn weights_that_do_not_fit() {
    let case = Case::new(64);
    let mut without = case.arguments("");
    let at = without.iter().position(|a| a == "--weights").unwrap();
    without.drain(at..at + 2);
    assert_eq!(
        refused(&case, without),
        "no weights were given; give --weights FILE, or --seed N to run with fresh ones"
    );
    let sentence = refused(&case, case.with("--weights", case.path("absent.safetensors")));
    assert!(sentence.starts_with("absent.safetensors: cannot be read"), "{sentence}");

    let more = case.arguments("--classes 6");
    let at = more.iter().position(|a| a == "--classes").unwrap();
    let more = [&more[..at], &more[at + 2..]].concat();
    assert_eq!(
        refused(&case, more),
        "weights.safetensors: tensor `head0.predict.weight` has shape [24, 1, 1, 48], where elan-nano \
         needs [33, 1, 1, 48]; the file is for 3 classes: use --classes 3"
    );

    let mut state = case.state.clone();
    let weight = state.remove("backbone.stem0.weight").unwrap();
    case.save(&state, NETWORK);
    assert_eq!(
        refused(&case, case.arguments("")),
        "weights.safetensors: tensor `backbone.stem0.weight` is missing, which elan-nano needs with \
         shape [16, 3, 3, 3]; give the whole weights of this network"
    );
    state.insert("backbone.stem0.weight".into(), weight);
    state.insert("extra".into(), Tensor::zeros(Shape::vector(1)));
    case.save(&state, NETWORK);
    assert_eq!(
        refused(&case, case.arguments("")),
        "weights.safetensors: tensor `extra` is none of elan-nano's; give the weights of this network, \
         and nothing else"
    );
    state.remove("extra");
    state.insert("backbone.stem1.gamma".into(), Tensor::zeros(Shape::vector(5)));
    case.save(&state, NETWORK);
    assert_eq!(
        refused(&case, case.arguments("")),
        "weights.safetensors: tensor `backbone.stem1.gamma` has shape [1, 1, 1, 5], where elan-nano \
         needs [1, 1, 1, 24]; give the weights of this network"
    );
    case.save(&case.state, "csp-nano");
    assert_eq!(
        refused(&case, case.arguments("")),
        "weights.safetensors: holds the weights of csp-nano, not of elan-nano; name csp-nano, or give \
         another file"
    );
    let path = case.path("weights.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let sentence = refused(&case, case.arguments(""));
    assert!(sentence.starts_with("weights.safetensors: is "), "{sentence}");
    assert!(sentence.contains("cut off or damaged"), "{sentence}");
}

#[test]
fn inputs_that_do_not_fit() {
    let case = Case::new(64);
    let refuse = |tensor: Tensor| {
        npy::save(case.path("bad.npy"), &tensor).unwrap();
        refused(&case, case.with("--input", case.path("bad.npy")))
    };
    assert_eq!(
        refuse(Tensor::zeros(Shape::new(1, 3, 64, 64))),
        "bad.npy: has shape [1, 3, 64, 64], where images are [n, h, w, 3]; save images with their \
         channels last"
    );
    assert_eq!(
        refuse(Tensor::zeros(Shape::new(1, 64, 50, 3))),
        "an input of 50×64 is not divisible by elan-nano's stride 32; use 64×64"
    );
    assert_eq!(
        refused(&case, case.arguments("--size 96x64")),
        "images.npy: has images of 64×64, where --size is 96×64; leave --size out: an array is taken \
         as it is"
    );
    fs::write(case.path("bad.png"), b"no picture").unwrap();
    for name in ["bad.png", "absent.npy", "absent.jpg"] {
        let sentence = refused(&case, case.with("--input", case.path(name)));
        assert!(sentence.starts_with(&format!("{name}: ")), "{sentence}");
    }
}

#[test]
fn outputs_that_cannot_be_written() {
    let case = Case::new(64);
    let sentence = refused(&case, case.with("--output", case.path("images.npy")));
    assert_eq!(sentence, "images.npy: is a file, where a folder is to be written to; name a folder");
    let sentence = refused(&case, case.with("--output", case.path("images.npy/below")));
    assert!(sentence.starts_with("images.npy/below: the folder cannot be made: "), "{sentence}");
    // A head that cannot take its place leaves no half-written file.
    fs::create_dir_all(case.path("blocked/head0.npy")).unwrap();
    let sentence = refused(&case, case.with("--output", case.path("blocked")));
    assert!(sentence.starts_with("blocked/head0.npy: is a folder"), "{sentence}");
    assert_eq!(fs::read_dir(case.path("blocked")).unwrap().count(), 1);
}
