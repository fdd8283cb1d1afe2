//! What all rounds say: medians, and this balancer's beside the others'.

use super::ROUNDS;
use super::contender::{Contender, Measured};

pub(super) fn print(contenders: &[Contender]) {
    println!(
        "balancer          MB/s  cpu s/GB  node s/GB   conn/s  cpu µs/conn  node µs/conn   (medians of {ROUNDS})"
    );
    let rows: Vec<_> = contenders.iter().map(|it| (it.name, row(it))).collect();
    for (name, [rate, cost, node_cost, opened, opening, node_opening]) in &rows {
        println!(
            "{name:<15} {rate:>7.0} {cost:>9.3} {node_cost:>10.3} {opened:>8.0} {opening:>12.1} {node_opening:>13.1}"
        );
    }
    let (malha, others): (Vec<_>, Vec<_>) = rows.iter().partition(|it| it.0.starts_with("malha"));
    for (ours_name, ours) in malha {
        for (name, theirs) in &others {
            let [rate, cost, node_cost, opened, opening, node_opening] =
                std::array::from_fn(|at| ours[at] / theirs[at]);
            println!(
                "{ours_name} / {name}: throughput {rate:.2}, cpu per byte {cost:.2} (node {node_cost:.2}), \
                 connections {opened:.2}, cpu per connection {opening:.2} (node {node_opening:.2})"
            );
        }
    }
}

fn row(it: &Contender) -> [f64; 6] {
    let of = |value: fn(&(Measured, Measured)) -> f64| {
        let mut values: Vec<f64> = it.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    [
        of(|it| it.0.per_s / 1e6),
        of(|it| it.0.cpu_s * 1e9),
        of(|it| it.0.node_cpu_s * 1e9),
        of(|it| it.1.per_s),
        of(|it| it.1.cpu_s * 1e6),
        of(|it| it.1.node_cpu_s * 1e6),
    ]
}
