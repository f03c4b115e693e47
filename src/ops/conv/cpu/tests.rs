//! Every direction against plain loops in f64, on every SIMD level and with 1, 2 and 3 threads.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::runtime::SimdLevel;
use crate::tensor::Random;

/// Each SIMD level with 1, 2 and 3 threads.
static CPUS: LazyLock<Vec<[Cpu; 3]>> = LazyLock::new(|| {
    let levels = SimdLevel::available().into_iter();
    levels.map(|level| [1, 2, 3].map(|threads| Cpu::with_simd(threads, level).unwrap())).collect()
});

/// Fills what a view leaves out.
const CANARY: f32 = 777.0;

/// A map whose channels are a slice of a wider buffer.
#[derive(Clone)]
struct Sliced {
    data: Vec<f32>,
    shape: Shape,
    left: usize,
    right: usize,
}

impl Sliced {
    fn new(shape: Shape, [left, right]: [usize; 2], mut value: impl FnMut() -> f32) -> Self {
        let mut data = Vec::new();
        for _ in 0..shape.pixels() {
            data.extend(std::iter::repeat_n(CANARY, left));
            data.extend((0..shape.c).map(|_| value()));
            data.extend(std::iter::repeat_n(CANARY, right));
        }
        Sliced { data, shape, left, right }
    }

    fn random(shape: Shape, margins: [usize; 2], random: &mut Random) -> Self {
        Self::new(shape, margins, || random.uniform(-1.0, 1.0))
    }

    fn wide(&self) -> Shape {
        self.shape.with_c(self.left + self.shape.c + self.right)
    }

    fn view(&self) -> View<'_, f32> {
        View::dense(&self.data, self.wide()).channels(self.left..self.left + self.shape.c)
    }

    fn view_mut(&mut self) -> ViewMut<'_, f32> {
        let (wide, range) = (self.wide(), self.left..self.left + self.shape.c);
        ViewMut::dense(&mut self.data, wide).channels(range)
    }

    fn numbers(&self) -> Vec<f64> {
        self.view().to_vec().into_iter().map(f64::from).collect()
    }

    /// Panics unless everything outside the view is still the canary.
    fn assert_canaries(&self) {
        let wide = self.wide();
        for (i, &v) in self.data.iter().enumerate() {
            let c = i % wide.c;
            assert!((self.left..self.left + self.shape.c).contains(&c) || v == CANARY, "canary at {i}: {v}");
        }
    }
}

/// A convolution to test.
#[derive(Clone, Copy, Debug)]
struct Case {
    geometry: Geometry,
    x: Shape,
    y: Shape,
    margins: [usize; 2],
    seed: u64,
}

impl Case {
    fn new(geometry: Geometry, x: Shape, c_out: usize) -> Option<Self> {
        let (h, w) = geometry.output(x.h, x.w).ok()?;
        Some(Case {
            geometry,
            x,
            y: Shape::new(x.n, h, w, c_out),
            margins: [if x.c == 1024 { 0 } else { 3 }; 2],
            seed: 1,
        })
    }

    /// Calls `visit(x index, weight index, y index)` for every product of the convolution.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let g = &self.geometry;
        let (cx, cy) = (self.x.c / g.groups, self.y.c / g.groups);
        for n in 0..self.y.n {
            for oy in 0..self.y.h {
                for ox in 0..self.y.w {
                    for ky in 0..g.kernel[0] {
                        for kx in 0..g.kernel[1] {
                            let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.padding[0]);
                            let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.padding[2]);
                            if iy >= self.x.h || ix >= self.x.w {
                                continue;
                            }
                            let from = (n * self.x.h + iy) * self.x.w + ix;
                            let to = (n * self.y.h + oy) * self.y.w + ox;
                            for co in 0..self.y.c {
                                for ci in 0..cx {
                                    let weight = ((co * g.kernel[0] + ky) * g.kernel[1] + kx) * cx + ci;
                                    visit(from * self.x.c + co / cy * cx + ci, weight, to * self.y.c + co);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn weights(&self) -> usize {
        self.geometry.weight(self.x.c, self.y.c).elements()
    }

    /// Runs `with` on every level and number of threads: all numbers of threads must give the same
    /// bits, and every level must be near `want`.
    fn on_every_cpu(&self, want: &[f64], with: impl Fn(&Cpu) -> Vec<f32>) {
        for cpus in CPUS.iter() {
            let got = with(&cpus[0]);
            assert_eq!(got.len(), want.len());
            for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
                let close = (f64::from(g) - w).abs() <= 2e-4 + 1e-5 * w.abs();
                assert!(close, "{} element {i}: {g}, not {w}; {self:?}", cpus[0].simd());
            }
            for cpu in &cpus[1..] {
                assert_eq!(got, with(cpu), "{} threads differ from one; {self:?}", cpu.threads());
            }
        }
    }

    fn check_forward(&self, options: Options) {
        let mut random = Random::new(self.seed);
        let x = Sliced::random(self.x, self.margins, &mut random);
        let before = Sliced::random(self.y, self.margins, &mut random);
        let other = Sliced::random(self.y, [1, 4], &mut random);
        let mut vector = |n: usize| (0..n).map(|_| random.uniform(-1.0, 1.0)).collect::<Vec<f32>>();
        let (weight, bias) = (vector(self.weights()), vector(self.y.c));
        let (scale, shift) = (vector(self.x.c), vector(self.x.c));

        let prologue =
            options.prologue.map(|activation| Prologue { scale: &scale, shift: &shift, activation });
        let mut input = x.numbers();
        if let Some(p) = prologue {
            for (i, v) in input.iter_mut().enumerate() {
                let c = i % self.x.c;
                *v = p.activation.apply(f64::from(scale[c]) * *v + f64::from(shift[c]));
            }
        }
        let channels = self.y.c * options.residual_share / 4;
        let mut z = vec![0.0f64; self.y.elements()];
        self.products(|i, w, o| z[o] += input[i] * f64::from(weight[w]));
        let residual = if options.in_place { before.numbers() } else { other.numbers() };
        let mut want = Vec::new();
        for (i, z) in z.iter_mut().enumerate() {
            let c = i % self.y.c;
            if options.bias {
                *z += f64::from(bias[c]);
            }
            let r = if options.residual_share > 0 && c < channels { residual[i] } else { 0.0 };
            want.push(if options.before_activation {
                options.activation.apply(*z + r)
            } else {
                options.activation.apply(*z) + r
            });
        }
        if options.stats {
            let pixels = self.y.pixels() as f64;
            let of = |c: usize| z.iter().skip(c).step_by(self.y.c);
            let means: Vec<f64> = (0..self.y.c).map(|c| of(c).sum::<f64>() / pixels).collect();
            let variance = |c: usize| of(c).map(|z| (z - means[c]).powi(2)).sum::<f64>() / pixels;
            want.extend(&means);
            want.extend((0..self.y.c).map(variance));
        }
        self.on_every_cpu(&want, |cpu| {
            let mut y = before.clone();
            let source =
                if options.in_place { ResidualSource::InPlace } else { ResidualSource::View(other.view()) };
            let mut stats = vec![CANARY; if options.stats { 2 * self.y.c } else { 0 }];
            let epilogue = Epilogue {
                bias: options.bias.then_some(&bias[..]),
                activation: options.activation,
                residual: (options.residual_share > 0).then_some(Residual {
                    source,
                    channels,
                    before_activation: options.before_activation,
                }),
                stats: options.stats.then_some(&mut stats[..]),
            };
            let mut workspace = vec![f32::NAN; forward_workspace(cpu, &self.geometry, self.x, self.y)];
            forward(cpu, &self.geometry, x.view(), &weight, prologue, epilogue, y.view_mut(), &mut workspace);
            y.assert_canaries();
            y.view().to_vec().into_iter().chain(stats).collect()
        });
    }

    fn check_input_gradient(&self, accumulate: bool) {
        let mut random = Random::new(self.seed);
        let dy = Sliced::random(self.y, self.margins, &mut random);
        let before = Sliced::random(self.x, [2, 5], &mut random);
        let weight: Vec<f32> = (0..self.weights()).map(|_| random.uniform(-1.0, 1.0)).collect();
        let mut want = if accumulate { before.numbers() } else { vec![0.0; self.x.elements()] };
        let gradient = dy.numbers();
        self.products(|i, w, o| want[i] += gradient[o] * f64::from(weight[w]));
        self.on_every_cpu(&want, |cpu| {
            let mut dx = before.clone();
            let mut workspace = vec![f32::NAN; input_gradient_workspace(cpu, &self.geometry, self.x, self.y)];
            let (dy, dx_view) = (dy.view(), dx.view_mut());
            input_gradient(cpu, &self.geometry, dy, &weight, accumulate, dx_view, &mut workspace);
            dx.assert_canaries();
            dx.view().to_vec()
        });
    }

    fn check_weight_gradient(&self, prologue: Option<Activation>, with_bias: bool) {
        let mut random = Random::new(self.seed);
        let x = Sliced::random(self.x, self.margins, &mut random);
        let dy = Sliced::random(self.y, [1, 0], &mut random);
        let scale: Vec<f32> = (0..self.x.c).map(|_| random.uniform(-1.0, 1.0)).collect();
        let shift: Vec<f32> = (0..self.x.c).map(|_| random.uniform(-1.0, 1.0)).collect();
        let prologue = prologue.map(|activation| Prologue { scale: &scale, shift: &shift, activation });
        let mut input = x.numbers();
        if let Some(p) = prologue {
            for (i, v) in input.iter_mut().enumerate() {
                let c = i % self.x.c;
                *v = p.activation.apply(f64::from(scale[c]) * *v + f64::from(shift[c]));
            }
        }
        let gradient = dy.numbers();
        let mut want = vec![0.0; self.weights()];
        self.products(|i, w, o| want[w] += input[i] * gradient[o]);
        if with_bias {
            want.extend((0..self.y.c).map(|c| gradient.iter().skip(c).step_by(self.y.c).sum::<f64>()));
        }
        self.on_every_cpu(&want, |cpu| {
            let mut dw = vec![CANARY; self.weights()];
            let mut db = vec![CANARY; if with_bias { self.y.c } else { 0 }];
            let mut workspace =
                vec![f32::NAN; weight_gradient_workspace(cpu, &self.geometry, self.x, self.y)];
            let bias = with_bias.then_some(&mut db[..]);
            weight_gradient(
                cpu,
                &self.geometry,
                x.view(),
                prologue,
                dy.view(),
                &mut dw,
                bias,
                &mut workspace,
            );
            dw.into_iter().chain(db).collect()
        });
    }
}

/// What a forward convolution has around it.
#[derive(Clone, Copy, Debug)]
struct Options {
    prologue: Option<Activation>,
    bias: bool,
    activation: Activation,
    /// Quarters of the channels that have a residual.
    residual_share: usize,
    in_place: bool,
    before_activation: bool,
    stats: bool,
}

const PLAIN: Options = Options {
    prologue: None,
    bias: false,
    activation: Activation::Linear,
    residual_share: 0,
    in_place: false,
    before_activation: false,
    stats: false,
};

fn activation() -> impl Strategy<Value = Activation> {
    prop::sample::select(&Activation::ALL[..])
}

fn options() -> impl Strategy<Value = Options> {
    (
        prop::option::of(activation()),
        any::<bool>(),
        activation(),
        0usize..=4,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(prologue, bias, activation, residual_share, in_place, before_activation, stats)| {
            Options { prologue, bias, activation, residual_share, in_place, before_activation, stats }
        })
}

/// Shapes of all kinds: one-pixel maps, odd sizes, uneven padding, groups, depth-wise.
fn case() -> impl Strategy<Value = Case> {
    let channels = prop_oneof![4 => (1usize..=12, 1usize..=12), 2 => (1usize..=40, 1usize..=70)];
    let groups = prop_oneof![4 => Just(1usize), 1 => 2usize..=3, 2 => Just(0usize)];
    (
        (1usize..=2, 1usize..=9, 1usize..=9),
        channels,
        groups,
        ([1usize..=4, 1usize..=4], [1usize..=3, 1usize..=3], [0usize..=2, 0..=2, 0..=2, 0..=2]),
        [
            prop_oneof![3 => Just(1usize), 1 => Just(2usize)],
            prop_oneof![3 => Just(1usize), 1 => Just(2usize)],
        ],
        [0usize..=3, 0usize..=3],
        any::<u64>(),
    )
        .prop_filter_map(
            "the window is larger than the map",
            |((n, h, w), (c_in, c_out), groups, (kernel, stride, padding), dilation, margins, seed)| {
                // 0 stands for depth-wise.
                let (groups, c_in, c_out) = match groups {
                    0 => (c_out, c_out, c_out),
                    1 => (1, c_in, c_out),
                    g => (g, g * c_in.min(9), g * c_out.min(20)),
                };
                let geometry = Geometry { kernel, stride, padding, dilation, groups };
                let case = Case::new(geometry, Shape::new(n, h, w, c_in), c_out)?;
                Some(Case { margins, seed, ..case })
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn forward_is_the_sum(case in case(), options in options()) {
        case.check_forward(options);
    }

    #[test]
    fn input_gradient_is_the_transpose(case in case(), accumulate in any::<bool>()) {
        case.check_input_gradient(accumulate);
    }

    #[test]
    fn weight_gradient_is_the_sum(
        case in case(),
        prologue in prop::option::of(activation()),
        bias in any::<bool>(),
    ) {
        case.check_weight_gradient(prologue, bias);
    }
}

/// 3×3 convolutions at stride 1 on maps of 7×7 tiles or more, which Winograd's algorithm takes.
fn winograd_case() -> impl Strategy<Value = Case> {
    (
        // Without padding two rows and columns fewer come out: 25, which is 7 tiles.
        (1usize..=2, 27usize..=33, 27usize..=33),
        (16usize..=37, 16usize..=37),
        [0usize..=2, 0..=2, 0..=2, 0..=2],
    )
        .prop_filter_map("the window is larger than the map", |((n, h, w), (c_in, c_out), padding)| {
            let geometry = Geometry { padding, ..Geometry::same(3, 1) };
            let case = Case::new(geometry, Shape::new(n, h, w, c_in), c_out)?;
            assert!(TapConv::forward(&CPUS[0][0], &geometry, case.x, case.y).winograd);
            Some(Case { seed: (h * w + c_in * c_out) as u64, ..case })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn winograd_forward_is_the_sum(case in winograd_case(), options in options()) {
        case.check_forward(options);
    }

    #[test]
    fn winograd_input_gradient_is_the_transpose(case in winograd_case(), accumulate in any::<bool>()) {
        case.check_input_gradient(accumulate);
    }

    #[test]
    fn winograd_weight_gradient_is_the_sum(
        case in winograd_case(),
        prologue in prop::option::of(activation()),
        bias in any::<bool>(),
    ) {
        case.check_weight_gradient(prologue, bias);
    }
}

#[test]
fn winograd_loses_few_digits() {
    // Against the direct sums of the same machine, on 128 channels: the error in units of the
    // result's standard deviation.
    let case = Case::new(Geometry::same(3, 1), Shape::new(1, 28, 28, 128), 16).unwrap();
    let mut random = Random::new(5);
    let x = Sliced::random(case.x, [0, 0], &mut random);
    let weight: Vec<f32> = (0..case.weights()).map(|_| random.uniform(-1.0, 1.0)).collect();
    let (input, mut want) = (x.numbers(), vec![0.0f64; case.y.elements()]);
    case.products(|i, w, o| want[o] += input[i] * f64::from(weight[w]));
    let deviation = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
    for [cpu, ..] in CPUS.iter() {
        let mut y = vec![0.0; case.y.elements()];
        let mut workspace = vec![0.0; forward_workspace(cpu, &case.geometry, case.x, case.y)];
        let to = ViewMut::dense(&mut y, case.y);
        forward(cpu, &case.geometry, x.view(), &weight, None, Epilogue::default(), to, &mut workspace);
        let error = y.iter().zip(&want).map(|(y, w)| (f64::from(*y) - w).abs()).fold(0.0, f64::max);
        println!("{}: worst error {:.2e} deviations", cpu.simd(), error / deviation);
        assert!(error / deviation < 1e-5, "{} of {deviation} on {}", error, cpu.simd());
    }
}

/// Shapes that need several chunks, panels and sums, by name of what they exercise.
fn large_cases() -> Vec<Case> {
    let case = |geometry, x, c_out| Case::new(geometry, x, c_out).unwrap();
    vec![
        case(Geometry::same(1, 1), Shape::new(2, 23, 31, 40), 72),
        case(Geometry::same(3, 1), Shape::new(1, 37, 40, 24), 33),
        case(Geometry::same(3, 2), Shape::new(2, 40, 38, 3), 32),
        case(Geometry::same(3, 1), Shape::new(1, 9, 7, 130), 100),
        case(Geometry::same(3, 1).grouped(48), Shape::new(1, 33, 40, 48), 48),
        case(Geometry::same(5, 2).grouped(4), Shape::new(1, 31, 29, 16), 24),
        // Pixels 4 KiB apart, which the scratch spreads.
        case(Geometry::same(1, 1), Shape::new(1, 3, 5, 1024), 9),
        case(Geometry::same(3, 1), Shape::new(1, 3, 4, 1024), 3),
    ]
}

#[test]
fn many_chunks_forward() {
    for case in large_cases() {
        case.check_forward(Options { stats: true, bias: true, prologue: Some(Activation::Leaky), ..PLAIN });
        case.check_forward(PLAIN);
    }
}

#[test]
fn many_chunks_gradients() {
    for case in large_cases() {
        case.check_input_gradient(true);
        case.check_weight_gradient(None, true);
    }
}

#[test]
fn statistics_do_not_cancel() {
    // A mean a thousand times the deviation: E[z²] − E[z]² would have no digit left.
    let case = Case::new(Geometry::same(1, 1), Shape::new(1, 40, 50, 1), 1).unwrap();
    let mut random = Random::new(3);
    let x = Sliced::new(case.x, [0, 0], || 1000.0 + random.uniform(-1.0, 1.0));
    let numbers = x.numbers();
    let mean = numbers.iter().sum::<f64>() / 2000.0;
    let variance = numbers.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2000.0;
    for [cpu, ..] in CPUS.iter() {
        let mut stats = [0.0; 2];
        let mut y = vec![0.0; 2000];
        let mut workspace = vec![0.0; forward_workspace(cpu, &case.geometry, case.x, case.y)];
        let epilogue = Epilogue { stats: Some(&mut stats), ..Epilogue::default() };
        let y = ViewMut::dense(&mut y, case.y);
        forward(cpu, &case.geometry, x.view(), &[1.0], None, epilogue, y, &mut workspace);
        assert!((f64::from(stats[0]) - mean).abs() < 1e-4, "{} not {mean}", stats[0]);
        assert!((f64::from(stats[1]) / variance - 1.0).abs() < 1e-3, "{} not {variance}", stats[1]);
    }
}
