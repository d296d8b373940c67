//! The name of a service: `name.namespace[@cluster][:port]`.
//!
//! Names of cluster DNS (`cart.shop.svc.cluster.local:8080`) are accepted too, since most programs
//! have them in their configuration on the day they change over.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest name in bytes: DNS's limit (RFC 1035), as a name may be used as a DNS name's alias.
pub const MAX_NAME: usize = 253;

/// Longest part of a name in bytes: DNS's limit of a label (RFC 1035).
pub const MAX_LABEL: usize = 63;

/// A service's name without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// The first part.
    pub name: Arc<str>,
    /// The second part.
    pub namespace: Arc<str>,
    /// Needed only if several clusters are known.
    pub cluster: Option<Arc<str>>,
}

/// What a caller asks for: a service, and a port if it has several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRef {
    /// Which service.
    pub service: ServiceName,
    /// Its port; None: the only one.
    pub port: Option<PortRef>,
}

/// A port by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    /// Such as `grpc`.
    Name(Arc<str>),
    /// Such as 8080.
    Number(u16),
}

/// What is wrong with a name, and what would be valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error(
        "the service name is empty: names are name.namespace[:port], such as \"cart.shop:http\""
    )]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("the service name has {length} bytes; at most {MAX_NAME} are allowed")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// `cart`
    #[error("\"{asked}\": names are name.namespace, such as \"{example}\"")]
    NoNamespace {
        /// What was asked for.
        asked: String,
        /// A valid name like it.
        example: String,
    },
    /// `cart.shop.eu`
    #[error(
        "\"{asked}\" has {parts} parts: names are name.namespace, such as \"{example}\" \
         (or name.namespace.svc.cluster.local)"
    )]
    TooManyParts {
        /// What was asked for.
        asked: String,
        /// How many parts it has.
        parts: usize,
        /// A valid name like it.
        example: String,
    },
    /// A part that is no DNS label.
    #[error("\"{asked}\": the {part} \"{label}\" {why}")]
    Label {
        /// What was asked for.
        asked: String,
        /// Which part: `name`, `namespace`, `cluster`, `port name`.
        part: &'static str,
        /// The part itself.
        label: String,
        /// What is wrong with it, and what would be valid.
        why: String,
    },
    /// `cart.shop:0`
    #[error("\"{asked}\": port {port} is out of range: ports are 1 to 65535")]
    PortRange {
        /// What was asked for.
        asked: String,
        /// The port's digits.
        port: String,
    },
}

impl ServiceName {
    /// Builds a name; each part is checked.
    pub fn new(name: &str, namespace: &str, cluster: Option<&str>) -> Result<Self, NameError> {
        let whole = match cluster {
            Some(cluster) => format!("{name}.{namespace}@{cluster}"),
            None => format!("{name}.{namespace}"),
        };
        if whole.len() > MAX_NAME {
            return Err(NameError::TooLong { length: whole.len() });
        }
        check_label(&whole, "name", name)?;
        check_label(&whole, "namespace", namespace)?;
        if let Some(cluster) = cluster {
            check_label(&whole, "cluster", cluster)?;
        }
        Ok(Self {
            name: name.into(),
            namespace: namespace.into(),
            cluster: cluster.map(Into::into),
        })
    }
}

/// Checks a namespace by the rules of a service's name.
///
/// # Errors
/// What is wrong with it, and what would be valid.
pub fn namespace(text: &str) -> Result<Arc<str>, NameError> {
    check_label(text, "namespace", text)?;
    Ok(text.into())
}

impl FromStr for ServiceName {
    type Err = NameError;

    /// Without a port: `cart.shop`, `cart.shop@east`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let (path, cluster) = match text.split_once('@') {
            Some((path, cluster)) => (path, Some(cluster)),
            None => (text, None),
        };
        let parts: Vec<&str> = path.strip_suffix('.').unwrap_or(path).split('.').collect();
        match parts[..] {
            _ if text.len() > MAX_NAME => Err(NameError::TooLong { length: text.len() }),
            [name, namespace]
            | [name, namespace, "svc"]
            | [name, namespace, "svc", "cluster", "local"] => Self::new(name, namespace, cluster),
            [name] => Err(NameError::NoNamespace {
                asked: text.to_owned(),
                example: format!("{}.default", if name.is_empty() { "cart" } else { name }),
            }),
            [name, namespace, ..] => Err(NameError::TooManyParts {
                asked: text.to_owned(),
                parts: parts.len(),
                example: format!("{name}.{namespace}"),
            }),
            [] => Err(NameError::Empty),
        }
    }
}

impl FromStr for ServiceRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong { length: text.len() });
        }
        let Some((service, port)) = text.split_once(':') else {
            return Ok(Self { service: text.parse()?, port: None });
        };
        Ok(Self { service: service.parse()?, port: Some(parse_port(text, port)?) })
    }
}

fn parse_port(asked: &str, port: &str) -> Result<PortRef, NameError> {
    let range = || NameError::PortRange { asked: asked.to_owned(), port: port.to_owned() };
    if port.is_empty() || port.bytes().any(|b| !b.is_ascii_digit()) {
        check_label(asked, "port name", port)?;
        return Ok(PortRef::Name(port.into()));
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(PortRef::Number(number)),
        _ => Err(range()),
    }
}

/// Checks one part of a name by the rule of Kubernetes: a DNS label in lower case (RFC 1123).
fn check_label(asked: &str, part: &'static str, label: &str) -> Result<(), NameError> {
    let wrong = |why: String| {
        Err(NameError::Label { asked: asked.to_owned(), part, label: label.to_owned(), why })
    };
    if label.is_empty() {
        return wrong("is empty: write at least one letter or digit".to_owned());
    }
    if label.len() > MAX_LABEL {
        return wrong(format!("has {} bytes; at most {MAX_LABEL} are allowed", label.len()));
    }
    if let Some(character) = label.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        let lower = label.to_ascii_lowercase();
        return wrong(if character.is_ascii_uppercase() {
            format!("has an upper-case {character:?}: write \"{lower}\"")
        } else {
            format!("has {character:?}: only a-z, 0-9 and '-' are allowed")
        });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return wrong("begins or ends with '-': it must begin and end with a-z or 0-9".to_owned());
    }
    Ok(())
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)?;
        if let Some(cluster) = &self.cluster {
            write!(f, "@{cluster}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        match &self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> ServiceRef {
        text.parse().unwrap()
    }

    fn error(text: &str) -> String {
        text.parse::<ServiceRef>().unwrap_err().to_string()
    }

    #[test]
    fn a_name_has_a_namespace_and_may_have_a_cluster_and_a_port() {
        assert_eq!(parse("cart.shop").to_string(), "cart.shop");
        assert_eq!(parse("cart.shop:8080").port, Some(PortRef::Number(8080)));
        assert_eq!(parse("cart.shop:grpc").port, Some(PortRef::Name("grpc".into())));
        assert_eq!(parse("cart.shop@east:grpc").service.cluster.as_deref(), Some("east"));
    }

    #[test]
    fn a_cluster_dns_name_is_an_alias() {
        for alias in [
            "cart.shop.svc.cluster.local:8080",
            "cart.shop.svc:8080",
            "cart.shop.svc.cluster.local.:8080",
        ] {
            assert_eq!(parse(alias), parse("cart.shop:8080"), "{alias}");
        }
        assert_eq!(parse("cart.svc").service.namespace.as_ref(), "svc");
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_would_be_right() {
        assert!(error("").contains("empty: names are name.namespace[:port]"));
        assert!(error(&"x".repeat(254)).contains("has 254 bytes; at most 253"));
        assert_eq!(error("cart"), r#""cart": names are name.namespace, such as "cart.default""#);
        assert!(
            error("cart.shop.eu")
                .contains(r#"3 parts: names are name.namespace, such as "cart.shop""#)
        );
        assert!(
            error("Cart.shop").contains(r#"the name "Cart" has an upper-case 'C': write "cart""#)
        );
        assert!(error("cart.sh_op").contains(r#"the namespace "sh_op" has '_': only a-z, 0-9"#));
        assert!(error("-cart.shop").contains("begins or ends with '-'"));
        assert!(error("cart..shop").contains("3 parts"));
        assert!(error(".shop").contains(r#"the name "" is empty"#));
        assert!(error(&format!("{}.shop", "x".repeat(64))).contains("has 64 bytes; at most 63"));
        assert!(error("cart.shop:0").contains("port 0 is out of range: ports are 1 to 65535"));
        assert!(error("cart.shop:65536").contains("ports are 1 to 65535"));
        assert!(error("cart.shop:").contains(r#"the port name "" is empty"#));
        assert!(error("cart.shop@:80").contains(r#"the cluster "" is empty"#));
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same(
            name in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
            namespace in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
            cluster in proptest::option::of("[a-z]([a-z0-9-]{0,20}[a-z0-9])?"),
            port in proptest::option::of(prop_oneof![
                (1..=u16::MAX).prop_map(PortRef::Number),
                "[a-z]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|name| PortRef::Name(name.into())),
            ]),
        ) {
            let service = ServiceName::new(&name, &namespace, cluster.as_deref()).unwrap();
            let asked = ServiceRef { service, port };
            prop_assert_eq!(asked.to_string().parse::<ServiceRef>().unwrap(), asked);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            if let Ok(asked) = text.parse::<ServiceRef>() {
                prop_assert_eq!(asked.to_string().parse::<ServiceRef>().unwrap(), asked);
            }
        }
    }
}
