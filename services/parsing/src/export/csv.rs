//! CSV: UTF-8 with a byte order mark, so that Excel reads it as UTF-8.

use super::{COLUMNS, Writer, cells};
use crate::error::Error;
use crate::results::entity::Model;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Writes CSV.
pub struct Csv;

impl Writer for Csv {
    fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(BYTE_ORDER_MARK);
        out.extend_from_slice(COLUMNS.join(",").as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn row(&self, row: &Model, out: &mut Vec<u8>) -> Result<(), Error> {
        let fields: [std::borrow::Cow<'_, str>; COLUMNS.len()] = [
            row.user_id.to_string().into(),
            cells::neutral(&row.username),
            cells::neutral(&row.first_name),
            cells::neutral(&row.last_name),
            cells::neutral(&row.phone),
            row.bot.to_string().into(),
            row.premium.to_string().into(),
            cells::last_seen(row.last_seen).into(),
            cells::time(row.last_seen_at).into(),
            row.activity.to_string().into(),
            cells::time(row.last_active_at).into(),
            cells::time(Some(row.found_at)).into(),
        ];
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
        // Into memory nothing can fail.
        writer.write_record(fields.iter().map(|field| field.as_bytes())).map_err(|_| Error::Stored("result"))?;
        writer.flush().map_err(|_| Error::Stored("result"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::entity::tests::result;

    fn file(rows: &[Model]) -> Vec<u8> {
        let mut out = Vec::new();
        Csv.begin(&mut out);
        for row in rows {
            Csv.row(row, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn a_file_without_results_has_its_columns() {
        let text = String::from_utf8(file(&[])).unwrap();
        assert_eq!(
            text,
            "\u{feff}user_id,username,first_name,last_name,phone,bot,premium,last_seen,last_seen_time,activity,\
             last_active_time,find_time\r\n"
        );
    }

    #[test]
    fn values_survive_a_reader() {
        let row = Model {
            user_id: i64::MAX,
            first_name: "a,\"b\"\r\nc".into(),
            last_name: "=1+1".into(),
            phone: "+49151234567".into(),
            activity: 7,
            ..result()
        };
        let bytes = file(&[row]);
        let mut reader = csv::Reader::from_reader(&bytes[BYTE_ORDER_MARK.len()..]);
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(record.get(0), Some("9223372036854775807"));
        assert_eq!(record.get(2), Some("a,\"b\"\r\nc"));
        assert_eq!(record.get(3), Some("'=1+1"));
        assert_eq!(record.get(4), Some("+49151234567"));
        assert_eq!(record.get(9), Some("7"));
        assert_eq!(record.len(), COLUMNS.len());
    }
}
