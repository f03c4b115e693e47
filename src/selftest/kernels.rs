//! Every op's kernels on a device, against the reference device.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{CaseProgram, Variant};
use crate::compile::Processor;
use crate::device::cuda::{Addresses, launches};
use crate::device::{Device, Session};
use crate::ops::Case;
use crate::ops::conv::cuda::ConvCandidate;
use crate::runtime::cuda::{Launch, Target};
use crate::tensor::DType;
use crate::{Error, Result};

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Element types of maps; host devices know f32 alone.
    pub maps: Vec<DType>,
    /// Only ops whose name contains this.
    pub filter: Option<String>,
}

/// What was wrong with a case.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Failure {
    /// How the operands lay.
    pub variant: Variant,
    /// The input shapes and what happened.
    pub message: String,
}

/// One op in one element type.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CaseReport {
    /// The op.
    pub op: &'static str,
    /// The element type of maps.
    pub map: DType,
    /// Cases, each in several variants.
    pub cases: usize,
    /// Variants that ran.
    pub variants: usize,
    /// The largest error as a share of what is allowed.
    pub worst: f64,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// The variants that `case` is run in on a device that stores maps as `map`.
pub fn variants(case: &Case, map: DType) -> Vec<Variant> {
    let has_maps = case.maps.contains(&true) || case.op.makes_maps();
    if !has_maps && map != DType::F32 {
        // The same launch as in f32.
        return Vec::new();
    }
    let mut variants = Vec::new();
    // Of the ways to lie (dense, in a slice that is aligned or not) each type takes some: together they
    // cover all, and the kernels of bf16 and f16 differ by nothing but the type.
    let paddings: &[usize] = match map {
        _ if !has_maps => &[0],
        DType::F32 => &[0, 3],
        DType::Bf16 => &[0, 8],
        // Some candidates take aligned operands alone.
        DType::F16 if case.op.downcast::<ConvCandidate>().is_some() => &[3, 8],
        DType::F16 => &[3],
    };
    for padding in paddings {
        for in_place in [false, true] {
            if in_place && case.op.in_place().is_empty() {
                continue;
            }
            variants.push(Variant { map, padding: *padding, in_place });
        }
    }
    variants
}

fn selected<'a>(cases: &'a [Case], selection: &'a Selection) -> impl Iterator<Item = &'a Case> {
    let filter = selection.filter.as_deref().unwrap_or_default();
    cases.iter().filter(move |case| case.op.name().contains(filter))
}

/// The launches that the selected `cases` take on `target`, in every variant.
///
/// # Errors
/// Where an op cannot run there.
pub fn kernels_of(cases: &[Case], selection: &Selection, target: &Target) -> Result<Vec<Launch>> {
    let mut all = Vec::new();
    for &map in &selection.maps {
        let target = Target { map, ..*target };
        for case in selected(cases, selection) {
            for variant in variants(case, map) {
                let program = CaseProgram::new(case, variant, &Processor::Cuda(target))?.program;
                let launches = launches(&program, &target, &Addresses::pretended(&program))?;
                all.extend(launches.all().cloned());
            }
        }
    }
    Ok(all)
}

/// Runs the selected `cases` on `device`; `done` is called after each case with the number of cases in all.
///
/// # Errors
/// Where the device cannot be used at all. What an op gets wrong is in the report.
pub fn check_kernels(
    device: &Device,
    cases: &[Case],
    selection: &Selection,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<CaseReport>> {
    let maps: &[DType] = match device {
        Device::Cuda(cuda) => {
            // Compiled together, on all cores, rather than one at a time as they are met.
            let launches = kernels_of(cases, selection, &cuda.target())?;
            cuda.functions(&launches.iter().collect::<Vec<_>>())?;
            &selection.maps
        }
        Device::Reference | Device::Cpu(_) => &[DType::F32],
    };
    let names: BTreeSet<&'static str> = selected(cases, selection).map(|case| case.op.name()).collect();
    let total = maps.len() * selected(cases, selection).count();
    let mut reports = Vec::new();
    for name in names {
        for &map in maps {
            let device = match device {
                Device::Cuda(cuda) => Device::Cuda(cuda.with_map(map)),
                other => other.clone(),
            };
            let mut report =
                CaseReport { op: name, map, cases: 0, variants: 0, worst: 0.0, failures: Vec::new() };
            for case in cases.iter().filter(|case| case.op.name() == name) {
                let ran = report.variants;
                for variant in variants(case, map) {
                    report.variants += 1;
                    match check_case(&device, case, variant) {
                        Ok(worst) => report.worst = report.worst.max(worst),
                        Err(e) => {
                            let message = format!("{:?} on {:?}: {e}", case.op, case.shapes);
                            report.failures.push(Failure { variant, message });
                        }
                    }
                }
                report.cases += usize::from(report.variants > ran);
                done(total);
            }
            if report.cases > 0 {
                reports.push(report);
            }
        }
    }
    Ok(reports)
}

/// Runs `case` on `device` twice, outputs poisoned before each, and returns the largest error as a share
/// of what is allowed.
///
/// # Errors
/// Where a result is too far from the reference's, differs between the runs, or something else was
/// written over.
pub fn check_case(device: &Device, case: &Case, variant: Variant) -> Result<f64> {
    check_case_between(device, case, variant, &mut [&mut || (), &mut || ()])
}

/// As [`check_case`], a run after each of `before`, which may change how the device works (a schedule of
/// its threads): all runs must agree bit by bit.
///
/// # Errors
/// As [`check_case`].
pub fn check_case_between(
    device: &Device,
    case: &Case,
    variant: Variant,
    before: &mut [&mut dyn FnMut()],
) -> Result<f64> {
    let expected = reference(case, variant)?;
    let laid_out = CaseProgram::new(case, variant, &device.processor())?;
    let mut session = device.session(laid_out.program.clone())?;
    let mut runs = Vec::with_capacity(before.len());
    for prepare in before {
        prepare();
        runs.push(run(&laid_out, &mut *session)?);
    }
    let mut worst = 0.0f64;
    for (o, want) in expected.iter().enumerate() {
        let outputs: Vec<&Vec<f32>> = runs.iter().filter_map(|run| run.get(o)).collect();
        let Some(got) = outputs.first() else { continue };
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if let Some(run) = outputs.iter().position(|again| bits(got) != bits(again)) {
            let message = format!("output {o} of run {run} differs from run 0's on the same inputs");
            return Err(Error::internal(message));
        }
        let allowed = Allowed::new(case.tolerance, variant.map, want);
        for (i, (&got, &want)) in got.iter().zip(want.iter()).enumerate() {
            let share = allowed.share(got, want);
            worst = worst.max(share);
            if share > 1.0 {
                let message = format!(
                    "output {o} element {i} is {got}, reference {want}: {share:.1} times what is allowed"
                );
                return Err(Error::internal(message));
            }
        }
    }
    Ok(worst)
}

/// What an element may differ by.
struct Allowed {
    /// `tolerance · (1 + |want|)`, as in f32.
    tolerance: f64,
    /// Of two-byte maps: this share of the element and of the output's root mean square, four times what
    /// rounding to the type changes at most. An operand that is rounded on its way into a product (behind a
    /// prologue, a weight) is off by up to half a unit in the last place; over a sum such errors add up to
    /// about half of that share of the sum's typical size, whatever its value.
    rounding: f64,
    root_mean_square: f64,
}

impl Allowed {
    fn new(tolerance: f64, map: DType, want: &[f32]) -> Self {
        // Of the sums alone: where a stride leaves nothing to add, the zero is exact.
        let sums: Vec<f64> =
            want.iter().map(|&v| f64::from(v)).filter(|v| v.is_finite() && *v != 0.0).collect();
        let square: f64 = sums.iter().map(|v| v * v).sum();
        let rounding = match map {
            DType::F32 => 0.0,
            DType::Bf16 => 4.0 / 256.0,
            DType::F16 => 4.0 / 2048.0,
        };
        Allowed { tolerance, rounding, root_mean_square: (square / sums.len().max(1) as f64).sqrt() }
    }

    /// The error as a share of what is allowed.
    fn share(&self, got: f32, want: f32) -> f64 {
        if got.to_bits() == want.to_bits() || got == want || (got.is_nan() && want.is_nan()) {
            return 0.0;
        }
        let (got, want) = (f64::from(got), f64::from(want));
        let allowed =
            self.tolerance * (1.0 + want.abs()) + self.rounding * (want.abs() + self.root_mean_square);
        let share = (got - want).abs() / allowed;
        if share.is_nan() { f64::INFINITY } else { share }
    }
}

fn run(laid_out: &CaseProgram, session: &mut dyn Session) -> Result<Vec<Vec<f32>>> {
    session.load(&laid_out.state)?;
    session.run()?;
    laid_out.outputs(&session.state()?)
}

/// The outputs of `case` on the reference device, its inputs rounded as `variant` stores them.
fn reference(case: &Case, variant: Variant) -> Result<Vec<Vec<f32>>> {
    let dense = Variant { padding: 0, in_place: false, ..variant };
    let laid_out = CaseProgram::new(case, dense, &Processor::Reference)?;
    let mut session = Device::Reference.session(Arc::clone(&laid_out.program))?;
    run(&laid_out, &mut *session)
}
