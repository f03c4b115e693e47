//! A long training holds no more memory than a short one.

/// Kilobytes of this process in physical memory.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Runs in a process of its own, as other tests of the binary allocate at the same time.
#[cfg(target_os = "linux")]
#[test]
fn two_hundred_steps_hold_memory_flat() {
    use gradpath::device::Device;
    use gradpath::tensor::Shape;

    use crate::machine::tensor;
    use crate::models::{Wanted, inputs, menagerie, training};

    const ALONE: &str = "GRADPATH_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "memory::two_hundred_steps_hold_memory_flat";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let images = Shape::new(1, 32, 32, 3);
    let device = Device::cpu(2).unwrap();
    let graph = training(images, &menagerie, Wanted::STEP);
    let mut session = device.session(device.compile(&graph).unwrap()).unwrap();
    session.load(&graph.initial_state(1)).unwrap();
    let mut early = 0;
    for step in 0..200 {
        for (name, data) in inputs(images, step) {
            let shape = graph.info(graph.find(&name).unwrap()).shape;
            session.feed(&name, &tensor(shape, &data)).unwrap();
        }
        session.run().unwrap();
        session.output("loss").unwrap();
        if step == 49 {
            early = resident();
        }
    }
    let late = resident();
    println!("{early} kB after 50 steps, {late} kB after 200");
    assert!(late <= early + 1024, "{early} kB after 50 steps, {late} kB after 200");
}
