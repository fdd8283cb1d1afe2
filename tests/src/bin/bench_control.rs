#![forbid(unsafe_code)]
//! `bench_control [--json] [--quick]`: the benchmark of the control plane; `tests/bench/control` builds what it needs.

use anyhow::{Result, bail};
use malha_tests::bench::{Scale, control};

#[tokio::main]
async fn main() -> Result<()> {
    let (mut json, mut scale) = (false, Scale::full());
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--json" => json = true,
            "--quick" => scale = Scale::quick(),
            other => bail!("{other}: only --json and --quick are known"),
        }
    }
    let report = control(&scale).await?;
    println!("{}", if json { report.json()? } else { report.table() });
    Ok(())
}
