//! A whole YOLOv7-tiny against PyTorch (`fixtures/parity`): inference, training, gradients, six steps.

use gradpath::device::Device;
use gradpath::graph::{Graph, Mode, Node, Source};
use gradpath::ops::batch_norm::{BatchStatistics, Normalize, UpdateRunning};
use gradpath::ops::concat::Concat;
use gradpath::ops::conv::Conv;
use gradpath::ops::max_pool::MaxPool;
use gradpath::ops::upsample::Upsample;
use gradpath::ops::{Op, Tape, Value};
use gradpath::runtime::{Cpu, SimdLevel};
use gradpath::tensor::{Random, Shape};
use gradpath::zoo;
use serde_json::Value as Json;

use crate::machine::{Data, Machine, fixture, numbers, shape};
use crate::models::{Wanted, learn};

const IMAGES: Shape = Shape::new(2, 64, 96, 3);
const EPSILON: f64 = 1e-3;

/// The network with PyTorch's ε of 10⁻³ in its norms, where the zoo's has Darknet's 10⁻⁵: retraced node
/// by node. Heads are outputs, and returned.
fn network(mode: Mode) -> (Graph, Vec<Value>) {
    let mut zoo = Graph::new(mode);
    let images = zoo.input("images", IMAGES).unwrap();
    let heads = zoo::find("yolov7-tiny").unwrap().trace(&mut zoo, images, 80).unwrap().maps;
    let mut graph = Graph::new(mode);
    let mut map = vec![None; zoo.value_count()];
    for (value, info) in zoo.values() {
        map[value.index()] = match &info.source {
            Source::Input => Some(graph.input(&info.name, info.shape).unwrap()),
            Source::Parameter(init) => Some(graph.parameter(&info.name, info.shape, init.clone()).unwrap()),
            Source::State(init) => Some(graph.state(&info.name, info.shape, init.clone()).unwrap()),
            Source::Node { .. } => None,
        };
    }
    for node in zoo.nodes() {
        let inputs: Vec<Value> = node.inputs.iter().map(|v| map[v.index()].unwrap()).collect();
        let outputs = graph.scope(&node.scope, |g| g.add_node(with_epsilon(node), &inputs)).unwrap();
        node.outputs.iter().zip(outputs).for_each(|(old, new)| map[old.index()] = Some(new));
    }
    let mapped = |value: Value| map[value.index()].unwrap();
    for &(target, value) in zoo.assignments() {
        graph.assign(mapped(target), mapped(value)).unwrap();
    }
    let heads: Vec<Value> = heads.into_iter().map(mapped).collect();
    for (index, &head) in heads.iter().enumerate() {
        graph.output(&format!("head{index}"), head).unwrap();
    }
    (graph, heads)
}

/// The node's op, a norm with the other ε.
fn with_epsilon(node: &Node) -> Box<dyn Op> {
    fn boxed<T: Op + Clone>(node: &Node) -> Option<Box<dyn Op>> {
        (*node.op).downcast::<T>().map(|op| Box::new(op.clone()) as Box<dyn Op>)
    }
    if let Some(norm) = (*node.op).downcast::<Normalize>() {
        return Box::new(Normalize { epsilon: EPSILON, ..norm.clone() });
    }
    boxed::<Conv>(node)
        .or_else(|| boxed::<BatchStatistics>(node))
        .or_else(|| boxed::<UpdateRunning>(node))
        .or_else(|| boxed::<Concat>(node))
        .or_else(|| boxed::<MaxPool>(node))
        .or_else(|| boxed::<Upsample>(node))
        .unwrap_or_else(|| panic!("an op that is not expected in the network: {:?}", node.op))
}

/// The scopes of the convolutions in the order of the Darknet file, written out by hand from its layer
/// table: in an ELAN first the 1×1 that crosses, then the one that enters the stack.
fn scopes() -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    let mut push = |scope: &str, parts: &[&str]| {
        scopes.extend(parts.iter().map(|part| {
            [scope, part].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join(".")
        }));
    };
    let elan = ["crossing", "entry", "stack0", "stack1", "transition"];
    push("backbone", &["stem0", "stem1"]);
    for stage in ["stage2", "stage3", "stage4", "stage5"] {
        push(&format!("backbone.{stage}"), &elan);
    }
    push("neck.spp", &["crossing", "entry", "inner", "transition"]);
    push("neck.up4", &["top", "lateral"]);
    push("neck.elan4", &elan);
    push("neck.up3", &["top", "lateral"]);
    push("neck.elan3", &elan);
    push("neck", &["down4"]);
    push("neck.down4.elan", &elan);
    push("neck", &["down5"]);
    push("neck.down5.elan", &elan);
    for head in ["head0", "head1", "head2"] {
        push(head, &["conv", "predict"]);
    }
    scopes
}

/// The weights by the fixture's formula.
fn weights(graph: &Graph) -> Data {
    let mut state = Data::new();
    for (index, scope) in scopes().into_iter().enumerate() {
        let mut random = Random::keyed(1234, index as u64);
        let mut draw = |count: usize, low: f32, high: f32| -> Vec<f64> {
            (0..count).map(|_| f64::from(random.uniform(low, high))).collect()
        };
        let name = |part: &str| format!("{scope}.{part}");
        let weight = graph.info(graph.find(&name("weight")).unwrap()).shape;
        let filters = weight.n;
        let normed = graph.find(&name("gamma")).is_some();
        state.insert(name(if normed { "beta" } else { "bias" }), draw(filters, -0.1, 0.1));
        if normed {
            state.insert(name("gamma"), draw(filters, 0.5, 1.5));
            let mean = draw(filters, -0.1, 0.1);
            state.insert(name("running"), [mean, draw(filters, 0.5, 1.5)].concat());
        }
        let bound = (6.0 / (weight.h * weight.w * weight.c) as f64).sqrt() as f32;
        state.insert(name("weight"), draw(weight.elements(), -bound, bound));
    }
    for (_, info) in graph.persistent() {
        if info.name.ends_with(".velocity") {
            state.insert(info.name.clone(), vec![0.0; info.shape.elements()]);
        }
        assert!(state.contains_key(&info.name), "{} has no place in the file's order", info.name);
    }
    state
}

fn inputs() -> Data {
    let mut random = Random::keyed(7, 0);
    let pixels = (0..IMAGES.elements()).map(|_| f64::from(random.uniform(0.0, 1.0))).collect();
    Data::from([("images".into(), pixels), ("rate".into(), vec![0.01]), ("momentum".into(), vec![0.937])])
}

/// How far to be off: a norm relatively, an element relative to the root mean square.
#[derive(Clone, Copy)]
struct Tolerance {
    norm: f64,
    elements: f64,
}

/// The deviations seen, the worst of each kind.
struct Deviation {
    norm: f64,
    elements: f64,
}

impl Deviation {
    const NONE: Deviation = Deviation { norm: 0.0, elements: 0.0 };

    /// Holds `data` against a description of PyTorch's tensor.
    fn hold(&mut self, what: &str, data: &[f64], described: &Json, tolerance: Tolerance) {
        let count = data.len() as f64;
        assert_eq!(data.len(), shape(described).elements(), "{what}");
        let norm = data.iter().map(|v| v * v).sum::<f64>().sqrt();
        let mean = data.iter().sum::<f64>() / count;
        let std = (data.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count).sqrt();
        let want = |key: &str| described[key].as_f64().unwrap();
        let rms = want("norm") / count.sqrt();
        let off = (norm - want("norm")).abs() / want("norm");
        assert!(off <= tolerance.norm, "{what}: the norm is {norm}, not {}: off by {off:.1e}", want("norm"));
        self.norm = self.norm.max(off);
        for (key, got) in [("mean", mean), ("std", std), ("first", data[0]), ("last", data[data.len() - 1])] {
            let off = (got - want(key)).abs() / rms;
            assert!(off <= tolerance.elements, "{what}: {key} is {got}, not {}: off by {off:.1e}", want(key));
            self.elements = self.elements.max(off);
        }
    }
}

/// How much more than PyTorch's own f32 run ours may be off by: Winograd's algorithm, which PyTorch does not
/// use there, costs half a digit in a forward. In a backward ONE leaky unit of the last layer's 6144 that
/// falls on the other side of its kink is off by 1.2e-2 from there on.
const MARGIN: f64 = 10.0;

/// What f32 may be off by in `section`.
fn single(parity: &Json, section: &str) -> Tolerance {
    let deviation = |kind: &str| MARGIN * parity["f32_deviation"][section][kind].as_f64().unwrap();
    Tolerance { norm: deviation("norm"), elements: deviation("elements") }
}

/// In f64: what is read from a session was rounded to f32.
const EXACT: Tolerance = Tolerance { norm: 1e-7, elements: 5e-7 };

#[test]
fn weights_and_images_are_drawn_alike() {
    let (graph, _) = network(Mode::Inference);
    let (state, inputs) = (weights(&graph), inputs());
    let images = &inputs["images"];
    let first = state["backbone.stem0.beta"][0];
    let last = *state["backbone.stem0.weight"].last().unwrap();
    let drawn = [first, last, images[0], *images.last().unwrap()];
    assert_eq!(drawn.to_vec(), numbers(&fixture("parity/parity.json")["random_check"]["values"]));
}

/// Heads of inference on `device`.
fn infer(device: &Device, tolerance: impl Fn(&Json) -> Tolerance) {
    let parity = fixture("parity/parity.json");
    let (graph, heads) = network(Mode::Inference);
    let mut machine = Machine::compiled(device, &graph, &weights(&graph));
    machine.step(&inputs());
    let mut deviation = Deviation::NONE;
    for index in 0..heads.len() {
        let name = format!("head{index}");
        let described = &parity["inference_heads"][index];
        assert_eq!(shape(described), graph.info(heads[index]).shape);
        deviation.hold(&name, &machine.output(&name), described, tolerance(&parity));
    }
    println!("inference on {device}: norms {:.1e}, elements {:.1e}", deviation.norm, deviation.elements);
}

/// Heads, loss, gradients and running statistics of one training step on `device`.
fn train(device: &Device, loss_tolerance: f64, tolerance: impl Fn(&Json, &str) -> Tolerance) {
    let parity = fixture("parity/parity.json");
    let (mut graph, heads) = network(Mode::Training);
    learn(&mut graph, &heads, Wanted::GRADIENTS).unwrap();
    let mut machine = Machine::compiled(device, &graph, &weights(&graph));
    machine.step(&inputs());
    let loss = machine.output("loss")[0];
    let want = parity["loss"].as_f64().unwrap();
    assert!((loss - want).abs() <= loss_tolerance * want, "the loss is {loss}, not {want}");
    let mut deviation = Deviation::NONE;
    for index in 0..heads.len() {
        let name = format!("head{index}");
        let described = &parity["training_heads"][index];
        deviation.hold(&name, &machine.output(&name), described, tolerance(&parity, "training_heads"));
    }
    println!("training heads on {device}: norms {:.1e}, elements {:.1e}", deviation.norm, deviation.elements);
    let mut deviation = Deviation::NONE;
    let state = machine.state();
    let convolutions = parity["convolutions"].as_array().unwrap();
    let scopes = scopes();
    assert_eq!(convolutions.len(), scopes.len());
    for (described, scope) in convolutions.iter().zip(scopes) {
        let tolerance = tolerance(&parity, "convolutions");
        let mut hold = |part: &str, data: &[f64], key: &str| {
            deviation.hold(&format!("{scope}.{part}"), data, &described[key], tolerance);
        };
        let weight = graph.info(graph.find(&format!("{scope}.weight")).unwrap()).shape;
        assert_eq!(weight, shape(&described["dweight"]), "{scope}");
        hold("dweight", &machine.output(&format!("d {scope}.weight")), "dweight");
        if described["dgamma"].is_null() {
            hold("dbias", &machine.output(&format!("d {scope}.bias")), "dbias");
            continue;
        }
        hold("dbeta", &machine.output(&format!("d {scope}.beta")), "dbias");
        hold("dgamma", &machine.output(&format!("d {scope}.gamma")), "dgamma");
        let (mean, variance) = state[&format!("{scope}.running")].split_at(weight.n);
        hold("mean", mean, "running_mean_after");
        hold("variance", variance, "running_var_after");
    }
    println!("gradients on {device}: norms {:.1e}, elements {:.1e}", deviation.norm, deviation.elements);
}

/// The cpu device at every SIMD level that this machine has.
fn cpus() -> impl Iterator<Item = Device> {
    SimdLevel::available().into_iter().map(|simd| Device::Cpu(Cpu::with_simd(2, simd).unwrap()))
}

#[test]
fn inference_in_f64() {
    infer(&Device::Reference, |_| EXACT);
}

#[test]
fn inference_on_the_cpu() {
    cpus().for_each(|device| infer(&device, |parity| single(parity, "inference_heads")));
}

#[test]
fn training_in_f64() {
    train(&Device::Reference, 5e-8, |_, _| EXACT);
}

#[test]
fn training_on_the_cpu() {
    cpus().for_each(|device| train(&device, MARGIN * 8e-7, single));
}

/// Steps of SGD on a machine, and how far each loss may be off.
fn descend(machine: impl Fn(&Graph, &Data) -> Machine, tolerances: &[f64]) {
    let parity = fixture("parity/parity.json");
    let (mut graph, heads) = network(Mode::Training);
    learn(&mut graph, &heads, Wanted { gradients: false, update: Some(5e-4) }).unwrap();
    let mut machine = machine(&graph, &weights(&graph));
    for (step, (want, tolerance)) in numbers(&parity["sgd_losses"]).into_iter().zip(tolerances).enumerate() {
        machine.step(&inputs());
        let loss = machine.output("loss")[0];
        let off = (loss - want).abs() / want;
        println!("step {step}: loss {loss}, PyTorch {want}, off by {off:.1e} of {tolerance:.1e}");
        assert!(off <= *tolerance, "the loss of step {step} is {loss}, not {want}");
    }
}

/// The steps are chaotic: what is off by 1e-8 is off by 1e-5 a step later. So learning rate and momentum
/// too have to be f64, which only the interpreter takes.
#[test]
fn four_steps_in_f64() {
    descend(Machine::interpreter, &[5e-9, 5e-9, 2e-8, 5e-8]);
}

/// PyTorch's own f32 run leaves its f64 one by up to 1.4e-2; the losses are held to four times the worst that
/// it was off by up to then, and the first to what a forward may be off by.
#[test]
fn six_steps_on_the_cpu() {
    let mut worst = 0.0_f64;
    let mut tolerances = Vec::new();
    for deviation in numbers(&fixture("parity/parity.json")["f32_deviation"]["sgd_losses"]) {
        worst = worst.max(deviation);
        tolerances.push(4.0 * worst);
    }
    tolerances[0] *= MARGIN / 4.0;
    let device = Device::cpu(2).unwrap();
    descend(|graph, state| Machine::compiled(&device, graph, state), &tolerances);
}
