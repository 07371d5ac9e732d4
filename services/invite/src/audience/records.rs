//! Text to records, in pieces and in constant memory: lines, or CSV with a
//! delimiter that is told from the first record.

/// Longest record, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// Most fields of a record.
const MOST_FIELDS: usize = 256;
/// What may part fields; on a tie the first wins.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of its first line, from 1.
    pub line: i64,
    /// Its fields.
    pub fields: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the beginning of a field.
    Begin,
    /// Within a field without quotation marks.
    Plain,
    /// Within quotation marks.
    Quoted,
    /// Behind a quotation mark within quotation marks.
    Closed,
}

/// Splits text into records.
#[derive(Debug)]
pub struct Splitter {
    csv: bool,
    /// The first record as text, until the delimiter is told.
    head: Option<String>,
    head_quoted: bool,
    delimiter: Option<char>,
    at: At,
    after_cr: bool,
    line: i64,
    begin: i64,
    quote_line: i64,
    size: usize,
    field: String,
    fields: Vec<String>,
}

impl Splitter {
    /// For CSV.
    pub fn csv() -> Self {
        Self { csv: true, head: Some(String::new()), ..Self::lines() }
    }

    /// For lines of one field.
    pub fn lines() -> Self {
        Self {
            csv: false,
            head: None,
            head_quoted: false,
            delimiter: None,
            at: At::Begin,
            after_cr: false,
            line: 1,
            begin: 1,
            quote_line: 1,
            size: 0,
            field: String::new(),
            fields: Vec::new(),
        }
    }

    /// Takes text, and adds the records that end in it to `out`.
    ///
    /// # Errors
    /// Why the file cannot be read on, in one line.
    pub fn push(&mut self, text: &str, out: &mut Vec<Record>) -> Result<(), String> {
        let Some(head) = &mut self.head else {
            return text.chars().try_for_each(|c| self.step(c, out));
        };
        for (at, c) in text.char_indices() {
            match c {
                '"' => self.head_quoted = !self.head_quoted,
                '\n' | '\r' if !self.head_quoted => {
                    head.push_str(&text[..at]);
                    self.begin_with_head(out)?;
                    return self.push(&text[at..], out);
                }
                _ => {}
            }
        }
        head.push_str(text);
        if head.len() > LONGEST {
            // Reports which limit was met, as it does further on.
            self.begin_with_head(out)?;
        }
        Ok(())
    }

    /// Takes the end of the file.
    ///
    /// # Errors
    /// When quotation marks are left open.
    pub fn finish(&mut self, out: &mut Vec<Record>) -> Result<(), String> {
        if self.head.is_some() {
            self.begin_with_head(out)?;
        }
        if self.at == At::Quoted {
            return Err(format!("a quotation mark that opens on line {} is never closed", self.quote_line));
        }
        self.end_record(out);
        Ok(())
    }

    fn begin_with_head(&mut self, out: &mut Vec<Record>) -> Result<(), String> {
        let head = self.head.take().unwrap_or_default();
        self.delimiter = delimiter(&head);
        head.chars().try_for_each(|c| self.step(c, out))
    }

    fn step(&mut self, c: char, out: &mut Vec<Record>) -> Result<(), String> {
        let newline = c == '\r' || c == '\n';
        let second_half = c == '\n' && self.after_cr;
        self.after_cr = c == '\r';
        if newline && !second_half {
            self.line += 1;
        }
        if newline && self.at != At::Quoted {
            if !second_half {
                self.end_record(out);
            }
            // The record that follows begins on the line that follows.
            self.begin = self.line;
            return Ok(());
        }
        self.size += c.len_utf8();
        if self.size > LONGEST {
            return Err(match self.at {
                At::Quoted => format!(
                    "a quotation mark that opens on line {} is not closed within {} KiB",
                    self.quote_line,
                    LONGEST / 1024
                ),
                _ => format!("line {} is longer than {} KiB", self.begin, LONGEST / 1024),
            });
        }
        if Some(c) == self.delimiter && self.at != At::Quoted {
            return self.end_field();
        }
        match (self.at, c) {
            (At::Begin, '"') if self.csv => {
                self.at = At::Quoted;
                self.quote_line = self.line;
            }
            (At::Begin | At::Plain, _) => {
                self.at = At::Plain;
                self.field.push(c);
            }
            (At::Quoted, '"') => self.at = At::Closed,
            (At::Quoted, _) => self.field.push(c),
            (At::Closed, '"') => {
                self.at = At::Quoted;
                self.field.push('"');
            }
            (At::Closed, ' ') => {}
            (At::Closed, _) => {
                return Err(format!(
                    "the quoting on line {} is broken: text follows a closing quotation mark",
                    self.line
                ));
            }
        }
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), String> {
        if self.fields.len() >= MOST_FIELDS {
            return Err(format!("line {} has more than {MOST_FIELDS} fields", self.begin));
        }
        self.fields.push(std::mem::take(&mut self.field));
        self.at = At::Begin;
        Ok(())
    }

    /// Ends the record; one without anything in it is an empty line.
    fn end_record(&mut self, out: &mut Vec<Record>) {
        self.fields.push(std::mem::take(&mut self.field));
        let fields = std::mem::take(&mut self.fields);
        (self.at, self.size) = (At::Begin, 0);
        if fields.iter().any(|field| !field.trim().is_empty()) {
            out.push(Record { line: self.begin, fields });
        }
    }
}

/// The delimiter of a record: the one that stands in it most often, outside of
/// quotation marks.
fn delimiter(head: &str) -> Option<char> {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for c in head.chars() {
        quoted ^= c == '"';
        if !quoted && let Some(at) = DELIMITERS.iter().position(|delimiter| *delimiter == c) {
            counts[at] += 1;
        }
    }
    let most = counts.iter().copied().max().filter(|most| *most > 0)?;
    counts.iter().position(|count| *count == most).map(|at| DELIMITERS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_in(text: &str, size: usize) -> Result<Vec<Record>, String> {
        let (mut splitter, mut out) = (Splitter::csv(), Vec::new());
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            splitter.push(&piece.iter().collect::<String>(), &mut out)?;
        }
        splitter.finish(&mut out)?;
        Ok(out)
    }

    fn split(text: &str) -> Result<Vec<Record>, String> {
        let whole = split_in(text, text.len().max(1));
        for size in [1, 2, 5] {
            assert_eq!(split_in(text, size), whole, "pieces of {size}");
        }
        whole
    }

    fn record(line: i64, fields: &[&str]) -> Record {
        Record { line, fields: fields.iter().map(|field| (*field).to_owned()).collect() }
    }

    #[test]
    fn tells_the_delimiter() {
        for (text, fields) in [
            ("a,b,c", vec!["a", "b", "c"]),
            ("a;b,b;c", vec!["a", "b,b", "c"]),
            ("a\tb", vec!["a", "b"]),
            ("a|b", vec!["a", "b"]),
            ("\"a;a;a\",b", vec!["a;a;a", "b"]),
            ("alone", vec!["alone"]),
        ] {
            assert_eq!(split(text).unwrap(), [record(1, &fields)], "{text}");
        }
    }

    #[test]
    fn keeps_count_of_lines() {
        let text = "a,b\r\n\r\n1,\"two\nlines\"\n\"q\"\"q\",2\r3,4";
        let expected = [
            record(1, &["a", "b"]),
            record(3, &["1", "two\nlines"]),
            record(5, &["q\"q", "2"]),
            record(6, &["3", "4"]),
        ];
        assert_eq!(split(text).unwrap(), expected);
    }

    #[test]
    fn broken_quoting_is_told_with_its_line() {
        assert!(split("a,b\n1,\"open\n2,3\n").unwrap_err().contains("line 2"));
        assert!(split("a,b\n1,2\n\"x\"y,3\n").unwrap_err().contains("line 3"));
        let endless = format!("a,b\n\"{}", "x\n".repeat(LONGEST));
        assert!(split_in(&endless, 1000).unwrap_err().contains("opens on line 2"));
    }

    #[test]
    fn one_endless_line_is_refused_early() {
        for (mut splitter, first) in [(Splitter::csv(), ""), (Splitter::csv(), "a,b\n"), (Splitter::lines(), "")] {
            let mut out = Vec::new();
            splitter.push(first, &mut out).unwrap();
            let piece = "x".repeat(1000);
            let refused = (0..1000).find_map(|_| splitter.push(&piece, &mut out).err()).unwrap();
            assert!(refused.contains("longer than 64 KiB"), "{refused}");
        }
    }

    /// Against a reader that others wrote, on records made of awkward parts.
    #[test]
    fn agrees_with_the_csv_crate() {
        let parts = ["a", "b c", "\"x,y\"", "\"l\nm\"", "\"q\"\"q\"", "", "ä", "5\"6"];
        let mut seed = 1_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for _ in 0..500 {
            let mut text = String::from("h1,h2,h3\n");
            for _ in 0..next(6) {
                let fields: Vec<&str> = (0..3).map(|_| parts[next(parts.len())]).collect();
                text.push_str(&fields.join(","));
                text.push('\n');
            }
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
                .filter(|fields| fields.iter().any(|field| !field.trim().is_empty()))
                .collect();
            let ours: Vec<Vec<String>> = split(&text).unwrap().into_iter().map(|record| record.fields).collect();
            assert_eq!(ours, theirs, "{text:?}");
        }
    }
}
