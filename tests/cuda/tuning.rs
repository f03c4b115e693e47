//! Tiles that are measured: by a rigged clock, since the emulator has no time. Whichever wins, the network computes
//! what the reference does; what was measured is found again, and forgotten where something else would be measured;
//! what computes something else is left out.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use gradpath::autograd::backward;
use gradpath::compile::{Program, Step};
use gradpath::device::cuda::{Tuned, tune};
use gradpath::device::{Device, Session};
use gradpath::graph::{Graph, Init, Mode};
use gradpath::nn::{Block, Sequence, Style};
use gradpath::ops::conv::{Conv, Geometry};
use gradpath::ops::{Cost, Io, Op, Tape, TileChoice, Value, mean_square};
use gradpath::runtime::cuda::{Argument, Cuda, DeviceView, Launch, Operands, Target, TuningStore};
use gradpath::runtime::{Activation, Cpu};
use gradpath::tensor::{DType, Random, Shape, Tensor};

use crate::device::{device, open};
use crate::emulator::Device as EmulatedDevice;

const INPUT: Shape = Shape { n: 2, h: 5, w: 6, c: 8 };

fn random(shape: Shape, seed: u64) -> Tensor {
    let mut random = Random::new(seed);
    Tensor::new(shape, (0..shape.elements()).map(|_| random.uniform(-1.0, 1.0)).collect()).unwrap()
}

/// A 3×3 and a 1×1 unit, and the gradients of all weights: all three convolutions, with what training fuses.
fn training() -> (Graph, Vec<String>) {
    let mut graph = Graph::new(Mode::Training);
    let x = graph.map_input("x", INPUT).unwrap();
    let style = Style::default();
    let units = Sequence::new().then(style.unit(24, 3)).then(style.unit(16, 1)).then(style.unit(8, 3));
    let y = units.trace(&mut graph, x).unwrap();
    let loss = mean_square::trace(&mut graph, y).unwrap();
    let parameters: Vec<Value> = graph.parameters().map(|(value, _)| value).collect();
    let mut names = vec!["y".to_owned()];
    let gradients = backward(&mut graph, loss, &parameters).unwrap();
    for (index, gradient) in gradients.into_iter().enumerate() {
        names.push(format!("gradient {index}"));
        graph.output(&names[index + 1], gradient).unwrap();
    }
    graph.output("y", y).unwrap();
    (graph, names)
}

/// The outputs of one step.
fn outputs(device: &Device, graph: &Graph, names: &[String]) -> Vec<Tensor> {
    let mut session = device.begin(graph, 3).unwrap();
    session.step(&[("x", &random(INPUT, 4))]).unwrap();
    names.iter().map(|name| session.output(name).unwrap()).collect()
}

/// `cuda` with the tunings in `folder` and nobody else's.
fn with_folder(cuda: &Cuda, folder: &Path) -> Cuda {
    let target = cuda.target();
    cuda.with_tunings(TuningStore::open(Some(folder), cuda.name(), &target, (13, 0)))
}

/// `graph` compiled without what was measured.
fn untuned(cuda: &Cuda, graph: &Graph) -> Arc<Program> {
    let none = cuda.with_tunings(TuningStore::open(None, cuda.name(), &cuda.target(), (13, 0)));
    Device::Cuda(none).compile(graph).unwrap()
}

/// The tile of a step, as its op prints it.
fn tile(step: &Step) -> Option<String> {
    let text = format!("{:?}", step.op);
    let (_, rest) = text.rsplit_once("tile: Some(\"")?;
    Some(rest.split_once('"').unwrap().0.to_owned())
}

/// The tiles of all steps that have some to choose from, with how many there are.
fn choices(program: &Program, cuda: &Cuda) -> Vec<(String, TileChoice)> {
    program.steps.iter().filter_map(|step| step.tile_choice(&cuda.target())).collect()
}

#[test]
fn each_candidate_wins_in_turn() {
    let (graph, names) = training();
    let Some((emulated, cuda)) = open(80, DType::F32) else { return };
    let expected = outputs(&Device::Reference, &graph, &names);
    let cuda = cuda.with_map(DType::F32);
    let program = untuned(&cuda, &graph);
    let choices = choices(&program, &cuda);
    let ops: BTreeSet<&str> = program
        .steps
        .iter()
        .filter(|step| step.tile_choice(&cuda.target()).is_some())
        .map(|step| step.op.name())
        .collect();
    assert_eq!(ops, BTreeSet::from(["conv", "conv input gradient", "conv weight gradient"]));
    let rounds = choices.iter().map(|(_, choice)| choice.tiles.len()).max().unwrap();
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let cuda = with_folder(&cuda, folder.path());
        // Of each operation's candidates the one whose turn it is takes a second, the others two.
        let wanted = |choice: &TileChoice| choice.tiles[round % choice.tiles.len()].clone();
        let mut clock = |step: &Step, _: &mut dyn Session| {
            let (_, choice) = step.tile_choice(&cuda.target()).unwrap();
            Ok(if tile(step).unwrap() == wanted(&choice) { 1.0 } else { 2.0 })
        };
        let tuned = tune(&program, &cuda, &mut clock).unwrap();
        assert_eq!((tuned.measured, &tuned.warnings), (tuned.operations, &Vec::new()));
        let program = Device::Cuda(cuda.clone()).compile(&graph).unwrap();
        let mut won = 0;
        for (step, (_, choice)) in
            program.steps.iter().filter(|s| s.tile_choice(&cuda.target()).is_some()).zip(&choices)
        {
            assert_eq!(tile(step).as_ref(), Some(&wanted(choice)), "{step:?}");
            won += 1;
        }
        assert_eq!(won, choices.len());
        // Where the winner is not the usual tile, a step is said to take half of the time.
        let usual = choices.iter().filter(|(_, c)| c.tiles[c.usual] == wanted(c)).count();
        let all = choices.len() as f64;
        assert!((tuned.seconds - all).abs() < 1e-9, "{tuned:?}");
        assert!((tuned.usual_seconds - (2.0 * all - usual as f64)).abs() < 1e-9, "{tuned:?}");
        for (name, (got, want)) in
            names.iter().zip(outputs(&device(&cuda, DType::F32), &graph, &names).iter().zip(&expected))
        {
            for (got, want) in got.data().iter().zip(want.data()) {
                assert!(
                    (got - want).abs() <= 2e-4 * (1.0 + want.abs()),
                    "round {round}, {name}: {got}, not {want}"
                );
            }
        }
    }
    assert_eq!(emulated.last_error(), "");
}

/// On Hopper warpgroups are among the candidates, of another kernel file than the usual tile's.
#[test]
fn a_tile_of_another_kernel_can_win() {
    let Some((emulated, cuda)) = open(90, DType::Bf16) else { return };
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.map_input("x", INPUT).unwrap();
    let y = Style::default().unit(40, 3).trace(&mut graph, x).unwrap();
    graph.output("y", y).unwrap();
    let expected = outputs(&Device::Reference, &graph, &["y".to_owned()]);
    let folder = tempfile::tempdir().unwrap();
    let cuda = with_folder(&cuda, folder.path());
    let mut clock = |step: &Step, _: &mut dyn Session| {
        let tile = tile(step).unwrap();
        Ok(if tile.contains("Wgmma") { 1.0 } else { 2.0 })
    };
    let tuned = tune(&untuned(&cuda, &graph), &cuda, &mut clock).unwrap();
    assert_eq!((tuned.measured, tuned.seconds, tuned.usual_seconds), (1, 1.0, 2.0));
    assert_eq!(tuned.warnings, [""; 0]);
    emulated.clear();
    let got = outputs(&device(&cuda, DType::Bf16), &graph, &["y".to_owned()]);
    assert!(emulated.launches().iter().any(|launch| launch.kernel.contains("wgmma")), "it ran");
    for (got, want) in got[0].data().iter().zip(expected[0].data()) {
        assert!((got - want).abs() <= 0.03 * (1.0 + want.abs()), "{got}, not {want}");
    }
}

/// Measures with a clock by which each candidate takes as long as it has letters, and says how often it was read.
fn tune_by_letters(cuda: &Cuda, graph: &Graph) -> (Tuned, usize) {
    let mut read = 0;
    let mut clock = |step: &Step, _: &mut dyn Session| {
        read += 1;
        let tile = tile(step).unwrap();
        // No two take the same.
        let unlike = tile.bytes().map(f64::from).sum::<f64>() / 1e6;
        Ok(tile.len() as f64 + unlike)
    };
    let tuned = tune(&untuned(cuda, graph), cuda, &mut clock).unwrap();
    (tuned, read)
}

#[test]
fn what_was_measured_is_found_again_until_something_changes() {
    let Some((emulated, cuda)) = open(80, DType::F16) else { return };
    let (graph, _) = training();
    let folder = tempfile::tempdir().unwrap();
    let first = with_folder(&cuda, folder.path());
    assert!(!first.to_string().contains("measured"), "{first}");
    let (tuned, read) = tune_by_letters(&first, &graph);
    assert!(tuned.measured == tuned.operations && read > tuned.measured, "{tuned:?}");
    let tiles = |cuda: &Cuda| -> Vec<Option<String>> {
        let program = Device::Cuda(cuda.clone()).compile(&graph).unwrap();
        program.steps.iter().map(tile).collect()
    };
    let chosen = tiles(&first);
    assert_eq!(chosen.iter().flatten().count(), choices(&untuned(&cuda, &graph), &cuda).len());

    // Another process: the file is read again.
    let second = with_folder(&cuda, folder.path());
    assert_eq!(tiles(&second), chosen);
    assert!(second.to_string().ends_with(&format!(", {} measured tiles)", tuned.operations)), "{second}");
    let (again, read) = tune_by_letters(&second, &graph);
    assert_eq!((again.known, again.measured, read), (tuned.operations, 0, 0));
    assert_eq!((again.seconds, again.usual_seconds), (tuned.seconds, tuned.usual_seconds));

    // Maps of another type are other operations, kept beside these.
    let other = with_folder(&cuda.with_map(DType::F32), folder.path());
    assert!(tiles(&other).iter().all(Option::is_none));

    // Kernels that have changed.
    let path = first.tunings().file().unwrap().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    let kernels = text.split_once("\"kernels\": \"").unwrap().1.split_once('"').unwrap().0.to_owned();
    fs::write(&path, text.replace(&kernels, "0123456789abcdef")).unwrap();
    let changed = with_folder(&cuda, folder.path());
    assert!(tiles(&changed).iter().flatten().count() < chosen.iter().flatten().count());
    let (again, read) = tune_by_letters(&changed, &graph);
    assert!(again.measured > 0 && again.measured < tuned.measured && read > 0, "{again:?}");
    assert_eq!(tiles(&changed), chosen);

    // A damaged file.
    fs::write(&path, &text[..text.len() / 3]).unwrap();
    let damaged = with_folder(&cuda, folder.path());
    assert!(tiles(&damaged).iter().all(Option::is_none));
    assert_eq!(damaged.tunings().take_warnings().len(), 1);
    let (again, _) = tune_by_letters(&damaged, &graph);
    assert_eq!(again.measured, tuned.measured);
    assert_eq!(tiles(&with_folder(&cuda, folder.path())), chosen);

    // Another device.
    emulated.set_device(&EmulatedDevice { sm: 80, multiprocessors: 7, ..Default::default() });
    let larger = with_folder(&Cuda::open(0, DType::F16).unwrap(), folder.path());
    assert!(tiles(&larger).iter().all(Option::is_none));
}

/// A device that autotunes does so when it compiles, by its own clock.
#[test]
fn a_device_that_autotunes() {
    let Some((_session, cuda)) = open(80, DType::F32) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.map_input("x", INPUT).unwrap();
    let y = Style::default().unit(8, 1).trace(&mut graph, x).unwrap();
    graph.output("y", y).unwrap();
    let cuda = with_folder(&cuda, folder.path());
    let program = Device::Cuda(cuda.clone()).compile(&graph).unwrap();
    assert!(program.steps.iter().all(|step| tile(step).is_none()));
    let program = Device::Cuda(cuda.with_autotuning(true)).compile(&graph).unwrap();
    assert_eq!(program.steps.iter().filter_map(tile).count(), 1);
    let known = TuningStore::open(Some(folder.path()), cuda.name(), &cuda.target(), (13, 0)).known();
    assert_eq!(known.len(), 1);
}

/// A convolution of which some candidates are wrong.
#[derive(Clone, Debug)]
struct Sabotaged {
    conv: Conv,
    tile: Option<String>,
}

const RIGHT: &str = "right";
const ALSO_RIGHT: &str = "also right";
const WRONG: [&str; 4] =
    ["another activation", "does not compile", "does not launch", "leaves the last channels as they were"];
const FATAL: &str = "reads where there is nothing";

impl Op for Sabotaged {
    fn name(&self) -> &'static str {
        "sabotaged conv"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> gradpath::Result<Vec<Shape>> {
        self.conv.output_shapes(inputs)
    }

    fn cost(&self, inputs: &[Shape], outputs: &[Shape]) -> Cost {
        self.conv.cost(inputs, outputs)
    }

    fn makes_maps(&self) -> bool {
        true
    }

    fn reference(&self, io: &mut Io<'_, f64>) -> gradpath::Result<()> {
        self.conv.reference(io)
    }

    fn cpu(&self, io: &mut Io<'_, f32>, cpu: &Cpu) -> gradpath::Result<()> {
        self.conv.cpu(io, cpu)
    }

    fn cuda_tiles(&self, _inputs: &[Shape], _outputs: &[Shape], _target: &Target) -> Option<TileChoice> {
        let mut tiles = vec![WRONG[0], WRONG[1], RIGHT, WRONG[2], WRONG[3], ALSO_RIGHT];
        tiles.extend((self.conv.bias).then_some(FATAL));
        let tiles = tiles.into_iter().map(str::to_owned).collect();
        Some(TileChoice { tiles, usual: 2, files: &["conv_forward.cu"] })
    }

    fn with_cuda_tile(&self, tile: &str) -> Option<Arc<dyn Op>> {
        Some(Arc::new(Sabotaged { tile: Some(tile.to_owned()), ..self.clone() }))
    }

    fn cuda(&self, operands: &Operands, target: &Target) -> gradpath::Result<Vec<Launch>> {
        let mut launches = self.conv.cuda(operands, target)?;
        let launch = launches.pop().unwrap();
        let launch = match self.tile.as_deref() {
            Some("another activation") => launch.define("ACTIVATION", Activation::Relu),
            Some("does not compile") => launch.define("X_TYPE", "nonsense".to_owned()),
            Some("does not launch") => launch.block(2048),
            Some("leaves the last channels as they were") => {
                let view = operands.outputs[0].channels(0, 4);
                let fewer = Operands { outputs: vec![view], ..operands.clone() };
                let weight = operands.input(1);
                let shape = Shape { n: 4, ..weight.shape };
                let mut inputs = operands.inputs.clone();
                inputs[1] = Some(DeviceView { shape, ..weight });
                self.conv.cuda(&Operands { inputs, ..fewer }, target)?.pop().unwrap()
            }
            Some(FATAL) => {
                let mut launch = launch;
                launch.arguments[0] = Argument::Address(64);
                launch
            }
            // Another candidate must be another launch.
            Some(ALSO_RIGHT) => launch.define("ALSO", 1usize),
            _ => launch,
        };
        Ok(vec![launch])
    }
}

fn sabotaged(bias: bool) -> Graph {
    let mut graph = Graph::new(Mode::Inference);
    let x = graph.map_input("x", INPUT).unwrap();
    let weight = graph.parameter("weight", Shape::new(16, 3, 3, 8), Init::Constant(0.1)).unwrap();
    let mut inputs = vec![x, weight];
    if bias {
        inputs.push(graph.parameter("bias", Shape::vector(16), Init::Constant(0.0)).unwrap());
    }
    let conv = Conv { activation: Activation::Silu, ..Conv::plain(Geometry::same(3, 1), bias) };
    let y = graph.apply(Box::new(Sabotaged { conv, tile: None }), &inputs).unwrap();
    graph.output("y", y).unwrap();
    graph
}

/// Every candidate that is wrong would win by the clock; the fastest of the right ones does.
#[test]
fn a_wrong_candidate_is_left_out_by_name() {
    let Some((_session, cuda)) = open(80, DType::F32) else { return };
    let folder = tempfile::tempdir().unwrap();
    let cuda = with_folder(&cuda, folder.path());
    let graph = sabotaged(false);
    let times = BTreeMap::from([(RIGHT, 9.0), (ALSO_RIGHT, 8.0)]);
    let timed = RefCell::new(BTreeSet::new());
    let mut clock = |step: &Step, _: &mut dyn Session| {
        let tile = tile(step).unwrap();
        timed.borrow_mut().insert(tile.clone());
        Ok(times.get(tile.as_str()).copied().unwrap_or(1.0))
    };
    let tuned = tune(&untuned(&cuda, &graph), &cuda, &mut clock).unwrap();
    assert_eq!((tuned.measured, tuned.seconds, tuned.usual_seconds), (1, 8.0, 9.0));
    assert_eq!(tuned.warnings.len(), WRONG.len(), "{:?}", tuned.warnings);
    for (name, why) in
        WRONG.into_iter().zip(["the usual tile has", "nonsense", "cannot be launched", "the usual tile has"])
    {
        let warning = tuned.warnings.iter().find(|warning| warning.contains(name));
        let warning = warning.unwrap_or_else(|| panic!("{name}: {:?}", tuned.warnings));
        assert!(warning.starts_with("sabotaged conv in tiles of ") && warning.contains(why), "{warning}");
    }
    let program = Device::Cuda(cuda).compile(&graph).unwrap();
    assert_eq!(program.steps.iter().find_map(tile).as_deref(), Some(ALSO_RIGHT));
}

/// What breaks the device is an error, and nothing that was measured before is lost.
#[test]
fn a_candidate_that_breaks_the_device_is_an_error() {
    let Some((session, cuda)) = open(80, DType::F32) else { return };
    let cuda = with_folder(&cuda, tempfile::tempdir().unwrap().path());
    let program = untuned(&cuda, &sabotaged(true));
    let asked = Cell::new(0);
    let mut clock = |_: &Step, _: &mut dyn Session| {
        asked.set(asked.get() + 1);
        Ok(1.0)
    };
    let error = tune(&program, &cuda, &mut clock).unwrap_err().to_string();
    assert!(error.contains(FATAL) && error.contains("left the device unusable"), "{error}");
    assert!(error.contains("leave --autotune out"), "{error}");
    assert!(asked.get() >= 2);
    session.clear();
}
