//! Regular expressions of names, for the JSON Schemas. With them an editor, or `helm install`, refuses
//! what the agent would refuse. Each accepts everything that the agent accepts, and sometimes more.

/// As [`crate::catalog::name`] reads a part of a name.
macro_rules! label {
    () => {
        "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    };
}

/// A service: `cart.shop`, `cart.shop@east`, or its DNS name.
pub(crate) const SERVICE: &str =
    concat!("^", label!(), r"\.", label!(), r"(\.svc(\.cluster\.local)?)?\.?(@", label!(), ")?$");

/// A namespace: `shop`.
pub(crate) const NAMESPACE: &str = concat!("^", label!(), "$");
