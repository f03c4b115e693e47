//! The same seed gives the same weights, bit for bit, whatever the number of threads.

use std::collections::BTreeMap;

use gradpath::device::Device;
use gradpath::tensor::Shape;

use crate::machine::tensor;
use crate::models::{Trace, Wanted, inputs, menagerie, network, training};

const IMAGES: Shape = Shape::new(2, 64, 64, 3);

/// The bits of everything kept after `steps` steps.
fn trained(trace: Trace<'_>, steps: u64, seed: u64, threads: usize) -> BTreeMap<String, Vec<u32>> {
    let device = Device::cpu(threads).unwrap();
    let graph = training(IMAGES, trace, Wanted::STEP);
    let mut session = device.session(device.compile(&graph).unwrap()).unwrap();
    session.load(&graph.initial_state(seed)).unwrap();
    for step in 0..steps {
        for (name, data) in inputs(IMAGES, seed + step) {
            let shape = graph.info(graph.find(&name).unwrap()).shape;
            session.feed(&name, &tensor(shape, &data)).unwrap();
        }
        session.run().unwrap();
        assert!(session.output("loss").unwrap().data()[0].is_finite());
    }
    let bits = |data: &[f32]| data.iter().map(|v| v.to_bits()).collect();
    session.state().unwrap().iter().map(|(name, t)| (name.clone(), bits(t.data()))).collect()
}

#[test]
fn training_is_bitwise_reproducible_on_any_number_of_threads() {
    let (elan, prn) = (network("elan-nano", 3), network("prn-nano", 3));
    // The one that is wide enough for Winograd's algorithm.
    let wide = network("yolov7-tiny", 3);
    let traces: [(&str, u64, Trace<'_>); 4] = [
        ("elan-nano", 5, &elan),
        ("prn-nano", 5, &prn),
        ("menagerie", 5, &menagerie),
        ("yolov7-tiny", 2, &wide),
    ];
    for (name, steps, trace) in traces {
        let first = trained(trace, steps, 5, 1);
        for threads in [1, 2, 3] {
            let again = trained(trace, steps, 5, threads);
            let differs: Vec<_> = first.keys().filter(|key| first[*key] != again[*key]).collect();
            assert!(differs.is_empty(), "{name}: {threads} threads change {differs:?}");
        }
        assert_ne!(first, trained(trace, steps, 6, 1), "{name}: another seed is another training");
    }
}
