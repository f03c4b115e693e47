//! What stands behind `--` on a bench's command line: options of our own, and criterion's.

use std::collections::BTreeMap;
use std::process::{Command, exit};
use std::time::Duration;

use criterion::Criterion;
use gradpath::device::Device;
use gradpath::runtime::cuda::Cuda;
use gradpath::tensor::DType;

const HELP: &str = "\
Options of gradpath's benches, beside criterion's below:
      --table            print the table and check the claims; no criterion
      --only <WORDS>     only workloads whose name has these words in it
      --batch <N>        images a batch, instead of the workloads' own
      --threads <N>      threads of the cpu device; 0: as many as the machine has [default: 0]
      --device <DEVICE>  cpu, or cuda; the claims are checked on the cpu either way [default: cpu]
      --dtype <TYPE>     how a GPU stores maps: f32, bf16 or f16 [default: f32]
";

/// Ours with a value. [`FLAG`] is the only one without.
const VALUED: [&str; 5] = ["--only", "--batch", "--threads", "--device", "--dtype"];
const FLAG: &str = "--table";

/// Where ours are handed on, as a JSON object.
const CARRIED: &str = "GRADPATH_BENCH_OPTIONS";

/// The options of a bench.
pub struct Options {
    own: BTreeMap<String, String>,
    /// Everything is to run once, small: `--test`, or `cargo test --benches`.
    pub testing: bool,
    /// Only names are asked for: `--list`.
    pub listing: bool,
    /// Criterion's `--quick`, which shortens the table too.
    quick: bool,
}

/// Prints `message` and exits as programs do that were called wrongly.
fn refuse(message: &str) -> ! {
    eprintln!("error: {message}; --help lists the options");
    exit(2)
}

/// Criterion as the command line wants it, with few and long enough samples for what takes milliseconds.
pub fn criterion() -> Criterion {
    let seconds = Duration::from_secs(3);
    Criterion::default().without_plots().sample_size(20).measurement_time(seconds).configure_from_args()
}

impl Options {
    /// Reads the command line; `extra` are options with a value that this bench alone has.
    ///
    /// Criterion reads the process's arguments itself and refuses those that it does not know. Where some of
    /// ours are among them, the program therefore starts itself again: criterion's as arguments, ours in the
    /// environment.
    pub fn read(extra: &[&str]) -> Self {
        let mut own = BTreeMap::new();
        let mut criterions = Vec::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            if argument == FLAG {
                own.insert(argument, String::new());
            } else if VALUED.contains(&name) || extra.contains(&name) {
                let value = value.or_else(|| arguments.next());
                let value = value.unwrap_or_else(|| refuse(&format!("{name} needs a value")));
                own.insert(name.to_owned(), value);
            } else {
                criterions.push(argument);
            }
        }
        let has = |name: &str| criterions.iter().any(|argument| argument == name);
        if has("--help") || has("-h") {
            print!("{HELP}");
            extra.iter().for_each(|name| println!("      {name} <VALUE>"));
            println!();
        } else if !own.is_empty() {
            let program = std::env::current_exe().expect("the program's own path");
            let carried = serde_json::to_string(&own).expect("a map of strings is JSON");
            let status = Command::new(program).args(&criterions).env(CARRIED, carried).status();
            exit(status.ok().and_then(|status| status.code()).unwrap_or(1));
        }
        // Criterion's help, or what it cannot read, comes before anything is measured.
        drop(criterion());
        let carried = std::env::var(CARRIED).ok();
        Options {
            own: carried.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            testing: has("--test") || !has("--bench"),
            listing: has("--list"),
            quick: has("--quick"),
        }
    }

    /// The value of an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str)
    }

    /// The value of an option that is a number.
    pub fn number(&self, name: &str) -> Option<usize> {
        let text = self.value(name)?;
        Some(text.parse().unwrap_or_else(|_| refuse(&format!("{name} takes a number, not {text:?}"))))
    }

    /// Whether only the table is wanted.
    pub fn table_only(&self) -> bool {
        self.own.contains_key(FLAG)
    }

    /// Whether a workload of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.value("--only").is_none_or(|words| name.contains(words))
    }

    /// How long the table measures a workload.
    pub fn budget(&self) -> Duration {
        match (self.testing, self.quick) {
            (true, _) => Duration::ZERO,
            (false, true) => Duration::from_millis(200),
            (false, false) => Duration::from_secs(2),
        }
    }

    /// The device that is measured.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub fn device(&self) -> gradpath::Result<Device> {
        let dtype = match self.value("--dtype").unwrap_or("f32") {
            "f32" => DType::F32,
            "bf16" => DType::Bf16,
            "f16" => DType::F16,
            other => refuse(&format!("--dtype is f32, bf16 or f16, not {other:?}")),
        };
        match self.value("--device").unwrap_or("cpu") {
            "cpu" if dtype == DType::F32 => Device::cpu(self.number("--threads").unwrap_or(0)),
            "cpu" => refuse("the cpu device computes in f32 only"),
            "cuda" => Ok(Device::Cuda(Cuda::open(0, dtype)?)),
            other => refuse(&format!("--device is cpu or cuda, not {other:?}")),
        }
    }
}
