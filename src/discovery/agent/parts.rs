//! An assignment in parts, by a hash of the endpoints' addresses: of many endpoints one changes, and costs
//! an agent its part.
//!
//! A cluster says how many parts its assignment has. An agent asks for each of them by name, or for the
//! whole by the cluster's own name.

use std::net::SocketAddr;

use xds::Name;
use xxhash_rust::xxh3::xxh3_64;

use crate::catalog::Endpoint;

/// An assignment with more endpoints than this comes in parts.
const MOST_IN_ONE: usize = 64;
/// About the endpoints of a part. A change costs an agent one part, and each part is one more name to subscribe to.
const IN_PART: usize = 32;
/// The number of parts stays while a part has between 1/2 and 2 times as many: another number costs the
/// whole assignment.
const BAND: usize = 2;
/// The most parts. With more endpoints the parts are larger.
pub const MOST_PARTS: u32 = 1024;

/// Between a cluster's name, which has none, and the part.
const SEPARATOR: char = '#';

/// How many parts these endpoints have, if they had `before`. 1: the whole.
pub fn count(endpoints: usize, before: u32) -> u32 {
    let each = endpoints / before.max(1) as usize;
    let stays = match before {
        0 | 1 => endpoints <= MOST_IN_ONE,
        _ => (IN_PART / BAND..=IN_PART * BAND).contains(&each),
    };
    if stays {
        return before.max(1);
    }
    match endpoints <= IN_PART {
        true => 1,
        false => {
            let parts = endpoints.div_ceil(IN_PART).next_power_of_two();
            u32::try_from(parts).map_or(MOST_PARTS, |parts| parts.min(MOST_PARTS))
        }
    }
}

/// The names of the parts, or the cluster's own for the whole.
pub fn names(cluster: &str, count: u32) -> Vec<Name> {
    match count {
        0 | 1 => vec![cluster.into()],
        _ => (0..count).map(|n| format!("{cluster}{SEPARATOR}{n}/{count}").into()).collect(),
    }
}

/// The name of the whole if this is that of a part.
pub fn whole_of(name: &str) -> Option<&str> {
    name.rsplit_once(SEPARATOR).map(|(whole, _)| whole)
}

/// These endpoints by their parts.
pub fn divided(endpoints: &[Endpoint], count: u32) -> Vec<Vec<&Endpoint>> {
    let mut parts = vec![Vec::new(); count.max(1) as usize];
    for endpoint in endpoints {
        parts[part_of(endpoint.address, count)].push(endpoint);
    }
    parts
}

fn part_of(address: SocketAddr, count: u32) -> usize {
    let mut bytes = [0; 18];
    match address.ip() {
        std::net::IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        std::net::IpAddr::V6(ip) => bytes[..16].copy_from_slice(&ip.octets()),
    }
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    (xxh3_64(&bytes) % u64::from(count.max(1))) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_about_32_endpoints_and_the_number_stays_within_a_band() {
        for (endpoints, before, parts) in [
            (0, 0, 1),
            (64, 0, 1),
            (65, 0, 4),
            (1000, 0, 32),
            // It grows and shrinks again without another number.
            (65, 1, 4),
            (64, 4, 4),
            (259, 4, 4),
            (260, 4, 16),
            (16 * 16, 16, 16),
            (16 * 16 - 1, 16, 8),
            (40, 4, 2),
            (32, 2, 2),
            (31, 2, 1),
            (64, 1, 1),
            (10_000_000, 1, MOST_PARTS),
        ] {
            assert_eq!(count(endpoints, before), parts, "{endpoints} endpoints in {before} parts");
        }
    }

    #[test]
    fn any_number_of_endpoints_settles_at_once() {
        for endpoints in 0..5000 {
            for before in [0, 1, 2, 4, 8, 64, 1024] {
                let parts = count(endpoints, before);
                assert_eq!(count(endpoints, parts), parts, "{endpoints} in {before}");
                assert!(parts == 1 || endpoints / parts as usize >= IN_PART / BAND);
                assert!(endpoints / parts as usize <= IN_PART * BAND);
            }
        }
    }

    #[test]
    fn endpoints_are_spread_over_the_parts_and_each_is_in_one() {
        let endpoints: Vec<Endpoint> = (0..1000u32)
            .map(|n| Endpoint::at(SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 80))))
            .collect();
        let parts = divided(&endpoints, 32);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 1000);
        let largest = parts.iter().map(Vec::len).max().unwrap();
        let smallest = parts.iter().map(Vec::len).min().unwrap();
        assert!(smallest >= 10 && largest <= 60, "{smallest} to {largest}");
        assert_eq!(divided(&endpoints, 1)[0].len(), 1000);
    }

    #[test]
    fn a_part_s_name_says_which_it_is_of_how_many() {
        let text = |names: Vec<Name>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(names("cart.shop:80", 1)), ["cart.shop:80"]);
        assert_eq!(text(names("cart.shop:80", 2)), ["cart.shop:80#0/2", "cart.shop:80#1/2"]);
        assert_eq!(whole_of("cart.shop:80#0/2"), Some("cart.shop:80"));
        assert_eq!(whole_of("cart.shop@east:80"), None);
    }
}
