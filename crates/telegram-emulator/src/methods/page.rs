//! Paging as every list of messages does it.

/// The arguments that all paged methods share.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Page {
    pub(super) offset_id: i32,
    pub(super) offset_date: i32,
    /// May be negative: -limit with an offset gives the messages after it, as Telethon does to go backwards.
    pub(super) add_offset: i32,
    pub(super) limit: i32,
    pub(super) max_id: i32,
    pub(super) min_id: i32,
}

/// Most messages on a page (<https://core.telegram.org/api/offsets>).
pub(super) const MAX_PAGE: i32 = 100;

/// Which of `count` messages are on the page; all are numbered newest first.
///
/// `id` and `date` tell those of the message at an index. The list must be sorted by id, descending.
pub(super) fn select(
    count: usize,
    page: Page,
    id: impl Fn(usize) -> i32,
    date: impl Fn(usize) -> i32,
) -> std::ops::Range<usize> {
    let start = if page.offset_id > 0 {
        first(count, |at| id(at) < page.offset_id)
    } else if page.offset_date > 0 {
        first(count, |at| date(at) < page.offset_date)
    } else {
        0
    };
    let signed = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
    let from = signed(start) + i64::from(page.add_offset);
    let to = from + i64::from(page.limit.clamp(0, MAX_PAGE));
    // What lies outside the list makes the page shorter, not shifted.
    let bounded = |at: i64| usize::try_from(at.clamp(0, signed(count))).unwrap_or(count);
    let (mut from, mut to) = (bounded(from), bounded(to));
    if page.max_id > 0 {
        from = from.max(first(count, |at| id(at) < page.max_id));
    }
    if page.min_id > 0 {
        to = to.min(first(count, |at| id(at) <= page.min_id));
    }
    from..to.max(from)
}

/// The first index at which a condition holds that, once true, stays true.
fn first(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids of a page over messages 1 to 10, of which 4 has been deleted.
    fn ids(page: Page) -> Vec<i32> {
        let all = [10, 9, 8, 7, 6, 5, 3, 2, 1];
        select(all.len(), page, |at| all[at], |at| all[at] * 100).map(|at| all[at]).collect()
    }

    #[test]
    fn pages_follow_telegrams_rules() {
        let page = Page { limit: 3, ..Page::default() };
        assert_eq!(ids(page), [10, 9, 8]);
        assert_eq!(ids(Page { offset_id: 8, ..page }), [7, 6, 5]);
        assert_eq!(ids(Page { offset_id: 4, ..page }), [3, 2, 1], "the offset need not exist");
        assert_eq!(ids(Page { offset_id: 5, add_offset: -3, ..page }), [7, 6, 5], "backwards");
        assert_eq!(ids(Page { offset_id: 1, add_offset: -3, ..page }), [3, 2, 1], "backwards from the start");
        assert_eq!(ids(Page { add_offset: -2, ..page }), [10], "nothing is newer than the newest");
        assert_eq!(ids(Page { add_offset: 2, ..page }), [8, 7, 6]);
        assert_eq!(ids(Page { offset_date: 750, ..page }), [7, 6, 5]);
        assert_eq!(ids(Page { max_id: 8, min_id: 5, limit: 100, ..page }), [7, 6]);
        assert!(ids(Page { limit: 0, ..page }).is_empty());
        assert!(ids(Page { limit: -5, add_offset: i32::MIN, ..page }).is_empty());
        assert!(ids(Page { offset_id: i32::MAX, add_offset: i32::MAX, limit: i32::MAX, ..page }).is_empty());
    }

    #[test]
    fn walking_through_meets_every_message_once() {
        for add_offset in [0, -4] {
            let mut seen = Vec::new();
            let mut offset_id = if add_offset == 0 { 0 } else { 1 };
            loop {
                let mut page = ids(Page { offset_id, add_offset, limit: 4, ..Page::default() });
                if add_offset != 0 {
                    page.reverse();
                }
                let Some(last) = page.last() else { break };
                offset_id = if add_offset == 0 { *last } else { last + 1 };
                seen.extend(page);
            }
            seen.sort_unstable();
            assert_eq!(seen, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
        }
    }
}
