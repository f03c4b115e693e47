//! The claims report on the emulated device: memory as the driver handed it out, traffic as it was traced.

use gradpath::Result;
use gradpath::analysis::meter::{Meter, Reading};
use gradpath::claims::{Report, Settings, Verdict, check};
use gradpath::report::{Align, Table};
use gradpath::tensor::DType;

use crate::device::{device, open};
use crate::emulator::{Counts, Options, Session};

/// Counts every byte that kernels touch, and what the driver allocates.
struct Traced<'a>(&'a Session<'static>);

impl Meter for Traced<'_> {
    fn how(&self) -> String {
        "every access of every kernel, traced on the emulated device; a byte counts once a launch".to_owned()
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn watch(&mut self, run: &mut dyn FnMut() -> Result<()>) -> Result<Reading> {
        let Traced(emulated) = self;
        // Where an input waits to be copied a run alone is watched, and traced. Else memory is, which needs no trace,
        // and its peak begins anew.
        let trace = emulated.pending() > 0;
        if !trace {
            emulated.clear();
        }
        let (before, begun) = (emulated.memory().live_bytes, emulated.launches().len());
        emulated.set_options(Options { trace, ..Options::default() });
        let outcome = run();
        emulated.set_options(Options::default());
        outcome?;
        assert_eq!(emulated.last_error(), "");
        let launches = emulated.launches().split_off(begun);
        let sum = |read: fn(&Counts) -> u64| launches.iter().map(|launch| read(&launch.counts)).sum();
        Ok(Reading {
            allocated_peak: Some((emulated.memory().peak_bytes - before) as usize),
            resident_peak: None,
            traffic: trace.then(|| (sum(|c| c.unique_read_bytes), sum(|c| c.unique_write_bytes))),
        })
    }
}

fn report(map: DType, only: &[&str]) -> Option<Report> {
    let (emulated, cuda) = open(80, DType::F32)?;
    let device = device(&cuda, map);
    // A map of two bytes an element must be twice as large for its weights, which are f32, to count as little.
    let size = if map == DType::F32 { 96 } else { 160 };
    // The emulator has no clock that means anything.
    let only = only.iter().map(|id| (*id).to_owned()).collect();
    let settings = Settings { size, time: None, only };
    Some(check(&device, &settings, &mut Traced(&emulated), &mut |_, _| {}).unwrap())
}

/// The rows whose programs are training steps.
const TRAININGS: [&str; 3] = ["C2", "C3d", "F3"];

/// Every claim that can be checked without a clock holds, or does not as the report says, as measured; the traffic of
/// each program that ran is what the cost model says, to the byte but for scratch memory.
#[test]
fn claims_hold_on_the_emulated_device() {
    let Some(report) = report(DType::F32, &[]) else { return };
    let (left, right) = (Align::Left, Align::Right);
    let mut points = Table::new(&[
        ("", left),
        ("of what", left),
        ("expected", right),
        ("predicted", right),
        ("measured", right),
        ("verdict", left),
    ]);
    let mut programs = Table::new(&[
        ("", left),
        ("program", left),
        ("moved, predicted", right),
        ("traced", right),
        ("planned, held", right),
        ("allocated", right),
    ]);
    let mut wrong = Vec::new();
    for row in &report.rows {
        for point in &row.points {
            let number = |value: f64| format!("{value:.4}");
            let (expected, predicted) = (number(point.expected), number(point.predicted));
            let measured = point.measured.map_or("–".to_owned(), number);
            let verdict = row.verdict.to_string();
            points.row([row.id.to_owned(), point.label.clone(), expected, predicted, measured, verdict]);
        }
        let expected = match row.id {
            "C3c" => Verdict::NotAsTold,
            "C6" | "C7" | "C9" | "C10" | "C11" | "C12" => Verdict::NotInZoo,
            "C13" => Verdict::PredictedOnly,
            _ => Verdict::Holds,
        };
        assert_eq!(row.verdict, expected, "{}: {}", row.id, row.why);
        for run in &row.runs {
            assert_eq!(run.planned_bytes, run.held_bytes, "{}", run.name);
            // What is beside the plan: status words, and inputs that are fed ahead.
            let allocated = run.reading.allocated_peak.unwrap();
            assert!(allocated >= run.held_bytes, "{}: {allocated}", run.name);
            let (read, written) = run.reading.traffic.unwrap();
            let (moved, traced) = (run.moved_bytes as u64, read + written);
            let numbers =
                [moved, traced, run.held_bytes as u64, allocated as u64].map(|bytes| bytes.to_string());
            programs.row([row.id.to_owned(), run.name.clone()].into_iter().chain(numbers));
            // A training's reductions use scratch memory, which the model leaves out.
            let scratch = if TRAININGS.contains(&row.id) { moved / 25 } else { 0 };
            if !(moved..=moved + scratch).contains(&traced) {
                wrong.push(format!("{} {}: {moved} predicted, {traced} traced", row.id, run.name));
            }
        }
    }
    println!("{}\n{}", points.markdown(), programs.markdown());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
