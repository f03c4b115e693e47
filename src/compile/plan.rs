//! One arena for the whole step: where in it each buffer lies, and when.
//!
//! Buffers whose lives do not overlap share memory. Finding the least arena is NP-hard (dynamic storage
//! allocation); a few greedy orders are tried and the smallest result is taken, which for networks is
//! nearly always the lower bound, the most bytes alive at one node.

/// A request: `size` words from node `first` to node `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Words.
    pub size: usize,
    /// The first node that needs it.
    pub first: usize,
    /// The last node that needs it.
    pub last: usize,
}

/// Where each request lies, and how long the arena is: both in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The first word of each request.
    pub offsets: Vec<usize>,
    /// The arena's length.
    pub length: usize,
    /// The most words alive at once: no arena can be shorter.
    pub bound: usize,
    /// The node where that is.
    pub peak: usize,
}

/// Plans the arena for `requests`, every offset a multiple of `alignment` words.
pub fn plan(requests: &[Request], alignment: usize) -> Plan {
    let alignment = alignment.max(1);
    let requests: Vec<Request> =
        requests.iter().map(|r| Request { size: r.size.next_multiple_of(alignment), ..*r }).collect();
    let requests = &requests[..];
    let (bound, peak) = bound(requests);
    let sized = |i: &usize| std::cmp::Reverse(requests[*i].size);
    let mut best: Option<(Vec<usize>, usize)> = None;
    for rule in 0..4 {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        match rule {
            0 => order.sort_by_key(sized),
            1 => order.sort_by_key(|i| (requests[*i].first, sized(i))),
            2 => order.sort_by_key(|i| (std::cmp::Reverse(requests[*i].last - requests[*i].first), sized(i))),
            // Those alive at the peak first: they cannot share with each other anyway.
            _ => order.sort_by_key(|i| {
                let r = &requests[*i];
                (!(r.first <= peak && peak <= r.last), sized(i))
            }),
        }
        let (offsets, length) = lay_out(requests, &order);
        if best.as_ref().is_none_or(|(_, shortest)| length < *shortest) {
            best = Some((offsets, length));
        }
        if best.as_ref().is_some_and(|(_, shortest)| *shortest == bound) {
            break;
        }
    }
    let (offsets, length) = best.unwrap_or_default();
    Plan { offsets, length, bound, peak }
}

/// The most words alive at one node, and that node.
fn bound(requests: &[Request]) -> (usize, usize) {
    let nodes = requests.iter().map(|r| r.last + 1).max().unwrap_or(0);
    let mut change = vec![0isize; nodes + 1];
    for r in requests {
        change[r.first] += r.size as isize;
        change[r.last + 1] -= r.size as isize;
    }
    let (mut alive, mut most, mut peak) = (0, 0, 0);
    for (node, change) in change.iter().enumerate() {
        alive += change;
        if alive > most {
            (most, peak) = (alive, node);
        }
    }
    (most as usize, peak)
}

/// Gives each request in `order` the tightest gap among those that live at the same time.
fn lay_out(requests: &[Request], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; requests.len()];
    // Laid out so far: (offset, end, request), by offset.
    let mut laid: Vec<(usize, usize, usize)> = Vec::new();
    let mut length = 0;
    for &index in order {
        let request = requests[index];
        let size = request.size;
        let (mut free, mut best) = (0, None::<(usize, usize)>);
        for &(start, end, other) in &laid {
            let other = requests[other];
            if other.last < request.first || request.last < other.first {
                continue;
            }
            if start > free && start - free >= size && best.is_none_or(|(gap, _)| start - free < gap) {
                best = Some((start - free, free));
            }
            free = free.max(end);
        }
        let offset = best.map_or(free, |(_, offset)| offset);
        offsets[index] = offset;
        length = length.max(offset + size);
        let at = laid.partition_point(|l| l.0 < offset);
        laid.insert(at, (offset, offset + size, index));
    }
    (offsets, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_lives_together_overlaps(
            raw in prop::collection::vec((0..500usize, 0..40usize, 0..12usize), 0..60)
        ) {
            let requests: Vec<Request> =
                raw.iter().map(|&(size, first, life)| Request { size, first, last: first + life }).collect();
            let plan = plan(&requests, 16);
            for (i, a) in requests.iter().enumerate() {
                prop_assert!(plan.offsets[i] + a.size <= plan.length);
                prop_assert_eq!(plan.offsets[i] % 16, 0);
                for (j, b) in requests.iter().enumerate().take(i) {
                    let apart_in_time = a.last < b.first || b.last < a.first;
                    let apart = plan.offsets[i] + a.size <= plan.offsets[j]
                        || plan.offsets[j] + b.size <= plan.offsets[i];
                    prop_assert!(apart_in_time || apart || a.size == 0 || b.size == 0);
                }
            }
            // The bound by a count of its own, node by node.
            let alive = |node: usize| -> usize {
                requests.iter().filter(|r| r.first <= node && node <= r.last).map(|r| r.size.div_ceil(16) * 16).sum()
            };
            let most = (0..60).map(alive).max().unwrap_or(0);
            prop_assert_eq!(plan.bound, most);
            prop_assert!(plan.length >= plan.bound);
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Request> = (0..10).map(|i| Request { size: 100, first: i, last: i + 1 }).collect();
        assert_eq!(plan(&chain, 16).length, 2 * 112);
    }
}
