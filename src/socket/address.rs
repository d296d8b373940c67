//! The address of a socket: a path, or a `unix:` URI as gRPC clients write it.

use std::{
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The default address, for agents and callers.
pub const DEFAULT: &str = "unix:///run/pointsman/agent.sock";

/// `sun_path` of a Linux socket address has 108 bytes, the last one for the terminator.
pub const LONGEST_PATH: usize = 107;

/// The path of a Unix socket, of valid length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAddress(PathBuf);

/// Why a text is not a socket's address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the path is missing; write a path or unix:///run/pointsman/agent.sock")]
    Empty,
    /// Another scheme than `unix`.
    #[error("scheme {0:?} is not supported; write a path or unix:///run/pointsman/agent.sock")]
    Scheme(String),
    /// `unix://` with a host, or a relative path that looks like one.
    #[error(
        "unix://{0} names a host; an absolute path has three slashes (unix:///{0}), \
         a relative one none (unix:{0})"
    )]
    Host(String),
    /// Longer than the kernel takes.
    #[error(
        "a Unix socket's path has at most {LONGEST_PATH} bytes, this one has {length}: {path}; \
         choose a shorter folder"
    )]
    TooLong {
        path: String,
        /// Its length in bytes.
        length: usize,
    },
    /// No path may hold one.
    #[error("a path can't contain a NUL byte")]
    Nul,
}

impl SocketAddress {
    /// The socket at this path.
    ///
    /// # Errors
    /// No socket can have this path.
    pub fn from_path(path: impl Into<PathBuf>) -> Result<Self, AddressError> {
        let path = path.into();
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(AddressError::Empty);
        }
        if bytes.contains(&0) {
            return Err(AddressError::Nul);
        }
        if bytes.len() > LONGEST_PATH {
            let length = bytes.len();
            return Err(AddressError::TooLong { path: path.display().to_string(), length });
        }
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for SocketAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') => Self::from_path(path),
                Some("") => Err(AddressError::Empty),
                Some(host) => Err(AddressError::Host(host.to_owned())),
                None => Self::from_path(rest),
            };
        }
        // A file may be called `a:b`, so that only `://` marks a scheme.
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(AddressError::Scheme(scheme.to_owned()));
        }
        if text.starts_with("unix-abstract:") {
            return Err(AddressError::Scheme("unix-abstract".to_owned()));
        }
        Self::from_path(text)
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_each_form_of_the_uri_name_the_same_socket() {
        for text in ["/run/a.sock", "unix:/run/a.sock", "unix:///run/a.sock"] {
            assert_eq!(text.parse::<SocketAddress>().unwrap().path(), Path::new("/run/a.sock"));
        }
        for text in ["a.sock", "unix:a.sock"] {
            assert_eq!(text.parse::<SocketAddress>().unwrap().path(), Path::new("a.sock"));
        }
    }

    #[test]
    fn another_scheme_is_refused_with_the_one_that_is_served() {
        for text in ["tcp://127.0.0.1:1", "http://x", "unix-abstract:x"] {
            let error = text.parse::<SocketAddress>().unwrap_err().to_string();
            assert!(error.contains("unix:///run/pointsman/agent.sock"), "{error}");
        }
    }

    #[test]
    fn two_slashes_are_explained() {
        let error = "unix://run/a.sock".parse::<SocketAddress>().unwrap_err().to_string();
        assert!(error.contains("unix:///run/a.sock"), "{error}");
    }

    #[test]
    fn a_path_may_have_107_bytes_and_not_108() {
        let path = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert!(path(107).parse::<SocketAddress>().is_ok());
        let error = path(108).parse::<SocketAddress>().unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes") && error.contains("108"), "{error}");
    }

    #[test]
    fn nothing_at_all_is_refused() {
        for text in ["", "unix:", "unix://"] {
            assert_eq!(text.parse::<SocketAddress>(), Err(AddressError::Empty), "{text}");
        }
    }
}
