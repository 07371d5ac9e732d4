//! Files of people: bytes in, rows out, in pieces and in constant memory.

use service_kit::unserved::Unserved;
use tgmesh_proto::invite::v1::AudienceFormat;

use super::decode::Decoder;
use super::import::Row;
use super::records::{Record, Splitter};
use crate::targets::{Digits, Person, clip, quote};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Username,
    Phone,
    UserId,
    DisplayName,
    FirstName,
    LastName,
    /// Known, and no address of Telegram's.
    Email,
}

/// The names of columns, in lower case with underscores.
const ALIASES: &[(&str, Column)] = &[
    ("username", Column::Username),
    ("user", Column::Username),
    ("login", Column::Username),
    ("nickname", Column::Username),
    ("phone", Column::Phone),
    ("phone_number", Column::Phone),
    ("telephone", Column::Phone),
    ("mobile", Column::Phone),
    ("user_id", Column::UserId),
    ("id", Column::UserId),
    ("platform_id", Column::UserId),
    ("name", Column::DisplayName),
    ("full_name", Column::DisplayName),
    ("display_name", Column::DisplayName),
    ("first_name", Column::FirstName),
    ("last_name", Column::LastName),
    ("email", Column::Email),
];

/// Texts that mean that there is nothing.
const NOTHING: [&str; 5] = ["null", "none", "nan", "n/a", "-"];

fn column(header: &str) -> Option<Column> {
    let name: String = header
        .trim_start_matches('\u{feff}')
        .trim()
        .chars()
        .map(|c| if c == ' ' || c == '-' { '_' } else { c.to_ascii_lowercase() })
        .collect();
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, column)| *column)
}

/// How the fields of a record are to be read.
#[derive(Debug)]
enum Layout {
    /// Not known before the first record.
    Unknown,
    /// One entry a line.
    Entries,
    /// By a header.
    Columns(Vec<Option<Column>>),
}

/// Which format a file has, by what was said, else by its name.
///
/// # Errors
/// What is not served yet of `method`.
pub fn format(method: &'static str, said: AudienceFormat, file_name: &str) -> Result<AudienceFormat, Unserved> {
    let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let format = match (said, extension.as_deref()) {
        (AudienceFormat::Unspecified, Some("txt")) => AudienceFormat::Txt,
        (AudienceFormat::Unspecified, Some("json")) => AudienceFormat::Json,
        (AudienceFormat::Unspecified, Some("ndjson" | "jsonl")) => AudienceFormat::Ndjson,
        (AudienceFormat::Unspecified, Some("xlsx" | "xls")) => AudienceFormat::Xlsx,
        (AudienceFormat::Unspecified, _) => AudienceFormat::Csv,
        (said, _) => said,
    };
    let name = match format {
        AudienceFormat::Csv | AudienceFormat::Txt => return Ok(format),
        AudienceFormat::Json => "JSON",
        AudienceFormat::Ndjson => "NDJSON",
        AudienceFormat::Xlsx | AudienceFormat::Unspecified => "XLSX",
    };
    Err(Unserved::value(method, "header.format", name))
}

/// A file being read.
#[derive(Debug)]
pub struct AudienceFile {
    decoder: Decoder,
    splitter: Splitter,
    layout: Layout,
    text: String,
}

impl AudienceFile {
    /// Of this format: CSV or TXT.
    pub fn new(format: AudienceFormat) -> Self {
        let txt = format == AudienceFormat::Txt;
        Self {
            decoder: Decoder::default(),
            splitter: if txt { Splitter::lines() } else { Splitter::csv() },
            layout: if txt { Layout::Entries } else { Layout::Unknown },
            text: String::new(),
        }
    }

    /// Takes bytes; answers the rows that end in them.
    ///
    /// # Errors
    /// Why the file cannot be used, in one line.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Row>, String> {
        self.text.clear();
        self.decoder.push(bytes, &mut self.text)?;
        let mut records = Vec::new();
        self.splitter.push(&self.text, &mut records)?;
        self.rows(records)
    }

    /// Takes the end of the file.
    ///
    /// # Errors
    /// Why the file cannot be used, in one line.
    pub fn finish(&mut self) -> Result<Vec<Row>, String> {
        self.text.clear();
        self.decoder.finish(&mut self.text)?;
        let mut records = Vec::new();
        self.splitter.push(&self.text, &mut records)?;
        self.splitter.finish(&mut records)?;
        self.rows(records)
    }

    fn rows(&mut self, records: Vec<Record>) -> Result<Vec<Row>, String> {
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            if matches!(self.layout, Layout::Unknown) {
                let (layout, is_header) = layout(&record)?;
                self.layout = layout;
                if is_header {
                    continue;
                }
            }
            let read = match &self.layout {
                Layout::Columns(columns) => read(columns, &record.fields),
                Layout::Entries | Layout::Unknown => {
                    Person::parse(clean(record.fields.first().map_or("", String::as_str)), Digits::Phone)
                }
            };
            rows.push((record.line, read));
        }
        Ok(rows)
    }
}

/// Tells by the first record whether there is a header, and what it says.
fn layout(first: &Record) -> Result<(Layout, bool), String> {
    let columns: Vec<Option<Column>> = first.fields.iter().map(|field| column(field)).collect();
    let has = |wanted: &[Column]| columns.iter().flatten().any(|column| wanted.contains(column));
    if has(&[Column::Username, Column::Phone, Column::UserId]) {
        return Ok((Layout::Columns(columns), true));
    }
    if columns.iter().any(Option::is_some) {
        return Err("it has no column with usernames, phone numbers or user ids".to_owned());
    }
    if first.fields.len() == 1 {
        return Ok((Layout::Entries, false));
    }
    Err("its first line is no header: expected columns such as username, phone, user_id, name".to_owned())
}

/// A cell without what spreadsheets and exports put around it.
fn clean(cell: &str) -> &str {
    let cell = cell.trim_start_matches('\u{feff}').trim();
    // Exports keep spreadsheets from reading a cell as a formula by an apostrophe.
    let bare = cell.strip_prefix('\'').filter(|rest| rest.starts_with(['=', '+', '-', '@']));
    let cell = bare.unwrap_or(cell);
    if NOTHING.iter().any(|nothing| cell.eq_ignore_ascii_case(nothing)) { "" } else { cell }
}

/// Reads a row by its columns. An address that cannot be read is no harm as
/// long as another one can.
fn read(columns: &[Option<Column>], fields: &[String]) -> Result<Person, String> {
    if fields.iter().skip(columns.len()).any(|field| !field.trim().is_empty()) {
        return Err(format!("has {} fields, and the header has {}", fields.len(), columns.len()));
    }
    let mut person = Person::default();
    let mut problems = Vec::new();
    for (column, field) in columns.iter().zip(fields) {
        let (Some(column), cell) = (column, clean(field)) else { continue };
        if cell.is_empty() {
            continue;
        }
        match column {
            Column::Username if person.username.is_empty() => match service_kit::address::parse_username(cell) {
                Ok(username) => person.username = username,
                Err(error) => problems.push(format!("the username {} {error}", quote(cell))),
            },
            Column::Phone if person.phone.is_empty() => match service_kit::address::parse_phone(cell) {
                Ok(phone) => person.phone = phone,
                Err(error) => problems.push(format!("the phone number {} {error}", quote(cell))),
            },
            Column::UserId if person.user_id == 0 => match cell.parse() {
                Ok(user_id) if user_id > 0 => person.user_id = user_id,
                _ => problems.push(format!("the user id {} is no positive whole number", quote(cell))),
            },
            Column::DisplayName => person.display_name = clip(cell),
            Column::FirstName => person.first_name = clip(cell),
            Column::LastName => person.last_name = clip(cell),
            Column::Username | Column::Phone | Column::UserId | Column::Email => {}
        }
    }
    if person.is_open() {
        return Ok(person.named());
    }
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    Err(if person.user_id == 0 {
        "has no username and no phone number".to_owned()
    } else {
        format!(
            "has only the user id {}, which no account can address: take the audience from the parse task that found \
             him (--from-parse), or add a username or phone number",
            person.user_id
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(format: AudienceFormat, bytes: &[u8], size: usize) -> Result<Vec<Row>, String> {
        let mut file = AudienceFile::new(format);
        let mut rows = Vec::new();
        for piece in bytes.chunks(size) {
            rows.extend(file.push(piece)?);
        }
        rows.extend(file.finish()?);
        Ok(rows)
    }

    type Keys = (i64, Result<String, String>);

    fn csv(text: &str) -> Result<Vec<Keys>, String> {
        let rows = import(AudienceFormat::Csv, text.as_bytes(), 5)?;
        Ok(rows.into_iter().map(|(line, row)| (line, row.map(|person| person.keys().join(" ")))).collect())
    }

    #[test]
    fn every_alias_is_known() {
        for (alias, expected) in ALIASES {
            for written in [(*alias).to_owned(), alias.to_uppercase(), format!(" {} ", alias.replace('_', " "))] {
                assert_eq!(column(&written), Some(*expected), "{written}");
            }
        }
        assert_eq!(column("\u{feff}Username"), Some(Column::Username));
        assert_eq!(column("address"), None);
    }

    #[test]
    fn reads_columns_in_any_order() {
        let rows = csv("Name;Phone Number;LOGIN;id;colour\nAnna;+49 151 234567;@Anna_1;7;red\n;;boris;;\n").unwrap();
        let expected = [(2, Ok("i:7 u:anna_1 p:+49151234567".to_owned())), (3, Ok("u:boris".to_owned()))];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_bad_row_rejects_itself_only() {
        let rows =
            csv("username,phone,user_id\nanna_1,,\n!,12,\n,,77\n,,\nboris,12,\n,49151234567,x\n,,,,extra\n").unwrap();
        let good: Vec<i64> = rows.iter().filter(|(_, row)| row.is_ok()).map(|(line, _)| *line).collect();
        assert_eq!(good, [2, 6, 7]);
        let bad: Vec<(i64, &str)> =
            rows.iter().filter_map(|(line, row)| Some((*line, row.as_ref().err()?.as_str()))).collect();
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 8]);
        assert!(bad[0].1.starts_with("the username \"!\" is no username"), "{bad:?}");
        assert!(bad[1].1.starts_with("has only the user id 77"), "{bad:?}");
        assert!(bad[2].1.starts_with("has 5 fields"), "{bad:?}");
    }

    #[test]
    fn what_an_export_wrote_is_read_back() {
        let rows = csv("\u{feff}username,phone\n'@anna_1,'+49151234567\nnull,49151234568\n").unwrap();
        assert_eq!(rows[0].1, Ok("u:anna_1 p:+49151234567".to_owned()));
        assert_eq!(rows[1].1, Ok("p:+49151234568".to_owned()));
    }

    #[test]
    fn a_list_needs_no_header() {
        assert_eq!(csv("anna_1\n@boris\n").unwrap().len(), 2);
        let rows = import(AudienceFormat::Txt, "\n@anna_1\r\n\nt.me/boris\n+49 151 234567\nx\n".as_bytes(), 3).unwrap();
        assert_eq!(
            rows.iter().map(|(line, row)| (*line, row.is_ok())).collect::<Vec<_>>(),
            [(2, true), (4, true), (5, true), (6, false)]
        );
    }

    #[test]
    fn a_file_without_addresses_is_refused() {
        assert!(csv("name,email\nAnna,anna@example.com\n").unwrap_err().contains("no column"));
        assert!(csv("colour,size\nred,5\n").unwrap_err().contains("no header"));
    }

    #[test]
    fn formats_come_from_the_name_unless_said() {
        use AudienceFormat::{Csv, Json, Txt, Unspecified};
        assert_eq!(format("M", Unspecified, "people.TXT").unwrap(), Txt);
        assert_eq!(format("M", Unspecified, "people").unwrap(), Csv);
        assert_eq!(format("M", Csv, "people.txt").unwrap(), Csv);
        for (said, name, value) in
            [(Json, "", "JSON"), (Unspecified, "a.xlsx", "XLSX"), (Unspecified, "a.ndjson", "NDJSON")]
        {
            assert_eq!(format("M", said, name), Err(Unserved::value("M", "header.format", value)));
        }
    }

    /// Random bytes and damaged files: an answer always, a panic never.
    #[test]
    fn survives_anything() {
        let good = "username;phone;name\nanna_1;+49151234567;\"Анна \"\"A\"\"\"\nboris;;Борис\n".as_bytes();
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap()
        };
        for round in 0..2_000 {
            let mut bytes = good.to_vec();
            for _ in 0..=next() % 4 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = u8::try_from(next() % 256).unwrap(),
                    1 => bytes.insert(at, [b'"', b';', b'\n', b'\r', 0, 0xFF, 0xD0][next() % 7]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let format = if round % 2 == 0 { AudienceFormat::Csv } else { AudienceFormat::Txt };
            let whole = import(format, &bytes, bytes.len());
            let pieces = import(format, &bytes, 1 + next() % 9);
            assert_eq!(whole.is_ok(), pieces.is_ok(), "{bytes:?}");
            if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
                assert_eq!(whole, pieces);
            }
        }
    }
}
