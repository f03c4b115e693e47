//! The resident set of this process, as Linux counts it in `/proc/self`.

use std::fs;

/// Begins anew with the peak (`VmHWM`), and returns the bytes that are resident now; `None` where the system has no
/// such thing or does not let us.
pub fn reset_peak() -> Option<usize> {
    // proc(5): writing 5 sets the peak to what is resident.
    fs::write("/proc/self/clear_refs", "5").ok()?;
    field("VmRSS:")
}

/// The most bytes that were resident since [`reset_peak`].
pub fn peak() -> Option<usize> {
    field("VmHWM:")
}

fn field(name: &str) -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
