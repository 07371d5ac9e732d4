//! The forms in which a secret may leak, and looking for them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A secret that was planted.
#[derive(Debug, Clone)]
pub struct Canary {
    /// What it is.
    pub name: &'static str,
    forms: Vec<(&'static str, Vec<u8>)>,
    /// Whether it is so short that it must stand alone to count.
    short: bool,
}

impl Canary {
    /// A secret and all its forms.
    pub fn new(name: &'static str, secret: &[u8]) -> Self {
        let hex: String = join(secret, |byte| format!("{byte:02x}"));
        let percent: String = join(secret, |byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
                char::from(*byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        });
        let mut forms = vec![
            ("raw", secret.to_vec()),
            ("HEX", hex.to_uppercase().into_bytes()),
            ("hex", hex.into_bytes()),
            ("percent-encoded", percent.to_lowercase().into_bytes()),
            ("Percent-encoded", percent.into_bytes()),
            ("percent-encoded throughout", join(secret, |byte| format!("%{byte:02X}")).into_bytes()),
            // As the derived Debug writes bytes.
            ("a list of numbers", secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes()),
        ];
        // Wherever it begins in what was encoded: its own characters are the same but for those at the edges.
        for before in 0..3 {
            let mut text = vec![0; before];
            text.extend_from_slice(secret);
            for (form, encoded) in
                [("base64", STANDARD_NO_PAD.encode(&text)), ("base64 of urls", URL_SAFE_NO_PAD.encode(&text))]
            {
                let first = (before * 8).div_ceil(6);
                let last = text.len() * 8 / 6;
                forms.push((form, encoded.as_bytes()[first..last].to_vec()));
            }
        }
        // Of plain text some forms are the same: the first name stands for all.
        let mut seen = std::collections::HashSet::new();
        forms.retain(|(_, form)| seen.insert(form.clone()));
        Self { name, forms, short: secret.len() < 8 }
    }

    /// All forms, with their names.
    pub fn forms(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.forms.iter().map(|(name, form)| (*name, form.as_slice()))
    }

    /// The forms in which it stands in `text`.
    pub fn found_in(&self, text: &[u8]) -> Vec<&'static str> {
        Needles::of(std::slice::from_ref(self)).found_in(text).into_iter().map(|(_, form)| form).collect()
    }
}

/// All forms of many canaries, looked for in one pass.
#[derive(Debug)]
pub struct Needles<'a> {
    canaries: &'a [Canary],
    /// Whether a form begins with these two bytes: most places in a text are passed by this alone.
    begins: Vec<bool>,
    /// Canary and form, by the first four bytes.
    forms: HashMap<[u8; 4], Vec<(usize, usize)>>,
}

impl<'a> Needles<'a> {
    /// For these.
    pub fn of(canaries: &'a [Canary]) -> Self {
        let (mut begins, mut forms) = (vec![false; 1 << 16], HashMap::<_, Vec<_>>::new());
        for (number, canary) in canaries.iter().enumerate() {
            for (at, (_, form)) in canary.forms.iter().enumerate() {
                let head: [u8; 4] = form[..4].try_into().expect("secrets are longer than that");
                begins[usize::from(u16::from_be_bytes([head[0], head[1]]))] = true;
                forms.entry(head).or_default().push((number, at));
            }
        }
        Self { canaries, begins, forms }
    }

    /// Canaries that stand in `text`, each with its forms.
    pub fn found_in(&self, text: &[u8]) -> BTreeSet<(&'static str, &'static str)> {
        let mut found = BTreeSet::new();
        for (at, head) in text.windows(4).enumerate() {
            if !self.begins[usize::from(u16::from_be_bytes([head[0], head[1]]))] {
                continue;
            }
            for (number, form) in self.forms.get(head).into_iter().flatten() {
                let canary = &self.canaries[*number];
                let (name, form) = &canary.forms[*form];
                if text[at..].starts_with(form) && (!canary.short || alone(text, at, form.len())) {
                    found.insert((canary.name, *name));
                }
            }
        }
        found
    }
}

fn join(bytes: &[u8], one: impl Fn(&u8) -> String) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{}", one(byte));
        text
    })
}

/// Five digits are part of many numbers.
fn alone(text: &[u8], at: usize, length: usize) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte));
    !part(at.checked_sub(1).and_then(|before| text.get(before))) && !part(text.get(at + length))
}

#[test]
fn every_form_is_found() {
    let secret = b"s3cret/with +parts?";
    let canary = Canary::new("secret", secret);
    let url = base64::engine::general_purpose::URL_SAFE;
    for leak in [
        String::from_utf8_lossy(secret).into_owned(),
        "7333637265742f77697468202b70617274733f".to_owned(),
        "7333637265742F77697468202B70617274733F".to_owned(),
        "s3cret%2Fwith%20%2Bparts%3F".to_owned(),
        "s3cret%2fwith%20%2bparts%3f".to_owned(),
        format!("{secret:?}"),
        url.encode(secret),
        url.encode([b"x".as_slice(), secret, b"yz"].concat()),
        url.encode([b"xy".as_slice(), secret, b"z"].concat()),
        STANDARD_NO_PAD.encode([b"xyz".as_slice(), secret].concat()),
    ] {
        let text = format!("2026-01-01 INFO something={leak} else");
        assert!(!canary.found_in(text.as_bytes()).is_empty(), "{leak}");
    }
    assert!(canary.found_in(b"2026-01-01 INFO something=redacted").is_empty());
}

#[test]
fn a_short_secret_must_stand_alone() {
    let canary = Canary::new("code", b"12345");
    assert!(canary.found_in(b"port=127.0.0.1:12345 id=a12345 at=0.12345").is_empty());
    assert_eq!(canary.found_in(b"code=12345 ok"), ["raw"]);
    assert_eq!(canary.found_in(br#"Request { code: "12345" }"#), ["raw"]);
}
