//! Whole networks: inference one image at a time, and a training step, with criterion.
//!
//! `cargo bench --bench network` prints for each workload its time, that of its threads on the processor,
//! GFLOP/s by Darknet's count (times 3 for a training step) and the bytes held, then times it with criterion. `-- --table` prints only the
//! table, `-- --only yolov7-tiny` picks workloads by name, `-- --threads 1` sets the threads. For the
//! same workloads elsewhere, and the peak of memory in a process of its own, see `benches/peers`.

mod workload;

use std::time::Duration;

use criterion::Criterion;
use gradpath::Result;
use gradpath::device::Device;
use gradpath::graph::Mode;
use workload::Workload;

/// YOLOv7-tiny as the peers run it; the small detectors as they are trained.
const WORKLOADS: [Workload; 8] = [
    Workload { network: "yolov7-tiny", mode: Mode::Inference, size: 416, batch: 1 },
    Workload { network: "yolov7-tiny", mode: Mode::Training, size: 416, batch: 8 },
    Workload { network: "elan-nano", mode: Mode::Inference, size: 160, batch: 1 },
    Workload { network: "elan-nano", mode: Mode::Training, size: 160, batch: 16 },
    Workload { network: "csp-nano", mode: Mode::Inference, size: 160, batch: 1 },
    Workload { network: "csp-nano", mode: Mode::Training, size: 160, batch: 16 },
    Workload { network: "prn-nano", mode: Mode::Inference, size: 160, batch: 1 },
    Workload { network: "prn-nano", mode: Mode::Training, size: 160, batch: 16 },
];

fn name(workload: &Workload) -> String {
    let Workload { network, mode, size, batch } = workload;
    let mode = format!("{mode:?}").to_lowercase();
    format!("{network} {mode} {size} batch {batch}")
}

fn table(device: &Device, workloads: &[&Workload]) -> Result<()> {
    println!("{device}");
    println!(
        "{:40} {:>9} {:>9} {:>12} {:>9} {:>10}",
        "workload", "median ms", "least ms", "processor ms", "GFLOP/s", "MiB held"
    );
    for workload in workloads {
        let mut prepared = workload.prepare(device)?;
        let times = prepared.time(2, Duration::from_secs(2))?;
        let held = prepared.session.held_bytes() as f64 / 1024.0 / 1024.0;
        let speed = prepared.flops / times.median() / 1e9;
        let (median, least, processor) =
            (times.median() * 1e3, times.wall[0] * 1e3, times.processor[0] * 1e3);
        println!("{:40} {median:9.2} {least:9.2} {processor:12.2} {speed:9.1} {held:10.1}", name(workload));
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1).map(String::as_str);
    if has("--test") {
        return Ok(());
    }
    let only = value("--only").unwrap_or("");
    let threads = value("--threads").and_then(|text| text.parse().ok()).unwrap_or(0);
    let device = Device::cpu(threads)?;
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(|w| name(w).contains(only)).collect();
    table(&device, &workloads)?;
    if has("--table") {
        return Ok(());
    }
    let mut criterion = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5));
    for workload in workloads {
        let mut prepared = workload.prepare(&device)?;
        // What goes wrong is the same in every run: the table above has shown that nothing does.
        criterion.bench_function(&name(workload), |b| b.iter(|| prepared.run().expect("a run as before")));
    }
    Ok(())
}
