//! That a machine with IPv6 alone, behind a router that translates, has the ways of any other to a hub that has IPv4 alone.

use anyhow::{Result, ensure};
use malha_tests::lab::{Access, Lab, Mapping, PATIENCE, eventually, missing_for_namespaces, story};

use crate::meeting::{CALLED, CALLERS, Meeting, Way};

#[test]
fn behind_nat64_a_hub_with_ipv4_alone_is_reached_by_udp() {
    if let Some(reason) = missing_for_namespaces(&[("tayga", "tayga")]) {
        println!("skip: {reason}");
        return;
    }
    story("NAT64", |lab| {
        serve_by_v4(lab)?;
        let meeting = Meeting::new(lab)?;
        let caller = meeting.enrol_one(CALLERS, Access::Nat64, 0)?;
        let called = meeting.enrol_one(CALLED, Access::Home(Mapping::Restricted), 1)?;
        meeting.open(std::slice::from_ref(&called))?;
        eventually("the page is read", PATIENCE, || caller.reads(&called))?;
        eventually("the hub is reached by UDP", PATIENCE, || {
            let way = caller.way_to_hub()?;
            ensure!(way == Some(Way::Direct), "the hub is reached by {way:?}");
            Ok(())
        })?;
        eventually("the relay is taken", PATIENCE, || {
            caller.goes_to(&called, Way::Relay)
        })?;
        caller.reads(&called)
    });
}

fn serve_by_v4(lab: &mut Lab) -> Result<()> {
    lab.hub.controller()?.stop()?;
    lab.hub.offers_v4_only()?;
    lab.hub.serve()
}
