//! What the kernels over match tables share: how a table is handed over, and the number of its matches.

use crate::Result;
use crate::runtime::cuda::{DeviceView, Launch};

/// Rows that a block counts (`kernels/common/match_count.cuh`).
pub const COUNT_ROWS: usize = 1024;

/// Hands a match table to a kernel, which is specialised for it.
///
/// # Errors
/// Where it is not stored in f32.
pub fn table(launch: Launch, table: DeviceView) -> Result<Launch> {
    let table = table.expect_f32()?;
    let launch = launch.define("TABLE_STRIDE", table.pixel_stride).define("TABLE_PACK", table.pack());
    Ok(launch.view(table))
}

/// Writes zeros over the map `y`, and over `word_count` words of four bytes from `words` on.
pub fn clear(y: DeviceView, words: u64, word_count: usize) -> Launch {
    let (channels, stride) = if y.is_dense() { (1, 1) } else { (y.shape.c, y.pixel_stride) };
    let (elements, pack) = (y.shape.elements(), y.flat_pack());
    Launch::new("clear.cu", "clear")
        .define("Y_TYPE", y.dtype)
        .define("Y_STRIDE", stride)
        .define("CHANNELS", channels)
        .define("PACK", pack)
        .cover(elements.div_ceil(pack).max(word_count))
        .view(y)
        .int(elements)
        .address(words)
        .int(word_count)
}

/// Threads that share a row of `columns`: a power of two, so that a warp has whole rows.
pub fn lanes(columns: usize) -> usize {
    columns.next_power_of_two().min(32)
}

/// Bytes of workspace for the counts of a table of `capacity` rows.
pub fn count_workspace(capacity: usize) -> usize {
    capacity.div_ceil(COUNT_ROWS).max(1) * size_of::<i32>()
}

/// Leaves the number of matches in `counts`, a number for each [`COUNT_ROWS`] rows.
///
/// # Errors
/// Where the table is not stored in f32.
pub fn count(matches: DeviceView, counts: u64) -> Result<Launch> {
    let capacity = matches.shape.pixels();
    let launch =
        Launch::new("match_count.cu", "match_count").grid(capacity.div_ceil(COUNT_ROWS).max(1), 1, 1);
    Ok(table(launch, matches)?.int(capacity).address(counts))
}

/// A mean over matches of which each block leaves a sum and a count.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    /// The blocks.
    pub blocks: usize,
    /// The address of their sums.
    pub sums: u64,
    /// The address of their counts.
    pub counts: u64,
}

impl Mean {
    /// A mean over `blocks` blocks in `workspace`.
    pub fn new(blocks: usize, workspace: u64) -> Self {
        Mean { blocks, sums: workspace, counts: workspace + (blocks * size_of::<f32>()) as u64 }
    }

    /// Bytes of workspace; one block writes the mean itself.
    pub fn workspace(blocks: usize) -> usize {
        if blocks > 1 { blocks * (size_of::<f32>() + size_of::<i32>()) } else { 0 }
    }

    /// `launch`, which leaves sums and counts, and what makes a mean over `terms` terms a match of them.
    pub fn finish(&self, launch: Launch, terms: usize, y: DeviceView) -> Vec<Launch> {
        if self.blocks == 1 {
            return vec![launch];
        }
        let finish = Launch::new("match_mean.cu", "match_mean");
        let finish = finish.address(self.sums).address(self.counts).int(self.blocks).int(terms).view(y);
        vec![launch, finish]
    }
}
