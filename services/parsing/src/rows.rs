//! Statements that ask for many.
//!
//! The driver keeps the statements it has prepared, by their text: there are a
//! few sizes only.

/// Most entries of a statement: far below the parameters that either database takes.
const MOST: usize = 128;

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
