#![forbid(unsafe_code)]
//! `bench_balance`: the benchmark of the balancer; `tests/bench/balance` builds it. It starts itself again as what it needs.

use anyhow::Result;
use malha_tests::bench::balance::balance;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    balance(&words)
}
