//! One meaning of "allowed": the filter in the process, the kernel's table and a model written from the text judge the same
//! packets. What reaches a raw socket, behind the input hook, was let through by the kernel.
//!
//! A connection's segments here lie in its window: conntrack refuses others, while the filter leaves them to TCP, which does
//! not take them either.

mod conntrack;
mod forwarding;
mod kernel_judge;
mod packets;
mod text_judge;
mod userspace_judge;

use kernel_judge::KernelJudge;
use packets::{Conversation, Kind, Oddity, Step};
use text_judge::TextJudge;
use userspace_judge::UserspaceJudge;

use super::*;
use crate::config::PeerConfig;
use crate::key::PrivateKey;

/// A third of them leaves; 10^5 are judged.
const PACKETS: usize = 150_000;
/// On average.
const PACKETS_PER_NETMAP: usize = 6_000;
const PACKETS_PER_WAIT: usize = 2_000;
const PACKETS_PER_CONVERSATION: usize = 200;

/// Their sums stay 15 s away from every time limit, so that the test's own time decides nothing.
const WAITS_S: [u32; 8] = [45, 45, 45, 90, 135, 225, 270, 7470];

fn own() -> BTreeSet<IpAddr> {
    ["100.64.0.1", "fd00::1"]
        .map(|ip| ip.parse().unwrap())
        .into()
}

/// A peer with permissions, one without, and one whose prefix has another's addresses inside.
fn peers() -> Vec<PeerConfig> {
    let peer = |number: u8, prefixes: &[&str], ingress: Vec<Allow>| {
        let mut peer = PeerConfig::new(PrivateKey::from_bytes([number; 32]).public_key());
        peer.allowed_ips = prefixes.iter().map(|net| net.parse().unwrap()).collect();
        peer.ingress = ingress;
        peer
    };
    vec![
        peer(
            1,
            &[
                "100.64.0.2/32",
                "fd00::2/128",
                "100.64.9.9/32",
                "fd00:9::9/128",
            ],
            vec![Allow::tcp(80..=89), Allow::udp(53..=53), Allow::icmp()],
        ),
        peer(2, &["100.64.0.3/32", "fd00::3/128"], vec![]),
        peer(
            3,
            &["100.64.9.0/24", "fd00:9::/64"],
            vec![Allow::udp(0..=u16::MAX), Allow::tcp(443..=443)],
        ),
    ]
}

#[test]
fn filter_nftables_and_model_judge_alike() {
    let Some(mut kernel) = KernelJudge::start(&own(), &peers()) else {
        return;
    };
    let mut peers = peers();
    let mut userspace = UserspaceJudge::new(own(), &peers);
    let mut model = TextJudge::new(&peers);
    let mut random = packets::Random(0x6d61_6c68_6103);
    let mut conversations: Vec<Conversation> =
        (0..64).map(|_| Conversation::new(&mut random)).collect();
    let (mut admitted, mut refused) = (0, 0);
    for number in 0..PACKETS {
        if random.below(PACKETS_PER_NETMAP) == 0 {
            for peer in &mut peers {
                peer.ingress = permissions(&mut random);
            }
            model.set_peers(&peers);
            userspace.set_peers(&peers);
            kernel.set_peers(&peers);
        }
        if random.below(PACKETS_PER_WAIT) == 0 {
            let wait_s = random.one(&WAITS_S);
            model.wait(wait_s);
            userspace.wait(wait_s);
            kernel.wait(wait_s);
            for unsure in conversations.iter_mut().filter(|it| it.has_two_ages()) {
                *unsure = Conversation::new(&mut random);
            }
        }
        let at = random.below(conversations.len());
        let step = conversations[at].next(&mut random);
        let packet = step.bytes();
        let verdicts = (
            model.admits(&step, &packet),
            userspace.admits(&step, &packet),
            kernel.admits(&step, &packet),
        );
        let expected = match step.is_never_admitted() {
            true => (false, false, false),
            false => (verdicts.0, verdicts.0, verdicts.0),
        };
        assert_eq!(
            verdicts, expected,
            "(model, filter, nftables) at packet {number}: {step:?}\n{:?}",
            conversations[at]
        );
        match (step.leaving, verdicts.0) {
            (true, _) => {}
            (false, true) => admitted += 1,
            (false, false) => refused += 1,
        }
        let is_over = conversations[at].follow(&step, verdicts.0);
        if is_over || random.below(PACKETS_PER_CONVERSATION) == 0 {
            conversations[at] = Conversation::new(&mut random);
        }
    }
    println!("{PACKETS} packets: {admitted} admitted, {refused} refused, by all three alike");
    assert!(admitted.min(refused) > PACKETS as u64 / 10);
    // A rule's counter goes with the rule.
    let is_of_refusals = |name: &str| !name.starts_with('r') && name != "answer";
    let counted = kernel.counted();
    let counted = counted.iter().filter(|(name, _)| is_of_refusals(name));
    let counted: u64 = counted.map(|(_, count)| count).sum();
    assert!(counted >= refused, "{counted}");
}

/// Some of those that the conversations' ports meet.
fn permissions(random: &mut packets::Random) -> Vec<Allow> {
    let all = [
        Allow::tcp(80..=89),
        Allow::tcp(443..=443),
        Allow::tcp(0..=u16::MAX),
        Allow::udp(53..=53),
        Allow::udp(0..=u16::MAX),
        Allow::icmp(),
    ];
    let some = all.into_iter().filter(|_| random.below(3) == 0);
    some.collect()
}

/// Its address is inside a network of another peer, which may not open the same.
#[test]
fn an_answer_by_permission_stays_one_when_the_permission_goes() {
    let mut peers = peers();
    peers[2].ingress.clear();
    let Some(mut kernel) = KernelJudge::start(&own(), &peers) else {
        return;
    };
    let mut admitted = Vec::new();
    for remote in ["100.64.9.9", "fd00:9::9"] {
        kernel.set_peers(&peers[..1]);
        let answer = Step {
            leaving: true,
            remote: remote.parse().unwrap(),
            ours: 53,
            theirs: 5000,
            kind: Kind::Udp,
            oddity: Oddity::None,
        };
        kernel.admits(&answer, &answer.bytes());
        let mut without = peers[0].clone();
        without.ingress.clear();
        kernel.set_peers(&[without]);
        let question = Step {
            leaving: false,
            ..answer
        };
        admitted.push(kernel.admits(&question, &question.bytes()));
    }
    assert_eq!(admitted, [false, false]);
}

/// Once the connection stands, one of the machine's own limits is 0: that would end it before its next packet.
#[test]
fn an_opened_connection_outlives_the_limits_of_the_machine() {
    let Some(mut kernel) = KernelJudge::start(&own(), &peers()) else {
        return;
    };
    const OUT: bool = true;
    const IN: bool = false;
    const HANDSHAKE: usize = 3;
    let (syn, syn_ack, ack, fin) = (0x02, 0x12, 0x10, 0x11);
    let story = [
        (OUT, syn, 1000, 0),
        (IN, syn_ack, 5000, 1001),
        (OUT, ack, 1001, 5001),
        // Repeated while the peer is away.
        (OUT, ack, 1001, 5001),
        (OUT, ack, 1001, 5001),
        (OUT, ack, 1001, 5001),
        (IN, ack, 5001, 1001),
        // Half closed and not yet acknowledged; then acknowledged, and the server thinks.
        (OUT, fin, 1001, 5001),
        (IN, ack, 5001, 1002),
        (IN, ack, 5001, 1002),
        // As if the acknowledgement had been lost: conntrack takes it for the other side's FIN.
        (OUT, fin, 1001, 5001),
        (IN, ack, 5001, 1002),
    ];
    let limits = [
        "max_retrans",
        "unacknowledged",
        "fin_wait",
        "close_wait",
        "last_ack",
    ];
    let mut refused = Vec::new();
    for (ours, limit) in (40_000..).zip(limits) {
        let timer = format!("tcp_timeout_{limit}");
        for remote in ["100.64.0.3", "fd00::3"] {
            let mut story = story.iter().enumerate();
            let cut = story.find(|(at, (leaving, flags, sequence, acknowledged))| {
                if *at == HANDSHAKE {
                    kernel.limit(&timer, 0);
                }
                let step = Step {
                    leaving: *leaving,
                    remote: remote.parse().unwrap(),
                    ours,
                    theirs: 443,
                    kind: Kind::Tcp {
                        flags: *flags,
                        sequence: *sequence,
                        acknowledged: *acknowledged,
                    },
                    oddity: Oddity::None,
                };
                !kernel.admits(&step, &step.bytes())
            });
            refused.extend(cut.map(|(at, _)| (limit, remote, at)));
            kernel.limit(&timer, 600);
        }
    }
    assert_eq!(refused, []);
}

#[test]
fn tcp_and_udp_have_limits_of_their_own_in_both_families() {
    let frame = Ruleset::new("m0", own()).whole();
    let tcp = "policy = { syn_sent : 240, syn_sent2 : 240, syn_recv : 7440, established : 7440, fin_wait : 7440, \
               close_wait : 7440, last_ack : 7440, retrans : 7440, unack : 7440, time_wait : 240, close : 240 };";
    let udp = "policy = { unreplied : 120, replied : 120 };";
    for (protocol, number, policy) in [("tcp", 6, tcp), ("udp", 17, udp)] {
        for (family, l3proto, matched) in [("4", "ip", "ip protocol"), ("6", "ip6", "ip6 nexthdr")]
        {
            let name = format!("{protocol}{family}");
            let object = format!(
                "\tct timeout {name} {{\n\t\tprotocol {protocol};\n\t\tl3proto {l3proto};\n\t\t{policy}\n\t}}\n"
            );
            let rule = format!("\t\t{matched} {number} ct timeout set \"{name}\"\n");
            assert!(frame.contains(&object) && frame.contains(&rule), "{name}");
        }
    }
}

/// Changes are made by small scripts; they must lead where writing everything anew leads.
#[test]
fn small_changes_lead_to_the_whole_table() {
    let Some(kernel) = KernelJudge::start(&own(), &[]) else {
        return;
    };
    let mut rules = Ruleset::new("m0", own());
    kernel.apply(&rules.whole());
    for (gone, peers) in changes() {
        for key in gone {
            kernel.apply(&script(&mut rules, &[key], &[]));
        }
        for peer in peers {
            kernel.apply(&script(&mut rules, &[], &[peer]));
        }
    }
    assert_is_whole(&kernel, &mut rules);
}

#[test]
fn changes_of_many_peers_lead_to_the_whole_table() {
    let Some(kernel) = KernelJudge::start(&own(), &[]) else {
        return;
    };
    let mut rules = Ruleset::new("m0", own());
    kernel.apply(&rules.whole());
    for (gone, peers) in changes() {
        kernel.apply(&script(&mut rules, &gone, &peers));
    }
    assert_is_whole(&kernel, &mut rules);
}

#[test]
fn many_changes_in_one_script_lead_to_the_whole_table() {
    let Some(kernel) = KernelJudge::start(&own(), &[]) else {
        return;
    };
    let mut rules = Ruleset::new("m0", own());
    kernel.apply(&rules.whole());
    kernel.apply(&script(&mut rules, &[], &peers()));
    let mut change = Change::default();
    for (gone, peers) in changes() {
        write(&mut rules, &gone, &peers, &mut change);
    }
    kernel.apply(&rules.script(&change));
    assert_is_whole(&kernel, &mut rules);
}

#[test]
fn a_peer_whose_rules_stay_is_no_change() {
    let mut rules = Ruleset::new("m0", own());
    script(&mut rules, &[], &peers());
    assert_eq!(script(&mut rules, &[], &peers()), "");
}

#[test]
fn a_rule_that_comes_back_has_the_counter_that_waits_to_go() {
    let mut rules = Ruleset::new("m0", own());
    let peer = &peers()[..1];
    let mut less = peer.to_vec();
    less[0].ingress.remove(0);
    script(&mut rules, &[], peer);
    script(&mut rules, &[], &less);
    assert_eq!(rules.sweep(), "delete counter inet malha_m0 r1_tcp_80_89\n");
    let again = script(&mut rules, &[], peer);
    assert!(!again.contains("add counter"), "{again}");
    assert_eq!(rules.sweep(), "");
}

/// Peers that come; then fewer and other rules, addresses that move to another peer, a wider prefix; peers that go and come
/// back.
fn changes() -> [(Vec<PublicKey>, Vec<PeerConfig>); 4] {
    let mut all = peers();
    all[0].ingress = vec![Allow::tcp(80..=89), Allow::tcp(22..=22)];
    all[1].allowed_ips.push("100.64.9.9/32".parse().unwrap());
    all[2].allowed_ips.push("100.64.8.0/23".parse().unwrap());
    let key = |at: usize| all[at].public_key;
    [
        (vec![], peers()),
        (vec![], all.clone()),
        (vec![key(1)], vec![all[1].clone()]),
        (vec![key(2)], vec![]),
    ]
}

fn script(rules: &mut Ruleset, gone: &[PublicKey], peers: &[PeerConfig]) -> String {
    let mut change = Change::default();
    write(rules, gone, peers, &mut change);
    rules.script(&change)
}

fn write(rules: &mut Ruleset, gone: &[PublicKey], peers: &[PeerConfig], change: &mut Change) {
    for key in gone {
        rules.remove_peer(key, change);
    }
    for peer in peers {
        rules.set_peer(peer, change).unwrap();
    }
}

fn assert_is_whole(kernel: &KernelJudge, rules: &mut Ruleset) {
    kernel.apply(&rules.sweep());
    let by_changes = lines(kernel);
    kernel.apply(&rules.whole());
    assert_eq!(by_changes, lines(kernel));
}

/// What the kernel has, in order.
fn lines(kernel: &KernelJudge) -> Vec<String> {
    let mut lines: Vec<_> = kernel.listed().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Somebody has flushed the machine's rules.
#[test]
fn a_table_with_networks_can_be_put_back() {
    let Some(kernel) = KernelJudge::start(&own(), &[]) else {
        return;
    };
    let mut rules = Ruleset::new("m0", own());
    kernel.apply(&rules.whole());
    kernel.apply(&script(&mut rules, &[], &peers()));
    let before = lines(&kernel);
    kernel.apply(&rules.whole());
    assert_eq!(lines(&kernel), before);
}

#[test]
fn a_zone_is_never_shared() {
    let mut rules = Ruleset::new("m0", own());
    rules.next = ZONES - 2;
    for number in 1..6u8 {
        let key = PrivateKey::from_bytes([number; 32]).public_key();
        script(&mut rules, &[], &[PeerConfig::new(key)]);
        if number == 3 {
            rules.next = ZONES - 2;
        }
    }
    let zones: BTreeSet<u16> = rules.peers.values().map(|peer| zone(peer.number)).collect();
    assert_eq!(zones.len(), 5);
}
