//! What the report says of a claim.

use std::fmt;

use serde::{Serialize, Serializer};

use super::observe::Run;

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Predicted and measured as the paper says.
    Holds,
    /// The model predicts what the paper says; nothing could be measured here.
    PredictedOnly,
    /// Not as told. Prediction and measurement agree on what is true instead.
    NotAsTold,
    /// Prediction or measurement is not what is expected: something is wrong here.
    Fails,
    /// About networks that the zoo does not have yet.
    NotInZoo,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::PredictedOnly => "predicted only",
            Verdict::NotAsTold => "does not hold as told",
            Verdict::Fails => "FAILS",
            Verdict::NotInZoo => "network not in the zoo yet",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Verdict::Fails => "fails",
            other => other.name(),
        })
    }
}

/// One number of a claim: at one size, one block, one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Which one.
    pub label: String,
    /// What follows from the claim, or what is true instead.
    pub expected: f64,
    /// What the cost model or the memory plan says.
    pub predicted: f64,
    /// What was measured.
    pub measured: Option<f64>,
    /// How far predicted and measured may be from expected, as a share of it; 0: not at all; none: nothing
    /// is asked of them.
    pub tolerance: Option<f64>,
}

impl Point {
    /// Whether `value` is as expected.
    fn allows(&self, value: f64) -> bool {
        // Ratios of counts are exact up to the rounding of the quotient.
        let rounding = 4.0 * f64::EPSILON;
        self.tolerance
            .is_none_or(|share| (value - self.expected).abs() <= (share + rounding) * self.expected.abs())
    }

    /// What is wrong with it.
    fn complaint(&self) -> Option<String> {
        let wrong = |what: &str, value: f64| {
            let percent = 100.0 * self.tolerance.unwrap_or_default();
            let Point { label, expected, .. } = self;
            format!("{label}: {what} is {value:.4}, expected {expected:.4} within {percent:.1} %")
        };
        if !self.allows(self.predicted) {
            return Some(wrong("predicted", self.predicted));
        }
        self.measured.filter(|&value| !self.allows(value)).map(|value| wrong("measured", value))
    }
}

/// A claim, and what came of it on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its number.
    pub id: &'static str,
    /// What it says, in a sentence.
    pub claim: String,
    /// Where it is from.
    pub source: &'static str,
    /// What the paper says, as a number with its words.
    pub told: String,
    /// What the numbers are.
    pub quantity: &'static str,
    /// The number of the first point: what is expected.
    pub expected: Option<f64>,
    /// What is predicted of it.
    pub predicted: Option<f64>,
    /// What was measured of it.
    pub measured: Option<f64>,
    /// The tolerance around what is expected, as a share; none where nothing is asked.
    pub tolerance: Option<f64>,
    /// What it was measured on.
    pub device: String,
    /// What came of it.
    pub verdict: Verdict,
    /// The verdict in words: what it rests on, or what is wrong.
    pub why: String,
    /// All numbers, the most telling one first.
    pub points: Vec<Point>,
    /// The programs that were run for it.
    pub runs: Vec<Run>,
}

impl Row {
    /// A row that is judged by its `points`.
    pub(super) fn new(id: &'static str, claim: &str, source: &'static str, told: &str) -> Self {
        Row {
            id,
            claim: claim.to_owned(),
            source,
            told: told.to_owned(),
            quantity: "",
            expected: None,
            predicted: None,
            measured: None,
            tolerance: None,
            device: String::new(),
            verdict: Verdict::NotInZoo,
            why: String::new(),
            points: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// With `points` of `quantity`, of which `runs` were measured on `device`; `why` says what the numbers
    /// show. The claim holds, or does not hold `as_told`.
    pub(super) fn judged(
        mut self,
        device: String,
        quantity: &'static str,
        points: Vec<Point>,
        runs: Vec<Run>,
        as_told: bool,
        why: &str,
    ) -> Self {
        let complaint = points
            .iter()
            .find_map(Point::complaint)
            .or_else(|| runs.iter().find_map(Run::complaint))
            .or_else(|| points.is_empty().then(|| "nothing was checked".to_owned()));
        (self.verdict, self.why) = match complaint {
            Some(complaint) => (Verdict::Fails, complaint),
            None if !as_told => (Verdict::NotAsTold, why.to_owned()),
            None if points.iter().any(|point| point.measured.is_none()) => {
                (Verdict::PredictedOnly, why.to_owned())
            }
            None => (Verdict::Holds, why.to_owned()),
        };
        if let Some(first) = points.first() {
            self.expected = Some(first.expected);
            self.predicted = Some(first.predicted);
            self.measured = first.measured;
            self.tolerance = first.tolerance;
        }
        Row { device, quantity, points, runs, ..self }
    }
}
