//! Training on the emulated device beside the cpu, through graph capture and replay.

use gradpath::selftest::check_training;
use gradpath::tensor::DType;
use gradpath::zoo;

use crate::device::{device, open};

fn check(network: &str, map: DType) {
    let Some((session, cuda)) = open(80, map) else { return };
    let network = zoo::find(network).unwrap();
    let report = check_training(&device(&cuda, map), &network, 3)
        .unwrap_or_else(|e| panic!("{e}; {}", session.last_error()));
    println!("{report:?}");
    assert!(report.passed(), "{report:?}");
    assert_eq!(session.last_error(), "");
}

#[test]
fn prn_nano() {
    check("prn-nano", DType::F32);
}

#[test]
fn csp_nano() {
    check("csp-nano", DType::F32);
}

#[test]
fn elan_nano() {
    check("elan-nano", DType::F32);
}

#[test]
fn elan_nano_in_bf16() {
    check("elan-nano", DType::Bf16);
}

/// The yardstick itself: the cpu in f32 beside the reference in f64.
#[test]
fn the_cpu_trains_as_the_reference_does() {
    for network in ["prn-nano", "csp-nano", "elan-nano"] {
        let report =
            check_training(&gradpath::device::Device::Reference, &zoo::find(network).unwrap(), 3).unwrap();
        println!("{report:?}");
        assert!(report.passed(), "{report:?}");
    }
}
