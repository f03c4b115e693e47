//! One small kernel: its table of parameters, its resources, and what is said where something is wrong.

use gradpath::runtime::cuda::{Launch, Resources, Source, check_arguments, parameter_table};

use super::{ARCHITECTURES, kernel, nvrtc, options};

const TEXT: &str = r#"
#include "common/types.cuh"

extern "C" __global__ void __launch_bounds__(256) scale(float* y, const X_TYPE* x, int n, float by, const int* table) {
    SHARED_ARRAY(float, tile, 256);
    int i = blockIdx.x * 256 + threadIdx.x;
    tile[threadIdx.x] = i < n ? to_float(x[i]) : 0.0f;
    __syncthreads();
    if (i < n) y[i] = tile[255 - threadIdx.x] * by + table[i];
}

// Indexed at run time: an array on the stack.
extern "C" __global__ void stack(float* y, int n) {
    float values[100];
    for (int i = 0; i < 100; i++) values[i] = y[i];
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum += values[(i * 7 + n) % 100];
    y[0] = sum;
}

extern "C" __global__ void nothing() {}
"#;

#[test]
fn a_kernel_compiles_for_every_architecture() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::of_text("test.cu", TEXT).unwrap();
    for arch in ARCHITECTURES {
        nvrtc.check_architecture(arch).unwrap();
        for dtype in ["f32", "f16", "bf16"] {
            let kernel = kernel("scale", &[("X_TYPE", dtype)]);
            let cubin = nvrtc.compile(&source, &options(&kernel, arch), "scale").unwrap();
            let table = parameter_table(&cubin.image).expect("a table of parameters");
            assert_eq!(table.keys().collect::<Vec<_>>(), ["nothing", "scale", "stack"]);
            let launch = Launch::new("test.cu", "scale").address(0).address(0).int(1).float(1.0).address(0);
            check_arguments(&launch, &table["scale"]).unwrap();
            check_arguments(&Launch::new("test.cu", "nothing"), &table["nothing"]).unwrap();
            let resources = Resources::parse(&cubin.log, "scale").expect("resources");
            assert_eq!((resources.static_shared_bytes, resources.spill_bytes), (1024, 0), "{}", cubin.log);
            assert!((8..64).contains(&resources.registers), "{resources:?}");
            let resources = Resources::parse(&cubin.log, "stack").expect("resources");
            assert_eq!((resources.stack_bytes, resources.static_shared_bytes), (400, 0), "{}", cubin.log);
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::of_text("test.cu", TEXT).unwrap();
    let kernel = kernel("scale", &[("X_TYPE", "f32")]);
    let cubin = nvrtc.compile(&source, &options(&kernel, 80), "scale").unwrap();
    let parameters = &parameter_table(&cubin.image).unwrap()["scale"];
    let launch = || Launch::new("test.cu", "scale").address(0).address(0);
    for (wrong, words) in [
        (launch().int(1).float(1.0), "4 arguments, and the kernel 5 parameters"),
        (launch().int(1).float(1.0).address(0).int(1), "6 arguments, and the kernel 5 parameters"),
        (launch().address(0).float(1.0).address(0), "argument 2 is an address of 8 bytes"),
        (launch().int(1).float(1.0).int(0), "argument 4 is an int of 4 bytes"),
    ] {
        let error = check_arguments(&wrong, parameters).unwrap_err().to_string();
        assert!(error.contains("kernel scale: ") && error.contains(words), "{error}");
    }
}

#[test]
fn registers_that_do_not_suffice_are_seen() {
    let Some(nvrtc) = nvrtc() else { return };
    // 64 sums that are alive at once, in the 32 registers that 2048 threads leave each.
    let text = r#"
        extern "C" __global__ void __launch_bounds__(1024, 2)
        many(float* __restrict__ y, const float* __restrict__ x, int n) {
            float sum[64];
            #pragma unroll
            for (int i = 0; i < 64; i++) sum[i] = 0.0f;
            for (int k = 0; k < n; k++) {
                float a = x[k], b = x[k + n];
                #pragma unroll
                for (int i = 0; i < 64; i++) sum[i] = sum[i] * a + b * sum[(i + 17) % 64] + threadIdx.x;
            }
            #pragma unroll
            for (int i = 0; i < 64; i++) y[i * n + threadIdx.x] = sum[i];
        }"#;
    let source = Source::of_text("test.cu", text).unwrap();
    let cubin = nvrtc.compile(&source, &options(&kernel("many", &[]), 80), "many").unwrap();
    let resources = Resources::parse(&cubin.log, "many").unwrap();
    assert!(resources.spill_bytes > 0 && resources.registers <= 32, "{resources:?}");
}

#[test]
fn an_error_shows_what_the_compiler_said() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::of_text("test.cu", "extern \"C\" __global__ void k(int n) { n = none; }").unwrap();
    let kernel = kernel("k", &[("CHANNELS", "8")]);
    let error = nvrtc.compile(&source, &options(&kernel, 80), &kernel.to_string()).unwrap_err();
    assert_eq!(error.kind(), gradpath::ErrorKind::Device);
    let error = error.to_string();
    for part in ["k<CHANNELS=8>", "test.cu(1)", "\"none\" is undefined", "; "] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert!(!error.contains('\n'), "{error}");
    // Assembly that the architecture does not have is refused by the second half of the compiler.
    let text = "extern \"C\" __global__ void k() { asm(\"cp.async.wait_all;\"); }";
    let source = Source::of_text("test.cu", text).unwrap();
    nvrtc.compile(&source, &options(&kernel, 80), "k").unwrap();
    let error = nvrtc.compile(&source, &options(&kernel, 75), "k").unwrap_err().to_string();
    assert!(error.contains("sm_80"), "{error}");
    // A text that C cannot hold.
    let source = Source::of_text("test.cu", "int a;\0int b;").unwrap();
    let error = nvrtc.compile(&source, &options(&kernel, 80), "k").unwrap_err().to_string();
    assert!(error.contains("zero byte"), "{error}");
}

#[test]
fn an_unknown_architecture_is_told_with_the_known_ones() {
    let Some(nvrtc) = nvrtc() else { return };
    let (major, minor) = nvrtc.version();
    let error = nvrtc.check_architecture(999).unwrap_err().to_string();
    for part in [
        format!("NVRTC {major}.{minor} does not know sm_999"),
        "sm_80".to_owned(),
        "pip install -U nvidia-cuda-nvrtc".to_owned(),
    ] {
        assert!(error.contains(&part), "{part:?} is not in {error:?}");
    }
    let error = nvrtc.check_architecture(30).unwrap_err().to_string();
    assert!(error.contains("does not know sm_30") && !error.contains("pip"), "{error}");
}

#[test]
fn several_threads_compile_at_once() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::of_text("test.cu", TEXT).unwrap();
    let alone = |arch, dtype| {
        let kernel = kernel("scale", &[("X_TYPE", dtype)]);
        nvrtc.compile(&source, &options(&kernel, arch), "scale").unwrap().image
    };
    let jobs = [(80, "f32"), (80, "f16"), (90, "bf16"), (120, "f32"), (75, "f16"), (80, "f32")];
    let together: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.map(|(arch, dtype)| scope.spawn(move || alone(arch, dtype))).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let code = |image: &[u8]| parameter_table(image).unwrap();
    for ((arch, dtype), image) in jobs.into_iter().zip(&together) {
        assert_eq!(code(image), code(&alone(arch, dtype)));
    }
    assert_eq!(together[0].len(), together[5].len());
}
