//! `Compiler`: what is compiled, what comes from memory and what from the disk.

use std::fs;
use std::sync::Arc;

use gradpath::runtime::cuda::{Cache, Compiled, Compiler, Kernel, Launch};
use gradpath::tensor::DType;

use super::nvrtc;

fn probe(dtype: DType) -> Kernel {
    Launch::new("probe.cu", "probe").define("X_TYPE", dtype).kernel
}

/// Compiles, and says what `progress` was told.
fn compile(compiler: &Compiler, kernels: &[Kernel]) -> (Vec<Arc<Compiled>>, Vec<(usize, usize)>) {
    let mut calls = Vec::new();
    let compiled = compiler.compile_all(kernels, &mut |done, total| calls.push((done, total))).unwrap();
    (compiled, calls)
}

#[test]
fn each_kernel_is_compiled_once() {
    if nvrtc().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let new = |arch| Compiler::with_cache(arch, Cache::new(Some(folder.path().to_owned()))).unwrap();
    let list = [DType::F32, DType::F16, DType::F32, DType::Bf16].map(probe);
    let first = new(80);
    let (compiled, calls) = compile(&first, &list);
    assert_eq!(calls, [(1, 3), (2, 3), (3, 3)], "equal ones are one");
    assert!(Arc::ptr_eq(&compiled[0], &compiled[2]));
    for (compiled, kernel) in compiled.iter().zip(&list) {
        assert_eq!(compiled.kernel, *kernel);
        assert!(!compiled.from_cache && compiled.resources.is_some());
        let launch = Launch { kernel: kernel.clone(), ..Launch::new("probe.cu", "probe") };
        assert!(compiled.check_arguments(&launch).is_err());
        compiled.check_arguments(&launch.address(0).address(0).int(1)).unwrap();
    }
    let (again, calls) = compile(&first, &list);
    assert!(calls.is_empty() && Arc::ptr_eq(&again[0], &compiled[0]), "from memory");
    let second = new(80);
    let (kept, _) = compile(&second, &list);
    for (kept, compiled) in kept.iter().zip(&compiled) {
        assert!(kept.from_cache, "from disk");
        assert_eq!(
            (&kept.image, &kept.log, kept.resources),
            (&compiled.image, &compiled.log, compiled.resources)
        );
    }
    let (other, _) = compile(&new(90), &list[..1]);
    assert!(!other[0].from_cache, "another architecture is another kernel");
    assert!(first.take_warnings().is_empty() && second.take_warnings().is_empty());
}

#[test]
fn a_damaged_entry_is_compiled_again() {
    if nvrtc().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let new = || Compiler::with_cache(80, Cache::new(Some(folder.path().to_owned()))).unwrap();
    let list = [probe(DType::F32)];
    let (compiled, _) = compile(&new(), &list);
    let entries: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 1);
    let bytes = fs::read(&entries[0]).unwrap();
    fs::write(&entries[0], &bytes[..bytes.len() / 2]).unwrap();
    let compiler = new();
    let (again, _) = compile(&compiler, &list);
    assert!(!again[0].from_cache);
    assert_eq!(again[0].parameters, compiled[0].parameters);
    assert_eq!(compiler.take_warnings().len(), 1);
    let (kept, _) = compile(&new(), &list);
    assert!(kept[0].from_cache, "it was replaced");
}

#[test]
fn without_a_cache_it_compiles_all_the_same() {
    if nvrtc().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let compiler = Compiler::with_cache(80, Cache::new(Some(folder.path().join("file/kernels")))).unwrap();
    let (compiled, _) = compile(&compiler, &[probe(DType::F32), probe(DType::F16)]);
    assert_eq!(compiled.len(), 2);
    assert_eq!(compiler.take_warnings().len(), 1);
}

#[test]
fn the_first_kernel_that_fails_is_named() {
    if nvrtc().is_none() {
        return;
    }
    let compiler = Compiler::with_cache(80, Cache::new(None)).unwrap();
    let bad = |name: &str| {
        let mut kernel = probe(DType::F32);
        kernel.defines.insert("X_TYPE", name.to_owned());
        kernel
    };
    let list = [probe(DType::F32), bad("first"), probe(DType::F16), bad("second"), bad("third")];
    for _ in 0..3 {
        let error = compiler.compile_all(&list, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("probe<X_TYPE=first>"), "{error}");
    }
    // The others are not lost.
    compiler.compile_all(&list[..1], &mut |_, _| panic!("it was done already")).unwrap();
    let no_entry = Launch::new("probe.cu", "none").define("X_TYPE", DType::F32).kernel;
    let error = compiler.compile_all(&[no_entry], &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("probe.cu has no such entry"), "{error}");
    let no_file = Launch::new("none.cu", "none").kernel;
    let error = compiler.compile_all(&[no_file], &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("there is no kernel file none.cu"), "{error}");
    let error = Compiler::new(999).unwrap_err().to_string();
    assert!(error.contains("does not know sm_999"), "{error}");
}

#[test]
fn several_threads_may_ask_at_once() {
    if nvrtc().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::with_cache(86, Cache::new(Some(folder.path().to_owned()))).unwrap();
    let list = [DType::F32, DType::F16, DType::Bf16].map(probe);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (compiled, _) = compile(&compiler, &list);
                let kernels: Vec<&Kernel> = compiled.iter().map(|compiled| &compiled.kernel).collect();
                assert_eq!(kernels, list.iter().collect::<Vec<_>>());
            });
        }
    });
    assert!(compiler.take_warnings().is_empty());
}
