//! Forms of proto3 JSON that are legal but rare: `null` for a field's default, and whole numbers
//! written as `1e1` or `1.0`, also within a string.
//!
//! The generated deserializers refuse both. This wraps a JSON deserializer and translates these forms.
//! It takes longer than plain reading, so that only a message that was refused once is read by it.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
    value::{MapDeserializer, SeqDeserializer},
};

/// The largest range of whole numbers that doubles represent exactly (IEEE 754).
const EXACT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

/// A deserializer that knows the rare forms.
pub(super) struct RareForms<D> {
    inner: D,
    /// The value is a message's field, which may be `null`.
    field: bool,
}

impl<D> RareForms<D> {
    pub(super) fn new(inner: D) -> Self {
        Self { inner, field: false }
    }
}

/// The type that the generated deserializer expects, known by the method that it calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A number, as itself or in a string; or a name of an enum.
    Number,
    Bool,
    Text,
    List,
    Map,
    Message,
    Other,
}

macro_rules! expect {
    ($($method:ident => $expected:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.read(visitor, Expected::$expected)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> RareForms<D> {
    fn read<V: Visitor<'de>>(self, visitor: V, expected: Expected) -> Result<V::Value, D::Error> {
        // JSON is self-describing.
        self.inner.deserialize_any(RareFormsVisitor { visitor, expected, field: self.field })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for RareForms<D> {
    type Error = D::Error;

    expect! {
        deserialize_any => Number,
        deserialize_i8 => Number, deserialize_i16 => Number, deserialize_i32 => Number,
        deserialize_i64 => Number, deserialize_u8 => Number, deserialize_u16 => Number,
        deserialize_u32 => Number, deserialize_u64 => Number, deserialize_f32 => Number,
        deserialize_f64 => Number,
        deserialize_bool => Bool,
        deserialize_char => Text, deserialize_str => Text, deserialize_string => Text,
        deserialize_seq => List,
        deserialize_map => Map,
        deserialize_bytes => Other, deserialize_byte_buf => Other, deserialize_unit => Other,
        deserialize_identifier => Other, deserialize_ignored_any => Other,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(RareFormsVisitor {
            visitor,
            expected: Expected::Other,
            field: false,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(visitor, Expected::Message)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(visitor, Expected::Other)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(visitor, Expected::List)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.read(visitor, Expected::List)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_enum(name, variants, visitor)
    }
}

/// Wraps a visitor, and translates the rare forms for it.
struct RareFormsVisitor<V> {
    visitor: V,
    expected: Expected,
    field: bool,
}

impl<V> RareFormsVisitor<V> {
    fn number(&self, text: &str) -> Option<i64> {
        // A plain number stays as it is: it may be beyond a double.
        let rare = self.expected == Expected::Number && text.contains(['.', 'e', 'E']);
        let exact = rare && !text.contains(char::is_whitespace);
        whole(exact.then(|| serde_json::from_str(text).ok())??)
    }
}

/// The whole number; `None` if it has a fraction or is beyond [`EXACT`].
fn whole(number: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it has no fraction, and its bounds are checked"
    )]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

impl<'de, V: Visitor<'de>> Visitor<'de> for RareFormsVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        if !self.field {
            return self.visitor.visit_unit();
        }
        match self.expected {
            Expected::Number => self.visitor.visit_u64(0),
            Expected::Bool => self.visitor.visit_bool(false),
            Expected::Text => self.visitor.visit_borrowed_str(""),
            Expected::List => {
                self.visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>()))
            }
            Expected::Map => {
                self.visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>()))
            }
            Expected::Message | Expected::Other => self.visitor.visit_unit(),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<V::Value, E> {
        match whole(number) {
            Some(whole) => self.visit_i64(whole),
            None => self.visitor.visit_f64(number),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<V::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visitor.visit_u64(number),
            Err(_) => self.visitor.visit_i64(number),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(number)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.visitor.visit_bool(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        match self.number(text) {
            Some(number) => self.visitor.visit_string(number.to_string()),
            None => self.visitor.visit_str(text),
        }
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Value, E> {
        match self.number(text) {
            Some(number) => self.visitor.visit_string(number.to_string()),
            None => self.visitor.visit_borrowed_str(text),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(RareForms::new(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(RareForms::new(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(RareFormsAccess { inner: items, fields: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let fields = self.expected == Expected::Message;
        self.visitor.visit_map(RareFormsAccess { inner: entries, fields })
    }
}

/// The items of a list or the entries of an object.
struct RareFormsAccess<A> {
    inner: A,
    /// They are a message's fields. Entries of a map or a list may not be `null`.
    fields: bool,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for RareFormsAccess<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(RareFormsSeed { seed, field: false })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for RareFormsAccess<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(RareFormsSeed { seed, field: self.fields })
    }
}

struct RareFormsSeed<S> {
    seed: S,
    field: bool,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for RareFormsSeed<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(RareForms { inner, field: self.field })
    }
}
