//! One way to run a graph on whatever runs graphs: the interpreter, the reference device, the cpu.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gradpath::compile::{Options, compile};
use gradpath::device::{Device, Session};
use gradpath::graph::{Feeds, Graph, Source, interpret};
use gradpath::tensor::{Shape, Tensor};
use serde_json::Value as Json;

/// Dense data by the name of an input, an output, a parameter or a state.
pub type Data = BTreeMap<String, Vec<f64>>;

/// Something that runs steps of a graph.
pub enum Machine {
    /// Every node as it was traced, in f64: exact to its last digits.
    Interpreter { graph: Box<Graph>, state: Data, outputs: Data },
    /// A compiled program on a device; what is read from it was rounded to f32.
    Session(Box<dyn Session>),
}

impl Machine {
    /// The interpreter of `graph`.
    pub fn interpreter(graph: &Graph, state: &Data) -> Self {
        let (graph, state) = (Box::new(graph.clone()), state.clone());
        Machine::Interpreter { graph, state, outputs: Data::new() }
    }

    /// `graph` compiled for `device` with everything on.
    pub fn compiled(device: &Device, graph: &Graph, state: &Data) -> Self {
        Self::with_options(device, graph, state, |_| ())
    }

    /// The same with the options that `change` leaves on.
    pub fn with_options(device: &Device, graph: &Graph, state: &Data, change: impl Fn(&mut Options)) -> Self {
        let mut options = Options::new(device.processor());
        change(&mut options);
        let program = Arc::new(compile(graph, options).unwrap());
        let mut session = device.session(program).unwrap();
        let tensor = |(name, data): (&String, &Vec<f64>)| {
            graph.find(name).map(|v| (name.clone(), tensor(graph.info(v).shape, data)))
        };
        session.load(&state.iter().filter_map(tensor).collect()).unwrap();
        Machine::Session(session)
    }

    /// All three, each with its name and the tolerance to hold it to.
    pub fn all(
        graph: &Graph,
        state: &Data,
        exact: f64,
        rounded: f64,
        single: f64,
    ) -> Vec<(&'static str, f64, Self)> {
        vec![
            ("interpreter", exact, Self::interpreter(graph, state)),
            ("reference", rounded, Self::compiled(&Device::Reference, graph, state)),
            ("cpu", single, Self::compiled(&Device::cpu(2).unwrap(), graph, state)),
        ]
    }

    /// Runs one step.
    pub fn step(&mut self, inputs: &Data) {
        match self {
            Machine::Interpreter { graph, state, outputs } => {
                let mut feeds = Feeds::new();
                for (value, info) in graph.values().filter(|(_, i)| !matches!(i.source, Source::Node { .. }))
                {
                    let data = inputs.get(&info.name).or_else(|| state.get(&info.name));
                    feeds.insert(
                        value,
                        data.unwrap_or_else(|| panic!("{:?} is not given", info.name)).clone(),
                    );
                }
                let values = interpret(graph, &feeds).unwrap();
                *outputs = graph.outputs().iter().map(|(n, v)| (n.clone(), values[v].clone())).collect();
                for (target, value) in graph.assignments() {
                    state.insert(graph.info(*target).name.clone(), values[value].clone());
                }
            }
            Machine::Session(session) => {
                let names: Vec<_> =
                    session.program().inputs.iter().map(|(n, s)| (n.clone(), s.shape)).collect();
                for (name, shape) in names {
                    session.feed(&name, &tensor(shape, &inputs[&name])).unwrap();
                }
                session.run().unwrap();
            }
        }
    }

    /// An output of the last step.
    pub fn output(&self, name: &str) -> Vec<f64> {
        match self {
            Machine::Interpreter { outputs, .. } => outputs[name].clone(),
            Machine::Session(session) => wide(&session.output(name).unwrap()),
        }
    }

    /// All parameters and states.
    pub fn state(&self) -> Data {
        match self {
            Machine::Interpreter { state, .. } => state.clone(),
            Machine::Session(session) => {
                session.state().unwrap().iter().map(|(name, t)| (name.clone(), wide(t))).collect()
            }
        }
    }
}

/// `data` as a tensor, rounded to f32.
pub fn tensor(shape: Shape, data: &[f64]) -> Tensor {
    Tensor::new(shape, data.iter().map(|&v| v as f32).collect()).unwrap()
}

/// A tensor's data.
pub fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.data().iter().map(|&v| f64::from(v)).collect()
}

/// What a training of `graph` begins with.
pub fn initial(graph: &Graph, seed: u64) -> Data {
    graph.initial_state(seed).iter().map(|(name, t)| (name.clone(), wide(t))).collect()
}

/// Euclidean norm of the difference over that of `want`.
pub fn distance(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |v: f64| v * v;
    let error: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    let norm: f64 = want.iter().map(|&w| square(w)).sum();
    if error == 0.0 { 0.0 } else { (error / norm).sqrt() }
}

/// Every element within `tolerance · (1 + |want|)`.
pub fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / (1.0 + want.abs());
        assert!(
            error <= tolerance,
            "{what}[{i}] is {got}, not {want}: off by {error:.1e}, not {tolerance:.0e}"
        );
    }
}

/// A fixture, parsed.
pub fn fixture(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A list of numbers.
pub fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// A shape and the data of it.
pub fn shaped(json: &Json) -> (Shape, Vec<f64>) {
    (shape(json), numbers(&json["data"]))
}

/// The shape of a tensor or of its description.
pub fn shape(json: &Json) -> Shape {
    let sides: Vec<usize> =
        json["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
    match sides[..] {
        [n, h, w, c] => Shape::new(n, h, w, c),
        [c] => Shape::vector(c),
        _ => panic!("a shape of {} dimensions", sides.len()),
    }
}
