//! Overlapping prefixes, of which the longest decides, as prefixes that do not overlap. It knows nothing of peers.

use std::collections::BTreeMap;

use ipnet::IpNet;

/// The same owner for every address, without overlap. A prefix is split around each longer one inside it, so the result has at
/// most as many pieces as there are bits of difference.
pub(super) fn disjoint<T: Copy + PartialEq>(owned: &[(IpNet, T)]) -> Vec<(IpNet, T)> {
    let owners: BTreeMap<IpNet, T> = owned.iter().copied().collect();
    let mut pieces = Vec::new();
    for (prefix, owner) in &owners {
        split(*prefix, *owner, *prefix, &owners, &mut pieces);
    }
    pieces
}

fn split<T: Copy>(
    part: IpNet,
    owner: T,
    whole: IpNet,
    owners: &BTreeMap<IpNet, T>,
    pieces: &mut Vec<(IpNet, T)>,
) {
    if part != whole && owners.contains_key(&part) {
        return;
    }
    let is_inside = |net: &IpNet| *net != part && part.contains(net);
    if !owners.keys().any(is_inside) {
        pieces.push((part, owner));
        return;
    }
    for half in part.subnets(part.prefix_len() + 1).into_iter().flatten() {
        split(half, owner, whole, owners, pieces);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn longest(owned: &[(IpNet, u8)], address: std::net::IpAddr) -> Option<u8> {
        let holding = owned.iter().filter(|(net, _)| net.contains(&address));
        holding
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, owner)| *owner)
    }

    proptest! {
        #[test]
        fn each_address_keeps_its_owner_and_has_one(
            nets in prop::collection::btree_map((0u8..8, 22u8..=32), any::<u8>(), 0..8),
            low in 0u8..8,
        ) {
            let owned: BTreeMap<IpNet, u8> = nets
                .iter()
                .map(|((low, length), owner)| (IpNet::new([10, 0, 0, *low].into(), *length).unwrap().trunc(), *owner))
                .collect();
            let owned: Vec<_> = owned.into_iter().collect();
            let pieces = disjoint(&owned);
            let address = [10, 0, 0, low].into();
            let holding: Vec<_> = pieces.iter().filter(|(net, _)| net.contains(&address)).map(|(_, owner)| *owner).collect();
            prop_assert_eq!(holding, longest(&owned, address).into_iter().collect::<Vec<_>>());
        }
    }
}
