//! Grids over the fields of slices and their Service, by the line in docs/kubernetes.md.

use super::tests::{ONE_PORT, addresses, cart, cart_with, join, served, service, slice, slice_of};
use crate::catalog::Health;

#[test]
fn line_05_every_combination_of_conditions_is_read_as_the_api_documents_it() {
    let texts = [(None, "null"), (Some(true), "true"), (Some(false), "false")];
    for (ready, ready_text) in texts {
        for (serving, serving_text) in texts {
            for (terminating, terminating_text) in texts {
                let conditions = format!(
                    "{{ready: {ready_text}, serving: {serving_text}, \
                     terminating: {terminating_text}}}"
                );
                let endpoint = format!("{{addresses: [10.0.0.1], conditions: {conditions}}}");
                let join = join(cart(), [slice("cart-1", &[&endpoint])]);
                // "A nil value should be interpreted as true", for ready and for serving.
                let expected = match (ready != Some(false), serving != Some(false)) {
                    (true, _) => Health::Ready,
                    (false, true) if terminating == Some(true) => Health::Draining,
                    (false, _) => Health::Unready,
                };
                assert_eq!(served(&join)["10.0.0.1:8080"], expected, "{conditions}");
            }
        }
    }
}

#[test]
fn line_12_a_service_of_one_family_has_endpoints_of_that_family_alone() {
    let slices = || {
        let v6 = ["{addresses: ['fd00::3'], targetRef: {uid: c}}"];
        [
            slice("cart-1", &["{addresses: [10.0.0.1], targetRef: {uid: a}}"]),
            slice_of("cart", "cart-2", "IPv6", ONE_PORT, &v6).unwrap(),
        ]
    };
    for (families, expected) in [
        ("[IPv4]", vec!["10.0.0.1:8080"]),
        ("[IPv6]", vec!["[fd00::3]:8080"]),
        ("[IPv4, IPv6]", vec!["10.0.0.1:8080", "[fd00::3]:8080"]),
    ] {
        let cart = cart_with(&format!(", ipFamilies: {families}"));
        assert_eq!(addresses(&join(cart, slices())), expected, "{families}");
    }
}

#[test]
fn line_14_a_port_of_a_number_that_none_can_have_costs_no_other_and_is_noted() {
    for wrong in ["0", "-1", "65536", "2147483647"] {
        let ports = format!("[{{name: http, port: 8080}}, {{name: metrics, port: {wrong}}}]");
        let slice = slice_of("cart", "c-1", "IPv4", &ports, &["{addresses: [10.0.0.1]}"]);
        let join = join(cart(), slice);
        assert_eq!(addresses(&join), ["10.0.0.1:8080"], "{wrong}");
        let note = format!(
            "a port of EndpointSlice c-1 is left out: ports[1].port: {wrong} is out of range: ports \
             are 1 to 65535"
        );
        assert_eq!(service(&join).notes, [note]);
    }
}
