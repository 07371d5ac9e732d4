//! Bytes of a file to text, in pieces and in constant memory.
//!
//! The encoding is told from a byte order mark, from the zeros of UTF-16, or
//! from the first bytes outside of ASCII: UTF-8 when they are good UTF-8, else
//! cp1251. The trap: it must be decided before the file has been seen, so a
//! file that is good UTF-8 at first and not later is refused, not re-read.

use encoding_rs::{Decoder as Inner, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1251};

/// Bytes looked at for a byte order mark, and for zeros.
const HEAD: usize = 512;
/// Bytes looked at from the first one outside of ASCII.
const WINDOW: usize = 4096;

/// Decodes a file.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes that wait for a decision.
    held: Vec<u8>,
    /// Bytes taken so far.
    taken: u64,
}

enum State {
    /// Waiting for the head.
    Head,
    /// Everything so far was ASCII.
    Ascii,
    /// Waiting for enough bytes to tell the encoding.
    Window,
    /// Decided.
    Decided(Box<Inner>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Head => "head",
            Self::Ascii => "ascii",
            Self::Window => "window",
            Self::Decided(_) => "decided",
        })
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Head, held: Vec::new(), taken: 0 }
    }
}

impl Decoder {
    /// Takes bytes, and adds what can be told of them to `out`.
    ///
    /// # Errors
    /// Why this is no text, in one line.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) -> Result<(), String> {
        let from = out.len();
        self.taken += bytes.len() as u64;
        self.advance(bytes, false, out)?;
        self.check(&out[from..])
    }

    /// Takes the end of the file.
    ///
    /// # Errors
    /// Why this is no text, in one line.
    pub fn finish(&mut self, out: &mut String) -> Result<(), String> {
        let from = out.len();
        self.advance(&[], true, out)?;
        self.check(&out[from..])
    }

    fn advance(&mut self, mut bytes: &[u8], last: bool, out: &mut String) -> Result<(), String> {
        loop {
            match &mut self.state {
                State::Head => {
                    let take = bytes.len().min(HEAD.saturating_sub(self.held.len()));
                    let (head, rest) = bytes.split_at(take);
                    self.held.extend_from_slice(head);
                    bytes = rest;
                    if self.held.len() < HEAD && !last {
                        return Ok(());
                    }
                    let (encoding, mark) = by_head(&self.held)?;
                    let held = std::mem::take(&mut self.held);
                    self.state = encoding.map_or(State::Ascii, decided);
                    // Nothing is held now, so this goes one level deep.
                    self.advance(&held[mark..], false, out)?;
                }
                State::Ascii => {
                    let plain = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(bytes.len());
                    let (ascii, rest) = bytes.split_at(plain);
                    out.push_str(std::str::from_utf8(ascii).unwrap_or_default());
                    bytes = rest;
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    self.state = State::Window;
                }
                State::Window => {
                    let take = bytes.len().min(WINDOW.saturating_sub(self.held.len()));
                    let (head, rest) = bytes.split_at(take);
                    self.held.extend_from_slice(head);
                    bytes = rest;
                    if self.held.len() < WINDOW && !last {
                        return Ok(());
                    }
                    let held = std::mem::take(&mut self.held);
                    self.state = decided(if looks_like_utf8(&held) { UTF_8 } else { WINDOWS_1251 });
                    self.advance(&held, false, out)?;
                }
                State::Decided(decoder) => {
                    let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
                    out.reserve(room.unwrap_or(bytes.len() * 4 + 16));
                    let (result, _) = decoder.decode_to_string_without_replacement(bytes, out, last);
                    return match result {
                        DecoderResult::InputEmpty => Ok(()),
                        DecoderResult::OutputFull => Err("cannot be decoded".to_owned()),
                        DecoderResult::Malformed(..) => Err(format!(
                            "it is not good {} near byte {}: save it as UTF-8",
                            decoder.encoding().name(),
                            self.taken
                        )),
                    };
                }
            }
        }
    }

    fn check(&self, text: &str) -> Result<(), String> {
        match text.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}')) {
            None => Ok(()),
            Some(c) => Err(format!(
                "it is binary, not text: it has the control character U+{:04X} near byte {}",
                u32::from(c),
                self.taken
            )),
        }
    }
}

fn decided(encoding: &'static Encoding) -> State {
    State::Decided(Box::new(encoding.new_decoder_without_bom_handling()))
}

/// The encoding by mark or zeros, and how long the mark is.
fn by_head(head: &[u8]) -> Result<(Option<&'static Encoding>, usize), String> {
    if head.starts_with(&[0xEF, 0xBB, 0xBF]) {
        return Ok((Some(UTF_8), 3));
    }
    if head.starts_with(&[0xFF, 0xFE]) {
        return Ok((Some(UTF_16LE), 2));
    }
    if head.starts_with(&[0xFE, 0xFF]) {
        return Ok((Some(UTF_16BE), 2));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Err("it is a workbook or an archive, not text".to_owned());
    }
    if !head.contains(&0) {
        return Ok((None, 0));
    }
    // UTF-16 without a mark: the high half of nearly every unit is that of Latin or Cyrillic.
    let pairs = (head.len() / 2).max(1);
    let high = |at: usize| head.chunks_exact(2).filter(|pair| matches!(pair[at], 0 | 4)).count();
    if high(1) * 10 >= pairs * 9 && head.len() > 1 {
        return Ok((Some(UTF_16LE), 0));
    }
    if high(0) * 10 >= pairs * 9 && head.len() > 1 {
        return Ok((Some(UTF_16BE), 0));
    }
    Err("it is binary, not text: it has zero bytes".to_owned())
}

/// Whether bytes are UTF-8, perhaps cut at the end, perhaps with few faults: a
/// file that is mostly UTF-8 is a damaged one, not one in cp1251.
fn looks_like_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        // What is cut off at the end is no fault.
        bad += usize::from(!chunk.invalid().is_empty());
    }
    if bad == 1 && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none()) {
        return true;
    }
    bad == 0 || good >= bad * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of every small size: cuts must never matter.
    fn decode(bytes: &[u8]) -> Result<String, String> {
        let whole = decode_in(bytes, bytes.len().max(1));
        for size in [1, 2, 3, 7, 511, 513] {
            assert_eq!(decode_in(bytes, size).is_ok(), whole.is_ok(), "pieces of {size}");
            if let (Ok(whole), Ok(pieces)) = (&whole, decode_in(bytes, size)) {
                assert_eq!(*whole, pieces, "pieces of {size}");
            }
        }
        whole
    }

    fn decode_in(bytes: &[u8], size: usize) -> Result<String, String> {
        let (mut decoder, mut out) = (Decoder::default(), String::new());
        for piece in bytes.chunks(size) {
            decoder.push(piece, &mut out)?;
        }
        decoder.finish(&mut out)?;
        Ok(out)
    }

    const TEXT: &str = "username;имя\nanna_1;Анна\nboris;Борис\n";

    fn utf16(text: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn tells_every_encoding() {
        let cp1251 = WINDOWS_1251.encode(TEXT).0.into_owned();
        let marked = |mark: &[u8], rest: Vec<u8>| [mark, &rest].concat();
        for (name, bytes) in [
            ("utf-8", TEXT.as_bytes().to_vec()),
            ("utf-8 with a mark", marked(&[0xEF, 0xBB, 0xBF], TEXT.as_bytes().to_vec())),
            ("utf-16le with a mark", marked(&[0xFF, 0xFE], utf16(TEXT, u16::to_le_bytes))),
            ("utf-16be with a mark", marked(&[0xFE, 0xFF], utf16(TEXT, u16::to_be_bytes))),
            ("utf-16le", utf16(TEXT, u16::to_le_bytes)),
            ("utf-16be", utf16(TEXT, u16::to_be_bytes)),
            ("cp1251", cp1251),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Ok(TEXT), "{name}");
        }
        assert_eq!(decode(b""), Ok(String::new()));
        assert_eq!(decode(b"plain"), Ok("plain".to_owned()));
    }

    #[test]
    fn a_late_letter_is_still_told() {
        let mut bytes = vec![b'a'; 100_000];
        bytes.extend("Анна".as_bytes());
        assert!(decode(&bytes).unwrap().ends_with("Анна"));
        let mut bytes = vec![b'a'; 100_000];
        bytes.extend(WINDOWS_1251.encode("Анна").0.iter());
        assert!(decode(&bytes).unwrap().ends_with("Анна"));
    }

    #[test]
    fn refuses_what_is_no_text() {
        let mut damaged = TEXT.repeat(3).into_bytes();
        damaged.insert(20, 0xFF);
        for (name, bytes) in [
            ("damaged utf-8", damaged),
            ("a workbook", b"PK\x03\x04abc".to_vec()),
            ("zeros", vec![0; 2000]),
            ("random bytes", (0..4000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
            ("an escape", b"a\x1bb".to_vec()),
            ("half a unit of utf-16", vec![0xFF, 0xFE, 0x41]),
        ] {
            assert!(decode(&bytes).is_err(), "{name}");
        }
    }
}
