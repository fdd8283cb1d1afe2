//! What the CLI says of checks and of their evidence, in Portuguese and English side by side.

use std::fmt::Display;

use super::Lang;

sentences! {
    finding(level, check, vantage) {
        "DIVERGÊNCIA ({level}) {check} · {vantage}", "FINDING ({level}) {check} · {vantage}"
    }
    untested(check, vantage) { "SEM TESTE {check} · {vantage}", "NOT TESTED {check} · {vantage}" }
    in_order(check, vantage, observed) {
        "em ordem {check} · {vantage}: {observed}", "in order {check} · {vantage}: {observed}"
    }
    no_outside(why) { "ninguém olhou de fora: {why}", "nobody looked from outside: {why}" }
    verdicts(ok, findings, untested) {
        "em ordem: {ok}, divergências: {findings}, sem teste: {untested} (o que não foi testado não está em ordem nem fechado)",
        "in order: {ok}, findings: {findings}, not tested: {untested} (what was not tested is neither in order nor closed)"
    }
    file_written(file) { "{file}: gravado", "{file}: written" }
    disagrees(check) {
        "o veredito de {check} não segue do que está no arquivo", "the verdict of {check} does not follow from what is in the file"
    }
    evidence_right(organization, lines, ended) {
        "evidência inteira: {organization}, {lines} linhas, terminada em {ended}",
        "the evidence is whole: {organization}, {lines} lines, ended {ended}"
    }
    evidence_first() {
        "é a primeira rodada da sua cadeia", "it is the first run of its chain"
    }
    evidence_place(sequence, previous) {
        "é a rodada {sequence}; vem depois do arquivo com SHA-256 {previous}",
        "it is run {sequence}; it follows the file with SHA-256 {previous}"
    }
    evidence_run(sequence, started, file) {
        "rodada {sequence} · {started} · inteira · {file}", "run {sequence} · {started} · whole · {file}"
    }
    chain_whole(organization, first, last) {
        "{organization}: rodadas {first} a {last}, nada removido, trocado ou mudado entre elas",
        "{organization}: runs {first} to {last}, nothing removed, exchanged or changed between them"
    }
    chain_broken(organization, fault) { "{organization}: {fault}", "{organization}: {fault}" }
    chain_pruned(organization, first, kept) {
        "{organization}: o que houve antes da rodada {first} não está aqui; um controlador guarda as {kept} mais novas",
        "{organization}: what was before run {first} is not here; a controller keeps the newest {kept}"
    }
    no_evidence(folder) {
        "{folder}: nenhum arquivo .evidence ou .jsonl", "{folder}: no .evidence or .jsonl file"
    }
    too_many_files(limit) {
        "mais de {limit} arquivos; verifique um órgão por vez", "more than {limit} files; verify one agency at a time"
    }
}
