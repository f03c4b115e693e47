//! Verdicts, and what they rest on.

use super::*;
use crate::analysis::meter::Reading;

/// A meter that says of every run that it moved so many bytes.
struct Says {
    bytes: u64,
    is_exact: bool,
}

impl Meter for Says {
    fn how(&self) -> String {
        "made up".to_owned()
    }

    fn is_exact(&self) -> bool {
        self.is_exact
    }

    fn watch(&mut self, run: &mut dyn FnMut() -> Result<()>) -> Result<Reading> {
        run()?;
        Ok(Reading { traffic: Some((self.bytes, 0)), ..Reading::default() })
    }
}

fn row(id: &str, meter: &mut dyn Meter) -> Row {
    let device = Device::cpu(1).unwrap();
    let settings = Settings { only: vec![id.to_owned()], time: None, ..Settings::new(&device) };
    let mut done = Vec::new();
    let report = check(&device, &settings, meter, &mut |count, of| done.push((count, of))).unwrap();
    assert_eq!(done, [(1, 1)]);
    assert_eq!(
        report.failed().count(),
        report.rows.iter().filter(|row| row.verdict == Verdict::Fails).count()
    );
    report.rows.into_iter().next().unwrap()
}

#[test]
fn counters_that_are_not_exact_decide_nothing() {
    let row = row("C4", &mut Says { bytes: 1_000_000, is_exact: false });
    assert_eq!((row.verdict, row.measured), (Verdict::PredictedOnly, None));
    assert!(row.why.contains("made up; no verdict rests on"), "{}", row.why);
    assert!(row.runs.iter().all(|run| run.reading.traffic == Some((1_000_000, 0))));
}

#[test]
fn exact_counters_that_disagree_fail_the_row() {
    // The same bytes for all: then the first of the sweep is the least, as it should be, and the others are wrong.
    let row = row("C4", &mut Says { bytes: 1_000_000, is_exact: true });
    assert_eq!((row.verdict, row.measured), (Verdict::Fails, Some(1.0)));
    assert!(row.why.contains("measured is 1.0000, expected 1.2368 within 0.0 %"), "{}", row.why);
}

#[test]
fn a_row_is_judged_by_its_worst_number() {
    let point = |expected, predicted, measured, tolerance| Point {
        label: "x".to_owned(),
        expected,
        predicted,
        measured,
        tolerance,
    };
    let judge = |points, as_told| {
        Row::new("C1", "", "", "").judged("cpu".to_owned(), "", points, Vec::new(), as_told, "so it is")
    };
    let good = point(0.5, 0.505, Some(0.495), Some(0.02));
    assert_eq!(judge(vec![good.clone()], true).verdict, Verdict::Holds);
    assert_eq!(judge(vec![good.clone()], false).verdict, Verdict::NotAsTold);
    assert_eq!(judge(vec![point(0.5, 0.5, None, Some(0.0))], true).verdict, Verdict::PredictedOnly);
    // Nothing is asked of it.
    assert_eq!(judge(vec![point(0.5, 0.9, Some(0.1), None)], true).verdict, Verdict::Holds);
    for bad in [
        point(0.5, 0.511, Some(0.5), Some(0.02)),
        point(0.5, 0.5, Some(0.489), Some(0.02)),
        point(0.5, 0.5, Some(0.500_001), Some(0.0)),
        point(0.5, f64::NAN, None, Some(0.02)),
    ] {
        let row = judge(vec![good.clone(), bad.clone()], false);
        assert_eq!(row.verdict, Verdict::Fails, "{bad:?}");
        assert!(row.why.starts_with("x: "), "{}", row.why);
        // The numbers that are shown are the first one's all the same.
        assert_eq!(row.measured, Some(0.495));
    }
    assert_eq!(judge(Vec::new(), true).verdict, Verdict::Fails);
}

#[test]
fn memory_that_was_not_planned_fails_the_row() {
    let run = |held_bytes| Run {
        name: "run".to_owned(),
        planned_bytes: 100,
        held_bytes,
        moved_bytes: 0,
        reading: Reading::default(),
    };
    let judge = |held| {
        let point = Point {
            label: String::new(),
            expected: 1.0,
            predicted: 1.0,
            measured: Some(1.0),
            tolerance: Some(0.0),
        };
        let row = Row::new("C3a", "", "", "");
        row.judged(String::new(), "", vec![point], vec![run(held)], true, "").verdict
    };
    assert_eq!((judge(100), judge(101)), (Verdict::Holds, Verdict::Fails));
}
