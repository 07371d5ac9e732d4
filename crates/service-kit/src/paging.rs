//! Page tokens and resume tokens: opaque, tamper-proof, bound to what they
//! were made for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tgmesh_proto::ErrorReason;
use tonic::Status;

use crate::sealing::Sealer;

/// Entries of a page when the caller does not say.
pub const DEFAULT_PAGE: u64 = 50;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A page token that is not of this list with this filter.
    #[error("the page token is not one of this list with this filter and order")]
    Page,
    /// A resume token that is not of this stream.
    #[error("the resume token is not one of this stream")]
    Resume,
}

impl From<TokenError> for Status {
    fn from(error: TokenError) -> Self {
        let (reason, field) = match error {
            TokenError::Page => (ErrorReason::PageTokenInvalid, "page_token"),
            TokenError::Resume => (ErrorReason::ResumeTokenInvalid, "resume_token"),
        };
        tgmesh_proto::status::status(reason, error.to_string())
            .with("field", field)
            .violation(field, error.to_string())
            .build()
    }
}

/// The page that a request asks for.
#[derive(Debug, Clone)]
pub struct Page<K> {
    /// Most entries.
    pub size: u64,
    /// The key of the last entry of the page before.
    pub after: Option<K>,
    binding: [u8; 16],
    list: &'static str,
}

/// Makes and reads tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    sealer: Sealer,
}

impl Tokens {
    /// With the deployment's sealer.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    /// Reads what a list request asks for. `filter` is everything else the
    /// answer depends on: owner, conditions, order.
    ///
    /// # Errors
    /// When the token is not one of this list with this filter.
    pub fn page<K: DeserializeOwned>(
        &self,
        list: &'static str,
        filter: &impl Serialize,
        page_size: i32,
        page_token: &str,
    ) -> Result<Page<K>, TokenError> {
        let binding = binding(filter);
        let size = u64::try_from(page_size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let after = if page_token.is_empty() {
            None
        } else {
            let (bound, key) = self.open(list, page_token).ok_or(TokenError::Page)?;
            if bound != binding {
                return Err(TokenError::Page);
            }
            Some(key)
        };
        Ok(Page { size, after, binding, list })
    }

    /// Cuts the look-ahead entry off, and makes the token of the next page.
    /// `entries` were read with a limit of `page.size + 1`.
    pub fn finish<K: Serialize, T>(
        &self,
        page: &Page<K>,
        mut entries: Vec<T>,
        key: impl Fn(&T) -> K,
    ) -> (Vec<T>, String) {
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        if entries.len() <= size {
            return (entries, String::new());
        }
        entries.truncate(size);
        let token = entries.last().map(|last| self.seal(page.list, page.binding, &key(last))).unwrap_or_default();
        (entries, token)
    }

    /// A token from which a stream of `what` can go on.
    pub fn resume(&self, stream: &str, what: &impl Serialize, position: &impl Serialize) -> String {
        self.seal(stream, binding(what), position)
    }

    /// The position behind a resume token; `None` when it is empty.
    ///
    /// # Errors
    /// When it is not one of this stream.
    pub fn position<K: DeserializeOwned>(
        &self,
        stream: &str,
        what: &impl Serialize,
        token: &str,
    ) -> Result<Option<K>, TokenError> {
        if token.is_empty() {
            return Ok(None);
        }
        let (bound, key) = self.open(stream, token).ok_or(TokenError::Resume)?;
        if bound == binding(what) { Ok(Some(key)) } else { Err(TokenError::Resume) }
    }

    fn seal(&self, context: &str, binding: [u8; 16], key: &impl Serialize) -> String {
        let mut plain = binding.to_vec();
        serde_json::to_writer(&mut plain, key).expect("keys are plain values");
        URL_SAFE_NO_PAD.encode(self.sealer.seal(&format!("token:{context}"), &plain))
    }

    fn open<K: DeserializeOwned>(&self, context: &str, token: &str) -> Option<([u8; 16], K)> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        let plain = self.sealer.open(&format!("token:{context}"), &sealed).ok()?;
        let (binding, key) = plain.split_at_checked(16)?;
        Some((binding.try_into().ok()?, serde_json::from_slice(key).ok()?))
    }
}

fn binding(filter: &impl Serialize) -> [u8; 16] {
    let bytes = serde_json::to_vec(filter).expect("filters are plain values");
    let hash = Sha256::digest(bytes);
    hash[..16].try_into().expect("a hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(Sealer::new(&[vec![3; 32]]).unwrap())
    }

    #[test]
    fn walks_a_list() {
        let tokens = tokens();
        let all: Vec<i64> = (0..5).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page: Page<i64> = tokens.page("numbers", &"all", 2, &token).unwrap();
            let from = page.after.map_or(0, |after| usize::try_from(after).unwrap() + 1);
            let read = all[from..].iter().copied().take(3).collect();
            let (entries, next) = tokens.finish(&page, read, |entry| *entry);
            seen.extend(entries);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn refuses_a_token_of_another_filter_list_or_hand() {
        let tokens = tokens();
        let page: Page<i64> = tokens.page("numbers", &"odd", 1, "").unwrap();
        let (_, token) = tokens.finish(&page, vec![1, 3], |entry| *entry);
        assert!(tokens.page::<i64>("numbers", &"odd", 1, &token).is_ok());
        assert_eq!(tokens.page::<i64>("numbers", &"even", 1, &token).err(), Some(TokenError::Page));
        assert_eq!(tokens.page::<i64>("letters", &"odd", 1, &token).err(), Some(TokenError::Page));
        assert_eq!(tokens.page::<i64>("numbers", &"odd", 1, &token[1..]).err(), Some(TokenError::Page));
    }
}
