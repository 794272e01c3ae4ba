//! An environment as execve(2) takes it, made once for all the attempts that begin with it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use serde::{Deserialize, Serialize, Serializer};

/// Variables, each as `NAME=value`. Serialized as a map of texts.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub(super) struct Environment(Vec<CString>);

impl From<BTreeMap<String, String>> for Environment {
    fn from(variables: BTreeMap<String, String>) -> Self {
        // The daemon lets nobody have a variable with a NUL.
        Self(variables.into_iter().filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok()).collect())
    }
}

impl Environment {
    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|variable| variable.to_str().ok()?.split_once('='))
    }

    /// The variables, but for those that `hidden` says the names of.
    pub(super) fn without(&self, hidden: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = &CStr> {
        self.0.iter().map(CString::as_c_str).filter(move |variable| {
            let name = variable.to_bytes().split(|byte| *byte == b'=').next();
            !hidden(name.unwrap_or_default())
        })
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
