//! A convolution and its input gradient, seen as the same thing: a sum over taps.
//!
//! Along one axis, result `t` stands at `out_start + t·out_step` and reads the source at
//! `t·in_step + offset` for every tap. A forward convolution is one such axis with `in_step` =
//! stride. The input gradient is one per parity of the stride: the results of one parity read a
//! dense run of output gradients through the taps of that parity, and land `stride` apart.

use super::super::Geometry;

/// Which pixels one axis of a tap convolution reads and writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Results.
    pub count: usize,
    /// Where the first result stands.
    pub out_start: usize,
    /// From one result to the next.
    pub out_step: usize,
    /// Length of the source.
    pub in_len: usize,
    /// Source pixels from one result's window to the next.
    pub in_step: usize,
    /// The taps by ascending offset.
    pub taps: Vec<Tap>,
}

/// One tap of an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// Source pixel that result 0 reads through this tap; may lie outside.
    pub offset: isize,
    /// The tap's index in the weight.
    pub kernel: usize,
}

impl Axis {
    /// `length` results that each read the source pixel at their own place.
    pub fn pointwise(length: usize) -> Self {
        let taps = vec![Tap { offset: 0, kernel: 0 }];
        Axis { count: length, out_start: 0, out_step: 1, in_len: length, in_step: 1, taps }
    }

    /// The forward convolution along `axis` (0: down, 1: right), from `x` to `y` pixels.
    pub fn forward(geometry: &Geometry, axis: usize, x: usize, y: usize) -> Self {
        let before = geometry.padding[2 * axis] as isize;
        let dilation = geometry.dilation[axis] as isize;
        let taps = (0..geometry.kernel[axis])
            .map(|kernel| Tap { offset: kernel as isize * dilation - before, kernel })
            .collect();
        Axis { count: y, out_start: 0, out_step: 1, in_len: x, in_step: geometry.stride[axis], taps }
    }

    /// The input gradient along `axis`, from `y` to `x` pixels: one axis per parity that has pixels.
    pub fn backward(geometry: &Geometry, axis: usize, x: usize, y: usize) -> Vec<Self> {
        let before = geometry.padding[2 * axis] as isize;
        let (dilation, stride) = (geometry.dilation[axis] as isize, geometry.stride[axis]);
        (0..stride.min(x))
            .map(|start| {
                // dx[i] sums dy[o] over i = o·stride + kernel·dilation − before.
                let mut taps: Vec<Tap> = (0..geometry.kernel[axis])
                    .map(|kernel| (start as isize + before - kernel as isize * dilation, kernel))
                    .filter(|(distance, _)| distance % stride as isize == 0)
                    .map(|(distance, kernel)| Tap { offset: distance / stride as isize, kernel })
                    .collect();
                taps.sort_by_key(|tap| tap.offset);
                let count = (x - start).div_ceil(stride);
                Axis { count, out_start: start, out_step: stride, in_len: y, in_step: 1, taps }
            })
            .collect()
    }

    /// The first source pixel that result 0 reads; 0 without taps.
    pub fn first(&self) -> isize {
        self.taps.first().map_or(0, |tap| tap.offset)
    }

    /// Source pixels that `results` neighbouring results span; 0 without taps.
    pub fn span(&self, results: usize) -> usize {
        match self.taps.last() {
            Some(last) if results > 0 => {
                (results - 1) * self.in_step + (last.offset - self.first()) as usize + 1
            }
            _ => 0,
        }
    }

    /// Whether all results read only pixels that exist.
    pub fn inside(&self) -> bool {
        self.first() >= 0 && self.first() as usize + self.span(self.count) <= self.in_len
    }
}

/// How channels are cut into groups and panels, and how packed weights lie.
///
/// A *panel* is up to `vectors · lanes` output channels of one group. Its packed weights are
/// `[k, width]`, k running over taps (down, right) and then input channels; its width is a whole
/// number of vectors, channels that do not exist are zero. Panels lie one after the other, group by
/// group. Depth-wise convolutions have one vector to a panel, and k runs over taps only.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Groups; 1 where depth-wise.
    pub groups: usize,
    /// Every channel by itself.
    pub depthwise: bool,
    /// Source channels of a group.
    pub c_in: usize,
    /// Result channels of a group.
    pub c_out: usize,
    /// Lanes of a vector.
    pub lanes: usize,
    /// Vectors of a full panel.
    pub vectors: usize,
}

/// One panel of a [`Layout`].
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// The group.
    pub group: usize,
    /// Its first result channel.
    pub channel: usize,
    /// Result channels.
    pub channels: usize,
    /// Vectors.
    pub vectors: usize,
    /// Packed numbers before it, for one k.
    pub before: usize,
}

impl Layout {
    /// The layout for all of a convolution's channels: `c_in` of the source, `c_out` of the result.
    pub fn new(groups: usize, c_in: usize, c_out: usize, lanes: usize, vectors: usize) -> Self {
        if groups > 1 && groups == c_in && groups == c_out {
            return Layout { groups: 1, depthwise: true, c_in, c_out, lanes, vectors: 1 };
        }
        Layout { groups, depthwise: false, c_in: c_in / groups, c_out: c_out / groups, lanes, vectors }
    }

    /// Rows of packed weights for `taps` taps.
    pub fn k(&self, taps: usize) -> usize {
        if self.depthwise { taps } else { taps * self.c_in }
    }

    /// Panels in a group.
    pub fn panels_per_group(&self) -> usize {
        self.c_out.div_ceil(self.lanes * self.vectors)
    }

    /// All panels.
    pub fn panels(&self) -> usize {
        self.groups * self.panels_per_group()
    }

    /// Packed channels, padding included.
    pub fn packed_channels(&self) -> usize {
        self.groups * self.c_out.next_multiple_of(self.lanes)
    }

    /// Panel number `index`.
    pub fn panel(&self, index: usize) -> Panel {
        let width = self.lanes * self.vectors;
        let (group, inner) = (index / self.panels_per_group(), index % self.panels_per_group());
        let channels = width.min(self.c_out - inner * width);
        Panel {
            group,
            channel: group * self.c_out + inner * width,
            channels,
            vectors: channels.div_ceil(self.lanes),
            before: group * self.c_out.next_multiple_of(self.lanes) + inner * width,
        }
    }

    /// Source channels that one chunk of work reads, and the first of them for `group`.
    pub fn source(&self, group: usize) -> (usize, usize) {
        (group * self.c_in, self.c_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parities_cover_every_pair_once() {
        // Each (input, output, tap) triple of the forward axis appears in exactly one parity.
        for (kernel, stride, dilation, before, after, x) in [
            (3, 1, 1, 1, 1, 7),
            (3, 2, 1, 1, 1, 8),
            (4, 3, 2, 0, 2, 11),
            (1, 2, 1, 0, 0, 5),
            (3, 2, 3, 4, 0, 9),
        ] {
            let geometry = Geometry {
                kernel: [kernel; 2],
                stride: [stride; 2],
                padding: [before, after, before, after],
                dilation: [dilation; 2],
                groups: 1,
            };
            let (y, _) = geometry.output(x, x).unwrap();
            let mut forward = Vec::new();
            let axis = Axis::forward(&geometry, 0, x, y);
            for t in 0..axis.count {
                for tap in &axis.taps {
                    let i = (t * axis.in_step) as isize + tap.offset;
                    if (0..x as isize).contains(&i) {
                        forward.push((i as usize, t, tap.kernel));
                    }
                }
            }
            let mut backward = Vec::new();
            for axis in Axis::backward(&geometry, 0, x, y) {
                for t in 0..axis.count {
                    for tap in &axis.taps {
                        let o = t as isize + tap.offset;
                        if (0..y as isize).contains(&o) {
                            backward.push((axis.out_start + t * axis.out_step, o as usize, tap.kernel));
                        }
                    }
                }
            }
            forward.sort_unstable();
            backward.sort_unstable();
            assert_eq!(forward, backward, "{geometry:?}");
        }
    }
}
