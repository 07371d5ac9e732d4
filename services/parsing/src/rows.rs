//! Rows of statements that write or ask for many.
//!
//! The driver keeps the statements it has prepared, by their text, and a
//! statement of 200 rows takes half a megabyte in SQLite. Written with as many
//! rows as a batch happens to have, almost every text would be new: parsed anew,
//! and kept in place of one that is needed. So there are a few sizes only.

/// Most rows of a statement: far below the parameters that either database takes.
const MOST: usize = 128;

/// Parts of rows whose lengths are powers of two, the longest first.
pub fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = match rows.len() {
            0 => return None,
            length => (1 << length.ilog2()).min(MOST),
        };
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

/// Parts of a list to look for, each filled up to a power of two by repeating
/// its last entry: in a list to look for that changes nothing.
pub fn filled<T: Copy>(values: &[T]) -> impl Iterator<Item = Vec<T>> {
    values.chunks(MOST).map(|chunk| {
        let mut chunk = chunk.to_vec();
        if let Some(last) = chunk.last().copied() {
            chunk.resize(chunk.len().next_power_of_two(), last);
        }
        chunk
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_all_rows_in_their_order_and_in_few_sizes() {
        for length in 0..600_usize {
            let rows: Vec<usize> = (0..length).collect();
            let pieces: Vec<&[usize]> = pieces(&rows).collect();
            assert!(pieces.iter().all(|piece| piece.len().is_power_of_two() && piece.len() <= MOST));
            assert_eq!(pieces.concat(), rows);
        }
    }

    #[test]
    fn a_list_is_filled_with_what_is_in_it() {
        for length in 0..300_usize {
            let values: Vec<usize> = (0..length).collect();
            let mut found: Vec<usize> = filled(&values)
                .flat_map(|part| {
                    assert!(part.len().is_power_of_two() && part.len() <= MOST);
                    part
                })
                .collect();
            found.dedup();
            assert_eq!(found, values);
        }
    }
}
