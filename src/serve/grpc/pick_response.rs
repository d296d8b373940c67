//! The answer to a pick in protobuf.

use super::protobuf_encode::{self, Encode, Sink};
use crate::serve::calls::pick_response::{Pick, PickResponse, text};

impl Encode for PickResponse {
    fn write(&self, out: &mut impl Sink) {
        for pick in &self.picks {
            out.message(1, pick);
        }
        out.number(2, self.plan);
        out.number(3, self.stale.into());
    }
}

impl Encode for Pick {
    fn write(&self, out: &mut impl Sink) {
        let endpoint = &*self.endpoint;
        out.text(1, &self.ip);
        out.number(2, endpoint.address.port().into());
        out.text(3, text(&endpoint.server_name));
        out.text(4, text(&endpoint.region));
        out.text(5, text(&endpoint.zone));
        out.text(6, text(&endpoint.node));
        out.number(7, self.priority.into());
        for (key, value) in &*endpoint.labels {
            out.message(8, &Label { key, value });
        }
        out.text(9, &self.lease);
    }

    fn length(&self) -> usize {
        *self.length.get_or_init(|| protobuf_encode::encoded_len(self))
    }
}

/// An entry of the map `labels`.
struct Label<'a> {
    key: &'a str,
    value: &'a str,
}

impl Encode for Label<'_> {
    fn write(&self, out: &mut impl Sink) {
        out.text(1, self.key);
        out.text(2, self.value);
    }
}
