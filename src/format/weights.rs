//! Named tensors in a safetensors file: weights, optimiser state, checkpoints.
//!
//! Source: the safetensors format, version 0.3 and later. Eight bytes with the header's length, a JSON
//! header (name → dtype, shape, byte range; `__metadata__`: string → string), then the elements.
//!
//! gradpath stores f32 and four dimensions: maps `[n, h, w, c]`, convolution weights
//! `[c_out, kernel_h, kernel_w, c_in / groups]`, vectors over channels `[1, 1, 1, c]`. Counters and
//! other things that are not tensors go into the metadata as text. The same tensors give the same
//! bytes: names sorted, as the reference implementation sorts them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::atomic::write_atomically;
use super::{padded_shape, read_f32_le, write_f32_le};
use crate::tensor::{Shape, Tensor};
use crate::{Error, ErrorKind, Result};

/// The header's own key, which no tensor may have.
const METADATA_KEY: &str = "__metadata__";
/// The longest header that readers accept.
const MAX_HEADER: usize = 100_000_000;
const SAVE_AGAIN: &str = "the file is cut off or damaged: copy, download or save it again";

/// Writes `tensors` and `metadata` to `path`, atomically.
///
/// # Errors
/// Where the file cannot be written, a tensor is named `__metadata__`, or the names and metadata
/// together exceed 100 MB.
pub fn save(
    path: impl AsRef<Path>,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let header = header(tensors, metadata).map_err(|e| e.in_file(path))?;
    write_atomically(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        tensors.values().try_for_each(|tensor| write_f32_le(writer, tensor.data()))
    })
}

/// The JSON header, padded with blanks to a multiple of eight bytes.
fn header(tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    if tensors.contains_key(METADATA_KEY) {
        let message = format!("a tensor cannot be named {METADATA_KEY}, which safetensors keeps for itself");
        return Err(Error::invalid(message).fix("rename it"));
    }
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        entries.push((METADATA_KEY, json(metadata)?));
    }
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + size_of_val(tensor.data());
        let shape = <[usize; 4]>::from(tensor.shape()).to_vec();
        let info = TensorInfo { dtype: Dtype::F32, shape, data_offsets: (offset, end) };
        entries.push((name, json(&info)?));
        offset = end;
    }
    let mut text = String::from("{");
    for (index, (name, value)) in entries.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&json(name)?);
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    if bytes.len() > MAX_HEADER {
        let message = format!("names and metadata take {} bytes, where readers stop at 100 MB", bytes.len());
        return Err(Error::invalid(message).fix("keep large values as tensors, not as metadata"));
    }
    Ok(bytes)
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::internal("a header could not be put into JSON").caused_by(e))
}

/// Reads all tensors of the file at `path`, and its metadata. F32, F16 and BF16 become f32; arrays of
/// fewer than four dimensions are padded by [`padded_shape`].
///
/// # Errors
/// Where the file cannot be read, is not safetensors, is cut off or damaged, or holds a tensor of
/// another type or of more than four dimensions.
pub fn load(path: impl AsRef<Path>) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|e| cannot_read(path, e))?;
    parse(&bytes).map_err(|e| e.in_file(path))
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let error = Error::file(path, "cannot be read").caused_by(error);
    if missing { error.fix("check the name of the weights file") } else { error }
}

/// Reads the bytes of a safetensors file.
///
/// # Errors
/// As [`load`]; the file is not named.
pub fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| cannot_parse(bytes, e))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| cannot_parse(bytes, e))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let shape = shape(name, view.shape())?;
        let data = match view.dtype() {
            Dtype::F32 => read_f32_le(view.data()),
            Dtype::F16 => halves(view.data(), |bits| half::f16::from_bits(bits).to_f32()),
            Dtype::BF16 => halves(view.data(), |bits| half::bf16::from_bits(bits).to_f32()),
            other => {
                let message =
                    format!("tensor `{name}` is of type {other}, where gradpath reads F32, F16 and BF16");
                return Err(failed(message).fix("convert it, or leave it out of the file"));
            }
        };
        tensors.insert(name.to_owned(), Tensor::new(shape, data)?);
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((tensors, metadata))
}

fn shape(name: &str, dims: &[usize]) -> Result<Shape> {
    padded_shape(dims).ok_or_else(|| {
        let message = format!("tensor `{name}` has {} dimensions, where 4 are the most", dims.len());
        failed(message).fix("reshape it, or leave it out of the file")
    })
}

fn halves(bytes: &[u8], widen: impl Fn(u16) -> f32) -> Vec<f32> {
    bytes.as_chunks::<2>().0.iter().map(|&b| widen(u16::from_le_bytes(b))).collect()
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::File, message)
}

/// One sentence for what the parser found: by far the most frequent cases are another format under
/// this name, and a file that is not all there.
fn cannot_parse(bytes: &[u8], error: SafeTensorError) -> Error {
    let foreign = match bytes {
        [] => Some(("is empty", "save or download it again")),
        [b'P', b'K', 3, 4, ..] => Some((
            "is a PyTorch checkpoint (a zip of pickles), not safetensors",
            "convert it with safetensors.torch.save_file",
        )),
        [0x80, 2..=5, ..] => {
            Some(("is a Python pickle, not safetensors", "convert it with safetensors.torch.save_file"))
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            Some(("is a NumPy array, not safetensors", "give the weights file"))
        }
        // major 0, minor 1 or 2: no safetensors header is 2^32 bytes long.
        [0, 0, 0, 0, 1 | 2, 0, 0, 0, ..] => {
            Some(("is a Darknet weights file, not safetensors", "give it together with its cfg"))
        }
        _ => None,
    };
    if let Some((what, fix)) = foreign {
        return failed(what).fix(fix);
    }
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            failed(format!("is {} bytes long, which is not what its header says", bytes.len()))
                .fix(SAVE_AGAIN)
        }
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeader(_) => {
            failed("is not a safetensors file").fix("give a file that gradpath or safetensors wrote")
        }
        other => failed("is not a valid safetensors file").caused_by(other).fix(SAVE_AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::survives_damage;
    use crate::tensor::Random;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/safetensors").join(name)
    }

    /// What make.py fills its arrays with: exact also in f16 and bf16.
    fn ramp(shape: Shape) -> Tensor {
        Tensor::new(shape, (0..shape.elements()).map(|i| i as f32 * 0.25 - 3.0).collect()).unwrap()
    }

    fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn tensors<const N: usize>(pairs: [(&str, Tensor); N]) -> BTreeMap<String, Tensor> {
        pairs.map(|(k, v)| (k.to_owned(), v)).into()
    }

    #[test]
    fn comes_back_as_it_was() {
        let seed = 5;
        let mut random = Random::new(seed);
        let mut odd = Tensor::uniform(Shape::new(3, 2, 1, 5), -1.0, 1.0, &mut random);
        odd.data_mut()[..4].copy_from_slice(&[f32::INFINITY, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX]);
        let tensors = tensors([
            ("stem.weight", odd),
            ("ünïcode \"quoted\"\n", Tensor::full(Shape::vector(3), 0.5)),
            ("empty", Tensor::zeros(Shape::new(0, 1, 1, 4))),
        ]);
        let metadata = strings(&[("step", "18446744073709551615"), ("names", "cat\ndog"), ("", "")]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &tensors, &metadata).unwrap();
        assert_eq!(load(&path).unwrap(), (tensors, metadata), "seed {seed}");
    }

    #[test]
    fn nothing_is_a_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        save(&path, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(load(&path).unwrap(), (BTreeMap::new(), BTreeMap::new()));
    }

    #[test]
    fn writes_what_the_reference_implementation_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = tensors([
            ("stem.weight", ramp(Shape::new(4, 3, 3, 2))),
            ("Stem.bias", ramp(Shape::vector(4))),
            ("a \"b\"", ramp(Shape::new(2, 1, 1, 3))),
        ]);
        save(&path, &tensors, &strings(&[("step", "7")])).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(fixture("four_dims.safetensors")).unwrap());
    }

    #[test]
    fn reads_other_types_and_fewer_dimensions() {
        let (read, metadata) = load(fixture("mixed.safetensors")).unwrap();
        let expected = tensors([
            ("f32.scalar", ramp(Shape::scalar())),
            ("f32.vector", ramp(Shape::vector(5))),
            ("f32.rows", ramp(Shape::new(2, 1, 1, 3))),
            ("f32.image", ramp(Shape::new(1, 2, 3, 2))),
            ("f16.map", ramp(Shape::new(1, 2, 2, 3))),
            ("bf16.map", ramp(Shape::new(1, 2, 2, 3))),
        ]);
        assert_eq!(read, expected);
        assert_eq!(metadata, strings(&[("seen", "18446744073709551615"), ("names", "a,b")]));
    }

    #[test]
    fn says_which_tensor_it_cannot_hold() {
        let error = load(fixture("counter.safetensors")).unwrap_err().to_string();
        assert!(error.contains("tensor `norm.num_batches_tracked` is of type I64"), "{error}");
        assert!(error.starts_with(&fixture("counter.safetensors").display().to_string()), "{error}");
        let error = load(fixture("five_dims.safetensors")).unwrap_err().to_string();
        assert!(error.contains("tensor `x` has 5 dimensions"), "{error}");
    }

    #[test]
    fn says_what_a_foreign_file_is() {
        for (bytes, what) in [
            (&b""[..], "is empty"),
            (b"PK\x03\x04........", "PyTorch"),
            (b"\x80\x02}q\x00......", "pickle"),
            (b"\x93NUMPY\x01\x00v\x00", "NumPy"),
            (b"\x00\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00", "Darknet"),
            (b"[net]\nbatch=1\nwidth=416\n", "is not a safetensors file"),
            (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "is not a valid safetensors file"),
            (b"short", "is 5 bytes long"),
        ] {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = fs::read(fixture("four_dims.safetensors")).unwrap();
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
        let error = parse(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
        assert!(error.contains(SAVE_AGAIN), "{error}");
        assert!(parse(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn lying_headers_are_errors() {
        for header in [
            r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            r#"{"x":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}"#,
            r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"Q99","shape":[1],"data_offsets":[0,4]}}"#,
            r#"{"x":{"dtype":"F32","shape":[0,18446744073709551615,2,2],"data_offsets":[0,0]}}"#,
        ] {
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
            assert!(parse(&bytes).is_err(), "{header}");
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        for name in ["four_dims.safetensors", "mixed.safetensors"] {
            survives_damage(&fs::read(fixture(name)).unwrap(), 4000, 12, parse);
        }
    }

    #[test]
    fn a_reserved_name_and_a_missing_folder_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let reserved = tensors([(METADATA_KEY, ramp(Shape::scalar()))]);
        let error = save(&path, &reserved, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("cannot be named __metadata__"), "{error}");
        assert!(!path.exists());
        let error =
            save(folder.path().join("no/a.safetensors"), &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("create the folder"), "{error}");
    }
}
