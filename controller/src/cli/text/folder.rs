//! What the CLI says of a data folder: a new one, its backups, its store and its audit log.

use std::fmt::Display;

use super::Lang;

sentences! {
    initialized(config, data) {
        "Controlador criado: configuração {config}, dados em {data}.",
        "Controller made: configuration {config}, data in {data}."
    }
    first_operator(name) {
        "Primeiro operador: {name}. A senha é mostrada só agora:", "First operator: {name}. The password is shown only now:"
    }
    master_key(path) {
        "Guarde uma cópia de {path} longe daqui: sem ela um backup não abre as chaves das autoridades.",
        "Keep a copy of {path} elsewhere: without it a backup can't open the keys of the authorities."
    }
    next_step(config) { "Agora: malha serve --config {config}", "Now: malha serve --config {config}" }
    config_right(config) { "{config}: tudo certo", "{config}: all right" }
    config_exists(config) {
        "{config} já existe e não é sobrescrito; edite-o, indique outro com --config, ou deixe --host, --address e --data de fora para usá-lo",
        "{config} exists already and is not overwritten; edit it, name another with --config, or leave --host, --address and --data away to use it"
    }
    config_missing(config) {
        "{config} não existe; informe --host NOME e --address IP, os públicos desta máquina, para criá-lo",
        "{config} does not exist; give --host NAME and --address IP, the public ones of this machine, to write it"
    }
    name_a_file() { "informe o arquivo a gravar", "name the file to write" }
    file_exists(file) { "{file} já existe; informe outro arquivo", "{file} exists already; name another file" }
    backup_written(path, bytes, revision) {
        "{path}: {bytes} bytes, revisão {revision} do armazenamento, conferido",
        "{path}: {bytes} bytes, store revision {revision}, verified"
    }
    backup_right(path, keys, taken, sha256) {
        "{path}: inteiro, {keys} registros, feito {taken}, SHA-256 {sha256}",
        "{path}: whole, {keys} records, taken {taken}, SHA-256 {sha256}"
    }
    restored(data, keys) {
        "{data}: {keys} registros restaurados. A chave mestra não está no backup: ponha o arquivo dela no lugar antes de iniciar.",
        "{data}: {keys} records restored. The master key is not in the backup: put its file in place before you start."
    }
    key_recovered(path) {
        "{path}: chave nova; a anterior já não vale. Inicie o controlador; uma senha perdida: malha operator password NOME",
        "{path}: a new key; the former one is refused. Start the controller; for a lost password: malha operator password NAME"
    }
    checks_kept(folder) {
        "{folder}: já existia e ficou como estava; o que o backup tem das verificações não foi restaurado.",
        "{folder}: was there already and stays as it is; what the backup has of checks was not restored."
    }
    store_right(keys, revision, bytes) {
        "inteiro: {keys} registros, revisão {revision}, {bytes} bytes", "whole: {keys} records, revision {revision}, {bytes} bytes"
    }
    store_damaged(damages) { "{damages} registros danificados:", "{damages} damaged records:" }
    audit_right(lines, segments, hash) {
        "inteiro: {lines} linhas em {segments} arquivos, última {hash}", "whole: {lines} lines in {segments} files, last {hash}"
    }
}
