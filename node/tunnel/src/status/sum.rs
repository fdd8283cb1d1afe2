//! Counters of several shards as those of one tunnel. It leaves none out: a counter that is added elsewhere has to be added here,
//! or this does not compile.

use std::ops::AddAssign;

use super::{
    DeviceCounters, FilterCounters, Refusals, RelayCounters, StackCounters, TunnelStats,
    UnderlayCounters,
};

macro_rules! add_by_field {
    ($($counters:ident { $($field:ident)* })*) => {
        $(
            impl AddAssign for $counters {
                fn add_assign(&mut self, other: Self) {
                    let Self { $($field),* } = other;
                    $(self.$field += $field;)*
                }
            }
        )*
    };
}

add_by_field! {
    Refusals {
        no_rule not_ours malformed fragment extension
    }
    DeviceCounters {
        malformed quic unknown_session unknown_peer flooded cookies_sent no_peer malformed_packets transmits_dropped packets_dropped events_dropped
        no_endpoint unopened spoofed too_large
    }
    FilterCounters {
        admitted_by_rule admitted_as_answer refused flows_evicted
    }
    UnderlayCounters {
        datagrams_received datagrams_sent send_errors receive_errors carrier_dropped quic_received quic_dropped quic_sent handed_over handover_dropped
    }
    RelayCounters {
        forwarded forwarded_bytes bound challenged refused limited unbound
    }
    StackCounters {
        connections buffer_bytes accepted dialled refused_full refused_closed damaged packets_dropped
    }
    TunnelStats {
        device filter relay underlay stack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_two_shards_add_up() {
        let mut sum = TunnelStats::default();
        let mut shard = TunnelStats::default();
        shard.filter.refused.fragment = 2;
        shard.underlay.handed_over = 3;
        sum += shard;
        sum += shard;
        assert_eq!(sum.filter.refused.fragment, 4);
        assert_eq!(sum.underlay.handed_over, 6);
    }
}
