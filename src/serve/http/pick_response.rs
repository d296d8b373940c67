//! The answer to a pick in JSON.

use bytes::Bytes;

use super::json::{self, Object};
use crate::{
    catalog::Labels,
    serve::calls::pick_response::{Pick, PickResponse, text},
};

pub(in crate::serve) fn line(picked: &PickResponse) -> Bytes {
    json::line_of(|line| {
        let mut fields = Object::begin(line);
        if !picked.picks.is_empty() {
            fields.array("picks", &picked.picks, write);
        }
        if picked.plan != 0 {
            // proto3 JSON writes 64 bits as a string.
            fields.quoted("plan", picked.plan);
        }
        if picked.stale {
            fields.value("stale", &true);
        }
        fields.end();
    })
}

fn write(pick: &Pick, line: &mut Vec<u8>) {
    let endpoint = &*pick.endpoint;
    let mut fields = Object::begin(line);
    fields.text("address", &pick.ip);
    if endpoint.address.port() != 0 {
        fields.value("port", &endpoint.address.port());
    }
    fields.text("serverName", text(&endpoint.server_name));
    fields.text("region", text(&endpoint.region));
    fields.text("zone", text(&endpoint.zone));
    fields.text("node", text(&endpoint.node));
    if pick.priority != 0 {
        fields.value("priority", &pick.priority);
    }
    if !endpoint.labels.is_empty() {
        fields.value::<Labels>("labels", &endpoint.labels);
    }
    fields.text("lease", &pick.lease);
    fields.end();
}
