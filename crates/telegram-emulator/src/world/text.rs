//! Texts in one arena: a million names cost two words each and no allocation of their own.

/// A text in a [`Texts`]; the empty text stands for "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    at: u32,
    length: u32,
}

impl Text {
    pub(crate) fn is_empty(self) -> bool {
        self.length == 0
    }
}

/// An arena that only grows.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: String,
}

impl Texts {
    /// Stores a text. Beyond 4 GiB in all, texts are lost: they become empty.
    pub(crate) fn add(&mut self, text: &str) -> Text {
        let (Ok(at), Ok(length)) = (u32::try_from(self.bytes.len()), u32::try_from(text.len())) else {
            return Text::default();
        };
        if length == 0 || at.checked_add(length).is_none() {
            return Text::default();
        }
        self.bytes.push_str(text);
        Text { at, length }
    }

    pub(crate) fn get(&self, text: Text) -> &str {
        self.bytes.get(text.at as usize..(text.at + text.length) as usize).unwrap_or_default()
    }

    pub(crate) fn some(&self, text: Text) -> Option<String> {
        (!text.is_empty()).then(|| self.get(text).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let mut texts = Texts::default();
        let (a, none, b) = (texts.add("Ада"), texts.add(""), texts.add("b"));
        assert_eq!((texts.get(a), texts.get(none), texts.get(b)), ("Ада", "", "b"));
        assert_eq!(texts.some(none), None);
    }
}
