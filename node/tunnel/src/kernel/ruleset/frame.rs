//! What is in every table of the engine, whoever the peers are, in nft's words.

/// TCP flows that this node opened and UDP flows of both sides live as long as the filter's (`flow.rs`) whatever the machine's own
/// limits are: an entry that ends takes its label with it, and only another SYN would bring that back. `syn_recv` is long since a
/// SYN with ACK makes a connection open for the filter, `last_ack` since conntrack takes a repeated FIN for the other side's. The
/// lengths are those of the shortest header that can be judged. Behind the 8 bytes (64 bits) of an ICMP error is the header that
/// it quotes: conntrack would read past IPv4 options and IPv6 extension headers. Who is forwarded never has an address of this
/// node, and so gets no part in the node's own flows.
pub(super) const FRAME: &str = r#"add counter inet TABLE malformed
add counter inet TABLE fragment
add counter inet TABLE extension
add counter inet TABLE not_ours
add counter inet TABLE answer
add counter inet TABLE stranger
table inet TABLE {
	ct timeout udp4 {
		protocol udp;
		l3proto ip;
		policy = { unreplied : UDP_IDLE, replied : UDP_IDLE };
	}
	ct timeout udp6 {
		protocol udp;
		l3proto ip6;
		policy = { unreplied : UDP_IDLE, replied : UDP_IDLE };
	}
	ct timeout tcp4 {
		protocol tcp;
		l3proto ip;
		policy = { syn_sent : TCP_EDGE, syn_sent2 : TCP_EDGE, syn_recv : TCP_OPEN, established : TCP_OPEN, fin_wait : TCP_OPEN, close_wait : TCP_OPEN, last_ack : TCP_OPEN, retrans : TCP_OPEN, unack : TCP_OPEN, time_wait : TCP_EDGE, close : TCP_EDGE };
	}
	ct timeout tcp6 {
		protocol tcp;
		l3proto ip6;
		policy = { syn_sent : TCP_EDGE, syn_sent2 : TCP_EDGE, syn_recv : TCP_OPEN, established : TCP_OPEN, fin_wait : TCP_OPEN, close_wait : TCP_OPEN, last_ack : TCP_OPEN, retrans : TCP_OPEN, unack : TCP_OPEN, time_wait : TCP_EDGE, close : TCP_EDGE };
	}
	map zone_host4 { typeof ip saddr : ct zone; }
	map zone_host6 { typeof ip6 saddr : ct zone; }
	map zone_net4 { typeof ip saddr : ct zone; flags interval; }
	map zone_net6 { typeof ip6 saddr : ct zone; flags interval; }
	map from_host4 { type ipv4_addr : verdict; }
	map from_host6 { type ipv6_addr : verdict; }
	map from_net4 { type ipv4_addr : verdict; flags interval; }
	map from_net6 { type ipv6_addr : verdict; flags interval; }
	map to_host4 { type ipv4_addr : verdict; }
	map to_host6 { type ipv6_addr : verdict; }
	map to_net4 { type ipv4_addr : verdict; flags interval; }
	map to_net6 { type ipv6_addr : verdict; flags interval; }
	chain gate {
		type filter hook prerouting priority -450; policy accept;
		iifname != "INTERFACE" accept
		ip frag-off & 0x3fff != 0 counter name "fragment" drop
		ip6 nexthdr 44 counter name "fragment" drop
		ip hdrlength != 5 counter name "extension" drop
		ip6 nexthdr { 0, 43, 50, 51, 60, 135, 139, 140 } counter name "extension" drop
		ip protocol 6 meta length < 40 counter name "malformed" drop
		ip6 nexthdr 6 meta length < 60 counter name "malformed" drop
		ip protocol { 1, 17 } meta length < 28 counter name "malformed" drop
		ip6 nexthdr { 17, 58 } meta length < 48 counter name "malformed" drop
		ip daddr != { OWN4 } counter name "not_ours" drop
		ip6 daddr != { OWN6 } counter name "not_ours" drop
		ct zone set ip saddr map @zone_host4
		ct zone set ip saddr map @zone_net4
		ct zone set ip6 saddr map @zone_host6
		ct zone set ip6 saddr map @zone_net6
	}
	chain judge {
		type filter hook prerouting priority -150; policy accept;
		iifname != "INTERFACE" accept
		ip protocol 17 ct timeout set "udp4"
		ip6 nexthdr 17 ct timeout set "udp6"
		ct direction reply ct label LABEL jump answers
		ip saddr vmap @from_host4
		ip saddr vmap @from_net4
		ip6 saddr vmap @from_host6
		ip6 saddr vmap @from_net6
		counter name "stranger" drop
	}
	chain answers {
		tcp flags & (syn|ack) == syn return
		meta l4proto { tcp, udp } ct state established counter name "answer" accept
		icmp type echo-reply ct state established counter name "answer" accept
		icmpv6 type echo-reply ct state established counter name "answer" accept
		icmp type { 3, 11, 12 } @th,64,8 0x45 ct state related counter name "answer" accept
		icmpv6 type { 1, 2, 3, 4 } @th,64,4 6 @th,112,8 { 6, 17, 58 } ct state related counter name "answer" accept
	}
	chain through {
		type filter hook prerouting priority -300; policy accept;
		iifname "INTERFACE" accept
		ip saddr { OWN4 } accept
		ip6 saddr { OWN6 } accept
		fib daddr oifname "INTERFACE" jump zones
	}
	chain depart {
		type filter hook output priority -300; policy accept;
		oifname "INTERFACE" jump zones
	}
	chain zones {
		ct zone set ip daddr map @zone_host4
		ct zone set ip daddr map @zone_net4
		ct zone set ip6 daddr map @zone_host6
		ct zone set ip6 daddr map @zone_net6
	}
	chain leave {
		type filter hook postrouting priority 150; policy accept;
		oifname != "INTERFACE" accept
		tcp flags & (fin|syn|rst|ack) != syn accept
		meta l4proto != tcp ct state != new accept
		ip protocol 6 ct timeout set "tcp4"
		ip6 nexthdr 6 ct timeout set "tcp6"
		ip protocol 17 ct timeout set "udp4"
		ip6 nexthdr 17 ct timeout set "udp6"
		ip daddr vmap @to_host4
		ip daddr vmap @to_net4
		ip6 daddr vmap @to_host6
		ip6 daddr vmap @to_net6
	}
}
"#;
