//! Gives sessions and connections small numbers, in the order in which they come.

use std::num::NonZeroU32;

use super::PlannedRequest;
use crate::correlate::value::ByNumber;

/// The number of `key`, which is a new one if it was not known.
pub(super) fn numbered(numbers: &mut ByNumber<u32>, key: u64) -> u32 {
    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    *numbers.entry(key).or_insert(next)
}

/// Numbers what is left of `known` numbers from zero, in the order of its first request; how many there are.
pub(super) fn renumbered(
    requests: &mut [PlannedRequest],
    known: usize,
    field: impl Fn(&mut PlannedRequest) -> &mut u32,
) -> u32 {
    let mut numbers: Vec<Option<NonZeroU32>> = vec![None; known];
    let mut next = NonZeroU32::MIN;
    for request in requests {
        let number = field(request);
        let renumbered = numbers[*number as usize].get_or_insert_with(|| {
            let new = next;
            next = next.saturating_add(1);
            new
        });
        *number = renumbered.get() - 1;
    }
    next.get() - 1
}
