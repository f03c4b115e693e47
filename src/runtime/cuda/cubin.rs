//! What a compiled kernel says of itself: its parameters, from the CUBIN, and what it takes of a
//! multiprocessor, from the compiler's log.
//!
//! A CUBIN is an ELF file. NVIDIA does not document its sections; what is read here is what `cuobjdump
//! -elf` prints: `.nv.info.<entry>` is a list of attributes, and attribute 0x17 (`EIATTR_KPARAM_INFO`) is one
//! parameter's place and size. A launch whose arguments differ from them would read whatever lies behind,
//! so they are compared before anything is launched. An image without such a table (the tests' emulator
//! loads shared objects of the host) has nothing to compare with.

use std::collections::BTreeMap;

use super::launch::{Argument, Launch};
use crate::{Error, Result};

/// Where a kernel takes one parameter from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Bytes from the first parameter.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// What one entry point takes of a multiprocessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes that a thread writes and reads again because it has too few registers; 0 in a good kernel.
    pub spill_bytes: u32,
    /// Bytes of a thread's stack: arrays that are indexed at run time, and spills.
    pub stack_bytes: u32,
    /// Bytes of static shared memory of a block.
    pub static_shared_bytes: u32,
}

/// The parameters of every entry point, by name and in order.
pub type Table = BTreeMap<String, Vec<Parameter>>;

/// ELF: `EM_CUDA`.
const MACHINE: u16 = 190;
/// The attribute of one parameter.
const PARAMETER: u8 = 0x17;
/// The format of an attribute that has its length behind it; in all others the value is two bytes.
const SIZED: u8 = 4;
/// What the name of a section of attributes begins with.
const ATTRIBUTES: &str = ".nv.info.";
/// More parameters than any kernel has: the bytes are damaged.
const MOST_PARAMETERS: usize = 4096;

/// The parameters of every entry point of a CUBIN; `None` for what is none, or is one of a form that is
/// not known.
pub fn table(image: &[u8]) -> Option<Table> {
    let elf = Bytes(image);
    // 64 bits, little-endian.
    if image.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] || elf.u16(18)? != MACHINE {
        return None;
    }
    let (first, size, count) = (elf.offset(40)?, usize::from(elf.u16(58)?), usize::from(elf.u16(60)?));
    let sections: Vec<Section> = (0..count)
        .map(|index| Section::read(&elf, first.checked_add(index.checked_mul(size)?)?))
        .collect::<Option<_>>()?;
    let names = sections.get(usize::from(elf.u16(62)?))?.bytes(image)?;
    let mut table = Table::new();
    for section in &sections {
        let Some(entry) = text_at(names, section.name)?.strip_prefix(ATTRIBUTES) else { continue };
        table.insert(entry.to_owned(), parameters(section.bytes(image)?)?);
    }
    Some(table)
}

/// A section header.
struct Section {
    name: usize,
    offset: usize,
    size: usize,
}

impl Section {
    fn read(elf: &Bytes, at: usize) -> Option<Section> {
        let name = usize::try_from(elf.u32(at)?).ok()?;
        Some(Section {
            name,
            offset: elf.offset(at.checked_add(24)?)?,
            size: elf.offset(at.checked_add(32)?)?,
        })
    }

    fn bytes<'a>(&self, image: &'a [u8]) -> Option<&'a [u8]> {
        image.get(self.offset..self.offset.checked_add(self.size)?)
    }
}

/// The parameters among a kernel's attributes, in order.
fn parameters(attributes: &[u8]) -> Option<Vec<Parameter>> {
    let attributes = Bytes(attributes);
    let mut found: Vec<Option<Parameter>> = Vec::new();
    let mut at = 0;
    while at < attributes.0.len() {
        let (format, attribute) = (attributes.u8(at)?, attributes.u8(at + 1)?);
        let value = usize::from(attributes.u16(at + 2)?);
        let begin = at + 4;
        at = if format == SIZED { begin + value } else { begin };
        if format != SIZED || attribute != PARAMETER {
            continue;
        }
        // Index, ordinal, offset, and bit fields of which the highest 14 are the size.
        let ordinal = usize::from(attributes.u16(begin + 4)?);
        let offset = u32::from(attributes.u16(begin + 6)?);
        let size = attributes.u32(begin + 8)? >> 18;
        if value < 12 || ordinal >= MOST_PARAMETERS {
            return None;
        }
        if found.len() <= ordinal {
            found.resize(ordinal + 1, None);
        }
        *found.get_mut(ordinal)? = Some(Parameter { offset, size });
    }
    found.into_iter().collect()
}

/// The text at `at` of a table of names.
fn text_at(names: &[u8], at: usize) -> Option<&str> {
    std::str::from_utf8(names.get(at..)?.split(|&byte| byte == 0).next()?).ok()
}

/// Little-endian numbers at any place.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn offset(&self, at: usize) -> Option<usize> {
        usize::try_from(self.array(at).map(u64::from_le_bytes)?).ok()
    }
}

impl Resources {
    /// Those of `entry` in a log of `--ptxas-options=-v`; `None` where it says nothing of the entry.
    pub fn parse(log: &str, entry: &str) -> Option<Resources> {
        let begin = format!("Compiling entry function '{entry}'");
        let lines = log.lines().skip_while(|line| !line.contains(&begin)).skip(1);
        let lines = lines.take_while(|line| !line.contains("Compiling entry function"));
        let mut resources = Resources::default();
        let mut found = false;
        for line in lines {
            let before = |what: &str| number_before(line, what);
            if let Some(registers) = before(" registers") {
                found = true;
                resources.registers = registers;
                resources.static_shared_bytes = before(" bytes smem").unwrap_or(0);
            }
            // Device functions that were not inlined have lines of their own.
            if let Some(stack) = before(" bytes stack frame") {
                resources.stack_bytes = resources.stack_bytes.saturating_add(stack);
                for what in [" bytes spill stores", " bytes spill loads"] {
                    resources.spill_bytes = resources.spill_bytes.saturating_add(before(what).unwrap_or(0));
                }
            }
        }
        found.then_some(resources)
    }
}

/// The number that stands before `what`.
fn number_before(line: &str, what: &str) -> Option<u32> {
    let before = line.split_once(what)?.0;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Holds a launch's arguments against the parameters of its kernel: their number, and each one's place
/// and size.
///
/// # Errors
/// The first that differs: a defect of the op that described the launch, or of the kernel.
pub fn check_arguments(launch: &Launch, parameters: &[Parameter]) -> Result<()> {
    let refused = |message: String| Err(Error::internal(format!("kernel {}: {message}", launch.kernel)));
    let (given, taken) = (launch.arguments.len(), parameters.len());
    if given != taken {
        return refused(format!("the launch has {given} arguments, and the kernel {taken} parameters"));
    }
    let mut end = 0;
    for (index, (argument, parameter)) in launch.arguments.iter().zip(parameters).enumerate() {
        let size = argument.size();
        let offset = usize::next_multiple_of(end, argument.alignment());
        end = offset + size;
        if (offset, size) != (parameter.offset as usize, parameter.size as usize) {
            let kind = match argument {
                Argument::Address(_) => "an address",
                Argument::Int(_) => "an int",
                Argument::Float(_) => "a float",
                Argument::TensorMap(_) => "a tensor map",
            };
            let Parameter { offset: parameter_offset, size: parameter_size } = parameter;
            return refused(format!(
                "argument {index} is {kind} of {size} bytes at {offset}, and the parameter {parameter_size} \
                 bytes at {parameter_offset}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::survives_damage;
    use crate::runtime::cuda::TensorMap;
    use crate::tensor::DType;

    const LOG: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'other' for 'sm_90'
ptxas info    : Function properties for other
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 4 registers, used 0 barriers
ptxas info    : Compile time = 15.054 ms
ptxas info    : Compiling entry function 'scale' for 'sm_90'
ptxas info    : Function properties for scale
ptxas         .     160 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 160 bytes cumulative stack size, 1024 bytes smem
";

    /// The least ELF of a CUBIN with one entry `k` and these parameters, written by hand: header, names,
    /// attributes, three section headers.
    pub(super) fn cubin(parameters: &[Parameter]) -> Vec<u8> {
        let names = b"\0.nv.info.k\0.shstrtab\0";
        // An attribute with a value of two bytes first, as real files have them between.
        let mut attributes = vec![3, 0x19, 4, 0];
        for (ordinal, parameter) in parameters.iter().enumerate().rev() {
            attributes.extend([4, 0x17, 12, 0, 0, 0, 0, 0]);
            attributes.extend((ordinal as u16).to_le_bytes());
            attributes.extend((parameter.offset as u16).to_le_bytes());
            attributes.extend((parameter.size << 18 | 0x1f000).to_le_bytes());
        }
        let mut image = vec![0; 64];
        image[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        image[18..20].copy_from_slice(&190u16.to_le_bytes());
        let headers = (64 + names.len() + attributes.len()) as u64;
        image[40..48].copy_from_slice(&headers.to_le_bytes());
        image[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
        image.extend(names);
        image.extend(&attributes);
        let sections = [(0, 0, 0), (1, 64 + names.len(), attributes.len()), (12, 64, names.len())];
        for (name, offset, size) in sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&(name as u32).to_le_bytes());
            header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            image.extend(header);
        }
        image
    }

    fn parameter(offset: u32, size: u32) -> Parameter {
        Parameter { offset, size }
    }

    #[test]
    fn parameters_in_order() {
        let expected = [parameter(0, 8), parameter(8, 8), parameter(16, 4)];
        let table = table(&cubin(&expected)).unwrap();
        assert_eq!(table.keys().collect::<Vec<_>>(), ["k"]);
        assert_eq!(table["k"], expected);
        assert_eq!(super::table(&cubin(&[])).unwrap()["k"], []);
    }

    #[test]
    fn what_is_no_cubin_has_no_table() {
        assert_eq!(table(b""), None);
        assert_eq!(table(b"\x7fELF"), None);
        // This very program: an ELF file of the host.
        assert_eq!(table(&std::fs::read(std::env::current_exe().unwrap()).unwrap()), None);
        let mut image = cubin(&[parameter(0, 8)]);
        image[4] = 1; // 32 bits
        assert_eq!(table(&image), None);
    }

    #[test]
    fn damaged_bytes_do_no_harm() {
        let image = cubin(&[parameter(0, 8), parameter(8, 4), parameter(12, 4)]);
        survives_damage(&image, 20_000, 7, table);
        for at in 0..image.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = image.clone();
                damaged[at] = value;
                table(&damaged);
            }
        }
        // A parameter that is missing, an ordinal beyond all reason.
        let ordinal = 64 + 22 + 4 + 4 + 4;
        for value in [[5, 0], [0xff, 0xff]] {
            let mut damaged = image.clone();
            damaged[ordinal..ordinal + 2].copy_from_slice(&value);
            assert_eq!(table(&damaged), None);
        }
    }

    #[test]
    fn resources_by_entry() {
        let scale = Resources { registers: 32, spill_bytes: 20, stack_bytes: 160, static_shared_bytes: 1024 };
        assert_eq!(Resources::parse(LOG, "scale"), Some(scale));
        assert_eq!(Resources::parse(LOG, "other"), Some(Resources { registers: 4, ..Resources::default() }));
        assert_eq!(Resources::parse(LOG, "scal"), None);
        assert_eq!(Resources::parse("", "scale"), None);
        let huge = "Compiling entry function 'k' for\nUsed 99999999999999999999 registers";
        assert_eq!(Resources::parse(huge, "k"), None);
    }

    #[test]
    fn arguments_are_held_against_parameters() {
        let launch = Launch::new("t.cu", "k").address(1).int(2).address(3).float(0.5);
        let good = [parameter(0, 8), parameter(8, 4), parameter(16, 8), parameter(24, 4)];
        check_arguments(&launch, &good).unwrap();
        let refused =
            |parameters: &[Parameter]| check_arguments(&launch, parameters).unwrap_err().to_string();
        let error = refused(&good[..3]);
        assert!(
            error.contains("kernel k: the launch has 4 arguments, and the kernel 3 parameters"),
            "{error}"
        );
        let error = refused(&[good[0], parameter(8, 8), good[2], good[3]]);
        assert!(
            error.contains("argument 1 is an int of 4 bytes at 8, and the parameter 8 bytes at 8"),
            "{error}"
        );
        let error = refused(&[good[0], good[1], parameter(12, 8), good[3]]);
        assert!(error.contains("argument 2 is an address"), "{error}");
    }

    #[test]
    fn a_tensor_map_lies_at_a_multiple_of_64() {
        let map = TensorMap::new(DType::Bf16, 1 << 20, 64);
        let launch = Launch::new("t.cu", "k").int(1).tensor_map(map).address(2);
        check_arguments(&launch, &[parameter(0, 4), parameter(64, 128), parameter(192, 8)]).unwrap();
        let refused = check_arguments(&launch, &[parameter(0, 4), parameter(8, 8), parameter(16, 8)]);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("argument 1 is a tensor map of 128 bytes at 64"), "{error}");
    }
}
