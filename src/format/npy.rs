//! NumPy's `.npy`: one array a file.
//!
//! Source: NEP 1 and `numpy.lib.format`. Six magic bytes, a version, the length of a header (u16 in
//! version 1, u32 from version 2), the header (a Python dictionary with `descr`, `fortran_order` and
//! `shape`, in ASCII), then the elements. Read: `<f4`, `<f8`, `|u1` in C order; written: `<f4`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::atomic::write_atomically;
use super::{padded_shape, read_f32_le, write_f32_le};
use crate::tensor::Tensor;
use crate::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const AS_F32: &str = "save it with numpy.save(path, numpy.ascontiguousarray(array, dtype='<f4'))";

/// Reads the array at `path`: f32, f64 (rounded to f32) or u8 (0 to 255 as they are), of up to four
/// dimensions, which [`padded_shape`] turns into `[n, h, w, c]`.
///
/// # Errors
/// Where the file cannot be read, is not `.npy`, is cut off, or holds what a tensor cannot.
pub fn load(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = fs::read(path)
        .map_err(|e| Error::file(path, "cannot be read").caused_by(e).fix("check the name of the file"))?;
    parse(&bytes).map_err(|e| e.in_file(path))
}

/// Writes `tensor` to `path` as f32 of shape `[n, h, w, c]`, atomically.
///
/// # Errors
/// Where the file cannot be written.
pub fn save(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    save_as(path, tensor, &<[usize; 4]>::from(tensor.shape()))
}

/// Writes `tensor` to `path` as f32 of shape `dims` (1 to 4 dimensions), atomically: `[n, c]` for a
/// table, `[h, w, c]` for an image.
///
/// # Errors
/// Where `dims` does not have the tensor's number of elements, or the file cannot be written.
pub fn save_as(path: impl AsRef<Path>, tensor: &Tensor, dims: &[usize]) -> Result<()> {
    let elements =
        padded_shape(dims).filter(|_| !dims.is_empty()).map(|s| s.checked_elements()).transpose()?;
    if elements != Some(tensor.data().len()) {
        let message = format!("cannot be written as an array of shape {dims:?}");
        return Err(Error::shape("npy", &[tensor.shape()], message).in_file(path));
    }
    write_atomically(path, |writer| write(writer, tensor.data(), dims))
}

fn write(writer: &mut dyn Write, values: &[f32], dims: &[usize]) -> io::Result<()> {
    let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
    // Python's tuple of one needs its comma.
    let comma = if dims.len() == 1 { "," } else { "" };
    let shape = sizes.join(", ");
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    // The elements start at a multiple of 64 bytes, and the header ends in a line feed.
    let prefix = MAGIC.len() + 4;
    let length = (prefix + header.len() + 1).next_multiple_of(64) - prefix;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    // Four numbers of at most 20 digits: far below 65536.
    writer.write_all(&(length as u16).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    write_f32_le(writer, values)
}

/// Reads the bytes of an `.npy` file.
///
/// # Errors
/// As [`load`]; the file is not named.
pub fn parse(bytes: &[u8]) -> Result<Tensor> {
    let (header, data) = split_header(bytes)?;
    let header = Header::parse(header)?;
    if header.fortran_order {
        return Err(failed("holds its array in Fortran order").fix(AS_F32));
    }
    let Some(shape) = padded_shape(&header.dims) else {
        let message = format!("holds an array of {} dimensions, where 4 are the most", header.dims.len());
        return Err(failed(message).fix("reshape it to [n, h, w, c] before saving"));
    };
    let size = match header.descr.as_str() {
        "<f4" => 4,
        "<f8" => 8,
        "|u1" | "<u1" => 1,
        other => return Err(failed(format!("holds elements of type `{other}`")).fix(AS_F32)),
    };
    let elements = shape.checked_elements()?;
    let expected = elements.checked_mul(size).ok_or_else(|| failed("holds an array too large to read"))?;
    if data.len() != expected {
        let message = format!(
            "has {} bytes of elements, where its shape {:?} needs {expected}",
            data.len(),
            header.dims
        );
        return Err(failed(message).fix("the file is cut off or damaged: copy or save it again"));
    }
    let values = match size {
        4 => read_f32_le(data),
        8 => narrowed(data)?,
        _ => data.iter().map(|&v| f32::from(v)).collect(),
    };
    Tensor::new(shape, values)
}

/// f64 elements as f32; one that is finite and does not fit is an error rather than an infinity.
fn narrowed(data: &[u8]) -> Result<Vec<f32>> {
    let wide = data.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b));
    wide.enumerate()
        .map(|(index, value)| {
            let narrow = value as f32;
            if narrow.is_infinite() && value.is_finite() {
                let message = format!("element {index} is {value:e}, which f32 cannot hold");
                return Err(failed(message).fix("scale the array before saving"));
            }
            Ok(narrow)
        })
        .collect()
}

/// The header's text and the elements' bytes.
fn split_header(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let cut_off = || failed("ends within its header").fix("the file is cut off: copy or save it again");
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(failed("is not a NumPy array file").fix("give a file that numpy.save wrote"));
    };
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (usize::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
        [0 | 4.., ..] => {
            return Err(failed(format!("has the unknown format version {}", rest[0])).fix(AS_F32));
        }
        _ => return Err(cut_off()),
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut_off)?;
    let header = std::str::from_utf8(header).map_err(|_| bad_header("it is not text"))?;
    Ok((header, data))
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(crate::ErrorKind::File, message)
}

fn bad_header(why: &str) -> Error {
    failed(format!("has a header that cannot be read ({why})")).fix(AS_F32)
}

/// What the header's dictionary says.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    dims: Vec<usize>,
}

impl Header {
    /// Parses the Python dictionary: these three keys, in any order, each once.
    fn parse(text: &str) -> Result<Header> {
        let (mut descr, mut fortran_order, mut dims) = (None, None, None);
        let mut literal = Literal { rest: text };
        literal.expect("{")?;
        while !literal.skip("}") {
            let key = literal.string()?;
            literal.expect(":")?;
            let repeated = match key {
                "descr" => descr.replace(literal.string()?.to_owned()).is_some(),
                "fortran_order" => fortran_order.replace(literal.boolean()?).is_some(),
                "shape" => dims.replace(literal.tuple()?).is_some(),
                _ => return Err(bad_header("it has an unknown key")),
            };
            if repeated {
                return Err(bad_header("it has a key twice"));
            }
            if !literal.skip(",") {
                literal.expect("}")?;
                break;
            }
        }
        if !literal.rest.trim().is_empty() {
            return Err(bad_header("something follows the dictionary"));
        }
        match (descr, fortran_order, dims) {
            (Some(descr), Some(fortran_order), Some(dims)) => Ok(Header { descr, fortran_order, dims }),
            _ => Err(bad_header("descr, fortran_order or shape is missing")),
        }
    }
}

/// The few Python literals that a header has.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    /// Passes `token` where it comes next.
    fn skip(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(token) {
            Some(after) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.skip(token) { Ok(()) } else { Err(bad_header(&format!("`{token}` is missing"))) }
    }

    fn string(&mut self) -> Result<&'a str> {
        let quote = if self.skip("'") {
            '\''
        } else if self.skip("\"") {
            '"'
        } else if self.skip("[") {
            return Err(failed("holds records, not plain numbers").fix(AS_F32));
        } else {
            return Err(bad_header("a string is missing"));
        };
        let (text, rest) = self.rest.split_once(quote).ok_or_else(|| bad_header("a string does not end"))?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool> {
        if self.skip("True") { Ok(true) } else { self.expect("False").map(|()| false) }
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        let mut sizes = Vec::new();
        self.expect("(")?;
        while !self.skip(")") {
            let rest = self.rest.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (digits, after) = rest.split_at(end);
            sizes.push(digits.parse().map_err(|_| bad_header("its shape is not of whole numbers"))?);
            // Python 2 wrote long integers with an L.
            self.rest = after.strip_prefix('L').unwrap_or(after);
            if !self.skip(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::survives_damage;
    use crate::tensor::Shape;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/npy").join(name)
    }

    /// What make.py fills its float arrays with.
    fn ramp(shape: Shape) -> Tensor {
        Tensor::new(shape, (0..shape.elements()).map(|i| i as f32 * 0.25 - 3.0).collect()).unwrap()
    }

    #[test]
    fn reads_what_numpy_wrote() {
        for (name, shape) in [
            ("f4_1d.npy", Shape::vector(5)),
            ("f4_2d.npy", Shape::new(3, 1, 1, 4)),
            ("f4_4d.npy", Shape::new(2, 3, 2, 4)),
            ("f4_version2.npy", Shape::new(2, 3, 2, 4)),
            ("f4_0d.npy", Shape::scalar()),
            ("f4_empty.npy", Shape::new(0, 1, 1, 4)),
            ("f8_3d.npy", Shape::new(1, 2, 3, 4)),
        ] {
            assert_eq!(load(fixture(name)).unwrap(), ramp(shape), "{name}");
        }
        let bytes = load(fixture("u1_3d.npy")).unwrap();
        assert_eq!(bytes.shape(), Shape::new(1, 2, 2, 3));
        assert_eq!(bytes.data(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 127.0, 128.0, 253.0, 254.0, 255.0]);
    }

    #[test]
    fn writes_what_numpy_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for (name, dims) in [
            ("f4_4d.npy", &[2, 3, 2, 4][..]),
            ("f4_2d.npy", &[3, 4]),
            ("f4_1d.npy", &[5]),
            ("f4_empty.npy", &[0, 4]),
        ] {
            save_as(&path, &ramp(padded_shape(dims).unwrap()), dims).unwrap();
            assert_eq!(fs::read(&path).unwrap(), fs::read(fixture(name)).unwrap(), "{name}");
        }
        save(&path, &ramp(Shape::new(2, 3, 2, 4))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(fixture("f4_4d.npy")).unwrap());
    }

    #[test]
    fn a_shape_of_other_size_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let tensor = ramp(Shape::new(2, 3, 2, 4));
        for dims in [&[2, 3, 2, 5][..], &[], &[1, 2, 3, 2, 4], &[usize::MAX, usize::MAX]] {
            assert!(save_as(&path, &tensor, dims).is_err(), "{dims:?}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn says_what_it_cannot_read() {
        for (name, what) in [
            ("fortran.npy", "Fortran order"),
            ("big_endian.npy", "type `>f4`"),
            ("i4.npy", "type `<i4`"),
            ("f4_5d.npy", "5 dimensions"),
            ("f8_huge.npy", "element 1 is 1e300"),
            ("structured.npy", "holds records"),
            ("make.py", "is not a NumPy array file"),
            ("missing.npy", "cannot be read"),
        ] {
            let path = fixture(name);
            let error = load(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_cut_file_says_how_many_bytes_are_missing() {
        let bytes = fs::read(fixture("f4_4d.npy")).unwrap();
        let error = parse(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
        assert!(
            error.contains("has 191 bytes of elements, where its shape [2, 3, 2, 4] needs 192"),
            "{error}"
        );
        let longer = [&bytes[..], &[0]].concat();
        assert!(parse(&longer).is_err());
    }

    #[test]
    fn a_lying_shape_is_an_error() {
        for shape in [
            "(4294967296, 4294967296, 4294967296, 4294967296)",
            "(99999999999999999999999,)",
            "(-1,)",
            "(2 3)",
        ] {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut bytes = MAGIC.to_vec();
            bytes.extend([1, 0]);
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.bytes());
            bytes.extend([0; 16]);
            assert!(parse(&bytes).is_err(), "{shape}");
        }
    }

    #[test]
    fn headers_in_any_order_and_quote() {
        let header = Header::parse(r#"{"shape":(3,4L),'fortran_order':True,"descr":"<f4"}  "#).unwrap();
        assert_eq!(header, Header { descr: "<f4".into(), fortran_order: true, dims: vec![3, 4] });
        for bad in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 'x'}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': ()}",
        ] {
            assert!(Header::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        for name in ["f4_4d.npy", "f4_version2.npy", "f8_3d.npy"] {
            survives_damage(&fs::read(fixture(name)).unwrap(), 4000, 11, parse);
        }
    }
}
