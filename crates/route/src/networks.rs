//! Sets of client networks, kept as sorted, merged address ranges.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks named in a message before the rest is left out.
const SHOWN_MAX: usize = 4;

/// A set of networks. A look-up is two comparisons per halving, whatever the number of networks.
#[derive(Debug, Clone)]
pub(crate) struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
    shown: Box<str>,
}

impl Networks {
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for network in networks {
            match (network.network(), network.broadcast()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    // Clients are compared in canonical form, so a mapped network must become its IPv4 form.
                    match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
                        (Some(first), Some(last)) => v4.push((first.to_bits(), last.to_bits())),
                        _ => v6.push((first.to_bits(), last.to_bits())),
                    }
                }
                _ => debug_assert!(false, "a network has one address family"),
            }
        }
        // A network that holds all mapped addresses (such as ::/0) does not take in IPv4 clients: families are apart.
        Self {
            v4: merge(v4),
            v6: merge(v6),
            shown: show(networks),
        }
    }

    /// The address is in one of the networks.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }

    /// Every address of `other` is in this set.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.v4.iter().all(|range| covered(&self.v4, *range))
            && other.v6.iter().all(|range| covered(&self.v6, *range))
    }

    /// The networks as the user wrote them, for messages: the first few.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

fn show(networks: &[IpNet]) -> Box<str> {
    let named: Vec<String> = networks
        .iter()
        .take(SHOWN_MAX)
        .map(IpNet::to_string)
        .collect();
    let more = if networks.len() > SHOWN_MAX {
        ", ..."
    } else {
        ""
    };
    (named.join(", ") + more).into_boxed_str()
}

/// Sorts ranges and joins those that overlap.
fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

fn within<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    covered(ranges, (address, address))
}

fn covered<T: Copy + Ord>(ranges: &[(T, T)], (first, last): (T, T)) -> bool {
    let after = ranges.partition_point(|range| range.0 <= first);
    after
        .checked_sub(1)
        .and_then(|at| ranges.get(at))
        .is_some_and(|range| last <= range.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> Networks {
        Networks::new(
            &networks
                .iter()
                .map(|net| net.parse().unwrap())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn holds_what_is_inside() {
        let set = set(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.168.1.7/32",
            "fd00::/8",
            "::ffff:172.16.0.0/108",
        ]);
        for (address, inside) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("::ffff:10.2.3.4", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("fd00::1", true),
            ("fe00::1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn families_are_apart() {
        assert!(!set(&["::/0"]).contains("10.0.0.1".parse().unwrap()));
        assert!(!set(&["0.0.0.0/0"]).contains("::1".parse().unwrap()));
    }

    #[test]
    fn covers_narrower_sets() {
        let wide = set(&["10.0.0.0/8", "fd00::/8"]);
        assert!(wide.covers(&set(&["10.2.0.0/16", "10.3.0.0/16"])));
        assert!(wide.covers(&set(&["fd12::/16"])));
        assert!(!wide.covers(&set(&["10.2.0.0/16", "11.0.0.0/16"])));
        assert!(!set(&["10.2.0.0/16"]).covers(&wide));
    }
}
