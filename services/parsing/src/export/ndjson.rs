//! One JSON object a line. Ids are strings: JSON's numbers lose those above 2^53.

use serde_json::{Value, json};

use super::{Writer, cells};
use crate::error::Error;
use crate::results::entity::Model;

/// Writes NDJSON.
pub struct Ndjson;

impl Writer for Ndjson {
    fn begin(&self, _: &mut Vec<u8>) {}

    fn row(&self, row: &Model, out: &mut Vec<u8>) -> Result<(), Error> {
        let or_null = |text: String| if text.is_empty() { Value::Null } else { Value::from(text) };
        let object = json!({
            "user_id": row.user_id.to_string(),
            "username": row.username,
            "first_name": row.first_name,
            "last_name": row.last_name,
            "phone": row.phone,
            "bot": row.bot,
            "premium": row.premium,
            "last_seen": or_null(cells::last_seen(row.last_seen).to_owned()),
            "last_seen_time": or_null(cells::time(row.last_seen_at)),
            "activity": row.activity,
            "last_active_time": or_null(cells::time(row.last_active_at)),
            "find_time": cells::time(Some(row.found_at)),
        });
        serde_json::to_writer(&mut *out, &object).map_err(|_| Error::Stored("result"))?;
        out.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::COLUMNS;
    use crate::results::entity::tests::result;

    #[test]
    fn a_line_has_every_column_and_no_line_feed_inside() {
        let mut out = Vec::new();
        Ndjson.row(&Model { user_id: i64::MAX, first_name: "a\nb".into(), ..result() }, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let object: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(object["user_id"], "9223372036854775807");
        let mut columns = COLUMNS.to_vec();
        columns.sort_unstable();
        assert_eq!(object.keys().map(String::as_str).collect::<Vec<_>>(), columns);
    }
}
